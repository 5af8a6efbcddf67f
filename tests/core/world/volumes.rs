//! Claims, volumes and their namespace, as an API server would show them.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        notice::{Event, StorageObject},
        observed::Uid,
        request::StoragePatch,
    },
    shell::{
        streams,
        views::{
            Watched, Wire,
            storage::{Claims, Namespaces, Volumes},
        },
    },
};
use model::admission::{OPERATOR, Operation, Twin, Write};
use serde_json::{Value, json};

use super::World;

pub const GI: u64 = 1 << 30;

impl World {
    /// Puts an object of storage into the world, as an API server would show it.
    pub fn see(&mut self, object: &StorageObject) {
        let version = self.tick();
        let raw = self.storage_objects.get_mut(object).unwrap();
        raw["metadata"]["resourceVersion"] = json!(version.to_string());
        let raw = raw.clone();
        match object {
            StorageObject::Claim(name) => {
                drop(self.namespace.claims.insert(name.clone(), view::<Claims>(raw)))
            }
            StorageObject::Volume(_) => drop(self.storage.insert(view::<Volumes>(raw))),
            StorageObject::Namespace(name) => {
                drop(self.storage.namespaces.insert(name.clone(), view::<Namespaces>(raw)))
            }
        }
    }

    pub fn put(&mut self, object: StorageObject, raw: Value) {
        self.storage_objects.insert(object.clone(), raw);
        self.see(&object);
    }

    /// Carries out a patch, as the API server would.
    pub fn store(&mut self, patch: &StoragePatch) {
        let raw = self.storage_objects.get_mut(&patch.object).unwrap();
        assert_eq!(raw["metadata"]["uid"], *patch.uid);
        assert_eq!(
            raw["metadata"]["resourceVersion"],
            patch.resource_version.to_string(),
            "{patch:?}"
        );
        merge(raw, &patch.json());
        // As the mutating policy does.
        if let StorageObject::Claim(_) = patch.object
            && raw["metadata"]["labels"]["lockkeeper.dev/retained"] == "true"
        {
            for (key, value) in lockkeeper::api::marks::SHIELDS {
                if raw["metadata"]["annotations"][key].is_null() {
                    raw["metadata"]["annotations"][key] = json!(value);
                }
            }
        }
        self.see(&patch.object.clone());
    }

    pub fn shop_namespace(&mut self, uid: &str) {
        self.namespace.name = "shop".into();
        self.put(
            StorageObject::Namespace("shop".into()),
            json!({"metadata": {"name": "shop", "uid": uid}}),
        );
    }

    /// A claim that is bound to a volume of its own.
    pub fn claim(&mut self, name: &str, mode: &str) {
        self.claim_on(name, mode, &format!("pv-{name}"), "Delete");
    }

    pub fn claim_on(&mut self, name: &str, mode: &str, volume: &str, reclaim: &str) {
        if self.storage.namespaces.is_empty() {
            self.shop_namespace("ns-1");
        }
        let made = self.tick();
        let uid = format!("claim-{name}-{made}");
        let claim = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": uid, "creationTimestamp": self.now},
            "spec": {"accessModes": [mode], "volumeName": volume, "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Bound"}
        });
        let object = StorageObject::Volume(volume.to_owned());
        if !self.storage_objects.contains_key(&object) {
            let raw = json!({
                "metadata": {"name": volume, "uid": format!("uid-{volume}"), "creationTimestamp": self.now},
                "spec": {
                    "accessModes": [mode], "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": reclaim, "storageClassName": "fast",
                    "csi": {"driver": "disks"}
                },
                "status": {"phase": "Bound"}
            });
            self.storage_objects.insert(object.clone(), raw);
        }
        let raw = self.storage_objects.get_mut(&object).unwrap();
        raw["spec"]["claimRef"] = json!({"namespace": "shop", "name": name, "uid": uid});
        raw["status"] = json!({"phase": "Bound", "lastPhaseTransitionTime": self.now});
        self.see(&object);
        self.put(StorageObject::Claim(name.to_owned()), claim);
    }

    /// The claim goes; what becomes of its volume is for the reclaim policy to say.
    pub fn lose_claim(&mut self, name: &str) {
        let volume = self.namespace.claims.remove(name).unwrap().volume.unwrap();
        self.storage_objects.remove(&StorageObject::Claim(name.to_owned()));
        let object = StorageObject::Volume(volume);
        let retained =
            self.storage_objects[&object]["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
        assert!(retained, "the data is lost");
        self.change(
            &object,
            json!({"status": {"phase": "Released", "lastPhaseTransitionTime": self.now}}),
        );
    }

    /// A claim and its volume go.
    pub fn lose_claim_and_volume(&mut self, name: &str) {
        let volume = self.namespace.claims.remove(name).unwrap().volume.unwrap();
        self.storage_objects.remove(&StorageObject::Claim(name.to_owned()));
        self.storage_objects.remove(&StorageObject::Volume(volume.clone()));
        self.storage.remove(&volume);
    }

    /// The spec of a volume is this besides.
    pub fn storage_of(&mut self, name: &str, spec: Value) {
        self.change(&volume(name), json!({"spec": spec}));
    }

    pub fn change(&mut self, object: &StorageObject, change: Value) {
        merge(self.storage_objects.get_mut(object).unwrap(), &change);
        self.see(object);
    }

    pub fn volume_raw(&self, name: &str) -> &Value {
        &self.storage_objects[&StorageObject::Volume(name.to_owned())]
    }

    pub fn claim_raw(&self, name: &str) -> &Value {
        &self.storage_objects[&StorageObject::Claim(name.to_owned())]
    }

    pub fn volumes_safe(&mut self) -> (String, String, String) {
        self.act();
        let status = self.decide().statuses.into_iter().find(|(name, _)| name == "shop").unwrap().1;
        let condition = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == "VolumesSafe")
            .unwrap();
        (condition.status, condition.reason, condition.message)
    }

    pub fn counts(&mut self) -> Value {
        let status = self.decide().statuses.into_iter().find(|(name, _)| name == "shop").unwrap().1;
        serde_json::to_value(status.volumes).unwrap()
    }

    pub fn marked_exclusive(&self, name: &str) -> bool {
        self.object(name)["metadata"]["annotations"]["lockkeeper.dev/volume-access"] == "exclusive"
    }

    pub fn told_of(&self, event: Event) -> Vec<&str> {
        self.told
            .iter()
            .filter(|(told, ..)| *told == event)
            .map(|(_, about, _)| about.as_str())
            .collect()
    }
}

fn view<K: Watched>(raw: Value) -> K::View {
    streams::object(serde_json::from_value::<Wire<K>>(raw).unwrap()).view
}

pub fn merge(to: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *to = patch.clone();
        return;
    };
    if !to.is_object() {
        *to = json!({});
    }
    for (key, value) in fields {
        match value {
            Value::Null => drop(to.as_object_mut().unwrap().remove(key)),
            value => merge(&mut to[key], value),
        }
    }
}

pub fn uses(claim: &str) -> Value {
    json!({"containers": [{"name": "app"}], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]})
}

/// A Deployment with one pod on a claim, and a policy that sees to volumes.
pub fn shop(mode: &str, volumes: Value) -> World {
    let mut world = World::new();
    world.policy("shop", json!({"volumes": volumes}));
    world.claim("data", mode);
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    world
}

pub fn volume(name: &str) -> StorageObject {
    StorageObject::Volume(name.into())
}

pub fn claim(name: &str) -> StorageObject {
    StorageObject::Claim(name.into())
}

pub fn no_claim_of_its_own(world: &World, name: &str) -> bool {
    world.volume_raw(name)["spec"]["claimRef"]["uid"].is_null()
}

/// What admission says to a patch of ours.
pub fn refused(world: &World, patch: &StoragePatch) -> Option<String> {
    let old = world.storage_objects[&patch.object].clone();
    let mut new = old.clone();
    merge(&mut new, &patch.json());
    let kind = match patch.object {
        StorageObject::Claim(_) => "PersistentVolumeClaim",
        StorageObject::Volume(_) => "PersistentVolume",
        StorageObject::Namespace(_) => "Namespace",
    };
    let write = Write {
        kind,
        operation: Operation::Update,
        old: Some(&old),
        new: &new,
        user: OPERATOR,
        verbs: &[],
    };
    Twin::default().admit(&write).err().map(|error| format!("{error:?}"))
}

/// A rollout of `web` whose new pod waits; returns the new pod's uid.
pub fn waiting(world: &mut World) -> Uid {
    let old = world.pods("web")[0].clone();
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.later(1);
    world.start_pod("web");
    let new: Uid = format!("pod-{}", world.pods("web")[0].name).into();
    let pod = world.namespace.pods.get_mut(&new).unwrap();
    (pod.reach.running, pod.ready) = (false, false);
    world.namespace.pods.insert(old.uid.clone(), old);
    world.observe("web");
    new
}

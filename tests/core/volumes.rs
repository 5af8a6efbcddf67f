//! Volumes: exclusive claims, protection, and what is found again.

use lockkeeper::{
    api::{Phase, Reason, WorkloadKind},
    core::{
        decision::{Event, StorageObject, StoragePatch},
        storage::CronJob,
        volumes::State,
    },
    shell::{
        streams::{self, View},
        views::{
            Watched, Wire,
            storage::{Claims, Namespaces, StorageView, Volumes},
        },
    },
};
use serde_json::{Value, json};

use crate::{volumes_traps::waiting, world::World};

pub(crate) const GI: u64 = 1 << 30;

impl World {
    /// Puts an object of storage into the world, as an API server would show it.
    pub fn see(&mut self, object: &StorageObject) {
        let version = self.tick();
        let raw = self.storage_objects.get_mut(object).unwrap();
        raw["metadata"]["resourceVersion"] = json!(version.to_string());
        let raw = raw.clone();
        match (object, view(object, raw)) {
            (StorageObject::Claim(name), StorageView::Claim(claim)) => {
                drop(self.namespace.claims.insert(name.clone(), *claim))
            }
            (StorageObject::Volume(_), StorageView::Volume(volume)) => {
                drop(self.storage.insert(*volume))
            }
            (StorageObject::Namespace(name), StorageView::Namespace(one)) => {
                drop(self.storage.namespaces.insert(name.clone(), *one))
            }
            _ => unreachable!(),
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

pub(crate) fn view(object: &StorageObject, raw: Value) -> StorageView {
    fn of<K: Watched>(raw: Value) -> StorageView
    where
        View: From<K::View>,
    {
        match streams::object(serde_json::from_value::<Wire<K>>(raw).unwrap()).view {
            View::Storage(view) => view,
            _ => unreachable!(),
        }
    }
    match object {
        StorageObject::Claim(_) => of::<Claims>(raw),
        StorageObject::Volume(_) => of::<Volumes>(raw),
        StorageObject::Namespace(_) => of::<Namespaces>(raw),
    }
}

pub(crate) fn merge(to: &mut Value, patch: &Value) {
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

pub(crate) fn uses(claim: &str) -> Value {
    json!({"containers": [{"name": "app"}], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]})
}

/// A Deployment with one pod on a claim, and a policy that sees to volumes.
pub(crate) fn shop(mode: &str, volumes: Value) -> World {
    let mut world = World::new();
    world.policy("shop", json!({"volumes": volumes}));
    world.claim("data", mode);
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    world
}

#[test]
fn p13_what_would_deadlock_gets_recreate_and_what_cannot_is_left_alone() {
    let one_node = json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]}]}}}});
    let folder = json!({"spec": {"csi": null, "hostPath": {}}});
    let rows = [
        ("one node", "ReadWriteOnce", json!({}), json!({}), true),
        ("one pod", "ReadWriteOncePod", json!({}), json!({}), true),
        ("shared", "ReadWriteMany", json!({}), json!({}), false),
        ("pinned: two writers", "ReadWriteOnce", json!({}), one_node.clone(), true),
        (
            "pinned, and the app bears it",
            "ReadWriteOnce",
            json!({"exclusiveClaims": "WhenDeadlock"}),
            one_node.clone(),
            false,
        ),
        (
            "one node, and the app bears two writers",
            "ReadWriteOnce",
            json!({"exclusiveClaims": "WhenDeadlock"}),
            json!({}),
            true,
        ),
        ("one pod, pinned", "ReadWriteOncePod", json!({}), one_node, true),
        ("by a folder of the node", "ReadWriteOnce", json!({}), folder.clone(), true),
        (
            "by a folder of the node, and the app bears it",
            "ReadWriteOnce",
            json!({"exclusiveClaims": "WhenDeadlock"}),
            folder,
            false,
        ),
        (
            "the volume's modes count",
            "ReadWriteOnce",
            json!({}),
            json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}}),
            false,
        ),
        ("reported", "ReadWriteOnce", json!({"exclusiveClaims": "Report"}), json!({}), false),
        ("ignored", "ReadWriteOnce", json!({"exclusiveClaims": "Ignore"}), json!({}), false),
        (
            "always",
            "ReadWriteOnce",
            json!({"exclusiveClaims": "Recreate"}),
            json!({"spec": {"csi": null, "hostPath": {}}}),
            true,
        ),
    ];
    for (name, mode, spec, volume, expected) in rows {
        let mut world = shop(mode, spec);
        world.change(&StorageObject::Volume("pv-data".into()), volume);
        world.act();
        assert_eq!(world.marked_exclusive("web"), expected, "{name}");
        assert_eq!(world.told_of(Event::StrategyChanged).len(), usize::from(expected), "{name}");
    }
}

/// Who only reads harms nobody; but a volume that is attached to another node deadlocks all the
/// same.
#[test]
fn p13_a_claim_that_is_mounted_read_only_everywhere_has_no_two_writers() {
    let folder = json!({"spec": {"csi": null, "hostPath": {}}});
    let mount =
        |read_only: bool| json!([{"name": "data", "mountPath": "/data", "readOnly": read_only}]);
    let rows = [
        (
            "mounted read-only",
            json!({"containers": [{"name": "app", "volumeMounts": mount(true)}]}),
            false,
            folder.clone(),
            false,
        ),
        (
            "one mount writes",
            json!({"containers": [{"name": "app", "volumeMounts": mount(true)}], "initContainers": [{"name": "first", "volumeMounts": mount(false)}]}),
            false,
            folder.clone(),
            true,
        ),
        (
            "the whole volume is read-only",
            json!({"containers": [{"name": "app", "volumeMounts": mount(false)}]}),
            true,
            folder.clone(),
            false,
        ),
        (
            "as a device",
            json!({"containers": [{"name": "app", "volumeDevices": [{"name": "data", "devicePath": "/dev/x"}]}]}),
            false,
            folder,
            true,
        ),
        (
            "attached",
            json!({"containers": [{"name": "app", "volumeMounts": mount(true)}]}),
            false,
            json!({}),
            true,
        ),
    ];
    for (name, mut spec, read_only, change, expected) in rows {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {}}));
        world.claim("data", "ReadWriteOnce");
        world.change(&StorageObject::Volume("pv-data".into()), change);
        spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": read_only}}]);
        world.workload(WorkloadKind::Deployment, "web", 1, spec);
        world.act();
        assert_eq!(world.marked_exclusive("web"), expected, "{name}");
    }
}

#[test]
fn what_recreate_cannot_fix_is_reported_with_what_to_do() {
    let mut world = shop("ReadWriteOnce", json!({"exclusiveClaims": "Report"}));
    assert_eq!(world.volumes_safe().1, "ExclusiveClaim");
    let mut world = shop("ReadWriteOnce", json!({}));
    world.edit("web", |web| web["spec"]["replicas"] = json!(3));
    world.finish("web");
    let (status, reason, message) = world.volumes_safe();
    assert_eq!((&*status, &*reason), ("False", "ExclusiveClaimShared"));
    assert!(
        message.contains("Deployment/web runs 3 pods on claim data")
            && message.contains("ReadWriteMany"),
        "{message}"
    );
    let mut world = shop("ReadWriteOnce", json!({}));
    world.namespace.autoscalers.insert("hpa".into(), (world.id("web"), 5));
    assert!(world.volumes_safe().2.contains("an autoscaler may give it 5 pods"));
    let mut world = shop("ReadWriteOnce", json!({}));
    world.workload(WorkloadKind::StatefulSet, "other", 1, uses("data"));
    assert!(world.volumes_safe().2.contains("Deployment/web and StatefulSet/other use claim data"));
}

/// A Deployment with one replica whose new pod waits on node-2 for the volume that the old pod
/// holds.
fn stuck() -> World {
    let mut world = World::new();
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    world
        .answers
        .insert("web-1".into(), lockkeeper::core::gates::answer::Answer::No("busy".into()));
    world
}

#[test]
fn p13_a_policy_that_observes_says_what_frees_a_stuck_rollout_and_writes_nothing() {
    let mut world = stuck();
    world.policy("shop", json!({"mode": "Observe", "volumes": {}}));
    world.act();
    let entry = world.attention().unwrap();
    assert_eq!(entry.reason, Reason::StuckOnVolume, "{entry:?}");
    assert!(
        entry.message.contains("spec.mode is Observe, so declare strategy.type: Recreate"),
        "{entry:?}"
    );
    assert!(!world.marked_exclusive("web"));
}

#[test]
fn p13_a_rollout_that_is_stuck_already_says_so_and_is_freed_when_its_pods_agree() {
    for gates in [Value::Null, json!({"app": {}})] {
        let mut world = stuck();
        world.policy("shop", json!({"volumes": {}, "gates": gates}));
        world.act();
        let entry = world.attention().unwrap();
        assert_eq!(
            (entry.phase, entry.reason),
            (Phase::Rolling, Reason::StuckOnVolume),
            "{entry:?}"
        );
        assert!(
            entry.message.contains("on node-2 waits for volume pv-data")
                && entry.message.contains("Multi-Attach"),
            "{entry:?}"
        );
        assert_eq!(world.marked_exclusive("web"), gates.is_null(), "{entry:?}");
        if !gates.is_null() {
            assert!(entry.message.contains("has answered no"), "{entry:?}");
            world.answers.clear();
            world.later(10);
            world.act();
            assert!(world.marked_exclusive("web"), "the pods agree");
        }
    }
}

#[test]
fn p12_a_claim_and_its_volume_are_retained_with_their_provenance() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1"}, {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "2"}]}}),
    );
    world.act();
    let volume = world.volume_raw("pv-data");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(volume["metadata"]["labels"]["lockkeeper.dev/retained"], "true");
    assert_eq!(
        volume["metadata"]["annotations"]["lockkeeper.dev/original-reclaim-policy"],
        "Delete"
    );
    let provenance: Value = serde_json::from_str(
        volume["metadata"]["annotations"]["lockkeeper.dev/provenance"].as_str().unwrap(),
    )
    .unwrap();
    assert_eq!(
        (&provenance["namespaceUid"], &provenance["workload"], &provenance["policy"]),
        (&json!("ns-1"), &json!("Deployment/web"), &json!("shop"))
    );
    let claim = world.claim_raw("data");
    assert_eq!(
        claim["metadata"]["labels"],
        json!({"lockkeeper.dev/retained": "true"}),
        "not protected"
    );
    assert_eq!(
        claim["metadata"]["ownerReferences"].as_array().unwrap().len(),
        1,
        "the Deployment no longer owns it"
    );
    assert_eq!(world.told_of(Event::VolumeProtected), ["PersistentVolumeClaim/data"]);
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "True", "{message}");
    assert_eq!(world.counts()["protected"], 1);
    assert!(world.decide().storage.is_empty(), "at rest nothing is written");
}

#[test]
fn p12_every_way_of_losing_the_governance_keeps_the_volume() {
    type Way = fn(&mut World);
    let ways: [(&str, Way); 4] = [
        ("the policy is deleted", |world| world.namespace.policies.clear()),
        ("the policy says None", |world| {
            world.policy("shop", json!({"volumes": {"protection": "None"}}))
        }),
        ("the policy has no volumes", |world| world.policy("shop", json!({"config": {}}))),
        ("the policy observes", |world| {
            world.policy("shop", json!({"volumes": {}, "mode": "Observe"}))
        }),
    ];
    for (name, way) in ways {
        let mut world = shop("ReadWriteOnce", json!({}));
        world.act();
        way(&mut world);
        world.act();
        world.later(3600);
        world.act();
        assert_eq!(
            world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"],
            "Retain",
            "{name}"
        );
        // Somebody's own word on the volume is put right as long as the claim has it.
        world.change(
            &StorageObject::Volume("pv-data".into()),
            json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}),
        );
        world.act();
        assert_eq!(
            world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"],
            "Retain",
            "{name}"
        );
        world.lose_claim("data");
        world.act();
        assert!(
            world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null(),
            "{name}: it waits for the next claim of that name"
        );
        world.claim_on("data", "ReadWriteOnce", "pv-data", "Delete");
        world.act();
        assert_eq!(world.told_of(Event::VolumeReadopted), ["PersistentVolumeClaim/data"], "{name}");
    }
}

#[test]
fn a_stateful_set_has_consented_to_the_deletions_that_its_retention_policy_names_and_to_no_others()
{
    let rows = [
        (Value::Null, ("Delete", "Delete"), false, "the data of its claims is not kept"),
        (
            Value::Null,
            ("Retain", "Delete"),
            true,
            "the data of a pod that it scales away is not kept",
        ),
        (
            Value::Null,
            ("Delete", "Retain"),
            true,
            "but their volumes are kept until somebody deletes them",
        ),
        (json!("Retain"), ("Delete", "Delete"), true, ""),
    ];
    for (protection, (when_deleted, when_scaled), retained, said) in rows {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {"protection": protection}}));
        world.claim("data-db-0", "ReadWriteOnce");
        world.claim("data-db-7", "ReadWriteOnce");
        world.claim("data-db-x", "ReadWriteOnce");
        world.workload(WorkloadKind::StatefulSet, "db", 1, json!({"containers": []}));
        world.edit("db", |db| {
            db["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
            db["spec"]["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenDeleted": when_deleted, "whenScaled": when_scaled});
        });
        let (status, _, message) = world.volumes_safe();
        assert_eq!(status, "True", "{message}");
        assert_eq!(message.contains("StatefulSet/db"), !said.is_empty(), "{message}");
        assert!(message.contains(said), "{message}");
        assert_eq!(world.namespace.claims["data-db-0"].retained, retained);
        assert_eq!(world.namespace.claims["data-db-7"].retained, retained, "future ordinals too");
        assert!(!world.namespace.claims["data-db-x"].retained, "no ordinal");
        if retained {
            assert_eq!(
                (&world.counts()["protected"], &world.counts()["idle"]),
                (&json!(2), &json!(1)),
                "one is beyond the last ordinal"
            );
        }
    }
}

/// The controller makes the pod that it scales away the owner of its claim. Which ordinals go is
/// for it to say, also with `ordinals.start`.
#[test]
fn what_when_scaled_delete_takes_away_is_let_go_and_nothing_else() {
    for (protection, expected) in [(Value::Null, "Delete"), (json!("Retain"), "Retain")] {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {"protection": protection}}));
        for claim in ["data-db-0", "data-db-5", "data-db-9"] {
            world.claim(claim, "ReadWriteOnce");
        }
        world.workload(WorkloadKind::StatefulSet, "db", 2, json!({"containers": []}));
        world.edit("db", |db| {
            db["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
            db["spec"]["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenDeleted": "Retain", "whenScaled": "Delete"});
        });
        world.act();
        let policies = |world: &World| {
            ["data-db-0", "data-db-5", "data-db-9"]
                .map(|claim| world.volume_raw(&format!("pv-{claim}"))["spec"]["persistentVolumeReclaimPolicy"].clone())
        };
        assert_eq!(
            policies(&world),
            ["Retain", "Retain", "Retain"],
            "beyond the last ordinal too: nothing deletes that one"
        );
        // The ordinals move: the pod of the first one goes, with its claim.
        world.edit("db", |db| db["spec"]["ordinals"] = json!({"start": 5}));
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "db-0", "uid": "pod-db-0"}]);
        world.change(
            &StorageObject::Claim("data-db-0".into()),
            json!({"metadata": {"ownerReferences": owner}}),
        );
        for _ in 0..5 {
            let decision = world.decide();
            for (patch, _) in &decision.storage {
                assert_eq!(crate::volumes_traps::refused(&world, patch), None, "{patch:?}");
            }
            decision.storage.iter().for_each(|(patch, _)| world.store(patch));
        }
        assert_eq!(policies(&world), [expected, "Retain", "Retain"]);
        assert_eq!(world.namespace.claims["data-db-0"].retained, expected == "Retain");
        // It is scaled up again before that: the controller takes the owner away.
        world.change(
            &StorageObject::Claim("data-db-0".into()),
            json!({"metadata": {"ownerReferences": null}}),
        );
        world.act();
        assert_eq!(policies(&world), ["Retain", "Retain", "Retain"]);
    }
}

#[test]
fn p12_another_namespace_of_the_same_name_gets_nothing_unless_it_is_asked_for() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
    // The namespace is going: from now on no claim of that name may get it.
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
    );
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string(), "locked again");
    world
        .change(&StorageObject::Volume("pv-data".into()), json!({"status": {"phase": "Released"}}));
    world.storage_objects.remove(&StorageObject::Namespace("shop".into()));
    world.shop_namespace("ns-2");
    let (_, _, message) = world.volumes_safe();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string());
    assert!(message.contains("volumes of an earlier namespace shop are kept: 1"), "{message}");
    // As its owner asks.
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": "ns-1"}}}),
    );
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
}

#[test]
fn p12_a_claim_with_a_younger_volume_is_said_and_holds_changes() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    let (status, reason, message) = world.volumes_safe();
    assert_eq!((&*status, &*reason), ("False", "VolumeShadowed"));
    assert!(
        message.contains("pv-young")
            && message.contains("pv-data")
            && message.contains("volumes readopt"),
        "{message}"
    );
    assert_eq!(world.told_of(Event::VolumeShadowed), ["PersistentVolumeClaim/data"]);
    assert_eq!(
        world.volume_raw("pv-young")["spec"]["persistentVolumeReclaimPolicy"],
        "Retain",
        "its data counts too"
    );
    let counts = world.counts();
    assert_eq!((&counts["shadowed"], &counts["orphaned"]), (&json!(1), &json!(0)), "counted once");
    world.act();
    assert_eq!(world.told_of(Event::VolumeShadowed).len(), 1, "told once");
}

#[test]
fn p12_a_volume_that_is_chosen_is_free_before_the_claim_with_the_younger_one_is_gone() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    world.act();
    let (volume, claim) =
        (StorageObject::Volume("pv-data".into()), StorageObject::Claim("data".into()));
    world.change(&volume, json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": "ns-1"}}}));
    world.act();
    assert!(
        world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string(),
        "the claim has another volume"
    );
    // The next claim of that name gets it, at once.
    world.change(&claim, json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}));
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
    world.change(&volume, json!({"status": {"phase": "Available"}}));
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
    // Without being chosen it would be the younger one's turn to go nowhere.
    world.change(&volume, json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": null}}}));
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string());
}

#[test]
fn p12_what_is_left_is_judged_by_the_claim_of_its_name_under_any_policy() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.namespace.policies.clear();
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
    world.later(60);
    world.change(
        &StorageObject::Volume("pv-data".into()),
        json!({"status": {"phase": "Available"}}),
    );
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    world.act();
    assert!(
        world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string(),
        "the claim has a younger volume"
    );
    world
        .change(&StorageObject::Volume("pv-data".into()), json!({"status": {"phase": "Released"}}));
    let states: Vec<_> =
        lockkeeper::core::volumes::states(&world.namespace, &world.storage, world.now)
            .into_iter()
            .map(|kept| kept.state)
            .collect();
    assert_eq!(states, [State::Shadowed]);
}

#[test]
fn several_candidates_are_none_and_what_does_not_fit_is_said() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.claim_on("data", "ReadWriteOnce", "pv-second", "Delete");
    world.act();
    world.lose_claim("data");
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "SeveralVolumes");
    assert!(message.contains("pv-data, pv-second"), "{message}");
    for volume in ["pv-data", "pv-second"] {
        assert!(world.volume_raw(volume)["spec"]["claimRef"]["uid"].is_string(), "{volume}");
    }
    // Users who may write volumes say which.
    world.change(
        &StorageObject::Volume("pv-second".into()),
        json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": "ns-1"}}}),
    );
    world.act();
    assert!(world.volume_raw("pv-second")["spec"]["claimRef"]["uid"].is_null());
    let waits = json!({
        "metadata": {"name": "data", "uid": "claim-new"}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}}
    });
    world.put(StorageObject::Claim("data".into()), waits);
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "VolumeDoesNotFit");
    assert!(message.contains(&format!("{GI} bytes, less than the {}", 2 * GI)), "{message}");
}

#[test]
fn protection_is_given_up_by_an_act_of_its_own_and_only_of_a_bound_volume() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"annotations": {"lockkeeper.dev/unprotect": "another"}}}),
    );
    world.act();
    assert_eq!(
        world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"],
        "Retain",
        "that is not its volume"
    );
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"annotations": {"lockkeeper.dev/unprotect": "pv-data"}}}),
    );
    world.act();
    let volume = world.volume_raw("pv-data");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(
        (&volume["metadata"]["labels"], &volume["metadata"]["annotations"]),
        (&json!({}), &json!({}))
    );
    let claim = world.claim_raw("data");
    assert_eq!(
        (&claim["metadata"]["labels"], &claim["metadata"]["annotations"]),
        (&json!({}), &json!({"lockkeeper.dev/unprotect": "pv-data"}))
    );
    assert_eq!(world.told_of(Event::VolumeUnprotected), ["PersistentVolumeClaim/data"]);
    assert!(world.decide().storage.is_empty());
}

#[test]
fn deny_needs_the_platforms_consent_and_permits_expire() {
    let mut world = shop("ReadWriteOnce", json!({"protection": "Deny"}));
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "DenyNotAllowed");
    assert!(message.contains("lockkeeper.dev/allow-deny"), "{message}");
    assert_eq!(
        world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"],
        "Retain",
        "it does what Retain does"
    );
    assert!(!world.namespace.claims["data"].protected);
}

#[test]
fn what_another_manager_declares_is_left_and_said() {
    let mut world = shop("ReadWriteOnce", json!({}));
    let fields =
        json!({"f:metadata": {"f:annotations": {"f:argocd.argoproj.io/sync-options": {}}}});
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {
            "annotations": {"argocd.argoproj.io/sync-options": "Prune=false"},
            "managedFields": [{"manager": "helm", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields}]}}),
    );
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "ShieldIncomplete");
    assert!(
        message.contains("helm declares argocd.argoproj.io/sync-options: Prune=false")
            && message.contains("Delete=false"),
        "{message}"
    );
    assert_eq!(
        world.claim_raw("data")["metadata"]["annotations"]["argocd.argoproj.io/sync-options"],
        "Prune=false"
    );
}

#[test]
fn a_claim_that_nothing_refers_to_is_orphaned_in_time_and_used_again_in_time() {
    let mut world = shop("ReadWriteOnce", json!({"orphanedAfter": "1m"}));
    world.act();
    let id = world.id("web");
    world.namespace.pods.clear();
    let web = world.namespace.workloads.remove(&id).unwrap();
    world.act();
    assert!(
        world.claim_raw("data")["metadata"]["annotations"]["lockkeeper.dev/orphaned-since"]
            .is_string()
    );
    assert_eq!(world.counts()["orphaned"], 0, "not yet");
    world.later(61);
    world.act();
    assert_eq!(
        (&world.counts()["orphaned"], &world.counts()["orphanedBytes"]),
        (&json!(1), &json!(GI))
    );
    assert_eq!(world.told_of(Event::VolumeOrphaned), ["PersistentVolumeClaim/data"]);
    world.namespace.cron_jobs.insert(
        "nightly".into(),
        CronJob { claims: ["data".to_owned()].into(), ..CronJob::default() },
    );
    world.act();
    assert_eq!(world.counts()["orphaned"], 0, "a CronJob refers to it");
    world.namespace.cron_jobs.clear();
    world.namespace.workloads.insert(id, web);
    world.act();
    assert!(
        world.claim_raw("data")["metadata"]["annotations"]["lockkeeper.dev/orphaned-since"]
            .is_null()
    );
    // From then on its time begins again, also for an operator that was started again.
    let id = world.id("web");
    world.namespace.workloads.remove(&id);
    world.later(1000);
    world.act();
    assert_eq!(world.counts()["orphaned"], 0);
    world.restart_operator();
    world.later(59);
    world.act();
    assert_eq!(world.counts()["orphaned"], 0);
    world.later(2);
    world.act();
    assert_eq!(world.counts()["orphaned"], 1);
}

#[test]
fn a_claim_that_is_going_counts_more_than_one_that_is_shadowed() {
    let mut world = World::new();
    world.policy("shop", json!({"config": {"settle": "1s"}, "volumes": {}}));
    world.claim("another", "ReadWriteMany");
    world.claim("data", "ReadWriteMany");
    let mut spec = uses("data");
    spec["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "another", "persistentVolumeClaim": {"claimName": "another"}}));
    world.workload(WorkloadKind::Deployment, "web", 1, spec);
    world.act();
    world.lose_claim("another");
    world.later(60);
    world.claim_on("another", "ReadWriteMany", "pv-young", "Delete");
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
    );
    let id = world.id("web");
    let storage = &world.storage;
    let (enforcement, activities) = (
        lockkeeper::core::hold::enforced::Enforcement::default(),
        std::collections::HashMap::new(),
    );
    let around = lockkeeper::core::volumes::Surroundings {
        storage,
        enforcement: &enforcement,
        activities: &activities,
        now: world.now,
    };
    let governance = lockkeeper::core::governs::governance(&world.namespace);
    let judged = lockkeeper::core::volumes::judge(&world.namespace, &governance, &around);
    assert_eq!(judged.of_workloads[&id].danger.as_ref().unwrap().reason, Reason::ClaimTerminating);
}

#[test]
fn under_deny_claims_without_a_permit_are_named_on_their_namespace_until_it_is_permitted() {
    let mut world = shop("ReadWriteOnce", json!({"protection": "Deny"}));
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"labels": {"lockkeeper.dev/allow-deny": "true"}}}),
    );
    world.act();
    assert!(world.namespace.claims["data"].protected);
    let namespace = |world: &World| world.storage.namespaces["shop"].clone();
    world.act();
    assert!(namespace(&world).protected);
    assert_eq!(namespace(&world).marks["lockkeeper.dev/protected-claims"], "data");
    let until = world.now + std::time::Duration::from_secs(60);
    let permit = json!({"metadata": {"annotations": {"lockkeeper.dev/allow-deletion-until": until.to_string()}}});
    world.change(&StorageObject::Claim("data".into()), permit);
    world.act();
    assert!(!namespace(&world).marks.contains_key("lockkeeper.dev/protected-claims"), "permitted");
    world.later(61);
    world.act();
    assert!(
        !world.namespace.claims["data"].marks.contains_key("lockkeeper.dev/allow-deletion-until"),
        "it has expired"
    );
    assert_eq!(namespace(&world).marks["lockkeeper.dev/protected-claims"], "data");
    // The platform withdraws its consent.
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"labels": {"lockkeeper.dev/allow-deny": null}}}),
    );
    world.act();
    assert!(!world.namespace.claims["data"].protected && !namespace(&world).protected);
}

#[test]
fn a_claim_that_is_going_while_it_is_used_is_the_last_warning_and_no_config_rollout_frees_it() {
    let mut world = World::new();
    world.policy("shop", json!({"config": {"settle": "1s"}, "volumes": {}}));
    world.claim("data", "ReadWriteMany");
    world.config_map("app", &[("key", "old")]);
    let mut spec = uses("data");
    spec["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "app"}}]);
    world.workload(WorkloadKind::Deployment, "web", 1, spec);
    world.act();
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
    );
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "ClaimTerminatingInUse");
    assert!(message.contains("web-1"), "{message}");
    assert_eq!(world.told_of(Event::ClaimTerminatingInUse), ["PersistentVolumeClaim/data"]);
    world.config_map("app", &[("key", "new")]);
    world.later(5);
    assert_eq!(world.act(), Vec::<String>::new());
    world.later(5);
    assert_eq!(world.act(), Vec::<String>::new());
    assert_eq!(world.attention().unwrap().reason, Reason::ClaimTerminating);
}

/// The binder first writes the uid of the claim on the volume, then the phase.
#[test]
fn p14_a_volume_that_is_just_being_given_to_a_claim_is_not_taken_away_again() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    let volume = StorageObject::Volume("pv-data".into());
    let claim = json!({
        "metadata": {"name": "data", "namespace": "shop", "uid": "claim-new"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"}
    });
    world.put(StorageObject::Claim("data".into()), claim);
    world.change(&volume, json!({"spec": {"claimRef": {"uid": "claim-new"}}}));
    world.act();
    assert_eq!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"], "claim-new");
}

#[test]
fn p12_a_claim_that_came_and_went_while_nobody_looked_keeps_no_data_from_being_found() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    let volume = StorageObject::Volume("pv-data".into());
    world.change(
        &volume,
        json!({"spec": {"claimRef": {"uid": "claim-nobody-saw"}}, "status": {"phase": "Released"}}),
    );
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
}

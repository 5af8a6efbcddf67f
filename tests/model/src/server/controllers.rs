//! What the cluster's own controllers do to objects, the garbage collector among them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{CLUSTER_SCOPED, Event, Server, name, next_generation, stored::strip};

impl Server {
    /// Deletes all that is in the namespace.
    pub(crate) fn empty(&mut self) {
        let of_kind = |(kind, all): (&String, &BTreeMap<String, Arc<Value>>)| {
            all.keys().map(|name| (kind.clone(), name.clone())).collect::<Vec<_>>()
        };
        let within =
            self.objects.iter().filter(|(kind, _)| !CLUSTER_SCOPED.contains(&kind.as_str()));
        within
            .flat_map(of_kind)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|(kind, name)| self.delete(&kind, &name));
    }

    /// Whether nothing is in the namespace any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.objects
            .iter()
            .all(|(kind, all)| CLUSTER_SCOPED.contains(&kind.as_str()) || all.is_empty())
    }

    /// A write of the cluster's own controllers, with status and all; nothing if nothing changes.
    pub fn control(&mut self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(old) = self.get(kind, name) else { return };
        let mut new = (*old).clone();
        change(&mut new);
        if kind.starts_with("PersistentVolume") {
            strip(&mut new);
        }
        if new == *old {
            return;
        }
        // The controller of a Deployment writes its annotation along with the status: that makes no
        // generation.
        let subresource =
            (kind == "Deployment" || new["status"] != old["status"]).then_some("status");
        if kind == "ReplicaSet" && new["spec"] != old["spec"] {
            new["metadata"]["generation"] = next_generation(&old);
        }
        self.manage(if kind == "Pod" { "kubelet" } else { CONTROLLERS }, subresource, &mut new);
        self.store(kind, name, new);
    }

    /// Creates an object for the cluster's own controllers; a name that is taken is taken.
    pub fn control_create(&mut self, kind: &str, mut object: Value) {
        let name = name(&object);
        if self.get(kind, &name).is_some() || self.is_ending(kind) {
            return;
        }
        self.born(kind, &mut object);
        self.manage(CONTROLLERS, None, &mut object);
        self.store(kind, &name, object);
    }

    /// Takes an object away at once.
    pub fn remove(&mut self, kind: &str, name: &str) {
        let Some(gone) = self.objects.get_mut(kind).and_then(|all| all.remove(name)) else {
            return;
        };
        self.version += 1;
        let mut object = (*gone).clone();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push(Event {
            version: self.version,
            kind: kind.to_owned(),
            object: Arc::new(object),
            deleted: true,
        });
        self.collect(&gone["metadata"]["uid"]);
    }

    /// The garbage collector: what was owned by one that is gone, and by nobody else, goes too.
    fn collect(&mut self, uid: &Value) {
        let owners = |object: &Value| {
            object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default()
        };
        let owned = |object: &Value| owners(object).iter().any(|owner| owner["uid"] == *uid);
        let all = self
            .objects
            .iter()
            .flat_map(|(kind, all)| all.iter().map(move |(name, object)| (kind, name, object)));
        let orphans: Vec<_> = all
            .filter(|(.., object)| owned(object))
            .map(|(kind, name, _)| (kind.clone(), name.clone()))
            .collect();
        for (kind, name) in orphans {
            let Some(object) = self.get(&kind, &name) else { continue };
            let is_there = |owner: &Value| {
                owner["uid"] != *uid
                    && self
                        .objects
                        .values()
                        .flat_map(BTreeMap::values)
                        .any(|one| one["metadata"]["uid"] == owner["uid"])
            };
            let others: Vec<_> = owners(&object).into_iter().filter(is_there).collect();
            match kind.as_str() {
                _ if !others.is_empty() => self.control(&kind, &name, |object| {
                    object["metadata"]["ownerReferences"] = json!(others)
                }),
                // One that is on no node is gone at once.
                "Pod" if object["spec"]["nodeName"].is_null() => self.remove(&kind, &name),
                _ => self.delete(&kind, &name),
            }
        }
    }
}

/// The cluster's own controllers.
const CONTROLLERS: &str = "kube-controller-manager";

//! The StatefulSet controller. It follows pkg/controller/statefulset of Kubernetes 1.37, and of 1.33
//! to 1.36 where the server is one of those.

use std::{cmp::Reverse, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    count, deployment::share, hash, is_available, is_ready, is_staying, name, number, ordinal,
    owned_by, owner, pod,
};
use crate::server::Server;

const REVISION: &str = "controller-revision-hash";

/// One effect of the controller of a StatefulSet.
pub fn stateful_set(server: &mut Server, set: &str) -> bool {
    let Some(object) = server.get("StatefulSet", set) else { return false };
    let mut revisions = owned_by(server, "ControllerRevision", &object["metadata"]["uid"]);
    revisions.sort_by_cached_key(|revision| (count(&revision["revision"]), name(revision)));
    let highest = revisions.last().map_or(0, |revision| count(&revision["revision"]));
    let hash = hash(&object["spec"]["template"]);
    let update = format!("{set}-{hash}");
    match revisions.iter().find(|revision| revision["metadata"]["name"] == update) {
        None => {
            server.control_create(
                "ControllerRevision",
                controller_revision(&object, &update, &hash, highest + 1),
            );
            return true;
        }
        // What was there before is the newest once more.
        Some(known) if count(&known["revision"]) < highest => {
            server.control("ControllerRevision", &update, |revision| {
                revision["revision"] = json!(highest + 1)
            });
            return true;
        }
        Some(_) => {}
    }
    let pods = owned_by(server, "Pod", &object["metadata"]["uid"]);
    let known = object["status"]["currentRevision"]
        .as_str()
        .filter(|current| revisions.iter().any(|one| one["metadata"]["name"] == *current));
    let current = known.unwrap_or(&update);
    let run = Run {
        object: &object,
        pods: &pods,
        revisions: &revisions,
        update: &update,
        current,
        kubernetes: server.kubernetes,
        now: server.now(),
    };
    run.status(server) || run.retain(server) || run.control(server) || run.clean(server)
}

fn controller_revision(set: &Value, name: &str, hash: &str, number: i64) -> Value {
    let mut template = set["spec"]["template"].clone();
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert("controller.kubernetes.io/hash".to_owned(), json!(hash));
    template["$patch"] = json!("replace");
    let mut metadata =
        json!({"name": name, "labels": labels, "ownerReferences": owner("StatefulSet", set)});
    if set["metadata"]["annotations"].is_object() {
        metadata["annotations"] = set["metadata"]["annotations"].clone();
    }
    json!({"metadata": metadata, "data": {"spec": {"template": template}}, "revision": number})
}

/// A StatefulSet, as one run of the controller sees it.
struct Run<'a> {
    object: &'a Value,
    pods: &'a [Arc<Value>],
    /// By number.
    revisions: &'a [Arc<Value>],
    update: &'a str,
    current: &'a str,
    kubernetes: u32,
    now: Timestamp,
}

impl<'a> Run<'a> {
    fn is_of(&self, pod: &Value, revision: &str) -> bool {
        pod["metadata"]["labels"][REVISION] == revision
    }

    fn is_available(&self, pod: &Value) -> bool {
        is_available(pod, &self.object["spec"]["minReadySeconds"], self.now)
    }

    fn start(&self) -> i64 {
        count(&self.object["spec"]["ordinals"]["start"])
    }

    fn wanted(&self) -> i64 {
        count(&self.object["spec"]["replicas"])
    }

    fn at(&self, ordinal: i64) -> Option<&'a Arc<Value>> {
        self.pods.iter().find(|pod| super::ordinal(pod) == ordinal)
    }

    /// The revision at which a missing pod comes back.
    fn revision_of(&self, ordinal: i64) -> &'a str {
        let strategy = &self.object["spec"]["updateStrategy"];
        let below = match strategy["rollingUpdate"]["partition"].as_i64() {
            // The partition is an index, not an ordinal.
            Some(partition) => partition,
            None if strategy["type"] == "RollingUpdate" => {
                count(&self.object["status"]["currentReplicas"])
            }
            None => 0,
        };
        if ordinal < self.start().saturating_add(below) { self.current } else { self.update }
    }

    fn create(&self, server: &mut Server, ordinal: i64) -> bool {
        let revision = self.revision_of(ordinal);
        let Some(of) = self.revisions.iter().find(|one| one["metadata"]["name"] == revision) else {
            return false;
        };
        let (pod_name, index) = (format!("{}-{ordinal}", name(self.object)), ordinal.to_string());
        let labels = [
            (REVISION, revision),
            ("apps.kubernetes.io/pod-index", &index),
            ("statefulset.kubernetes.io/pod-name", &pod_name),
        ];
        let mut pod = pod(
            &pod_name,
            &of["data"]["spec"]["template"],
            owner("StatefulSet", self.object),
            &labels,
        );
        pod["spec"]["hostname"] = json!(pod_name);
        if let Some(did) = self.create_claim(server, ordinal) {
            return did;
        }
        for (template, claim_name) in self.claims(ordinal) {
            let of_claim = json!({"name": template["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim_name}});
            match pod["spec"]["volumes"].as_array_mut() {
                Some(volumes) => volumes.push(of_claim),
                None => pod["spec"]["volumes"] = json!([of_claim]),
            }
        }
        server.control_create("Pod", pod);
        true
    }

    /// Creates the first claim of an ordinal that is missing. Returns whether it did, unless all
    /// are there: it waits for one that is going.
    fn create_claim(&self, server: &mut Server, ordinal: i64) -> Option<bool> {
        for (template, claim_name) in self.claims(ordinal) {
            match server.get("PersistentVolumeClaim", &claim_name) {
                Some(claim) if is_staying(&claim) => {}
                Some(_) => return Some(false),
                None => {
                    let mut metadata = template["metadata"].clone();
                    metadata["name"] = json!(claim_name);
                    if let Some(labels) = self.object["spec"]["selector"]["matchLabels"].as_object()
                    {
                        labels
                            .iter()
                            .for_each(|(key, value)| metadata["labels"][key] = value.clone());
                    }
                    let claim = json!({"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}});
                    server.control_create("PersistentVolumeClaim", claim);
                    return Some(true);
                }
            }
        }
        None
    }

    /// The templates of claims, and the names of the claims of an ordinal.
    fn claims(&self, ordinal: i64) -> impl Iterator<Item = (&'a Value, String)> {
        let (set, templates) =
            (name(self.object), self.object["spec"]["volumeClaimTemplates"].as_array());
        templates
            .into_iter()
            .flatten()
            .map(move |template| (template, format!("{}-{set}-{ordinal}", name(template))))
    }

    /// Claims get owners as the retention policy says: the set, or a pod that is scaled away.
    fn retain(&self, server: &mut Server) -> bool {
        let policy = &self.object["spec"]["persistentVolumeClaimRetentionPolicy"];
        let wanted = self.start()..self.start().saturating_add(self.wanted());
        for pod in self.pods.iter().filter(|pod| is_staying(pod)) {
            let ordinal = ordinal(pod);
            let owned = match wanted.contains(&ordinal) {
                false if policy["whenScaled"] == "Delete" => owner("Pod", pod),
                _ if policy["whenDeleted"] == "Delete" => owner("StatefulSet", self.object),
                _ => json!([]),
            };
            for (_, claim_name) in self.claims(ordinal) {
                let Some(claim) = server.get("PersistentVolumeClaim", &claim_name) else {
                    continue;
                };
                let known =
                    claim["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
                let ours = |one: &&Value| {
                    one["uid"] == self.object["metadata"]["uid"]
                        || one["kind"] == "Pod" && one["name"] == name(pod)
                };
                let others = known.iter().filter(|one| !ours(one)).cloned();
                let owners: Vec<_> =
                    others.chain(owned.as_array().into_iter().flatten().cloned()).collect();
                if owners != known {
                    let owners = if owners.is_empty() { Value::Null } else { Value::Array(owners) };
                    server.control("PersistentVolumeClaim", &claim_name, |claim| {
                        claim["metadata"]["ownerReferences"] = owners
                    });
                    return true;
                }
            }
        }
        false
    }

    fn control(&self, server: &mut Server) -> bool {
        let monotonic = self.object["spec"]["podManagementPolicy"] != "Parallel";
        let ordinals = self.start()..self.start().saturating_add(self.wanted());
        for ordinal in ordinals.clone() {
            match self.at(ordinal) {
                None => return self.create(server, ordinal),
                // One whose claim went before it had a node gets another one.
                Some(pod)
                    if pod["status"]["phase"] == "Pending"
                        && self.create_claim(server, ordinal) == Some(true) =>
                {
                    return true;
                }
                // In order, and each only once the one before is ready (kubernetes#67250: also when
                // its revision is withdrawn).
                Some(pod) if monotonic && !(is_staying(pod) && self.is_available(pod)) => {
                    return false;
                }
                Some(_) => {}
            }
        }
        let mut condemned: Vec<_> =
            self.pods.iter().filter(|pod| !ordinals.contains(&ordinal(pod))).collect();
        condemned.sort_by_key(|pod| Reverse(ordinal(pod)));
        // Of the pods that are not available only the first may go before the others are.
        let broken =
            condemned.iter().rev().find(|pod| !self.is_available(pod) || !is_staying(pod)).copied();
        for pod in condemned {
            match is_staying(pod) {
                true if monotonic
                    && !self.is_available(pod)
                    && broken.is_some_and(|broken| !Arc::ptr_eq(broken, pod)) =>
                {
                    return false;
                }
                true => {
                    server.delete("Pod", &name(pod));
                    return true;
                }
                false if monotonic => return false,
                false => {}
            }
        }
        self.roll(server, ordinals)
    }

    /// Pods of other revisions are ended, from the highest ordinal down.
    fn roll(&self, server: &mut Server, ordinals: std::ops::Range<i64>) -> bool {
        let strategy = &self.object["spec"]["updateStrategy"];
        if strategy["type"] == "OnDelete" {
            return false;
        }
        let partition = count(&strategy["rollingUpdate"]["partition"]);
        let rolling = ordinals.start.saturating_add(partition)..ordinals.end;
        if self.kubernetes >= 37 {
            return self.roll_within(server, ordinals, rolling);
        }
        for ordinal in rolling.rev() {
            let Some(pod) = self.at(ordinal) else { return false };
            if !self.is_of(pod, self.update) && is_staying(pod) {
                server.delete("Pod", &name(pod));
                return true;
            }
            if !self.is_available(pod) || !is_staying(pod) {
                return false;
            }
        }
        false
    }

    /// The same from 1.37 on: at most `maxUnavailable` pods are unavailable, those below the
    /// partition included. Of a Parallel set, old pods that are unavailable anyway end first.
    fn roll_within(
        &self,
        server: &mut Server,
        ordinals: std::ops::Range<i64>,
        rolling: std::ops::Range<i64>,
    ) -> bool {
        let Some(all) = ordinals.map(|ordinal| self.at(ordinal)).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let is_old = |pod: &Value| is_staying(pod) && !self.is_of(pod, self.update);
        let parallel = self.object["spec"]["podManagementPolicy"] == "Parallel";
        let most = share(
            &self.object["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"],
            self.wanted(),
            false,
        );
        let unavailable =
            number(all.iter().filter(|pod| !self.is_available(pod) || !is_staying(pod)));
        let within = unavailable < most.max(1);
        let mut old = rolling.rev().filter_map(|at| self.at(at)).filter(|pod| is_old(pod));
        let next = match parallel {
            true => old
                .clone()
                .find(|pod| !self.is_available(pod))
                .or_else(|| old.next().filter(|_| within)),
            false => old.next().filter(|_| within),
        };
        next.inspect(|pod| server.delete("Pod", &name(pod))).is_some()
    }

    fn status(&self, server: &mut Server) -> bool {
        let number =
            |keep: &dyn Fn(&Value) -> bool| number(self.pods.iter().filter(|pod| keep(pod)));
        let (replicas, ready) = (number(&|_| true), number(&is_ready));
        let of =
            |revision: &str| number(&|pod: &Value| self.is_of(pod, revision) && is_staying(pod));
        let updated = of(self.update);
        // The partition is not looked at: at 0 replicas even a held update counts as complete.
        let all = |count: i64| count == self.wanted();
        let is_rolling = self.object["spec"]["updateStrategy"]["type"] == "RollingUpdate";
        let complete =
            (is_rolling || self.kubernetes >= 37) && all(updated) && all(ready) && all(replicas);
        let (current, currents) =
            if complete { (self.update, updated) } else { (self.current, of(self.current)) };
        let status = json!({
            "observedGeneration": self.object["metadata"]["generation"], "replicas": replicas, "readyReplicas": ready,
            "availableReplicas": number(&|pod| self.is_available(pod)), "updatedReplicas": updated, "currentReplicas": currents,
            "updateRevision": self.update, "currentRevision": current, "collisionCount": 0,
        });
        if self.object["status"] == status {
            return false;
        }
        server.control("StatefulSet", &name(self.object), |object| object["status"] = status);
        true
    }

    /// Drops revisions that nothing uses beyond the limit, the oldest first.
    fn clean(&self, server: &mut Server) -> bool {
        let limit = self.object["spec"]["revisionHistoryLimit"]
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(10);
        let used = |revision: &str| {
            revision == self.update
                || revision == self.current
                || self.pods.iter().any(|pod| self.is_of(pod, revision))
        };
        let unused: Vec<_> = self
            .revisions
            .iter()
            .map(|revision| name(revision))
            .filter(|name| !used(name))
            .collect();
        let gone = unused.len().saturating_sub(limit);
        unused.iter().take(gone).for_each(|revision| server.remove("ControllerRevision", revision));
        gone > 0
    }
}

//! The Deployment controller, with that of its ReplicaSets. It follows pkg/controller/deployment of
//! Kubernetes 1.36 function by function.

use std::{cmp::Reverse, sync::Arc};

use serde_json::{Value, json};

use super::{
    condition, count, hash, is_available, is_ready, is_staying, name, number, owned_by, owner, pod,
};
use crate::server::Server;

mod status;

use status::set_condition;

const REVISION: &str = "deployment.kubernetes.io/revision";

const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

const HASH: &str = "pod-template-hash";

/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: [&str; 4] =
    [REVISION, DESIRED, MAXIMUM, "kubectl.kubernetes.io/last-applied-configuration"];

/// One effect of the controller of a Deployment, or of its ReplicaSets.
pub fn deployment(server: &mut Server, deployment: &str) -> bool {
    let Some(object) = server.get("Deployment", deployment) else { return false };
    let mut sets = owned_by(server, "ReplicaSet", &object["metadata"]["uid"]);
    // By creation, in whole seconds, then by name: "the newest" means this order, not the revision.
    sets.sort_by(|one, other| {
        created(one)
            .cmp(created(other))
            .then_with(|| one["metadata"]["name"].as_str().cmp(&other["metadata"]["name"].as_str()))
    });
    Sync::new(&object, &sets).one(server) || sets.iter().any(|set| replica_set(server, set))
}

fn annotation(object: &Value, key: &str) -> Option<i64> {
    object["metadata"]["annotations"][key].as_str()?.parse().ok()
}

fn revision(object: &Value) -> i64 {
    annotation(object, REVISION).unwrap_or(0)
}

/// Such times can be compared as text.
fn created(object: &Value) -> &str {
    object["metadata"]["creationTimestamp"].as_str().unwrap_or_default()
}

fn size(set: &Value) -> i64 {
    count(&set["spec"]["replicas"])
}

fn available(set: &Value) -> i64 {
    count(&set["status"]["availableReplicas"])
}

/// Brings the number of pods of a ReplicaSet one nearer to what it should be.
fn replica_set(server: &mut Server, set: &Value) -> bool {
    let mut pods = owned_by(server, "Pod", &set["metadata"]["uid"]);
    pods.retain(|pod| is_staying(pod));
    let (wanted, there) = (size(set), number(pods.iter()));
    if there < wanted {
        let pod_name = format!("{}-{}", name(set), server.version());
        server.control_create(
            "Pod",
            pod(&pod_name, &set["spec"]["template"], owner("ReplicaSet", set), &[]),
        );
        return true;
    }
    if there > wanted {
        // Those that did not start yet go first, then those that are not ready, then the youngest.
        let rank = |pod: &Value| {
            (pod["status"]["phase"] != "Pending", is_ready(pod), Reverse(created(pod).to_owned()))
        };
        if let Some(gone) = pods.iter().min_by_key(|pod| rank(pod)) {
            server.delete("Pod", &name(gone));
        }
        return true;
    }
    let ready = number(pods.iter().filter(|pod| is_ready(pod)));
    let available = number(
        pods.iter().filter(|pod| is_available(pod, &set["spec"]["minReadySeconds"], server.now())),
    );
    let generation = &set["metadata"]["generation"];
    let status = json!({"replicas": there, "readyReplicas": ready, "availableReplicas": available, "observedGeneration": generation});
    if set["status"] == status {
        return false;
    }
    server.control("ReplicaSet", &name(set), |set| set["status"] = status);
    true
}

/// `25%` or a number, of so many.
pub(super) fn share(value: &Value, of: i64, up: bool) -> i64 {
    match value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok()) {
        Some(percent) if up => (percent * of + 99) / 100,
        Some(percent) => percent * of / 100,
        None => value.as_i64().unwrap_or(0),
    }
}

/// A Deployment and its ReplicaSets, as one run of the controller sees them.
struct Sync<'a> {
    object: &'a Value,
    /// By creation.
    sets: &'a [Arc<Value>],
    /// That of the template at hand.
    new: Option<&'a Arc<Value>>,
    old: Vec<&'a Arc<Value>>,
    wanted: i64,
    rolling: bool,
    surge: i64,
    unavailable: i64,
}

impl<'a> Sync<'a> {
    fn new(object: &'a Value, sets: &'a [Arc<Value>]) -> Self {
        let of_template = hash(&object["spec"]["template"]);
        let new = sets.iter().find(|set| set["metadata"]["labels"][HASH] == of_template);
        let old = sets.iter().filter(|set| new.is_none_or(|new| !Arc::ptr_eq(new, set))).collect();
        let wanted = size(object);
        let strategy = &object["spec"]["strategy"];
        let rolling = strategy["type"] != "Recreate";
        let surge = share(&strategy["rollingUpdate"]["maxSurge"], wanted, true);
        let unavailable = match share(&strategy["rollingUpdate"]["maxUnavailable"], wanted, false) {
            // Both rounded to zero, nothing could move.
            0 if surge == 0 => 1,
            unavailable => unavailable,
        };
        let (surge, unavailable) = if rolling { (surge, unavailable.min(wanted)) } else { (0, 0) };
        Self { object, sets, new, old, wanted, rolling, surge, unavailable }
    }

    fn is_paused(&self) -> bool {
        self.object["spec"]["paused"] == true
    }

    fn total(&self) -> i64 {
        self.sets.iter().map(|set| size(set)).sum()
    }

    fn one(&self, server: &mut Server) -> bool {
        if self.paused_or_resumed(server) || self.found(server) {
            return true;
        }
        let scaled = |set: &Arc<Value>| {
            size(set) > 0 && annotation(set, DESIRED).is_some_and(|desired| desired != self.wanted)
        };
        if self.is_paused() || self.sets.iter().any(scaled) {
            return self.scale(server)
                || (self.is_paused() && self.clean(server))
                || self.status(server, false);
        }
        if self.rolling { self.roll(server) } else { self.recreate(server) }
    }

    fn write(&self, server: &mut Server, change: impl FnOnce(&mut Value)) {
        server.control("Deployment", &name(self.object), change);
    }

    fn paused_or_resumed(&self, server: &mut Server) -> bool {
        let before = condition(self.object, "Progressing").map(|condition| &condition["reason"]);
        if before.is_some_and(|reason| *reason == "ProgressDeadlineExceeded") {
            return false;
        }
        let noted = before.is_some_and(|reason| *reason == "DeploymentPaused");
        if noted == self.is_paused() {
            return false;
        }
        let reason = if noted { "DeploymentResumed" } else { "DeploymentPaused" };
        self.note(server, None, ("Unknown", reason));
        true
    }

    /// Writes the condition Progressing, and a revision.
    fn note(&self, server: &mut Server, revision: Option<&Value>, (status, reason): (&str, &str)) {
        let mut conditions = self.conditions();
        set_condition(&mut conditions, ("Progressing", status, reason), &server.second());
        self.write(server, |object| {
            object["status"]["conditions"] = Value::Array(conditions);
            if let Some(revision) = revision {
                object["metadata"]["annotations"][REVISION] = revision.clone();
            }
        });
    }

    /// The template's ReplicaSet is there: it is the newest revision, and gets the Deployment's
    /// annotations; also while paused.
    fn found(&self, server: &mut Server) -> bool {
        let Some(new) = self.new else { return false };
        let of_set = &new["metadata"]["annotations"];
        let own = self.object["metadata"]["annotations"].as_object();
        let missing = |(key, value): &(&String, &Value)| {
            !NOT_COPIED.contains(&key.as_str()) && of_set[key.as_str()] != **value
        };
        let missing: Vec<_> = own.into_iter().flatten().filter(missing).collect();
        let next = self.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
        if !missing.is_empty() || revision(new) < next {
            server.control("ReplicaSet", &name(new), |set| {
                let annotations = &mut set["metadata"]["annotations"];
                for (key, value) in missing {
                    annotations[key] = value.clone();
                }
                if annotations[REVISION]
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .is_none_or(|revision: i64| revision < next)
                {
                    annotations[REVISION] = json!(next.to_string());
                }
            });
            return true;
        }
        let known = condition(self.object, "Progressing").is_some();
        if known && self.object["metadata"]["annotations"][REVISION] == of_set[REVISION] {
            return false;
        }
        if known {
            self.write(server, |object| {
                object["metadata"]["annotations"][REVISION] = of_set[REVISION].clone()
            });
        } else {
            self.note(server, Some(&of_set[REVISION]), ("True", "FoundNewReplicaSet"));
        }
        true
    }

    /// How many more a rolling update may make of the new ReplicaSet.
    fn room(&self) -> i64 {
        let of_new = self.new.map_or(0, |set| size(set));
        (self.wanted + self.surge - self.total()).min(self.wanted - of_new).max(0)
    }

    fn create(&self, server: &mut Server) -> bool {
        let replicas = if self.rolling { self.room() } else { self.wanted };
        let mut template = self.object["spec"]["template"].clone();
        let hash = hash(&template);
        template["metadata"]["labels"][HASH] = json!(hash);
        let labels = template["metadata"]["labels"].clone();
        let mut selector = self.object["spec"]["selector"].clone();
        selector["matchLabels"][HASH] = json!(hash);
        let mut annotations =
            self.object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        annotations.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
        let revision =
            json!((self.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1).to_string());
        annotations.insert(REVISION.to_owned(), revision.clone());
        annotations.insert(DESIRED.to_owned(), json!(self.wanted.to_string()));
        annotations.insert(MAXIMUM.to_owned(), json!((self.wanted + self.surge).to_string()));
        let set_name = format!("{}-{hash}", name(self.object));
        let metadata = json!({"name": set_name, "labels": labels, "annotations": annotations, "ownerReferences": owner("Deployment", self.object)});
        let mut spec = json!({"replicas": replicas, "selector": selector, "template": template});
        if !self.object["spec"]["minReadySeconds"].is_null() {
            spec["minReadySeconds"] = self.object["spec"]["minReadySeconds"].clone();
        }
        server.control_create(
            "ReplicaSet",
            json!({"metadata": metadata, "spec": spec, "status": {"replicas": 0}}),
        );
        self.note(server, Some(&revision), ("True", "NewReplicaSetCreated"));
        true
    }

    /// Returns whether the size changed.
    fn scale_to(&self, server: &mut Server, set: &Value, replicas: i64) -> bool {
        let resized = size(set) != replicas;
        if resized {
            self.scale_noting(server, set, replicas);
        }
        resized
    }

    /// Notes on the ReplicaSet also what was wanted when it was scaled. Returns whether anything
    /// changed.
    fn scale_noting(&self, server: &mut Server, set: &Value, replicas: i64) -> bool {
        let before = server.version();
        server.control("ReplicaSet", &name(set), |set| {
            set["spec"]["replicas"] = json!(replicas);
            set["metadata"]["annotations"][DESIRED] = json!(self.wanted.to_string());
            set["metadata"]["annotations"][MAXIMUM] = json!((self.wanted + self.surge).to_string());
        });
        server.version() > before
    }

    /// Scaling, apart from rollouts: what is there is scaled, whichever revision it is.
    fn scale(&self, server: &mut Server) -> bool {
        let mut active: Vec<_> = self.sets.iter().filter(|set| size(set) > 0).collect();
        match (active.as_slice(), self.new.or(self.old.last().copied())) {
            (_, None) => return false,
            ([], Some(newest)) => return self.scale_to(server, newest, self.wanted),
            ([only], _) => return self.scale_to(server, only, self.wanted),
            _ => {}
        }
        let saturated = |new: &Arc<Value>| {
            size(new) == self.wanted
                && annotation(new, DESIRED) == Some(self.wanted)
                && available(new) == self.wanted
        };
        if self.new.is_some_and(saturated) {
            return self.end_old(server);
        }
        if !self.rolling {
            return false;
        }
        let allowed = if self.wanted > 0 { self.wanted + self.surge } else { 0 };
        let add = allowed - self.total();
        // Of the same size the newer one grows first, and the older one shrinks first. The sets are
        // sorted by creation.
        if add > 0 {
            active.reverse();
        }
        active.sort_by_key(|set| Reverse(size(set)));
        let mut added = 0;
        let mut sizes = Vec::with_capacity(active.len());
        for set in &active {
            let part = self.part(set, add, added);
            added += part;
            sizes.push(size(set) + part);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + add - added).max(0);
        }
        active
            .iter()
            .zip(sizes)
            .fold(false, |did, (set, size)| self.scale_noting(server, set, size) || did)
    }

    /// What a ReplicaSet gets of those that are added or taken away.
    fn part(&self, set: &Value, add: i64, added: i64) -> i64 {
        if add == added {
            return 0;
        }
        let before = annotation(set, MAXIMUM)
            .filter(|before| *before != 0)
            .unwrap_or(count(&self.object["status"]["replicas"]));
        let fraction = match (self.wanted, before) {
            (0, _) => -size(set),
            (_, 0) => 0,
            // Rounded to the nearest.
            _ => {
                (2 * size(set) * (self.wanted + self.surge) + before).div_euclid(2 * before)
                    - size(set)
            }
        };
        if add > 0 { fraction.min(add - added) } else { fraction.max(add - added) }
    }

    fn roll(&self, server: &mut Server) -> bool {
        let Some(new) = self.new else { return self.create(server) };
        if size(new) != self.wanted {
            let replicas =
                if size(new) > self.wanted { self.wanted } else { size(new) + self.room() };
            if self.scale_to(server, new, replicas) {
                return true;
            }
        }
        self.shrink_old(server, new)
            || (self.is_complete(&self.object["status"]) && self.clean(server))
            || self.status(server, true)
    }

    fn shrink_old(&self, server: &mut Server, new: &Value) -> bool {
        let mut old: Vec<_> =
            self.old.iter().filter(|set| size(set) > 0).map(|set| (*set, size(set))).collect();
        let least = self.wanted - self.unavailable;
        let most = self.total() - least - (size(new) - available(new));
        if old.is_empty() || most <= 0 {
            return false;
        }
        // What is not available goes first, it would block the rest.
        let mut gone = 0;
        for (set, replicas) in &mut old {
            if gone >= most || *replicas == available(set) {
                continue;
            }
            let down = (most - gone).min(*replicas - available(set));
            if down < 0 {
                // Its status is older than its spec: later.
                return gone > 0;
            }
            self.scale_to(server, set, *replicas - down);
            *replicas -= down;
            gone += down;
        }
        let spare = self.sets.iter().map(|set| available(set)).sum::<i64>() - least;
        let mut scaled = 0;
        for (set, replicas) in &old {
            let down = (*replicas).min(spare - scaled);
            if down > 0 {
                self.scale_noting(server, set, replicas - down);
                scaled += down;
            }
        }
        gone + scaled > 0
    }

    /// No pods of other templates, all at once.
    fn end_old(&self, server: &mut Server) -> bool {
        self.old.iter().filter(|set| self.scale_to(server, set, 0)).count() > 0
    }

    fn recreate(&self, server: &mut Server) -> bool {
        if self.end_old(server) {
            return true;
        }
        // Finished or gone, not only going.
        let running = |set: &&Arc<Value>| {
            let mut pods = owned_by(server, "Pod", &set["metadata"]["uid"]).into_iter();
            count(&set["status"]["replicas"]) > 0
                || pods.any(|pod| pod["status"]["phase"] != "Succeeded")
        };
        if self.old.iter().any(running) {
            return self.status(server, true);
        }
        let Some(new) = self.new else { return self.create(server) };
        self.scale_to(server, new, self.wanted)
            || (self.is_complete(&self.object["status"]) && self.clean(server))
            || self.status(server, true)
    }

    /// Drops old ReplicaSets without pods beyond the limit.
    fn clean(&self, server: &mut Server) -> bool {
        let limit = self.object["spec"]["revisionHistoryLimit"]
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(10);
        let mut old = self.old.clone();
        old.sort_by_key(|set| revision(set));
        let unseen = |set: &Value| {
            count(&set["metadata"]["generation"]) > count(&set["status"]["observedGeneration"])
        };
        let unused = |set: &&&Arc<Value>| {
            size(set) == 0 && count(&set["status"]["replicas"]) == 0 && !unseen(set)
        };
        let before = server.version();
        old.iter()
            .take(old.len().saturating_sub(limit))
            .filter(unused)
            .for_each(|set| server.remove("ReplicaSet", &name(set)));
        server.version() > before
    }
}

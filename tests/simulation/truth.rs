//! What is really so, seen from outside: kept up by the simulation from what users do and what the
//! server shows, and compared with the promises after every move.

use std::collections::{BTreeMap, BTreeSet};

use model::{admission::HELD, server::Server};
use serde_json::Value;

use crate::{cluster::pods_of, consent::ordinal};

/// What is known of one workload besides what is written on it.
#[derive(Default, Clone)]
pub struct Known {
    /// What the user last asked for in `paused` or as partition.
    pub declared: i64,
    /// A user's own annotation.
    pub team: Option<String>,
    /// Approvals by somebody with the right to: id and image.
    pub approvals: BTreeSet<(String, String)>,
    /// Who changed the image since what runs was let through.
    pub authors: BTreeSet<String>,
    /// Ids of changes that one of their authors was the last to approve.
    pub own_approvals: BTreeSet<String>,
    /// The hold that stands: its id, and what ran when it began.
    pub hold: Option<HoldBegun>,
    /// The image with which the last rollout was done.
    pub settled: Option<String>,
    /// Pods that users evicted, and those that scaling may take.
    pub excused: BTreeSet<String>,
    pub evicted: BTreeSet<String>,
    pub scaled: bool,
    /// The image before the change that is held.
    pub before: Option<String>,
    /// The change for which its pods go one by one.
    pub walks: Option<String>,
    /// Whether its changes would be held, as it was when last looked at.
    pub marked: bool,
}

#[derive(Clone)]
pub struct HoldBegun {
    pub images: BTreeSet<String>,
    pub pods: BTreeSet<String>,
    /// The id and image that were held when last looked at.
    pub change: (String, String),
}

#[derive(Default)]
pub struct Truth {
    pub known: BTreeMap<(&'static str, &'static str), Known>,
}

pub fn mark<'a>(object: &'a Value, mark: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][format!("lockkeeper.dev/{mark}")].as_str()
}

/// The id of the hold on a workload.
pub fn hold(object: &Value) -> Option<&str> {
    object["metadata"]["labels"]["lockkeeper.dev/governed"].as_str()?;
    let (id, by) = mark(object, "hold")?.split_once(" by ")?;
    (!by.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

/// The fewer replicas that wait for the release of what is held, unless somebody has scaled since.
pub fn waiting(object: &Value) -> Option<u64> {
    hold(object)?;
    let (declared, running) = mark(object, "declared-replicas")?.split_once(" of ")?;
    (object["spec"]["replicas"] == running.parse::<u64>().ok()?).then(|| declared.parse().ok())?
}

pub fn image(object: &Value) -> String {
    object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

/// `paused` as 0 or 1, or the partition.
pub fn stands(kind: &str, object: &Value) -> i64 {
    match kind {
        "Deployment" => i64::from(object["spec"]["paused"] == true),
        _ => object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0),
    }
}

/// The pods of a workload that are not going: uid and image.
pub fn pods(server: &Server, name: &str) -> BTreeMap<String, String> {
    let of = |pod: &Value| {
        pod["metadata"]["labels"]["app"] == name && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let pods = server.list("Pod").into_iter().filter(|pod| of(pod));
    pods.map(|pod| {
        (
            pod["metadata"]["uid"].as_str().unwrap().to_owned(),
            pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned(),
        )
    })
    .collect()
}

fn is_done(kind: &str, object: &Value, pods: &BTreeMap<String, String>) -> bool {
    let (status, wanted) = (&object["status"], object["spec"]["replicas"].as_u64().unwrap());
    let all = |field: &str| status[field].as_u64() == Some(wanted);
    let observed = status["observedGeneration"] == object["metadata"]["generation"];
    let one = pods.values().collect::<BTreeSet<_>>().len() <= 1 && pods.len() as u64 == wanted;
    observed
        && one
        && all("replicas")
        && all("availableReplicas")
        && all("updatedReplicas")
        && (kind == "Deployment" || status["updateRevision"] == status["currentRevision"])
}

impl Truth {
    /// Looks at a workload after a move; the first promise that is broken.
    pub fn check(
        &mut self,
        server: &Server,
        kind: &'static str,
        name: &'static str,
    ) -> Result<(), String> {
        let Some(object) = server.get(kind, name) else { return Ok(()) };
        let pods = pods(server, name);
        let known = self.known.entry((kind, name)).or_default();
        let hold = hold(&object);
        if hold.is_some() && known.hold.is_none() {
            // What was under way goes on.
            let wanted = server.list("ReplicaSet").into_iter().filter(|set| {
                set["metadata"]["ownerReferences"][0]["name"] == name
                    && set["spec"]["replicas"] != 0
            });
            // Paused when no ReplicaSet is to have pods, as amid a Recreate, a Deployment comes
            // back at the one that was made last.
            let own =
                |set: &std::sync::Arc<Value>| set["metadata"]["ownerReferences"][0]["name"] == name;
            let last = server.list("ReplicaSet").into_iter().filter(own).max_by_key(|set| {
                let of =
                    |field: &str| set["metadata"][field].as_str().unwrap_or_default().to_owned();
                (of("creationTimestamp"), of("name"))
            });
            let under_way = wanted
                .map(|set| image(&set))
                .chain(server_settled(server, kind, &object))
                .chain(last.map(|set| image(&set)));
            let images: BTreeSet<String> =
                pods.values().cloned().chain(known.settled.clone()).chain(under_way).collect();
            let change = (hold.unwrap_or_default().to_owned(), image(&object));
            known.hold = Some(HoldBegun { images, pods: pods.keys().cloned().collect(), change });
            // What scaling takes, it may take later: of a StatefulSet those beyond the last
            // ordinal, also while one below is missing.
            let wanted = object["spec"]["replicas"].as_i64().unwrap();
            let end = wanted + object["spec"]["ordinals"]["start"].as_i64().unwrap_or_default();
            let beyond = |pod: &std::sync::Arc<Value>| kind == "StatefulSet" && ordinal(pod) >= end;
            known.scaled = pods.len() as i64 > wanted || pods_of(server, name).iter().any(beyond);
            known.excused.clear();
        }
        if hold.is_none() {
            known.hold = None;
        }
        if hold.is_some() || mark(&object, "partition").is_none() {
            known.walks = None;
        }
        if let (Some(begun), Some(id)) = (&mut known.hold, hold) {
            // At 0 replicas a StatefulSet's controller itself counts the newest revision as rolled
            // out; no pod was ended for it. A Deployment that is scaled up again takes a ReplicaSet
            // of its template, if there is one from before.
            let is_left = |set: &std::sync::Arc<Value>| {
                set["metadata"]["ownerReferences"][0]["name"] == name
                    && image(set) == image(&object)
            };
            let starts = kind == "StatefulSet" || server.list("ReplicaSet").iter().any(is_left);
            if pods.is_empty() && object["spec"]["replicas"] == 0 && starts {
                begun.images.insert(image(&object));
            }
            let change = (id.to_owned(), image(&object));
            if begun.change.0 == change.0 && begun.change.1 != change.1 {
                return Err(format!(
                    "P7: {kind}/{name} is held with another template, under the same id {id}"
                ));
            }
            begun.change = change;
            let held = if kind == "Deployment" { 1 } else { HELD };
            if stands(kind, &object) != held {
                return Err(format!(
                    "P6: {kind}/{name} is held (id {id}), and yet paused or partition is {}",
                    stands(kind, &object)
                ));
            }
            if let Some((_, new)) = pods
                .iter()
                .find(|(uid, image)| !begun.pods.contains(*uid) && !begun.images.contains(*image))
            {
                return Err(format!(
                    "P6: {kind}/{name} is held (id {id}), and a pod of {new} was made"
                ));
            }
            let mid_rollout = begun.images.len() > 1;
            let ended = |uid: &&String| !pods.contains_key(*uid) && !known.excused.contains(*uid);
            if let Some(uid) =
                begun.pods.iter().find(ended).filter(|_| !known.scaled && !mid_rollout)
            {
                return Err(format!(
                    "P6: {kind}/{name} is held (id {id}), and its pod {uid} was ended"
                ));
            }
            let declared =
                if kind == "Deployment" { "declared-paused" } else { "declared-partition" };
            let recorded = match mark(&object, declared) {
                Some("true") => 1,
                Some("false") | None => 0,
                Some(number) => number.parse().unwrap(),
            };
            if recorded != known.declared {
                return Err(format!(
                    "P10: {kind}/{name} is held, the manifest says {}, recorded is {recorded}",
                    known.declared
                ));
            }
        } else if let Some(step) = mark(&object, "partition").filter(|_| kind == "StatefulSet") {
            let recorded = mark(&object, "declared-partition").unwrap_or("0");
            if stands(kind, &object).to_string() != step || recorded != known.declared.to_string() {
                return Err(format!(
                    "P10: {kind}/{name} is walked, step {step}, partition {}; the manifest says {}, recorded is {recorded}",
                    stands(kind, &object),
                    known.declared
                ));
            }
        } else if stands(kind, &object) != known.declared {
            return Err(format!(
                "P10: {kind}/{name} is free, the manifest says {}, paused or partition is {}",
                known.declared,
                stands(kind, &object)
            ));
        }
        if object["metadata"]["annotations"]["team"].as_str() != known.team.as_deref() {
            return Err(format!("P10: {kind}/{name} lost its user's annotation"));
        }
        if hold.is_none() && is_done(kind, &object, &pods) {
            known.settled = Some(image(&object));
        }
        known.marked = object["metadata"]["labels"]["lockkeeper.dev/governed"].is_string()
            && mark(&object, "hold-changes") == Some("true");
        Ok(())
    }

    /// A user wrote: a user who changes what is held is one of its authors.
    pub fn wrote(
        &mut self,
        user: &str,
        at: (&'static str, &'static str),
        before: &Value,
        after: &Value,
    ) {
        let Some(known) = self.known.get_mut(&at) else { return };
        let active = |object: &Value| {
            hold(object).is_some() || (at.0 == "StatefulSet" && mark(object, "partition").is_some())
        };
        if !active(before) || !active(after) {
            known.authors.clear();
        }
        if active(after) && image(before) != image(after) {
            known.authors.insert(user.to_owned());
        }
    }

    /// Whether a hold may go without anybody's approval, as things really are.
    pub fn may_pass(
        &self,
        server: &Server,
        kind: &'static str,
        name: &'static str,
        object: &Value,
    ) -> bool {
        let known = &self.known[&(kind, name)];
        let image = Some(image(object));
        let reverted = known.settled == image || server_settled(server, kind, object) == image;
        reverted
            || known.before == image
            || (kind == "StatefulSet" && pods(server, name).is_empty())
    }
}

/// What the controllers count as rolled out.
pub fn server_settled(server: &Server, kind: &str, object: &Value) -> Option<String> {
    if kind == "StatefulSet" {
        let revision =
            server.get("ControllerRevision", object["status"]["currentRevision"].as_str()?)?;
        return Some(image(
            &serde_json::json!({"spec": {"template": revision["data"]["spec"]["template"]}}),
        ));
    }
    let owned = |set: &Value| {
        set["metadata"]["ownerReferences"][0]["uid"] == object["metadata"]["uid"]
            && set["spec"]["replicas"] != 0
    };
    let mut active = server.list("ReplicaSet").into_iter().filter(|set| owned(set));
    let only = active.next().filter(|_| active.next().is_none())?;
    Some(image(&only))
}

//! P8 and P9 from outside: which pods a request of the operator would end, whether each of them
//! agreed as its policy asks, and whether a pod that is ended had been let go. The policy, the
//! workloads and the pods are taken as the operator's watches had shown them when it decided: what
//! it could not see, it could not heed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lockkeeper::{
    api::{AppGate, ChangeCause, Mode, Otherwise, Scope, UpgradePolicySpec, marks},
    core::{
        conversation::answer::Answer,
        request::{Patch, Purpose, Release},
    },
};
use model::server::Server;
use serde_json::Value;

use crate::{
    apps::Apps,
    operator::{Heard, Operator, Shown},
    truth::{hold, mark, waiting},
};

/// What was found of a request when it was decided on.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What is wrong with it.
    pub wrong: Option<String>,
    /// How far the watch of policies was.
    pub policies_seen: u64,
    /// The pods that it ends and that must not have work then.
    pub drained: BTreeSet<String>,
}

/// What a pod or a template runs: the image and the config.
pub fn runs(of: &Value) -> (&str, &str) {
    let image = of["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    (image, of["metadata"]["annotations"][marks::CONFIG_HASH].as_str().unwrap_or_default())
}

pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub fn ordinal(pod: &Value) -> i64 {
    text(pod, "name").rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(-1)
}

pub fn ready_moved(pod: &Value) -> (bool, Timestamp) {
    let ready = pod["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["type"] == "Ready");
    let moved = ready
        .and_then(|ready| ready["lastTransitionTime"].as_str())
        .unwrap_or(text(pod, "creationTimestamp"));
    (ready.is_some_and(|ready| ready["status"] == "True"), moved.parse().unwrap())
}

pub fn belongs(pod: &Value, name: &str) -> bool {
    pod["metadata"]["labels"]["app"] == name && pod["metadata"]["deletionTimestamp"].is_null()
}

/// The partition that the manifest asks for.
pub fn declared(object: &Value) -> i64 {
    let recorded = mark(object, "declared-partition")
        .filter(|_| hold(object).is_some() || mark(object, "partition").is_some());
    recorded.and_then(|text| text.parse().ok()).unwrap_or_else(|| partition(object))
}

fn partition(object: &Value) -> i64 {
    object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0)
}

/// The spec of the policy, if it governs a workload.
pub fn governing(shown: &Shown, object: &Value) -> Option<UpgradePolicySpec> {
    let policy = shown.get(&("UpgradePolicy", "shop".to_owned()))?;
    let spec: UpgradePolicySpec = serde_json::from_value(policy["spec"].clone()).ok()?;
    let labels = spec.selector.match_labels.clone().unwrap_or_default();
    let selects = labels.iter().all(|(key, value)| object["metadata"]["labels"][key] == **value);
    (selects && spec.mode != Mode::Observe).then_some(spec)
}

/// Looks at a request that the operator has just decided on.
pub fn judge(
    operator: &Operator,
    apps: &Apps,
    patch: &Patch,
    walks: Option<&str>,
    now: Timestamp,
) -> Judgement {
    let (kind, name) = (patch.workload.kind.to_string(), &patch.workload.name);
    let mut judgement =
        Judgement { policies_seen: operator.cursor("UpgradePolicy"), ..Judgement::default() };
    let Some(object) = operator
        .shown
        .iter()
        .find(|((of, one), _)| *of == kind && one == name)
        .map(|(_, object)| object)
    else {
        return judgement;
    };
    let sets =
        |mark: &str| patch.annotations.iter().find(|(key, _)| *key == mark).map(|(_, value)| value);
    let releases = hold(object).is_some() && sets(marks::HOLD) == Some(&None);
    let steps = sets(marks::PARTITION);
    let rolls = !releases && patch.config_hash.is_some();
    let unblocks = patch.purpose == Purpose::Unblock;
    if !releases && !rolls && !unblocks && (steps.is_none() || sets(marks::HOLD).is_some()) {
        return judgement;
    }
    // A bypass of a config change is somebody's decision to ask nobody.
    let bypassed = mark(object, "bypassed-by").is_some() && !releases;
    let causes: &[_] = match (releases, patch.config_hash.is_some()) {
        (false, true) => &[ChangeCause::Config],
        (true, false) => &[ChangeCause::Template],
        _ => &[ChangeCause::Template, ChangeCause::Config],
    };
    let Some(spec) = governing(&operator.shown, object).filter(|_| !bypassed) else {
        return judgement;
    };
    let Some(gate) = spec.app_gate(causes) else { return judgement };

    // What it would end.
    let stays = mark(object, "partition").filter(|_| rolls).map(str::to_owned);
    let walked = steps.cloned().unwrap_or(stays).and_then(|step| step.parse::<i64>().ok());
    let lowest =
        if kind == "StatefulSet" { walked.unwrap_or_else(|| declared(object)) } else { -1 };
    let template = &object["spec"]["template"];
    let (image, hash) = runs(template);
    let newest_hash =
        patch.config_hash.as_ref().map_or(hash, |edit| edit.text().unwrap_or_default());
    let newest = (image, newest_hash);
    let of_workload = || {
        operator
            .shown
            .iter()
            .filter(|((kind, _), pod)| *kind == "Pod" && belongs(pod, name))
            .map(|(_, pod)| &**pod)
    };
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(0);
    // Those beyond go because of a scale-down; when a walk is ended, those whose turn it was have
    // been let go.
    let ends_walk = steps == Some(&None) && mark(object, "partition").is_some() && !rolls;
    let range = lowest..match kind.as_str() {
        "StatefulSet" if ends_walk => partition(object).min(wanted),
        "StatefulSet" => wanted,
        _ => i64::MAX,
    };
    // Fewer replicas that come with the release take some of any template. With a template that is
    // none they are a scale like any other.
    let fewer = waiting(object)
        .filter(|_| releases && patch.purpose != Purpose::Release(Release::Unchanged));
    let scaled = |pod: &Value| {
        fewer.is_some_and(|fewer| kind != "StatefulSet" || ordinal(pod) >= fewer as i64)
    };
    let changes = |pod: &Value| runs(pod) != newest && range.contains(&ordinal_from(pod, &kind));
    let ends: Vec<_> = of_workload().filter(|pod| scaled(pod) || changes(pod)).collect();
    let mut question = Question {
        gate,
        answered: false,
        heard: &operator.heard,
        // Of a config change the id need not be on the workload.
        id: if releases { hold(object) } else { walks.filter(|_| !rolls) },
        step: walked,
        reverts: patch.purpose == Purpose::Release(Release::Reverted),
        now,
    };
    // A pod that goes because of a scale-down is asked as long as it is there, and its answer shows
    // that the app speaks.
    let leaves = |pod: &&Value| kind == "StatefulSet" && ordinal(pod) >= wanted;
    let yes = |pod: &Value| question.heard(pod).is_some_and(|heard| heard.answer == Answer::Yes);
    question.answered = of_workload().filter(leaves).any(yes);
    judgement.wrong = question.wrong(&ends, apps);
    if gate.prepare.is_some() {
        let drains = |pod: &&&Value| question.must_be_prepared(pod);
        judgement.drained =
            ends.iter().filter(drains).map(|pod| text(pod, "uid").to_owned()).collect();
    }
    if let (Some(step), Scope::Pod) = (walked, gate.scope) {
        // A broken pod that the controller waits for takes those above it along, which would wait
        // for it indefinitely.
        let broken = |pod: &&&Value| {
            !ready_moved(pod).0 && ready_moved(pod).1 + gate.broken_after.length() <= now
        };
        let stuck = patch.purpose == Purpose::Step
            && ends.iter().min_by_key(|pod| ordinal(pod)).is_some_and(|pod| broken(&pod));
        let one_by_one = ends.iter().filter(|pod| !scaled(pod)).count();
        if one_by_one > 1 && !stuck {
            judgement.wrong = Some(format!("{one_by_one} pods would go in one step"));
        }
        // Its own earlier turns: pods that went before must be back.
        if mark(object, "partition").is_some() && !rolls && !stuck {
            let is_back = |at: i64| {
                of_workload().any(|pod| {
                    ordinal(pod) == at && runs(pod) == (image, hash) && ready_moved(pod).0
                })
            };
            if let Some(away) = (partition(object).max(step + 1)..wanted).find(|at| !is_back(*at)) {
                judgement.wrong = Some(format!("the pod before, {name}-{away}, is not back yet"));
            }
        }
    }
    judgement
}

/// Of a Deployment's pods there is no order.
fn ordinal_from(pod: &Value, kind: &str) -> i64 {
    if kind == "StatefulSet" { ordinal(pod) } else { 0 }
}

struct Question<'a> {
    gate: &'a AppGate,
    /// A pod that goes anyway has said yes.
    answered: bool,
    heard: &'a BTreeMap<std::sync::Arc<str>, Heard>,
    id: Option<&'a str>,
    step: Option<i64>,
    reverts: bool,
    now: Timestamp,
}

impl Question<'_> {
    /// What a pod said about this change.
    fn heard(&self, pod: &Value) -> Option<&Heard> {
        let of_change = |heard: &&Heard| {
            let (id, step) = heard.change.split_once(' ').unwrap_or((&heard.change, ""));
            self.id.is_none_or(|wanted| id == wanted)
                && self.step.is_none_or(|wanted| step == wanted.to_string())
        };
        self.heard.get(text(pod, "uid")).filter(of_change)
    }

    fn must_be_prepared(&self, pod: &Value) -> bool {
        let running = pod["status"]["phase"] == "Running";
        running
            && ready_moved(pod).0
            && self.gate.when_unreachable == Otherwise::Hold
            && !self.reverts
    }

    /// The table of the app gate: what is wrong with ending these pods.
    fn wrong(&self, ends: &[&Value], apps: &Apps) -> Option<String> {
        let gate = self.gate;
        let missing = |pod: &&&Value| {
            matches!(self.heard(pod), Some(Heard { answer: Answer::Missing(_), .. }) | None)
        };
        let all_missing = ends.iter().filter(|pod| ready_moved(pod).0).all(|pod| missing(&pod));
        let mut counted = self.answered;
        for pod in ends {
            let (ready, _) = ready_moved(pod);
            let name = text(pod, "name");
            let heard = self.heard(pod);
            counted |= ready || heard.is_some_and(|heard| heard.answer == Answer::Yes);
            let open = gate.when_unreachable == Otherwise::Open || self.reverts || !ready;
            match heard.map(|heard| (&heard.answer, heard)) {
                // A revert waits only for those that are Ready.
                _ if self.reverts && !ready => {}
                Some((Answer::No(_), _)) => return Some(format!("{name} said no")),
                Some((Answer::Yes, heard)) if heard.yes < gate.successes && !self.reverts => {
                    return Some(format!(
                        "{name} said yes {} times, not {}",
                        heard.yes, gate.successes
                    ));
                }
                Some((Answer::Yes, heard)) if heard.at + gate.period.length() <= self.now => {
                    return Some(format!("{name} said yes long ago, at {}", heard.at));
                }
                Some((Answer::Missing(_), _))
                    if all_missing && gate.when_missing == Otherwise::Open => {}
                Some((Answer::Missing(_) | Answer::Unusable(_) | Answer::Hangs(_), _)) if !open => {
                    return Some(format!("{name} is Ready and does not answer"));
                }
                None if pod["status"]["phase"] == "Running" => {
                    return Some(format!("{name} was not asked"));
                }
                _ => {}
            }
            if gate.prepare.is_some()
                && self.must_be_prepared(pod)
                && !apps.is_prepared(text(pod, "uid"), self.now)
            {
                return Some(format!("{name} may take new work"));
            }
        }
        // Nobody is left to ask only when that has been so for long enough. One that never ran was
        // never Ready.
        let ran = ends.iter().filter(|pod| pod["status"]["phase"] == "Running");
        let last = ran.map(|pod| ready_moved(pod).1).max().filter(|_| !counted && !self.reverts)?;
        (last + gate.broken_after.length() > self.now)
            .then(|| format!("nobody answered, but one was Ready until {last}"))
    }
}

/// A pod that may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LetGo {
    /// It agreed while it took no new work, and is to be kept from taking some.
    drained: bool,
}

/// Which pods may be ended, kept up from what was let through.
#[derive(Default)]
pub struct Consent {
    /// By workload and uid; what the pod runs, its ordinal, and whether it was let go.
    pods: BTreeMap<(&'static str, String), (Value, Option<LetGo>)>,
    /// Users scaled these down: any of their pods may go.
    pub scaled: BTreeSet<&'static str>,
    held: BTreeSet<&'static str>,
}

impl Consent {
    /// A workload is gone, with all its pods.
    pub fn forget(&mut self, name: &'static str) {
        self.pods.retain(|(of, _), _| *of != name);
        self.scaled.remove(name);
        self.held.remove(name);
    }

    /// Something was let through: what is there and not of the newest template may go.
    pub fn let_go(
        &mut self,
        server: &Server,
        (kind, name): (&'static str, &'static str),
        drained: &BTreeSet<String>,
    ) {
        let Some(object) = server.get(kind, name) else { return };
        self.see(server, (kind, name));
        for ((of, uid), (pod, let_go)) in &mut self.pods {
            if *of == name && goes(kind, &object, pod) {
                *let_go = Some(LetGo { drained: drained.contains(uid) });
            }
        }
    }

    fn see(
        &mut self,
        server: &Server,
        (kind, name): (&'static str, &'static str),
    ) -> Vec<(String, Value, Option<LetGo>)> {
        let Some(object) = server.get(kind, name) else { return Vec::new() };
        let there: BTreeMap<_, _> = server
            .list("Pod")
            .into_iter()
            .filter(|pod| belongs(pod, name))
            .map(|pod| (text(&pod, "uid").to_owned(), pod))
            .collect();
        for (uid, pod) in &there {
            // One that is made of an old template in the middle of a rollout: nobody can hold that
            // up for its sake.
            let amid = (hold(&object).is_none() && goes(kind, &object, pod))
                .then_some(LetGo { drained: false });
            let known =
                self.pods.entry((name, uid.clone())).or_insert_with(|| ((**pod).clone(), amid));
            known.0 = (**pod).clone();
        }
        let gone: Vec<_> = self
            .pods
            .keys()
            .filter(|(of, uid)| *of == name && !there.contains_key(uid))
            .cloned()
            .collect();
        gone.into_iter()
            .filter_map(|key| self.pods.remove(&key).map(|(pod, let_go)| (key.1, pod, let_go)))
            .collect()
    }

    /// Looks at the pods of a workload after a move: who was ended, and might they?
    pub fn check(
        &mut self,
        server: &Server,
        (kind, name): (&'static str, &'static str),
        evicted: &BTreeSet<String>,
        apps: &Apps,
    ) -> Result<(), String> {
        let Some(object) = server.get(kind, name) else { return Ok(()) };
        let ended = self.see(server, (kind, name));
        let wanted = object["spec"]["replicas"].as_i64().unwrap_or(0);
        let there = self.pods.keys().filter(|(of, _)| *of == name).count();
        for (uid, pod, let_go) in ended {
            let beyond = kind == "StatefulSet" && ordinal(&pod) >= wanted;
            // Not by an upgrade: evicted, scaled away, or of the newest template.
            if evicted.contains(&uid)
                || beyond
                || self.scaled.contains(name)
                || runs(&pod) == runs(&object["spec"]["template"])
            {
                continue;
            }
            let who = text(&pod, "name");
            match let_go {
                None => {
                    return Err(format!(
                        "P8: {who} was ended by an upgrade that was not let through"
                    ));
                }
                Some(LetGo { drained: true }) if apps.is_busy(&uid, server.now()) => {
                    return Err(format!("P8: {who} was ended while it had work"));
                }
                Some(_) => {}
            }
        }
        match hold(&object) {
            None => drop(self.held.remove(name)),
            Some(_) => {
                if self.held.insert(name) {
                    // A hold begins: nobody may go any more, but those of which their ReplicaSet
                    // has too many already.
                    self.each(server, name, |let_go, surplus| *let_go = let_go.filter(|_| surplus));
                }
                // The controller of a Deployment takes away what is beside a ReplicaSet of the
                // newest template that is full, paused or not: where that is what ran before,
                // reverted amid a rollout, no hold keeps it from that.
                if is_full(server, &object) {
                    self.each(server, name, |let_go, surplus| {
                        *let_go = let_go.or(surplus.then_some(LetGo { drained: false }))
                    });
                }
            }
        }
        if there as i64 <= wanted && hold(&object).is_none() {
            self.scaled.remove(name);
        }
        Ok(())
    }

    /// Each pod of a workload, and whether its ReplicaSet has more than it is to have.
    fn each(&mut self, server: &Server, name: &str, change: impl Fn(&mut Option<LetGo>, bool)) {
        let sets = server.list("ReplicaSet");
        let of_set = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"].to_string();
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for ((of, _), (pod, _)) in &self.pods {
            if *of == name {
                *counts.entry(of_set(pod)).or_default() += 1;
            }
        }
        for ((of, _), (pod, let_go)) in &mut self.pods {
            let set = sets
                .iter()
                .find(|set| set["metadata"]["uid"] == pod["metadata"]["ownerReferences"][0]["uid"]);
            if *of == name {
                change(
                    let_go,
                    set.is_some_and(|set| {
                        set["spec"]["replicas"].as_i64().unwrap_or(0) < counts[&of_set(pod)]
                    }),
                );
            }
        }
    }

    /// Pods that agreed while they took no new work, and are still there: by workload and uid.
    pub fn drained(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.pods
            .iter()
            .filter(|(_, (_, let_go))| *let_go == Some(LetGo { drained: true }))
            .map(|((name, _), (pod, _))| (*name, pod))
    }

    /// The apps' work is only their own business once nobody must keep it away: a lease that ran
    /// out.
    pub fn lapsed(&mut self, apps: &Apps, now: Timestamp) {
        for ((_, uid), (_, let_go)) in &mut self.pods {
            if let Some(LetGo { drained }) = let_go
                && !apps.is_prepared(uid, now)
            {
                *drained = false;
            }
        }
    }
}

/// Whether the ReplicaSet of a Deployment's template has all pods.
fn is_full(server: &Server, object: &Value) -> bool {
    let of_template = |set: &Value| {
        set["metadata"]["ownerReferences"][0]["uid"] == object["metadata"]["uid"]
            && runs(&set["spec"]["template"]) == runs(&object["spec"]["template"])
    };
    server
        .list("ReplicaSet")
        .iter()
        .any(|set| of_template(set) && set["spec"]["replicas"] == object["spec"]["replicas"])
}

/// Whether the controller of a workload that is not held would end this pod.
fn goes(kind: &str, object: &Value, pod: &Value) -> bool {
    let within = || {
        (partition(object)..object["spec"]["replicas"].as_i64().unwrap_or(0))
            .contains(&ordinal(pod))
    };
    runs(pod) != runs(&object["spec"]["template"]) && (kind != "StatefulSet" || within())
}

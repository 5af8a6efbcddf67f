//! Steps, `maxConcurrent` and `restartWith` from outside: what may begin when, by what the
//! operator's watches had shown it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lockkeeper::{
    api::{OnFailure, UpgradePolicySpec},
    core::{
        notice::Event,
        request::{Cause, Patch, Purpose, Release},
    },
};
use model::server::Server;
use serde_json::Value;

use crate::{
    apps::Apps,
    consent::{belongs, declared, governing, ordinal, ready_moved, runs, text},
    operator::{Operator, Shown},
    scenes::At,
    truth::{hold, mark},
};

/// The step that a workload is in: the first that selects it.
fn place(spec: &UpgradePolicySpec, object: &Value) -> Option<usize> {
    let selects = |labels: &BTreeMap<String, String>| {
        labels.iter().all(|(key, value)| object["metadata"]["labels"][key] == **value)
    };
    spec.rollout
        .as_ref()?
        .steps
        .iter()
        .position(|step| step.selector.match_labels.as_ref().is_none_or(selects))
}

fn pods<'a>(shown: &'a Shown, name: &'a str) -> impl Iterator<Item = &'a Value> {
    shown
        .iter()
        .filter(move |((kind, _), pod)| *kind == "Pod" && belongs(pod, name))
        .map(|(_, pod)| &**pod)
}

/// Whether the rollout of a workload waits for pods of the newest template; not below the partition
/// that its user asks for.
fn rolls(shown: &Shown, (kind, name): At, object: &Value) -> bool {
    let lowest = if kind == "StatefulSet" { declared(object) } else { -1 };
    let paused = kind == "Deployment" && object["spec"]["paused"] == true;
    !paused
        && pods(shown, name).any(|pod| {
            runs(pod) != runs(&object["spec"]["template"])
                && (kind == "Deployment" || ordinal(pod) >= lowest)
        })
}

/// When the rollout of a workload last moved: it began, or a pod of its newest template moved. What
/// becomes of old pods is no progress.
fn moved(shown: &Shown, at: At) -> Timestamp {
    let Some(object) = shown.get(&(at.0, at.1.to_owned())) else { return Timestamp::MIN };
    let outcome: Value = mark(object, "rollout")
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let begun = outcome["at"].as_str().and_then(|time| time.parse().ok());
    let new = pods(shown, at.1)
        .filter(|pod| runs(pod) == runs(&object["spec"]["template"]))
        .map(|pod| ready_moved(pod).1);
    new.chain(begun).max().unwrap_or(Timestamp::MIN)
}

/// What is wrong with a request that begins a rollout.
pub fn judge(
    operator: &Operator,
    apps: &Apps,
    workloads: &'static [At],
    patch: &Patch,
    now: Timestamp,
) -> Option<String> {
    if !matches!(patch.purpose, Purpose::Release(Release::GatesOpen) | Purpose::Roll(..)) {
        return None;
    }
    let shown = &operator.shown;
    let object = |(kind, name): At| shown.get(&(kind, name.to_owned()));
    let this = *workloads.iter().find(|(_, name)| *name == patch.workload.name)?;
    // A bypass passes steps too.
    let own = object(this).filter(|own| mark(own, "bypassed-by").is_none())?;
    let spec = governing(shown, own)?;
    let rollout = spec.rollout.as_ref()?;
    let others = workloads.iter().copied().filter(|other| *other != this);
    let others: Vec<_> = others
        .filter_map(|at| Some((at, object(at)?)))
        .filter(|(_, other)| governing(shown, other).is_some())
        .collect();
    let begins = |other: &Value| operator.begins(text(other, "uid"));
    // What its controller has not taken up is not known to roll, unless the operator itself let it
    // through.
    let rolls = |(kind, name): At| {
        operator
            .taken_up
            .get(&(kind, name.to_owned()))
            .is_some_and(|object| rolls(shown, (kind, name), object))
    };
    // A cure waits for no failure of others, nor for those that its own failure keeps waiting.
    let has_failed =
        |object: &Value| mark(object, "rollout").is_some_and(|text| text.contains("Failed"));
    let cures = has_failed(own) && rollout.on_failure == OnFailure::Pause;
    // Once it has failed, a pod of the old template that comes and goes does not make it a rollout
    // again.
    let stuck = |at: At| {
        moved(shown, at) + rollout.deadline.length() <= now
            || object(at).is_some_and(|object| has_failed(object))
    };

    let before = others.iter().filter(|(_, other)| {
        place(&spec, other).is_some_and(|at| place(&spec, own).is_some_and(|own| at < own))
    });
    for (at, other) in before {
        let failed = rollout.on_failure == OnFailure::Continue && stuck(*at);
        let why = match () {
            () if hold(other).is_some() && cures => continue,
            () if hold(other).is_some() => "is held",
            () if begins(other) => "begins",
            () if rolls(*at) && !failed => "rolls",
            () if spec.config.is_some() && is_stale(shown, apps, *at, other) && !failed => {
                "has old config"
            }
            () => continue,
        };
        return Some(format!("{} begins before {}, of an earlier step, which {why}", this.1, at.1));
    }
    let under_way = |(at, other): &&(At, &std::sync::Arc<Value>)| {
        begins(other) || hold(other).is_none() && rolls(*at) && !stuck(*at)
    };
    let under_way: Vec<_> = others.iter().filter(under_way).map(|((_, name), _)| *name).collect();
    let max = rollout.max_concurrent?;
    (under_way.len() >= max as usize).then(|| {
        format!("{} begins while {} are under way, of at most {max}", this.1, under_way.join(", "))
    })
}

/// A rollout that was told to be done, after so many things that were told, while a pod of the
/// template before was shown. One that was written later than the workload was shown may be of a
/// newer template, and one that is gone is only shown late.
pub fn too_early(
    server: &Server,
    operator: &Operator,
    workloads: &'static [At],
    from: usize,
) -> Option<String> {
    let version = |object: &Value| {
        object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok())
    };
    let is_old = |(kind, name): At, object: &Value| {
        let lowest = if kind == "StatefulSet" { declared(object) } else { -1 };
        let before = |pod: &Value| {
            runs(pod) != runs(&object["spec"]["template"]) && version(pod) < version(object)
        };
        let is_there = |pod: &Value| {
            server
                .get("Pod", text(pod, "name"))
                .is_some_and(|there| text(&there, "uid") == text(pod, "uid"))
        };
        pods(&operator.shown, name).any(|pod| {
            before(pod) && is_there(pod) && (kind == "Deployment" || ordinal(pod) >= lowest)
        })
    };
    let done = operator.told[from..].iter().filter(|(_, event, _)| *event == Event::RolloutDone);
    let mut at = done.filter_map(|(subject, ..)| {
        workloads.iter().find(|(kind, name)| *subject == format!("{kind}/{name}"))
    });
    at.find(|at| operator.shown.get(&(at.0, at.1.to_owned())).is_some_and(|object| is_old(**at, object)))
        .map(|(kind, name)| format!("the rollout of {kind}/{name} is told to be done, and a pod of the template before is there"))
}

/// Whether some pod started with other config than what is there.
fn is_stale(shown: &Shown, apps: &Apps, (kind, name): At, object: &Value) -> bool {
    let Some(config) = shown.get(&("ConfigMap", "app".to_owned())) else { return false };
    let lowest = if kind == "StatefulSet" { declared(object) } else { -1 };
    let paused = kind == "Deployment" && object["spec"]["paused"] == true;
    let mut all = pods(shown, name).filter(|pod| kind == "Deployment" || ordinal(pod) >= lowest);
    !paused
        && all.any(|pod| {
            apps.config(text(pod, "uid")).is_some_and(|started| *started != config["data"]["key"])
        })
}

/// What was rolled out, and what followed.
#[derive(Default)]
pub struct Order {
    /// By workload, what was last rolled out.
    done: BTreeMap<&'static str, (String, String)>,
    /// By workload, the rollouts of the step before that it has not followed.
    ahead: BTreeMap<&'static str, u64>,
    /// How often one followed.
    pub followed: u64,
}

impl Order {
    /// Looks at a workload after a move: was it rolled out?
    pub fn check(&mut self, server: &Server, at: At, workloads: &'static [At]) {
        let Some(object) = server.get(at.0, at.1) else { return };
        let (image, hash) = runs(&object["spec"]["template"]);
        let pods: Vec<_> =
            server.list("Pod").into_iter().filter(|pod| belongs(pod, at.1)).collect();
        let lowest = if at.0 == "StatefulSet" { declared(&object) } else { -1 };
        let all = pods.iter().all(|pod| {
            runs(pod) == (image, hash) || at.0 == "StatefulSet" && ordinal(pod) < lowest
        });
        let newest = (image.to_owned(), hash.to_owned());
        if !all || self.done.get(at.1) == Some(&newest) {
            return;
        }
        if self.done.insert(at.1, newest).is_some() {
            for (_, other) in workloads.iter().filter(|other| **other != at) {
                *self.ahead.entry(other).or_default() += 1;
            }
        }
    }

    /// A request was accepted.
    pub fn accepted(&mut self, at: At, patch: &Patch) -> Result<(), String> {
        if !matches!(patch.purpose, Purpose::Roll(Cause::Previous, _)) {
            return Ok(());
        }
        self.followed += 1;
        let ahead = self.ahead.entry(at.1).or_default();
        *ahead = ahead.checked_sub(1).ok_or_else(|| {
            format!("P1: {} is rolled as the step before was, and that was not", at.1)
        })?;
        Ok(())
    }

    /// At rest all that was rolled out was followed.
    pub fn rest(&mut self) {
        self.ahead.clear();
    }
}

//! What is known of a workload, put together.

use std::time::Duration;

use jiff::Timestamp;
use lockkeeper::{
    api::{Attention, Mode, Phase, Reason, UpgradePolicySpec, marks},
    core::{
        calendar::Standing,
        config::record::Record,
        finding,
        gates::{self, blocker::GateName},
        governs::governance,
        hold::{
            at_zero,
            authors::Authors,
            governance::{self, GovernanceMark},
            state::{Hold, approved_by, command, replicas_wait},
        },
        later,
        observed::{Pod, Policy, UserHold, Workload, is_overdue},
        rollout::{progress::is_old, revisions::Revisions},
    },
};
use serde::Serialize;

use super::{ask, records_approvals, waiting};
use crate::cluster::{Cluster, Seen, lower};

/// The story.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// As one writes it for kubectl.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// The policy that governs it, or did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// That policy is gone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub policy_gone: bool,
    /// The policy only observes it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// What a change of its template would wait for if that policy enforced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub would_wait_for: Vec<&'static str>,
    /// Why no policy governs it, although one selects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Where it stands; none if nobody governs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A further change of its template would be held.
    pub holds_changes: bool,
    /// Why holds are not enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_enforced: Option<String>,
    /// The change that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Waiting>,
    /// What differs from what its pods run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Its gates, in the order in which they are asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Asked>,
    /// How far its rollout is.
    pub rollout: Counts,
    /// Its pods.
    pub pods: Vec<PodStory>,
    /// What it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
    /// What happened, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Happened>,
    /// What can be done, and what it needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Advice>,
}

/// A change that waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// What approves it.
    pub id: String,
    /// Who made it; of config nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Their names, those of all who changed the template since the revision that runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Since when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who approved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// What else there is to know of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its template is held; else it is of config, or goes pod by pod.
    pub held: bool,
}

/// A gate's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Which gate.
    pub name: &'static str,
    /// None: it is not asked before those above are open.
    pub open: Option<bool>,
    /// Why it is closed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Numbers of pods.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Wanted.
    pub wanted: u32,
    /// Of the newest template.
    pub updated: u32,
    /// Available.
    pub available: u32,
}

/// A pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStory {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// It is of the newest template of its workload.
    pub newest: bool,
    /// Its revision, as its label says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// It is terminating.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
    /// How far that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Ends>,
    /// What keeps it from running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What it said when it was last asked whether it may be ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<Said>,
}

/// How a pod that is terminating ends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ends {
    /// Its containers have ended; its object is still there.
    Finished,
    /// Its grace period ends then.
    Until(Timestamp),
    /// It should have ended by then.
    #[serde(rename_all = "camelCase")]
    Overdue {
        /// When.
        since: Timestamp,
        /// Its node.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
}

/// An answer of a pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Yes, No, and so on.
    pub answer: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// In its own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// Something that it reads, and how that compares with what its pods started with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Read {
    /// Such as `ConfigMap/web[log.level]`.
    pub reference: String,
    /// How it compares.
    pub compared: Compared,
}

/// How what is there compares with what pods started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Compared {
    /// As its pods started with.
    Same,
    /// Another one than its pods started with.
    Different,
    /// Its pods are being renewed for it.
    BeingRolled,
    /// What its pods started with is not known for certain.
    Unverified,
    /// Nobody looks at it.
    NotLookedAt,
}

impl Compared {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Same => "unchanged since its pods started",
            Self::Different => "changed since its pods started",
            Self::BeingRolled => "changed since some of its pods started; these are being replaced",
            Self::Unverified => {
                "assumed to be unchanged: it is not known whether its pods started with it"
            }
            Self::NotLookedAt => "not checked",
        }
    }
}

/// An event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What, in one word.
    pub reason: String,
    /// In words.
    pub note: String,
}

/// Something that can be done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// What it does.
    pub to: String,
    /// How.
    pub command: String,
}

impl Story {
    /// Puts it together.
    pub fn new(
        cluster: &Cluster,
        seen: &Seen,
        workload: &Workload,
        events: &[(Timestamp, String, String)],
        template: Vec<String>,
        now: Timestamp,
    ) -> Self {
        let id = &workload.id;
        let mark = GovernanceMark::on(workload).map(|mark| &*mark.policy);
        let observer = seen.observer(workload).filter(|_| mark.is_none());
        let policy = mark.map_or(observer, |name| seen.world.policies.get(name));
        // A hold that stood before its policy began to observe keeps its marks.
        let observer = observer.or(policy
            .filter(|policy| policy.spec.as_ref().is_ok_and(|spec| spec.mode == Mode::Observe)));
        let attention = seen.attention(id);
        let condition = policy.and_then(|policy| {
            policy
                .status
                .conditions
                .iter()
                .find(|one| one.type_ == "HoldsEnforced" && one.status != "True")
        });
        let state = &workload.rollout;
        let mut story = Self {
            workload: lower(id),
            namespace: cluster.namespace.clone(),
            policy_gone: mark.is_some() && policy.is_none(),
            policy: mark.or(observer.map(|policy| policy.name.as_str())).map(str::to_owned),
            observed: observer.is_some(),
            would_wait_for: observer.map(would_wait_for).unwrap_or_default(),
            left_out: governance(&seen.world).why_left_out(id).map(str::to_owned),
            phase: mark
                .or(observer.map(|policy| policy.name.as_str()))
                .map(|_| attention.map_or(Phase::UpToDate, |one| one.phase)),
            reason: attention.map(|one| one.reason),
            since: attention.map(|one| one.since),
            message: attention.map(|one| one.message.clone()).unwrap_or_default(),
            holds_changes: governance::is_marked(workload),
            not_enforced: condition.map(|condition| condition.message.clone()),
            changed: attention
                .map(|one| {
                    one.changed.iter().filter(|what| *what != finding::TEMPLATE).cloned().collect()
                })
                .unwrap_or_default(),
            rollout: Counts {
                wanted: state.wanted,
                updated: state.updated,
                available: state.available,
            },
            pods: pods(seen, workload, attention, now),
            reads: reads(workload, attention),
            events: events
                .iter()
                .map(|(at, reason, note)| Happened {
                    at: *at,
                    reason: reason.clone(),
                    note: note.clone(),
                })
                .collect(),
            ..Self::default()
        };
        story.changed.splice(0..0, template);
        // They are told in sentences of their own.
        for note in notes(seen, workload) {
            story.message = story.message.replace(&format!(". {note}"), "");
        }
        if let Some((change, by, causes)) = waiting(workload) {
            // Nobody asks the gates of a policy that observes.
            let judge = policy
                .filter(|_| observer.is_none())
                .and_then(|policy| Some((policy, policy.spec.as_ref().ok()?)));
            if let Some((policy, spec)) = judge {
                let change = (&change, by.as_ref(), causes);
                let asked = ask(seen, workload, (policy, spec), change, now);
                // One that the policy does not set is open, and not worth a word.
                let told =
                    asked.into_iter().filter(|(gate, why)| why.is_some() || gate.is_set(spec));
                story.gates = told.map(of_gate).collect();
                if let Some(windows) = story
                    .gates
                    .iter_mut()
                    .find(|gate| gate.name == GateName::Windows.as_str() && gate.open == Some(true))
                    && let Standing::Open { until: Some(until) } = policy.windows.judge(now)
                {
                    windows.message = format!("until {}", until.strftime("%Y-%m-%d %H:%M UTC"));
                }
                story.gates.extend(asked_by_the_operator(spec, attention));
            }
            story.commands = advice(
                cluster,
                seen,
                workload,
                (&change.to_string(), by.is_some()),
                &story.gates,
                policy,
            );
            if let Some(policy) = observer {
                let command = enforce(&seen.world.name, &policy.name);
                story
                    .commands
                    .insert(0, Advice { to: "have its gates decide".to_owned(), command });
            }
            story.change = Some(Waiting {
                approved_by: approved_by(workload, &change).map(str::to_owned),
                since: since(workload),
                held: Hold::on(workload).is_some(),
                notes: notes(seen, workload),
                id: change.to_string(),
                by: by.as_ref().map(Authors::to_string),
                authors: by.map(|by| by.names().to_vec()).unwrap_or_default(),
            });
        }
        story
    }
}

/// The gates that a change of the template would wait for if the policy enforced, as far as they
/// are set.
fn would_wait_for(policy: &Policy) -> Vec<&'static str> {
    let Ok(spec) = &policy.spec else { return Vec::new() };
    if !spec.would_hold() {
        return Vec::new();
    }
    let set = gates::IN_ORDER.iter().map(|gate| gate.name).filter(|gate| gate.is_set(spec));
    set.map(GateName::as_str).collect()
}

/// What a release brings besides the template, and what scaling means for a held change.
fn notes(seen: &Seen, workload: &Workload) -> Vec<String> {
    if Hold::on(workload).is_none() {
        return Vec::new();
    }
    let sets = seen.world.sets_by_deployment().remove(&*workload.uid).unwrap_or_default();
    let forgets = workload.id.kind.has_controller_revisions() && workload.rollout.wanted > 0;
    let zero = forgets.then(|| {
        "Do not scale it to zero now: a StatefulSet without pods forgets which revision ran, and would start this change".to_owned()
    });
    let revisions = Revisions::of(&seen.world, workload, &sets, None);
    [replicas_wait(workload), at_zero::note(&seen.world, workload, &revisions), zero]
        .into_iter()
        .flatten()
        .collect()
}

/// Since when a change waits.
pub fn since(workload: &Workload) -> Option<Timestamp> {
    workload.marks.hold_since.get()?.at()
}

fn of_gate((gate, why): (GateName, Option<String>)) -> Asked {
    Asked { name: gate.as_str(), open: Some(why.is_none()), message: why.unwrap_or_default() }
}

/// The gates that only the operator can ask, as it has reported them.
fn asked_by_the_operator(spec: &UpgradePolicySpec, attention: Option<&Attention>) -> Vec<Asked> {
    let closed = attention.map(|one| GateName::of(one.reason));
    let told = gates::IN_ORDER.iter().map(|gate| gate.name).filter(|gate| {
        !gate.is_timely()
            && *gate != GateName::Quiet
            && (gate.is_set(spec) || closed == Some(Some(*gate)))
    });
    let asked = told.map(|gate| {
        let open = match closed {
            None => None,
            Some(Some(closed)) if closed < gate => None,
            Some(Some(closed)) => Some(closed > gate),
            // It waits for something else by now.
            Some(None) => Some(true),
        };
        let message = attention.filter(|_| open == Some(false));
        let message = message.map(|one| why_held(&one.message).to_owned()).unwrap_or_default();
        Asked { name: gate.as_str(), open, message }
    });
    asked.collect()
}

/// A message without what else is told of a held change: by whom, and since when.
pub fn why_held(message: &str) -> &str {
    match message.strip_prefix("changed by ").and_then(|rest| rest.split_once(" UTC: ")) {
        Some((_, why)) => why,
        None => message,
    }
}

/// A pod whose last crash is not older than this crashes.
const LATELY: Duration = Duration::from_secs(600);

fn crashes_lately(pod: &Pod, now: Timestamp) -> bool {
    pod.crashed.is_some_and(|crashed| later(crashed, LATELY) > now)
}

fn pods(
    seen: &Seen,
    workload: &Workload,
    attention: Option<&Attention>,
    now: Timestamp,
) -> Vec<PodStory> {
    let (judged, current) = seen.judged(workload);
    // While a hold or its user pauses a Deployment, its newest ReplicaSet is of the template
    // before.
    let set = seen.world.newest_replica_sets().remove(&*workload.uid);
    let paused = workload.rollout.held == Some(UserHold::Paused) || Hold::on(workload).is_some();
    let unmade = paused && set.is_some_and(|set| set.template != workload.template.digest);
    let answers = attention.map_or(&[][..], |one| &one.answers);
    let story = |pod: &Pod| PodStory {
        name: pod.name.to_string(),
        ready: pod.ready,
        newest: !unmade && !is_old(&judged, pod, current),
        revision: pod.revision.as_deref().map(str::to_owned),
        terminating: pod.terminating.is_some(),
        ends: pod.terminating.map(|until| match () {
            () if pod.finished => Ends::Finished,
            () if is_overdue(pod, now) => {
                Ends::Overdue { since: until, node: pod.claims.node.as_deref().map(str::to_owned) }
            }
            () => Ends::Until(until),
        }),
        // A pod that nothing probes is ready between any two crashes. How one ended that is being
        // deleted is no trouble.
        trouble: pod
            .ails
            .as_ref()
            .filter(|_| !pod.finished && (!pod.ready || crashes_lately(pod, now)))
            .map(ToString::to_string),
        says: answers.iter().find(|answer| *answer.pod == *pod.name).map(|answer| Said {
            answer: answer.answer.clone(),
            since: answer.since,
            words: answer.words.clone(),
        }),
    };
    let mut pods: Vec<_> = seen.pods(workload).into_iter().map(story).collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods
}

/// What it reads, as the operator has it written down.
fn reads(workload: &Workload, attention: Option<&Attention>) -> Vec<Read> {
    let record = Record::without_key(workload.marks.config.as_deref(), &workload.uid);
    let changed = attention.map_or(&[][..], |one| &one.changed);
    let Ok(record) = record else {
        let all = workload.template.references.iter();
        return all
            .map(|reference| Read {
                reference: reference.to_string(),
                compared: Compared::NotLookedAt,
            })
            .collect();
    };
    let compare = |(name, recorded): (&String, &lockkeeper::core::config::record::Recorded)| {
        let object = name.split('[').next().unwrap_or(name);
        let of_it = |what: &String| {
            what == name
                || (!name.contains('[')
                    && what.strip_prefix(object).is_some_and(|rest| rest.starts_with('[')))
        };
        let compared = match () {
            () if changed.iter().any(of_it) => Compared::Different,
            () if recorded.target != recorded.baseline || recorded.mixed => Compared::BeingRolled,
            () if recorded.unverified => Compared::Unverified,
            () => Compared::Same,
        };
        Read { reference: name.clone(), compared }
    };
    record.references.iter().map(compare).collect()
}

/// What can be done about a change that waits.
fn advice(
    cluster: &Cluster,
    seen: &Seen,
    workload: &Workload,
    (change, template): (&str, bool),
    gates: &[Asked],
    policy: Option<&Policy>,
) -> Vec<Advice> {
    let id = &workload.id;
    let mut commands = Vec::new();
    let mut say = |to: &str, command: String| commands.push(Advice { to: to.to_owned(), command });
    let unapproved = gates
        .iter()
        .any(|gate| gate.name == GateName::Approval.as_str() && gate.open == Some(false));
    let recorded = policy.is_none_or(records_approvals);
    if unapproved && recorded {
        say("approve it (verb approve)", format!("{} {change}", cluster.command("approve", id)));
        say("the same without this plugin", command(&seen.world, id, marks::APPROVE, change));
    }
    if !recorded {
        let path = "{.status.conditions[?(@.type==\"HoldsEnforced\")].message}";
        let policy = policy.map_or("", |policy| policy.name.as_str());
        let command = format!(
            "kubectl get upgradepolicy -n {} {policy} -o jsonpath='{path}'",
            seen.world.name
        );
        say("see why no approval and no bypass counts now", command);
    } else if policy.is_some() {
        say(
            "release it now, past every gate (verb bypass)",
            format!("{} {change}", cluster.command("bypass", id)),
        );
    } else {
        say(
            "release it: no policy holds it any longer (verb bypass)",
            cluster.command("release", id),
        );
    }
    if template {
        say("revert it", cluster.command("undo", id));
    }
    say("follow it", cluster.command("wait", id));
    commands
}

/// How a policy that observes is made to enforce.
pub fn enforce(namespace: &str, policy: &str) -> String {
    format!(
        "kubectl patch upgradepolicy -n {namespace} {policy} --type=merge -p '{{\"spec\":{{\"mode\":\"Enforce\"}}}}'"
    )
}

/// For a test's workloads.
#[cfg(test)]
pub fn named(name: &str) -> Story {
    Story { workload: name.to_owned(), namespace: "shop".to_owned(), ..Story::default() }
}

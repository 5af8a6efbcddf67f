//! Puts together what is known of a workload.

use std::time::Duration;

use jiff::Timestamp;
use lockkeeper::{
    api::{Attention, Mode, Phase, Reason, UpgradePolicySpec, marks},
    core::{
        calendar::Standing,
        config::record::Record,
        gates::{blocker::GateName, change::Blocked, gate::Needs, words::command},
        governs::governance,
        hold::{
            authors::Authors,
            governance::{self, GovernanceMark},
            state::{Hold, approved_by},
            words::of_scaling,
        },
        later,
        observed::{Pod, Policy, UserHold, Workload, is_overdue},
        report,
        rollout::{progress::is_old, revisions::Revisions},
    },
};

use super::pending::{Pending, records_approvals};
use super::story::{
    Advice, Asked, Compared, Counts, Ends, Happened, PodStory, Read, Said, Story, Waiting,
};
use crate::cluster::{Cluster, Seen, lower, why_not};

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
            left_out: governance(&seen.world).why_left_out(id).map(|why| why.to_string()),
            phase: mark
                .or(observer.map(|policy| policy.name.as_str()))
                .map(|_| attention.map_or(Phase::UpToDate, |one| one.phase)),
            reason: attention.map(|one| one.reason),
            since: attention.map(|one| one.since),
            message: attention.map(|one| why_not(one).to_owned()).unwrap_or_default(),
            until: attention.and_then(|one| one.until),
            holds_changes: governance::is_marked(workload),
            not_enforced: condition.map(|condition| condition.message.clone()),
            changed: attention
                .map(|one| {
                    one.changed.iter().filter(|what| *what != report::TEMPLATE).cloned().collect()
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
        if let Some(change) = Pending::on(workload) {
            // Nobody asks the gates of a policy that observes.
            let judge = policy
                .filter(|_| observer.is_none())
                .and_then(|policy| Some((policy, policy.spec.as_ref().ok()?)));
            if let Some((policy, spec)) = judge {
                let asked = change.ask(seen, workload, (policy, spec), now);
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
            story.commands = advice(cluster, seen, workload, &change, &story.gates, policy);
            if let Some(policy) = observer {
                let command = enforce(&seen.world.name, &policy.name);
                story
                    .commands
                    .insert(0, Advice { to: "have its gates decide".to_owned(), command });
            }
            story.change = Some(Waiting {
                approved_by: approved_by(workload, change.id()).map(str::to_owned),
                since: since(workload),
                held: matches!(change, Pending::Template(_)),
                notes: notes(seen, workload),
                id: change.id().to_string(),
                by: change.authors().map(Authors::to_string),
                authors: change.authors().map(|by| by.names().to_vec()).unwrap_or_default(),
            });
        } else if let Some(command) = attention.and_then(|one| one.command.clone()) {
            story.commands.push(Advice { to: "fix it".to_owned(), command });
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
    let set = GateName::all().filter(|gate| gate.is_set(spec));
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
    let mut notes = of_scaling(&seen.world, workload, &revisions);
    notes.extend(zero);
    notes
}

/// Since when a change waits.
pub fn since(workload: &Workload) -> Option<Timestamp> {
    workload.marks.hold_since.get()?.at()
}

fn of_gate((gate, blocked): (GateName, Option<Blocked>)) -> Asked {
    let open = Some(blocked.is_none());
    Asked {
        name: gate.as_str(),
        open,
        message: blocked.map_or_else(String::new, |one| one.sentence),
    }
}

/// The gates that only the operator can ask, as it has reported them.
fn asked_by_the_operator(spec: &UpgradePolicySpec, attention: Option<&Attention>) -> Vec<Asked> {
    let closed = attention
        .filter(|one| names_gates(one))
        .map(|one| one.gate.as_deref().and_then(GateName::named));
    let told = GateName::all().filter(|gate| {
        gate.gate().needs != Needs::Policy
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
        let message = message.map(|one| why_not(one).to_owned()).unwrap_or_default();
        Asked { name: gate.as_str(), open, message }
    });
    asked.collect()
}

/// Whether the status says which gate is closed, if one is. An operator of an earlier version does
/// not.
fn names_gates(attention: &Attention) -> bool {
    let of_change = attention.hold.as_ref().is_none_or(|hold| !hold.message.is_empty());
    of_change || attention.gate.is_some() || attention.reason == Reason::Releasing
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
    change: &Pending,
    gates: &[Asked],
    policy: Option<&Policy>,
) -> Vec<Advice> {
    let id = &workload.id;
    let template = matches!(change, Pending::Template(_));
    let change = change.id();
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

//! What is reported and told of a held change, in words.

use std::fmt;

use jiff::Timestamp;

use crate::{
    api::{Remark, WorkloadKind, marks},
    core::{
        clock,
        config::{desired::Missing, words::named},
        gates::{change::Blocked, words::command},
        hold::{
            at_zero::{self, ScaledUp},
            authors::in_words,
            missed::Cause,
            state::{Hold, declared_replicas},
            uninstall::Held,
            volatile::TIMES,
        },
        memory::{Memory, Restamp},
        notice::Event,
        observed::{Namespace, Workload, WorkloadId, workload::reference_of},
        request::Release,
        rollout::revisions::{Mixed, Revisions},
        subject::Subject,
    },
    marks::ChangeId,
};

/// Why a held change waits, in words.
pub struct Why {
    /// Why.
    pub sentence: String,
    /// The same, and what a person can do about it.
    pub with_cure: String,
}

/// What the status tells of a held change: of the workload, and of the change itself, without who
/// made it, without commands, and without what scaling means for it.
pub fn told(
    subject: &Subject,
    hold: &Hold,
    since: Timestamp,
    why: &Why,
    memory: &Memory,
) -> (String, String) {
    let conflict = memory.writers.conflict(subject.now()).map(|two| two.to_string());
    let scaling = of_scaling(subject.namespace(), subject.workload, &subject.revisions);
    let of_change = [mid_rollout(subject), conflict.or_else(|| restamped(&memory.volatile))];
    let first =
        format!("changed by {}, held since {}: {}", hold.authors, clock(since), why.with_cure);
    let notes = scaling.iter().chain(of_change.iter().flatten());
    (with_notes(first, notes), with_notes(why.sentence.clone(), of_change.iter().flatten()))
}

fn with_notes<'a>(message: String, notes: impl Iterator<Item = &'a String>) -> String {
    notes.fold(message, |message, note| message + ". " + note)
}

impl Why {
    /// That a gate keeps it waiting.
    pub fn of(blocked: &Blocked) -> Self {
        Self { sentence: blocked.sentence.clone(), with_cure: blocked.why.clone() }
    }

    /// That pods of a withdrawn template do not agree.
    pub fn of_revert(blocked: &Blocked) -> Self {
        let Blocked { sentence, why, .. } = blocked;
        Self {
            sentence: format!("its template was reverted, and {sentence}"),
            with_cure: format!("its template was reverted, and {why}"),
        }
    }
}

/// That a policy that observes neither asks gates nor releases, and how to bypass it.
pub fn of_observed(subject: &Subject, hold: &Hold) -> (Why, String) {
    let sentence =
        "its policy has mode: Observe, so no gate is asked and nothing is released. Set mode: Enforce to have the gates asked, or revert the change"
        .to_owned();
    let bypass = bypass(subject, hold);
    let with_cure = format!(
        "{sentence}: kubectl lockkeeper undo -n {} {}. Or, with the verb bypass: {bypass}",
        subject.namespace().name,
        reference_of(subject.workload)
    );
    (Why { sentence, with_cure }, bypass)
}

/// That a policy that holds no changes keeps this one, and how to bypass it.
pub fn of_kept(subject: &Subject, hold: &Hold) -> (Why, String) {
    let sentence = "its policy no longer holds changes, and has whenUngoverned: Keep".to_owned();
    let bypass = bypass(subject, hold);
    let with_cure = format!("{sentence}. With the verb bypass: {bypass}");
    (Why { sentence, with_cure }, bypass)
}

fn bypass(subject: &Subject, hold: &Hold) -> String {
    command(subject.namespace(), &subject.workload.id, marks::BYPASS, &hold.id)
}

/// What a release brings besides the template, and what scaling up means for a held change.
pub fn of_scaling(
    namespace: &Namespace,
    workload: &Workload,
    revisions: &Revisions,
) -> Vec<String> {
    let starts = at_zero::scaled_up(workload, revisions);
    let starts = starts.map(|starts| scaled_up(namespace, starts));
    replicas_wait(workload).into_iter().chain(starts).collect()
}

/// That fewer replicas wait too.
fn replicas_wait(workload: &Workload) -> Option<String> {
    let declared = declared_replicas(workload)?;
    Some(format!(
        "Its replicas stay at {} until the release. The {declared} that its manifest declares {} with the release (kubectl scale applies immediately)",
        workload.rollout.wanted,
        if declared == 1 { "applies" } else { "apply" }
    ))
}

/// What a held Deployment starts when it is scaled up.
fn scaled_up(namespace: &Namespace, starts: ScaledUp) -> String {
    let namespace = &namespace.name;
    match starts {
        ScaledUp::LeftByMaintenance { sets, started: true } => format!(
            "Its pods do not run the app, because they are of a ReplicaSet that maintenance has left. To start the revision that ran last: kubectl delete replicaset -n {namespace} {}",
            sets.join(" ")
        ),
        ScaledUp::LeftByMaintenance { sets, started: false } => format!(
            "If you scale it up, its pods do not run the app, because they would be of a ReplicaSet that maintenance has left. To prevent this: kubectl delete replicaset -n {namespace} {}",
            sets.join(" ")
        ),
        ScaledUp::Nothing => {
            "The ReplicaSet of the revision that ran last is gone (revisionHistoryLimit: 0). If you scale it up, it has no pods until the release"
                .to_owned()
        }
        ScaledUp::HeldChange(set) => format!(
            "If you scale it up, it starts the held change, because the older ReplicaSet {set} has that template. To prevent this:              kubectl delete replicaset -n {namespace} {set}"
        ),
        ScaledUp::AnotherRevision(set) => format!(
            "If you scale it up, it does not start the revision that ran last, but ReplicaSet {set}, which was created later. To prevent this: kubectl delete replicaset -n {namespace} {set}"
        ),
    }
}

/// That a held template is changed in nothing but annotations, perhaps again and again.
fn restamped(seen: &[Restamp]) -> Option<String> {
    let Restamp { keys, writer, .. } = seen.last()?;
    let keys = keys.iter().map(|key| format!("spec.template.metadata.annotations[{key}]"));
    let keys = keys.collect::<Vec<_>>().join(", ");
    Some(match seen.len() {
        0..TIMES => format!("changed again only in {keys}"),
        times => format!(
            "{}: changed {times} times within an hour only in {keys}, last by {writer}, and each time voids approvals. If that is a \
             controller, stop it from writing to the pod template. If it applies a chart with {{{{ now }}}} or a random value in the \
             annotation, make it a checksum of what matters, or remove it",
            Remark::VolatileTemplate
        ),
    })
}

/// A hold in the middle of another rollout leaves its pods mixed.
fn mid_rollout(subject: &Subject) -> Option<String> {
    let remark = Remark::HeldMidRollout;
    Some(match subject.revisions.mixed(subject.pods)? {
        Mixed::Newer(pods) => format!(
            "{remark}, {}: the previous rollout was not complete. If these pods die, they come back with an older revision: {}",
            Remark::MixedRevisions,
            pods.join(", ")
        ),
        Mixed::Revisions(many) => {
            format!(
                "{remark}: the previous rollout was not complete. Pods of {many} revisions stay until the release"
            )
        }
    })
}

/// That a change is held. `again`: another change of the same workload was held before.
pub fn held(workload: &Workload, hold: &Hold, again: bool) -> String {
    let again =
        if again { "changed again, so approvals of the previous change are void: " } else { "" };
    format!(
        "{again}the template that {} changed is held (id {}); the pods stay as they are{}",
        hold.authors,
        hold.id,
        replicas_wait(workload).map_or_else(String::new, |wait| format!(". {wait}"))
    )
}

/// That a held change is being released.
pub fn releasing(release: Release) -> String {
    format!("{release}: the change is being released")
}

/// That a held change is released.
pub fn released(release: Release) -> String {
    format!("the held change is released: {release}")
}

/// The same, and who agreed to it.
pub fn released_by(release: Release, hold: &Hold, consent: &str) -> String {
    format!("{}; change {} by {} was {consent}", released(release), hold.id, hold.authors)
}

/// That the pods of a held change start without a question to its gates.
pub fn lost(hold: &Hold) -> String {
    format!(
        "ScaledToZero: change {} by {} starts with the next pod without passing its gates: without replicas a StatefulSet forgets which revision its pods ran",
        hold.id, hold.authors
    )
}

/// That what the running pods read is missing.
pub fn cannot_start_again(missing: &[Missing]) -> String {
    format!(
        "{}: {}, which the running pods need to start again. Restore it, or release the held change",
        Event::RunningRevisionBroken.reason(),
        named(missing)
    )
}

/// That the ReplicaSet is gone of what a held Deployment ran, and what it starts instead.
pub fn forgotten(namespace: &Namespace, starts: ScaledUp) -> String {
    let starts = scaled_up(namespace, starts);
    format!("{starts}. Release the held change, or set a higher revisionHistoryLimit")
}

/// That a held change is released because its workload is no longer governed.
pub fn ungoverned(hold: &Hold) -> String {
    format!("the held change {} is released: no policy holds it any longer", hold.id)
}

/// That a user released a held change past its gates.
pub fn bypassed(by: &str, id: &ChangeId) -> String {
    format!("{} released the held change {id} past its gates", in_words(by))
}

/// That the policy of a held change went with the CRD, and how to bypass it.
pub fn policy_lost(namespace: &Namespace, workload: &WorkloadId, id: &str) -> String {
    format!(
        "the policy that holds change {id} was deleted with the CRD. The change stays held until a policy selects this workload again. Or, with the verb bypass: {}",
        command(namespace, workload, marks::BYPASS, id)
    )
}

/// That a change rolls which should have been held. `kind`: of its workload.
pub fn missed(cause: Cause, kind: WorkloadKind) -> String {
    let why = match cause {
        Cause::ScaledToZero if kind.has_controller_revisions() => {
            "the StatefulSet had no replicas, and without replicas its controller forgets which revision ran before"
        }
        Cause::ScaledToZero => {
            "the Deployment had no replicas, and scaling it up would not have started the revision that ran last"
        }
        Cause::CreatedOverPods => {
            "the workload was created again over running pods, and a new workload cannot be held. Change the workload in place, or \
             create it with the template of its pods and change that afterwards"
        }
        Cause::NotMarked => {
            "it changed before the operator had marked the workload: just after its creation, or together with the label that the policy selects. A chart can set the marks from the start"
        }
        Cause::NotEnforced => {
            "the admission policies are not in place (see the condition HoldsEnforced)"
        }
        Cause::ChangedAfterAdmission => {
            "another admission webhook changed the template after Lockkeeper's admission step, or the admission policies were missing then"
        }
    };
    format!(
        "{cause}: its template changed, and rolls although it should have been held: {why}. Lockkeeper leaves it alone"
    )
}

/// That a changed template would be held if its policy did not only observe. `gate`: by which.
pub fn would_hold(gate: &str) -> String {
    format!(
        "the template changed; with mode: Enforce it would be held ({gate}), but spec.mode is Observe"
    )
}

/// For who uninstalls.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in namespace {} (change {})", self.workload, self.namespace, self.id)
    }
}

/// That a release was written and not judged.
pub fn unjudged(workload: &Workload) -> String {
    let field = match workload.id.kind.has_replica_sets() {
        true => "spec.paused is still set",
        false => "the partition is still set",
    };
    format!(
        "its change is released, but Lockkeeper's admission did not see that write, so {field}. Lockkeeper repeats the write every 30 seconds until admission sees it; the condition HoldsEnforced says what is wrong"
    )
}

/// That changes of a workload cannot be held, although its policy has gates.
pub fn unsupported(workload: &Workload) -> String {
    let why = match workload.id.kind.can_be_held() {
        false => "a DaemonSet cannot be held",
        true => {
            "with the update strategy OnDelete any eviction starts the newest template, so it cannot be held"
        }
    };
    format!("its policy has gates, but {why}: its template changes roll out immediately")
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GatesOpen => "all gates are open",
            Self::Reverted => "its template was reverted to the one that its pods run",
            Self::ScaledToZero => "it was scaled to zero, and its controller no longer knows the revision that ran before",
            Self::Unchanged => "its template is the same as before",
            Self::Ungoverned => "its policy no longer holds it",
        })
    }
}

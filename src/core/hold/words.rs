//! What is reported and told of a held change, in words.

use jiff::Timestamp;

use crate::{
    api::{Remark, marks},
    core::{
        clock,
        gates::change::Blocked,
        hold::{
            at_zero,
            state::{Hold, command, replicas_wait},
            volatile,
        },
        memory::Memory,
        notice::Event,
        observed::{Workload, workload::reference_of},
        request::Release,
        rollout::revisions::Mixed,
        subject::Subject,
    },
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
    let conflict = memory.writers.message(subject.now());
    let of_scaling = [
        replicas_wait(subject.workload),
        at_zero::note(subject.namespace(), subject.workload, &subject.revisions),
    ];
    let of_change =
        [mid_rollout(subject), conflict.or_else(|| volatile::message(&memory.volatile))];
    let first =
        format!("changed by {}, held since {}: {}", hold.authors, clock(since), why.with_cure);
    let notes = of_scaling.iter().chain(&of_change).flatten();
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
pub fn cannot_start_again(missing: &[String]) -> String {
    format!(
        "{}: {}, which the running pods need to start again. Restore it, or release the held change",
        Event::RunningRevisionBroken.reason(),
        missing.join(", ")
    )
}

/// That the ReplicaSet is gone of what a held Deployment ran; `note` says so.
pub fn forgotten(note: &str) -> String {
    format!("{note}. Release the held change, or set a higher revisionHistoryLimit")
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

//! All that a change would wait for, at once: not only the first gate that is closed.

use lockkeeper::{
    core::{
        gates::{
            self,
            app::for_workload,
            blocker::{App, Approval, Blocker, GateName, Unfinished},
            change::{Change, TEMPLATE},
        },
        hold::state::Hold,
        offline,
        subject::Subject,
    },
    marks::ChangeId,
};

use super::Fate;
use crate::plan::outcome::Wait;

/// How it is told that everything is stopped for a change.
const OFFLINE: &str = "offline";

/// Every gate that would keep the change of a workload waiting. Of the quiet time nothing is told.
pub fn closed(subject: &Subject, fate: Fate) -> Vec<Wait> {
    let now = subject.now();
    let hold = Hold::on(subject.workload);
    let change = match (&hold, fate) {
        (Some(hold), _) => Change::of_hold(subject, hold, TEMPLATE, now),
        (None, Fate::Rolls) => Change::that_would_be_held(now),
        (None, Fate::Same | Fate::Held | Fate::Reverted) => {
            let known = subject.workload.marks.pending_config.get().cloned();
            let id = known.unwrap_or_else(|| ChangeId::Config("to-come".into()));
            Change::of_config(subject, &id, now)
        }
    };
    let answers = gates::each(subject, &change, |_| true);
    let closed =
        answers.filter(|(gate, _)| *gate != GateName::Quiet).filter_map(|(gate, answer)| {
            let message = in_words(&answer.blocker?, &change, subject);
            Some(Wait { gate: gate.as_str(), message })
        });
    let stops = change.goes_offline(subject);
    let offline =
        stops.then(|| Wait { gate: OFFLINE, message: offline::words::PLANNED.to_owned() });
    closed.chain(offline).collect()
}

/// What opens a gate, before there is a change that it could be opened for.
fn in_words(blocker: &Blocker, change: &Change, subject: &Subject) -> String {
    match blocker {
        Blocker::Approval(
            Approval::MissingFromOther(Some(authors)) | Approval::ByAuthor { authors, .. },
        ) => {
            format!("a user other than {authors} (verb approve) has to approve it")
        }
        Blocker::Approval(Approval::TooManyAuthors(_) | Approval::NotRecorded) => {
            change.why(subject, blocker)
        }
        Blocker::Approval(Approval::Missing | Approval::MissingFromOther(None)) => {
            "a user with the verb approve has to approve it".to_owned()
        }
        Blocker::PolicyUnreadable => {
            "the spec of its policy is invalid, so only a revert is released".to_owned()
        }
        Blocker::Frozen => "its policy freezes: only a revert is released".to_owned(),
        Blocker::App(App::Paused | App::Invalid(_)) => change.why(subject, blocker),
        // Nobody has asked them.
        Blocker::App(_) => asked(subject, change).unwrap_or_else(|| change.why(subject, blocker)),
        // The plugin reads no snapshots.
        Blocker::Snapshot(Unfinished::Unlisted) => {
            "a snapshot of each of its claims is taken first, and has to be ready".to_owned()
        }
        other => change.why(subject, other),
    }
}

fn asked(subject: &Subject, change: &Change) -> Option<String> {
    let gate = subject.ruling.spec().app_gate(change.causes)?;
    let gate = for_workload(gate, subject.workload).ok()?;
    let have = match subject.pods.iter().filter(|pod| pod.terminating.is_none()).count() {
        1 => "1 pod has".to_owned(),
        pods => format!("{pods} pods have"),
    };
    Some(format!("{have} to answer yes to GET {}", gate.path))
}

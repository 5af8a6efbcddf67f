//! What is told of gates, and what is sent to pods that are no longer asked.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    api::Reason,
    core::{
        gates::{
            self,
            app::{prepare, verify::verify},
            blocker::Closed,
        },
        notice::Event,
        planned::Plan,
        report::AppGateReport,
        request::{Purpose, Release},
        subject::Subject,
    },
};

/// Answers about a change that no longer waits are void, and pods that are no longer to be
/// ended may work.
pub fn settle(subject: &Subject, mut found: Plan) -> Plan {
    let gates = subject.ruling.spec().gates.as_ref();
    if let Some(gate) = gates.and_then(|gates| gates.app.as_ref())
        && !subject.workload.deleting
    {
        let verified = verify(subject, gate, &mut found.talk);
        found.report.app_gate = AppGateReport { asked: verified.asked, trouble: verified.trouble };
    }
    if !found.talk.asks {
        found.talk.conversation.turn_to(None);
    }
    let there: BTreeSet<_> = subject.pods.iter().map(|pod| &*pod.uid).collect();
    found.talk.conversation.keep_only(&there);
    let whose = (&subject.workload.id, &subject.workload.uid, &subject.ruling.policy().uid);
    prepare::withdraw(subject.namespace(), whose, subject.now(), &mut found.talk);
    found.hear_talk();
    found.report.asks = found.talk.asks;
    found.memory.app = std::mem::take(&mut found.talk.conversation);
    found
}

/// Events and durations of gates, where they changed since the last time.
pub fn tell(subject: &Subject, mut found: Plan) -> Plan {
    let before = subject.memory.gate;
    let stays = before.map(|(closed, _)| closed) == found.report.closed;
    found.memory.own_approval = own_approval(subject, &found);
    // The command of the event before would change nothing now.
    let approved = found.memory.own_approval.is_some()
        && found.memory.own_approval != subject.memory.own_approval;
    let news = found.report.closed.is_some_and(|closed| gates::is_told(closed.reason))
        && (!stays || approved || found.memory.writers.untold);
    // While two undo each other, that is told in its place; and what is left of it when they have
    // stopped.
    found.memory.writers.untold = news && found.memory.writers.conflict(subject.now());
    if news && !found.memory.writers.untold {
        let message = found.report.verdict.message.clone();
        found.tell(Event::GateClosed, message);
    }
    found.memory.gate = match found.report.closed {
        Some(_) if stays => before,
        closed => closed.map(|closed| (closed, subject.now())),
    };
    if let Some((Closed { gate, reason }, since)) = before.filter(|_| !stays) {
        let waited = Duration::try_from(subject.now().duration_since(since)).unwrap_or_default();
        found.waited = Some((reason, waited));
        let released = Some(Purpose::Release(Release::GatesOpen));
        let goes = found.roll.is_some()
            || found.edits.purpose == released
            || found.edits.purpose == Some(Purpose::Step);
        let next = found.report.closed.is_some_and(|closed| closed.gate > gate);
        if gates::is_told(reason) && (goes || next) {
            found.tell(Event::GateOpen, format!("{} no longer applies", reason.as_str()));
        }
    }
    found
}

/// Who approved a change that waits for an approval all the same.
fn own_approval(subject: &Subject, found: &Plan) -> Option<String> {
    let by = subject.workload.marks.approved_by.get()?;
    let waits = found.report.closed.is_some_and(|closed| closed.reason == Reason::ApprovalRequired);
    (waits && subject.records_approvals()).then(|| by.0.to_string())
}

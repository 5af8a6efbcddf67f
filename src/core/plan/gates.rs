//! What is told of gates, and what is sent to pods that are no longer asked.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    api::Reason,
    core::{
        gates::{
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
pub fn settle(subject: &Subject, mut plan: Plan) -> Plan {
    let gates = subject.ruling.spec().gates.as_ref();
    if let Some(gate) = gates.and_then(|gates| gates.app.as_ref())
        && !subject.workload.deleting
    {
        let verified = verify(subject, gate, &mut plan.talk);
        plan.report.app_gate = AppGateReport { asked: verified.asked, trouble: verified.trouble };
    }
    if !plan.talk.asks {
        plan.talk.conversation.turn_to(None);
    }
    let there: BTreeSet<_> = subject.pods.iter().map(|pod| &*pod.uid).collect();
    plan.talk.conversation.keep_only(&there);
    let whose = (&subject.workload.id, &subject.workload.uid, &subject.ruling.policy().uid);
    prepare::withdraw(subject.namespace(), whose, subject.now(), &mut plan.talk);
    plan.hear_talk();
    plan.report.asks = plan.talk.asks;
    plan.memory.app = std::mem::take(&mut plan.talk.conversation).kept();
    plan
}

/// Events and durations of gates, where they changed since the last time.
pub fn tell(subject: &Subject, mut plan: Plan) -> Plan {
    let before = subject.memory.gate;
    let stays = before.map(|(closed, _)| closed) == plan.report.closed;
    plan.memory.own_approval = own_approval(subject, &plan);
    // The command of the event before would change nothing now.
    let approved = plan.memory.own_approval.is_some()
        && plan.memory.own_approval != subject.memory.own_approval;
    let news = plan.report.closed.is_some_and(|closed| !closed.is_brief)
        && (!stays || approved || plan.memory.writers.untold);
    // While two undo each other, that is told in its place; and what is left of it when they have
    // stopped.
    plan.memory.writers.untold = news && plan.memory.writers.conflict(subject.now()).is_some();
    if news && !plan.memory.writers.untold {
        let message = plan.report.verdict.message.clone();
        plan.tell(Event::GateClosed, message);
    }
    plan.memory.gate = match plan.report.closed {
        Some(_) if stays => before,
        closed => closed.map(|closed| (closed, subject.now())),
    };
    if let Some((Closed { gate, reason, is_brief }, since)) = before.filter(|_| !stays) {
        let waited = Duration::try_from(subject.now().duration_since(since)).unwrap_or_default();
        plan.waited = Some((reason, waited));
        let released = Some(Purpose::Release(Release::GatesOpen));
        let goes = plan.roll.is_some()
            || plan.edits.purpose == released
            || plan.edits.purpose == Some(Purpose::Step);
        let next = plan.report.closed.is_some_and(|closed| closed.gate > gate);
        if !is_brief && (goes || next) {
            plan.tell(Event::GateOpen, format!("{} no longer applies", reason.as_str()));
        }
    }
    plan
}

/// Who approved a change that waits for an approval all the same.
fn own_approval(subject: &Subject, plan: &Plan) -> Option<String> {
    let by = subject.workload.marks.approved_by.get()?;
    let waits = plan.report.closed.is_some_and(|closed| closed.reason == Reason::ApprovalRequired);
    (waits && subject.records_approvals()).then(|| by.0.to_string())
}

//! A workload that nothing holds.

use crate::{
    api::{Mode, Phase, Reason},
    core::{
        gates::app::prepare,
        hold::{self, governance, marking, observed, unjudged},
        notice::Event,
        observed::overdue_at,
        plan::config,
        planned::Plan,
        report::Verdict,
        request::Purpose,
        rollout::{
            follow::follow,
            lack,
            outcome::{Ended, Outcome},
            progress::Progress,
            verdict,
            walk::{self, Walk},
            words,
        },
        subject::Subject,
        volumes::strategy,
    },
};

/// A workload that nothing holds: how far its rollout is, and whether the next one is due.
pub fn plan(subject: &Subject, mut plan: Plan) -> Plan {
    plan.memory.scaled = None;
    plan.memory.hold_of_nothing = false;
    (plan.memory.broken_since, plan.memory.broken_told) = (None, false);
    plan.memory.judged_again = None;
    if let Some(again) = unjudged::again(subject).filter(|_| !subject.ruling.observes()) {
        plan.memory.judged_again = Some(again.at);
        plan.wake_at(again.next);
        plan.write(again.edits);
        plan.stand(Verdict::new(
            Phase::Held,
            Reason::Releasing,
            hold::words::unjudged(subject.workload),
        ));
        return plan;
    }
    let (outcome, plan) = followed(subject, by_progress(subject, plan));
    let mut plan = config::of_free(subject, &outcome, plan);
    if plan.roll.is_none() && !plan.talk.asks {
        plan = walked(subject, &outcome, plan);
        plan = unblocked(subject, plan);
    }
    if matches!(subject.progress, Progress::UnderWay(_) | Progress::Unobserved) {
        plan.talk = prepare::keep_drained(subject, &outcome, plan.talk);
        plan.hear_talk();
    }
    let plan = with_notes(subject, &outcome, plan);
    unsupported(subject, would_hold(subject, plan))
}

fn by_progress(subject: &Subject, mut plan: Plan) -> Plan {
    verdict::verdict(subject).into_iter().for_each(|verdict| plan.stand(verdict));
    let overdue = subject.pods.iter().filter_map(|pod| overdue_at(pod));
    let overdue = overdue.filter(|at| *at > subject.now()).min();
    overdue.into_iter().for_each(|at| plan.wake_at(at));
    if let Progress::UnderWay(due) = subject.progress {
        plan.wake_at(due);
    }
    let lacking = lack::find(subject);
    lacking.wake.into_iter().for_each(|at| plan.wake_at(at));
    (plan.memory.lack, plan.lookup) = (lacking.lack, lacking.look_up);
    plan
}

fn followed(subject: &Subject, mut plan: Plan) -> (Outcome, Plan) {
    match subject.ruling.spec().mode {
        Mode::Observe => (Outcome::on(subject.workload).clone(), plan),
        Mode::Enforce | Mode::Freeze => {
            let verdict =
                Verdict::new(plan.phase(), plan.reason(), plan.report.verdict.message.as_str());
            let mut followed = follow(subject, &verdict);
            plan.write(followed.edits);
            plan.notices.append(&mut followed.notices);
            (followed.outcome, plan)
        }
    }
}

fn walked(subject: &Subject, outcome: &Outcome, mut plan: Plan) -> Plan {
    let workload = subject.workload;
    match walk::next(subject, outcome) {
        Walk::Stays => {}
        Walk::Unobserved => {
            plan.talk.go_on();
            // Nothing is known of the gate that was not known before.
            let waits = subject.memory.gate.filter(|(closed, _)| closed.reason == plan.reason());
            if waits.is_some() {
                plan = plan.before_the_same_gate(subject);
            }
        }
        Walk::Waits(until) => plan.wake_at(until),
        Walk::Ends { keep } => plan.write(marking::end_walk(workload, keep)),
        Walk::Next(step) => match plan.hear(subject, &step.change, step.answer) {
            None => plan.write(walk::step(outcome, step.turn, subject.now())),
            Some(blocked) if plan.phase() != Phase::Failed => {
                let why = words::next_pod(workload, step.turn, &blocked.why);
                plan.stand(blocked.verdict(Phase::Rolling, why));
                plan.report.hold = walk::status(workload, &blocked.sentence);
            }
            Some(_) => {}
        },
    }
    plan
}

/// A rollout that is stuck on a volume goes on when the old pods end first.
fn unblocked(subject: &Subject, mut plan: Plan) -> Plan {
    if matches!(plan.phase(), Phase::Rolling | Phase::Failed)
        && let Some(stuck) = strategy::stuck(subject)
    {
        plan.stand(Verdict::new(plan.phase(), Reason::StuckOnVolume, stuck));
    }
    let Some(strategy::Unblocking { change, answer, strategy }) = strategy::unblock(subject) else {
        return plan;
    };
    match plan.hear(subject, &change, answer) {
        None => {
            plan.write(strategy.edits());
            plan.edits.purpose = Some(Purpose::Unblock);
            plan.tell(Event::StrategyChanged, strategy.message());
        }
        Some(blocked) => {
            let message = format!("{}; {}", plan.report.verdict.message, blocked.why);
            plan.stand(blocked.verdict(plan.phase(), message));
            plan.report.verdict.reason = Reason::StuckOnVolume;
        }
    }
    plan
}

/// Who let the rollout through, and who undo each other.
fn with_notes(subject: &Subject, outcome: &Outcome, mut plan: Plan) -> Plan {
    if !matches!(plan.phase(), Phase::Rolling | Phase::Failed) {
        return plan;
    }
    let ours = outcome.ended != Ended::Done && outcome.is_of(subject.workload, subject.key());
    if let Some(consent) = words::consent(outcome).filter(|_| ours) {
        plan.report.verdict.message = format!("{}; {consent}", plan.report.verdict.message);
    }
    if let Some(conflict) = plan.memory.writers.conflict(subject.now()) {
        plan.report.verdict.message = format!("{}. {conflict}", plan.report.verdict.message);
    }
    plan
}

/// What a policy that only observes would have held.
fn would_hold(subject: &Subject, mut plan: Plan) -> Plan {
    if !subject.ruling.observes() {
        return plan;
    }
    let would_hold = observed::would_hold(subject);
    plan.memory.would_hold = would_hold.is_some();
    let Some(observed::WouldHold { changed, message }) = would_hold else { return plan };
    if changed {
        plan.tell(Event::WouldHold, message.as_str());
    }
    if plan.phase() != Phase::Failed {
        let message = format!("{message}; {}", words::counts(&subject.workload.rollout));
        plan.stand(Verdict::new(Phase::WouldHold, Reason::ObserveMode, message));
    }
    plan
}

/// What cannot be held, although its policy has gates.
fn unsupported(subject: &Subject, mut plan: Plan) -> Plan {
    let workload = subject.workload;
    if plan.phase() != Phase::UpToDate
        || !subject.ruling.spec().needs_holds()
        || governance::holdable(workload)
    {
        return plan;
    }
    let message = hold::words::unsupported(workload);
    plan.stand(Verdict::new(Phase::Unsupported, Reason::GatesUnsupported, message));
    plan
}

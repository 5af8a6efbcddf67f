//! A workload that nothing holds.

use crate::{
    api::{Mode, Phase, Reason},
    core::{
        gates::app::prepare,
        hold::{governance, marking, observed},
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
        },
        subject::Subject,
        volumes::strategy,
    },
};

/// A workload that nothing holds: how far its rollout is, and whether the next one is due.
pub fn plan(subject: &Subject, mut found: Plan) -> Plan {
    found.memory.scaled = None;
    found.memory.hold_of_nothing = false;
    (found.memory.broken_since, found.memory.broken_told) = (None, false);
    let (outcome, found) = followed(subject, by_progress(subject, found));
    let mut found = config::of_free(subject, &outcome, found);
    if found.roll.is_none() && !found.talk.asks {
        found = walked(subject, &outcome, found);
        found = unblocked(subject, found);
    }
    if matches!(subject.progress, Progress::UnderWay(_) | Progress::Unobserved) {
        found.talk = prepare::keep_drained(subject, &outcome, found.talk);
        found.hear_talk();
    }
    let found = with_notes(subject, &outcome, found);
    unsupported(subject, would_hold(subject, found))
}

fn by_progress(subject: &Subject, mut found: Plan) -> Plan {
    verdict::verdict(subject).into_iter().for_each(|verdict| found.stand(verdict));
    let overdue = subject.pods.iter().filter_map(|pod| overdue_at(pod));
    let overdue = overdue.filter(|at| *at > subject.now()).min();
    overdue.into_iter().for_each(|at| found.wake_at(at));
    if let Progress::UnderWay(due) = subject.progress {
        found.wake_at(due);
    }
    let lacking = lack::find(subject);
    lacking.wake.into_iter().for_each(|at| found.wake_at(at));
    (found.memory.lack, found.lookup) = (lacking.lack, lacking.look_up);
    found
}

fn followed(subject: &Subject, mut found: Plan) -> (Outcome, Plan) {
    match subject.ruling.spec().mode {
        Mode::Observe => (Outcome::on(subject.workload).clone(), found),
        Mode::Enforce | Mode::Freeze => {
            let verdict =
                Verdict::new(found.phase(), found.reason(), found.report.verdict.message.as_str());
            let mut followed = follow(subject, &verdict);
            found.write(followed.edits);
            found.notices.append(&mut followed.notices);
            (followed.outcome, found)
        }
    }
}

fn walked(subject: &Subject, outcome: &Outcome, mut found: Plan) -> Plan {
    let workload = subject.workload;
    match walk::next(subject, outcome) {
        Walk::Stays => {}
        Walk::Unobserved => {
            found.talk.go_on();
            // Nothing is known of the gate that was not known before.
            let waits = subject.memory.gate.filter(|(closed, _)| closed.reason == found.reason());
            if waits.is_some() {
                found = found.before_the_same_gate(subject);
            }
        }
        Walk::Waits(until) => found.wake_at(until),
        Walk::Ends { keep } => found.write(marking::end_walk(workload, keep)),
        Walk::Next(step) => match found.hear(subject, &step.change, step.answer) {
            None => found.write(walk::step(outcome, step.turn, subject.now())),
            Some(blocked) if found.phase() != Phase::Failed => {
                let why = walk::waits(workload, step.turn, &blocked.why);
                found.stand_before(Phase::Rolling, &blocked, why);
                found.report.hold = walk::status(workload, &blocked.sentence);
            }
            Some(_) => {}
        },
    }
    found
}

/// A rollout that is stuck on a volume goes on when the old pods end first.
fn unblocked(subject: &Subject, mut found: Plan) -> Plan {
    if matches!(found.phase(), Phase::Rolling | Phase::Failed)
        && let Some(stuck) = strategy::stuck(subject)
    {
        found.stand(Verdict::new(found.phase(), Reason::StuckOnVolume, stuck));
    }
    let Some(strategy::Unblocking { change, answer, strategy }) = strategy::unblock(subject) else {
        return found;
    };
    match found.hear(subject, &change, answer) {
        None => {
            found.write(strategy.edits());
            found.edits.purpose = Some(Purpose::Unblock);
            found.tell(Event::StrategyChanged, strategy.message());
        }
        Some(blocked) => {
            let message = format!("{}; {}", found.report.verdict.message, blocked.why);
            found.stand_before(found.phase(), &blocked, message);
            found.report.verdict.reason = Reason::StuckOnVolume;
        }
    }
    found
}

/// Who let the rollout through, and who undo each other.
fn with_notes(subject: &Subject, outcome: &Outcome, mut found: Plan) -> Plan {
    if !matches!(found.phase(), Phase::Rolling | Phase::Failed) {
        return found;
    }
    let consent = outcome.consent();
    let ours = outcome.ended != Ended::Done && outcome.is_of(subject.workload, subject.key());
    if ours && !consent.is_empty() {
        found.report.verdict.message = format!("{}; {consent}", found.report.verdict.message);
    }
    if let Some(conflict) = found.memory.writers.message(subject.now()) {
        found.report.verdict.message = format!("{}. {conflict}", found.report.verdict.message);
    }
    found
}

/// What a policy that only observes would have held.
fn would_hold(subject: &Subject, mut found: Plan) -> Plan {
    if !subject.ruling.observes() {
        return found;
    }
    let would_hold = observed::would_hold(subject);
    found.memory.would_hold = would_hold.is_some();
    let Some(observed::WouldHold { changed, message }) = would_hold else { return found };
    if changed {
        found.tell(Event::WouldHold, message.as_str());
    }
    if found.phase() != Phase::Failed {
        let state = &subject.workload.rollout;
        let message = format!(
            "{message}; {} of {} pods updated, {} available",
            state.updated, state.wanted, state.available
        );
        found.stand(Verdict::new(Phase::WouldHold, Reason::ObserveMode, message));
    }
    found
}

/// What cannot be held, although its policy has gates.
fn unsupported(subject: &Subject, mut found: Plan) -> Plan {
    let workload = subject.workload;
    if found.phase() != Phase::UpToDate
        || !subject.ruling.spec().needs_holds()
        || governance::holdable(workload)
    {
        return found;
    }
    let why = match workload.id.kind.can_be_held() {
        false => "a DaemonSet cannot be held",
        true => {
            "with the update strategy OnDelete any eviction starts the newest template, so it cannot be held"
        }
    };
    let message =
        format!("its policy has gates, but {why}: its template changes roll out immediately");
    found.stand(Verdict::new(Phase::Unsupported, Reason::GatesUnsupported, message));
    found
}

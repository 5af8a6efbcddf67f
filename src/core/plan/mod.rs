//! One workload: where it stands, and what is to be done about it. The rules say what they find;
//! here it is put together.

mod config;
mod free;
mod gates;
mod held;
mod requests;
pub mod ungoverned;

use crate::core::{
    hold::{self, marking, state::Hold},
    memory::{SeenTemplate, template_changed_at},
    notice::Event,
    planned::Plan,
    report::MarksReport,
    subject::Subject,
    volumes,
};

/// Which situation a workload is in.
enum Situation {
    /// Its template is held, and its policy only observes.
    Observed(Hold),
    /// Its template is held.
    Held(Hold),
    /// Nothing holds it.
    Free,
}

impl Situation {
    fn of(subject: &Subject) -> Self {
        match Hold::on(subject.workload).filter(|_| !subject.workload.deleting) {
            Some(hold) if subject.ruling.observes() => Self::Observed(hold),
            Some(hold) => Self::Held(hold),
            None => Self::Free,
        }
    }

    fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Observed(hold) | Self::Held(hold) => Some(hold),
            Self::Free => None,
        }
    }
}

/// Judges one workload.
pub fn plan(subject: &Subject) -> Plan {
    let situation = Situation::of(subject);
    let found = marked(subject, situation.hold());
    let mut found = match &situation {
        Situation::Observed(hold) => held::observe(subject, hold, found),
        Situation::Held(hold) => held::plan(subject, hold, found),
        Situation::Free => free::plan(subject, found),
    };
    if subject.workload.deleting {
        (found.edits, found.roll) = Default::default();
    }
    found.memory.changed_at = found.memory.changed_at.max(template_changed_at(
        subject.workload,
        subject.memory,
        subject.now(),
    ));
    found.memory.template = Some(SeenTemplate::of(subject.workload));
    let found = gates::tell(subject, gates::settle(subject, found));
    let mut found = requests::make(subject, found);
    found.memory.last = Some(found.report.verdict.clone());
    found.memory.shown.clone_from(&found.report.hold);
    found
}

/// The marks that its policy puts on it, or takes off, and who changed it.
fn marked(subject: &Subject, hold: Option<&Hold>) -> Plan {
    let (workload, observes) = (subject.workload, subject.ruling.observes());
    let mut found = Plan::new(subject.memory.clone(), subject.pods);
    found.memory.differs_since = None;
    found.memory.hold = hold.map(|hold| hold.id.clone());
    if observes {
        let off = marking::let_go(workload);
        found.write(off.edits);
        off.released.into_iter().for_each(|message| found.tell(Event::UpgradeReleased, message));
    } else if !workload.deleting {
        let marking = marking::mark(subject);
        found.write(marking.edits);
        found.report.marks = MarksReport { missing: marking.unmarked, room: marking.cramped };
        if found.report.marks.missing {
            found.memory.unmarked_at = Some(subject.now());
        }
    }
    if let Some((writers, conflict)) = hold::writers::note(subject, hold) {
        found.memory.writers = writers;
        conflict.into_iter().for_each(|message| found.tell(Event::ConflictingWriters, message));
    }
    let acts = !observes && !subject.ruling.is_unreadable() && !workload.deleting;
    if let Some(strategy) = acts.then(|| volumes::strategy::mark(subject)).flatten() {
        found.write(strategy.edits());
        found.tell(Event::StrategyChanged, strategy.message());
    }
    found
}

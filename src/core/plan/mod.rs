//! One workload: where it stands, and what is to be done about it. The rules say what they find;
//! here it is put together.

mod config;
mod free;
mod gates;
mod held;
mod maintenance;
mod offline;
mod requests;
mod stopping;
pub mod ungoverned;

use crate::{
    core::{
        hold::{self, marking, state::Hold},
        maintenance::{impossible, of, wanted::wanted},
        memory::{SeenTemplate, template_changed_at},
        notice::Event,
        planned::Plan,
        report::MarksReport,
        subject::Subject,
        volumes,
    },
    marks::InMaintenance,
};

/// Which situation a workload is in.
enum Situation {
    /// Its template is held, and its policy only observes.
    Observed(Hold),
    /// Its template is held.
    Held(Hold),
    /// It is in maintenance. A change may be held.
    Maintained(Box<InMaintenance>, Option<Hold>),
    /// It is to be in maintenance. A change may be held.
    Enters(Option<Hold>),
    /// It is to be stopped along with others of its policy.
    Joins,
    /// Nothing holds it.
    Free,
}

impl Situation {
    fn of(subject: &Subject) -> Self {
        let workload = subject.workload;
        let hold = Hold::on(workload).filter(|_| !workload.deleting);
        match of(workload).filter(|_| !workload.deleting) {
            Some(mark) if mark.rests() || mark.at_zero || hold.is_none() => {
                return Self::Maintained(mark.clone().into(), hold);
            }
            Some(_) => {}
            None if of(workload).is_none()
                && !workload.deleting
                && wanted(workload, subject.ruling).is_some()
                && impossible(subject).is_none() =>
            {
                return Self::Enters(hold);
            }
            None => {}
        }
        match hold {
            Some(hold) if subject.ruling.observes() => Self::Observed(hold),
            Some(hold) => Self::Held(hold),
            None if !workload.deleting && offline::joins(subject) => Self::Joins,
            None => Self::Free,
        }
    }

    fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Observed(hold) | Self::Held(hold) => Some(hold),
            Self::Maintained(_, hold) | Self::Enters(hold) => hold.as_ref(),
            Self::Joins | Self::Free => None,
        }
    }
}

/// Judges one workload.
pub fn plan(subject: &Subject) -> Plan {
    let situation = Situation::of(subject);
    let plan = marked(subject, situation.hold());
    let mut plan = match &situation {
        Situation::Observed(hold) => held::observe(subject, hold, plan),
        Situation::Held(hold) => held::plan(subject, hold, plan),
        Situation::Maintained(mark, hold) if let Some(upgrade) = &mark.upgrade => {
            offline::plan(subject, (mark, upgrade), hold.as_ref(), plan)
        }
        Situation::Maintained(mark, hold) => maintenance::plan(subject, mark, hold.as_ref(), plan),
        Situation::Enters(hold) => maintenance::enter(subject, hold.as_ref(), plan),
        Situation::Joins => offline::join(subject, plan),
        Situation::Free => free::plan(subject, plan),
    };
    plan = maintenance::with_impossible(subject, plan);
    if subject.workload.deleting {
        (plan.edits, plan.roll) = Default::default();
    }
    plan.memory.changed_at = plan.memory.changed_at.max(template_changed_at(
        subject.workload,
        subject.memory,
        subject.now(),
    ));
    plan.memory.template = Some(SeenTemplate::of(subject.workload));
    let plan = gates::tell(subject, gates::settle(subject, plan));
    let mut plan = requests::make(subject, plan);
    plan.memory.last = Some(plan.report.verdict.clone());
    plan.memory.shown.clone_from(&plan.report.hold);
    plan
}

/// The marks that its policy puts on it, or takes off, and who changed it.
fn marked(subject: &Subject, hold: Option<&Hold>) -> Plan {
    let (workload, observes) = (subject.workload, subject.ruling.observes());
    let mut plan = Plan::new(subject.memory.clone(), subject.pods);
    (plan.memory.differs_since, plan.memory.agrees, plan.memory.saved) = Default::default();
    plan.memory.hold = hold.map(|hold| hold.id.clone());
    if observes && of(workload).is_some() {
        // It stays as it is until it ends.
    } else if observes {
        let off = marking::let_go(workload, subject.around.judges);
        plan.write(off.edits);
        off.released.into_iter().for_each(|message| plan.tell(Event::UpgradeReleased, message));
    } else if !workload.deleting {
        let marking = marking::mark(subject);
        plan.write(marking.edits);
        plan.report.marks = MarksReport { missing: marking.unmarked, room: marking.cramped };
        if plan.report.marks.missing {
            plan.memory.unmarked_at = Some(subject.now());
        }
    }
    let mut plan = maintenance::without_unrecorded(subject, plan);
    if let Some((writers, conflict)) = hold::writers::note(subject, hold) {
        plan.memory.writers = writers;
        conflict.into_iter().for_each(|message| plan.tell(Event::ConflictingWriters, message));
    }
    let acts = !observes && !subject.ruling.is_unreadable() && !workload.deleting;
    if let Some(strategy) = acts.then(|| volumes::strategy::mark(subject)).flatten() {
        plan.write(strategy.edits());
        plan.tell(Event::StrategyChanged, strategy.message());
    }
    plan
}

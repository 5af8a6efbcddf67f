//! The gates in their order.

use crate::{
    api::UpgradePolicySpec,
    core::{
        gates::{
            app, approval,
            blocker::{Blocker, GateName},
            change::Change,
            freeze,
            gate::{Answer, Gate, Needs},
            quiet, snapshot, steps, volumes, windows,
        },
        subject::Subject,
    },
};

impl GateName {
    /// The gate of this name.
    pub fn gate(self) -> Gate {
        match self {
            Self::Quiet => quiet::GATE,
            Self::Freeze => freeze::GATE,
            Self::Windows => windows::GATE,
            Self::Approval => approval::GATE,
            Self::Volumes => volumes::GATE,
            Self::Steps => steps::GATE,
            Self::App => app::GATE,
            Self::Snapshot => snapshot::GATE,
        }
    }

    /// Whether the author of a policy asks for the gate.
    pub fn is_set(self, spec: &UpgradePolicySpec) -> bool {
        (self.gate().is_set)(spec)
    }
}

/// Asks the gates in order; the first that is closed answers. At most one gate of a change talks to
/// pods, and what it has begun goes on behind a gate that is closed.
pub fn ask(subject: &Subject, change: &Change) -> Answer {
    let mut open = Answer::open();
    for (_, answer) in each(subject, change, |_| true) {
        open.talk = answer.talk.or(open.talk);
        open.snapshots.extend(answer.snapshots);
        if answer.blocker.is_some() {
            return Answer { blocker: answer.blocker, ..open };
        }
    }
    open
}

/// Those gates that apply of which this is true of what they need, each asked by itself.
pub fn each<'a>(
    subject: &'a Subject,
    change: &'a Change,
    which: fn(Needs) -> bool,
) -> impl Iterator<Item = (GateName, Answer)> + 'a {
    let gates = GateName::all().map(GateName::gate);
    gates
        .filter(move |gate| which(gate.needs) && (gate.applies)(subject, change))
        .map(|gate| (gate.name, (gate.ask)(subject, change)))
}

/// What a change would wait for where nothing is done: the first gate that is closed, of those of
/// which this is true of what they need, and what else it waits for, as "until its pods agree".
pub fn would_wait_for(
    subject: &Subject,
    change: &Change,
    which: fn(Needs) -> bool,
) -> (Option<Blocker>, Option<&'static str>) {
    let blocker = each(subject, change, which).find_map(|(_, answer)| answer.blocker);
    (blocker, of_pods(subject, change))
}

/// What a change waits for that pods answer, as "until its pods agree", or that is taken for it; none
/// if no gate asks for that.
fn of_pods(subject: &Subject, change: &Change) -> Option<&'static str> {
    let spec = subject.ruling.spec();
    let gates = GateName::all().map(GateName::gate);
    let applying = gates.filter(|gate| (gate.is_set)(spec) && (gate.applies)(subject, change));
    applying.map(|gate| gate.needs).find_map(|needs| match needs {
        Needs::Pods(words) | Needs::Snapshots(words) => Some(words),
        Needs::Policy | Needs::Namespace => None,
    })
}

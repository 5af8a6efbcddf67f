//! The gates in their order.

use crate::{
    api::{Reason, UpgradePolicySpec},
    core::{
        gates::{
            app, approval,
            blocker::GateName,
            change::Change,
            freeze,
            gate::{Answer, Gate},
            quiet, steps, volumes, windows,
        },
        subject::Subject,
    },
};

/// The gates in their order.
pub const IN_ORDER: [Gate; 7] = [
    quiet::GATE,
    freeze::GATE,
    windows::GATE,
    approval::GATE,
    volumes::GATE,
    steps::GATE,
    app::GATE,
];

impl GateName {
    /// Whether the author of a policy asks for the gate.
    pub fn is_set(self, spec: &UpgradePolicySpec) -> bool {
        IN_ORDER.iter().any(|gate| gate.name == self && (gate.is_set)(spec))
    }

    /// Whether it needs nothing but the policy, the change and the time.
    pub fn is_timely(self) -> bool {
        matches!(self, Self::Freeze | Self::Windows | Self::Approval)
    }
}

/// Asks the gates in order; the first that is closed answers.
pub fn ask(subject: &Subject, change: &Change) -> Answer {
    let mut open = Answer::open();
    for (_, answer) in each(subject, change, |_| true) {
        if answer.blocker.is_some() {
            return answer;
        }
        open.talk = open.talk.or(answer.talk);
    }
    open
}

/// The gates of these names that apply, each asked by itself.
pub fn each<'a>(
    subject: &'a Subject,
    change: &'a Change,
    names: fn(GateName) -> bool,
) -> impl Iterator<Item = (GateName, Answer)> + 'a {
    let gates = IN_ORDER.into_iter().filter(move |gate| names(gate.name));
    gates
        .filter(|gate| (gate.applies)(subject, change))
        .map(|gate| (gate.name, (gate.ask)(subject, change)))
}

/// Whether it is worth telling that a gate with this reason is closed: it is not where all is well,
/// and will be over in a moment.
pub fn is_told(reason: Reason) -> bool {
    !matches!(reason, Reason::QuietTime | Reason::AskingPods)
}

//! Somebody with the right to must approve each change, by its id.

use crate::{
    api::{self, ChangeCause, UpgradePolicySpec},
    core::{
        gates::{
            blocker::{Approval, Blocker, GateName},
            change::{Change, Consent},
            gate::{Answer, Gate, Needs, applies_to},
        },
        subject::Subject,
    },
};

/// The gate.
pub const GATE: Gate = Gate {
    name: GateName::Approval,
    needs: Needs::Policy,
    is_set,
    applies: |subject, change| applies_to(subject, change) && !change.has_begun(),
    ask,
};

fn is_set(spec: &UpgradePolicySpec) -> bool {
    wanted(spec) != api::Approval::NotRequired
}

fn wanted(spec: &UpgradePolicySpec) -> api::Approval {
    spec.gates.as_ref().map_or(api::Approval::NotRequired, |gates| gates.approval)
}

/// Open when it is approved by somebody whose approval counts. Whether they may approve at all was
/// decided in admission.
fn ask(subject: &Subject, change: &Change) -> Answer {
    // The status says Unsupported of a DaemonSet: nobody can record an approval of its config.
    if !subject.workload.id.kind.can_be_held() {
        return Answer::open();
    }
    missing(wanted(subject.ruling.spec()), change).map(Blocker::Approval).into()
}

fn missing(wanted: api::Approval, change: &Change) -> Option<Approval> {
    let from_other = match wanted {
        api::Approval::NotRequired => return None,
        api::Approval::Required => false,
        api::Approval::RequiredFromOther => true,
    };
    let authors = change.authors();
    match (change.consent, authors) {
        (Consent::Unrecorded, _) => Some(Approval::NotRecorded),
        (_, Some(authors)) if from_other && authors.are_too_many() => {
            Some(Approval::TooManyAuthors(authors.clone()))
        }
        (Consent::By(approver), Some(authors)) if from_other && authors.include(approver) => {
            let (approver, authors) = (approver.to_owned(), authors.clone());
            Some(Approval::ByAuthor { approver, authors })
        }
        (Consent::By(_), _) => None,
        (Consent::Missing, _) if from_other => Some(Approval::MissingFromOther(authors.cloned())),
        (Consent::Missing, _) => Some(Approval::Missing),
    }
}

/// Whether somebody has to approve a change that consists of this.
pub fn asks_approval(subject: &Subject, causes: &[ChangeCause]) -> bool {
    let gates = subject.ruling.spec().gates.as_ref();
    gates.is_some_and(|gates| {
        gates.approval != api::Approval::NotRequired
            && causes.iter().any(|cause| gates.applies_to.contains(cause))
    })
}

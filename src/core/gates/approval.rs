//! Somebody with the right to must approve each change, by its id.

use crate::{
    api::{Approval, ChangeCause, Reason, UpgradePolicySpec, marks},
    core::{
        gates::gate::{Asked, Gate, TimelyGate},
        hold::{authors::in_words, state::command},
        subject::Subject,
    },
};

/// The gate.
pub const GATE: TimelyGate = TimelyGate {
    name: "approval",
    reason: Reason::ApprovalRequired,
    always: false,
    once: true,
    is_set,
    ask,
};

fn is_set(spec: &UpgradePolicySpec) -> bool {
    spec.gates.as_ref().is_some_and(|gates| gates.approval != Approval::NotRequired)
}

/// Open when it is approved by somebody whose approval counts. Whether they may approve at all was
/// decided in admission.
fn ask(asked: &Asked) -> Gate {
    let change = asked.change;
    let approval =
        asked.ruling.spec().gates.as_ref().map_or(Approval::NotRequired, |gates| gates.approval);
    if approval != Approval::NotRequired && !change.recorded {
        // The status says Unsupported of a DaemonSet: nobody can record an approval of its config.
        if !change.workload.kind.can_be_held() {
            return Gate::Open;
        }
        let message =
            "it needs an approval, and admission records none now, so neither an approval nor a bypass counts: the condition HoldsEnforced of \
             its policy says why. Fix that, or remove spec.gates.approval from the policy"
                .to_owned();
        return Gate::closed(Reason::ApprovalRequired, message, None);
    }
    let how = command(change.namespace, change.workload, marks::APPROVE, change.id);
    let bypass = || command(change.namespace, change.workload, marks::BYPASS, change.id);
    let message = match (approval, change.approved_by, change.authors) {
        (Approval::NotRequired, ..) | (Approval::Required, Some(_), _) => return Gate::Open,
        (Approval::RequiredFromOther, _, Some(authors)) if authors.are_too_many() => format!(
            "too many users made this change to record all of them ({authors}), so no approval can count as another user's. Revert it. Or, with the verb bypass: {}",
            bypass()
        ),
        (Approval::RequiredFromOther, Some(approver), Some(authors))
            if authors.include(approver) =>
        {
            let whose = match authors.names().len() {
                1 => "who made the change".to_owned(),
                _ => format!("who is one of those who made the change ({authors})"),
            };
            format!(
                "approved by {}, {whose}. Another user must approve it. First remove this approval: {}; then: {how}",
                in_words(approver),
                how.replace(&format!("={} --overwrite", change.id), "-")
            )
        }
        (Approval::RequiredFromOther, Some(_), _) => return Gate::Open,
        (Approval::RequiredFromOther, None, Some(authors)) => {
            format!("not approved yet; a user other than {authors} can approve it: {how}")
        }
        (Approval::RequiredFromOther, None, None) => {
            format!(
                "not approved yet (the author of a config change is not known, so any user with the verb approve can approve it): {how}"
            )
        }
        (Approval::Required, None, _) => format!("not approved yet: {how}"),
    };
    Gate::closed(Reason::ApprovalRequired, message, None)
}

/// Whether somebody has to approve a change that consists of this.
pub fn asks_approval(subject: &Subject, causes: &[ChangeCause]) -> bool {
    let gates = subject.ruling.spec().gates.as_ref();
    gates.is_some_and(|gates| {
        gates.approval != Approval::NotRequired
            && causes.iter().any(|cause| gates.applies_to.contains(cause))
    })
}

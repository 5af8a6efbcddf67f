//! What admission says on a workload: whether it is held, which change, and who let it through.

use crate::{
    api::marks,
    core::{
        hold::authors::Authors,
        observed::{Namespace, Workload, WorkloadId},
    },
};

/// A template change that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The generation of the held write; what approves or bypasses the change.
    pub id: String,
    /// Who made the change last.
    pub by: String,
    /// Everybody who changed the template since the revision that runs.
    pub authors: Authors,
}

/// Whose a change is of which nobody knows the author.
pub const OURSELVES: &str = "lockkeeper";

/// Reads `<id> by <user>`; garbage is none, as in admission.
pub fn parse(mark: &str) -> Option<Hold> {
    let (id, by) = mark.split_once(" by ")?;
    let whole = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) && !by.is_empty();
    whole.then(|| Hold { id: id.to_owned(), by: by.to_owned(), authors: Authors::only(by) })
}

impl Hold {
    /// The hold on a workload. What stands on one without our label was not made by admission.
    pub fn on(workload: &Workload) -> Option<Self> {
        workload.labels.get(marks::GOVERNED)?;
        let mut hold = parse(workload.marks.get(marks::HOLD)?)?;
        hold.authors =
            Authors::parse(workload.marks.get(marks::AUTHORS).map(String::as_str), &hold.by);
        Some(hold)
    }
}

/// The fewer replicas that come with the release of a held change. None once somebody has scaled
/// since.
pub fn declared_replicas(workload: &Workload) -> Option<u32> {
    Hold::on(workload)?;
    let (declared, running) = parse_replicas(workload.marks.get(marks::DECLARED_REPLICAS)?)?;
    (running == workload.rollout.wanted).then_some(declared)
}

/// In place of the number that ran, once somebody has scaled: no workload runs so many, so the
/// release leaves what runs then.
const SCALED: u32 = i32::MAX as u32;

/// The mark of fewer replicas, as it should be once another number runs than the one that they came
/// to, or has run, as is `known`.
pub fn scaled_since(workload: &Workload, known: bool) -> Option<String> {
    Hold::on(workload)?;
    let (declared, running) = parse_replicas(workload.marks.get(marks::DECLARED_REPLICAS)?)?;
    ((known || running != workload.rollout.wanted) && running != SCALED)
        .then(|| format!("{declared} of {SCALED}"))
}

/// That fewer replicas wait too.
pub fn replicas_wait(workload: &Workload) -> Option<String> {
    let declared = declared_replicas(workload)?;
    Some(format!(
        "Its replicas stay at {} until the release. The {declared} that its manifest declares {} with the release (kubectl scale applies immediately)",
        workload.rollout.wanted,
        if declared == 1 { "applies" } else { "apply" }
    ))
}

/// Reads `<declared> of <running>`; garbage is none, as in admission.
pub fn parse_replicas(mark: &str) -> Option<(u32, u32)> {
    let (declared, running) = mark.split_once(" of ")?;
    let numbers = (declared.parse().ok()?, running.parse().ok()?);
    (numbers.0 < numbers.1).then_some(numbers)
}

/// Who approved the change with this id. Admission lets only those approve who may.
pub fn approved_by<'a>(workload: &'a Workload, id: &str) -> Option<&'a str> {
    let approve = workload.marks.get(marks::APPROVE)?;
    let by = workload.marks.get(marks::APPROVED_BY)?;
    (approve == id && !by.is_empty()).then_some(by)
}

/// A bypass that let a change through: its id, and whose it was.
pub fn bypassed_by(workload: &Workload) -> Option<(&str, &str)> {
    workload.marks.get(marks::BYPASSED_BY)?.split_once(" by ")
}

/// The command that approves or bypasses a change.
pub fn command(namespace: &Namespace, workload: &WorkloadId, mark: &str, id: &str) -> String {
    format!(
        "kubectl annotate -n {} {} {mark}={id} --overwrite",
        namespace.name,
        workload.to_string().to_lowercase()
    )
}

//! The whole story of one workload.

mod gather;
mod story;
mod words;

use std::process::ExitCode;

use lockkeeper::{
    api::{ChangeCause, UpgradePolicySpec},
    core::{
        gates::{
            self,
            blocker::{Blocker, GateName},
            change::{CONFIG, Change, Consent, Kind, TEMPLATE},
            gate::Needs,
        },
        governs::Ruling,
        hold::{
            authors::Authors,
            governance,
            state::{Hold, approved_by},
        },
        observed::{Policy, Workload, WorkloadId},
        rollout::turn,
        subject::Unknown,
    },
    marks::ChangeId,
    shell::clock,
};

pub use self::gather::{enforce, since, why_held};
use self::story::Story;
use crate::{
    Output,
    cluster::{Cluster, Failure, Seen},
    output,
    revisions::{differences, history, named_changes, settled},
};

/// Tells it.
pub async fn run(cluster: &Cluster, id: &WorkloadId, format: Output) -> Result<ExitCode, Failure> {
    let seen = cluster.read_even_uninstalled().await?;
    let workload = seen.workload(id)?;
    // Without permission to read events, that section is omitted.
    let (events, unseen) = match cluster.events(id).await {
        Ok(events) => (events, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let template = changed_template(cluster, workload).await?;
    let story = Story::new(cluster, &seen, workload, &events, template, clock::now());
    match format {
        Output::Table | Output::Wide => {
            output::print(&words::tell(&story, format == Output::Wide, clock::now()))
        }
        other => output::data(other, &story)?,
    }
    unseen.iter().for_each(|why| eprintln!("Events are omitted: {why}."));
    Ok(ExitCode::SUCCESS)
}

/// Where a held template differs from what the pods run: no values but images.
async fn changed_template(cluster: &Cluster, workload: &Workload) -> Result<Vec<String>, Failure> {
    if Hold::on(workload).is_none() {
        return Ok(Vec::new());
    }
    let object = cluster.get(&workload.id).await?;
    let revisions = history(cluster, &workload.id, &object).await?;
    let old = settled(&workload.id, &object, &revisions);
    let all = old
        .map(|old| differences(&old.template_for(&object), &object["spec"]["template"]))
        .unwrap_or_default();
    Ok(named_changes(&all))
}

/// The change that waits: its id, who made it, and what it consists of.
pub fn waiting(workload: &Workload) -> Option<(ChangeId, Option<Authors>, &'static [ChangeCause])> {
    if let Some(hold) = Hold::on(workload) {
        return Some((hold.id, Some(hold.authors), TEMPLATE));
    }
    if let Some(id) = workload.marks.pending_config.get() {
        return Some((id.clone(), None, CONFIG));
    }
    // Pods go one by one, and some are left.
    let id = turn::change_id(workload).filter(|_| governance::holds_back(workload))?;
    Some((id.clone(), None, TEMPLATE))
}

/// Whether admission records who approves and bypasses, as far as the policy's status tells. Where
/// it does not, neither counts.
pub fn records_approvals(policy: &Policy) -> bool {
    let mut conditions = policy.status.conditions.iter();
    conditions.all(|one| {
        one.type_ != "HoldsEnforced"
            || one.status == "True"
            || ["MarksMissing", "NoRoomForMarks"].contains(&one.reason.as_str())
    })
}

/// Asks those gates that need nothing but the policy, the change and the time: each with why it is
/// closed, if it is.
pub fn ask(
    seen: &Seen,
    workload: &Workload,
    (policy, spec): (&Policy, &UpgradePolicySpec),
    (id, authors, causes): (&ChangeId, Option<&Authors>, &'static [ChangeCause]),
    now: jiff::Timestamp,
) -> Vec<(GateName, Option<String>)> {
    let unknown = Unknown::default();
    let around = unknown.around(&seen.world, records_approvals(policy), now);
    let subject = unknown.subject(&around, Ruling::of(policy, spec), workload);
    let kind = match (authors, causes) {
        (Some(authors), _) => Kind::Hold(authors),
        (None, CONFIG) => Kind::Config,
        (None, _) => Kind::Step(0, Vec::new()),
    };
    let consent = match approved_by(workload, id) {
        _ if !around.enforced => Consent::Unrecorded,
        Some(user) => Consent::By(user),
        None => Consent::Missing,
    };
    let change = Change {
        kind,
        id: Some(id.clone()),
        causes,
        consent,
        since: now,
        last_change: now,
        spares: None,
        broken: false,
    };
    let answers = gates::each(&subject, &change, |needs| needs == Needs::Policy);
    let why = |blocker: &Blocker| change.why(&subject, blocker);
    answers.map(|(gate, answer)| (gate, answer.blocker.as_ref().map(why))).collect()
}

//! Waits until upgrades are really done: `helm --wait` and `kubectl rollout status` count a held StatefulSet as done.

use std::{process::ExitCode, time::Duration};

use jiff::Timestamp;
use lockkeeper::{
    api::{Attention, Phase, Reason, UpgradePolicySpec, marks},
    core::{
        governs::GovernanceMark,
        hold::{
            release::ends_nothing,
            state::{Hold, approved_by},
        },
        later,
        rollout::progress::{self, Progress},
        world::{Workload, WorkloadId},
    },
    shell::clock,
};

use crate::cluster::{Cluster, Failure, Seen};

/// Between looks.
const PAUSE: Duration = Duration::from_millis(500);
/// After a write of config, besides the quiet time, the operator has this long to take note of it.
const NOTICE: Duration = Duration::from_secs(2);

/// How it ended, as an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Done = 0,
    Failed = 1,
    TimedOut = 2,
    Person = 3,
}

/// Waits for one workload, or for all that are governed.
pub async fn run(cluster: &Cluster, only: Option<&WorkloadId>, timeout: Duration) -> Result<ExitCode, Failure> {
    let deadline = later(clock::now(), timeout);
    let mut said = String::new();
    loop {
        let seen = cluster.read().await?;
        let workloads: Vec<_> = match only {
            Some(id) => vec![seen.workload(id)?],
            None => seen.governed().map(|(workload, _)| workload).collect(),
        };
        let (mut end, mut waiting) = (End::Done, None);
        for workload in workloads {
            let written = cluster.newest_config_write(workload).await?;
            match judge(&seen, workload, written, clock::now()) {
                Ok(one) => end = end.max(one),
                Err(why) => waiting = waiting.or(Some((workload.id.clone(), why))),
            }
            if matches!(end, End::Failed | End::Person) {
                eprintln!("{}: {}", workload.id, message(&seen, workload));
                return Ok(ExitCode::from(end as u8));
            }
        }
        let Some((id, why)) = waiting else {
            eprintln!("done");
            return Ok(ExitCode::SUCCESS);
        };
        let line = format!("{id}: {why}");
        if line != said {
            eprintln!("{line}");
            said = line;
        }
        if clock::now() >= deadline {
            eprintln!(
                "not done within {}s; kubectl lockkeeper why -n {} {}",
                timeout.as_secs(),
                cluster.namespace,
                id.to_string().to_lowercase()
            );
            return Ok(ExitCode::from(End::TimedOut as u8));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn message(seen: &Seen, workload: &Workload) -> String {
    seen.attention(&workload.id).map_or_else(|| "its rollout failed".to_owned(), |one| one.message.clone())
}

/// How it ended for a workload, or why it has not.
fn judge(seen: &Seen, workload: &Workload, config_written: Option<Timestamp>, now: Timestamp) -> Result<End, String> {
    let attention = seen.attention(&workload.id);
    if let Some(id) = Hold::on(workload).map(|hold| hold.id).or_else(|| workload.marks.get(marks::PENDING_CONFIG).cloned()) {
        // The operator may have judged another change than this one, or before it was approved.
        let judged = |one: &&Attention| {
            let hold = one.hold.as_ref();
            hold.is_some_and(|hold| hold.id == id && hold.approved_by.is_empty() == approved_by(workload, &id).is_none())
        };
        return match attention.filter(judged) {
            _ if passes(seen, workload) => Err("held, and let through at once if it is what the pods run".to_owned()),
            Some(one) if waits_for_person(one.reason) => Ok(End::Person),
            Some(one) => Err(one.message.clone()),
            None => Err("held; the operator has not judged the change yet".to_owned()),
        };
    }
    // What the cluster says of itself counts, not what the operator had seen when it last wrote.
    let spec = GovernanceMark::on(workload).and_then(|mark| seen.world.policies.get(&mark.policy)?.spec.as_ref().ok());
    let deadline = spec.map_or(Duration::MAX, UpgradePolicySpec::deadline);
    let pods = seen.pods(workload);
    match progress::judge(workload, &pods, seen.current(workload).as_deref(), deadline, now) {
        Progress::Failed(_) => return Ok(End::Failed),
        Progress::Held(_) => return Ok(End::Person),
        Progress::Unobserved | Progress::UnderWay(_) => {
            let state = &workload.rollout;
            return Err(format!("rolling: {} of {} pods updated, {} available", state.updated, state.wanted, state.available));
        }
        Progress::Done => {}
    }
    let quiet = spec.map_or(Duration::ZERO, |spec| spec.quiet().0);
    if config_written.is_some_and(|written| later(written, quiet + NOTICE) > now) {
        return Err("config that it reads was written just now".to_owned());
    }
    match attention {
        Some(one) if one.phase == Phase::Failed => Ok(End::Failed),
        Some(one) if matches!(one.phase, Phase::Unsupported | Phase::WouldRoll | Phase::WouldHold) => Ok(End::Done),
        Some(one) if waits_for_person(one.reason) => Ok(End::Person),
        Some(one) => Err(one.message.clone()),
        None if seen.is_cut(workload) => Err("the status of its policy names other workloads only: too many are not up to date".to_owned()),
        None => Ok(End::Done),
    }
}

/// Whether a held template waits for nobody, whatever was said of it: it was put back, or its controller has yet to say whether it was.
fn passes(seen: &Seen, workload: &Workload) -> bool {
    let sets = seen.world.sets_by_deployment().remove(&*workload.uid).unwrap_or_default();
    let passes = || ends_nothing(&seen.world, workload, &seen.pods(workload), &sets).is_some();
    Hold::on(workload).is_some() && (!workload.rollout.observed || passes())
}

fn waits_for_person(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ApprovalRequired
            | Reason::Frozen
            | Reason::OtherFailed
            | Reason::AppMissing
            | Reason::AppGateInvalid
            | Reason::KeptUngoverned
            | Reason::Paused
            | Reason::Partitioned
            | Reason::OnDelete
            | Reason::ConfigMissing
            | Reason::RolledBack
            | Reason::MarksReverted
    )
}

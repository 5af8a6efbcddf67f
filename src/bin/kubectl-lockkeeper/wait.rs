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
        clock as time_of_day, later,
        rollout::progress::{self, Progress},
        world::{Workload, WorkloadId},
    },
    shell::clock,
};

use crate::{
    cluster::{Cluster, Failure, Seen, lower},
    live::{Live, length},
    why::{since, waiting, why_held},
};

/// Between looks.
const PAUSE: Duration = Duration::from_millis(500);
/// After a write of config, besides the quiet time, the operator has this long to take note of it.
const NOTICE: Duration = Duration::from_secs(2);

/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

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
    let mut live = Live::new();
    tokio::select! {
        end = wait(cluster, only, timeout, &mut live) => end,
        // The line is cleared away also when somebody has waited long enough.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

async fn wait(cluster: &Cluster, only: Option<&WorkloadId>, timeout: Duration, live: &mut Live) -> Result<ExitCode, Failure> {
    let begun = clock::now();
    let deadline = later(begun, timeout);
    let mut known = false;
    loop {
        let look = match look(cluster, only).await {
            Ok(look) => look,
            // It was there a moment ago, and may be again: whoever waits in CI does not want to begin anew.
            Err(Failure::Api { what, why }) if known => Look { waiting: vec![format!("{what}: {why}; trying again")], ..Look::default() },
            Err(error) => return Err(error),
        };
        known = true;
        let now = clock::now();
        if let Some((end, why)) = look.ended {
            live.clear();
            eprintln!("{why}");
            return Ok(ExitCode::from(end as u8));
        }
        let Some(first) = look.waiting.first() else {
            live.clear();
            eprintln!("done");
            return Ok(ExitCode::SUCCESS);
        };
        let more = match look.waiting.len() {
            1 => String::new(),
            all => format!("; and {} more", all - 1),
        };
        let count = if only.is_none() { format!("{} of {} done; ", look.done, look.done + look.waiting.len()) } else { String::new() };
        live.say(&format!("{count}{first}{more}"), &format!("[{}] ", length(begun, now)), now);
        if now >= deadline {
            live.clear();
            let what = look.first.as_ref().map_or_else(String::new, |id| format!("; {}", cluster.command("why", id)));
            eprintln!("not done within {}: {first}{more}{what}", length(begun, now));
            return Ok(ExitCode::from(End::TimedOut as u8));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How things stand.
#[derive(Default)]
struct Look {
    /// What ends the wait.
    ended: Option<(End, String)>,
    /// How many are done.
    done: usize,
    /// What the others wait for, each in a line.
    waiting: Vec<String>,
    /// The first of those.
    first: Option<WorkloadId>,
}

async fn look(cluster: &Cluster, only: Option<&WorkloadId>) -> Result<Look, Failure> {
    let seen = cluster.read().await?;
    let workloads: Vec<_> = match only {
        Some(id) => vec![seen.workload(id)?],
        None => seen.governed().map(|(workload, _)| workload).collect(),
    };
    let mut found = Look::default();
    for workload in workloads {
        let written = cluster.newest_config_write(workload).await?;
        match judge(&seen, workload, written, clock::now()) {
            Ok(end @ (End::Failed | End::Person)) => {
                found.ended = Some((end, stands(cluster, &seen, workload, end)));
                return Ok(found);
            }
            Ok(_) => found.done += 1,
            Err(why) => {
                found.first.get_or_insert_with(|| workload.id.clone());
                found.waiting.push(line(workload, &why));
            }
        }
    }
    Ok(found)
}

/// What is waited for: what is held, by whom and since when.
fn line(workload: &Workload, why: &str) -> String {
    let place = lower(&workload.id);
    let since = since(workload).map_or_else(String::new, |since| format!(" since {}", time_of_day(since)));
    match waiting(workload) {
        Some((id, Some(by), _)) => format!("{place} is held (change {id} by {by}{since}): {}", why_held(why)),
        Some((id, None, _)) => format!("{place} waits (change {id}{since}): {why}"),
        None => format!("{place}: {why}"),
    }
}

/// Why the wait ends without success, and what to do about it.
fn stands(cluster: &Cluster, seen: &Seen, workload: &Workload, end: End) -> String {
    let why = seen.attention(&workload.id).map_or_else(|| "its rollout failed".to_owned(), |one| one.message.clone());
    let word = if end == End::Person { "waits for a person" } else { "failed" };
    let since = since(workload).map_or_else(String::new, |since| format!(" since {}", time_of_day(since)));
    let change = match waiting(workload) {
        Some((id, Some(by), _)) => format!(" (change {id} by {by}{since})"),
        Some((id, None, _)) => format!(" (change {id}{since})"),
        None => String::new(),
    };
    format!("{} {word}{change}: {}\nThe whole story: {}", lower(&workload.id), why_held(&why), cluster.command("why", &workload.id))
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

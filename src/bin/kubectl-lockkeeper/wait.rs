//! Waits until upgrades are really done. `helm --wait` and `kubectl rollout status` report a held
//! StatefulSet as done.

#[cfg(test)]
mod tests;

use std::{process::ExitCode, time::Duration};

use jiff::Timestamp;
use lockkeeper::{
    api::{Attention, Phase, Reason, RestartWith, UpgradePolicySpec},
    core::{
        clock as time_of_day,
        hold::{
            governance::GovernanceMark,
            state::{Hold, approved_by},
        },
        later,
        observed::{Workload, WorkloadId},
        rollout::{
            progress::{self, Progress},
            revisions::Revisions,
            words,
        },
    },
    shell::clock,
};

use tokio::sync::watch;

use crate::{
    cluster::{Cluster, Failure, Seen, lower, why_not},
    live::{Live, length},
    watching::{Scope, Watching},
    why::{Pending, since},
};

/// Without news, it is looked again after this long: time alone may change how things stand.
const TICK: Duration = Duration::from_secs(1);
/// News that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(200);
/// What is done, the operator has this long to take note of and to say in a status; where it is
/// config, after the quiet time.
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
pub async fn run(
    cluster: &Cluster,
    only: Option<&WorkloadId>,
    timeout: Duration,
) -> Result<ExitCode, Failure> {
    let mut live = Live::new();
    let watching = Watching::new(cluster, Scope { only: only.cloned(), ..Scope::default() });
    tokio::select! {
        end = wait(cluster, &watching, only, timeout, &mut live) => end,
        never = watching.run() => match never {},
        // The line is cleared also after the timeout.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

async fn wait(
    cluster: &Cluster,
    watching: &Watching<'_>,
    only: Option<&WorkloadId>,
    timeout: Duration,
    live: &mut Live,
) -> Result<ExitCode, Failure> {
    let begun = clock::now();
    let deadline = later(begun, timeout);
    let mut news = watching.news();
    let (mut known, mut ended_since, mut done_since, mut seen) = (false, None, None, None);
    loop {
        // Only the time since then is other than at the last look.
        let fresh = news.has_changed().unwrap_or_default() || seen.is_none();
        news.mark_unchanged();
        if fresh {
            seen = watching.seen();
        }
        let look = match &seen {
            None if clock::now() < deadline => {
                next(&mut news).await;
                continue;
            }
            None => Look {
                unseen: Some("the API server has not answered yet".to_owned()),
                ..Look::default()
            },
            Some(Ok(seen)) => look(cluster, watching, seen, only)?,
            // It was there a moment ago, and may be there again: a wait in CI should not have to
            // begin again.
            Some(Err(Failure::Api { what, why })) if known => {
                Look { unseen: Some(format!("{what}: {why}; trying again")), ..Look::default() }
            }
            Some(Err(error)) => return Err(error.clone()),
        };
        known = true;
        let now = clock::now();
        done_since = done_since.filter(|_| look.is_done());
        if let Some((end, why)) = look.ended {
            // The status may be of before what was done a moment ago: a freeze lifted, a rollout
            // resumed.
            if now < later(*ended_since.get_or_insert(now), NOTICE).min(deadline) {
                next(&mut news).await;
                continue;
            }
            live.clear();
            eprintln!("{why}");
            return Ok(ExitCode::from(end as u8));
        }
        ended_since = None;
        let Some((what, short)) = look.told(only.is_none(), now) else {
            if now < later(*done_since.get_or_insert(now), look.may_follow).min(deadline) {
                next(&mut news).await;
                continue;
            }
            live.clear();
            eprintln!("done");
            return Ok(ExitCode::SUCCESS);
        };
        let passed = length(begun, now);
        live.say(&what, &format!("[{passed}] "), &short, now);
        if now >= deadline {
            live.clear();
            let story = look.waiting.first().map_or_else(String::new, |one| {
                format!("\nDetails: {}", cluster.command("why", &one.workload))
            });
            eprintln!("not done within {passed}: {what}{story}");
            return Ok(ExitCode::from(End::TimedOut as u8));
        }
        next(&mut news).await;
    }
}

/// Until there are news, or a moment has passed.
async fn next(news: &mut watch::Receiver<()>) {
    if tokio::time::timeout(TICK, news.changed()).await.is_ok() {
        tokio::time::sleep(TOGETHER).await;
        news.mark_changed();
    }
}

/// How things stand.
#[derive(Default)]
struct Look {
    /// What ends the wait.
    ended: Option<(End, String)>,
    /// How many are done.
    done: usize,
    /// The others.
    waiting: Vec<Waiting>,
    /// Why nothing was seen this time.
    unseen: Option<String>,
    /// When all are done, something else may begin within this time.
    may_follow: Duration,
}

/// A workload that is not done.
struct Waiting {
    workload: WorkloadId,
    /// The change that waits: its id and whose it is.
    change: Option<(String, Option<String>)>,
    since: Option<Timestamp>,
    /// Why, in one word.
    reason: Option<Reason>,
    /// Why, in words.
    why: String,
}

impl Look {
    /// Nothing is waited for.
    fn is_done(&self) -> bool {
        self.ended.is_none() && self.unseen.is_none() && self.waiting.is_empty()
    }

    /// What is waited for, in words that change with what happens, and for a terminal with what
    /// passes as well; none if nothing is.
    fn told(&self, all: bool, now: Timestamp) -> Option<(String, String)> {
        if let Some(unseen) = &self.unseen {
            return Some((unseen.clone(), unseen.clone()));
        }
        let first = self.waiting.first()?;
        let count = if all {
            format!("{} of {} done; ", self.done, self.done + self.waiting.len())
        } else {
            String::new()
        };
        let more = match self.waiting.len() {
            1 => String::new(),
            waiting => format!("; and {} more", waiting - 1),
        };
        Some((
            format!("{count}{}{more}", first.news()),
            format!("{count}{}{more}", first.short(now)),
        ))
    }
}

impl Waiting {
    fn news(&self) -> String {
        let place = lower(&self.workload);
        let since =
            self.since.map_or_else(String::new, |since| format!(" since {}", time_of_day(since)));
        match &self.change {
            Some((id, Some(by))) => {
                format!("{place} is held (change {id} by {by}{since}): {}", self.why)
            }
            Some((id, None)) => format!("{place} is waiting (change {id}{since}): {}", self.why),
            None => format!("{place}: {}", self.why),
        }
    }

    /// What matters most comes first: a terminal may be narrow.
    fn short(&self, now: Timestamp) -> String {
        let place = lower(&self.workload);
        let reason = self.reason.map_or("", Reason::as_str);
        let since = self.since.map_or_else(String::new, |since| format!(" {}", length(since, now)));
        match &self.change {
            Some((id, Some(by))) => {
                format!("{place} held{since}: {reason} (change {id} by {by}): {}", self.why)
            }
            Some((id, None)) => {
                format!("{place} waiting{since}: {reason} (change {id}): {}", self.why)
            }
            None => format!("{place}: {}", self.why),
        }
    }
}

fn look(
    cluster: &Cluster,
    watching: &Watching,
    seen: &Seen,
    only: Option<&WorkloadId>,
) -> Result<Look, Failure> {
    let workloads: Vec<_> = match only {
        Some(id) => vec![seen.workload(id)?],
        None => seen.governed().into_iter().map(|(workload, _)| workload).collect(),
    };
    let mut found = Look { may_follow: may_follow(seen, only), ..Look::default() };
    for workload in workloads {
        let written = watching.newest_config_write(workload);
        let judged = match written {
            Some(written) => judge(seen, workload, written, clock::now()),
            None => judge(seen, workload, None, clock::now()).and_then(|end| match end {
                End::Done => Err("the config that it reads is being checked".to_owned()),
                end => Ok(end),
            }),
        };
        match judged {
            Ok(end @ (End::Failed | End::Person)) => {
                found.ended = Some((end, stands(cluster, seen, workload, end)));
                return Ok(found);
            }
            Ok(_) => found.done += 1,
            Err(why) => found.waiting.push(Waiting {
                workload: workload.id.clone(),
                change: Pending::on(workload).map(|change| {
                    (change.id().to_string(), change.authors().map(ToString::to_string))
                }),
                since: since(workload),
                reason: seen.attention(&workload.id).map(|one| one.reason),
                why,
            }),
        }
    }
    Ok(found)
}

/// How long after the last rollout another one may begin: the operator restarts a step when it has
/// noted that the step before is done.
fn may_follow(seen: &Seen, only: Option<&WorkloadId>) -> Duration {
    let steps = seen
        .policies
        .iter()
        .filter_map(|policy| policy.spec.rollout.as_ref())
        .flat_map(|rollout| &rollout.steps);
    match only {
        None if steps.into_iter().any(|step| step.restart_with == RestartWith::Previous) => NOTICE,
        _ => Duration::ZERO,
    }
}

/// Why the wait ends without success, and what to do about it.
fn stands(cluster: &Cluster, seen: &Seen, workload: &Workload, end: End) -> String {
    let attention = seen.attention(&workload.id);
    let why = attention.map_or("its rollout failed", why_not);
    // Other messages have their command in them.
    let command = attention
        .filter(|one| why != one.message)
        .and_then(|one| one.command.as_ref())
        .map_or_else(String::new, |command| format!("\nCommand: {command}"));
    let word = if end == End::Person { "is waiting for a person" } else { "failed" };
    let since =
        since(workload).map_or_else(String::new, |since| format!(" since {}", time_of_day(since)));
    let change = Pending::on(workload).map_or_else(String::new, |change| match change.authors() {
        Some(by) => format!(" (change {} by {by}{since})", change.id()),
        None => format!(" (change {}{since})", change.id()),
    });
    format!(
        "{} {word}{change}: {why}{command}\nDetails: {}",
        lower(&workload.id),
        cluster.command("why", &workload.id)
    )
}

/// How it ended for a workload, or why it has not.
fn judge(
    seen: &Seen,
    workload: &Workload,
    config_written: Option<Timestamp>,
    now: Timestamp,
) -> Result<End, String> {
    let attention = seen.attention(&workload.id);
    if let Some(id) = Hold::on(workload)
        .map(|hold| hold.id)
        .or_else(|| workload.marks.pending_config.get().cloned())
    {
        // The operator may have judged another change than this one, or before it was approved.
        let judged = |one: &&Attention| {
            let hold = one.hold.as_ref();
            hold.is_some_and(|hold| {
                id.is(&hold.id)
                    && hold.approved_by.is_empty() == approved_by(workload, &id).is_none()
            })
        };
        return match attention.filter(judged) {
            _ if passes(seen, workload) => {
                Err("held; the operator releases it immediately if it is the template that the pods run".to_owned())
            }
            Some(one) if one.reason.waits_for_person() => Ok(End::Person),
            Some(one) => Err(why_not(one).to_owned()),
            None => Err("held; the operator has not judged the change yet".to_owned()),
        };
    }
    // What the cluster says of itself counts, not what the operator had seen when it last wrote.
    let marked =
        GovernanceMark::on(workload).and_then(|mark| seen.world.policies.get(&*mark.policy));
    let spec =
        marked.or_else(|| seen.observer(workload)).and_then(|policy| policy.spec.as_ref().ok());
    let deadline = spec.map_or(Duration::MAX, UpgradePolicySpec::deadline);
    let pods = seen.pods(workload);
    let (judged, current) = seen.judged(workload);
    match progress::judge(&judged, &pods, current, deadline, now) {
        Progress::Failed(_) => return Ok(End::Failed),
        Progress::Held(_) => return Ok(End::Person),
        Progress::Unobserved | Progress::UnderWay(_) => {
            let stuck = words::stuck(&judged, &seen.world.name, &pods, current, now);
            return Err(format!(
                "rolling: {}",
                stuck.unwrap_or_else(|| words::under_way(&judged, &pods, current))
            ));
        }
        Progress::Done => {}
    }
    let quiet = spec.map_or(Duration::ZERO, |spec| spec.quiet().0);
    if config_written.is_some_and(|written| later(written, quiet + NOTICE) > now) {
        return Err("config that it reads has just been written".to_owned());
    }
    match attention {
        Some(one) if one.phase == Phase::Failed => Ok(End::Failed),
        Some(one) if one.phase == Phase::Unsupported => Ok(End::Done),
        // Its pods run old config, and nothing rolls them before somebody does, or has the policy
        // do it.
        Some(one) if matches!(one.phase, Phase::WouldRoll | Phase::WouldHold) && !one.changed.is_empty() => Ok(End::Person),
        // Its template change was reported while it rolled, and nothing is left to do.
        Some(one) if one.phase == Phase::WouldHold => Ok(End::Done),
        // It is of a change that no longer waits.
        Some(one) if one.hold.is_some() && matches!(one.phase, Phase::Held | Phase::Waiting) => {
            Err("the change was released or reverted; the operator has not reported yet what follows".to_owned())
        }
        Some(one) if one.reason.waits_for_person() => Ok(End::Person),
        Some(one) => Err(why_not(one).to_owned()),
        None if seen.is_cut(workload) => {
            Err("the status of its policy lists other workloads only, because too many are not up to date".to_owned())
        }
        None => Ok(End::Done),
    }
}

/// Whether a held template waits for nobody, whatever was said of it: it was reverted, or its
/// controller has yet to say whether it was.
fn passes(seen: &Seen, workload: &Workload) -> bool {
    let sets = seen.world.sets_by_deployment().remove(&*workload.uid).unwrap_or_default();
    let passes = || Revisions::of(&seen.world, workload, &sets, None).revert().is_some();
    Hold::on(workload).is_some() && (!workload.rollout.observed || passes())
}

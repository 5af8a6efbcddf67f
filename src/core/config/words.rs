//! What is reported and told of the config of a workload, in words.

use std::fmt;

use jiff::Timestamp;

use crate::{
    api::{ConfigSpec, Mode, Phase, Reason, marks},
    core::{
        clock,
        config::{change::Comparison, desired::Missing, find::Fought, roll::Next},
        gates::blocker::Blocker,
        hold::authors::in_words,
        observed::{Workload, workload::reference_of},
        report::Verdict,
        request::Cause,
        rollout::words::user_holds,
        some_of,
    },
    marks::values::Bypassed,
};

/// Maximum number of pods that are named.
const PODS_LIMIT: usize = 5;

/// Config that changed, for the sentences about it.
pub struct Changed<'a> {
    /// The namespace of the workload.
    pub namespace: &'a str,
    /// The workload that reads it.
    pub workload: &'a Workload,
    /// What changed.
    pub what: String,
    /// The same in a sentence.
    pub changed: String,
    /// What is reported of the rollout that is under way.
    pub rollout: &'a str,
}

impl Changed<'_> {
    /// That it changed.
    pub fn notice(&self) -> String {
        format!("{} changed; no pods were restarted for it yet", self.what)
    }

    /// Where the workload stands because of that; none where nothing new can be said. `missing` is
    /// what its pods need.
    pub fn verdict(
        &self,
        (mode, config): (Mode, &ConfigSpec),
        missing: &[Missing],
        next: &Next,
    ) -> Option<Verdict> {
        let Self { namespace, workload, what, changed, rollout } = self;
        Some(match next {
            Next::Missing => is_missing(missing),
            Next::Reported { blocker, outside } => self.reported(mode, blocker.as_ref(), *outside),
            Next::Unobserved => return None,
            Next::Covered => {
                let message = format!(
                    "the rollout in progress starts its pods with the new {what}; {rollout}"
                );
                Verdict::new(Phase::Rolling, Reason::CoveredByRollout, message)
            }
            Next::AfterSteps => {
                let message = format!(
                    "{changed}; it is rolled after the previous change has reached all pods; {rollout}"
                );
                Verdict::new(Phase::Rolling, Reason::CoveredByRollout, message)
            }
            Next::User(hold) => {
                let note = "its next pods start with the new config";
                let verdict = user_holds(*hold, namespace, workload, note);
                Verdict { message: format!("{changed}; {}", verdict.message), ..verdict }
            }
            Next::Settling(due) => {
                let due_at = clock(*due);
                let message =
                    format!("{changed}; rolls at {due_at} if nothing else changes until then");
                Verdict::new(Phase::Settling, Reason::ConfigChanged, message).until(*due)
            }
            Next::Limited { times, until } => self.limited(config, *times, *until),
            Next::Due(_) => {
                let message = format!(
                    "{changed}; it rolls when another config rollout in the cluster is done (settings.maxConfigRollouts of the chart)"
                );
                Verdict::new(Phase::Waiting, Reason::WaitingForSlot, message)
            }
        })
    }

    fn reported(&self, mode: Mode, blocker: Option<&Blocker>, outside: Option<&str>) -> Verdict {
        let changed = &self.changed;
        let (reason, why) = match mode {
            Mode::Observe => (Reason::ObserveMode, "spec.mode is Observe"),
            Mode::Enforce | Mode::Freeze => (Reason::ReportOnly, "spec.config.onChange is Report"),
        };
        match blocker {
            Some(blocker) => {
                let gate = blocker.reason().as_str();
                let message = format!("{changed}; it would wait ({gate}), but {why}");
                Verdict::new(Phase::WouldHold, reason, message)
            }
            None => {
                let waits = outside.map_or_else(String::new, |until| format!("wait {until} and "));
                let message = format!("{changed}; it would {waits}be rolled, but {why}");
                Verdict::new(Phase::WouldRoll, reason, message)
            }
        }
    }

    fn limited(&self, config: &ConfigSpec, times: usize, until: Timestamp) -> Verdict {
        let message = format!(
            "{}, but it had {times} config rollouts within {}, as many as spec.config.limit allows; it rolls at {}",
            self.changed,
            config.limit.window,
            clock(until)
        );
        Verdict::new(Phase::Limited, Reason::LimitReached, message).until(until)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) => write!(f, "{id} does not exist"),
            Self::Key(id, key) => write!(f, "{id} has no key {key}"),
        }
    }
}

/// What is missing.
pub fn named(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// That what its pods need is missing, before what is told of the rollout.
pub fn needed(missing: &[Missing], rollout: &str) -> String {
    format!("{}, which its pods need; {rollout}", named(missing))
}

/// What changed; where some pods run on it already, which ones do not.
pub fn what_changed(comparison: &Comparison) -> String {
    let Comparison { changed, behind, .. } = comparison;
    let changed = changed.join(", ");
    if behind.is_empty() {
        return format!("{changed} changed");
    }
    let behind: Vec<_> = behind.iter().map(String::as_str).collect();
    let behind = some_of(&behind, PODS_LIMIT);
    format!("{changed} changed (not running on it yet: {behind})")
}

/// That what its pods need is missing.
pub fn is_missing(missing: &[Missing]) -> Verdict {
    let message = format!(
        "{}; new pods could not start, so nothing is rolled until it exists",
        named(missing)
    );
    Verdict::new(Phase::Waiting, Reason::ConfigMissing, message)
}

/// That another manager removes what is written.
pub fn fought(fought: &Fought) -> Verdict {
    let Fought { manager, times, until } = fought;
    let message = format!(
        "{manager} removed Lockkeeper's annotations {times} times, so no config change rolls this workload until {}. Configure it to leave annotations under {} alone (Argo CD: no Replace=true for this workload)",
        clock(*until),
        marks::PREFIX
    );
    Verdict::new(Phase::Waiting, Reason::MarksReverted, message)
}

/// That a user undid the rollout for what changed.
pub fn rolled_back(namespace: &str, workload: &Workload, changed: &[String]) -> Verdict {
    let restart = format!("kubectl rollout restart -n {namespace} {}", reference_of(workload));
    let message = format!(
        "a user undid the rollout for {}, so pods may run on old config. Lockkeeper leaves this alone. Change the config back, or restart the pods: {restart}",
        changed.join(", ")
    );
    Verdict::new(Phase::Waiting, Reason::RolledBack, message).with_command(restart)
}

/// That its pods are replaced to start with the new config.
pub fn begun() -> Verdict {
    Verdict::new(Phase::Rolling, Reason::ConfigRollout, "pods are being replaced")
}

/// That a user released a config change past its gates.
pub fn bypassed(bypass: &Bypassed) -> String {
    format!("{} released the config change {} past its gates", in_words(&bypass.by), bypass.id)
}

/// For events and metrics: a cause in words.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config that it reads changed",
            Self::Together => "config that a workload of its group reads changed",
            Self::MixedConfig => "one of its pods started with config that existed only for a short time",
            Self::Previous => "the previous step was rolled out, and this one restarts with it (restartWith: Previous)",
        })
    }
}

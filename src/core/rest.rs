//! What is at rest is not judged again before something happens that concerns it, or its own time
//! comes: so an event costs what it concerns, and not what there is. The simulation compares each
//! decision with one that is made from scratch.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use jiff::Timestamp;
use wildmatch::WildMatch;

use crate::{
    api::{ConfigKind, ConfigSpec, Phase, UpgradePolicySpec},
    core::{
        edits::Edits,
        later,
        memory::{Memory, Rest, Waiting},
        observed::{ConfigId, Namespace, Reference, Uid, Workload, WorkloadId},
        planned::Plan,
        report::{AppGateReport, ConfigReport, Report, Verdict},
    },
};

/// What has happened in a namespace since it was last decided on.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// Something that may concern every workload: a policy, a claim, a list that was read again.
    whole: bool,
    /// A time has come, or there is something to write besides workloads.
    due: bool,
    /// The workloads that changed, or whose pods or revisions did; where the workload itself came,
    /// with its name.
    workloads: HashMap<Uid, Option<WorkloadId>>,
    /// The ConfigMaps and Secrets that changed.
    config: BTreeSet<ConfigId>,
}

impl News {
    /// Anything may have happened.
    pub fn whole() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// Nothing but that it is time to look again.
    pub fn due() -> Self {
        Self { due: true, ..Self::default() }
    }

    /// Something happened to these workloads.
    pub fn of_workloads(uids: impl IntoIterator<Item = Uid>) -> Self {
        Self { workloads: uids.into_iter().map(|uid| (uid, None)).collect(), ..Self::default() }
    }

    /// This workload was written, or is a new one.
    pub fn of_workload(id: WorkloadId, uid: Uid) -> Self {
        Self { workloads: [(uid, Some(id))].into(), ..Self::default() }
    }

    /// A ConfigMap or Secret is another one now.
    pub fn of_config(id: ConfigId) -> Self {
        Self { config: [id].into(), ..Self::default() }
    }

    /// Both of them happened.
    pub fn add(&mut self, other: Self) {
        self.whole |= other.whole;
        self.due |= other.due;
        for (uid, id) in other.workloads {
            let known = self.workloads.entry(uid).or_default();
            *known = id.or(known.take());
        }
        self.config.extend(other.config);
    }

    /// Whether anything may have happened.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The workloads that something happened to; the name is known of those that were written.
    pub fn workloads(&self) -> impl Iterator<Item = (&Uid, Option<&WorkloadId>)> {
        self.workloads.iter().map(|(uid, id)| (uid, id.as_ref()))
    }

    /// The ConfigMaps and Secrets that changed.
    pub fn config(&self) -> impl Iterator<Item = &ConfigId> {
        self.config.iter()
    }

    /// Whether nothing happened but that ConfigMaps and Secrets changed.
    pub fn of_config_alone(&self) -> bool {
        !self.whole && !self.due && self.workloads.is_empty()
    }

    /// Whether any of it concerns a workload that a policy with this spec governs.
    pub fn concerns(&self, workload: &Workload, spec: &UpgradePolicySpec) -> bool {
        self.whole
            || self.workloads.contains_key(&workload.uid)
            || self.config.iter().any(|id| {
                reads(&workload.template.references, id)
                    || spec.config.as_ref().is_some_and(|config| includes(config, id))
            })
    }
}

/// What the pods of a namespace may read.
#[derive(Debug, Clone, Default)]
pub struct Readable {
    names: HashSet<ConfigId>,
    patterns: Vec<(ConfigKind, WildMatch)>,
}

impl Readable {
    /// What the workloads of a namespace may read, be they governed or not.
    pub fn of_workloads(namespace: &Namespace) -> Self {
        let mut readable = Self::default();
        let specs = namespace
            .policies
            .values()
            .filter_map(|policy| policy.spec.as_ref().ok()?.config.as_ref());
        let patterns = specs.flat_map(|config| &config.include);
        readable.patterns =
            patterns.map(|pattern| (pattern.kind, WildMatch::new(&pattern.name))).collect();
        // What is held is judged by what runs.
        let templates = namespace.workloads.values().map(|workload| &workload.template.references);
        let sets = namespace.replica_sets.values().map(|set| &set.references);
        let revisions =
            namespace.controller_revisions.values().map(|revision| &revision.references);
        for reference in
            templates.chain(sets).chain(revisions).flat_map(|references| references.iter())
        {
            match reference.is_glob() {
                true => readable.patterns.push((reference.kind, WildMatch::new(&reference.name))),
                false => drop(readable.names.insert(ConfigId {
                    kind: reference.kind,
                    name: reference.name.as_str().into(),
                })),
            }
        }
        readable
    }

    /// Whether this object is among it.
    pub fn names(&self, id: &ConfigId) -> bool {
        self.names.contains(id)
            || self.patterns.iter().any(|(kind, name)| *kind == id.kind && name.matches(&id.name))
    }
}

fn reads(references: &[Reference], id: &ConfigId) -> bool {
    references.iter().any(|reference| reference.names(id))
}

/// Whether a policy has this object counted for its workloads, whatever their templates say.
pub fn includes(config: &ConfigSpec, id: &ConfigId) -> bool {
    config
        .include
        .iter()
        .any(|pattern| pattern.kind == id.kind && WildMatch::new(&pattern.name).matches(&id.name))
}

/// One that waits for something is judged again after this time with the next decision, though
/// nothing happened to it: not everything that time changes in its report has a time of its
/// own.
const JUDGED_EVERY: Duration = Duration::from_secs(10);

impl Rest {
    /// That of a plan that asks for nothing, tells nothing and remembers nothing new; none if it is
    /// not such a one, or may be another one because of other workloads. `before` is what was
    /// remembered, `last_change` when something of its policy changed last.
    pub fn of(
        plan: &Plan,
        workload: &Workload,
        spec: &UpgradePolicySpec,
        before: &Memory,
        (last_change, now): (Option<Timestamp>, Timestamp),
    ) -> Option<Self> {
        let alone = spec.rollout.is_none()
            && spec.offline.is_none()
            && !workload.marks.in_maintenance.stands()
            && workload.claims.named.is_empty()
            && workload.claims.templates.is_empty();
        if !alone || !does_nothing(plan) || plan.memory != *before {
            return None;
        }
        let rests = plan.phase() == Phase::UpToDate && before.differs_since.is_none();
        if rests && !(is_up_to_date(&plan.report) && plan.talk.draining.is_empty()) {
            return None;
        }
        let waiting = (!rests).then_some(Waiting { last_change, judged: now });
        Some(Self { report: shared(plan.report.clone()), wake: plan.wake, waiting })
    }

    /// The rest in which a workload was and still is.
    pub fn still<'a>(
        memory: &'a Memory,
        workload: &Workload,
        spec: &UpgradePolicySpec,
        (news, last_change): (&News, Option<Timestamp>),
        now: Timestamp,
    ) -> Option<&'a Self> {
        let rest = memory.rest.as_ref()?;
        let same = match &rest.waiting {
            None => true,
            // The pods of one that is held read something else than its template.
            Some(waiting) => {
                waiting.last_change == last_change
                    && later(waiting.judged, JUDGED_EVERY) > now
                    && (rest.report.hold.is_none() || news.config.is_empty())
            }
        };
        (same && rest.wake.is_none_or(|wake| wake > now) && !news.concerns(workload, spec))
            .then_some(rest)
    }

    /// Whether it need only be counted.
    pub fn is_plain(&self) -> bool {
        let config = &self.report.config;
        self.waiting.is_none() && !config.stale && config.unverified.is_empty()
    }
}

/// A report that most workloads have is there once.
fn shared(report: Report) -> Arc<Report> {
    let same = COMMON.iter().find(|common| ***common == report);
    same.cloned().unwrap_or_else(|| Arc::new(report))
}

/// Up to date, with an app gate that was not asked, and with one that was.
static COMMON: LazyLock<[Arc<Report>; 2]> = LazyLock::new(|| {
    [false, true].map(|asked| {
        let app_gate = AppGateReport { asked, trouble: None };
        Arc::new(Report { app_gate, ..Report::default() })
    })
});

/// Whether nothing is to be written, told or asked.
fn does_nothing(plan: &Plan) -> bool {
    let Plan {
        report: _,
        edits,
        roll,
        waited,
        lookup,
        talk,
        snapshots,
        notices,
        wake: _,
        memory: _,
    } = plan;
    let asks_for_nothing = *edits == Edits::default()
        && roll.is_none()
        && lookup.is_none()
        && talk.calls.is_empty()
        && snapshots.is_empty();
    let tells_nothing = waited.is_none() && notices.is_empty() && talk.notices.is_empty();
    asks_for_nothing && tells_nothing
}

/// Whether a workload is up to date, and nothing is to be said of it but what was there before.
fn is_up_to_date(report: &Report) -> bool {
    let Report { verdict, config, app_gate, broken, .. } = report;
    let config = ConfigReport { changed: Vec::new(), ..config.clone() };
    let app_gate = AppGateReport { trouble: None, ..app_gate.clone() };
    let verdict = Verdict::new(Phase::UpToDate, verdict.reason, "");
    *report == Report { verdict, config, app_gate, broken: *broken, ..Report::default() }
}

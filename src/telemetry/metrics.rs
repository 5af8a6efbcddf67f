//! Metrics in the Prometheus text format. Their labels are enums, and the namespace and name of
//! policies; no other object is named.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use jiff::Timestamp;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use strum::VariantArray;

use crate::{
    api::{Phase, Reason, status::CONDITIONS},
    core::{
        conversation::Errand,
        decision::Census,
        observed::storage::{State, States},
        request::{Cause, Purpose},
    },
    telemetry::{of_policies::OfPolicies, process::Process, reviews::Reviews},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuestionLabels {
    errand: &'static str,
    answer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    condition: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyStateLabels {
    namespace: String,
    policy: String,
    state: &'static str,
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    /// What the webhook was asked.
    pub reviews: Reviews,
    process: Registry,
    leader: Gauge<i64, AtomicI64>,
    policies: Gauge<i64, AtomicI64>,
    workloads: Family<PhaseLabel, Gauge<i64, AtomicI64>>,
    stale: Gauge<i64, AtomicI64>,
    rollouts: Family<CauseLabel, Counter<u64, AtomicU64>>,
    suppressed: Family<ReasonLabel, Counter<u64, AtomicU64>>,
    write_to_patch: Histogram,
    releases: Family<CauseLabel, Counter<u64, AtomicU64>>,
    held_seconds: Family<ReasonLabel, Counter<f64, AtomicU64>>,
    actions: Family<ActionLabels, Counter<u64, AtomicU64>>,
    questions: Family<QuestionLabels, Counter<u64, AtomicU64>>,
    watch_errors: Family<KindLabel, Counter<u64, AtomicU64>>,
    unreadable_objects: Family<KindLabel, Gauge<i64, AtomicI64>>,
    events_lost: Counter<u64, AtomicU64>,
    oldest_hold: Gauge<i64, AtomicI64>,
    oldest_difference: Gauge<i64, AtomicI64>,
    conditions: Family<ConditionLabels, Gauge<i64, AtomicI64>>,
    of_policies: OfPolicies,
    by_namespace: Mutex<BTreeMap<String, Census>>,
    volumes: Family<StateLabel, Gauge<i64, AtomicI64>>,
    volume_bytes: Family<StateLabel, Gauge<i64, AtomicI64>>,
    policy_volumes: Family<PolicyStateLabels, Gauge<i64, AtomicI64>>,
    policy_volume_bytes: Family<PolicyStateLabels, Gauge<i64, AtomicI64>>,
    volumes_by_namespace: Mutex<BTreeMap<String, BTreeMap<String, States>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = [0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
        let metrics = Self {
            registry: Registry::with_prefix("lockkeeper"),
            reviews: Reviews::default(),
            process: Registry::default(),
            leader: Gauge::default(),
            policies: Gauge::default(),
            workloads: Family::default(),
            stale: Gauge::default(),
            rollouts: Family::default(),
            suppressed: Family::default(),
            write_to_patch: Histogram::new(seconds),
            releases: Family::default(),
            held_seconds: Family::default(),
            actions: Family::default(),
            questions: Family::default(),
            watch_errors: Family::default(),
            unreadable_objects: Family::default(),
            events_lost: Counter::default(),
            oldest_hold: Gauge::default(),
            oldest_difference: Gauge::default(),
            conditions: Family::default(),
            of_policies: OfPolicies::default(),
            by_namespace: Mutex::default(),
            volumes: Family::default(),
            volume_bytes: Family::default(),
            policy_volumes: Family::default(),
            policy_volume_bytes: Family::default(),
            volumes_by_namespace: Mutex::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        self.process.register_collector(Box::new(Process));
        let registry = &mut self.registry;
        self.reviews.register(registry);
        registry.register(
            "leader",
            "1 in the replica that acts, 0 in the others",
            self.leader.clone(),
        );
        registry.register("policies", "UpgradePolicies", self.policies.clone());
        registry.register("workloads", "Governed workloads by phase", self.workloads.clone());
        registry.register("volumes", "Volumes whose data is kept by state", self.volumes.clone());
        registry.register(
            "volume_bytes",
            "Capacity of the volumes whose data is kept by state",
            self.volume_bytes.clone(),
        );
        registry.register(
            "stale_workloads",
            "Workloads some of whose pods may run on old config",
            self.stale.clone(),
        );
        registry.register(
            "oldest_hold_timestamp_seconds",
            "When the change began to wait for gates that has waited longest; 0 when none waits",
            self.oldest_hold.clone(),
        );
        registry.register(
            "oldest_config_difference_timestamp_seconds",
            "When config was first seen to differ, where it has for longest, should be rolled and waits for something else than gates; 0 for none",
            self.oldest_difference.clone(),
        );
        registry.register(
            "policy_conditions",
            "UpgradePolicies by condition and its status",
            self.conditions.clone(),
        );
        self.of_policies.register(registry);
        registry.register(
            "policy_volumes",
            "Volumes whose data a policy had kept by state, also when it is gone; states that none is in are absent",
            self.policy_volumes.clone(),
        );
        registry.register(
            "policy_volume_bytes",
            "Their capacity",
            self.policy_volume_bytes.clone(),
        );
        registry.register(
            "config_rollouts",
            "Config rollouts begun, by cause",
            self.rollouts.clone(),
        );
        registry.register(
            "rollouts_suppressed",
            "Config rollouts that were needed and not begun, by reason",
            self.suppressed.clone(),
        );
        registry.register(
            "config_write_to_patch_seconds",
            "From the newest config write seen to the accepted patch that rolls a workload for it, the quiet time included",
            self.write_to_patch.clone(),
        );
        registry.register(
            "releases",
            "Held changes that were released, by cause",
            self.releases.clone(),
        );
        registry.register(
            "gate_wait_seconds",
            "Seconds for which gates kept changes waiting, by the reason of the gate; counted when the gate opens or another one closes",
            self.held_seconds.clone(),
        );
        registry.register(
            "actions",
            "Requests that write, by what for and what came of it",
            self.actions.clone(),
        );
        registry.register(
            "pod_requests",
            "Requests to pods, by what for and what they answered",
            self.questions.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that failed, by kind",
            self.watch_errors.clone(),
        );
        registry.register(
            "unreadable_objects",
            "Objects that cannot be read now, by kind; kinds without any are absent",
            self.unreadable_objects.clone(),
        );
        registry.register(
            "events_lost",
            "Events that could not be written",
            self.events_lost.clone(),
        );
        self.show_namespaces();
        self.of_policies.show(&self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner));
        self.show_volumes();
        self
    }

    /// The text that `/metrics` answers with.
    ///
    /// # Errors
    /// When a metric cannot be written, which would be a defect.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        // Summed up when metrics are requested, not at every decision.
        self.show_namespaces();
        self.of_policies.show(&self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner));
        self.show_volumes();
        let mut text = String::new();
        encode_registry(&mut text, &self.process)?;
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Whether this replica acts. One that does not counts nothing.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        if !leads {
            self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.volumes_by_namespace.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// How many policies there are.
    pub fn set_policies(&self, count: usize) {
        self.policies.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// What there is in a namespace.
    pub fn set_namespace(&self, namespace: &str, census: Census) {
        let mut all = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        match census == Census::default() {
            true => drop(all.remove(namespace)),
            false => drop(all.insert(namespace.to_owned(), census)),
        }
    }

    fn show_namespaces(&self) {
        let all = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        let as_gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for phase in Phase::VARIANTS {
            let count: usize = all.values().filter_map(|census| census.phases.get(phase)).sum();
            self.workloads.get_or_create(&PhaseLabel { phase: phase.into() }).set(as_gauge(count));
        }
        self.stale.set(as_gauge(all.values().map(|census| census.stale).sum()));
        let second = |oldest: Option<Timestamp>| oldest.map_or(0, Timestamp::as_second);
        self.oldest_hold.set(second(all.values().filter_map(|census| census.oldest_hold).min()));
        self.oldest_difference
            .set(second(all.values().filter_map(|census| census.oldest_difference).min()));
        for condition in CONDITIONS {
            for status in ["True", "False", "Unknown"] {
                let key = (condition.to_owned(), status.to_owned());
                let count: usize =
                    all.values().filter_map(|census| census.conditions.get(&key)).sum();
                self.conditions
                    .get_or_create(&ConditionLabels { condition, status })
                    .set(as_gauge(count));
            }
        }
    }

    /// Kept data of a namespace by the policy that had it kept, and by its state: how much, and its
    /// bytes.
    pub fn set_volumes(&self, namespace: &str, policies: BTreeMap<String, States>) {
        let mut all = self.volumes_by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        match policies.is_empty() {
            true => drop(all.remove(namespace)),
            false => drop(all.insert(namespace.to_owned(), policies)),
        }
    }

    fn show_volumes(&self) {
        let all = self.volumes_by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        let as_gauge = |sum: u64| i64::try_from(sum).unwrap_or(i64::MAX);
        self.policy_volumes.clear();
        self.policy_volume_bytes.clear();
        for (namespace, policy, states) in all.iter().flat_map(|(namespace, policies)| {
            policies.iter().map(move |(policy, states)| (namespace, policy, states))
        }) {
            for (state, (count, bytes)) in states {
                let labels = PolicyStateLabels {
                    namespace: namespace.clone(),
                    policy: policy.clone(),
                    state: state.as_str(),
                };
                self.policy_volumes.get_or_create(&labels).set(as_gauge(*count));
                self.policy_volume_bytes.get_or_create(&labels).set(as_gauge(*bytes));
            }
        }
        for state in State::ALL {
            let of_state =
                || all.values().flat_map(BTreeMap::values).filter_map(|states| states.get(&state));
            let label = StateLabel { state: state.as_str() };
            self.volumes
                .get_or_create(&label)
                .set(as_gauge(of_state().map(|(count, _)| count).sum()));
            self.volume_bytes
                .get_or_create(&label)
                .set(as_gauge(of_state().map(|(_, bytes)| bytes).sum()));
        }
    }

    /// A config rollout began, this long after its change was seen.
    pub fn rolled(&self, cause: Cause, after: Option<Duration>) {
        let cause = match cause {
            Cause::Config => "Config",
            Cause::Together => "Together",
            Cause::MixedConfig => "MixedConfig",
            Cause::Previous => "Previous",
        };
        self.rollouts.get_or_create(&CauseLabel { cause }).inc();
        if let Some(after) = after {
            self.write_to_patch.observe(after.as_secs_f64());
        }
    }

    /// A config rollout is needed and not begun.
    pub fn suppressed(&self, reason: Reason) {
        self.suppressed.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// A held change was let through.
    pub fn released(&self, cause: &'static str) {
        self.releases.get_or_create(&CauseLabel { cause }).inc();
    }

    /// A gate has kept a change waiting for this long.
    pub fn waited(&self, reason: Reason, time: Duration) {
        self.held_seconds
            .get_or_create(&ReasonLabel { reason: reason.as_str() })
            .inc_by(time.as_secs_f64());
    }

    /// A patch of a workload ended.
    pub fn patched(&self, purpose: &Purpose, outcome: &'static str) {
        let action = match purpose {
            Purpose::Adopt => "Adopt",
            Purpose::Record => "Record",
            Purpose::Roll(..) => "Roll",
            Purpose::Release(_) => "Release",
            Purpose::Step => "Step",
            Purpose::Unblock => "Unblock",
            Purpose::Maintain => "Maintain",
            Purpose::Forget { .. } => "Forget",
        };
        self.actions.get_or_create(&ActionLabels { action, outcome }).inc();
    }

    /// A pod was asked something.
    pub fn asked(&self, errand: Errand, answer: &'static str) {
        self.questions.get_or_create(&QuestionLabels { errand: errand.as_str(), answer }).inc();
    }

    /// A patch of a claim, a volume or a namespace ended.
    pub fn storage_patched(&self, outcome: &'static str) {
        self.actions.get_or_create(&ActionLabels { action: "Storage", outcome }).inc();
    }

    /// A request about a snapshot ended.
    pub fn snapshot_written(&self, action: &'static str, outcome: &'static str) {
        self.actions.get_or_create(&ActionLabels { action, outcome }).inc();
    }

    /// A status write ended.
    pub fn status_written(&self, outcome: &'static str) {
        self.actions.get_or_create(&ActionLabels { action: "Status", outcome }).inc();
    }

    /// A watch failed.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&KindLabel { kind }).inc();
    }

    /// How many objects of each kind cannot be read.
    pub fn set_unreadable(&self, kinds: impl Iterator<Item = &'static str>) {
        self.unreadable_objects.clear();
        kinds.for_each(|kind| {
            self.unreadable_objects.get_or_create(&KindLabel { kind }).inc();
        });
    }

    /// An event could not be written.
    pub fn event_lost(&self) {
        self.events_lost.inc();
    }
}

//! What is counted of each policy.

use std::{collections::BTreeMap, sync::atomic::AtomicI64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::core::decision::Census;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    namespace: String,
    policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyPhaseLabels {
    namespace: String,
    policy: String,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyConditionLabels {
    namespace: String,
    policy: String,
    r#type: String,
    status: String,
}

/// The metrics of policies. Those of the volumes that they had kept stay longer than they do.
#[derive(Default)]
pub struct OfPolicies {
    workloads: Family<PolicyPhaseLabels, Gauge<i64, AtomicI64>>,
    oldest_hold: Family<PolicyLabels, Gauge<i64, AtomicI64>>,
    oldest_difference: Family<PolicyLabels, Gauge<i64, AtomicI64>>,
    oldest_maintenance: Family<PolicyLabels, Gauge<i64, AtomicI64>>,
    condition: Family<PolicyConditionLabels, Gauge<i64, AtomicI64>>,
}

impl OfPolicies {
    /// Shows them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "policy_workloads",
            "Workloads of a policy by phase; phases that none is in are absent",
            self.workloads.clone(),
        );
        registry.register(
            "policy_oldest_hold_timestamp_seconds",
            "When the change of a policy began to wait for gates that has waited longest; absent when none waits",
            self.oldest_hold.clone(),
        );
        registry.register(
            "policy_oldest_config_difference_timestamp_seconds",
            "The same as oldest_config_difference_timestamp_seconds of a policy; absent for none",
            self.oldest_difference.clone(),
        );
        registry.register(
            "policy_oldest_maintenance_timestamp_seconds",
            "When the maintenance of a workload of a policy began that has lasted longest; absent when none is in maintenance",
            self.oldest_maintenance.clone(),
        );
        registry.register(
            "policy_condition",
            "1 for the status that a condition of a policy has",
            self.condition.clone(),
        );
    }

    /// What is counted of each policy, by namespace. Nothing stays of one that is gone.
    pub fn show(&self, all: &BTreeMap<String, Census>) {
        self.workloads.clear();
        self.oldest_hold.clear();
        self.oldest_difference.clear();
        self.oldest_maintenance.clear();
        self.condition.clear();
        for (namespace, name, of) in all.iter().flat_map(|(namespace, census)| {
            census.policies.iter().map(move |(name, of)| (namespace, name, of))
        }) {
            let (namespace, policy) = (namespace.clone(), name.clone());
            for (phase, count) in of.phases.iter().filter(|(_, count)| **count > 0) {
                let labels = PolicyPhaseLabels {
                    namespace: namespace.clone(),
                    policy: policy.clone(),
                    phase: phase.into(),
                };
                self.workloads
                    .get_or_create(&labels)
                    .set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
            for (kind, status) in &of.conditions {
                let (namespace, policy) = (namespace.clone(), policy.clone());
                let labels = PolicyConditionLabels {
                    namespace,
                    policy,
                    r#type: kind.clone(),
                    status: status.clone(),
                };
                self.condition.get_or_create(&labels).set(1);
            }
            let labels = PolicyLabels { namespace, policy };
            for (family, since) in [
                (&self.oldest_hold, of.oldest_hold),
                (&self.oldest_difference, of.oldest_difference),
                (&self.oldest_maintenance, of.oldest_maintenance),
            ] {
                if let Some(since) = since {
                    family.get_or_create(&labels).set(since.as_second());
                }
            }
        }
    }
}

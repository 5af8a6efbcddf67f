//! What is counted of the webhook.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Admission reviews, and what came of asking for one.
pub struct Reviews {
    probes: Family<OutcomeLabel, Counter<u64, AtomicU64>>,
    answered: Family<OutcomeLabel, Counter<u64, AtomicU64>>,
    seconds: Histogram,
}

impl Default for Reviews {
    fn default() -> Self {
        let seconds = [0.0003, 0.001, 0.002, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0];
        Self {
            probes: Family::default(),
            answered: Family::default(),
            seconds: Histogram::new(seconds),
        }
    }
}

impl Reviews {
    /// Shows them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "webhook_reviews",
            "Writes that the webhook was asked about, by what it answered",
            self.answered.clone(),
        );
        registry.register(
            "webhook_probes",
            "How often the operator asked who judges, by what came of it",
            self.probes.clone(),
        );
        registry.register(
            "webhook_review_seconds",
            "From the head of the webhook's request to its answer",
            self.seconds.clone(),
        );
    }

    /// It was asked who judges.
    pub fn probed(&self, outcome: &'static str) {
        self.probes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// One was answered, after this time.
    pub fn answered(&self, outcome: &'static str, after: Duration) {
        self.answered.get_or_create(&OutcomeLabel { outcome }).inc();
        self.seconds.observe(after.as_secs_f64());
    }
}

//! How far an installation reaches: which namespaces it watches, and which of its features it has the rights for.

use std::collections::BTreeSet;

use crate::api::UpgradePolicySpec;

/// A feature that an installation can do without, and then needs no rights for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// `spec.config`: reads all ConfigMaps and Secrets.
    Config,
    /// `spec.gates.app.headers` from Secrets, and `spec.gates.app.tls`: reads the ConfigMaps and Secrets that they name.
    GateCredentials,
    /// `spec.volumes`: reads claims, volumes, namespaces and what uses them, and puts marks on the first three.
    Volumes,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Config, Self::GateCredentials, Self::Volumes];

    /// Its name in the chart's values, under `features`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::GateCredentials => "gateCredentials",
            Self::Volumes => "volumes",
        }
    }

    /// What to tell somebody whose policy asks for it where it is off.
    pub fn is_off(self) -> String {
        let name = self.as_str();
        format!("the feature {name} is switched off in this installation of Lockkeeper (value features.{name} of the chart)")
    }
}

/// What an installation sees and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The namespaces that it watches; empty: all.
    pub namespaces: BTreeSet<String>,
    /// What it does.
    pub features: BTreeSet<Feature>,
}

impl Default for Reach {
    /// Everything.
    fn default() -> Self {
        Self { namespaces: BTreeSet::new(), features: Feature::ALL.into() }
    }
}

impl Reach {
    /// Whether it watches a namespace.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    /// Whether it has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Takes the sections off a policy that need what is switched off. Returns a sentence about each.
    pub fn limit(&self, spec: &mut UpgradePolicySpec) -> Vec<String> {
        let mut off = Vec::new();
        let mut say = |section: &str, feature: Feature| off.push(format!("spec.{section} is not acted on: {}", feature.is_off()));
        if !self.has(Feature::Config) && spec.config.take().is_some() {
            say("config", Feature::Config);
        }
        if !self.has(Feature::Volumes) && spec.volumes.take().is_some() {
            say("volumes", Feature::Volumes);
        }
        off
    }
}

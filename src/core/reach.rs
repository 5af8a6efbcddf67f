//! How far an installation reaches: which namespaces it watches, and which of its features it has
//! the rights for.

use std::collections::BTreeSet;

use crate::api::{AppGate, UpgradePolicySpec};

/// A feature that an installation can do without, and then needs no rights for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// `spec.config`: reads all ConfigMaps and Secrets.
    Config,
    /// `spec.gates.app.headers` from Secrets, and `spec.gates.app.tls`: reads the ConfigMaps and
    /// Secrets that they name.
    GateCredentials,
    /// `spec.volumes`: reads claims, volumes, namespaces and what uses them, and puts marks on the
    /// first three.
    Volumes,
    /// `kubectl lockkeeper convert`: hands volumes over to claims of other names.
    Conversion,
    /// `spec.gates.snapshot`: takes snapshots of volumes, and keeps their contents.
    Snapshots,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Config, Self::GateCredentials, Self::Volumes, Self::Conversion, Self::Snapshots];

    /// Its name in the chart's values, under `features`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::GateCredentials => "gateCredentials",
            Self::Volumes => "volumes",
            Self::Conversion => "conversion",
            Self::Snapshots => "snapshots",
        }
    }
}

/// What of a policy is not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchedOff {
    /// This section of its spec, because of this feature.
    Section(&'static str, Feature),
    /// What its app gate names of ConfigMaps and Secrets, so that no pod can be asked.
    Credentials,
    /// Its snapshot gate, so that no change passes it.
    Snapshots,
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

    /// Whether it has a feature. Without the rights for volumes there are none for their snapshots.
    pub fn has(&self, feature: Feature) -> bool {
        let rests_on = (feature == Feature::Snapshots).then_some(Feature::Volumes);
        [Some(feature), rests_on].iter().flatten().all(|one| self.features.contains(one))
    }

    /// Takes the sections off a policy that need what is switched off. Returns what is not in use,
    /// and what cannot be done.
    pub fn limit(&self, spec: &mut UpgradePolicySpec) -> Vec<SwitchedOff> {
        let mut off = Vec::new();
        if !self.has(Feature::Config) && spec.config.take().is_some() {
            off.push(SwitchedOff::Section("config", Feature::Config));
        }
        if !self.has(Feature::Volumes) && spec.volumes.take().is_some() {
            off.push(SwitchedOff::Section("volumes", Feature::Volumes));
        }
        let app = spec.gates.as_ref().and_then(|gates| gates.app.as_ref());
        if app.is_some_and(AppGate::needs_credentials) && !self.has(Feature::GateCredentials) {
            // The gate stays: without it changes would go through unasked.
            off.push(SwitchedOff::Credentials);
        }
        let snapshot = spec.gates.as_ref().is_some_and(|gates| gates.snapshot.is_some());
        if snapshot && !self.has(Feature::Snapshots) {
            // The gate stays, for the same reason.
            off.push(SwitchedOff::Snapshots);
        }
        off
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn spec(text: &str) -> UpgradePolicySpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_switched_off_is_taken_off_and_said_but_a_gate_stays() {
        let verified = r#"{"selector": {}, "gates": {"app": {"scheme": "HTTPS", "tls": {"caRef": {"kind": "ConfigMap", "name": "ca"}}}}}"#;
        let cases = [
            (r#"{"selector": {}, "config": {}}"#, Feature::Config, "spec.config is not in use"),
            (r#"{"selector": {}, "volumes": {}}"#, Feature::Volumes, "spec.volumes is not in use"),
            (verified, Feature::GateCredentials, "cannot be asked"),
            (r#"{"selector": {}, "gates": {"snapshot": {}}}"#, Feature::Snapshots, "no snapshots"),
        ];
        for (text, feature, sentence) in cases {
            let (mut with, mut without) = (spec(text), spec(text));
            assert_eq!(Reach::default().limit(&mut with), []);
            assert_eq!(with, spec(text));
            let features = Feature::ALL.into_iter().filter(|one| *one != feature).collect();
            let off = Reach { features, ..Reach::default() }.limit(&mut without);
            let [off] = &off[..] else { panic!("{off:?}") };
            let said = crate::core::conditions::words::feature_off(&[*off]);
            assert!(said.contains(sentence) && said.contains(feature.as_str()), "{said}");
            assert!(without.config.is_none() && without.volumes.is_none());
            let of_gates = [Feature::GateCredentials, Feature::Snapshots].contains(&feature);
            assert_eq!(without.gates.is_some(), of_gates);
        }
    }
}

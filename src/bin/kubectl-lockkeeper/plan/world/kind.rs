//! The kinds that have a say in what happens.

use lockkeeper::{
    api::WorkloadKind,
    shell::views::{
        ConfigMaps, DaemonSets, Deployments, Policies, Secrets, StatefulSets, Watched,
        storage::{Autoscalers, Claims, Namespaces},
    },
};
use serde_json::Value;

/// The kinds that have a say in what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ConfigMap,
    Secret,
    Claim,
    Policy,
    Autoscaler,
    Namespace,
}

impl Kind {
    /// The kind of an object, if it has a say.
    pub fn of(object: &Value) -> Option<Self> {
        let group = object["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group);
        Some(match (group, object["kind"].as_str()?) {
            (WorkloadKind::GROUP, "Deployment") => Self::Deployment,
            (WorkloadKind::GROUP, "StatefulSet") => Self::StatefulSet,
            (WorkloadKind::GROUP, "DaemonSet") => Self::DaemonSet,
            ("", "ConfigMap") => Self::ConfigMap,
            ("", "Secret") => Self::Secret,
            ("", "PersistentVolumeClaim") => Self::Claim,
            ("", "Namespace") => Self::Namespace,
            ("autoscaling", "HorizontalPodAutoscaler") => Self::Autoscaler,
            ("lockkeeper.dev", "UpgradePolicy") => Self::Policy,
            _ => return None,
        })
    }

    /// Its name in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => Deployments::PLURAL,
            Self::StatefulSet => StatefulSets::PLURAL,
            Self::DaemonSet => DaemonSets::PLURAL,
            Self::ConfigMap => ConfigMaps::PLURAL,
            Self::Secret => Secrets::PLURAL,
            Self::Claim => Claims::PLURAL,
            Self::Policy => Policies::PLURAL,
            Self::Autoscaler => Autoscalers::PLURAL,
            Self::Namespace => Namespaces::PLURAL,
        }
    }

    /// Where what a manifest leaves out is looked for, and whether the API server fills in what is
    /// missing there.
    pub fn places(self) -> (&'static [&'static [&'static str]], bool) {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => {
                (&[&["spec", "template"]], true)
            }
            Self::Policy => (&[&["spec"]], true),
            Self::ConfigMap => (&[&["data"], &["binaryData"]], false),
            Self::Secret => (&[&["data"]], false),
            Self::Claim | Self::Autoscaler | Self::Namespace => (&[], false),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_kinds_that_have_a_say_are_looked_at() {
        for (version, kind, expected) in [
            ("apps/v1", "Deployment", Some(Kind::Deployment)),
            ("v1", "Secret", Some(Kind::Secret)),
            ("autoscaling/v2", "HorizontalPodAutoscaler", Some(Kind::Autoscaler)),
            ("lockkeeper.dev/v1alpha1", "UpgradePolicy", Some(Kind::Policy)),
            ("example.com/v1", "Deployment", None),
            ("v1", "Service", None),
        ] {
            assert_eq!(
                Kind::of(&json!({"apiVersion": version, "kind": kind})),
                expected,
                "{version} {kind}"
            );
        }
    }
}

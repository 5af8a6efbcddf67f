//! A policy as it was read, and what stands for one that cannot be acted on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;

use crate::{
    api::{
        IncludeOwned, Mode, UpgradePolicySpec, UpgradePolicyStatus, WhenUngoverned, WorkloadKind,
    },
    core::{calendar::Windows, observed::ids::Uid, reach::SwitchedOff},
};

/// An `UpgradePolicy`.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// The generation of its spec.
    pub generation: i64,
    /// When it was last written, in whole seconds.
    pub written: Timestamp,
    /// Its spec, or in words why it is none.
    pub spec: Result<UpgradePolicySpec, String>,
    /// What it asks for and this installation does not do, a sentence each. The spec has none of
    /// it.
    pub switched_off: Vec<SwitchedOff>,
    /// Its windows, as they may be asked.
    pub windows: Windows,
    /// The status that stands on it.
    pub status: UpgradePolicyStatus,
}

/// Reads a policy's selector.
///
/// # Errors
/// Says in a sentence why it selects nothing.
pub fn selector(selector: &LabelSelector) -> Result<Selector, String> {
    Selector::try_from(selector.clone()).map_err(|error| format!("spec.selector: {error}"))
}

/// What stands for a spec that cannot be acted on: it holds everything, and asks for nothing else.
pub fn freezing_spec() -> UpgradePolicySpec {
    UpgradePolicySpec {
        selector: LabelSelector::default(),
        kinds: vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet],
        include_owned: IncludeOwned::Never,
        priority: 0,
        mode: Mode::Freeze,
        when_ungoverned: WhenUngoverned::Release,
        config: None,
        gates: None,
        rollout: None,
        volumes: None,
        maintenance: None,
        offline: None,
    }
}

/// The spec of a policy as it may be acted on, and its windows.
///
/// # Errors
/// Says in a sentence what is wrong with it.
pub fn check_spec(spec: UpgradePolicySpec) -> Result<(UpgradePolicySpec, Windows), String> {
    selector(&spec.selector)?;
    for step in spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice()) {
        selector(&step.selector)
            .map_err(|error| format!("spec.rollout.steps[{}]: {error}", step.name))?;
    }
    let windows =
        Windows::parse(spec.gates.as_ref().map_or(&[], |gates| gates.windows.as_slice()))?;
    Ok((spec, windows))
}

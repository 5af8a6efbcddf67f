//! The fields that are used of policies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Raw, Watched};
use crate::{
    api::UpgradePolicySpec,
    core::{calendar::Windows, observed::Policy, observed::policy::check_spec},
    workload::{uid, written},
};

/// `lockkeeper.dev/v1alpha1` UpgradePolicy. One that cannot be read is a policy all the same, with
/// the reason in its place.
#[derive(Clone, Debug)]
pub struct Policies;

impl Watched for Policies {
    const GROUP: &'static str = "lockkeeper.dev";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "UpgradePolicy";
    const PLURAL: &'static str = "upgradepolicies";
    type Body = Raw;
    type View = Policy;

    fn view(meta: &ObjectMeta, body: Raw) -> Policy {
        let spec = serde_json::from_value::<UpgradePolicySpec>(body.spec)
            .map_err(|error| format!("spec: {error}"));
        let checked = spec.and_then(check_spec);
        let (spec, windows) = match checked {
            Ok((spec, windows)) => (Ok(spec), windows),
            Err(error) => (Err(error), Windows::default()),
        };
        Policy {
            name: meta.name.clone().unwrap_or_default(),
            uid: uid(meta),
            generation: meta.generation.unwrap_or_default(),
            written: written(meta),
            spec,
            switched_off: Vec::new(),
            windows,
            status: serde_json::from_value(body.status).unwrap_or_default(),
        }
    }
}

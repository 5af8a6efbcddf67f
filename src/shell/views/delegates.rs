//! What may act on a workload in our place.

use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Raw, Watched};
use crate::{api::WorkloadKind, core::observed::WorkloadId};

/// A kind of object that may act on a workload. What is kept of one is the workload that it names.
#[derive(Clone, Debug)]
pub struct Delegates<D>(PhantomData<D>);

/// `argoproj.io/v1alpha1` Rollout.
pub type Rollouts = Delegates<Rollout>;
/// `flagger.app/v1beta1` Canary.
pub type Canaries = Delegates<Canary>;

/// A kind of object that names a workload.
pub trait Delegate: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Its API group.
    const GROUP: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// Its kind.
    const KIND: &'static str;
    /// Its plural.
    const PLURAL: &'static str;
    /// The field of its spec that names the workload.
    const TARGET: &'static str;
}

/// A Rollout of Argo Rollouts.
#[derive(Clone, Debug)]
pub struct Rollout;

impl Delegate for Rollout {
    const GROUP: &'static str = "argoproj.io";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "Rollout";
    const PLURAL: &'static str = "rollouts";
    const TARGET: &'static str = "workloadRef";
}

/// A Canary of Flagger.
#[derive(Clone, Debug)]
pub struct Canary;

impl Delegate for Canary {
    const GROUP: &'static str = "flagger.app";
    const VERSION: &'static str = "v1beta1";
    const KIND: &'static str = "Canary";
    const PLURAL: &'static str = "canaries";
    const TARGET: &'static str = "targetRef";
}

impl<D: Delegate> Watched for Delegates<D> {
    const GROUP: &'static str = D::GROUP;
    const VERSION: &'static str = D::VERSION;
    const KIND: &'static str = D::KIND;
    const PLURAL: &'static str = D::PLURAL;
    type Body = Raw;
    type View = Option<WorkloadId>;

    fn view(_: &ObjectMeta, body: Raw) -> Option<WorkloadId> {
        let target = &body.spec[D::TARGET];
        // None of them acts on a StatefulSet.
        let kind = WorkloadKind::named(target["kind"].as_str()?)?;
        if kind.has_ordinals() {
            return None;
        }
        Some(WorkloadId { kind, name: target["name"].as_str()?.to_owned() })
    }
}

//! The fields that are used of each kind, read straight from the wire, so that stores hold views
//! and not objects.

mod admission;
mod config;
pub mod containers;
mod delegates;
pub mod lenient;
mod pods;
mod policies;
pub mod snapshots;
pub mod storage;
mod workloads;

use std::{borrow::Cow, fmt, marker::PhantomData};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, NamespaceResourceScope};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::{
    admission::{
        Admission, AdmissionKind, Definitions, MutatingBindings, MutatingPolicies,
        MutatingWebhooks, ValidatingBindings, ValidatingPolicies,
    },
    config::{ConfigBody, ConfigMaps, ConfigView, Configs, Secrets},
    delegates::{Canaries, Delegate, Delegates, Rollouts},
    pods::Pods,
    policies::Policies,
    workloads::{
        ControllerRevisions, DaemonSets, Deployments, ReplicaSets, StatefulSets, Workloads,
    },
};

/// A kind of object as it is watched.
pub trait Watched: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its API group.
    const GROUP: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// Its kind.
    const KIND: &'static str;
    /// Its plural.
    const PLURAL: &'static str;
    /// Whether it is read which fields each manager has written.
    const READS_FIELDS_OF_MANAGERS: bool = false;
    /// What is read of it besides the metadata.
    type Body: Clone + fmt::Debug + Send + Sync + DeserializeOwned + 'static;
    /// What is kept of it.
    type View: Send + 'static;

    /// Makes what is kept.
    fn view(meta: &ObjectMeta, body: Self::Body) -> Self::View;

    /// Its API version: group and version.
    fn api_version() -> String {
        if Self::GROUP.is_empty() {
            Self::VERSION.to_owned()
        } else {
            format!("{}/{}", Self::GROUP, Self::VERSION)
        }
    }

    /// As clients of objects of any kind want it.
    fn resource() -> ApiResource {
        ApiResource {
            group: Self::GROUP.to_owned(),
            version: Self::VERSION.to_owned(),
            api_version: Self::api_version(),
            kind: Self::KIND.to_owned(),
            plural: Self::PLURAL.to_owned(),
        }
    }
}

/// An object on the wire.
#[derive(Deserialize, Clone, Debug)]
#[serde(bound = "")]
pub struct Wire<K: Watched> {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is read of it besides.
    #[serde(flatten)]
    pub body: K::Body,
    #[serde(skip)]
    kind: PhantomData<K>,
}

impl<K: Watched> Wire<K> {
    /// Of its parts.
    pub fn new(metadata: ObjectMeta, body: K::Body) -> Self {
        Self { metadata, body, kind: PhantomData }
    }
}

impl<K: Watched> kube::Resource for Wire<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Spec and status as raw JSON.
#[derive(Deserialize, Clone, Debug)]
pub struct Raw {
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// Only the status as raw JSON.
#[derive(Deserialize, Clone, Debug)]
pub struct RawStatus {
    #[serde(default)]
    status: Value,
}

/// Only the spec as raw JSON; of a webhook's configuration, which has none, its webhooks.
#[derive(Deserialize, Clone, Debug)]
pub struct RawSpec {
    #[serde(default, alias = "webhooks")]
    spec: Value,
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

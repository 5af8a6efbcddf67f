//! The fields that are used of our CRD, and of admission policies and their bindings.

use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{RawSpec, RawStatus, Watched, list};
use crate::{
    core::{hold::judges::WEBHOOK, observed::Uid},
    workload::uid,
};

/// `apiextensions.k8s.io/v1` CustomResourceDefinition. What is kept is its uid, while it is
/// established and not being deleted.
#[derive(Clone, Debug)]
pub struct Definitions;

impl Watched for Definitions {
    const GROUP: &'static str = "apiextensions.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "CustomResourceDefinition";
    const PLURAL: &'static str = "customresourcedefinitions";
    type Body = RawStatus;
    type View = Option<Uid>;

    fn view(meta: &ObjectMeta, body: RawStatus) -> Option<Uid> {
        let established = list(&body.status["conditions"])
            .any(|one| one["type"] == "Established" && one["status"] == "True");
        (established && meta.deletion_timestamp.is_none()).then(|| uid(meta))
    }
}

/// A kind of `admissionregistration.k8s.io/v1`. What is kept of one is its spec.
#[derive(Clone, Debug)]
pub struct Admission<A>(PhantomData<A>);

/// `admissionregistration.k8s.io/v1` MutatingAdmissionPolicy.
pub type MutatingPolicies = Admission<MutatingPolicy>;
/// `admissionregistration.k8s.io/v1` MutatingAdmissionPolicyBinding.
pub type MutatingBindings = Admission<MutatingBinding>;
/// `admissionregistration.k8s.io/v1` MutatingWebhookConfiguration.
pub type MutatingWebhooks = Admission<MutatingWebhook>;
/// `admissionregistration.k8s.io/v1` ValidatingAdmissionPolicy.
pub type ValidatingPolicies = Admission<ValidatingPolicy>;
/// `admissionregistration.k8s.io/v1` ValidatingAdmissionPolicyBinding.
pub type ValidatingBindings = Admission<ValidatingBinding>;

/// A kind of admission policy, binding or configuration.
pub trait AdmissionKind: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Its kind.
    const KIND: &'static str;
    /// Its plural.
    const PLURAL: &'static str;
}

/// A policy that changes requests.
#[derive(Clone, Debug)]
pub struct MutatingPolicy;

impl AdmissionKind for MutatingPolicy {
    const KIND: &'static str = "MutatingAdmissionPolicy";
    const PLURAL: &'static str = "mutatingadmissionpolicies";
}

/// The binding of a policy that changes requests.
#[derive(Clone, Debug)]
pub struct MutatingBinding;

impl AdmissionKind for MutatingBinding {
    const KIND: &'static str = "MutatingAdmissionPolicyBinding";
    const PLURAL: &'static str = "mutatingadmissionpolicybindings";
}

/// The configuration of webhooks that change requests.
#[derive(Clone, Debug)]
pub struct MutatingWebhook;

impl AdmissionKind for MutatingWebhook {
    const KIND: &'static str = WEBHOOK.0;
    const PLURAL: &'static str = "mutatingwebhookconfigurations";
}

/// A policy that refuses requests.
#[derive(Clone, Debug)]
pub struct ValidatingPolicy;

impl AdmissionKind for ValidatingPolicy {
    const KIND: &'static str = "ValidatingAdmissionPolicy";
    const PLURAL: &'static str = "validatingadmissionpolicies";
}

/// The binding of a policy that refuses requests.
#[derive(Clone, Debug)]
pub struct ValidatingBinding;

impl AdmissionKind for ValidatingBinding {
    const KIND: &'static str = "ValidatingAdmissionPolicyBinding";
    const PLURAL: &'static str = "validatingadmissionpolicybindings";
}

impl<A: AdmissionKind> Watched for Admission<A> {
    const GROUP: &'static str = "admissionregistration.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = A::KIND;
    const PLURAL: &'static str = A::PLURAL;
    type Body = RawSpec;
    type View = Value;

    fn view(_: &ObjectMeta, body: RawSpec) -> Value {
        body.spec
    }
}

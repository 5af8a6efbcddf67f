//! `gates.app`: how the running pods are asked whether they may be ended.

use std::{fmt, time::Duration};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigKind;
use crate::api::Period;

/// How the running pods are asked whether they may be ended.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("!has(self.tls) || self.scheme == 'HTTPS'").message("gates.app.tls: only with scheme: HTTPS"),
)]
#[serde(rename_all = "camelCase")]
pub struct AppGate {
    /// The path that is asked with GET.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 256), pattern(PATH))]
    pub path: String,
    /// The number or name of a port that the pods declare; absent: the only one that the first container declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "port_schema")]
    pub port: Option<Port>,
    /// HTTP, or HTTPS: without `tls` encrypted but not verified, as kubelet's probes.
    #[serde(default)]
    pub scheme: Scheme,
    /// How long one request may take.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('10s')").message("gates.app.timeout: from 100ms to 10s"))]
    pub timeout: Period,
    /// From the beginning of one round of questions to the next.
    #[serde(default = "default_period")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('10m')").message("gates.app.period: from 1s to 10m"))]
    pub period: Period,
    /// In so many rounds in a row every pod must say yes.
    #[serde(default = "default_successes")]
    #[schemars(range(min = 1, max = 10))]
    pub successes: u32,
    /// Which answer is a yes.
    #[serde(default)]
    pub open_when: OpenWhen,
    /// Workload: when all pods agree, all roll. Pod (only StatefulSets): pod by pod, each asked before its turn.
    #[serde(default)]
    pub scope: Scope,
    /// What a Ready pod counts as that gives no usable answer: refused, timed out, an error, not what was expected.
    #[serde(default)]
    pub when_unreachable: Otherwise,
    /// What it means when every pod answers 404, 405 or 501: this app does not speak the protocol.
    #[serde(default)]
    pub when_missing: Otherwise,
    /// When no pod has been Ready or answered for this long, nobody is left to ask, and the gate opens.
    #[serde(default = "default_broken_after")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("gates.app.brokenAfter: from 1s to 24h"))]
    pub broken_after: Period,
    /// Sent with every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers: Vec<Header>,
    /// How the pods are verified under HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Pods are asked to take no new work before they are asked whether they may be ended. Absent: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare: Option<Prepare>,
}

impl AppGate {
    /// Whether ConfigMaps or Secrets must be read before its pods can be asked.
    pub fn needs_credentials(&self) -> bool {
        self.tls.is_some() || self.headers.iter().any(|header| header.secret_key_ref.is_some())
    }
}

/// A port by number or name.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum Port {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// How a pod is talked to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Encrypted.
    Https,
}

/// Which answer is a yes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OpenWhen {
    /// One of these.
    #[serde(default = "default_status")]
    #[schemars(length(min = 1, max = 8), inner(range(min = 200, max = 599)), extend("x-kubernetes-list-type" = "set"))]
    pub status: Vec<u16>,
    /// A JSON pointer (RFC 6901) into the answer, such as `/isUpgradeable`. Absent: the status decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), pattern("^(/([^/~]|~[01])*)+$"))]
    pub field: Option<String>,
    /// What the field must be equal to; any JSON value.
    #[serde(default = "default_equals")]
    #[schemars(schema_with = "any_schema")]
    pub equals: serde_json::Value,
}

impl Default for OpenWhen {
    fn default() -> Self {
        Self { status: default_status(), field: Some("/isUpgradeable".to_owned()), equals: default_equals() }
    }
}

/// Who must agree before what.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All pods, before the first is ended.
    #[default]
    Workload,
    /// Each pod, before it is ended.
    Pod,
}

/// What counts where there is no answer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// As a no.
    #[default]
    Hold,
    /// As a yes.
    Open,
}

/// A header, its value given or taken from a Secret that bears the label `lockkeeper.dev/gate-credential: "true"`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.secretKeyRef)").message("gates.app.headers: each has exactly one of value and secretKeyRef"),
    validation = Rule::new("!(self.name.lowerAscii() in ['host', 'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'expect']) && !self.name.lowerAscii().startsWith('lockkeeper-')").message("gates.app.headers: Host, hop-by-hop headers and Lockkeeper's own are set by Lockkeeper"),
)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its name.
    #[schemars(length(min = 1, max = 64), pattern("^[-A-Za-z0-9!#$%&'*+.^_`|~]+$"))]
    pub name: String,
    /// Its value; no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), pattern("^[ -~]*$"))]
    pub value: Option<String>,
    /// Where its value is. Sent only to pods that are verified by `tls`, unless the chart allows it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// A key of a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The Secret, in the policy's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How pods are verified under HTTPS.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Where the certificates of the authorities are that sign the pods' certificates.
    pub ca_ref: CaRef,
    /// The name that their certificates are for; absent: the pod's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// A key with certificates in PEM.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// ConfigMap or Secret, in the policy's namespace.
    pub kind: ConfigKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How pods are asked to take no new work.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Prepare {
    /// The path of POST, which asks for it, and of DELETE, which withdraws it.
    #[serde(default = "default_prepare_path")]
    #[schemars(length(min = 1, max = 256), pattern(PATH))]
    pub path: String,
    /// When the gate has not opened for this long, the pods may take work again, for as long; then it is tried again.
    #[serde(default = "default_prepare_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("gates.app.prepare.timeout: from 1s to 24h"))]
    pub timeout: Period,
}

/// The form of a path: what may stand in one, percent-encoded or not, and a query.
const PATH: &str = "^/[-A-Za-z0-9._~!$&'()*+,;=:@%/?]*$";

/// The path that pods are asked at without another word.
pub const DEFAULT_PATH: &str = "/upgradeable";

fn default_path() -> String {
    DEFAULT_PATH.to_owned()
}

fn default_prepare_path() -> String {
    "/prepare-upgrade".to_owned()
}

fn default_prepare_timeout() -> Period {
    Period::known("30m", Duration::from_secs(1800))
}

fn default_timeout() -> Period {
    Period::known("2s", Duration::from_secs(2))
}

fn default_period() -> Period {
    Period::known("5s", Duration::from_secs(5))
}

fn default_broken_after() -> Period {
    Period::known("5m", Duration::from_secs(300))
}

fn default_successes() -> u32 {
    1
}

fn default_status() -> Vec<u16> {
    vec![200]
}

fn default_equals() -> serde_json::Value {
    serde_json::Value::Bool(true)
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

fn port_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "The number or name of a port that the pods declare; absent: the only one that the first container declares.",
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self >= 1 && self <= 65535 : self.matches('^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$')",
            "message": "gates.app.port: a number from 1 to 65535, or the name of a port"
        }]
    })
}

fn any_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "What the field must be equal to: any JSON value, such as true or a text.",
        "x-kubernetes-preserve-unknown-fields": true
    })
}

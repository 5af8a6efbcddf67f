//! `gates.app`: how the running pods are asked whether they may be terminated.

use std::{fmt, time::Duration};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigKind;
use crate::api::Period;

/// Asks the running pods whether they may be terminated.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("!has(self.tls) || self.scheme == 'HTTPS'").message("gates.app.tls: only with scheme: HTTPS"),
)]
#[serde(rename_all = "camelCase")]
pub struct AppGate {
    /// The path of the GET request to each pod.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 256), pattern(PATH))]
    pub path: String,
    /// The number or name of a port that the pods declare. If absent, the only port that the first
    /// container of the pod template declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "port_schema")]
    pub port: Option<Port>,
    /// The protocol of the connection to a pod.
    #[serde(default)]
    pub scheme: Scheme,
    /// The timeout of one request.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('10s')").message("gates.app.timeout: from 100ms to 10s"))]
    pub timeout: Period,
    /// The time from the start of one round of requests to the start of the next.
    #[serde(default = "default_period")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('10m')").message("gates.app.period: from 1s to 10m"))]
    pub period: Period,
    /// The number of consecutive rounds in which every pod must answer yes.
    #[serde(default = "default_successes")]
    #[schemars(range(min = 1, max = 10))]
    pub successes: u32,
    /// Which answer means yes.
    #[serde(default)]
    pub open_when: OpenWhen,
    /// Whether all pods must agree before the first is replaced, or each pod before it is replaced
    /// itself.
    #[serde(default)]
    pub scope: Scope,
    /// What it means if a Ready pod gives no usable answer: the connection is refused, the request
    /// times out, or the answer is an error or has another form.
    #[serde(default)]
    pub when_unreachable: Otherwise,
    /// What it means if every pod answers 404, 405 or 501, because the app does not implement the
    /// protocol.
    #[serde(default)]
    pub when_missing: Otherwise,
    /// If no pod has been Ready and none has answered for this long, the app is broken and the gate
    /// opens.
    #[serde(default = "default_broken_after")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("gates.app.brokenAfter: from 1s to 24h"))]
    pub broken_after: Period,
    /// Headers that are sent with every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers: Vec<Header>,
    /// How the pods' certificates are verified. Only with `scheme: HTTPS`. If absent, they are not
    /// verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Asks the pods to take no new work before they are asked whether they may be terminated. If
    /// absent, they are not asked to.
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

/// The protocol of the connection to a pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Not encrypted.
    #[default]
    Http,
    /// Encrypted. Without `tls`, certificates are not verified, as in the kubelet's probes.
    Https,
}

/// Which answer means yes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OpenWhen {
    /// The HTTP status codes that can mean yes.
    #[serde(default = "default_status")]
    #[schemars(length(min = 1, max = 8), inner(range(min = 200, max = 599)), extend("x-kubernetes-list-type" = "set"))]
    pub status: Vec<u16>,
    /// A JSON pointer (RFC 6901) into the answer, such as `/isUpgradeable`. If absent, the status
    /// code decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), pattern("^(/([^/~]|~[01])*)+$"))]
    pub field: Option<String>,
    /// The value that the field must have to mean yes. Any JSON value.
    #[serde(default = "default_equals")]
    #[schemars(schema_with = "any_schema")]
    pub equals: serde_json::Value,
}

impl Default for OpenWhen {
    fn default() -> Self {
        Self {
            status: default_status(),
            field: Some("/isUpgradeable".to_owned()),
            equals: default_equals(),
        }
    }
}

/// Which pods must agree before which is terminated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All pods must agree before the first is terminated.
    #[default]
    Workload,
    /// Each pod is asked before its own turn. Only for StatefulSets.
    Pod,
}

/// What a missing answer means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// It counts as no. The change stays held.
    #[default]
    Hold,
    /// It counts as yes.
    Open,
}

/// A header. Its value is given here, or read from a Secret with the label
/// `lockkeeper.dev/gate-credential: "true"`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.secretKeyRef)").message("gates.app.headers: each has exactly one of value and secretKeyRef"),
    validation = Rule::new("!(self.name.lowerAscii() in ['host', 'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'expect']) && !self.name.lowerAscii().startsWith('lockkeeper-')").message("gates.app.headers: Host, hop-by-hop headers and Lockkeeper's own are set by Lockkeeper"),
)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The name of the header.
    #[schemars(length(min = 1, max = 64), pattern("^[-A-Za-z0-9!#$%&'*+.^_`|~]+$"))]
    pub name: String,
    /// The value of the header. Do not put a secret here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), pattern("^[ -~]*$"))]
    pub value: Option<String>,
    /// The key of a Secret that holds the value. It is sent only to pods that `tls` verifies,
    /// unless the chart allows more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// A key of a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The name of the Secret, in the policy's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How the pods' certificates are verified.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The ConfigMap or Secret with the certificates of the authorities (CAs) that sign the pods'
    /// certificates.
    pub ca_ref: CaRef,
    /// The name that the certificates are issued for. If absent, the pod's IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// A key with certificates in PEM.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// The kind of the object, which is in the policy's namespace.
    pub kind: ConfigKind,
    /// The name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in the object.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How pods are asked to take no new work.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Prepare {
    /// The path for POST, which asks a pod to take no new work, and for DELETE, which withdraws
    /// that.
    #[serde(default = "default_prepare_path")]
    #[schemars(length(min = 1, max = 256), pattern(PATH))]
    pub path: String,
    /// If the gate has not opened after this time, the pods may take work again for the same time.
    /// Then they are asked again.
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
        "description": "The number or name of a port that the pods declare. If absent, the only port that the first container of the pod template declares.",
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self >= 1 && self <= 65535 : self.matches('^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$')",
            "message": "gates.app.port: a number from 1 to 65535, or the name of a port"
        }]
    })
}

fn any_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "The value that the field must have to mean yes. Any JSON value, such as true or a string.",
        "x-kubernetes-preserve-unknown-fields": true
    })
}

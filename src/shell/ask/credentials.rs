//! What is sent along with requests to pods, and how the pods are verified. It is read when it is
//! needed, and not kept.

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use super::http::Channel;
use crate::{
    api::{AppGate, CaRef, ConfigKind, Header, KeyRef, Scheme, marks},
    core::reach::Feature,
    marks::is_true,
    shell::errors::within,
};

/// Headers, and how the pods are talked to.
pub struct Credentials {
    /// The headers of the policy.
    pub headers: HeaderMap,
    /// How the pods are talked to.
    pub channel: Channel,
    /// The values of the headers, which must not be seen in anything that an app answers.
    pub hidden: Vec<String>,
}

/// What may be read and sent at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// ConfigMaps and Secrets may be read.
    pub read: bool,
    /// Headers from Secrets may go to pods that are not verified.
    pub insecure: bool,
}

impl Credentials {
    /// Reads what a gate needs.
    ///
    /// # Errors
    /// Says in a sentence what cannot be had, and never what is in a Secret.
    pub async fn read(
        client: &Client,
        namespace: &str,
        gate: &AppGate,
        allowed: Allowed,
    ) -> Result<Self, String> {
        if gate.needs_credentials() && !allowed.read {
            return Err(format!(
                "what gates.app.tls and gates.app.headers name is not read: {}",
                Feature::GateCredentials
            ));
        }
        let channel = match (gate.scheme, &gate.tls) {
            (Scheme::Http, _) => Channel::Plain,
            (Scheme::Https, None) => Channel::unverified()?,
            (Scheme::Https, Some(tls)) => {
                let authorities = authorities(client, namespace, &tls.ca_ref).await?;
                let CaRef { kind, name, key } = &tls.ca_ref;
                Channel::verified(&authorities, tls.server_name.as_deref()).map_err(|why| {
                    format!(
                        "the pods cannot be verified by {kind}/{name}[{key}] (gates.app.tls): {why}"
                    )
                })?
            }
        };
        let verified = gate.scheme == Scheme::Https && gate.tls.is_some();
        let mut read = Self { headers: HeaderMap::new(), channel, hidden: Vec::new() };
        for header in &gate.headers {
            read.add(client, namespace, header, verified || allowed.insecure).await?;
        }
        Ok(read)
    }

    async fn add(
        &mut self,
        client: &Client,
        namespace: &str,
        header: &Header,
        secrets: bool,
    ) -> Result<(), String> {
        let name = HeaderName::try_from(&header.name)
            .map_err(|_| format!("{:?} is no name of a header (gates.app.headers)", header.name))?;
        let value = match (&header.value, &header.secret_key_ref) {
            (Some(value), _) => value.clone(),
            (None, None) => String::new(),
            (None, Some(_)) if !secrets => {
                return Err(format!(
                    "the header {name} comes from a Secret, and is sent only to pods that are verified: set gates.app.tls with scheme: HTTPS \
                     (or, for the whole cluster, the chart's settings.insecureGateHeaders)"
                ));
            }
            (None, Some(reference)) => credential(client, namespace, &name, reference).await?,
        };
        let mut sent = HeaderValue::try_from(&value).map_err(|_| {
            format!("the value of the header {name} has characters that no header may have")
        })?;
        sent.set_sensitive(true);
        self.headers.append(name, sent);
        // An app may repeat it without the word before it, such as Bearer, and never sees the
        // blanks around it.
        let value = value.trim();
        self.hidden.extend(
            value.split_once(char::is_whitespace).map(|(_, token)| token.trim().to_owned()),
        );
        self.hidden.push(value.to_owned());
        // The longest first, or its parts would be left.
        self.hidden.sort_by_key(|one| std::cmp::Reverse(one.len()));
        Ok(())
    }
}

async fn credential(
    client: &Client,
    namespace: &str,
    header: &HeaderName,
    KeyRef { name, key }: &KeyRef,
) -> Result<String, String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let cannot = |why: String| format!("the header {header} cannot be sent: {why}");
    let secret = within(secrets.get_opt(name)).await.map_err(|error| cannot(error.sentence()))?;
    let secret = secret.ok_or_else(|| cannot(format!("there is no Secret {name}")))?;
    if !is_true(secret.metadata.labels.as_ref(), marks::GATE_CREDENTIAL) {
        return Err(cannot(format!(
            "Secret {name} does not bear the label {}: \"true\", by which its owner agrees",
            marks::GATE_CREDENTIAL
        )));
    }
    let value = secret
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .ok_or_else(|| cannot(format!("Secret {name} has no key {key}")))?;
    let text = String::from_utf8(value.0.clone())
        .map_err(|_| cannot(format!("Secret {name}[{key}] is no text")))?;
    // Files and heredocs end with one.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn authorities(
    client: &Client,
    namespace: &str,
    CaRef { kind, name, key }: &CaRef,
) -> Result<Vec<u8>, String> {
    let cannot = |why: String| format!("the pods cannot be verified (gates.app.tls): {why}");
    let found = match kind {
        ConfigKind::ConfigMap => {
            let all: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let one = within(all.get_opt(name)).await.map_err(|error| cannot(error.sentence()))?;
            one.map(|one| {
                one.data.and_then(|data| data.get(key).map(|text| text.clone().into_bytes()))
            })
        }
        ConfigKind::Secret => {
            let all: Api<Secret> = Api::namespaced(client.clone(), namespace);
            let one = within(all.get_opt(name)).await.map_err(|error| cannot(error.sentence()))?;
            one.map(|one| one.data.and_then(|data| data.get(key).map(|bytes| bytes.0.clone())))
        }
    };
    found
        .ok_or_else(|| cannot(format!("there is no {kind} {name}")))?
        .ok_or_else(|| cannot(format!("{kind} {name} has no key {key}")))
}

//! The Secrets that hold the authority and the certificate of the webhook.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::watch, time::sleep};
use tokio_rustls::rustls::ServerConfig;

use super::certificate::Pair;
use crate::{
    api::marks,
    shell::{
        clock,
        errors::{Error, within},
    },
};

/// Holds the authority. It is created once, and never replaced.
pub const AUTHORITY_SECRET: &str = "lockkeeper-webhook-ca";
/// Holds the certificate that the authority signed.
pub const LEAF_SECRET: &str = "lockkeeper-webhook-tls";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// In the Secret of the certificate: the authority that signed it.
const SIGNED_BY: &str = "ca.crt";

/// Between two looks at the Secret of the certificate.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The same, until there is one.
const RETRY: Duration = Duration::from_secs(2);
/// How often others may be quicker.
const TRIES: usize = 4;

/// What the server proves itself with; none before there is a certificate.
pub type Proof = watch::Receiver<Option<Arc<ServerConfig>>>;

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The operator's namespace.
    pub namespace: String,
    /// The Secret of the certificate.
    pub secret: String,
    /// The names by which the API server calls the webhook. Empty: somebody else makes the
    /// certificate and renews it.
    pub names: Vec<String>,
}

/// The Secrets of a namespace.
pub struct Secrets {
    api: Api<Secret>,
    source: Source,
}

impl Secrets {
    /// Those of a source.
    pub fn new(client: Client, source: Source) -> Self {
        Self { api: Api::namespaced(client, &source.namespace), source }
    }

    /// The authority; made where there is none.
    ///
    /// # Errors
    /// When its Secret can be neither read nor created, or holds none.
    pub async fn authority(&self, now: Timestamp) -> Result<Pair, String> {
        if let Some(secret) = self.get(AUTHORITY_SECRET).await? {
            return self.pair(&secret);
        }
        let authority = Pair::authority(now)?;
        match self.create(AUTHORITY_SECRET, &authority, &authority.certificate).await {
            Ok(()) => Ok(authority),
            Err(error) if error.is_conflict() => match self.get(AUTHORITY_SECRET).await? {
                Some(secret) => self.pair(&secret),
                None => Err(format!("{} comes and goes", self.named(AUTHORITY_SECRET))),
            },
            Err(error) => Err(self.cannot("create", AUTHORITY_SECRET, &error)),
        }
    }

    /// A certificate that is good for a while, by this authority; made, or made again, where there
    /// is none.
    ///
    /// # Errors
    /// When its Secret can be neither read nor written.
    pub async fn leaf_of(&self, authority: &Pair, now: Timestamp) -> Result<Pair, String> {
        let Source { secret: name, names, .. } = &self.source;
        for _ in 0..TRIES {
            let found = self.get(name).await?;
            let pair = found.as_ref().and_then(|secret| self.pair(secret).ok());
            if let Some(pair) = pair.filter(|it| !it.is_due(&authority.certificate, names, now)) {
                return Ok(pair);
            }
            let signed = authority.sign(names, now)?;
            let written = match found {
                Some(found) => self.replace(found, &signed, &authority.certificate).await,
                None => self.create(name, &signed, &authority.certificate).await,
            };
            match written {
                Ok(()) => {
                    tracing::info!(secret = %self.named(name), "a certificate of the webhook was signed");
                    return Ok(signed);
                }
                // Another replica was quicker.
                Err(error) if error.is_obsolete() => {}
                Err(error) => return Err(self.cannot("write", name, &error)),
            }
        }
        Err(format!("{} changes all the time", self.named(name)))
    }

    /// Follows the certificate, and renews it where that is ours to do. It never ends.
    pub async fn follow(self, told: watch::Sender<Option<Arc<ServerConfig>>>) {
        let (mut shown, mut complaint) = (None, None);
        loop {
            match self.look(&mut shown, &told).await {
                Ok(()) => complaint = None,
                Err(why) if complaint.as_ref() == Some(&why) => {}
                Err(why) => {
                    tracing::warn!(error = %why, "the certificate of the webhook is not as it should be; it is tried again");
                    complaint = Some(why);
                }
            }
            sleep(if shown.is_some() { LOOK_EVERY } else { RETRY }).await;
        }
    }

    /// Shows what is in the Secret, and then sees to it that it is good for a while.
    async fn look(
        &self,
        shown: &mut Option<Pair>,
        told: &watch::Sender<Option<Arc<ServerConfig>>>,
    ) -> Result<(), String> {
        let Source { secret: name, names, .. } = &self.source;
        let now = clock::now();
        let found = self.get(name).await?;
        let signed_by = found.as_ref().map(|secret| text(secret, SIGNED_BY)).unwrap_or_default();
        let pair = found.as_ref().map(|secret| self.pair(secret)).transpose();
        if let Ok(Some(pair)) = &pair {
            self.show(pair, shown, told)?;
        }
        if names.is_empty() {
            return match pair? {
                Some(_) => Ok(()),
                None => Err(format!("there is no {}", self.named(name))),
            };
        }
        if matches!(&pair, Ok(Some(pair)) if !pair.is_due(&signed_by, names, now)) {
            return Ok(());
        }
        // The webhook's configuration knows the authority that was there, and not another one.
        let authority = match self.get(AUTHORITY_SECRET).await? {
            Some(secret) => self.pair(&secret)?,
            None if shown.is_none() && found.is_none() => self.authority(now).await?,
            None => {
                return Err(format!(
                    "{} is gone, so no certificate can be signed: helm upgrade makes another, and makes it known to the API server",
                    self.named(AUTHORITY_SECRET)
                ));
            }
        };
        let signed = self.leaf_of(&authority, now).await?;
        self.show(&signed, shown, told)
    }

    fn show(
        &self,
        pair: &Pair,
        shown: &mut Option<Pair>,
        told: &watch::Sender<Option<Arc<ServerConfig>>>,
    ) -> Result<(), String> {
        if shown.as_ref() == Some(pair) {
            return Ok(());
        }
        let config = pair
            .configuration()
            .map_err(|why| format!("{} cannot be used: {why}", self.named(&self.source.secret)))?;
        told.send_replace(Some(config));
        let first = shown.replace(pair.clone()).is_none();
        tracing::info!(secret = %self.named(&self.source.secret), first, "the webhook shows this certificate from now on");
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, String> {
        within(self.api.get_opt(name)).await.map_err(|error| self.cannot("read", name, &error))
    }

    async fn create(&self, name: &str, pair: &Pair, signed_by: &str) -> Result<(), Error> {
        let labels =
            BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "lockkeeper".to_owned())]);
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let secret = filled(Secret { metadata, ..Secret::default() }, pair, signed_by);
        within(self.api.create(&parameters(), &secret)).await.map(drop)
    }

    async fn replace(&self, found: Secret, pair: &Pair, signed_by: &str) -> Result<(), Error> {
        // With the version that was read, so that it replaces nothing else.
        let secret = filled(found, pair, signed_by);
        within(self.api.replace(&self.source.secret, &parameters(), &secret)).await.map(drop)
    }

    fn pair(&self, secret: &Secret) -> Result<Pair, String> {
        let (certificate, key) = (text(secret, CERTIFICATE), text(secret, KEY));
        if certificate.is_empty() || key.is_empty() {
            let name = secret.metadata.name.as_deref().unwrap_or_default();
            return Err(format!("{} has no {CERTIFICATE} or no {KEY}", self.named(name)));
        }
        Ok(Pair { certificate, key })
    }

    fn named(&self, name: &str) -> String {
        format!("Secret {}/{name}", self.source.namespace)
    }

    fn cannot(&self, what: &str, name: &str, error: &Error) -> String {
        format!("cannot {what} {}: {}", self.named(name), error.sentence())
    }
}

fn text(secret: &Secret, key: &str) -> String {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
}

fn filled(secret: Secret, pair: &Pair, signed_by: &str) -> Secret {
    let fields = [(CERTIFICATE, &*pair.certificate), (KEY, &*pair.key), (SIGNED_BY, signed_by)];
    let data = fields.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())));
    Secret {
        data: Some(BTreeMap::from(data)),
        type_: Some(secret.type_.unwrap_or_else(|| "kubernetes.io/tls".to_owned())),
        ..secret
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

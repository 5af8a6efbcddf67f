//! What is kept of ConfigMaps and Secrets: digests, and never a value.

use std::marker::PhantomData;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, de::DeserializeOwned};

use super::Watched;
use crate::{
    api::{ConfigKind, marks},
    core::{
        digest::{Digest, Key},
        observed::{ConfigId, Content, Version},
    },
    marks::is_true,
    shell::digest::{Base64, Digests, Text},
    workload::{created, resource_version},
};

/// A kind of object that holds config: by what is read of it.
#[derive(Clone, Debug)]
pub struct Configs<B>(PhantomData<B>);

/// `v1` ConfigMap.
pub type ConfigMaps = Configs<ConfigMapBody>;
/// `v1` Secret.
pub type Secrets = Configs<SecretBody>;

/// What is read of a kind that holds config.
pub trait ConfigBody: DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The kind.
    const KIND: ConfigKind;

    /// The digests of its values, by key.
    fn digests(self) -> Vec<(Box<str>, Digest)>;
}

impl<B: ConfigBody> Watched for Configs<B> {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = B::KIND.as_str();
    const PLURAL: &'static str = B::KIND.plural();
    type Body = B;
    type View = ConfigView;

    fn view(meta: &ObjectMeta, body: B) -> ConfigView {
        ConfigView::new(B::KIND, meta, body.digests())
    }
}

/// What is read of a ConfigMap.
#[derive(Deserialize, Clone, Debug)]
pub struct ConfigMapBody {
    #[serde(default)]
    data: Digests<Text>,
    #[serde(default, rename = "binaryData")]
    binary_data: Digests<Base64>,
}

impl ConfigBody for ConfigMapBody {
    const KIND: ConfigKind = ConfigKind::ConfigMap;

    fn digests(self) -> Vec<(Box<str>, Digest)> {
        let mut digests = self.data.0;
        digests.extend(self.binary_data.0);
        digests
    }
}

/// What is read of a Secret.
#[derive(Deserialize, Clone, Debug)]
pub struct SecretBody {
    #[serde(default)]
    data: Digests<Base64>,
}

impl ConfigBody for SecretBody {
    const KIND: ConfigKind = ConfigKind::Secret;

    fn digests(self) -> Vec<(Box<str>, Digest)> {
        self.data.0
    }
}

/// A ConfigMap or Secret as it is now. Its digests are bound to their place by
/// [`ConfigView::bind`].
pub struct ConfigView {
    /// Kind and name.
    pub id: ConfigId,
    /// Whether its changes roll nothing.
    pub ignored: bool,
    written: Timestamp,
    resource_version: u64,
    digests: Vec<(Box<str>, Digest)>,
}

impl ConfigView {
    fn new(kind: ConfigKind, meta: &ObjectMeta, digests: Vec<(Box<str>, Digest)>) -> Self {
        let writes = meta.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
        Self {
            id: ConfigId { kind, name: meta.name.as_deref().unwrap_or_default().into() },
            ignored: is_true(meta.annotations.as_ref(), marks::IGNORE),
            written: writes.map(|time| time.0).chain([created(meta)]).max().unwrap_or_default(),
            resource_version: resource_version(meta),
            digests,
        }
    }

    /// The version of the object that this is; `seen` is when it was seen on a live watch.
    pub fn bind(self, namespace: &str, key: &Key, seen: Option<Timestamp>) -> Version {
        let ConfigId { kind, name } = self.id;
        let mut digests = self.digests;
        for (field, digest) in &mut digests {
            *digest = key.bound(kind, namespace, &name, field, *digest);
        }
        digests.sort();
        Version {
            resource_version: self.resource_version,
            written: self.written,
            seen,
            content: Some(Content::from(digests)),
        }
    }

    /// The version after its deletion, which the watch tells with the version of the deletion.
    pub fn deleted(&self, now: Timestamp) -> Version {
        Version {
            resource_version: self.resource_version,
            written: now,
            seen: Some(now),
            content: None,
        }
    }
}

//! ConfigMaps and Secrets, digested while they are read from the wire, and the key with which that
//! is done.
//!
//! A value lives only as long as the parser needs it; what is kept is its keyed digest.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::OnceLock};

use base64::Engine;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rand::TryRng;
use serde::{Deserialize, Deserializer, de};

use super::errors::{Error, within};
use crate::core::digest::{Digest, KEY_LENGTH, Key};

/// The Secret in the operator's namespace that holds the digest key.
pub const KEY_SECRET: &str = "lockkeeper-digest-key";
const KEY_FIELD: &str = "key";

/// Deserializing takes no context, so the one key of the process stands here.
static KEY: OnceLock<Key> = OnceLock::new();

/// Sets the key of the process, once, before anything is read; returns the one that counts.
pub fn set_key(key: Key) -> &'static Key {
    KEY.get_or_init(|| key)
}

/// Reads the digest key from its Secret, or makes it where there is none. It is never replaced:
/// with another key every record would have to be adopted again.
///
/// # Errors
/// When the Secret can be neither read nor created, or holds no key.
pub async fn load_key(client: &Client, namespace: &str) -> Result<Key, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if let Some(secret) = within(secrets.get_opt(KEY_SECRET)).await? {
        return key_of(secret, namespace);
    }
    let mut bytes = [0; KEY_LENGTH];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Error::Entropy(error.to_string()))?;
    let labels =
        BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "lockkeeper".to_owned())]);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(KEY_SECRET.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY_FIELD.to_owned(), ByteString(bytes.to_vec()))])),
        type_: Some("lockkeeper.dev/digest-key".to_owned()),
        ..Secret::default()
    };
    match within(secrets.create(
        &PostParams { field_manager: Some("lockkeeper".to_owned()), ..PostParams::default() },
        &secret,
    ))
    .await
    {
        Ok(secret) => {
            tracing::warn!(secret = %format!("{namespace}/{KEY_SECRET}"), "there was no digest key, so one was created: workloads are adopted again, and none is rolled");
            key_of(secret, namespace)
        }
        Err(error) if error.is_conflict() => {
            within(secrets.get(KEY_SECRET)).await.and_then(|secret| key_of(secret, namespace))
        }
        Err(error) => Err(error),
    }
}

/// Reads the digest key. Where there is none, none is made.
///
/// # Errors
/// When the Secret cannot be read, or holds no key.
pub async fn read_key(client: &Client, namespace: &str) -> Result<Key, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    key_of(within(secrets.get(KEY_SECRET)).await?, namespace)
}

fn key_of(secret: Secret, namespace: &str) -> Result<Key, Error> {
    let bytes = secret.data.and_then(|mut data| data.remove(KEY_FIELD)).unwrap_or_default().0;
    if bytes.len() < KEY_LENGTH {
        return Err(Error::BadKey(format!(
            "Secret {namespace}/{KEY_SECRET} holds no key of {KEY_LENGTH} bytes under {KEY_FIELD:?}: delete it, and a new one is created (workloads are then adopted again, and none is rolled)"
        )));
    }
    Ok(Key::new(&bytes))
}

/// How a field's values are written.
pub trait Encoding: Clone + fmt::Debug + Send + 'static {
    /// Digests a value.
    fn digest(key: &Key, text: &str) -> Option<Digest>;
}

/// As they are: `data` of a ConfigMap.
#[derive(Clone, Debug)]
pub struct Text;

/// In base64: `data` of a Secret, `binaryData` of a ConfigMap.
#[derive(Clone, Debug)]
pub struct Base64;

impl Encoding for Text {
    fn digest(key: &Key, text: &str) -> Option<Digest> {
        Some(key.value(text.as_bytes()))
    }
}

impl Encoding for Base64 {
    fn digest(key: &Key, text: &str) -> Option<Digest> {
        Some(key.value(&base64::engine::general_purpose::STANDARD.decode(text).ok()?))
    }
}

/// Digests of a map's values by key.
#[derive(Clone, Debug)]
pub struct Digests<E>(pub Vec<(Box<str>, Digest)>, PhantomData<E>);

impl<E> Default for Digests<E> {
    fn default() -> Self {
        Self(Vec::new(), PhantomData)
    }
}

struct OneDigest<E>(Option<Digest>, PhantomData<E>);

impl<'de, E: Encoding> Deserialize<'de> for OneDigest<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<E>(PhantomData<E>);
        impl<E: Encoding> de::Visitor<'_> for Visitor<E> {
            type Value = OneDigest<E>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<X: de::Error>(self, text: &str) -> Result<Self::Value, X> {
                Ok(OneDigest(KEY.get().and_then(|key| E::digest(key, text)), PhantomData))
            }

            fn visit_unit<X: de::Error>(self) -> Result<Self::Value, X> {
                self.visit_str("")
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

impl<'de, E: Encoding> Deserialize<'de> for Digests<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<E>(PhantomData<E>);
        impl<'de, E: Encoding> de::Visitor<'de> for Visitor<E> {
            type Value = Digests<E>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_unit<X: de::Error>(self) -> Result<Self::Value, X> {
                Ok(Digests::default())
            }

            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut digests = Digests::default();
                while let Some((key, OneDigest(digest, _))) =
                    map.next_entry::<String, OneDigest<E>>()?
                {
                    digests.0.extend(digest.map(|digest| (key.into_boxed_str(), digest)));
                }
                Ok(digests)
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

//! Objects as lists and watches take them: one that cannot be read does not keep the others of its
//! kind from being read.
//!
//! The text of each object is taken apart from the others first, and then read. Of one that cannot
//! be read, what identifies it is read.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use kube::{Resource, api::DynamicObject};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Value, value::RawValue};
use serde_path_to_error::{Path, Segment};

use super::{Watched, Wire};
use crate::api::UpgradePolicy;

/// Maximum number of characters quoted of a time.
const QUOTED: usize = 40;

/// A type that is read from the text of one object.
pub trait FromText: Resource + Clone + fmt::Debug + Send + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// When something in it is not as it is expected; where, and what.
    fn from_text(text: &str) -> Result<Self, Flaw>;
}

impl<K: Watched> FromText for Wire<K> {
    fn from_text(text: &str) -> Result<Self, Flaw> {
        let metadata = match K::READS_FIELDS_OF_MANAGERS {
            true => read::<Head<ObjectMeta>>(text, K::KIND)?.metadata,
            false => read::<Head<WithoutFields>>(text, K::KIND)?.metadata.into(),
        };
        Ok(Self::new(metadata, read(text, K::KIND)?))
    }
}

impl FromText for UpgradePolicy {
    fn from_text(text: &str) -> Result<Self, Flaw> {
        read(text, "UpgradePolicy")
    }
}

impl FromText for DynamicObject {
    fn from_text(text: &str) -> Result<Self, Flaw> {
        read(text, "")
    }
}

#[derive(Deserialize)]
struct Head<M> {
    #[serde(default)]
    metadata: M,
}

/// The metadata that is used of most kinds. The fields that each manager has written, which are most
/// of the text of a small object, are skipped.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WithoutFields {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    managed_fields: Option<Vec<Manager>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Manager {
    manager: Option<String>,
    operation: Option<String>,
    subresource: Option<String>,
    time: Option<Time>,
}

impl From<WithoutFields> for ObjectMeta {
    fn from(read: WithoutFields) -> Self {
        let entry = |Manager { manager, operation, subresource, time }| ManagedFieldsEntry {
            manager,
            operation,
            subresource,
            time,
            ..ManagedFieldsEntry::default()
        };
        Self {
            annotations: read.annotations,
            creation_timestamp: read.creation_timestamp,
            deletion_timestamp: read.deletion_timestamp,
            generation: read.generation,
            labels: read.labels,
            managed_fields: read.managed_fields.map(|all| all.into_iter().map(entry).collect()),
            name: read.name,
            namespace: read.namespace,
            owner_references: read.owner_references,
            resource_version: read.resource_version,
            uid: read.uid,
            ..Self::default()
        }
    }
}

/// What is wrong with an object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub path: String,
    /// Where and what, in words. Never a value from a ConfigMap or Secret.
    pub sentence: String,
}

/// An object, or one that cannot be read.
#[derive(Clone)]
pub struct Lenient<T>(Result<T, Box<Unreadable>>);

/// An object that cannot be read.
#[derive(Clone)]
pub struct Unreadable {
    /// What can be read of its metadata.
    pub metadata: ObjectMeta,
    /// What is wrong with it.
    pub flaw: Flaw,
    text: Box<RawValue>,
}

impl<T> Lenient<T> {
    /// The object.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(self) -> Result<T, Box<Unreadable>> {
        self.0
    }
}

impl Unreadable {
    /// The object as far as it can be read: what cannot is as if it were not there. None without
    /// what identifies it.
    pub fn rest<K: Watched>(&self) -> Option<Wire<K>> {
        let there = |field: &Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
        let ObjectMeta { name, uid, resource_version, .. } = &self.metadata;
        if !there(name) || !there(uid) || !there(resource_version) {
            return None;
        }
        let body =
            serde_json::from_str(self.text.get()).or_else(|_| serde_json::from_str("{}")).ok()?;
        Some(Wire::new(self.metadata.clone(), body))
    }
}

impl<T> From<T> for Lenient<T> {
    fn from(object: T) -> Self {
        Self(Ok(object))
    }
}

/// Without the text, which may be that of a Secret.
impl<T> fmt::Debug for Lenient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_ok() { "an object" } else { "an object that cannot be read" })
    }
}

impl<'de, T: FromText> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(OrBuffered(deserializer))?;
        Ok(Self(T::from_text(text.get()).map_err(|flaw| {
            Box::new(Unreadable { metadata: readable_metadata(text.get()), flaw, text })
        })))
    }
}

/// Reads a raw value also where its text is not at hand: from an event of a watch that names the
/// object before it says what happened to it.
struct OrBuffered<T>(T);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for OrBuffered<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, OrBuffered((name, visitor)))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map
        struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OrBuffered<(&'static str, V)> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.1.visit_map(map)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let (name, visitor) = self.0;
        let text = Value::deserialize(deserializer)?;
        text.deserialize_newtype_struct(name, visitor)
            .map_err(|_| D::Error::custom("an object that cannot be buffered"))
    }
}

impl<T: FromText> Resource for Lenient<T> {
    type DynamicType = T::DynamicType;
    type Scope = T::Scope;

    fn kind(of: &T::DynamicType) -> Cow<'_, str> {
        T::kind(of)
    }

    fn group(of: &T::DynamicType) -> Cow<'_, str> {
        T::group(of)
    }

    fn version(of: &T::DynamicType) -> Cow<'_, str> {
        T::version(of)
    }

    fn plural(of: &T::DynamicType) -> Cow<'_, str> {
        T::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(unreadable) => &mut unreadable.metadata,
        }
    }
}

fn read<T: DeserializeOwned>(text: &str, kind: &str) -> Result<T, Flaw> {
    // Only of what cannot be read is it worth knowing where.
    serde_json::from_str(text).map_err(|_| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(error) => flaw(text, error.path(), kind),
            Ok(_) => Flaw {
                path: String::new(),
                sentence: "it is not as Lockkeeper expects it".to_owned(),
            },
        }
    })
}

/// Says where and what. What the parser says may quote a value, so it is never used.
fn flaw(text: &str, path: &Path, kind: &str) -> Flaw {
    let segments: Vec<_> = path.iter().collect();
    let in_metadata = matches!(segments.first(), Some(Segment::Map { key }) if key == "metadata");
    let secret = ["ConfigMap", "Secret"].contains(&kind);
    if secret && !in_metadata {
        return Flaw {
            path: String::new(),
            sentence: "its data is not as Lockkeeper expects it".to_owned(),
        };
    }
    let mut value = &serde_json::from_str::<Value>(text).unwrap_or_default();
    for segment in &segments {
        value = match segment {
            Segment::Seq { index } => &value[*index],
            Segment::Map { key } => &value[key],
            Segment::Enum { .. } | Segment::Unknown => value,
        };
    }
    let path = path.to_string();
    let what = match value {
        Value::String(time) if in_metadata && is_time(&segments) => {
            let quoted = if secret {
                String::new()
            } else {
                format!("{:?}, ", time.chars().take(QUOTED).collect::<String>())
            };
            format!("{quoted}a time outside of the years that Lockkeeper can read (0000 to 9999)")
        }
        Value::Null => "null, and Lockkeeper expects something else there".to_owned(),
        Value::Bool(_) => "true or false, and Lockkeeper expects something else there".to_owned(),
        Value::Number(_) => "a number that Lockkeeper cannot use there".to_owned(),
        Value::String(_) => "a text that Lockkeeper cannot use there".to_owned(),
        Value::Array(_) => "a list, and Lockkeeper expects something else there".to_owned(),
        Value::Object(_) => {
            "an object that lacks something, or Lockkeeper expects something else there".to_owned()
        }
    };
    Flaw { sentence: format!("{path} is {what}"), path }
}

fn is_time(segments: &[&Segment]) -> bool {
    matches!(segments.last(), Some(Segment::Map { key }) if key == "time" || key.ends_with("Timestamp"))
}

/// The fields of the metadata that can be read, each on its own.
fn readable_metadata(text: &str) -> ObjectMeta {
    #[derive(Deserialize)]
    struct Fields {
        metadata: BTreeMap<String, Box<RawValue>>,
    }
    let fields =
        serde_json::from_str::<Fields>(text).map(|fields| fields.metadata).unwrap_or_default();
    let one =
        |(name, value): (String, Box<RawValue>)| format!("{}:{}", Value::String(name), value.get());
    let readable = fields
        .into_iter()
        .map(one)
        .filter(|field| serde_json::from_str::<ObjectMeta>(&format!("{{{field}}}")).is_ok());
    serde_json::from_str(&format!("{{{}}}", readable.collect::<Vec<_>>().join(",")))
        .unwrap_or_default()
}

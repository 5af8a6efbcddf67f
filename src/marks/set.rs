//! All marks of one kind of object: read once, compared, and written as the difference.

use std::borrow::Cow;

use serde_json::Value;

use super::mark::Field;

/// What is to be done to an annotation: it is set to this text, or removed.
pub type Edit = (&'static str, Option<String>);

/// The annotations of ours on one kind of object, each a field that its key finds.
pub trait MarkSet: Clone + Default + PartialEq {
    /// The keys of all there are.
    fn keys() -> impl Iterator<Item = &'static str>;

    /// The one of this key; none if it is not of this kind of object.
    fn field(&self, key: &str) -> Option<&dyn Field>;

    /// The one of this key, to be changed.
    fn field_mut(&mut self, key: &str) -> Option<&mut dyn Field>;

    /// Reads them from the annotations of an object. Those of others are left out.
    fn read<K: AsRef<str>, V: AsRef<str>>(all: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut found = Self::default();
        for (key, text) in all {
            if let Some(field) = found.field_mut(key.as_ref()) {
                field.read(text.as_ref());
            }
        }
        found
    }

    /// Reads them from the annotations of an object as it is.
    fn of(object: &Value) -> Self {
        let all = object["metadata"]["annotations"].as_object();
        Self::read(all.into_iter().flatten().filter_map(|(key, text)| Some((key, text.as_str()?))))
    }

    /// As they are written, by their keys. Garbage is left out.
    fn write(&self) -> Vec<(&'static str, String)> {
        let text = |key| Some((key, self.text(key)?.into_owned()));
        Self::keys().filter_map(text).collect()
    }

    /// Whether this annotation is there, be it garbage.
    fn stands(&self, key: &str) -> bool {
        self.field(key).is_some_and(Field::stands)
    }

    /// What this annotation says, as it is written.
    fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.field(key)?.text()
    }

    /// How many bytes this annotation takes, its key aside.
    fn size(&self, key: &str) -> usize {
        self.field(key).map_or(0, Field::size)
    }

    /// Takes over what an annotation would say; none if it is to go.
    fn set(&mut self, key: &str, text: Option<&str>) {
        match (self.field_mut(key), text) {
            (Some(field), Some(text)) => field.read(text),
            (Some(field), None) => field.clear(),
            (None, _) => {}
        }
    }

    /// What is to be written so that these become those. What says the same stays as it is.
    fn diff(&self, wanted: &Self) -> Vec<Edit> {
        if self == wanted {
            return Vec::new();
        }
        let edit = |key| {
            let (now, then) = (self.field(key)?, wanted.field(key)?);
            if now.stands() == then.stands() && now.text() == then.text() {
                return None;
            }
            Some((key, then.text().map(Cow::into_owned)))
        };
        Self::keys().filter_map(edit).collect()
    }
}

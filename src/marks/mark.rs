//! One mark of an object: absent, known, or garbage.

use std::{borrow::Cow, fmt, sync::Arc};

/// What an annotation says. Garbage says nothing, but it is there: to remove it is an edit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mark<T> {
    /// It is not there.
    #[default]
    Absent,
    /// It is there, and says this.
    Known(T),
    /// It is there and takes this many bytes, but cannot be read.
    Garbage(u32),
}

impl<T> Mark<T> {
    /// What it says.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Garbage(_) => None,
        }
    }

    /// Whether it is there, be it garbage.
    pub fn stands(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl<T: Text> Mark<T> {
    /// What a text says.
    pub fn parse(text: &str) -> Self {
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        T::parse(text).map_or(Self::Garbage(size), Self::Known)
    }
}

impl<T> From<Option<T>> for Mark<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Known)
    }
}

/// What a mark says, as it is written. Reading what was written gives the same.
pub trait Text: Sized + fmt::Display {
    /// Reads it; none of garbage, which is what the admission policies take for none.
    fn parse(text: &str) -> Option<Self>;
}

impl<T: Text> Text for Box<T> {
    fn parse(text: &str) -> Option<Self> {
        T::parse(text).map(Self::new)
    }
}

impl<T: Text> Text for Arc<T> {
    fn parse(text: &str) -> Option<Self> {
        T::parse(text).map(Self::new)
    }
}

/// A field of a [`MarkSet`](super::MarkSet), whatever it says.
pub trait Field {
    /// Takes over what stands on an object.
    fn read(&mut self, text: &str);
    /// Is no longer there.
    fn clear(&mut self);
    /// Whether it is there, be it garbage.
    fn stands(&self) -> bool;
    /// What it says, as it is written.
    fn text(&self) -> Option<Cow<'_, str>>;
    /// How many bytes its text takes.
    fn size(&self) -> usize;
}

impl<T: Text> Field for Mark<T> {
    fn read(&mut self, text: &str) {
        *self = Self::parse(text);
    }

    fn clear(&mut self) {
        *self = Self::Absent;
    }

    fn stands(&self) -> bool {
        self.stands()
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        self.get().map(|value| Cow::Owned(value.to_string()))
    }

    fn size(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Known(value) => value.to_string().len(),
            Self::Garbage(size) => *size as usize,
        }
    }
}

/// What is a text to its reader, such as the digests of config.
impl Field for Option<Box<str>> {
    fn read(&mut self, text: &str) {
        *self = Some(text.into());
    }

    fn clear(&mut self) {
        *self = None;
    }

    fn stands(&self) -> bool {
        self.is_some()
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        self.as_deref().map(Cow::Borrowed)
    }

    fn size(&self) -> usize {
        self.as_deref().map_or(0, str::len)
    }
}

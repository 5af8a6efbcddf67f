//! Since when a change waits: the annotation `lockkeeper.dev/hold-since`.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::{ChangeId, mark::Text};

/// Since when a change waits, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// `<time>`: a change of config alone. Its id is in the mark `pending-config`, and is made of
    /// this time.
    Config(Timestamp),
    /// `<id> <time>`, or `<id> <time> <author>`: a held change, or the change for which pods go one
    /// by one; then with its author, if it was held.
    Change {
        /// The change.
        id: ChangeId,
        /// Since when; none where that cannot be read. Admission reads the id alone.
        at: Option<Timestamp>,
        /// Who made it.
        author: Option<Box<str>>,
    },
}

impl Since {
    /// Of a change that has been waiting since then.
    pub fn of(id: ChangeId, at: Timestamp) -> Self {
        Self::Change { id, at: Some(at), author: None }
    }

    /// Since when it waits.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Config(at) => Some(*at),
            Self::Change { at, .. } => *at,
        }
    }

    /// The change that it names.
    pub fn id(&self) -> Option<&ChangeId> {
        match self {
            Self::Config(_) => None,
            Self::Change { id, .. } => Some(id),
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(at) => at.fmt(f),
            Self::Change { id, at, author } => {
                write!(f, "{id} ")?;
                match at {
                    Some(at) => at.fmt(f)?,
                    None => f.write_str("unknown")?,
                }
                author.as_ref().map_or(Ok(()), |author| write!(f, " {author}"))
            }
        }
    }
}

impl Text for Since {
    /// Admission takes the first word for an id if more follows: `^[-0-9a-z]+ .`.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(at) = text.parse() {
            return Some(Self::Config(at));
        }
        let (id, rest) = text.split_once(' ')?;
        let is_id =
            id.bytes().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-');
        if !is_id || rest.is_empty() || rest.starts_with('\n') {
            return None;
        }
        let (at, author) = rest.split_once(' ').map_or((rest, None), |(at, by)| (at, Some(by)));
        let at = at.parse().ok();
        let author = author.filter(|author| !author.is_empty()).map(Into::into);
        Some(Self::Change { id: ChangeId::from_str(id).ok()?, at, author })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn since_when_a_change_waits_has_three_forms() {
        let read = |text: &str| Since::parse(text).unwrap();
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = |id: ChangeId, author: Option<&str>| Since::Change {
            id,
            at: Some(at),
            author: author.map(Into::into),
        };
        assert_eq!(read("2026-01-01T00:00:00Z"), Since::Config(at));
        assert_eq!(read("7 2026-01-01T00:00:00Z"), of(ChangeId::Template(7), None));
        assert_eq!(read("7 2026-01-01T00:00:00Z ann b"), of(ChangeId::Template(7), Some("ann b")));
        let config = ChangeId::Config("0a1b2c3d".into());
        assert_eq!(read("c-0a1b2c3d 2026-01-01T00:00:00Z"), of(config, None));
        let unknown = read("7 yesterday ann");
        assert_eq!((unknown.id(), unknown.at()), (Some(&ChangeId::Template(7)), None));
    }
}

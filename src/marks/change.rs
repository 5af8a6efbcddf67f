//! What names a change: people approve and bypass by it, and pods are asked about it.

use std::{fmt, str::FromStr};

/// The id of a change. Every text but the empty one is one, and is written as it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeId {
    /// A held change of the template: the generation of the write that brought it.
    Template(i64),
    /// A change of config alone: what follows `c-`.
    Config(Box<str>),
    /// A rollout that is stuck on a volume and ends its old pods first: its generation, after
    /// `volume-`.
    Unblock(i64),
    /// A rollout that has no id, by the change that its mark records; and whatever somebody wrote
    /// in place of an id.
    Rollout(Box<str>),
}

/// A text that is no id: the empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoId;

impl ChangeId {
    /// Whether this text is the id.
    pub fn is(&self, text: &str) -> bool {
        text.parse::<Self>().is_ok_and(|id| id == *self)
    }

    /// Whether a held change of a template has such an id: digits.
    pub fn is_of_template(&self) -> bool {
        match self {
            Self::Template(_) => true,
            Self::Rollout(text) => text.bytes().all(|one| one.is_ascii_digit()),
            Self::Config(_) | Self::Unblock(_) => false,
        }
    }
}

const CONFIG: &str = "c-";
const UNBLOCK: &str = "volume-";

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(generation) => generation.fmt(f),
            Self::Config(tag) => write!(f, "{CONFIG}{tag}"),
            Self::Unblock(generation) => write!(f, "{UNBLOCK}{generation}"),
            Self::Rollout(change) => f.write_str(change),
        }
    }
}

impl FromStr for ChangeId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        if text.is_empty() {
            return Err(NoId);
        }
        let number = |text: &str| {
            text.parse::<i64>().ok().filter(|number| *number >= 0 && number.to_string() == text)
        };
        if let Some(generation) = number(text) {
            return Ok(Self::Template(generation));
        }
        if let Some(generation) = text.strip_prefix(UNBLOCK).and_then(number) {
            return Ok(Self::Unblock(generation));
        }
        let is_tag = |tag: &&str| !tag.is_empty() && tag.bytes().all(|one| one.is_ascii_hexdigit());
        Ok(match text.strip_prefix(CONFIG).filter(is_tag) {
            Some(tag) => Self::Config(tag.into()),
            None => Self::Rollout(text.into()),
        })
    }
}

/// What pods are asked about: a change or, where they go one by one, one step of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct About {
    /// The change.
    pub id: ChangeId,
    /// The partition that the next pod goes with.
    pub step: Option<u32>,
}

impl From<ChangeId> for About {
    fn from(id: ChangeId) -> Self {
        Self { id, step: None }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)?;
        self.step.map_or(Ok(()), |step| write!(f, " {step}"))
    }
}

impl FromStr for About {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let step =
            |step: &str| step.parse::<u32>().ok().filter(|number| number.to_string() == step);
        let split = text.rsplit_once(' ').and_then(|(id, last)| Some((id, step(last)?)));
        let (id, step) = split.map_or((text, None), |(id, step)| (id, Some(step)));
        Ok(Self { id: id.parse()?, step })
    }
}

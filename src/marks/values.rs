//! What single marks say.

use std::fmt;

use jiff::Timestamp;

use super::{ChangeId, mark::Text};

/// The partition by which admission holds all pods of a StatefulSet, and the highest there is.
pub const HELD: u32 = i32::MAX as u32;

/// `true`. Everything else is garbage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct True;

impl fmt::Display for True {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true")
    }
}

impl Text for True {
    fn parse(text: &str) -> Option<Self> {
        (text == "true").then_some(Self)
    }
}

/// Who judges the writes of a governed workload, as its label says. Admission leaves a workload to
/// the judge that the label named before the write, so that it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Judge {
    /// `true`: the API server, by the chart's admission policies.
    Policies,
    /// `webhook`: Lockkeeper's webhook.
    Webhook,
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policies => "true",
            Self::Webhook => "webhook",
        })
    }
}

impl Text for Judge {
    fn parse(text: &str) -> Option<Self> {
        [Self::Policies, Self::Webhook].into_iter().find(|judge| judge.to_string() == text)
    }
}

/// `exclusive`: admission makes the strategy of a Deployment `Recreate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exclusive;

impl fmt::Display for Exclusive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("exclusive")
    }
}

impl Text for Exclusive {
    fn parse(text: &str) -> Option<Self> {
        (text == "exclusive").then_some(Self)
    }
}

/// `Offline`: everything of its policy is stopped for its changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offline;

impl fmt::Display for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offline")
    }
}

impl Text for Offline {
    fn parse(text: &str) -> Option<Self> {
        (text == "Offline").then_some(Self)
    }
}

/// `true` or `false`: what a manifest says of `spec.paused`.
impl Text for bool {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The name of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub Box<str>);

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for User {
    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }
}

impl Text for ChangeId {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// `<id> by <user>`: a change that is held, and who made it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The generation of the held write, in digits.
    pub id: ChangeId,
    /// Who made it last.
    pub by: Box<str>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.id, self.by)
    }
}

impl Text for Held {
    /// As admission: `^[0-9]+ by .`.
    fn parse(text: &str) -> Option<Self> {
        let (id, by) = text.split_once(" by ")?;
        let is_user = !by.is_empty() && !by.starts_with('\n');
        (is_user && id.bytes().all(|one| one.is_ascii_digit()))
            .then(|| Some(Self { id: id.parse().ok()?, by: by.into() }))?
    }
}

/// `<id> by <user>`: a change that was let through past its gates, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypassed {
    /// The change.
    pub id: ChangeId,
    /// Whose bypass it was.
    pub by: Box<str>,
}

impl fmt::Display for Bypassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.id, self.by)
    }
}

impl Text for Bypassed {
    fn parse(text: &str) -> Option<Self> {
        let (id, by) = text.split_once(" by ")?;
        Some(Self { id: id.parse().ok()?, by: by.into() })
    }
}

/// `<declared> of <running>`: fewer replicas that wait for the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// How many the manifest asks for.
    pub declared: u32,
    /// How many ran when it did, or [`Replicas::SCALED`].
    pub running: u32,
}

impl Replicas {
    /// Replaces the number that ran, once a user has scaled: no workload runs that many.
    pub const SCALED: u32 = i32::MAX as u32;
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.declared, self.running)
    }
}

impl Text for Replicas {
    /// As admission: `^(0|[1-9][0-9]{0,9}) of [1-9][0-9]{0,9}$`, and fewer than run.
    fn parse(text: &str) -> Option<Self> {
        let (declared, running) = text.split_once(" of ")?;
        let found = Self { declared: declared.parse().ok()?, running: running.parse().ok()? };
        (found.declared < found.running && found.to_string() == text).then_some(found)
    }
}

/// A partition of a StatefulSet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Text for Partition {
    /// As admission: `^[0-9]{1,10}$`, and at most [`HELD`].
    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() <= 10 && text.bytes().all(|one| one.is_ascii_digit());
        let partition = text.parse().ok().filter(|partition| digits && *partition <= HELD);
        partition.map(Self)
    }
}

/// The type of update strategy that a StatefulSet declares, where it is not `RollingUpdate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateStrategy(pub Box<str>);

impl fmt::Display for UpdateStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for UpdateStrategy {
    /// As admission: `^[A-Z][A-Za-z]{0,30}$`.
    fn parse(text: &str) -> Option<Self> {
        let word = text.len() <= 31
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(|one| one.is_ascii_alphabetic());
        (word && text != "RollingUpdate").then(|| Self(text.into()))
    }
}

/// A number of pods, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// A number of pods.
    Pods(u32),
    /// A percentage.
    Percent(u32),
}

impl Share {
    fn parse(text: &str, most: u32) -> Option<Self> {
        let number = |digits: &str| {
            let plain = digits.len() <= 9 && digits.bytes().all(|one| one.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| plain)
        };
        match text.strip_suffix('%') {
            Some(digits) => number(digits).filter(|share| *share <= most).map(Self::Percent),
            None => number(text).map(Self::Pods),
        }
    }

    fn is_nothing(self) -> bool {
        matches!(self, Self::Pods(0) | Self::Percent(0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(pods) => pods.fmt(f),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

/// `<maxSurge>|<maxUnavailable>`: how a Deployment rolls by its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strategy {
    /// `maxSurge`.
    pub surge: Share,
    /// `maxUnavailable`.
    pub unavailable: Share,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.surge, self.unavailable)
    }
}

impl Text for Strategy {
    /// As admission: `^[0-9]{1,9}%?[|]([0-9]{1,9}|[0-9]{1,2}%|100%)$`, and not both nothing.
    fn parse(text: &str) -> Option<Self> {
        let (surge, unavailable) = text.split_once('|')?;
        let found = Self {
            surge: Share::parse(surge, u32::MAX)?,
            unavailable: Share::parse(unavailable, 100)?,
        };
        (!(found.surge.is_nothing() && found.unavailable.is_nothing())).then_some(found)
    }
}

/// The times of config rollouts as Unix seconds, `,` between them. Words that are no number are
/// left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollouts(pub Box<[i64]>);

impl Rollouts {
    /// When they were.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        self.0.iter().filter_map(|second| Timestamp::from_second(*second).ok())
    }
}

impl fmt::Display for Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, second) in self.0.iter().enumerate() {
            write!(f, "{}{second}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Text for Rollouts {
    fn parse(text: &str) -> Option<Self> {
        let seconds: Box<[i64]> =
            text.split(',').filter_map(|word| word.trim().parse().ok()).collect();
        (!seconds.is_empty()).then_some(Self(seconds))
    }
}

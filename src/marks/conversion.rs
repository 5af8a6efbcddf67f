//! What stands while the volume of one claim is handed over to another: the pair on the volume, and
//! the reserved names on the namespace.

use std::{collections::BTreeMap, fmt};

use super::mark::Text;

/// The two claims that a volume may be given to, with a space between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPair {
    /// The one that had it when the conversion began.
    pub from: Box<str>,
    /// The one that it is for.
    pub to: Box<str>,
}

impl ClaimPair {
    /// The other of the two; none if this is neither.
    pub fn other(&self, claim: &str) -> Option<&str> {
        match claim {
            claim if *claim == *self.from => Some(&self.to),
            claim if *claim == *self.to => Some(&self.from),
            _ => None,
        }
    }

    /// Both.
    pub fn names(&self) -> [&str; 2] {
        [&self.from, &self.to]
    }
}

impl fmt::Display for ClaimPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.from, self.to)
    }
}

impl Text for ClaimPair {
    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once(' ')?;
        let different = from != to && is_name(from) && is_name(to);
        different.then(|| Self { from: from.into(), to: to.into() })
    }
}

/// By claim, the volume that its name is reserved for: `<claim>=<volume>`, with commas between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reservations(pub BTreeMap<Box<str>, Box<str>>);

impl fmt::Display for Reservations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|(claim, volume)| format!("{claim}={volume}"));
        f.write_str(&each.collect::<Vec<_>>().join(","))
    }
}

impl Text for Reservations {
    fn parse(text: &str) -> Option<Self> {
        let one = |entry: &str| {
            let (claim, volume) = entry.split_once('=')?;
            (is_name(claim) && is_name(volume)).then(|| (claim.into(), volume.into()))
        };
        text.split(',').map(one).collect::<Option<_>>().map(Self)
    }
}

/// Whether this may be the name of a claim or a volume, as the API server has it.
pub fn is_name(text: &str) -> bool {
    let ends = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 253
        && bytes.first().is_some_and(|first| ends(*first))
        && bytes.last().is_some_and(|last| ends(*last))
        && bytes.iter().all(|c| ends(*c) || [b'-', b'.'].contains(c))
}

//! Durations as people write them in a policy.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The form of a [`Period`], as the CRD's schema states it.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A span of time written like `1h30m`, `90s` or `500ms`; it is given back as it was written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    written: String,
    length: Duration,
}

/// The text is no [`Period`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no duration: write one to four numbers with a unit each (h, m, s or ms), such as 90s or 1h30m"
)]
pub struct InvalidPeriod(String);

impl Period {
    /// The length of time.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// A period whose text is known to say that length; for defaults.
    pub(super) fn known(written: &str, length: Duration) -> Self {
        debug_assert_eq!(Self::parse(written), Some(length), "{written}");
        Self { written: written.to_owned(), length }
    }

    fn parse(text: &str) -> Option<Duration> {
        let mut rest = text;
        let mut total = Duration::ZERO;
        for _ in 0..4 {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, tail) = rest.split_at(digits);
            if number.len() > 5 {
                return None;
            }
            let number: u64 = number.parse().ok()?;
            let (unit, tail) = if let Some(tail) = tail.strip_prefix("ms") {
                (Duration::from_millis(number), tail)
            } else if let Some(tail) = tail.strip_prefix('h') {
                (Duration::from_secs(number * 3600), tail)
            } else if let Some(tail) = tail.strip_prefix('m') {
                (Duration::from_secs(number * 60), tail)
            } else {
                (Duration::from_secs(number), tail.strip_prefix('s')?)
            };
            total += unit;
            rest = tail;
            if rest.is_empty() {
                return Some(total);
            }
        }
        None
    }
}

impl TryFrom<String> for Period {
    type Error = InvalidPeriod;

    fn try_from(written: String) -> Result<Self, InvalidPeriod> {
        match Self::parse(&written) {
            Some(length) => Ok(Self { written, length }),
            None => Err(InvalidPeriod(written.chars().take(40).collect())),
        }
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.written
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_pattern_allows_and_nothing_else() {
        for (text, millis) in [
            ("0s", 0),
            ("2s", 2_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1m5s250ms", 65_250),
            ("99999h", 359_996_400_000),
        ] {
            let period = Period::try_from(text.to_owned()).map(|p| p.length().as_millis());
            assert_eq!(period, Ok(millis), "{text}");
        }
        for text in ["", "s", "5", "-1s", "1.5h", "123456s", "1s1s1s1s1s", "1d", "5 s", "1s "] {
            assert!(Period::try_from(text.to_owned()).is_err(), "{text:?} was taken");
        }
    }
}

//! Maintenance: what a user asks for, and how far it is.

use std::fmt;

use jiff::Timestamp;

use super::mark::Text;

/// What a user asks for: the annotation `lockkeeper.dev/maintenance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// No pod of it runs.
    Stop,
    /// It is in service.
    Off,
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "Stop",
            Self::Off => "Off",
        })
    }
}

impl Text for Wish {
    /// As admission: `^(Off|Stop)$`.
    fn parse(text: &str) -> Option<Self> {
        [Self::Stop, Self::Off].into_iter().find(|wish| wish.to_string() == text)
    }
}

/// How far a maintenance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has no replicas, and a pod that somebody makes of its template never runs.
    Stop,
    /// Its pods run, but the app in them does not.
    Sleep,
    /// Its template is the declared one again, and its pods start.
    Start,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Sleep => "sleep",
            Self::Start => "start",
        })
    }
}

/// `<stop|sleep|start> id=<generation> since=<time> [keep=a,b] [root=c] [from=<revision>]`: how far
/// the maintenance of a workload is. Words that are not known stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InMaintenance {
    /// How far it is.
    pub stage: Stage,
    /// The generation of the workload when it began.
    pub id: Box<str>,
    /// Since when; none where that cannot be read.
    pub since: Option<Timestamp>,
    /// The revision that ran before, if its template was not changed with the beginning.
    pub from: Option<Box<str>>,
    /// All words after the first, as they stand.
    words: Box<str>,
}

impl InMaintenance {
    /// One that begins.
    pub fn begun(generation: i64, since: Timestamp, from: Option<&str>) -> Self {
        let mut words = format!("id={generation} since={since}");
        if let Some(from) = from.filter(|from| !from.is_empty() && !from.contains(' ')) {
            words += &format!(" from={from}");
        }
        Self::of(Stage::Stop, &words)
    }

    /// The same at another stage.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Self {
        Self { stage, ..self.clone() }
    }

    /// Whether no pod of it may run the app.
    pub fn rests(&self) -> bool {
        matches!(self.stage, Stage::Stop | Stage::Sleep)
    }

    fn of(stage: Stage, words: &str) -> Self {
        let word = |key: &str| {
            let mut all = words.split(' ');
            all.find_map(|word| word.strip_prefix(key)).filter(|value| !value.is_empty())
        };
        Self {
            stage,
            id: word("id=").unwrap_or_default().into(),
            since: word("since=").and_then(|since| since.parse().ok()),
            from: word("from=").map(Into::into),
            words: words.into(),
        }
    }
}

impl fmt::Display for InMaintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.stage, self.words)
    }
}

impl Text for InMaintenance {
    /// As admission: `^(stop|sleep|start) id=[^ ]`.
    fn parse(text: &str) -> Option<Self> {
        let (first, words) = text.split_once(' ')?;
        let stages = [Stage::Stop, Stage::Sleep, Stage::Start];
        let stage = stages.into_iter().find(|stage| stage.to_string() == first)?;
        let id = words.strip_prefix("id=")?;
        (!id.is_empty() && !id.starts_with(' ')).then(|| Self::of(stage, words))
    }
}

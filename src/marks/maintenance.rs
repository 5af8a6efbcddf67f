//! Maintenance: what a user asks for, and how far it is.

use std::fmt;

use jiff::Timestamp;

use super::{ChangeId, mark::Text};

/// What a user asks for, and why: the annotation `lockkeeper.dev/maintenance`, such as `Stop: restore
/// the backup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What for.
    pub wish: Wish,
    /// Why, in the user's words.
    pub reason: Option<Box<str>>,
}

/// So many characters of a reason are accepted.
pub const REASON_LIMIT: usize = 200;

/// Whether a reason can be written down: it is one line of text.
pub fn is_reason(text: &str) -> bool {
    let is_text = !text.chars().any(|one| one.is_ascii_control());
    is_text && (1..=REASON_LIMIT).contains(&text.chars().count())
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{}: {reason}", self.wish),
            None => write!(f, "{}", self.wish),
        }
    }
}

impl Text for Asked {
    /// As admission: a wish, and `(: [^[:cntrl:]]{1,200})?`.
    fn parse(text: &str) -> Option<Self> {
        let (wish, reason) = match text.split_once(": ") {
            Some((wish, reason)) => (wish, Some(reason)),
            None => (text, None),
        };
        let wish = Wish::parse(wish)?;
        let is_one = reason.is_none_or(is_reason);
        is_one.then(|| Self { wish, reason: reason.map(Into::into) })
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wish {
    /// No pod of it runs.
    Stop,
    /// Its pods run, but the app in them does not.
    Sleep(Containers),
    /// It is in service.
    #[default]
    Off,
}

/// What is special about containers of pods that sleep: `[keep=a,b] [root=c]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Containers {
    /// Their app runs all the same.
    pub keep: Vec<String>,
    /// They run as root.
    pub root: Vec<String>,
}

impl fmt::Display for Containers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [("keep", &self.keep), ("root", &self.root)];
        let mut space = "";
        for (key, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "{space}{key}={}", names.join(","))?;
            space = " ";
        }
        Ok(())
    }
}

impl Containers {
    /// As admission: `^(keep=NAMES)?( ?root=NAMES)?$`, where names are of `[a-z0-9-]`.
    fn parse(text: &str) -> Option<Self> {
        let mut found = Self::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let (key, names) = word.split_once('=')?;
            let names: Vec<_> = names.split(',').map(str::to_owned).collect();
            match key {
                "keep" => found.keep = names,
                "root" => found.root = names,
                _ => return None,
            }
        }
        let is_name = |name: &String| {
            let is_of_name =
                |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
            !name.is_empty() && name.bytes().all(is_of_name)
        };
        let all = found.keep.iter().chain(&found.root);
        (found.to_string() == text && all.into_iter().all(is_name)).then_some(found)
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop => f.write_str("Stop"),
            Self::Sleep(containers) if *containers == Containers::default() => f.write_str("Sleep"),
            Self::Sleep(containers) => write!(f, "Sleep {containers}"),
            Self::Off => f.write_str("Off"),
        }
    }
}

impl Wish {
    /// As admission: `Off`, `Stop`, or `Sleep` with containers.
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "Stop" => Some(Self::Stop),
            None if text == "Off" => Some(Self::Off),
            None if text == "Sleep" => Some(Self::Sleep(Containers::default())),
            Some(("Sleep", words)) if !words.is_empty() => {
                Containers::parse(words).map(Self::Sleep)
            }
            _ => None,
        }
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

/// What of an offline upgrade a workload that is in maintenance has behind it: `upgrade [change=7]
/// [migrating] [migrated] [starts]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upgrade {
    /// The change of its template; none: it is stopped along with others.
    pub change: Option<ChangeId>,
    /// The migration of its data has begun.
    pub migrating: bool,
    /// Its data is migrated for that change.
    pub migrated: bool,
    /// Nothing but its turn keeps it from starting.
    pub starts: bool,
}

impl Upgrade {
    fn of(words: &str) -> Option<Self> {
        let has = |wanted: &str| words.split(' ').any(|word| word == wanted);
        let change = words.split(' ').find_map(|word| word.strip_prefix(CHANGE)?.parse().ok());
        has(UPGRADE).then(|| Self {
            change,
            migrating: has(MIGRATING),
            migrated: has(MIGRATED),
            starts: has(STARTS),
        })
    }

    fn words(&self) -> Vec<String> {
        let change = self.change.as_ref().map(|change| format!("{CHANGE}{change}"));
        let flags = [(self.migrating, MIGRATING), (self.migrated, MIGRATED), (self.starts, STARTS)];
        let flags = flags.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word.to_owned());
        [UPGRADE.to_owned()].into_iter().chain(change).chain(flags).collect()
    }
}

const UPGRADE: &str = "upgrade";
const CHANGE: &str = "change=";
const MIGRATING: &str = "migrating";
const MIGRATED: &str = "migrated";
const STARTS: &str = "starts";

fn is_of_upgrade(word: &str) -> bool {
    [UPGRADE, MIGRATING, MIGRATED, STARTS].contains(&word) || word.starts_with(CHANGE)
}

/// `<stop|sleep|start> id=<generation> since=<time> [keep=a,b] [root=c] [from=<revision>]
/// [replicas=0]`, and the words of an [`Upgrade`]: how far the maintenance of a workload is. Unknown
/// words stay as they are.
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
    /// Its template is that of the stage already, and it has no replicas yet.
    pub at_zero: bool,
    /// It is stopped for an offline upgrade.
    pub upgrade: Option<Upgrade>,
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

    /// The same at another stage, with the replicas of that stage.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Self {
        let words: Vec<_> = self.words.split(' ').filter(|word| *word != AT_ZERO).collect();
        Self::of(stage, &words.join(" "))
    }

    /// The same, without replicas: its controller sees the template of the stage first.
    #[must_use]
    pub fn without_replicas(&self) -> Self {
        Self::of(self.stage, &format!("{} {AT_ZERO}", self.at(self.stage).words))
    }

    /// The same, for an offline upgrade or no longer for one.
    #[must_use]
    pub fn with_upgrade(&self, upgrade: Option<&Upgrade>) -> Self {
        let others = self.words.split(' ').filter(|word| !is_of_upgrade(word)).map(str::to_owned);
        let words: Vec<_> = others.chain(upgrade.into_iter().flat_map(Upgrade::words)).collect();
        Self::of(self.stage, &words.join(" "))
    }

    /// The same as a mark of another generation: what is written again must differ from what stands.
    #[must_use]
    pub fn renewed(&self, generation: i64) -> Self {
        let id = format!("id={generation}");
        let words = self.words.split(' ').map(|word| match word.starts_with("id=") {
            true => id.as_str(),
            false => word,
        });
        Self::of(self.stage, &words.collect::<Vec<_>>().join(" "))
    }

    /// The same, asleep: with these containers.
    #[must_use]
    pub fn asleep(&self, containers: &Containers) -> Self {
        let others = self.words.split(' ').filter(|word| !is_of_containers(word));
        let words: Vec<_> = others.map(str::to_owned).chain([containers.to_string()]).collect();
        Self::of(Stage::Sleep, words.join(" ").trim_end())
    }

    /// What is special about its containers while its pods sleep.
    pub fn containers(&self) -> Containers {
        let words: Vec<_> = self.words.split(' ').filter(|word| is_of_containers(word)).collect();
        Containers::parse(&words.join(" ")).unwrap_or_default()
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
            at_zero: words.split(' ').any(|word| word == AT_ZERO),
            upgrade: Upgrade::of(words),
            words: words.into(),
        }
    }
}

/// The word of a mark for no replicas yet.
const AT_ZERO: &str = "replicas=0";

fn is_of_containers(word: &str) -> bool {
    word.starts_with("keep=") || word.starts_with("root=")
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

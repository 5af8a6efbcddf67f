//! Maintenance windows: a change may go through while an Allow window is open and no Deny window is.

use std::{fmt, time::Duration};

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::{
    Timestamp, civil,
    tz::{AmbiguousOffset, TimeZone},
};

use crate::{
    api::{WindowSpec, WindowType},
    core::later,
};

/// So many steps are looked ahead for the next opening; after that it is asked again.
const STEPS: usize = 64;
/// Clocks are not put back or forward by more than this.
const LARGEST_SHIFT: Duration = Duration::from_secs(3 * 3600);

/// The windows of a policy.
#[derive(Debug, Clone, Default)]
pub struct Windows(Vec<Window>);

/// One of them.
#[derive(Debug, Clone)]
struct Window {
    kind: WindowType,
    /// In UTC, which stands for the wall clock of the zone.
    schedule: Crontab,
    duration: Duration,
    zone: TimeZone,
    words: String,
}

/// Whether changes may go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// They may.
    Open,
    /// They may not.
    Closed {
        /// When they may, or when to ask again, if that is too far off to be known.
        until: Timestamp,
        /// Why not, in words.
        why: String,
    },
}

impl Windows {
    /// Reads the windows of a spec.
    ///
    /// # Errors
    /// Says in a sentence which of them is none, why, and how to write it.
    pub fn parse(specs: &[WindowSpec]) -> Result<Self, String> {
        let window = |(index, spec): (usize, &WindowSpec)| {
            Window::parse(spec).map_err(|(field, why)| format!("spec.gates.windows[{index}].{field}: {why}"))
        };
        specs.iter().enumerate().map(window).collect::<Result<_, _>>().map(Self)
    }

    /// Whether changes may go through at this time.
    pub fn judge(&self, now: Timestamp) -> Standing {
        let Some((mut opens, why)) = self.closed(now) else { return Standing::Open };
        for _ in 0..STEPS {
            match self.closed(opens) {
                Some((later, _)) => opens = later,
                None => return Standing::Closed { until: opens, why: format!("{why}; it may go through at {}", self.clock(opens)) },
            }
        }
        Standing::Closed { until: opens, why: format!("{why}; not before {}", self.clock(opens)) }
    }

    /// Why changes may not go through at this time, and a later time before which they may not.
    fn closed(&self, now: Timestamp) -> Option<(Timestamp, String)> {
        let of = |kind: WindowType| self.0.iter().filter(move |window| window.kind == kind);
        if let Some((window, end)) = of(WindowType::Deny).find_map(|window| Some((window, window.open_until(now)?))) {
            return Some((end, format!("the Deny window {window} is open")));
        }
        if of(WindowType::Allow).next().is_none() || of(WindowType::Allow).any(|window| window.open_until(now).is_some()) {
            return None;
        }
        let next = of(WindowType::Allow).filter_map(|window| Some((window.next_start(now)?, window))).min_by_key(|(start, _)| *start);
        Some(match next {
            Some((start, window)) => (start, format!("no window is open; the next is {window}")),
            None => (Timestamp::MAX, "no window is open, and none will be".to_owned()),
        })
    }

    /// A time in the zone of the first window and in UTC.
    fn clock(&self, time: Timestamp) -> String {
        let utc = time.strftime("%Y-%m-%d %H:%M UTC");
        match self.0.iter().find(|window| window.zone != TimeZone::UTC) {
            Some(window) => format!("{} ({utc})", time.to_zoned(window.zone.clone()).strftime("%Y-%m-%d %H:%M %Q")),
            None => utc.to_string(),
        }
    }
}

impl Window {
    fn parse(spec: &WindowSpec) -> Result<Self, (&'static str, String)> {
        let how = "write five fields (minute, hour, day of month, month, day of week), such as \"0 2 * * 1-5\"";
        let zone = match spec.time_zone.as_deref() {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name)
                .map_err(|_| ("timeZone", format!("there is no time zone {name:?}; write an IANA name, such as Europe/Zurich")))?,
        };
        if spec.schedule.split_whitespace().count() != 5 {
            return Err(("schedule", format!("{:?} has not five fields; {how} (the zone goes into timeZone)", spec.schedule)));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let schedule = cronexpr::parse_crontab_with(&spec.schedule, options)
            .map_err(|error| ("schedule", format!("{:?} is no schedule: {}; {how}", spec.schedule, one_line(&error.to_string()))))?;
        let duration = spec.duration.length();
        if duration.is_zero() {
            return Err(("duration", "a window of no time never opens; write at least 1m".to_owned()));
        }
        let words = match &spec.time_zone {
            Some(zone) => format!("\"{}\" {zone} for {}", spec.schedule, spec.duration),
            None => format!("\"{}\" UTC for {}", spec.schedule, spec.duration),
        };
        let window = Self { kind: spec.type_, schedule, duration, zone, words };
        match window.next_start(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(window),
            None => Err(("schedule", format!("{:?} names a time that never comes, so the window never opens; {how}", spec.schedule))),
        }
    }

    /// When it closes, if it is open. Of openings that overlap the first to close counts: then it is looked at again.
    fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let from = now.checked_sub(self.duration.saturating_add(LARGEST_SHIFT)).unwrap_or(Timestamp::MIN);
        let begun = self.starts(from).take_while(|start| *start <= now);
        begun.map(|start| later(start, self.duration)).find(|end| *end > now)
    }

    /// The next start after this time.
    fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        let from = now.checked_sub(LARGEST_SHIFT).unwrap_or(Timestamp::MIN);
        self.starts(from).find(|start| *start > now)
    }

    /// The starts in order, beginning not later than the first one after `from`.
    fn starts(&self, from: Timestamp) -> impl Iterator<Item = Timestamp> {
        // The schedule is asked on the wall clock, taken for UTC, and its answers are placed in the zone.
        let wall = from.to_zoned(self.zone.clone()).datetime().to_zoned(TimeZone::UTC).map_or(from, |zoned| zoned.timestamp());
        let next = move |after: &Timestamp| self.schedule.find_next(MakeTimestamp(*after)).ok().map(|zoned| zoned.timestamp());
        std::iter::successors(next(&wall), next).map(|start| self.place(start.to_zoned(TimeZone::UTC).datetime()))
    }

    /// The instant at which the wall clock shows this time: the first of two, and where it is skipped, that of the skip.
    fn place(&self, wall: civil::DateTime) -> Timestamp {
        let ambiguous = self.zone.to_ambiguous_timestamp(wall);
        let placed = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall),
            AmbiguousOffset::Gap { after, .. } => {
                after.to_timestamp(wall).map(|early| self.zone.following(early).next().map_or(early, |transition| transition.timestamp()))
            }
        };
        placed.unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// The first line of what a parser says, without its drawing.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().trim_start_matches(['^', ' ']).to_owned()
}

//! Windows of time: when they are open, and when that changes next.

use std::{collections::VecDeque, fmt, time::Duration};

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, DateTime, date},
    tz::{AmbiguousOffset, TimeZone},
};

use crate::{
    api::{WindowSpec, WindowType},
    core::later,
};

/// What starts later than five years from now is taken for never.
const HORIZON: Duration = Duration::from_secs(5 * 366 * 24 * 3600);
/// The longest window, as the schema allows it: 31 days.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);
/// Maximum number of edges of windows that a judgement looks at; a proof looks at more; what lies
/// beyond stays unknown.
const STEPS: usize = 2_000;
const STEPS_OF_PROOF: usize = 50_000;
const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];
const HOW: &str =
    "write five fields such as \"0 2 * * 1-5\" (minute, hour, day of month, month, day of week)";

/// The windows of a policy, parsed. None at all: always open.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    allow: Vec<Window>,
    deny: Vec<Window>,
}

/// Whether changes may go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// They may.
    Open {
        /// The first instant at which they may no longer; with very many short windows, one until
        /// which they may in any case. None: they may for the next five years.
        until: Option<Timestamp>,
    },
    /// They may not.
    Closed {
        /// The first instant at which they may; with very many short windows, one before which they
        /// may not: then ask again. None: they may not for the next five years.
        opens: Option<Timestamp>,
        /// Why not, in words.
        why: String,
    },
}

/// When something ends that holds now.
enum Ends {
    At(Timestamp),
    NotBefore(Timestamp),
    Never,
}

/// From its first instant to the first after it.
type Span = (Timestamp, Timestamp);

#[derive(Debug, Clone)]
struct Window {
    /// The days on which it starts, each as its midnight in UTC: cronexpr is asked for dates only,
    /// since it skips and doubles starts.
    days: Crontab,
    /// When it starts on each of them, in minutes since midnight on the wall clock, ascending.
    minutes: Vec<i16>,
    /// The same as first and last of those whose windows touch, which keeps schedules such as `* *
    /// * * *` short.
    runs: Vec<(i16, i16)>,
    /// Whether a start that the clocks give twice counts twice, as in Vixie's cron: if minute or
    /// hour is a wildcard. Otherwise a schedule meant to be without a break, such as `0 * * * *`
    /// for 1h, would break for the hour that comes twice.
    twice: bool,
    duration: Duration,
    zone: TimeZone,
    words: String,
}

impl Windows {
    /// Parses the windows of a spec. A duration is more than nothing and at most 31 days; a zone
    /// left out is UTC.
    ///
    /// # Errors
    /// A sentence with the place, the value and what to write instead: if a schedule is not five
    /// cron fields or names a day that never comes, if there is no such zone, or if a duration is
    /// out of range.
    pub fn parse(specs: &[WindowSpec]) -> Result<Self, String> {
        let mut windows = Self::default();
        for (index, spec) in specs.iter().enumerate() {
            let window = Window::parse(spec)
                .map_err(|error| format!("spec.gates.windows[{index}].{error}"))?;
            match spec.type_ {
                WindowType::Allow => windows.allow.push(window),
                WindowType::Deny => windows.deny.push(window),
            }
        }
        Ok(windows)
    }

    /// Whether changes may go through at this instant, and when that changes. Looks at most five
    /// years and 2000 edges ahead.
    pub fn judge(&self, now: Timestamp) -> Standing {
        let mut sweep = Sweep::new(&self.allow, &self.deny, now);
        if let Some((window, _)) = covering(&mut sweep.deny, now) {
            let lifted = match Sweep::new(&[], &self.deny, now).opens(now, STEPS) {
                Ends::At(end) => format!("until {}", window.clock(end)),
                Ends::NotBefore(end) => format!("at least until {}", window.clock(end)),
                Ends::Never => "for the next five years".to_owned(),
            };
            let (opens, then) = match sweep.opens(now, STEPS) {
                Ends::At(opens) => {
                    (Some(opens), format!("changes may be released at {}", window.clock(opens)))
                }
                Ends::NotBefore(opens) => (
                    Some(opens),
                    format!("changes may not be released before {}", window.clock(opens)),
                ),
                Ends::Never => (None, "changes may not be released within five years".to_owned()),
            };
            return Standing::Closed {
                opens,
                why: format!("a Deny window ({window}) is open {lifted}; {then}"),
            };
        }
        if self.allow.is_empty() || covering(&mut sweep.allow, now).is_some() {
            let until = match sweep.closes(now, STEPS) {
                Ends::At(until) | Ends::NotBefore(until) => Some(until),
                Ends::Never => None,
            };
            return Standing::Open { until };
        }
        let (opens, then) = match sweep.opens(now, STEPS) {
            Ends::At(opens) => match covering(&mut sweep.allow, opens) {
                Some((window, _)) => {
                    (Some(opens), format!("the next ({window}) opens at {}", window.clock(opens)))
                }
                None => (Some(opens), format!("the next opens at {}", utc(opens))),
            },
            Ends::NotBefore(opens) => (Some(opens), format!("none opens before {}", utc(opens))),
            Ends::Never => (None, "none opens within five years".to_owned()),
        };
        Standing::Closed { opens, why: format!("no window is open; {then}") }
    }

    /// Whether it is certain that changes may not go through at any time in the five years from
    /// `now`, say because a Deny window is always open when an Allow window is. False also if 50000
    /// edges of windows are not enough to be certain.
    pub fn never_opens(&self, now: Timestamp) -> bool {
        matches!(Sweep::new(&self.allow, &self.deny, now).opens(now, STEPS_OF_PROOF), Ends::Never)
    }
}

impl Window {
    fn parse(spec: &WindowSpec) -> Result<Self, String> {
        let schedule = &spec.schedule;
        let refused = |why: String| format!("schedule {schedule:?}: {why}; {HOW}");
        let fields: Vec<&str> = schedule.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(refused(format!(
                "{} fields instead of five; seconds and @macros are not supported, and the time zone belongs in timeZone",
                fields.len()
            )));
        };
        for (index, name) in FIELDS.iter().enumerate() {
            let mut alone = ["*"; 5];
            alone[index] = fields[index];
            cron(&alone.join(" "))
                .map_err(|why| refused(format!("{name} {}: {why}", fields[index])))?;
        }
        let days = cron(&format!("0 0 {day} {month} {weekday}")).map_err(refused)?;
        // The days of the week repeat every 28 years.
        if next_day(&days, date(2000, 1, 1), date(2028, 12, 31)).is_none() {
            return Err(refused("a day that never comes, so the window never opens".to_owned()));
        }
        let within_hour = starts(&cron(&format!("{minute} 0 1 1 *")).map_err(refused)?, 1);
        let within_day = starts(&cron(&format!("0 {hour} 1 1 *")).map_err(refused)?, 24);
        let minutes: Vec<i16> = within_day
            .iter()
            .flat_map(|hour| within_hour.iter().map(move |minute| hour + minute))
            .collect();

        let duration = spec.duration.length();
        if duration.is_zero() || duration > LONGEST {
            return Err(format!("duration {}: must be from 1m to 744h (31 days)", spec.duration));
        }
        let mut runs: Vec<(i16, i16)> = Vec::new();
        for &minute in &minutes {
            match runs.last_mut() {
                Some((_, last)) if of_minutes(minute - *last) <= duration => *last = minute,
                _ => runs.push((minute, minute)),
            }
        }
        let name = spec.time_zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
        let zone = zone.ok_or_else(|| {
            format!(
                "timeZone {name:?}: no such time zone; write an IANA name, such as Europe/Zurich"
            )
        })?;
        let twice = minute.starts_with('*') || hour.starts_with('*');
        Ok(Self {
            days,
            minutes,
            runs,
            twice,
            duration,
            zone,
            words: format!("{schedule:?} {name} for {}", spec.duration),
        })
    }

    /// When it is open for having started on this day, ordered by start.
    fn spans(&self, day: Date) -> VecDeque<Span> {
        let midnight = self.place(day.at(0, 0, 0, 0)).0;
        let tomorrow =
            day.tomorrow().map_or(Timestamp::MAX, |day| self.place(day.at(0, 0, 0, 0)).0);
        if tomorrow.duration_since(midnight) == SignedDuration::from_hours(24) {
            let at = |minute: i16| later(midnight, of_minutes(minute));
            return self
                .runs
                .iter()
                .map(|&(first, last)| (at(first), later(at(last), self.duration)))
                .collect();
        }
        let placed = self
            .minutes
            .iter()
            .map(|minute| self.place(day.at((minute / 60) as i8, (minute % 60) as i8, 0, 0)));
        let mut starts: Vec<Timestamp> = placed
            .flat_map(|(first, second)| [Some(first), second.filter(|_| self.twice)])
            .flatten()
            .collect();
        starts.sort_unstable();
        let mut spans: VecDeque<Span> = VecDeque::new();
        for start in starts {
            match spans.back_mut() {
                Some((_, end)) if start <= *end => *end = later(start, self.duration),
                _ => spans.push_back((start, later(start, self.duration))),
            }
        }
        spans
    }

    /// When the wall clock shows this time: twice where it is set back, at the end of the gap where
    /// it is set forward.
    fn place(&self, wall: DateTime) -> (Timestamp, Option<Timestamp>) {
        let (first, second) = match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(wall), None),
            AmbiguousOffset::Fold { before, after } => {
                (before.to_timestamp(wall), after.to_timestamp(wall).ok())
            }
            AmbiguousOffset::Gap { after, .. } => {
                let end = |early| {
                    self.zone
                        .following(early)
                        .next()
                        .map_or(early, |transition| transition.timestamp())
                };
                (after.to_timestamp(wall).map(end), None)
            }
        };
        (first.unwrap_or(Timestamp::MAX), second)
    }

    fn clock(&self, time: Timestamp) -> String {
        if self.zone == TimeZone::UTC {
            return utc(time);
        }
        format!(
            "{} ({})",
            time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M %Q"),
            utc(time)
        )
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// The spans of one window, asked with times that never go back.
struct Cursor<'a> {
    window: &'a Window,
    /// The last day whose spans were taken; none after the last one.
    day: Option<Date>,
    last: Date,
    spans: VecDeque<Span>,
}

impl Cursor<'_> {
    /// The first span that ends after this time.
    fn front(&mut self, time: Timestamp) -> Option<Span> {
        loop {
            while let Some(span) = self.spans.front() {
                if span.1 > time {
                    return Some(*span);
                }
                self.spans.pop_front();
            }
            self.day = next_day(&self.window.days, self.day?, self.last);
            self.spans = self.window.spans(self.day?);
        }
    }
}

/// All windows, looked at from `now` on.
struct Sweep<'a> {
    allow: Vec<Cursor<'a>>,
    deny: Vec<Cursor<'a>>,
    horizon: Timestamp,
}

impl<'a> Sweep<'a> {
    fn new(allow: &'a [Window], deny: &'a [Window], now: Timestamp) -> Self {
        let horizon = later(now, HORIZON);
        // cronexpr looks four years ahead, and beyond the year 9999 there is nothing to see.
        let last =
            horizon.to_zoned(TimeZone::UTC).date().saturating_add(1.day()).min(date(9990, 1, 1));
        let cursor = |window: &'a Window| {
            let open_since = now.checked_sub(window.duration).unwrap_or(Timestamp::MIN);
            // Three days: for the zone, for the day before, and for a zone that skips a whole day.
            let day = open_since.to_zoned(TimeZone::UTC).date().saturating_sub(3.days());
            Cursor { window, day: Some(day), last, spans: VecDeque::new() }
        };
        Self {
            allow: allow.iter().map(cursor).collect(),
            deny: deny.iter().map(cursor).collect(),
            horizon,
        }
    }

    /// The first time from `time` on at which no Deny window is open and an Allow window is, if
    /// there are any.
    fn opens(&mut self, mut time: Timestamp, steps: usize) -> Ends {
        for _ in 0..steps {
            let next = match covering(&mut self.deny, time) {
                Some((_, end)) => Some(end),
                None if self.allow.is_empty() || covering(&mut self.allow, time).is_some() => {
                    return Ends::At(time);
                }
                None => next_start(&mut self.allow, time),
            };
            match next.filter(|next| *next <= self.horizon) {
                Some(next) => time = next,
                None => return Ends::Never,
            }
        }
        Ends::NotBefore(time)
    }

    /// The first time after `time`, at which it is open, at which it is not.
    fn closes(&mut self, mut time: Timestamp, steps: usize) -> Ends {
        let denied = next_start(&mut self.deny, time).filter(|start| *start <= self.horizon);
        for _ in 0..steps {
            let end = match covering(&mut self.allow, time) {
                Some((_, end)) => end,
                None if self.allow.is_empty() => Timestamp::MAX,
                None => return Ends::At(time),
            };
            match denied {
                Some(start) if start <= end => return Ends::At(start),
                _ if end > self.horizon => return Ends::Never,
                _ => time = end,
            }
        }
        Ends::NotBefore(time)
    }
}

/// Of the windows that are open at this time the last to close, and when that is, not counting
/// later starts.
fn covering<'a>(cursors: &mut [Cursor<'a>], time: Timestamp) -> Option<(&'a Window, Timestamp)> {
    let open = |cursor: &mut Cursor<'a>| {
        cursor.front(time).filter(|(start, _)| *start <= time).map(|(_, end)| (cursor.window, end))
    };
    cursors.iter_mut().filter_map(open).max_by_key(|(_, end)| *end)
}

/// When the next of the windows, none of which is open at this time, opens.
fn next_start(cursors: &mut [Cursor], time: Timestamp) -> Option<Timestamp> {
    cursors.iter_mut().filter_map(|cursor| cursor.front(time)).map(|(start, _)| start).min()
}

/// The first day of the schedule after this one and not after `last`, which is before the year
/// 9995.
fn next_day(days: &Crontab, mut after: Date, last: Date) -> Option<Date> {
    while after < last {
        // Asked a second before midnight, it need not go through all the minutes of a day.
        let midnight = after.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        match days.find_next(MakeTimestamp(midnight.checked_sub(1.second()).ok()?)) {
            Ok(found) => return Some(found.date()).filter(|day| *day <= last),
            // It gives up after four years.
            Err(_) => after = after.checked_add(4.years()).ok()?,
        }
    }
    None
}

/// A schedule in UTC, which stands for the wall clock.
fn cron(fields: &str) -> Result<Crontab, String> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    // The reason comes last, after a drawing.
    let reason = |text: String| text.rsplit("^ ").next().unwrap_or_default().trim().to_owned();
    cronexpr::parse_crontab_with(fields, options).map_err(|error| reason(error.to_string()))
}

/// The minutes at which it starts, of the first hours of 1970.
fn starts(schedule: &Crontab, hours: i16) -> Vec<i16> {
    let next = |after: i64| {
        schedule
            .find_next(MakeTimestamp::from_second(after).ok()?)
            .ok()
            .map(|start| start.timestamp().as_second())
    };
    let all = std::iter::successors(next(-1), |start| next(*start)).map(|start| start / 60);
    all.take_while(|minute| *minute < i64::from(hours) * 60)
        .filter_map(|minute| i16::try_from(minute).ok())
        .collect()
}

fn of_minutes(minutes: i16) -> Duration {
    Duration::from_secs(u64::from(minutes.unsigned_abs()) * 60)
}

fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests;

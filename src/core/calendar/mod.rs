//! Windows of time: when they are open, and when that changes next.

mod ends;
mod words;

use std::{collections::VecDeque, time::Duration};

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, DateTime, date},
    tz::{AmbiguousOffset, TimeZone},
};

use self::{ends::Ends, words::Name};
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
    name: Name,
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
            let lifted = Sweep::new(&[], &self.deny, now).opens(now, STEPS);
            let opens = sweep.opens(now, STEPS);
            let why = words::denied(&window.name, &lifted, &opens);
            return Standing::Closed { opens: opens.time(), why };
        }
        if self.allow.is_empty() || covering(&mut sweep.allow, now).is_some() {
            return Standing::Open { until: sweep.closes(now, STEPS).time() };
        }
        let opens = sweep.opens(now, STEPS);
        let next = match opens {
            Ends::At(at) => covering(&mut sweep.allow, at).map(|(window, _)| (&window.name, at)),
            Ends::NotBefore(_) | Ends::Never => None,
        };
        Standing::Closed { opens: opens.time(), why: words::none_open(&opens, next) }
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
        let fields: Vec<&str> = schedule.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(words::refused(schedule, &words::not_five(fields.len())));
        };
        for (index, name) in FIELDS.iter().enumerate() {
            let mut alone = ["*"; 5];
            alone[index] = fields[index];
            cron(&alone.join(" ")).map_err(|why| {
                words::refused(schedule, &format!("{name} {}: {why}", fields[index]))
            })?;
        }
        let days = cron_of(schedule, ["0", "0", day, month, weekday])?;
        // The days of the week repeat every 28 years.
        if next_day(&days, date(2000, 1, 1), date(2028, 12, 31)).is_none() {
            return Err(words::refused(schedule, words::NO_SUCH_DAY));
        }
        let within_hour = starts(&cron_of(schedule, [minute, "0", "1", "1", "*"])?, 1);
        let within_day = starts(&cron_of(schedule, ["0", hour, "1", "1", "*"])?, 24);
        let minutes: Vec<i16> = within_day
            .iter()
            .flat_map(|hour| within_hour.iter().map(move |minute| hour + minute))
            .collect();

        let duration = spec.duration.length();
        if duration.is_zero() || duration > LONGEST {
            return Err(words::out_of_range(&spec.duration.to_string()));
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
        let zone = zone.ok_or_else(|| words::no_such_zone(name))?;
        let twice = minute.starts_with('*') || hour.starts_with('*');
        Ok(Self {
            days,
            minutes,
            runs,
            twice,
            duration,
            name: Name { words: format!("{schedule:?} {name} for {}", spec.duration), zone },
        })
    }

    /// When it is open for having started on this day, ordered by start.
    fn spans(&self, day: Date) -> VecDeque<Span> {
        let midnight = self.place(day.at(0, 0, 0, 0)).0;
        let tomorrow =
            day.tomorrow().map_or(Timestamp::MAX, |day| self.place(day.at(0, 0, 0, 0)).0);
        if tomorrow.duration_since(midnight) == SignedDuration::from_hours(24) {
            let runs = self.runs.iter();
            return runs
                .map(|&(first, last)| {
                    let (first, last) = (of_minutes(first), of_minutes(last));
                    (later(midnight, first), later(later(midnight, last), self.duration))
                })
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
        let (first, second) = match self.name.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(wall), None),
            AmbiguousOffset::Fold { before, after } => {
                (before.to_timestamp(wall), after.to_timestamp(wall).ok())
            }
            AmbiguousOffset::Gap { after, .. } => {
                (after.to_timestamp(wall).map(|early| self.end_of_gap(early)), None)
            }
        };
        (first.unwrap_or(Timestamp::MAX), second)
    }

    fn end_of_gap(&self, early: Timestamp) -> Timestamp {
        self.name.zone.following(early).next().map_or(early, |transition| transition.timestamp())
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

impl<'a> Cursor<'a> {
    /// At the first span that may be open then.
    fn new(window: &'a Window, now: Timestamp, last: Date) -> Self {
        let open_since = now.checked_sub(window.duration).unwrap_or(Timestamp::MIN);
        // Three days: for the zone, for the day before, and for a zone that skips a whole day.
        let day = open_since.to_zoned(TimeZone::UTC).date().saturating_sub(3.days());
        Self { window, day: Some(day), last, spans: VecDeque::new() }
    }

    /// The window, and when it closes, if it is open at this time.
    fn open(&mut self, time: Timestamp) -> Option<(&'a Window, Timestamp)> {
        let (_, end) = self.front(time).filter(|(start, _)| *start <= time)?;
        Some((self.window, end))
    }

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
        Self {
            allow: allow.iter().map(|window| Cursor::new(window, now, last)).collect(),
            deny: deny.iter().map(|window| Cursor::new(window, now, last)).collect(),
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
    cursors.iter_mut().filter_map(|cursor| cursor.open(time)).max_by_key(|(_, end)| *end)
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
    cronexpr::parse_crontab_with(fields, options).map_err(|error| {
        // The reason comes last, after a drawing.
        error.to_string().rsplit("^ ").next().unwrap_or_default().trim().to_owned()
    })
}

/// One with these fields, which a schedule has or which stand for all.
fn cron_of(schedule: &str, fields: [&str; 5]) -> Result<Crontab, String> {
    cron(&fields.join(" ")).map_err(|why| words::refused(schedule, &why))
}

/// The minutes at which it starts, of the first hours of 1970.
fn starts(schedule: &Crontab, hours: i16) -> Vec<i16> {
    let first = next_start_after(schedule, -1);
    std::iter::successors(first, |start| next_start_after(schedule, *start))
        .map(|start| start / 60)
        .take_while(|minute| *minute < i64::from(hours) * 60)
        .filter_map(|minute| i16::try_from(minute).ok())
        .collect()
}

fn next_start_after(schedule: &Crontab, second: i64) -> Option<i64> {
    let after = MakeTimestamp::from_second(second).ok()?;
    Some(schedule.find_next(after).ok()?.timestamp().as_second())
}

fn of_minutes(minutes: i16) -> Duration {
    Duration::from_secs(u64::from(minutes.unsigned_abs()) * 60)
}

#[cfg(test)]
mod tests;

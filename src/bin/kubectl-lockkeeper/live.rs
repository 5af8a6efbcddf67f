//! A line that is rewritten in place on a terminal; elsewhere lines that are written when something
//! changes, and once in a while.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use jiff::Timestamp;
use lockkeeper::core::later;

/// Elsewhere than on a terminal a line is repeated after so long, lest a CI system takes the
/// silence for a hang.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// The width of a terminal, where it is not known.
const WIDTH: usize = 80;

/// The progress shown on standard error while something is waited for. What it leaves on a terminal
/// it clears away.
pub struct Live {
    terminal: bool,
    said: String,
    next: Timestamp,
}

impl Live {
    /// Nothing shown yet.
    pub fn new() -> Self {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        Self {
            terminal: std::io::stderr().is_terminal() && !dumb,
            said: String::new(),
            next: Timestamp::MIN,
        }
    }

    /// Says how things stand. `passing` changes all the time and is no news, such as how long it
    /// takes already; `short` is for a terminal, in one line.
    pub fn say(&mut self, what: &str, passing: &str, short: &str, now: Timestamp) {
        if self.terminal {
            let width =
                terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0));
            let _ =
                write!(std::io::stderr(), "\r\x1b[2K{}", fit(&format!("{passing}{short}"), width));
            let _ = std::io::stderr().flush();
            self.said = what.to_owned();
        } else if self.is_due(what, now) {
            eprintln!("{passing}{what}");
            (self.said, self.next) = (what.to_owned(), later(now, HEARTBEAT));
        }
    }

    fn is_due(&self, what: &str, now: Timestamp) -> bool {
        what != self.said || now >= self.next
    }

    /// Clears the line before something is printed that stays.
    pub fn clear(&mut self) {
        if self.terminal && !std::mem::take(&mut self.said).is_empty() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

/// As much as fits in a line, with a column to spare: a line that is full wraps on some terminals.
fn fit(text: &str, width: usize) -> String {
    let line = text.replace(['\n', '\r'], " ");
    match line.chars().count() < width {
        true => line,
        false => line.chars().take(width.saturating_sub(2)).chain(['…']).collect(),
    }
}

/// A length of time as people say it: the two largest units.
pub fn length(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        let number = rest / unit;
        rest %= unit;
        if number > 0 || words.is_empty() {
            words.push(format!("{number}{name}"));
        }
    }
    words.join(" ")
}

/// A length of time as kubectl writes ages in tables.
pub fn age(from: Timestamp, to: Timestamp) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let seconds = to.duration_since(from).as_secs().max(0);
    let (large, small) = match seconds {
        ..120 => return format!("{seconds}s"),
        120..600 => ((MINUTE, "m"), Some((1, "s"))),
        600..10_800 => ((MINUTE, "m"), None),
        10_800..28_800 => ((HOUR, "h"), Some((MINUTE, "m"))),
        28_800..172_800 => ((HOUR, "h"), None),
        172_800..691_200 => ((DAY, "d"), Some((HOUR, "h"))),
        691_200..63_072_000 => ((DAY, "d"), None),
        _ => ((YEAR, "y"), Some((DAY, "d"))),
    };
    let rest = small
        .map(|(unit, name)| (seconds % large.0 / unit, name))
        .filter(|(number, _)| *number > 0);
    let rest = rest.map_or_else(String::new, |(number, name)| format!("{number}{name}"));
    format!("{}{}{rest}", seconds / large.0, large.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_in_two_units_at_most() {
        for (seconds, expected) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (192, "3m 12s"),
            (3600, "1h"),
            (3725, "1h 2m"),
            (90_000, "1d 1h"),
            (86_401, "1d"),
        ] {
            let from = Timestamp::UNIX_EPOCH;
            let to = Timestamp::from_second(seconds).unwrap();
            assert_eq!(length(from, to), expected, "{seconds}");
        }
    }

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let (minute, hour, day) = (60, 3600, 86_400);
        for (seconds, expected) in [
            (-1, "0s"),
            (119, "119s"),
            (2 * minute, "2m"),
            (5 * minute + 10, "5m10s"),
            (45 * minute, "45m"),
            (3 * hour + 10 * minute, "3h10m"),
            (30 * hour, "30h"),
            (3 * day + 2 * hour, "3d2h"),
            (10 * day, "10d"),
            (800 * day, "2y70d"),
        ] {
            assert_eq!(
                age(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap()),
                expected,
                "{seconds}"
            );
        }
    }

    #[test]
    fn a_line_never_wraps() {
        assert_eq!(fit("held\nby ann", 80), "held by ann");
        for width in [0, 1, 2, 10] {
            assert!(fit("a rather long line", width).chars().count() <= width.max(1), "{width}");
        }
    }

    #[test]
    fn without_a_terminal_only_news_is_said_and_now_and_then_that_it_goes_on() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let live = Live { terminal: false, said: "held".to_owned(), next: at(60) };
        assert!(!live.is_due("held", at(59)));
        assert!(live.is_due("held", at(60)));
        assert!(live.is_due("rolling", at(1)));
    }
}

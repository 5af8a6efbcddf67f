//! A line that is rewritten in place on a terminal; elsewhere lines that are written when something changes, and once in a while.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use jiff::Timestamp;
use lockkeeper::core::later;

/// Elsewhere than on a terminal a line is repeated after so long, lest a CI system takes the silence for a hang.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Where nobody knows how wide a terminal is.
const WIDTH: usize = 80;

/// What is said on standard error while something is waited for. What it leaves on a terminal it clears away.
pub struct Live {
    terminal: bool,
    said: String,
    next: Timestamp,
}

impl Live {
    /// Nothing said yet.
    pub fn new() -> Self {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        Self { terminal: std::io::stderr().is_terminal() && !dumb, said: String::new(), next: Timestamp::MIN }
    }

    /// Says how things stand. `passing` changes all the time and is no news, such as how long it takes already; `short` is for a terminal, in one
    /// line.
    pub fn say(&mut self, what: &str, passing: &str, short: &str, now: Timestamp) {
        if self.terminal {
            let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0));
            let _ = write!(std::io::stderr(), "\r\x1b[2K{}", fit(&format!("{passing}{short}"), width));
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

    /// Clears the line away, before something is said that stays.
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

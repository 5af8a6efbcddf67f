//! What is told of windows.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};

use super::ends::Ends;

/// What a window is called, and in which zone its times are told.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub words: String,
    pub zone: TimeZone,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Name {
    fn clock(&self, time: Timestamp) -> String {
        if self.zone == TimeZone::UTC {
            return utc(time);
        }
        let local = time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M %Q");
        format!("{local} ({})", utc(time))
    }
}

fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// How to write a schedule.
const HOW: &str =
    "write five fields such as \"0 2 * * 1-5\" (minute, hour, day of month, month, day of week)";

/// That a Deny window is open. `lifted`: until when one is. `opens`: when changes may be released.
pub(super) fn denied(window: &Name, lifted: &Ends, opens: &Ends) -> String {
    let lifted = match lifted {
        Ends::At(end) => format!("until {}", window.clock(*end)),
        Ends::NotBefore(end) => format!("at least until {}", window.clock(*end)),
        Ends::Never => "for the next five years".to_owned(),
    };
    let then = match opens {
        Ends::At(opens) => format!("changes may be released at {}", window.clock(*opens)),
        Ends::NotBefore(opens) => {
            format!("changes may not be released before {}", window.clock(*opens))
        }
        Ends::Never => "changes may not be released within five years".to_owned(),
    };
    format!("a Deny window ({window}) is open {lifted}; {then}")
}

/// That no window is open. `next`: the one that opens next, and when.
pub(super) fn none_open(opens: &Ends, next: Option<(&Name, Timestamp)>) -> String {
    let then = match (opens, next) {
        (_, Some((window, at))) => format!("the next ({window}) opens at {}", window.clock(at)),
        (Ends::At(opens), None) => format!("the next opens at {}", utc(*opens)),
        (Ends::NotBefore(opens), None) => format!("none opens before {}", utc(*opens)),
        (Ends::Never, None) => "none opens within five years".to_owned(),
    };
    format!("no window is open; {then}")
}

/// That a schedule cannot be read.
pub(super) fn refused(schedule: &str, why: &str) -> String {
    format!("schedule {schedule:?}: {why}; {HOW}")
}

/// That it has not five fields.
pub(super) fn not_five(fields: usize) -> String {
    format!(
        "{fields} fields instead of five; seconds and @macros are not supported, and the time zone belongs in timeZone"
    )
}

/// That no day is one of its days.
pub(super) const NO_SUCH_DAY: &str = "a day that never comes, so the window never opens";

/// That a duration is too short or too long.
pub(super) fn out_of_range(duration: &str) -> String {
    format!("duration {duration}: must be from 1m to 744h (31 days)")
}

/// That there is no such time zone.
pub(super) fn no_such_zone(name: &str) -> String {
    format!("timeZone {name:?}: no such time zone; write an IANA name, such as Europe/Zurich")
}

//! Everything that Lockkeeper decides, as synchronous functions of what was observed.
//!
//! Nothing here does I/O, knows a clock, reads the environment or logs; `tests/architecture/`
//! holds this. The way of a decision:
//!
//! 1. [`observed`] is what was seen of a namespace, and [`memory`] what is remembered of it.
//!    [`governs`] says which policy governs each workload.
//! 2. [`arrange`] takes the workloads that something happened to. [`rest`] knows which need
//!    not be judged again, and [`unread`] which cannot be.
//! 3. A [`subject`] is one workload with all that it is judged by. [`plan`] finds its situation,
//!    calls the rules that matter then, and puts together a [`planned::Plan`] of what they return.
//!    The rules are in [`config`], [`hold`], [`gates`], [`rollout`], [`volumes`],
//!    [`maintenance`] and [`offline`]; none of them calls the plan.
//! 4. [`arrange`] makes one [`Decision`](decision::Decision) of all plans, in which
//!    [`rollout::slots`] shares out the cluster's rollouts. In it are the requests
//!    ([`request`]), the status of each policy ([`conditions`]), the events ([`notice`]) and the
//!    calls of pods ([`conversation`]). The shell carries it out.
//!
//! Sentences are made in the file `words.rs` of each folder. Beside all that stand [`judge`], which
//! is the admission policies in Rust, [`lease`], which says which of several operators acts, and
//! [`reach`], how far an installation reaches.

pub mod additions;
pub mod arrange;
pub mod calendar;
pub mod conditions;
pub mod config;
pub mod conversation;
pub mod decision;
pub mod digest;
pub mod edits;
pub mod gates;
pub mod governs;
pub mod history;
pub mod hold;
pub mod judge;
pub mod lease;
pub mod maintenance;
pub mod memory;
pub mod notice;
pub mod observed;
pub mod offline;
pub mod others;
pub mod plan;
pub mod planned;
pub mod reach;
pub mod report;
pub mod request;
pub mod rest;
pub mod rollout;
pub mod subject;
pub mod unread;
pub mod volumes;
pub mod words;
pub mod writers;

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;

/// `time` plus `period`, or the end of time.
pub fn later(time: Timestamp, period: Duration) -> Timestamp {
    time.checked_add(period).unwrap_or(Timestamp::MAX)
}

/// `time` without its fraction of a second, as Kubernetes writes times.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Words that are not ours as they may stand in a message, an event or on a terminal: a control
/// character becomes a space, and characters that are not seen but turn, join or hide the text
/// around them are left out.
pub fn plain(words: &str) -> Cow<'_, str> {
    if !words.chars().any(|c| c.is_control() || is_format(c)) {
        return Cow::Borrowed(words);
    }
    Cow::Owned(
        words
            .chars()
            .filter(|c| !is_format(*c))
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
    )
}

/// Whether a character is of Unicode's categories Cf (format), Zl or Zp (separators of lines and
/// paragraphs).
pub fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// A time as messages give it: with its date and zone, since a message may be read days later.
pub fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The first of some names, and how many more there are.
pub fn some_of(names: &[&str], most: usize) -> String {
    let first = names.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

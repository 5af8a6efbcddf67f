//! Colours, which `anstream` takes away again where nobody sees them: no terminal, `NO_COLOR`,
//! `TERM=dumb`.

use anstyle::{AnsiColor, Style};

/// What is in order.
pub fn good(text: &str) -> String {
    paint(AnsiColor::Green.on_default(), text)
}

/// What is to be looked at.
pub fn care(text: &str) -> String {
    paint(AnsiColor::Yellow.on_default(), text)
}

/// What is wrong, or ends pods.
pub fn bad(text: &str) -> String {
    paint(AnsiColor::Red.on_default().bold(), text)
}

/// What matters least.
pub fn quiet(text: &str) -> String {
    paint(Style::new().dimmed(), text)
}

/// The name of what is talked about, or a heading.
pub fn name(text: &str) -> String {
    paint(Style::new().bold(), text)
}

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

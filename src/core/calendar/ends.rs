//! When something ends that holds now.

use jiff::Timestamp;

/// When something ends that holds now.
pub(super) enum Ends {
    /// Then.
    At(Timestamp),
    /// Not before this: what comes then was not looked at.
    NotBefore(Timestamp),
    /// Not in the next five years.
    Never,
}

impl Ends {
    /// The time, or one before which it does not end.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::At(time) | Self::NotBefore(time) => Some(*time),
            Self::Never => None,
        }
    }
}

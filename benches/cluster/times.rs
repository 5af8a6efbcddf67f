//! Times that were measured again and again.

use std::{fmt, time::Duration};

/// Times, in order.
pub struct Times(Vec<Duration>);

impl From<Vec<Duration>> for Times {
    fn from(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }
}

impl Times {
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = (self.0[0].as_millis(), self.0[self.0.len() - 1].as_millis());
        write!(
            f,
            "quickest {:>6} ms   median {:>6} ms   slowest {:>6} ms",
            ends.0,
            self.median().as_millis(),
            ends.1
        )
    }
}

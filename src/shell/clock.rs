//! The only place that reads the clock.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// The wall clock may go otherwise than the monotonic one by so much between two looks, or be
/// corrected by this much, and that does no harm.
const SLACK: Duration = Duration::from_secs(1);

/// Now.
#[allow(clippy::disallowed_methods, reason = "this is the place for it")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A moment to measure from.
#[allow(clippy::disallowed_methods, reason = "this is the place for it")]
pub fn moment() -> Instant {
    Instant::now()
}

/// What a time that was noted before the clock was set would be by the clock as it is now.
pub fn shifted(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(time)
}

/// Notices when the node's clock is set: what was noted by it before cannot be compared with
/// it any more.
#[derive(Debug)]
pub struct Pace {
    wall: Timestamp,
    moment: Instant,
}

impl Pace {
    /// From now on.
    pub fn new(wall: Timestamp, moment: Instant) -> Self {
        Self { wall, moment }
    }

    /// By how much the wall clock was set since the last look, if it was.
    pub fn set_by(&mut self, wall: Timestamp, moment: Instant) -> Option<SignedDuration> {
        let passed = SignedDuration::try_from(moment.saturating_duration_since(self.moment))
            .unwrap_or(SignedDuration::MAX);
        let by = wall.duration_since(self.wall).saturating_sub(passed);
        *self = Self::new(wall, moment);
        (by.unsigned_abs() > SLACK).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_once_and_one_that_is_slow_never() {
        let (wall, moment) = (Timestamp::UNIX_EPOCH + Duration::from_secs(86_400), moment());
        let mut pace = Pace::new(wall, moment);
        let at = |seconds: u64| moment + Duration::from_secs(seconds);
        let hour = SignedDuration::from_hours(1);
        assert_eq!(pace.set_by(wall + Duration::from_secs(10), at(10)), None);
        assert_eq!(pace.set_by(wall + Duration::from_millis(19_500), at(20)), None);
        assert_eq!(
            pace.set_by(wall + Duration::from_secs(3_630), at(30)),
            Some(hour + SignedDuration::from_millis(500))
        );
        assert_eq!(pace.set_by(wall + Duration::from_secs(3_640), at(40)), None);
        assert_eq!(pace.set_by(wall + Duration::from_secs(50), at(50)), Some(-hour));
        assert_eq!(pace.set_by(wall + Duration::from_secs(60), at(60)), None);
    }
}

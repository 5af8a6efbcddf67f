//! Maintenance windows: zones, daylight saving, Deny.

use jiff::{Timestamp, ToSpan, civil::date, tz::TimeZone};
use lockkeeper::{
    api::WindowSpec,
    core::calendar::{Standing, Windows},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn windows(specs: Value) -> Result<Windows, String> {
    Windows::parse(&serde_json::from_value::<Vec<WindowSpec>>(specs).unwrap())
}

fn zurich(text: &str) -> Timestamp {
    format!("{text}[Europe/Zurich]").parse::<jiff::Zoned>().unwrap().timestamp()
}

fn is_open(windows: &Windows, time: Timestamp) -> bool {
    matches!(windows.judge(time), Standing::Open { .. })
}

#[test]
fn one_is_open_from_its_start_for_its_duration_on_the_wall_clock_of_its_zone() {
    let nights = windows(
        json!([{"schedule": "0 2 * * 1-5", "duration": "3h", "timeZone": "Europe/Zurich"}]),
    )
    .unwrap();
    for (time, open) in [
        ("2026-11-20T01:59:59+01:00", false),
        ("2026-11-20T02:00:00+01:00", true),
        ("2026-11-20T04:59:59+01:00", true),
        ("2026-11-20T05:00:00+01:00", false),
        // A Saturday.
        ("2026-11-21T03:00:00+01:00", false),
        // In summer.
        ("2026-07-01T02:30:00+02:00", true),
    ] {
        assert_eq!(is_open(&nights, time.parse().unwrap()), open, "{time}");
    }
    let Standing::Closed { opens, why } =
        nights.judge("2026-11-20T12:00:00+01:00".parse().unwrap())
    else {
        panic!("open")
    };
    assert_eq!(opens, Some("2026-11-23T02:00:00+01:00".parse().unwrap()));
    assert!(
        why.contains("\"0 2 * * 1-5\" Europe/Zurich for 3h")
            && why.contains("2026-11-23 02:00 Europe/Zurich (2026-11-23 01:00 UTC)"),
        "{why}"
    );
}

#[test]
fn a_start_that_the_clocks_skip_opens_at_the_skip_and_one_that_comes_twice_opens_once() {
    let half_past =
        windows(json!([{"schedule": "30 2 * * *", "duration": "1h", "timeZone": "Europe/Zurich"}]))
            .unwrap();
    // 2026-03-29: 02:00 becomes 03:00.
    for (time, open) in [
        ("2026-03-29T01:59:59+01:00", false),
        ("2026-03-29T03:00:00+02:00", true),
        ("2026-03-29T03:59:59+02:00", true),
        ("2026-03-29T04:00:00+02:00", false),
    ] {
        assert_eq!(is_open(&half_past, time.parse().unwrap()), open, "{time}");
    }
    // 2026-10-25: 03:00 becomes 02:00.
    for (time, open) in [
        ("2026-10-25T02:29:59+02:00", false),
        ("2026-10-25T02:30:00+02:00", true),
        ("2026-10-25T02:29:59+01:00", true),
        ("2026-10-25T02:30:00+01:00", false),
        ("2026-10-25T03:00:00+01:00", false),
    ] {
        assert_eq!(is_open(&half_past, time.parse().unwrap()), open, "{time}");
    }
}

#[test]
fn deny_wins_and_with_deny_alone_it_is_otherwise_open() {
    let allow = json!({"schedule": "0 2 * * *", "duration": "4h"});
    let christmas = json!({"type": "Deny", "schedule": "0 0 24 12 *", "duration": "72h"});
    let both = windows(json!([allow, christmas])).unwrap();
    let only_deny = windows(json!([christmas])).unwrap();
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    assert!(
        is_open(&both, at("2026-12-23T03:00:00Z"))
            && is_open(&only_deny, at("2026-12-23T12:00:00Z"))
    );
    let Standing::Closed { opens, why } = both.judge(at("2026-12-25T03:00:00Z")) else {
        panic!("open")
    };
    assert!(why.contains("a Deny window") && why.contains("2026-12-27 02:00 UTC"), "{why}");
    assert_eq!(opens, Some(at("2026-12-27T02:00:00Z")));
    assert!(
        !is_open(&only_deny, at("2026-12-26T23:59:59Z"))
            && is_open(&only_deny, at("2026-12-27T00:00:00Z"))
    );
    assert!(is_open(&windows(json!([])).unwrap(), at("2026-12-25T03:00:00Z")));
}

#[test]
fn what_is_no_window_is_refused_with_place_and_cure() {
    for (window, says) in [
        (
            json!({"schedule": "61 2 * * *", "duration": "1h"}),
            "spec.gates.windows[0].schedule \"61 2 * * *\": minute 61",
        ),
        (
            json!({"schedule": "0 2 * * * Europe/Zurich", "duration": "1h"}),
            "the time zone belongs in timeZone",
        ),
        (json!({"schedule": "0 2 30 2 *", "duration": "1h"}), "never opens"),
        (json!({"schedule": "0 2 * * *", "duration": "0s"}), "spec.gates.windows[0].duration"),
        (
            json!({"schedule": "0 2 * * *", "duration": "1h", "timeZone": "Zurich"}),
            "write an IANA name, such as Europe/Zurich",
        ),
    ] {
        let error = windows(json!([window])).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Open and closed alternate, across the changes of the clocks, at exactly the times that are
    /// told.
    #[test]
    fn windows_open_when_they_said_they_would(minute in 0i8..60, hour in 0i8..24, length in 1i64..300, day in 0i64..400, second in 0i64..86400) {
        let specs = json!([
            {"schedule": format!("{minute} {hour} * * *"), "duration": format!("{length}m"), "timeZone": "Europe/Zurich"},
            {"type": "Deny", "schedule": format!("{} * * * 0", (minute + 7) % 60), "duration": "20m"},
        ]);
        let windows = windows(specs).unwrap();
        let start = date(2026, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp() + (day * 86400 + second).seconds();
        if let Standing::Closed { opens: Some(until), .. } = windows.judge(start) {
            prop_assert!(until > start);
            prop_assert!(is_open(&windows, until));
            prop_assert!(!is_open(&windows, until - 1.second()));
        }
        let wall = start.to_zoned(TimeZone::get("Europe/Zurich").unwrap());
        prop_assert_eq!(zurich(&wall.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()), start);
    }
}

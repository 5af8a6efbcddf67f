use WindowType::{Allow, Deny};
use proptest::prelude::*;

use crate::core::calendar::*;

type Row<'a> = (WindowType, &'a str, &'a str, &'a str);

fn parse(rows: &[Row]) -> Result<Windows, String> {
    let spec = |&(type_, schedule, duration, zone): &Row| WindowSpec {
        type_,
        schedule: schedule.to_owned(),
        duration: duration.to_owned().try_into().unwrap(),
        time_zone: Some(zone.to_owned()),
    };
    Windows::parse(&rows.iter().map(spec).collect::<Vec<_>>())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Whether it is open, and the next change.
fn seen(windows: &Windows, now: Timestamp) -> (bool, Option<Timestamp>) {
    match windows.judge(now) {
        Standing::Open { until } => (true, until),
        Standing::Closed { opens, .. } => (false, opens),
    }
}

/// Windows | a time at which it is closed | the changes from then on, the first of them an
/// opening.
const CHANGES: &str = "\
    A,30 2 * * *,1h,Europe/Zurich | 2026-03-28T12:00+01 | 2026-03-29T03:00+02 2026-03-29T04:00+02 2026-03-30T02:30+02
    A,30 2 * * *,1h,Europe/Zurich | 2027-03-27T12:00+01 | 2027-03-28T03:00+02 2027-03-28T04:00+02 2027-03-29T02:30+02
    A,30 2 * * *,1h,Europe/Zurich | 2026-10-24T12:00+02 | 2026-10-25T02:30+02 2026-10-25T02:30+01 2026-10-26T02:30+01
    A,30 2 * * *,1h,Europe/Zurich | 2027-10-30T12:00+02 | 2027-10-31T02:30+02 2027-10-31T02:30+01 2027-11-01T02:30+01
    A,*/30 2 * * *,30m,Europe/Zurich | 2026-10-24T12:00+02 | 2026-10-25T02:00+02 2026-10-25T03:00+01 2026-10-26T02:00+01
    A,30 * * * *,30m,Europe/Zurich | 2026-10-25T02:10+02 | 2026-10-25T02:30+02 2026-10-25T02:00+01 2026-10-25T02:30+01
    A,0 23 * * 5,3h,UTC | 2026-11-16T00:00Z | 2026-11-20T23:00Z 2026-11-21T02:00Z 2026-11-27T23:00Z
    A,0 23 31 * *,2h,UTC | 2026-11-16T00:00Z | 2026-12-31T23:00Z 2027-01-01T01:00Z 2027-01-31T23:00Z
    A,0 0 L * *,48h,UTC | 2027-02-02T00:00Z | 2027-02-28T00:00Z 2027-03-02T00:00Z 2027-03-31T00:00Z
    A,0 0 29 2 *,1h,UTC | 2026-11-16T00:00Z | 2028-02-29T00:00Z 2028-02-29T01:00Z
    A,0 1 * * *,1h,UTC; A,0 2 * * *,2h,UTC | 2026-11-16T00:00Z | 2026-11-16T01:00Z 2026-11-16T04:00Z
    A,0 0 * * 6-7,24h,UTC | 2026-11-16T00:00Z | 2026-11-21T00:00Z 2026-11-23T00:00Z 2026-11-28T00:00Z
    A,0 2 * * *,4h,UTC; D,0 3 24 12 *,72h,UTC | 2026-12-24T00:00Z | 2026-12-24T02:00Z 2026-12-24T03:00Z 2026-12-27T03:00Z
    D,0 0 24 12 *,72h,UTC | 2026-12-25T00:00Z | 2026-12-27T00:00Z 2027-12-24T00:00Z 2027-12-27T00:00Z";

#[test]
fn opens_and_closes_when_it_should() {
    for line in CHANGES.lines() {
        let [rows, from, changes] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let row = |row: &'static str| match row.trim().splitn(4, ',').collect::<Vec<_>>()[..] {
            [kind, schedule, duration, zone] => {
                (if kind == "A" { Allow } else { Deny }, schedule, duration, zone)
            }
            _ => panic!("{row}"),
        };
        let windows = parse(&rows.split(';').map(row).collect::<Vec<_>>()).unwrap();
        let (mut open, mut now) = (false, at(from));
        for change in changes.split_whitespace().map(at) {
            assert_eq!(seen(&windows, now), (open, Some(change)), "{line} at {now}");
            assert_eq!(
                seen(&windows, change - 1.nanosecond()),
                (open, Some(change)),
                "{line} just before {change}"
            );
            (open, now) = (!open, change);
        }
    }
}

#[test]
fn says_why_and_what_never_ends() {
    let why = |rows: &[Row], now| match parse(rows).unwrap().judge(at(now)) {
        Standing::Closed { why, .. } => why,
        open => format!("{open:?}"),
    };
    assert_eq!(
        why(&[(Allow, "0 2 * * 1-5", "3h", "Europe/Zurich")], "2026-11-20T12:00:00Z"),
        "no window is open; the next (\"0 2 * * 1-5\" Europe/Zurich for 3h) opens at 2026-11-23 02:00 Europe/Zurich \
         (2026-11-23 01:00 UTC)"
    );
    assert_eq!(
        why(
            &[(Deny, "0 0 24 12 *", "72h", "UTC"), (Allow, "0 2 * * *", "4h", "UTC")],
            "2026-12-25T03:00:00Z"
        ),
        "a Deny window (\"0 0 24 12 *\" UTC for 72h) is open until 2026-12-27 00:00 UTC; changes may be released at 2026-12-27 02:00 UTC"
    );
    let now = at("2026-11-20T12:00:00Z");
    assert_eq!(Windows::default().judge(now), Standing::Open { until: None });
    // Every minute for 31 days, and for one minute through the hour that comes twice.
    for duration in ["744h", "1m"] {
        assert_eq!(
            seen(&parse(&[(Allow, "* * * * *", duration, "Europe/Zurich")]).unwrap(), now),
            (true, None)
        );
        let denied = parse(&[
            (Allow, "0 2 * * *", "1h", "UTC"),
            (Deny, "* * * * *", duration, "Europe/Zurich"),
        ])
        .unwrap();
        assert!(denied.never_opens(now) && seen(&denied, now) == (false, None), "{denied:?}");
    }
    assert!(
        parse(&[(Allow, "0 2 * * *", "1h", "UTC"), (Deny, "0 1 * * *", "3h", "UTC")])
            .unwrap()
            .never_opens(now)
    );
    assert!(
        !parse(&[(Allow, "0 2 * * *", "1h", "UTC"), (Deny, "0 1 * * 1-6", "3h", "UTC")])
            .unwrap()
            .never_opens(now)
    );
    // Too many edges for an answer: when to ask again.
    let minced =
        parse(&[(Allow, "1-59/2 * * * *", "60s", "UTC"), (Deny, "1-59/2 * * * *", "60s", "UTC")])
            .unwrap();
    assert!(
        !minced.never_opens(now)
            && matches!(seen(&minced, now), (false, Some(later)) if later > now)
    );
    // The ends of time.
    for time in
        [Timestamp::MIN, Timestamp::MAX, at("9989-12-31T00:00:00Z"), at("2097-01-01T00:00:00Z")]
    {
        assert!(!seen(&parse(&[(Allow, "0 0 29 2 *", "744h", "Pacific/Apia")]).unwrap(), time).0);
    }
}

#[test]
fn refuses_with_place_value_and_cure() {
    for (schedule, duration, zone, says) in [
        ("61 2 * * *", "1h", "UTC", "schedule \"61 2 * * *\": minute 61: "),
        ("0 2 * * 1-8", "1h", "UTC", "day of week 1-8: "),
        ("0 0 2 * * *", "1h", "UTC", "6 fields instead of five"),
        (
            "0 2 * * * UTC",
            "1h",
            "UTC",
            "the time zone belongs in timeZone; write five fields such as \"0 2 * * 1-5\"",
        ),
        ("@daily", "1h", "UTC", "1 fields instead of five"),
        ("0 2 30 2 *", "1h", "UTC", "never opens"),
        ("0 2 * * *", "0s", "UTC", "duration 0s: "),
        ("0 2 * * *", "745h", "UTC", "duration 745h: "),
        (
            "0 2 * * *",
            "1h",
            "Zurich",
            "timeZone \"Zurich\": no such time zone; write an IANA name, such as Europe/Zurich",
        ),
    ] {
        let error = parse(&[(Allow, "0 2 * * *", "1h", "UTC"), (Deny, schedule, duration, zone)])
            .expect_err(says);
        assert!(error.starts_with("spec.gates.windows[1].") && error.contains(says), "{error}");
    }
    // Rare is not never.
    assert_eq!(
        seen(&parse(&[(Allow, "0 2 * 2 5#5", "1h", "UTC")]).unwrap(), at("2033-01-01T00:00:00Z")).1,
        Some(at("2036-02-29T02:00:00Z"))
    );
}

type Drawn =
    (WindowType, &'static str, &'static str, &'static str, &'static str, u32, &'static str);

fn drawn() -> impl Strategy<Value = Drawn> {
    let zones = [
        "Europe/Zurich",
        "UTC",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "America/Nuuk",
        "America/Havana",
        "America/New_York",
    ];
    (
        prop_oneof![3 => Just(Allow), 2 => Just(Deny)],
        prop::sample::select(vec!["*", "0", "30", "59", "1-59/2", "*/15", "0,10,45"]),
        prop::sample::select(vec!["*", "0", "2", "23", "1-3", "*/6", "0-23"]),
        prop::sample::select(vec!["*", "1", "29-31", "1-31"]),
        prop::sample::select(vec!["*", "6,7", "1-5", "3"]),
        prop::sample::select(vec![1, 2, 29, 30, 60, 90, 180, 1440, 2000, 10_000, 44_640]),
        prop::sample::select(zones.to_vec()),
    )
}

fn listed(field: &str, first: i8, last: i8) -> Vec<i8> {
    let item = |item: &str| {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let bound = |text: &str, star: i8| text.parse().unwrap_or(star);
        (bound(low, first)..=bound(high, last)).step_by(step.parse().unwrap()).collect::<Vec<i8>>()
    };
    field.split(',').flat_map(item).collect()
}

/// For each of so many minutes from `from` on, whether the window is open: minute by minute on
/// the wall clock.
fn minute_by_minute(
    &(_, minute, hour, day, weekday, duration, zone): &Drawn,
    from: Timestamp,
    count: usize,
) -> Vec<bool> {
    let (minutes, hours, days, weekdays) =
        (listed(minute, 0, 59), listed(hour, 0, 23), listed(day, 1, 31), listed(weekday, 1, 7));
    let zone = TimeZone::get(zone).unwrap();
    let starts = |wall: DateTime| {
        let (by_day, by_weekday) =
            (days.contains(&wall.day()), weekdays.contains(&wall.weekday().to_monday_one_offset()));
        let on =
            if day == "*" || weekday == "*" { by_day && by_weekday } else { by_day || by_weekday };
        on && minutes.contains(&wall.minute()) && hours.contains(&wall.hour())
    };
    let (mut expected, mut open_for) = (zone.to_datetime(from - (32 * 24).hours()), 0);
    let mut open = Vec::new();
    for index in -32 * 1440..count as i64 {
        let wall = zone.to_datetime(from + index.minutes());
        let mut start =
            starts(wall) && (wall >= expected || minute.starts_with('*') || hour.starts_with('*'));
        while expected < wall {
            start |= starts(expected);
            expected += 1.minute();
        }
        expected = expected.max(wall + 1.minute());
        open_for = if start { duration } else { open_for.max(1) - 1 };
        if index >= 0 {
            open.push(open_for > 0);
        }
    }
    open
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Around a change of the clocks, against the oracle: what is told is so, and what is open
    /// and what is closed alternate.
    #[test]
    fn tells_what_a_walk_by_minutes_finds(
        drawn in prop::collection::vec(drawn(), 1..4),
        near in prop::sample::select(vec!["2026-03-29", "2026-10-25", "2027-03-14", "2026-11-01", "2026-04-05", "2026-04-24"]),
        earlier in 0i64..20 * 1440,
    ) {
        const MINUTES: usize = 60 * 1440;
        let texts: Vec<_> = drawn.iter().map(|d| (format!("{} {} {} * {}", d.1, d.2, d.3, d.4), format!("{}m", d.5))).collect();
        let rows: Vec<Row> = drawn.iter().zip(&texts).map(|(d, (schedule, duration))| (d.0, &**schedule, &**duration, d.6)).collect();
        let windows = parse(&rows).unwrap();
        let from = at(&format!("{near}T00:00:00Z")) - earlier.minutes();
        let walked: Vec<_> = drawn.iter().map(|d| (d.0, minute_by_minute(d, from, MINUTES))).collect();
        let any = |kind, index: usize| walked.iter().any(|(of, open)| *of == kind && open[index]);
        let has_allow = drawn.iter().any(|d| d.0 == Allow);
        let open = |index: usize| !any(Deny, index) && (!has_allow || any(Allow, index));
        let mut index = 0;
        for _ in 0..100 {
            let now = from + (index as i64).minutes();
            let change = (index + 1..MINUTES).find(|later| open(*later) != open(index));
            let (is_open, told) = seen(&windows, now);
            prop_assert_eq!(is_open, open(index), "{:?} at {}", rows, now);
            match change {
                Some(change) => {
                    let at = from + (change as i64).minutes();
                    prop_assert_eq!(told, Some(at), "{:?} at {}", rows, now);
                    prop_assert_eq!(seen(&windows, at - 1.nanosecond()), (is_open, told));
                    index = change;
                }
                None => {
                    let end = from + (MINUTES as i64).minutes();
                    prop_assert!(told.is_none_or(|told| told >= end), "{:?} at {}: {:?}", rows, now, told);
                    break;
                }
            }
        }
    }
}

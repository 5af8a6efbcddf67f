//! The record of the last changes of a workload.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        digest::Key,
        history::chain::{self, BYTES, Fault, MOST},
    },
    marks::{
        history::{ChangeKind, End, Entry, History, Why},
        mark::Text,
    },
};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    authors::{KINDS, image, setup},
    offline,
    world::{World, held::mark},
};

fn record(world: &World) -> History {
    let text = mark(world, "web", "history").expect("a record");
    assert!(text.len() <= BYTES, "{} bytes", text.len());
    History::parse(&text).unwrap()
}

fn set(world: &mut World, marks: &[(&str, &str)]) {
    let id = world.id("web");
    world.edit("web", |web| {
        for (mark, value) in marks {
            web["metadata"]["annotations"][format!("lockkeeper.dev/{mark}")] = json!(value);
        }
    });
    world.observe_again(&id);
}

fn held(world: &World) -> String {
    mark(world, "web", "hold").unwrap().split(' ').next().unwrap().to_owned()
}

fn approve(world: &mut World, by: &str) {
    let id = held(world);
    set(world, &[("approve", &id), ("approved-by", by)]);
    world.later(5).act();
}

#[test]
fn it_says_who_wrote_a_change_who_approved_it_and_how_it_ended() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "RequiredFromOther"}}), kind);
        assert_eq!(mark(&world, "web", "history"), None, "nothing is written at rest");
        image(&mut world, "dev", "app:2.0");
        set(&mut world, &[("note", "CHG-123\u{202e}")]);
        world.act();
        assert_eq!(mark(&world, "web", "history"), None, "nothing is written while it waits");
        let (id, since) = (held(&world), world.now);
        world.later(600);
        approve(&mut world, "other");
        let open = record(&world).entries;
        assert_eq!(open.len(), 1, "{open:?}");
        let Entry { kind: of, by, why, approved_by, bypassed_by, note, outcome, held, .. } =
            &open[0];
        assert_eq!((*of, *why, *outcome), (ChangeKind::Template, Why::GatesOpen, None));
        assert_eq!((&*open[0].id, by.as_slice()), (&*id, &["dev".into()][..]));
        assert_eq!((approved_by.as_deref(), bypassed_by.as_deref()), (Some("other"), None));
        assert_eq!(note.as_deref(), Some("CHG-123"));
        assert!(held.unwrap() <= since && open[0].released >= since, "{open:?}");
        world.later(5).finish("web");
        world.act();
        let done = record(&world);
        assert_eq!((done.entries.len(), done.entries[0].outcome), (1, Some(End::Done)));
        assert!(done.entries[0].done >= Some(open[0].released));
        assert_eq!(chain::verify(&done, "uid-web", &world.key), Ok(()));
        let before = world.object("web").clone();
        world.later(3600).act();
        assert_eq!(*world.object("web"), before, "nothing is written at rest");
    }
}

#[test]
fn p35_a_change_that_is_released_into_an_offline_upgrade_names_who_approved_it() {
    for kind in KINDS {
        let (world, change) = offline::migrating(kind);
        let all = History::parse(&mark(&world, "db", "history").unwrap()).unwrap().entries;
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].why, &*all[0].id), (Why::GatesOpen, &*change));
        assert_eq!(all[0].approved_by.as_deref(), Some("ann"));
        assert_eq!(mark(&world, "web", "history"), None, "it has no change");
    }
}

#[test]
fn what_a_newer_version_wrote_is_not_thrown_away() {
    let mut world = setup(json!({"gates": {"approval": "Required"}}), WorkloadKind::Deployment);
    let newer = json!({"key": "k", "seal": "s", "entries": [{"n": 1, "kind": "Scale", "why": "Other", "released": world.now}]});
    set(&mut world, &[("history", &newer.to_string())]);
    image(&mut world, "dev", "v2");
    world.later(5).act();
    approve(&mut world, "other");
    assert_eq!(mark(&world, "web", "hold"), None);
    assert_eq!(mark(&world, "web", "history"), Some(newer.to_string()));
}

#[test]
fn a_reverted_change_is_withdrawn_and_a_bypass_names_who_did_it() {
    let mut world = setup(json!({"gates": {"approval": "Required"}}), WorkloadKind::Deployment);
    image(&mut world, "dev", "v2");
    world.act();
    image(&mut world, "dev", "v1");
    world.later(5).act();
    let first = record(&world).entries;
    assert_eq!((first.len(), first[0].outcome), (1, Some(End::Withdrawn)), "{first:?}");
    image(&mut world, "ann", "v3");
    world.later(5).act();
    let id = held(&world);
    // As admission lets it through.
    world.edit("web", |web| {
        let marks = web["metadata"]["annotations"].as_object_mut().unwrap();
        marks.remove("lockkeeper.dev/hold");
        marks.insert("lockkeeper.dev/bypassed-by".into(), json!(format!("{id} by boss")));
    });
    world.later(5).act();
    let all = record(&world);
    let newest = all.entries.last().unwrap();
    assert_eq!((newest.n, newest.why, &*newest.id), (2, Why::Bypassed, &*id), "{newest:?}");
    assert_eq!(newest.bypassed_by.as_deref(), Some("boss"));
    assert_eq!(newest.by, ["ann".into()], "who wrote it is remembered");
    assert_eq!(chain::verify(&all, "uid-web", &world.key), Ok(()));
}

#[test]
fn a_rollout_of_config_is_recorded_without_a_value() {
    let mut world = World::new().with_policy(json!({"config": {}}));
    world.config_map("settings", &[("LEVEL", "a-secret-value")]);
    world.deployment("web", crate::world::env_key("settings", "LEVEL"));
    world.act();
    world.later(60).act();
    world.config_map("settings", &[("LEVEL", "another-secret-value")]);
    world.later(60).act();
    world.later(60).act();
    let text = mark(&world, "web", "history").expect("a record");
    let entry = &record(&world).entries[0];
    assert_eq!((entry.kind, entry.why), (ChangeKind::Config, Why::Config), "{text}");
    assert!(entry.summary.iter().any(|one| one.contains("settings")), "{text}");
    assert!(!text.contains("secret-value"), "{text}");
}

fn entry(n: u64) -> Entry {
    serde_json::from_value(json!({
        "n": n, "id": n.to_string(), "kind": "Template", "by": ["dev"], "why": "GatesOpen",
        "approvedBy": "other", "released": "2026-01-01T00:00:00Z", "outcome": "Done",
    }))
    .unwrap()
}

fn of(entries: u64, key: &Key, pad: usize) -> History {
    (1..=entries).fold(History::default(), |all, n| {
        let entry = Entry { note: Some("x".repeat(pad).into()), ..entry(n) };
        chain::with(all, entry, "uid", key, BYTES).unwrap()
    })
}

#[test]
fn the_oldest_are_dropped_and_the_rest_still_verifies() {
    let key = Key::new(&[7; 32]);
    for (pad, most) in [(1, MOST), (256, MOST), (900, MOST - 1)] {
        let all = of(40, &key, pad);
        assert!(all.to_string().len() <= BYTES && all.entries.len() <= most, "{pad}");
        assert_eq!(all.entries.last().unwrap().n, 40);
        assert_eq!(chain::verify(&all, "uid", &key), Ok(()), "{pad}");
    }
    assert_eq!(chain::with(History::default(), entry(1), "uid", &key, 80), None, "no room");
}

#[test]
fn what_is_altered_or_cut_out_is_named() {
    let key = Key::new(&[7; 32]);
    let faults = |change: &dyn Fn(&mut History)| {
        let mut all = of(20, &key, 9);
        change(&mut all);
        chain::verify(&all, "uid", &key)
    };
    assert_eq!(faults(&|_| {}), Ok(()));
    assert_eq!(
        faults(&|all| all.entries[3].approved_by = Some("dev".into())),
        Err(Fault::Altered(12))
    );
    assert_eq!(faults(&|all| drop(all.entries.remove(4))), Err(Fault::Cut(12, 14)));
    assert_eq!(faults(&|all| drop(all.entries.pop())), Err(Fault::Ends));
    assert_eq!(faults(&|all| drop(all.entries.remove(0))), Err(Fault::Altered(10)));
    // As if it had been dropped for want of room.
    assert_eq!(faults(&|all| all.after = all.entries.remove(0).mac), Err(Fault::Ends));
    assert_eq!(faults(&|all| all.entries[2].n = 99), Err(Fault::Cut(10, 99)));
    let all = of(3, &key, 9);
    assert_eq!(chain::verify(&all, "another", &key), Err(Fault::Altered(1)));
    let other = Key::new(&[8; 32]);
    assert_eq!(chain::verify(&all, "uid", &other), Err(Fault::OtherKey(key.name().into())));
}

#[test]
fn what_was_altered_before_the_operator_wrote_on_is_found_after_it() {
    let key = Key::new(&[7; 32]);
    let mut cut = of(5, &key, 9);
    cut.after = cut.entries.remove(0).mac;
    let on = chain::with(cut, entry(6), "uid", &key, BYTES).unwrap();
    assert_eq!(chain::verify(&on, "uid", &key), Err(Fault::Broken(6)));
    let mut altered = of(5, &key, 9);
    altered.entries[4].approved_by = None;
    let newest = altered.entries[4].clone();
    let on = chain::replaced(altered, 4, newest, "uid", &key, BYTES).unwrap();
    assert_eq!(chain::verify(&on, "uid", &key), Err(Fault::Broken(5)));
}

proptest! {
    #[test]
    fn a_single_byte_that_changes_is_found(at in 0..4000_usize, byte in b'a'..=b'z') {
        let key = Key::new(&[7; 32]);
        let all = of(9, &key, 9);
        let mut text = all.to_string().into_bytes();
        let index = at % text.len();
        prop_assume!(text[index] != byte);
        text[index] = byte;
        let read = String::from_utf8(text).ok().and_then(|text| History::parse(&text));
        // A time may be written in two ways.
        prop_assert!(read.is_none_or(|read| read == all || chain::verify(&read, "uid", &key).is_err()));
    }

    #[test]
    fn it_is_read_as_it_is_written_with_what_a_newer_version_adds(more in "[a-z]{1,9}") {
        let key = Key::new(&[7; 32]);
        let mut entry = entry(1);
        entry.others.insert(format!("x{more}"), json!({"a": 1}));
        let all = chain::with(History::default(), entry, "uid", &key, BYTES).unwrap();
        let read = History::parse(&all.to_string()).unwrap();
        prop_assert_eq!(chain::verify(&read, "uid", &key), Ok(()));
        prop_assert_eq!(read, all);
    }
}

//! Snapshots before an offline upgrade: taken when everything is down, before any data changes.

use lockkeeper::api::WorkloadKind;
use serde_json::{Value, json};

use crate::{
    offline::{KINDS, apply, approve, by_person, policy, run, see, stands},
    world::{World, volumes::uses},
};

/// A database and its client, each with a volume, of which a snapshot is needed before an offline
/// upgrade.
fn shop_with_data(offline: &Value, kind: WorkloadKind) -> World {
    let mut saves = policy(offline);
    saves["gates"]["snapshot"] = json!({});
    let mut world = World::new().with_policy(saves);
    world.serves_snapshots();
    for (name, kind) in [("db", kind), ("web", WorkloadKind::Deployment)] {
        let claim = format!("data-of-{name}");
        world.claim(&claim, "ReadWriteOnce");
        let mut template = uses(&claim);
        template["containers"][0]["image"] = json!("v1");
        world.workload(kind, name, 1, template);
    }
    see(&mut world, "db");
    see(&mut world, "web");
    run(&mut world, false);
    world.later(60);
    run(&mut world, false);
    world
}

#[test]
fn p21_snapshots_are_taken_when_everything_is_down_and_before_any_data_changes() {
    let cases = [(by_person(), "db sleep"), (json!({"when": "Always"}), "db stopped, starts next")];
    for (kind, (offline, next)) in
        KINDS.into_iter().flat_map(|kind| cases.clone().map(|case| (kind, case)))
    {
        let mut world = shop_with_data(&offline, kind);
        apply(&mut world, "db", "v2");
        approve(&mut world, "db");
        assert_eq!(run(&mut world, false)[..2], ["web stop", "db stop"], "{kind}, {next}");
        assert!(world.pods("db").is_empty() && world.pods("web").is_empty());
        assert!(world.namespace.snapshots.is_empty());
        assert_eq!(stands(&world, "db").0, "Maintenance/TakingSnapshots");
        let [asked] = &world.decide().snapshots[..] else { panic!("one snapshot") };
        let name = world.carry_out(asked.clone()).unwrap();
        world.restart_operator();
        assert_eq!(run(&mut world, true), [""; 0], "{kind}, {next}");
        assert!(stands(&world, "db").1.contains(&format!("waiting for VolumeSnapshot {name}")));
        world.driver_cuts(&name, true);
        let [keep] = &world.decide().snapshots[..] else { panic!("its content is kept") };
        assert_eq!(world.carry_out(keep.clone()), None);
        assert_eq!(run(&mut world, false)[0], next, "{kind}");
        assert_eq!(world.namespace.snapshots.len(), 1);
    }
}

#[test]
fn p21_nothing_is_stopped_for_a_change_of_which_no_snapshot_can_be_taken() {
    let mut world = shop_with_data(&by_person(), WorkloadKind::StatefulSet);
    world.storage.snapshots.classes.clear();
    apply(&mut world, "db", "v2");
    approve(&mut world, "db");
    assert_eq!(run(&mut world, false), [""; 0]);
    assert_eq!(stands(&world, "db").0, "Held/SnapshotImpossible");
    world.serves_snapshots();
    assert_eq!(run(&mut world, false), ["web stop", "db stop"]);
}

#[test]
fn p23_a_change_that_is_taken_back_before_its_snapshot_starts_the_old_version_at_once() {
    let mut world = shop_with_data(&by_person(), WorkloadKind::StatefulSet);
    apply(&mut world, "db", "v2");
    approve(&mut world, "db");
    assert_eq!(run(&mut world, false), ["web stop", "db stop"]);
    apply(&mut world, "db", "v1");
    run(&mut world, false);
    assert_eq!(world.stands(), "UpToDate");
    assert!(world.namespace.snapshots.is_empty());
}

#[test]
fn p21_no_data_changes_before_the_snapshots_of_all_are_ready() {
    for offline in [by_person(), json!({"when": "Always"})] {
        let mut world = shop_with_data(&offline, WorkloadKind::StatefulSet);
        for name in ["db", "web"] {
            apply(&mut world, name, "v2");
            approve(&mut world, name);
        }
        assert_eq!(run(&mut world, false), ["web stop", "db stop"]);
        let asked = world.decide().snapshots;
        assert_eq!(asked.len(), 2, "both are taken at once");
        let mut names: Vec<_> = asked.into_iter().filter_map(|one| world.carry_out(one)).collect();
        names.sort_by_key(|name| name.contains("-data-of-web-"));
        for (name, is_last) in names.iter().zip([false, true]) {
            world.driver_cuts(name, true);
            let keeps = world.decide().snapshots;
            keeps.into_iter().for_each(|keep| drop(world.carry_out(keep)));
            let trace = run(&mut world, true);
            assert_eq!(trace.is_empty(), !is_last, "{trace:?}");
            if !is_last {
                assert_eq!(stands(&world, "db").0, "Maintenance/WaitsForOthers");
                assert!(stands(&world, "db").1.contains("snapshots of these"));
                assert_eq!(stands(&world, "web").0, "Maintenance/TakingSnapshots");
            }
        }
    }
}

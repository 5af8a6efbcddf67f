//! Room in the annotations for the marks of a hold: reserved while a change could be held.

use lockkeeper::api::WorkloadKind;
use serde_json::json;

use crate::{webhooks::gated, world::World};

#[test]
fn annotations_that_leave_no_room_for_the_marks_of_a_hold_are_told_before_a_change_is_refused() {
    let mut world = gated(WorkloadKind::Deployment);
    world.act();
    world.edit("web", |web| web["metadata"]["annotations"]["note"] = json!("x".repeat(261_600)));
    world.observe("web");
    let cramped = world.decide();
    let enforced = |decision: &lockkeeper::core::decision::Decision| {
        let all = &decision.statuses[0].1.conditions;
        all.iter()
            .find(|one| one.type_ == "HoldsEnforced")
            .map(|one| (one.reason.clone(), one.message.clone()))
            .unwrap()
    };
    let (reason, message) = enforced(&cramped);
    assert!(
        reason == "NoRoomForMarks" && message.contains("Deployment/web ("),
        "{reason}: {message}"
    );
    world.edit("web", |web| web["metadata"]["annotations"]["note"] = json!("x"));
    world.observe("web");
    assert_ne!(enforced(&world.decide()).0, "NoRoomForMarks");
}

/// A gated workload whose annotations leave about so many bytes for others.
fn with_room(room: usize) -> World {
    of_kind_with_room(WorkloadKind::Deployment, room)
}

fn of_kind_with_room(kind: WorkloadKind, room: usize) -> World {
    let mut world = gated(kind);
    world.act();
    world.later(60).act();
    leave(&mut world, room);
    world
}

fn leave(world: &mut World, room: usize) {
    world.edit("web", |web| web["metadata"]["annotations"]["note"] = json!(""));
    let taken = bytes(world);
    world.edit("web", |web| {
        web["metadata"]["annotations"]["note"] = json!("x".repeat(262_144 - taken - room))
    });
    world.observe("web");
    world.act();
}

/// What the next write makes of reserved room, if it changes it.
fn next(world: &mut World) -> Option<Option<String>> {
    let patches = world.decide().patches;
    patches
        .into_iter()
        .flat_map(|patch| patch.annotations)
        .find(|(mark, _)| *mark == "lockkeeper.dev/reserved")
        .map(|(_, value)| value)
}

fn bytes(world: &World) -> usize {
    let all = world.object("web")["metadata"]["annotations"].as_object().unwrap();
    all.iter().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum()
}

fn reserved(world: &World) -> Option<usize> {
    let mark = "lockkeeper.dev/reserved";
    Some(mark.len() + world.object("web")["metadata"]["annotations"][mark].as_str()?.len())
}

/// With what remains when it is given up.
const RESERVED: Option<usize> = Some(512 + 24);

const GIVEN_UP: Option<usize> = Some(24);

fn enforced(world: &World) -> String {
    let all = &world.namespace.policies["shop"].status.conditions;
    all.iter().find(|one| one.type_ == "HoldsEnforced").unwrap().reason.clone()
}

#[test]
fn room_for_a_hold_is_reserved_where_annotations_are_nearly_full() {
    for (room, expected, says) in [
        (10_000, None, "Enforced"),
        (4_000, RESERVED, "Enforced"),
        (670, RESERVED, "Enforced"),
        (650, None, "Enforced"),
        (400, None, "NoRoomForMarks"),
    ] {
        let mut world = with_room(room);
        assert_eq!((reserved(&world), &*enforced(&world)), (expected, says), "{room}");
        assert!(bytes(&world) <= 262_144, "{room}");
        // A restart changes nothing.
        let before = world.object("web").clone();
        world.restart_operator();
        world.later(60).act();
        assert_eq!(
            world.object("web")["metadata"]["annotations"],
            before["metadata"]["annotations"],
            "{room}"
        );
    }
}

#[test]
fn room_is_no_longer_reserved_where_there_is_enough_or_nothing_is_held() {
    let mut world = with_room(700);
    assert_eq!(reserved(&world), RESERVED);
    leave(&mut world, 6_000);
    assert_eq!(reserved(&world), RESERVED, "between the two limits it stays");
    leave(&mut world, 9_000);
    assert_eq!(reserved(&world), None);
    for policy in
        [json!({"config": {}}), json!({"mode": "Observe", "gates": {"approval": "Required"}})]
    {
        let mut world = with_room(700);
        assert_eq!(reserved(&world), RESERVED);
        world.policy("shop", policy);
        world.act();
        assert_eq!(reserved(&world), None);
    }
}

/// Nothing is removed from the copy that a ReplicaSet has of its Deployment's annotations, but what
/// changes is copied.
#[test]
fn reserved_room_is_given_up_on_the_replica_set_before_it_is_gone() {
    let mut world = with_room(700);
    world.policy("shop", json!({"config": {}}));
    assert_eq!(next(&mut world), Some(Some(".".to_owned())));
    // The controller has not seen this yet.
    world.edit("web", |web| web["metadata"]["annotations"]["lockkeeper.dev/reserved"] = json!("."));
    assert_eq!(next(&mut world), None);
    world.observe("web");
    assert_eq!(next(&mut world), Some(None));
    // A StatefulSet has no copy.
    let mut world = of_kind_with_room(WorkloadKind::StatefulSet, 700);
    world.policy("shop", json!({"config": {}}));
    assert_eq!(next(&mut world), Some(None));
}

/// The annotations of a ReplicaSet are those of its Deployment and about 80 bytes: what is reserved
/// must not make them too many.
#[test]
fn reserved_room_leaves_the_replica_set_what_it_has_of_its_own() {
    for room in [520, 600, 660, 670, 700, 4_000] {
        let world = with_room(room);
        let fits = bytes(&world) + 128 <= 262_144;
        assert!(fits || reserved(&world).is_none(), "{room}: {}", bytes(&world));
    }
    // A StatefulSet has no copy.
    let world = of_kind_with_room(WorkloadKind::StatefulSet, 520);
    assert_eq!(reserved(&world), Some(512));
}

#[test]
fn reserved_room_is_not_reserved_again_before_the_hold_is_gone() {
    let mut world = with_room(700);
    // As admission does.
    world.edit("web", |web| {
        let id = web["metadata"]["generation"].as_i64().unwrap() + 1;
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        let marks = web["metadata"]["annotations"].as_object_mut().unwrap();
        marks.insert("lockkeeper.dev/reserved".to_owned(), json!("."));
        marks.insert("lockkeeper.dev/hold".to_owned(), json!(format!("{id} by dev")));
    });
    let id = world.id("web");
    world.observe_again(&id);
    world.act();
    world.later(60).act();
    assert_eq!((reserved(&world), &*world.stands()), (GIVEN_UP, "Held/ApprovalRequired"));
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v1"));
    world.observe("web");
    world.act();
    world.observe("web");
    world.later(60).act();
    assert_eq!(
        (reserved(&world), &*world.stands()),
        (RESERVED, "UpToDate"),
        "{:?}",
        world.attention()
    );
}

#[test]
fn what_lockkeeper_notes_itself_comes_before_reserved_room() {
    let mut world = with_room(700);
    // The record of its config takes more than is left beside.
    world.policy("shop", json!({"gates": {"approval": "Required"}, "config": {}}));
    let references: Vec<_> = (0..6).map(|number| json!({"name": format!("V{number}"), "valueFrom": {"configMapKeyRef": {"name": format!("settings-{number}"), "key": "key"}}})).collect();
    for number in 0..6 {
        world.config_map(&format!("settings-{number}"), &[("key", "value")]);
    }
    world.edit("web", |web| {
        web["spec"]["template"]["spec"]["containers"][0]["env"] = json!(references)
    });
    world.finish("web");
    world.act();
    world.later(60).act();
    assert!(
        world.object("web")["metadata"]["annotations"]["lockkeeper.dev/config"]
            .as_str()
            .is_some_and(|record| record.len() > 200)
    );
    assert_ne!(reserved(&world), RESERVED);
    assert!(bytes(&world) <= 262_144, "{}", bytes(&world));
}

//! Two who write the same two templates in turn: that is told once, in place of an event for each
//! change.

use lockkeeper::{api::WorkloadKind, core::notice::Event};
use serde_json::{Value, json};

use crate::{
    authors::{KINDS, image, setup, told},
    world::World,
};

const WHO: [&str; 2] = ["bot", "git"];

fn approval() -> Value {
    json!({"gates": {"approval": "Required"}})
}

/// The bot sets the newer image, and the other one sets it back: so many changes, each a minute
/// after the other.
fn quarrel(world: &mut World, changes: usize) {
    for number in 0..changes {
        let (who, what) = if number % 2 == 0 { (WHO[0], "v2") } else { (WHO[1], "v1") };
        write(world, who, what);
    }
}

fn write(world: &mut World, who: &str, what: &str) {
    image(world, who, what);
    world.act();
    world.later(60).act();
}

fn held(world: &World) -> usize {
    told(world, Event::UpgradeHeld).len()
}

fn conflicts(world: &World) -> Vec<&str> {
    told(world, Event::ConflictingWriters)
}

#[test]
fn two_who_undo_each_other_are_named_once_and_the_events_of_each_change_stop() {
    for kind in KINDS {
        let mut world = setup(approval(), kind);
        quarrel(&mut world, 3);
        assert!(conflicts(&world).is_empty() && held(&world) >= 2, "{kind}: {:?}", world.told);
        let before = (held(&world), told(&world, Event::GateClosed).len());
        quarrel_from(&mut world, 3, 9);
        let told_of = conflicts(&world);
        assert_eq!(told_of.len(), 1, "{kind}: {told_of:?}");
        assert!(
            told_of[0].starts_with(
                "ConflictingWriters: bot and git undo each other's changes of spec.template.spec.containers[app].image: 4 changes in turn"
            ),
            "{}",
            told_of[0]
        );
        assert!(told_of[0].contains("Let only one of them write it"), "{}", told_of[0]);
        assert_eq!(
            (held(&world), told(&world, Event::GateClosed).len()),
            before,
            "{kind}: {:?}",
            world.told
        );
        // The last change was the bot's: it stands, and the message has both.
        assert_eq!(world.stands(), "Held/ApprovalRequired", "{kind}");
        let message = &world.attention().unwrap().message;
        assert!(
            message.contains("ConflictingWriters: bot and git")
                && message.contains("9 changes in turn"),
            "{message}"
        );
    }
}

fn quarrel_from(world: &mut World, first: usize, end: usize) {
    for number in first..end {
        let (who, what) = if number % 2 == 0 { (WHO[0], "v2") } else { (WHO[1], "v1") };
        write(world, who, what);
    }
}

#[test]
fn one_person_who_tries_things_is_no_conflict_and_neither_is_one_revert() {
    let mut world = setup(approval(), WorkloadKind::Deployment);
    for number in 0..8 {
        write(&mut world, "dev", if number % 2 == 0 { "v2" } else { "v1" });
    }
    assert_eq!(conflicts(&world), [""; 0]);
    let mut world = setup(approval(), WorkloadKind::Deployment);
    quarrel(&mut world, 3);
    // The third tries another image.
    write(&mut world, "git", "v3");
    assert_eq!(conflicts(&world), [""; 0]);
    // Two who deploy one version after the other.
    let mut world = setup(approval(), WorkloadKind::Deployment);
    for number in 2..10 {
        write(&mut world, WHO[number % 2], &format!("v{number}"));
    }
    assert_eq!(conflicts(&world), [""; 0]);
    assert_eq!(held(&world), 8);
}

#[test]
fn changes_that_are_hours_apart_are_no_conflict() {
    let mut world = setup(approval(), WorkloadKind::Deployment);
    for number in 0..8 {
        quarrel_from(&mut world, number, number + 1);
        world.later(1200).act();
    }
    assert_eq!(conflicts(&world), [""; 0]);
}

#[test]
fn a_third_change_is_told_as_any_other() {
    let mut world = setup(approval(), WorkloadKind::Deployment);
    quarrel(&mut world, 7);
    let before = held(&world);
    write(&mut world, "dev", "v3");
    assert_eq!(held(&world), before + 1, "{:?}", world.told);
    assert!(told(&world, Event::UpgradeHeld).last().unwrap().contains("dev"));
    let message = &world.attention().unwrap().message;
    assert!(!message.contains("ConflictingWriters"), "{message}");
    // They begin again: that is told again.
    quarrel_from(&mut world, 7, 12);
    assert_eq!(conflicts(&world).len(), 2);
}

#[test]
fn what_is_left_held_is_told_when_one_of_them_has_stopped() {
    let mut world = setup(approval(), WorkloadKind::Deployment);
    quarrel(&mut world, 7);
    let closed = told(&world, Event::GateClosed).len();
    world.later(3000).act();
    assert_eq!(told(&world, Event::GateClosed).len(), closed);
    world.later(600).act();
    world.act();
    let told_of = told(&world, Event::GateClosed);
    assert_eq!(told_of.len(), closed + 1);
    assert!(
        told_of[closed].contains("changed by") && !told_of[closed].contains("ConflictingWriters"),
        "{}",
        told_of[closed]
    );
    assert!(!world.attention().unwrap().message.contains("ConflictingWriters"));
}

#[test]
fn an_operator_that_restarts_decides_the_same_and_only_tells_again() {
    let mut other = setup(approval(), WorkloadKind::Deployment);
    let mut world = setup(approval(), WorkloadKind::Deployment);
    for number in 0..9 {
        quarrel_from(&mut other, number, number + 1);
        quarrel_from(&mut world, number, number + 1);
        world.restart_operator();
        // It does not know for how long it has been quiet.
        world.act();
        world.later(5).act();
        assert_eq!(world.stands(), other.stands());
        let [one, other] =
            [&world, &other].map(|world| world.object("web")["metadata"]["annotations"].clone());
        assert_eq!(one["lockkeeper.dev/hold"], other["lockkeeper.dev/hold"]);
        assert_eq!(one["lockkeeper.dev/rollout"], other["lockkeeper.dev/rollout"]);
    }
    assert_eq!((conflicts(&world).len(), conflicts(&other).len()), (0, 1));
}

/// A template is changed without a hold, by this field manager.
fn roll(world: &mut World, manager: &str, what: &str) {
    let now = world.now;
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(what));
    world.edit_managers(
        "web",
        json!([
            {"manager": "deployer", "operation": "Update", "time": now, "fieldsV1": {"f:metadata": {"f:labels": {}}}},
            {"manager": manager, "operation": "Apply", "time": now, "fieldsV1": {"f:spec": {"f:template": {"f:spec": {}}}}},
            {"manager": "lockkeeper", "operation": "Apply", "time": now, "fieldsV1": {"f:spec": {"f:template": {"f:metadata": {}}}}},
        ]),
    );
    world.observe("web");
    world.act();
    world.later(60).act();
}

#[test]
fn without_a_hold_the_field_managers_are_named() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::DaemonSet] {
        let mut world = setup(json!({"config": {}, "kinds": ["Deployment", "DaemonSet"]}), kind);
        for number in 0..7 {
            let (who, what) =
                if number % 2 == 0 { ("updater", "v2") } else { ("argocd-controller", "v1") };
            roll(&mut world, who, what);
        }
        let told_of = conflicts(&world);
        assert_eq!(told_of.len(), 1, "{kind}: {told_of:?}");
        assert!(
            told_of[0].contains(
                "field manager argocd-controller and field manager updater undo each other's"
            ),
            "{}",
            told_of[0]
        );
        assert!(told_of[0].contains("each change is another rollout"), "{}", told_of[0]);
        let message = &world.attention().unwrap().message;
        assert!(message.contains("ConflictingWriters"), "{message}");
    }
    // kubectl set image and kubectl rollout undo are of one person.
    let mut world = setup(json!({"config": {}}), WorkloadKind::Deployment);
    for number in 0..8 {
        let (who, what) =
            if number % 2 == 0 { ("kubectl-set", "v2") } else { ("kubectl-rollout", "v1") };
        roll(&mut world, who, what);
    }
    assert_eq!(conflicts(&world), [""; 0]);
}

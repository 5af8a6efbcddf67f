//! The stages of a maintenance, what is declared of it in a policy, and its end without one.

use lockkeeper::{api::WorkloadKind, core::notice::Event};
use model::admission::OPERATOR;
use serde_json::{Value, json};

use crate::{
    maintenance::{KINDS, act, all_end, annotate, asleep, stage, stopped, told, write},
    world::{
        World,
        held::{hold, mark, setup},
    },
};

/// The operator decides once.
fn decide(world: &mut World) {
    let decision = world.decide();
    world.memories.extend(decision.memories);
    for patch in decision.patches {
        let patch: json_patch::Patch = serde_json::from_value(patch.json()).unwrap();
        write(world, OPERATOR, |web| json_patch::patch(web, &patch).unwrap());
    }
}

/// Without a policy, too, the pods that sleep end before those of the app start.
#[test]
fn without_its_policy_a_maintenance_ends_in_the_same_order() {
    for kind in KINDS {
        let mut world = asleep(kind, json!({}), 2);
        world.observe("web");
        act(&mut world);
        assert_eq!(stage(&world), "sleep", "{kind}");
        world.namespace.policies.clear();
        annotate(&mut world, "maintenance", "Off");
        for _ in 0..3 {
            world.later(120);
            act(&mut world);
        }
        let replicas = |world: &World| world.object("web")["spec"]["replicas"].clone();
        assert_eq!((stage(&world).as_str(), replicas(&world)), ("stop", json!(0)), "{kind}");
        all_end(&mut world);
        assert_eq!((stage(&world).as_str(), replicas(&world)), ("start", json!(2)), "{kind}");
        world.finish("web");
        act(&mut world);
        assert_eq!(stage(&world), "", "{kind}");
    }
}

/// A change that its policy kept held stays held without it.
#[test]
fn p6_without_its_policy_a_change_that_is_kept_held_does_not_start_with_the_end() {
    for (when, starts) in [("Keep", false), ("Release", true)] {
        for kind in KINDS {
            let gates = json!({"gates": {"approval": "Required"}, "whenUngoverned": when});
            let mut world = stopped(kind, gates);
            write(&mut world, "dev", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
            });
            act(&mut world);
            world.namespace.policies.clear();
            annotate(&mut world, "maintenance", "Off");
            for _ in 0..3 {
                world.later(120);
                act(&mut world);
            }
            let held = mark(&world, "web", "hold").is_some();
            let expected = if starts { ("start", false) } else { ("stop", true) };
            assert_eq!((stage(&world).as_str(), held), expected, "{kind}, {when}");
            assert_eq!(told(&world, Event::PolicyLost), usize::from(!starts), "{kind}, {when}");
            if !starts {
                // Taken back, it is what ran before.
                write(&mut world, "dev", |web| {
                    web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v1");
                });
                act(&mut world);
                let back = kind == WorkloadKind::Deployment;
                assert_eq!(stage(&world) == "start", back, "{kind}");
            }
        }
    }
}

/// One whose next stage has begun, and that has no replicas yet.
fn at_zero(kind: WorkloadKind, word: &str) -> World {
    let mut world = stopped(kind, json!({"gates": {"approval": "Required"}}));
    annotate(&mut world, "maintenance", word);
    decide(&mut world);
    let spec = &world.object("web")["spec"];
    assert!(mark(&world, "web", "in-maintenance").unwrap().ends_with(" replicas=0"), "{kind}");
    assert_eq!(spec["replicas"], 0, "{kind}");
    assert_eq!(spec["template"]["spec"]["schedulingGates"].is_null(), word == "Off", "{kind}");
    world
}

const NEXT: [(WorkloadKind, &str, &str); 4] = [
    (WorkloadKind::StatefulSet, "Off", "start"),
    (WorkloadKind::StatefulSet, "Sleep", "sleep"),
    (WorkloadKind::Deployment, "Off", "start"),
    (WorkloadKind::Deployment, "Sleep", "sleep"),
];

/// A change that is held while pods start must not keep those that are not there yet on the template
/// of the stage before, which has the gate.
#[test]
fn a_stage_gets_replicas_only_when_its_controller_runs_its_template() {
    for (kind, word, next) in NEXT {
        let mut world = at_zero(kind, word);
        let replicas = |world: &World| world.object("web")["spec"]["replicas"].clone();
        if kind == WorkloadKind::StatefulSet {
            // The controller has not taken it for the one that runs.
            world.edit_status("web", |status| status["currentRevision"] = json!("before"));
            decide(&mut world);
            assert_eq!(replicas(&world), 0, "{kind}");
        }
        world.observe("web");
        act(&mut world);
        assert_eq!((stage(&world).as_str(), replicas(&world)), (next, json!(2)), "{kind}");
    }
}

#[test]
fn p6_what_changes_before_a_stage_has_replicas_waits_as_if_it_had_come_while_it_was_stopped() {
    for (kind, word, next) in NEXT {
        let mut world = at_zero(kind, word);
        write(&mut world, "dev", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        let template = &world.object("web")["spec"]["template"];
        assert!(!template["spec"]["schedulingGates"].is_null(), "{kind}, {next}");
        act(&mut world);
        world.later(60);
        act(&mut world);
        assert_eq!(
            (world.stands().as_str(), stage(&world).as_str()),
            ("Maintenance/ApprovalRequired", "stop"),
            "{kind}, {next}"
        );
        assert_eq!(world.object("web")["spec"]["replicas"], 0, "{kind}, {next}");
    }
}

#[test]
fn fewer_replicas_that_came_with_a_held_template_are_what_it_starts_with() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "Required"}}), kind, 3);
        annotate(&mut world, "maintenance", "Sleep");
        act(&mut world);
        all_end(&mut world);
        write(&mut world, "dev", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
            web["spec"]["replicas"] = json!(2);
        });
        act(&mut world);
        assert_eq!(mark(&world, "web", "declared-replicas").as_deref(), Some("2 of 3"), "{kind}");
        annotate(&mut world, "maintenance", "Off");
        act(&mut world);
        assert_eq!(mark(&world, "web", "maintenance-replicas").as_deref(), Some("2"), "{kind}");
        let hold = mark(&world, "web", "hold").unwrap();
        annotate(&mut world, "approve", hold.split(' ').next().unwrap());
        all_end(&mut world);
        world.later(60);
        act(&mut world);
        assert_eq!(
            (stage(&world).as_str(), &world.object("web")["spec"]["replicas"]),
            ("start", &json!(2)),
            "{kind}"
        );
    }
}

/// Its ReplicaSets stay: a held Deployment that is scaled to 0 and up again may start one of them.
#[test]
fn a_replica_set_that_maintenance_has_left_is_told_where_a_held_deployment_would_start_it() {
    let mut world = setup(json!({"gates": {"approval": "Required"}}), WorkloadKind::Deployment, 2);
    let sets = world.namespace.replica_sets.clone();
    let (_, runs) = sets.iter().next().unwrap();
    let mut left = runs.clone();
    (left.name, left.revision, left.replicas) = ("web-left".into(), "left".into(), 0);
    (left.rests, left.number, left.created) = (true, 0, world.now);
    world.namespace.replica_sets.insert("left".into(), left.clone());
    hold(&mut world, "web", "v2");
    world.act();
    let message = |world: &World| world.attention().unwrap().message.clone();
    assert!(!message(&world).contains("web-left"), "{}", message(&world));
    world.edit("web", |web| web["spec"]["replicas"] = json!(0));
    world.namespace.pods.clear();
    world.edit_status("web", |status| status["replicas"] = json!(0));
    world.act();
    let delete = "kubectl delete replicaset -n  web-left";
    assert!(
        message(&world).contains("If you scale it up, its pods do not run the app"),
        "{}",
        message(&world)
    );
    assert!(message(&world).contains(delete), "{}", message(&world));
    world.edit("web", |web| web["spec"]["replicas"] = json!(2));
    left.replicas = 2;
    world.namespace.replica_sets.insert("left".into(), left);
    world.edit_status("web", |status| status["replicas"] = json!(2));
    world.act();
    assert!(message(&world).contains("Its pods do not run the app"), "{}", message(&world));
    assert!(message(&world).contains(delete), "{}", message(&world));
}

/// What the policy says of maintenance.
fn declare(world: &mut World, maintenance: Value) {
    world.policy("shop", json!({"maintenance": maintenance}));
}

#[test]
fn a_policy_declares_maintenance_and_ends_it_and_the_word_of_a_user_beats_it() {
    for kind in KINDS {
        let mut world = setup(json!({}), kind, 2);
        declare(&mut world, json!({"mode": "Sleep", "keepRunning": ["app", "of-others"]}));
        act(&mut world);
        assert_eq!(stage(&world), "stop", "{kind}");
        let message = world.attention().unwrap().message.clone();
        assert!(message.contains("declared in its policy"), "{message}");
        all_end(&mut world);
        let mark = mark(&world, "web", "in-maintenance").unwrap();
        assert!(mark.starts_with("sleep ") && mark.ends_with(" keep=app"), "{mark}");
        // A user wants it in service all the same.
        annotate(&mut world, "maintenance", "Off");
        act(&mut world);
        all_end(&mut world);
        assert_eq!(stage(&world), "start", "{kind}");
        annotate(&mut world, "maintenance", "Stop");
        act(&mut world);
        assert_eq!(stage(&world), "stop", "{kind}");
    }
}

#[test]
fn a_maintenance_that_a_policy_declares_ends_with_its_word_and_not_with_the_policy() {
    for (gone, expected) in [(false, "start"), (true, "stop")] {
        for kind in KINDS {
            let mut world = setup(json!({}), kind, 2);
            declare(&mut world, json!({"mode": "Stop"}));
            act(&mut world);
            all_end(&mut world);
            match gone {
                true => world.namespace.policies.clear(),
                false => declare(&mut world, json!({"mode": "None"})),
            }
            for _ in 0..3 {
                world.later(120);
                act(&mut world);
            }
            assert_eq!(stage(&world), expected, "{kind}, {gone}");
        }
    }
}

#[test]
fn who_asked_for_a_maintenance_and_why_is_told_as_often_as_the_policy_says() {
    let mut world =
        stopped(WorkloadKind::Deployment, json!({"maintenance": {"remindAfter": "10m"}}));
    annotate(&mut world, "maintenance", "Stop: restore the backup");
    act(&mut world);
    let message = world.attention().unwrap().message.clone();
    assert!(message.contains("requested by ann (restore the backup)"), "{message}");
    let since = world.decide().census.policies["shop"].oldest_maintenance.unwrap();
    assert!(world.now.duration_since(since).as_secs() < 60, "{since}");
    for reminders in 1..3 {
        world.later(601);
        act(&mut world);
        assert_eq!(told(&world, Event::MaintenanceReminder), reminders);
    }
    let (.., reminder) =
        world.told.iter().rfind(|(told, ..)| *told == Event::MaintenanceReminder).unwrap();
    assert!(reminder.contains("requested by ann (restore the backup)"), "{reminder}");
}

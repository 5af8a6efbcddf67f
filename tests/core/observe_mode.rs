//! A policy that only observes does nothing, and tells what it would do.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        conversation::answer::Answer,
        notice::{Event, StorageObject},
    },
};
use serde_json::{Value, json};

use crate::world::{World, volumes::shop};

fn world(spec: &Value) -> World {
    let mut spec = spec.clone();
    spec["mode"] = json!("Observe");
    let mut world = World::new().with_policy(spec);
    world.workload(WorkloadKind::Deployment, "web", 2, json!({"containers": [{"name": "app"}]}));
    world.act();
    world.later(60).act();
    world.told.clear();
    world
}

fn change(world: &mut World) {
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.act();
    world.start_pod("web");
    world.act();
}

fn condition(world: &World, kind: &str) -> Option<(String, String)> {
    let mut all = world.namespace.policies["shop"].status.conditions.iter();
    all.find(|one| one.type_ == kind).map(|one| (one.status.clone(), one.message.clone()))
}

#[test]
fn a_template_change_that_would_be_held_is_told_once_while_it_rolls() {
    for (spec, gate) in [
        (json!({"gates": {"approval": "Required"}}), "ApprovalRequired"),
        (json!({"gates": {"app": {}}}), "until its pods agree"),
        (
            json!({"gates": {"windows": [{"type": "Deny", "schedule": "* * * * *", "duration": "1h"}]}}),
            "WindowClosed",
        ),
    ] {
        let mut world = world(&spec);
        change(&mut world);
        assert_eq!(world.stands(), "WouldHold/ObserveMode", "{spec}");
        let told = |world: &World| {
            world.told.iter().filter(|(event, ..)| *event == Event::WouldHold).count()
        };
        let message = &world.told.iter().find(|(event, ..)| *event == Event::WouldHold).unwrap().2;
        assert!(message.contains(gate) && message.contains("spec.mode is Observe"), "{message}");
        world.start_pod("web");
        world.act();
        world.finish("web");
        world.act();
        assert_eq!((told(&world), world.stands().as_str()), (1, "UpToDate"), "{spec}");
    }
}

#[test]
fn what_would_not_be_held_is_not_told() {
    let allowed = json!({"gates": {"windows": [{"type": "Allow", "schedule": "* * * * *", "duration": "1h"}]}});
    for spec in [
        json!({"config": {}}),
        json!({"gates": {"approval": "Required", "appliesTo": ["Config"]}}),
        allowed,
    ] {
        let mut world = world(&spec);
        change(&mut world);
        assert!(
            !world.told.iter().any(|(event, ..)| *event == Event::WouldHold),
            "{spec}: {:?}",
            world.told
        );
        assert_eq!(world.stands(), "Rolling/RolloutUnderWay", "{spec}");
    }
}

#[test]
fn gates_are_verified_and_volumes_judged() {
    let mut world = world(&json!({"gates": {"app": {}}, "volumes": {}}));
    assert_eq!(
        condition(&world, "GatesVerified").map(|(status, _)| status).as_deref(),
        Some("True")
    );
    assert_eq!(condition(&world, "VolumesSafe").map(|(status, _)| status).as_deref(), Some("True"));
    assert_eq!(condition(&world, "HoldsEnforced"), None);
    // Wrong from now on, which is found at the next try.
    for pod in world.pods("web").iter().map(|pod| pod.name.to_string()).collect::<Vec<_>>() {
        world.answers.insert(pod, Answer::Unusable("404".to_owned()));
    }
    world.later(700).act();
    let (status, message) = condition(&world, "GatesVerified").unwrap();
    assert_eq!(status, "False", "{message}");
    assert!(world.told.iter().all(|(event, ..)| *event != Event::VolumeProtected));
}

#[test]
fn what_enforcing_would_do_for_an_exclusive_claim_is_a_danger_while_it_is_not_done() {
    let folder = json!({"spec": {"csi": null, "hostPath": {}}});
    let rows = [
        (
            json!({}),
            json!({}),
            Some("a rollout would deadlock. With mode: Enforce its strategy would become Recreate"),
        ),
        (json!({}), folder.clone(), Some("a rollout may damage the data. With mode: Enforce")),
        (
            json!({"exclusiveClaims": "WhenDeadlock"}),
            json!({}),
            Some("a rollout would deadlock. With mode: Enforce"),
        ),
        (json!({"exclusiveClaims": "WhenDeadlock"}), folder.clone(), None),
        (json!({"exclusiveClaims": "Recreate"}), folder, Some("With mode: Enforce")),
        (
            json!({"exclusiveClaims": "Report"}),
            json!({}),
            Some("a rollout would deadlock. Declare strategy.type: Recreate"),
        ),
        (json!({"exclusiveClaims": "Ignore"}), json!({}), None),
    ];
    for (volumes, volume, expected) in rows {
        let mut world = shop("ReadWriteOnce", volumes.clone());
        world.change(&StorageObject::Volume("pv-data".into()), volume);
        world.policy("shop", json!({"mode": "Observe", "volumes": volumes}));
        let (status, reason, message) = world.volumes_safe();
        match expected {
            Some(words) => {
                assert_eq!(
                    (&*status, &*reason),
                    ("False", "ExclusiveClaim"),
                    "{volumes}: {message}"
                );
                assert!(message.contains(words), "{volumes}: {message}");
            }
            None => assert_eq!(status, "True", "{volumes}: {message}"),
        }
        assert!(!world.marked_exclusive("web"), "{volumes}");
        world.edit("web", |web| web["spec"]["strategy"] = json!({"type": "Recreate"}));
        world.observe("web");
        assert_eq!(world.volumes_safe().0, "True", "{volumes}: what it declares is safe");
    }
}

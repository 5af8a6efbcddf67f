//! A policy that only observes does nothing, and tells what it would do.

use lockkeeper::{
    api::WorkloadKind,
    core::{decision::Event, gates::answer::Answer},
};
use serde_json::{Value, json};

use crate::world::World;

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
    world.edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
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
        (json!({"gates": {"windows": [{"type": "Deny", "schedule": "* * * * *", "duration": "1h"}]}}), "WindowClosed"),
    ] {
        let mut world = world(&spec);
        change(&mut world);
        assert_eq!(world.stands(), "WouldHold/ObserveMode", "{spec}");
        let told = |world: &World| world.told.iter().filter(|(event, ..)| *event == Event::WouldHold).count();
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
    for spec in [json!({"config": {}}), json!({"gates": {"approval": "Required", "appliesTo": ["Config"]}}), allowed] {
        let mut world = world(&spec);
        change(&mut world);
        assert!(!world.told.iter().any(|(event, ..)| *event == Event::WouldHold), "{spec}: {:?}", world.told);
        assert_eq!(world.stands(), "Rolling/RolloutUnderWay", "{spec}");
    }
}

#[test]
fn gates_are_verified_and_volumes_judged() {
    let mut world = world(&json!({"gates": {"app": {}}, "volumes": {}}));
    assert_eq!(condition(&world, "GatesVerified").map(|(status, _)| status).as_deref(), Some("True"));
    assert!(condition(&world, "VolumesSafe").is_some());
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

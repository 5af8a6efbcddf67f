//! Rollouts of Deployments with the strategy Recreate: the controller says nothing new before the
//! old pods are gone.

use lockkeeper::core::notice::Event;
use serde_json::{Value, json};

use crate::world::{World, env_from};

fn recreating() -> World {
    let mut world = World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "2m"}}));
    world.config_map("app", &[("a", "1")]);
    world.deployment("db", env_from("app"));
    world.edit("db", |db| db["spec"]["strategy"] = json!({"type": "Recreate"}));
    world.finish("db");
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["db"]);
    world
}

/// The first of the conditions of a Deployment whose rollout before was done.
fn stale(world: &World) -> bool {
    world.object("db")["status"]["conditions"][0]["reason"] == "NewReplicaSetAvailable"
}

#[test]
fn a_recreating_rollout_is_under_way_while_its_old_pods_terminate() {
    let mut world = recreating();
    world.end_old_pods("db", 30);
    world.act();
    assert!(stale(&world));
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    // The last of them is gone, and the controller has not yet made the ReplicaSet.
    world.namespace.pods.clear();
    world.later(20).act();
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    assert!(!world.told.iter().any(|(event, ..)| *event == Event::RolloutDone));
    world.start_new_pods("db");
    world.act();
    assert!(stale(&world), "the controller still says this of the ReplicaSet before");
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    world.later(5);
    world.ready("db", 0, true);
    world.ready("db", 1, true);
    world.act();
    assert_eq!(world.stands(), "UpToDate");
    assert!(world.told.iter().any(|(event, ..)| *event == Event::RolloutDone));
}

#[test]
fn a_recreating_rollout_whose_new_pods_never_run_fails() {
    let mut world = recreating();
    world.end_old_pods("db", 30);
    world.act();
    world.later(20).start_new_pods("db");
    world.later(130).act();
    assert!(stale(&world));
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
}

#[test]
fn a_recreating_rollout_that_goes_back_is_under_way_until_the_earlier_pods_run_again() {
    let mut world = World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "2m"}}));
    world.deployment("db", json!({"containers": [{"name": "app", "image": "v1"}]}));
    world.edit("db", |db| db["spec"]["strategy"] = json!({"type": "Recreate"}));
    world.finish("db");
    world.act();
    for image in ["v2", "v1"] {
        world.later(60).edit("db", |db| {
            db["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
        });
        world.end_old_pods("db", 30);
        world.act();
        assert_eq!(world.stands(), "Rolling/RolloutUnderWay", "{image}");
        world.later(20).start_new_pods("db");
        world.act();
        assert!(stale(&world));
        assert_eq!(world.stands(), "Rolling/RolloutUnderWay", "{image}");
    }
    world.later(130).act();
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
}

#[test]
fn a_revision_that_was_done_once_is_under_way_when_it_comes_back_after_another() {
    let mut world = recreating();
    world.end_old_pods("db", 30);
    world.later(20).start_new_pods("db");
    world.finish("db");
    world.act();
    assert_eq!(world.stands(), "UpToDate");
    let before = world.object("db")["spec"]["template"].clone();
    let broken = json!({"containers": [{"name": "app", "image": "broken"}]});
    let roll = |world: &mut World, template: Value| {
        world.later(60).edit("db", |db| db["spec"]["template"] = template);
        world.end_old_pods("db", 30);
        world.act();
        world.later(20).start_new_pods("db");
        world.act();
        assert_eq!(world.stands(), "Rolling/RolloutUnderWay");
    };
    let mut other = before.clone();
    other["spec"] = broken;
    roll(&mut world, other.clone());
    roll(&mut world, before.clone());
    world.later(130).act();
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
    // And so again, once it was done.
    world.finish("db");
    world.act();
    assert_eq!(world.stands(), "UpToDate");
    roll(&mut world, other);
    roll(&mut world, before);
}

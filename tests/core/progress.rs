//! How far a rollout is.

use lockkeeper::{api::WorkloadKind, core::decision::Event};
use serde_json::json;

use crate::world::{World, env_from};

fn rolling(kind: WorkloadKind) -> World {
    let mut world =
        World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "2m"}, "kinds": ["Deployment", "StatefulSet", "DaemonSet"]}));
    world.config_map("app", &[("a", "1")]);
    world.workload(kind, "web", 3, env_from("app"));
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    world
}

#[test]
fn every_kind_is_followed_until_it_is_done() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet] {
        let mut world = rolling(kind);
        for _ in 0..3 {
            assert_eq!(world.stands(), "Rolling/ConfigRollout", "{kind}");
            world.later(30).start_pod("web");
            assert_eq!(world.act(), [""; 0]);
        }
        assert_eq!(world.stands(), "UpToDate", "{kind}");
        assert!(world.object("web")["metadata"]["annotations"]["lockkeeper.dev/rollout"].as_str().unwrap().contains("Done"));
    }
}

#[test]
fn one_without_progress_for_the_deadline_has_failed_and_may_still_be_done_later() {
    let mut world = rolling(WorkloadKind::Deployment);
    world.start_pod("web");
    world.later(100).act();
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    world.later(30).act();
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
    world.later(30).start_pod("web");
    world.act();
    assert_eq!(world.stands(), "Rolling/RolloutUnderWay", "its slot was given back");
    world.finish("web");
    world.act();
    assert_eq!(world.stands(), "UpToDate");
}

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
fn one_that_recreates_is_under_way_while_its_old_pods_end() {
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
fn one_that_recreates_and_whose_new_pods_never_run_has_failed() {
    let mut world = recreating();
    world.end_old_pods("db", 30);
    world.act();
    world.later(20).start_new_pods("db");
    world.later(130).act();
    assert!(stale(&world));
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
}

#[test]
fn one_that_recreates_and_goes_back_is_under_way_until_the_pods_of_before_run_again() {
    let mut world = World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "2m"}}));
    world.deployment("db", json!({"containers": [{"name": "app", "image": "v1"}]}));
    world.edit("db", |db| db["spec"]["strategy"] = json!({"type": "Recreate"}));
    world.finish("db");
    world.act();
    for image in ["v2", "v1"] {
        world.later(60).edit("db", |db| db["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image));
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
fn the_next_step_waits_while_the_old_pods_of_one_that_recreates_end() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let mut world = World::new().with_policy(json!({"config": {"settle": "0s"}, "rollout": {"steps": [step("db"), step("web")]}}));
    world.config_map("app", &[("a", "1")]);
    world.deployment("db", env_from("app"));
    world.deployment("web", env_from("app"));
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    assert_eq!(world.act(), ["db"]);
    world.end_old_pods("db", 30);
    assert_eq!(world.later(10).act(), [""; 0]);
    world.start_new_pods("db");
    assert_eq!(world.later(10).act(), [""; 0]);
    world.finish("db");
    assert_eq!(world.act(), ["web"]);
}

/// A Deployment whose controller says nothing of its rollout: it has no progress deadline.
fn says_nothing(world: &mut World, name: &str) {
    world.edit_status(name, |status| status["conditions"] = json!([]));
}

#[test]
fn a_rollout_that_was_done_does_not_fail_because_a_pod_is_sick_later() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet] {
        for gates in [json!({}), json!({"approval": "Required"})] {
            let policy = json!({"config": {}, "gates": gates, "kinds": [kind], "rollout": {"deadline": "8s"}});
            let mut world = World::new().with_policy(policy);
            world.workload(kind, "web", 2, json!({"containers": [{"name": "app"}]}));
            says_nothing(&mut world, "web");
            world.act();
            world.later(60).ready("web", 0, false);
            world.later(60).act();
            assert!(!world.stands().starts_with("Failed"), "{kind} {gates}: {}", world.stands());
        }
    }
}

#[test]
fn a_rollout_that_was_done_does_not_fail_because_its_user_pauses_it() {
    let mut world = World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "8s"}}));
    world.deployment("web", json!({"containers": [{"name": "app"}]}));
    world.act();
    world.later(60).edit("web", |web| web["spec"]["paused"] = json!(true));
    world.edit_status("web", |status| status["conditions"][0]["reason"] = json!("DeploymentPaused"));
    world.act();
    world.later(60).ready("web", 0, false);
    world.later(60).act();
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn one_without_a_progress_deadline_whose_next_rollout_makes_no_progress_has_failed() {
    let mut world = World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "2m"}}));
    world.config_map("app", &[("a", "1")]);
    world.deployment("web", env_from("app"));
    says_nothing(&mut world, "web");
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    world.start_pod("web");
    says_nothing(&mut world, "web");
    world.later(130).act();
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
}

#[test]
fn the_deadline_begins_when_ready_pods_should_be_available() {
    let mut world = World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "10s"}}));
    world.config_map("app", &[("a", "1")]);
    world.deployment("web", env_from("app"));
    world.edit("web", |web| web["spec"]["minReadySeconds"] = json!(60));
    world.finish("web");
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    world.start_pod("web");
    world.later(60).act();
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    world.later(20).act();
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
}

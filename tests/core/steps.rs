//! Workloads that roll in order: who waits for whom, and who is restarted with the step before.

use lockkeeper::{api::WorkloadKind, core::digest::Key};
use serde_json::json;

use crate::world::{
    World, env_from,
    held::{held, hold, mark, spec},
};

#[test]
fn a_fix_in_a_later_step_does_not_wait_for_a_step_that_waits_for_it() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let mut world =
        World::new().with_policy(json!({"rollout": {"steps": [step("db"), step("web")]}}));
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "broken");
    world.act();
    world.later(40).act();

    world.observe("web");
    world.later(1).act();
    world.later(700).act();
    world.edit("web", |w| {
        let t = w["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .replace("\"Done\"", "\"Failed\"");
        w["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    {
        let id = world.id("web");
        world.observe_again(&id);
    }

    // the cure and a change of the step before, in one helm upgrade
    hold(&mut world, "web", "v3");
    hold(&mut world, "db", "v3");
    for _ in 0..4 {
        world.later(60).act();
    }
    assert!(!held(&world, "web") || !held(&world, "db"), "deadlock");
}

#[test]
fn a_failure_that_was_reverted_keeps_no_step_waiting() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let mut world =
        World::new().with_policy(json!({"rollout": {"steps": [step("db"), step("web")]}}));
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "broken");
    world.act();
    world.later(40).act();
    world.observe("web");
    world.later(1).act();
    world.later(700).act();
    world.edit("web", |w| {
        let t = w["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .replace("\"Done\"", "\"Failed\"");
        w["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    {
        let id = world.id("web");
        world.observe_again(&id);
    }

    hold(&mut world, "web", "v1");
    world.act();
    world.later(10).act();

    world.observe("web");
    let id = world.id("web");
    world.roll_out(&id);
    world.later(10).act();
    world.edit("web", |w| {
        let t = w["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .replace("\"Done\"", "\"Failed\"")
            .replace("t-28f96dee349770b3", "t-1f77b9d8bd21af01");
        w["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    {
        let id = world.id("web");
        world.observe_again(&id);
    }
    world.act();
    world.later(60);
    world.act();

    hold(&mut world, "web", "v3");
    hold(&mut world, "db", "v3");
    for _ in 0..4 {
        world.later(60).act();
    }
    assert!(!held(&world, "web") || !held(&world, "db"), "deadlock");
}

/// A workload of an earlier step that is deleted in the middle of a rollout, and hangs on a
/// finalizer, is no longer a step.
#[test]
fn a_workload_that_is_being_deleted_keeps_no_step_waiting() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let mut world =
        World::new().with_policy(json!({"rollout": {"steps": [step("db"), step("web")]}}));
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60).act();
    hold(&mut world, "db", "v2");
    world.act();
    world.later(3).act();
    world.observe("db");
    world.later(1).act();
    let now = world.now;
    world.edit("db", |db| db["metadata"]["deletionTimestamp"] = json!(now));
    let id = world.id("db");
    world.observe_again(&id);
    hold(&mut world, "web", "v2");
    for _ in 0..20 {
        world.later(600).act();
    }
    assert_eq!(
        mark(&world, "web", "hold"),
        None,
        "{:?}",
        world.attention().map(|one| &one.message)
    );
}

#[test]
fn the_next_step_waits_while_the_old_pods_of_a_recreating_rollout_terminate() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let mut world = World::new().with_policy(
        json!({"config": {"settle": "0s"}, "rollout": {"steps": [step("db"), step("web")]}}),
    );
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

fn web_follows_db() -> World {
    let policy = json!({"rollout": {"steps": [
        {"name": "db", "selector": {"matchLabels": {"tier": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}});
    let mut world = World::new().with_policy(policy);
    for name in ["db", "db2"] {
        world.workload(WorkloadKind::Deployment, name, 2, spec());
        world.edit(name, |db| db["metadata"]["labels"]["tier"] = json!("db"));
        let id = world.id(name);
        world.observe_again(&id);
    }
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    world
}

#[test]
fn p1_a_lost_digest_key_restarts_nothing() {
    let mut world = web_follows_db();
    world.restart_operator();
    world.key = Key::new(&[8; 32]);
    world.act();
    let mut rolled = vec![];
    for _ in 0..3 {
        rolled.extend(world.later(60).act());
    }
    assert!(rolled.is_empty(), "{rolled:?}");
}

#[test]
fn a_workload_that_is_deleted_restarts_nobody() {
    let mut world = web_follows_db();
    let id = world.id("db2");
    world.namespace.workloads.remove(&id);
    let mut rolled = vec![];
    for _ in 0..3 {
        rolled.extend(world.later(60).act());
    }
    assert!(rolled.is_empty(), "{rolled:?}");
}

#[test]
fn a_paused_step_restarts_nobody_twice() {
    let mut world = web_follows_db();
    hold(&mut world, "db", "v2");
    world.act();
    world.later(40).act();
    world.observe("db");
    world.later(1).act();
    world.start_pod("db");
    world.edit("db", |db| db["spec"]["paused"] = json!(true));
    let id = world.id("db");
    world.observe_again(&id);
    let mut rolled = vec![];
    for _ in 0..5 {
        rolled.extend(world.later(60).act());
        if !rolled.is_empty() {
            world.finish("web");
        }
    }
    world.edit("db", |db| db["spec"]["paused"] = json!(false));
    world.finish("db");
    for _ in 0..5 {
        rolled.extend(world.later(60).act());
        if rolled.len() > 1 {
            break;
        }
    }
    assert!(rolled.len() < 2, "{rolled:?}");
}

#[test]
fn p14_a_restart_that_waits_writes_nothing_at_rest() {
    let policy = json!({"gates": {"approval": "Required"}, "rollout": {"steps": [
        {"name": "db", "selector": {"matchLabels": {"app": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}});
    let mut world = World::new().with_policy(policy);
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    // db rolls without hold (say it slipped by)
    world.edit("db", |db| db["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.finish("db");
    world.act();
    world.later(3).act();

    // its generation moves on with that write, and the controller has not seen it
    world.edit("web", |_| {});
    let decision = world.decide();
    assert!(decision.patches.is_empty());
}

#[test]
fn a_step_that_is_inserted_restarts_nobody() {
    let mut world = web_follows_db();
    world.workload(WorkloadKind::Deployment, "cache", 1, spec());
    world.act();
    world.later(60);
    world.act();
    world.policy(
        "shop",
        json!({"rollout": {"steps": [
        {"name": "db", "selector": {"matchLabels": {"tier": "db"}}},
        {"name": "cache", "selector": {"matchLabels": {"app": "cache"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}}),
    );
    let mut rolled = vec![];
    for _ in 0..3 {
        rolled.extend(world.later(60).act());
    }
    assert!(rolled.is_empty(), "{rolled:?}");
}

fn db_restarts_nobody_again(policy: serde_json::Value, ended: &str, paused: bool) {
    let mut world = World::new().with_policy(policy);
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.edit("db", |db| db["metadata"]["labels"]["tier"] = json!("db"));
    let id = world.id("db");
    world.observe_again(&id);
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    // the last rollout of db, and web has followed it
    world.edit("db", |db| {
        let t = db["metadata"]["annotations"]["lockkeeper.dev/rollout"].as_str().unwrap().replace(
            '}',
            ",\"ended\":\"Done\",\"change\":\"t-1\",\"at\":\"2027-01-15T08:01:40Z\"}",
        );
        db["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    world.observe_again(&id);
    let mut legit = vec![];
    for _ in 0..3 {
        let r = world.later(60).act();
        if !r.is_empty() {
            world.finish("web");
        }
        legit.extend(r);
    }
    // db rolls again
    world.edit("db", |db| {
        db["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        if paused {
            db["spec"]["paused"] = json!(true);
        }
        let t = db["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .replace("\"ended\":\"Done\"", &format!("\"ended\":\"{ended}\""))
            .replace("t-1", "t-2");
        db["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    world.observe("db");
    let mut rolled = vec![];
    for _ in 0..8 {
        let r = world.later(60).act();
        if !r.is_empty() {
            world.finish("web");
        }
        rolled.extend(r);
    }
    assert!(rolled.is_empty(), "{rolled:?}");
}

#[test]
fn a_step_that_failed_restarts_nobody() {
    db_restarts_nobody_again(
        json!({"rollout": {"onFailure": "Continue", "deadline": "2m", "steps": [
        {"name": "db", "selector": {"matchLabels": {"tier": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}}),
        "Failed",
        false,
    );
}

#[test]
fn a_step_that_its_user_paused_restarts_nobody() {
    db_restarts_nobody_again(
        json!({"rollout": {"steps": [
        {"name": "db", "selector": {"matchLabels": {"tier": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}}),
        "UnderWay",
        true,
    );
}

/// A rollout that failed before it terminated any pod, and was reverted, restarts no follower.
#[test]
fn a_failure_that_was_reverted_restarts_no_follower() {
    let policy = json!({"rollout": {"deadline": "2m", "steps": [
        {"name": "db", "selector": {"matchLabels": {"app": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}});
    let mut world = World::new().with_policy(policy);
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60).act();
    // One that is done, which web follows.
    hold(&mut world, "db", "v2");
    world.act();
    world.later(3).act();
    world.finish("db");
    let mut rolled = Vec::new();
    for _ in 0..3 {
        let now = world.later(10).act();
        if !now.is_empty() {
            world.finish("web");
        }
        rolled.extend(now);
    }
    assert_eq!(rolled, ["web"]);
    // One that never gets a pod ready.
    hold(&mut world, "db", "broken");
    world.act();
    world.later(3).act();
    world.observe("db");
    world.later(1).act();
    world.later(200).act();
    assert!(world.stands().starts_with("Failed"), "{}", world.stands());
    hold(&mut world, "db", "v2");
    let id = world.id("db");
    let mut again = Vec::new();
    for round in 0..6 {
        again.extend(world.later(10).act());
        if round == 1 {
            assert_eq!(mark(&world, "db", "hold"), None);
            world.observe("db");
            world.observe_again(&id);
        }
    }
    assert_eq!(again, [""; 0], "no pod of db was ended: {:?}", mark(&world, "db", "rollout"));
}

//! How far a rollout is.

use lockkeeper::{
    api::WorkloadKind,
    core::{conditions::write_at, notice::Event},
};
use serde_json::{Value, json};

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
        assert!(
            world.object("web")["metadata"]["annotations"]["lockkeeper.dev/rollout"]
                .as_str()
                .unwrap()
                .contains("Done")
        );
    }
}

#[test]
fn a_rollout_without_progress_for_the_deadline_fails_and_may_still_finish_later() {
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

#[test]
fn a_set_that_goes_back_by_one_pod_is_under_way_until_that_runs() {
    for approved in [false, true] {
        let gates = if approved {
            json!({"approval": "Required", "appliesTo": ["Template"]})
        } else {
            json!({})
        };
        let mut world = World::new()
            .with_policy(json!({"config": {}, "gates": gates, "kinds": ["StatefulSet"]}));
        world.config_map("app", &[("a", "1")]);
        world.workload(WorkloadKind::StatefulSet, "db", 2, env_from("app"));
        world.act();
        world.later(60).config_map("app", &[("a", "2")]);
        world.act();
        assert_eq!(world.later(3).act(), ["db"]);
        world.finish("db");
        world.act();
        let before = world.object("db")["spec"]["template"].clone();
        world.later(60).edit("db", |db| {
            db["spec"]["template"]["spec"]["containers"][0]["image"] = json!("broken");
            let id = db["metadata"]["generation"].as_i64().unwrap() + 1;
            if approved {
                db["metadata"]["annotations"]["lockkeeper.dev/hold"] =
                    json!(format!("{id} by dev"));
                db["metadata"]["annotations"]["lockkeeper.dev/approve"] = json!(id.to_string());
                db["metadata"]["annotations"]["lockkeeper.dev/approved-by"] = json!("boss");
            }
        });
        world.observe("db");
        world.act();
        world.later(10).act();
        assert_eq!(
            world.object("db")["metadata"]["annotations"]["lockkeeper.dev/hold"],
            json!(null)
        );
        world.start_pod("db");
        world.act();
        world.later(60).edit("db", |db| db["spec"]["template"] = before);
        world.start_pod("db");
        for pod in 0..2 {
            let new = world.pods("db")[pod].created == world.now;
            world.ready("db", pod, !new);
        }
        world.act();
        let status = &world.object("db")["status"];
        assert_eq!(status["currentRevision"], status["updateRevision"]);
        assert!(world.stands().starts_with("Rolling/"), "{approved}: {}", world.stands());
    }
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
    world
        .edit_status("web", |status| status["conditions"][0]["reason"] = json!("DeploymentPaused"));
    world.act();
    world.later(60).ready("web", 0, false);
    world.later(60).act();
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn a_deployment_without_a_progress_deadline_fails_when_its_next_rollout_makes_no_progress() {
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

pub fn message(world: &World) -> String {
    world.attention().map(|one| one.message.clone()).unwrap_or_default()
}

#[test]
fn why_pods_cannot_be_created_is_said_at_once_and_in_the_end() {
    let mut world = rolling(WorkloadKind::Deployment);
    world.observe("web");
    let why = "pods \"web-1\" is forbidden: exceeded quota: q, requested: pods=1";
    world.edit_status("web", |status| {
        let failure = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": why});
        status["conditions"].as_array_mut().unwrap().push(failure);
    });
    world.act();
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    assert!(message(&world).contains(why), "{}", message(&world));
    world.later(130).act();
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
    assert!(message(&world).contains(why), "{}", message(&world));
    assert!(
        world
            .told
            .iter()
            .any(|(event, _, told)| *event == Event::RolloutFailed && told.contains(why))
    );
}

#[test]
fn what_pods_need_and_is_missing_is_named_while_a_rollout_is_under_way() {
    let mut world = World::new().with_policy(json!({"config": {}}));
    world.deployment("web", env_from("synced"));
    world.ready("web", 0, false);
    world.edit_status("web", |status| {
        status["conditions"][0]["reason"] = json!("ReplicaSetUpdated")
    });
    for look in ["at first", "later"] {
        world.act();
        assert_eq!(world.stands(), "Rolling/RolloutUnderWay", "{look}");
        let told = message(&world);
        assert_eq!(told.matches("ConfigMap/synced does not exist").count(), 1, "{look}: {told}");
    }
}

#[test]
fn which_pods_run_on_old_config_is_named_where_others_do_not() {
    let mut world = World::new().with_policy(json!({"config": {"settle": "30s"}}));
    world.config_map("app", &[("a", "1")]);
    world.deployment("web", env_from("app"));
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert!(!message(&world).contains("not running on it"), "{}", message(&world));
    world.later(2).start_pod("web");
    world.act();
    let old = world.pods("web").iter().min_by_key(|pod| pod.created).unwrap().name.clone();
    assert!(
        message(&world).contains(&format!("(not running on it yet: {old})")),
        "{}",
        message(&world)
    );
}

#[test]
fn what_changes_of_a_rollout_is_written_within_two_seconds_and_nothing_where_nothing_changes() {
    let mut world = rolling(WorkloadKind::Deployment);
    let status = |world: &World| world.namespace.policies["shop"].status.clone();
    let before = status(&world);
    world.later(5).start_pod("web");
    world.act();
    let (after, now) = (status(&world), world.now);
    let last = now - std::time::Duration::from_millis(300);
    let at = write_at(&before, &after, Some(last), now).unwrap();
    assert!(at > now && at <= now + std::time::Duration::from_secs(2), "{at}");
    assert_eq!(write_at(&after, &after, Some(last), now), None);
}

#[test]
fn what_a_stateful_set_lacks_is_looked_for_while_it_lacks_it() {
    let mut world = World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "2m"}}));
    world.workload(WorkloadKind::StatefulSet, "db", 2, json!({"containers": [{"name": "app"}]}));
    world.act();
    world
        .later(60)
        .edit("db", |db| db["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.observe("db");
    // Of one that has finished nothing but a finalizer is left.
    let gone = world.pods("db")[0].uid.clone();
    let until = world.now;
    for pod in world.namespace.pods.values_mut().filter(|pod| pod.uid == gone) {
        (pod.terminating, pod.finished, pod.ready) = (Some(until), true, false);
    }
    world.observe("db");
    world.act();
    assert_eq!(world.looked, [""; 0], "its controller is given a moment");
    world.later(3).act();
    world.later(3).act();
    assert_eq!(world.looked, ["db"]);
    let lack = world.memories.get_mut("uid-db").unwrap().lack.as_mut().unwrap();
    lack.why = Some("create Pod db-1 in StatefulSet db failed error: exceeded quota".into());
    world.act();
    assert!(
        message(&world).contains("pods cannot be created: create Pod db-1"),
        "{}",
        message(&world)
    );
    world.later(10).act();
    assert_eq!(world.looked, ["db", "db"]);
    world.finish("db");
    world.later(60).act();
    assert_eq!((world.stands().as_str(), world.looked.len()), ("UpToDate", 2));
}

/// What is noted as done follows each rollout, also one that nobody saw: otherwise a revert to what
/// was noted would be done at once.
#[test]
fn a_revert_of_what_rolled_while_the_operator_was_away_is_under_way_until_its_pods_run() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = rolling(kind);
        world.finish("web");
        world.act();
        assert_eq!(world.stands(), "UpToDate");
        let before = world.object("web")["spec"]["template"].clone();
        world.later(60).edit("web", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
        });
        world.finish("web");
        world.restart_operator();
        world.act();
        assert_eq!(world.stands(), "UpToDate", "{kind}");
        world.later(60).edit("web", |web| web["spec"]["template"] = before);
        world.finish("web");
        for pod in 0..3 {
            world.ready("web", pod, false);
        }
        if kind == WorkloadKind::Deployment {
            says_nothing(&mut world, "web");
        } else {
            world.edit_status("web", |status| status["currentRevision"] = json!("old"));
        }
        world.act();
        assert!(world.stands().starts_with("Rolling/"), "{kind}: {}", world.stands());
    }
}

/// A template that is reverted before any pod was replaced has changed nothing, also where a pod
/// was ill before.
#[test]
fn a_revert_before_any_pod_was_replaced_is_done_although_a_pod_is_ill() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = rolling(kind);
        world.finish("web");
        world.act();
        world.later(60).ready("web", 0, false);
        world.later(300).act();
        assert_eq!(world.stands(), "UpToDate", "{kind}");
        let before = world.object("web")["spec"]["template"].clone();
        let revision = world.object("web")["status"]["updateRevision"].clone();
        world.later(60).edit("web", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
        });
        world.observe("web");
        world.act();
        assert!(world.stands().starts_with("Rolling/"), "{kind}: {}", world.stands());
        world.later(5).edit("web", |web| web["spec"]["template"] = before);
        world.observe("web");
        if kind == WorkloadKind::StatefulSet {
            world.edit_status("web", |status| status["currentRevision"] = revision);
        } else {
            says_nothing(&mut world, "web");
        }
        world.act();
        assert_eq!(world.stands(), "UpToDate", "{kind}");
        world.later(300).act();
        assert_eq!(world.stands(), "UpToDate", "{kind}");
    }
}

/// So it is where the change was let through by its gates, and reverted before its first pod.
#[test]
fn a_released_change_that_is_reverted_before_any_pod_was_replaced_is_done_although_a_pod_is_ill() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for replaced in [false, true] {
            let mut world = rolling(kind);
            world.finish("web");
            world.act();
            // It was moved to another node, and does not get ready there.
            world.later(60);
            let uid = world.pods("web")[0].uid.clone();
            let now = world.now;
            world
                .namespace
                .pods
                .values_mut()
                .filter(|pod| pod.uid == uid)
                .for_each(|pod| pod.created = now);
            world.ready("web", 0, false);
            world.later(60);
            let mut outcome: Value = serde_json::from_str(
                world.object("web")["metadata"]["annotations"]["lockkeeper.dev/rollout"]
                    .as_str()
                    .unwrap(),
            )
            .unwrap();
            for (field, value) in [
                ("change", json!("t-another")),
                ("left", json!(true)),
                ("ended", json!("UnderWay")),
                ("at", json!(world.now)),
            ] {
                outcome[field] = value;
            }
            world.edit("web", |web| {
                web["metadata"]["annotations"]["lockkeeper.dev/rollout"] =
                    json!(outcome.to_string())
            });
            world.later(5);
            if replaced {
                let now = world.now;
                world
                    .namespace
                    .pods
                    .values_mut()
                    .filter(|pod| pod.uid == uid)
                    .for_each(|pod| pod.created = now);
            }
            let id = world.id("web");
            world.observe_again(&id);
            world.edit_status("web", |status| {
                status["currentRevision"] = status["updateRevision"].clone();
                status["conditions"] = json!([]);
            });
            world.act();
            assert_eq!(world.stands() == "UpToDate", !replaced, "{kind}: {}", world.stands());
        }
    }
}

//! Template changes that rolled although they should have been held: told once, and only where
//! holds were asked for.

use lockkeeper::api::WorkloadKind;
use serde_json::{Value, json};

use crate::{
    holds::{hold, is_held, scale, told, world},
    world::{World, env_from},
};

#[test]
fn a_held_set_that_is_scaled_to_zero_is_told_as_missed() {
    for restart in [false, true] {
        let mut world = world(WorkloadKind::StatefulSet, 2, json!({"mode": "Freeze"}));
        hold(&mut world, "v2", None);
        assert!(is_held(&world));
        if restart {
            world.restart_operator();
        }
        scale(&mut world, 0);
        world.edit("web", |web| {
            web["status"]["currentRevision"] = web["status"]["updateRevision"].clone()
        });
        let id = world.id("web");
        world.observe_again(&id);
        world.act();
        assert!(!is_held(&world));
        let missed = told(&world, "HoldMissed");
        assert!(
            missed.len() == 1
                && missed[0].starts_with("ScaledToZero: change ")
                && missed[0].contains(" by dev "),
            "{missed:?}"
        );
        world.later(60).act();
        assert_eq!(told(&world, "HoldMissed").len(), 1);
    }
}

/// One more pod of the newest template, which has finished and is gone but for a finalizer.
fn finished_pod(world: &mut World) {
    let before: Vec<_> = world.namespace.pods.clone().into_iter().collect();
    world.start_pod("web");
    let until = world.now - std::time::Duration::from_secs(600);
    for pod in world.namespace.pods.values_mut() {
        if before.iter().all(|(_, known)| known.uid != pod.uid) {
            (pod.terminating, pod.finished, pod.ready) = (Some(until), true, false);
        }
    }
    world.namespace.pods.extend(before);
    let id = world.id("web");
    world.observe("web");
    world.observe_again(&id);
}

#[test]
fn a_change_that_comes_at_zero_and_is_not_held_is_told_unless_only_the_app_is_asked() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for (gates, expected) in
            [(json!({"gates": {"approval": "Required"}}), 1), (json!({"gates": {"app": {}}}), 0)]
        {
            let mut world = world(kind, 2, gates.clone());
            scale(&mut world, 0);
            world.act();
            finished_pod(&mut world);
            world.edit("web", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
            });
            world.observe("web");
            world.later(3).act();
            let missed = told(&world, "HoldMissed");
            assert_eq!(missed.len(), expected, "{kind} {gates}: {missed:?}");
            assert!(
                missed.iter().all(|message| message.starts_with("ScaledToZero: ")),
                "{missed:?}"
            );
            world.later(60).act();
            assert_eq!(told(&world, "HoldMissed").len(), expected, "{kind} {gates}");
        }
    }
}

/// A workload whose first pods are joined by one of another template before its rollout was ever
/// done.
fn changed_early(world: &mut World) {
    world.workload(
        WorkloadKind::Deployment,
        "web",
        2,
        json!({"containers": [{"name": "app", "image": "v1"}]}),
    );
    world.later(2);
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.start_pod("web");
}

#[test]
fn a_change_that_came_before_the_marks_is_told_once() {
    let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
    world.later(60);
    changed_early(&mut world);
    world.act();
    world.later(5).act();
    let missed = told(&world, "HoldMissed");
    assert!(missed.len() == 1 && missed[0].starts_with("NotMarked: "), "{missed:?}");
}

#[test]
fn a_rollout_that_began_before_its_policy_is_not_missed() {
    let mut world = World::new();
    changed_early(&mut world);
    world.later(60);
    world.policy("shop", json!({"gates": {"approval": "Required"}}));
    world.act();
    world.later(5).act();
    assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new());
}

#[test]
fn a_revert_amid_the_first_rollout_is_not_missed() {
    let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
    world.later(60);
    changed_early(&mut world);
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/rollout"] =
            json!("{\"change\": \"t-another\"}")
    });
    world.observe("web");
    world.act();
    world.later(5).act();
    assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new());
}

#[test]
fn a_workload_that_is_created_again_over_running_pods_is_told() {
    for same in [true, false] {
        let mut world = World::new().with_policy(json!({"gates": {"app": {}}}));
        world.later(60);
        world.workload(
            WorkloadKind::StatefulSet,
            "web",
            2,
            json!({"containers": [{"name": "app", "image": "v1"}]}),
        );
        world.act();
        world.later(60).act();
        // Deleted with its pods left, and made again.
        let now = world.now;
        world.edit("web", |web| {
            web["metadata"]["creationTimestamp"] = json!(now);
            web["metadata"]["annotations"] = json!({});
            web["metadata"]["labels"] = json!({"app": "web"});
            if !same {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
            }
        });
        world.memories.clear();
        world.later(2);
        if !same {
            world.start_pod("web");
        }
        world.observe("web");
        world.act();
        world.later(5).act();
        let missed = told(&world, "HoldMissed");
        assert_eq!(missed.len(), usize::from(!same), "{missed:?}");
    }
}

/// Only changes of the template wait for an approval.
fn approval_of_templates() -> Value {
    json!({"config": {}, "gates": {"approval": "Required", "appliesTo": ["Template"]}})
}

/// A workload whose config was rolled out once.
fn with_config(kind: WorkloadKind, policy: Value) -> World {
    let mut world = World::new().with_policy(policy);
    world.config_map("app", &[("a", "1")]);
    world.workload(kind, "web", 2, env_from("app"));
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    world.finish("web");
    world.act();
    world.later(60).act();
    world
}

#[test]
fn a_change_that_is_not_held_after_a_rollout_of_config_is_told() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = with_config(kind, approval_of_templates());
        let done = told(&world, "RolloutDone").len();
        world.edit("web", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
        });
        world.start_pod("web");
        world.act();
        world.later(5).act();
        assert_eq!(told(&world, "HoldMissed").len(), 1, "{kind}: {:?}", world.told);
        world.finish("web");
        world.act();
        world.later(60).act();
        assert_eq!(
            (told(&world, "HoldMissed").len(), told(&world, "RolloutDone").len()),
            (1, done + 1),
            "{kind}"
        );
    }
}

#[test]
fn a_rollout_of_config_whose_template_a_webhook_changes_is_not_missed() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = with_config(kind, approval_of_templates());
        let done = told(&world, "RolloutDone").len();
        world.config_map("app", &[("a", "3")]);
        world.act();
        assert_eq!(world.later(3).act(), ["web"]);
        let id = world.id("web");
        let generation = world.object("web")["metadata"]["generation"].as_i64().unwrap();
        world.edit("web", |web| {
            web["spec"]["template"]["metadata"]["labels"]["team"] = json!("shop");
            web["metadata"]["generation"] = json!(generation - 1);
        });
        world.observe_again(&id);
        world.start_pod("web");
        world.act();
        world.later(5).act();
        world.finish("web");
        world.act();
        assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new(), "{kind}");
        assert_eq!(told(&world, "RolloutDone").len(), done + 1, "{kind}");
    }
}

#[test]
fn a_workload_scaled_up_with_another_template_is_told() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for (policy, expected) in [
            (json!({"gates": {"approval": "Required"}}), 1),
            (json!({"mode": "Freeze"}), 1),
            (json!({"gates": {"app": {}}}), 0),
        ] {
            let mut world = world(kind, 2, policy.clone());
            scale(&mut world, 0);
            world.act();
            world.later(60).edit("web", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
                web["spec"]["replicas"] = json!(2);
            });
            world.start_pod("web");
            world.act();
            world.later(5).act();
            let missed = told(&world, "HoldMissed");
            assert_eq!(missed.len(), expected, "{kind} {policy}: {:?}", world.told);
            assert!(
                missed.iter().all(|message| message.starts_with("ScaledToZero: ")),
                "{missed:?}"
            );
            world.finish("web");
            world.act();
            assert_eq!(told(&world, "HoldMissed").len(), expected, "{kind} {policy}");
        }
    }
}

#[test]
fn what_rolled_while_the_operator_was_away_is_told_unless_nothing_asked_for_holds_then() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for (gates, expected) in [(json!({"approval": "Required"}), 1), (json!({}), 0)] {
            let mut world = world(kind, 2, json!({"gates": gates}));
            world.later(60).edit("web", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
            });
            world.finish("web");
            world.restart_operator();
            if expected == 0 {
                world.later(60).policy("shop", json!({"gates": {"approval": "Required"}}));
            }
            world.act();
            world.later(5).act();
            assert_eq!(
                told(&world, "HoldMissed").len(),
                expected,
                "{kind} {gates}: {:?}",
                world.told
            );
            world.later(60).act();
            assert_eq!(told(&world, "HoldMissed").len(), expected, "{kind} {gates}");
        }
    }
}

#[test]
fn a_revert_to_what_was_done_while_the_operator_was_away_is_no_miss() {
    let mut world = world(WorkloadKind::StatefulSet, 2, json!({"gates": {"approval": "Required"}}));
    hold(&mut world, "v2", None);
    let id = world.object("web")["metadata"]["annotations"]["lockkeeper.dev/hold"]
        .as_str()
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/approve"] = json!(id);
        web["metadata"]["annotations"]["lockkeeper.dev/approved-by"] = json!("boss");
    });
    world.later(60).act();
    assert!(!is_held(&world));
    // It is done while nobody looks, and so is what follows: another template, which is held, and
    // the same again.
    world.finish("web");
    world.restart_operator();
    world.edit("web", |web| {
        let id = web["metadata"]["generation"].as_i64().unwrap() + 1;
        web["metadata"]["annotations"]["lockkeeper.dev/hold"] = json!(format!("{id} by dev"));
    });
    let id = world.id("web");
    world.observe_again(&id);
    world.later(5).act();
    assert!(!is_held(&world));
    assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new());
}

#[test]
fn a_rollout_that_began_before_the_workload_was_selected_is_not_missed() {
    let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
    world.later(60);
    changed_early(&mut world);
    // Somebody adds the label by which the policy selects it.
    world.later(60).edit("web", |web| web["metadata"]["labels"]["team"] = json!("shop"));
    world.observe("web");
    world.act();
    world.later(5).act();
    assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new());
}

#[test]
fn a_rollout_that_began_before_holds_were_asked_for_is_not_missed() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for pods in [false, true] {
            let mut world = with_config(kind, json!({"config": {}}));
            world.edit("web", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
            });
            if pods {
                world.start_pod("web");
            } else {
                world.observe("web");
            }
            world.act();
            world.later(5).policy("shop", json!({"config": {}, "mode": "Freeze"}));
            world.act();
            world.later(5).act();
            world.start_pod("web");
            world.act();
            assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new(), "{kind} {pods}");
        }
    }
}

/// The policy is older than the change, but the operator was not installed then.
#[test]
fn a_rollout_that_began_before_the_marks_stood_again_is_not_missed() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = with_config(kind, approval_of_templates());
        world.memories.clear();
        world.later(60).edit("web", |web| {
            let marks = web["metadata"]["annotations"].as_object_mut().unwrap();
            marks.retain(|mark, _| {
                ["lockkeeper.dev/rollout", "lockkeeper.dev/config"].contains(&&**mark)
                    || !mark.starts_with("lockkeeper.dev/")
            });
            web["metadata"]["labels"].as_object_mut().unwrap().remove("lockkeeper.dev/governed");
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        world.start_pod("web");
        world.later(5).act();
        world.later(5).act();
        assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new(), "{kind}");
    }
}

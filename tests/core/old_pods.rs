//! Old pods that a rollout waits for until they are gone.

use lockkeeper::core::notice::Event;
use serde_json::json;

use crate::{
    progress::message,
    world::{World, env_from},
};

/// A rollout of two pods, of which one old pod goes, until 30 seconds from then on.
fn with_an_old_pod_that_goes(policy: serde_json::Value, spec: serde_json::Value) -> World {
    let mut world = World::new().with_policy(policy);
    world.config_map("app", &[("a", "1")]);
    world.deployment("web", spec);
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    let mut old = world.pods("web")[0].clone();
    world.finish("web");
    old.terminating = Some(world.now + std::time::Duration::from_secs(30));
    world.namespace.pods.insert(old.uid.clone(), old);
    world.act();
    world
}

#[test]
fn a_rollout_names_the_old_pods_that_it_waits_for() {
    let mut world = with_an_old_pod_that_goes(json!({"config": {}}), env_from("app"));
    let until = lockkeeper::core::clock(world.now + std::time::Duration::from_secs(30));
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    assert!(
        message(&world).contains(&format!("waiting for 1 old pod to terminate (until {until})")),
        "{}",
        message(&world)
    );
    world.namespace.pods.retain(|_, pod| pod.terminating.is_none());
    world.act();
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn a_pod_that_does_not_end_is_named_and_pauses_nobody_where_the_new_ones_are_available() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let policy =
        json!({"config": {}, "rollout": {"deadline": "2m", "steps": [step("web"), step("other")]}});
    let mut world = with_an_old_pod_that_goes(policy, env_from("app"));
    world.deployment("other", env_from("app"));
    world.later(5).act();
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    world.later(60).act();
    assert_eq!(world.stands(), "WaitsForUser/StuckTerminating");
    let told = message(&world);
    assert!(told.contains("on node node-1") && told.contains("kubectl delete pod -n"), "{told}");
    assert!(
        world
            .told
            .iter()
            .any(|(event, _, why)| *event == Event::RolloutDone && why.contains("still exists"))
    );
    world.later(600).act();
    assert_eq!(world.stands(), "WaitsForUser/StuckTerminating");
    world.config_map("app", &[("a", "3")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"], "and it may be rolled again");
}

#[test]
fn a_pod_that_does_not_end_is_waited_for_where_the_new_ones_need_its_claim() {
    let mut spec = env_from("app");
    spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let mut world =
        with_an_old_pod_that_goes(json!({"config": {}, "rollout": {"deadline": "2m"}}), spec);
    world.later(70).act();
    assert_eq!(world.stands(), "Rolling/StuckTerminating");
    world.later(120).act();
    assert_eq!(world.stands(), "Failed/StuckTerminating");
}

/// The kubelet reports a deleted pod as finished first; the pod goes when its volumes are
/// unmounted. After that only a finalizer keeps it.
#[test]
fn an_old_pod_that_has_finished_is_waited_for_until_it_is_gone_or_nothing_but_a_finalizer_keeps_it()
{
    let with_claim = || {
        let mut spec = env_from("app");
        spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        spec
    };
    for (spec, finalizer) in [
        (env_from("app"), false),
        (env_from("app"), true),
        (with_claim(), false),
        (with_claim(), true),
    ] {
        let mut world = with_an_old_pod_that_goes(
            json!({"config": {}, "rollout": {"deadline": "2m"}}),
            spec.clone(),
        );
        let now = world.now;
        for pod in world.namespace.pods.values_mut().filter(|pod| pod.terminating.is_some()) {
            (pod.finished, pod.ready, pod.reach.running, pod.terminating) =
                (true, false, false, Some(now));
            pod.ails = Some("Error (exit 137)".into());
        }
        world.act();
        assert_eq!(world.stands(), "Rolling/ConfigRollout", "{spec}");
        assert!(
            message(&world).contains("waiting for 1 old pod to terminate"),
            "{}",
            message(&world)
        );
        assert!(
            !message(&world).contains("exit 137"),
            "that an old pod was killed is no trouble: {}",
            message(&world)
        );
        assert!(!world.told.iter().any(|(event, ..)| *event == Event::RolloutDone), "{spec}");
        if finalizer {
            world.later(31).act();
        } else {
            world.namespace.pods.retain(|_, pod| pod.terminating.is_none());
            world.later(1).act();
        }
        assert_eq!(world.stands(), "UpToDate", "{spec}");
        assert!(world.told.iter().any(|(event, ..)| *event == Event::RolloutDone), "{spec}");
    }
}

//! What happens to a change in config, told step by step.

use lockkeeper::{
    api::{ConfigKind, WorkloadKind},
    marks::MarkSet,
};
use serde_json::json;

use crate::world::{World, env_from, env_key};

/// A workload that reads ConfigMap app, adopted, a minute later.
fn adopted(spec: serde_json::Value) -> World {
    let mut world = World::new().with_policy(spec);
    world.config_map("app", &[("a", "1"), ("b", "1")]);
    world.later(5).deployment("web", env_key("app", "a"));
    world.later(5);
    assert_eq!(world.act(), [""; 0], "adoption rolls nothing");
    world.later(60);
    assert_eq!(world.stands(), "UpToDate");
    world
}

fn settled(world: &mut World) -> Vec<String> {
    let at_once = world.act();
    assert!(at_once.is_empty(), "acted before the quiet time: {at_once:?}");
    world.later(3).act()
}

#[test]
fn p2_a_changed_key_is_one_rollout() {
    let mut world = adopted(json!({"config": {}}));
    world.config_map("app", &[("a", "2"), ("b", "1")]);
    assert_eq!(settled(&mut world), ["web"]);
    assert_eq!(world.act(), [""; 0]);
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    assert_eq!(world.attention().unwrap().changed, ["ConfigMap/app[a]"]);
    world.finish("web");
    assert_eq!(world.act(), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn p3_a_key_that_is_not_read_is_no_rollout() {
    let mut world = adopted(json!({"config": {}}));
    world.config_map("app", &[("a", "1"), ("b", "2"), ("c", "3")]);
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn p3_what_is_excluded_from_a_glob_that_is_included_rolls_nothing() {
    let pattern = |name: &str| json!([{"kind": "ConfigMap", "name": name}]);
    let mut world =
        World::new().with_policy(json!({"config": {"settle": "0s", "include": pattern("app-*"), "exclude": pattern("app-t?p")}}));
    world.config_map("app-a", &[("a", "old")]);
    world.config_map("app-tmp", &[("a", "old")]);
    world.config_map("other", &[("a", "old")]);
    world.deployment("web", env_from("other"));
    world.later(5);
    world.act();
    world.config_map("app-tmp", &[("a", "new")]);
    world.later(5);
    assert_eq!(world.act(), [""; 0]);
    world.config_map("app-a", &[("a", "new")]);
    world.later(5);
    assert_eq!(world.act(), ["web"]);
}

#[test]
fn p2_changed_and_changed_back_is_none() {
    let mut world = adopted(json!({"config": {}}));
    world.config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.stands(), "Settling/ConfigChanged");
    world.later(1).config_map("app", &[("a", "1")]);
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn p2_changed_and_changed_back_with_a_pod_started_in_between_is_one() {
    let mut world = adopted(json!({"config": {}}));
    world.config_map("app", &[("a", "2")]);
    world.act();
    world.later(1).start_pod("web");
    world.later(1).config_map("app", &[("a", "1")]);
    assert_eq!(settled(&mut world), ["web"]);
    world.finish("web");
    assert_eq!(world.act(), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn p2_changed_and_changed_back_in_the_second_after_a_pod_had_started_is_none() {
    let mut world = adopted(json!({"config": {}}));
    world.later(60).start_pod("web");
    world.config_map("app", &[("a", "2")]);
    world.act();
    world.config_map("app", &[("a", "1")]);
    assert_eq!(settled(&mut world), [""; 0], "its start was reported before the first change");
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn p4_a_change_while_the_operator_was_down_is_rolled_once() {
    let mut world = adopted(json!({"config": {}}));
    world.config_map("app", &[("a", "2")]);
    world.later(60).restart_operator();
    assert_eq!(settled(&mut world), ["web"]);
    world.restart_operator();
    assert_eq!(settled(&mut world), [""; 0], "after the patch, before the pods");
    world.finish("web");
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn p1_a_lost_digest_key_is_an_adoption_and_no_rollout() {
    let mut world = adopted(json!({"config": {}}));
    world.restart_operator();
    world.key = lockkeeper::core::digest::Key::new(&[8; 32]);
    world.config_map("app", &[("a", "1"), ("b", "1")]);
    assert_eq!(settled(&mut world), [""; 0]);
    let ready = &world.namespace.policies["shop"].status.conditions[1];
    assert!(ready.message.contains("Unverified"), "{}", ready.message);
}

#[test]
fn p2_a_rollout_under_way_whose_pods_are_fresh_carries_the_change() {
    let mut world = adopted(json!({"config": {}}));
    world.config_map("app", &[("a", "2")]);
    world.act();
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.observe("web");
    world.later(1).start_pod("web");
    assert_eq!(world.later(3).act(), [""; 0]);
    assert_eq!(world.stands(), "Rolling/CoveredByRollout");
    world.finish("web");
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn p4_a_rollout_that_carried_the_change_and_is_undone_leaves_no_pod_on_old_config() {
    let mut world = adopted(json!({"config": {}}));
    world.config_map("app", &[("a", "2")]);
    world.edit("web", |web| {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("broken")
    });
    world.observe("web");
    world.later(3).act();
    assert_eq!(world.stands(), "Rolling/CoveredByRollout");
    world.edit("web", |web| {
        drop(
            web["spec"]["template"]["spec"]["containers"][0]
                .as_object_mut()
                .unwrap()
                .remove("image"),
        )
    });
    world.observe("web");
    assert_eq!(world.later(3).act(), ["web"]);
}

#[test]
fn the_image_first_then_the_config_rolls_again_for_pods_that_were_too_early() {
    let mut world = adopted(json!({"config": {}}));
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.later(1).start_pod("web");
    world.later(1).config_map("app", &[("a", "2")]);
    assert_eq!(settled(&mut world), ["web"]);
}

#[test]
fn a_to_b_undone_then_back_to_a_ends_on_a() {
    let mut world = adopted(json!({"config": {}}));
    world.config_map("app", &[("a", "2")]);
    assert_eq!(settled(&mut world), ["web"]);
    world.finish("web");
    world.act();
    world.later(60).edit("web", |web| {
        drop(web["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("annotations"))
    });
    world.finish("web");
    assert_eq!(settled(&mut world), [""; 0], "its pods were made after the change");
    world.later(60).config_map("app", &[("a", "1")]);
    assert_eq!(settled(&mut world), ["web"]);
}

#[test]
fn p4_an_undo_that_brings_old_pods_back_is_said_and_not_fought() {
    let mut world = adopted(json!({"config": {}}));
    let before = world.object("web")["spec"]["template"].clone();
    world.config_map("app", &[("a", "2")]);
    assert_eq!(settled(&mut world), ["web"]);
    world.observe("web");
    world.edit("web", |web| web["spec"]["template"] = before);
    world.observe("web");
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "Waiting/RolledBack");
    world.config_map("app", &[("a", "3")]);
    assert_eq!(settled(&mut world), ["web"]);
}

#[test]
fn an_optional_object_that_appears_or_goes_is_a_change_a_required_one_that_goes_is_not() {
    let optional = json!({"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "extra", "optional": true}}]}]});
    let mut world = World::new().with_policy(json!({"config": {}}));
    world.deployment("web", optional);
    world.act();
    world.later(60).config_map("extra", &[("x", "1")]);
    assert_eq!(settled(&mut world), ["web"]);
    world.finish("web");
    world.act();
    world.later(60).config(ConfigKind::ConfigMap, "extra", None);
    assert_eq!(settled(&mut world), ["web"]);

    let mut world = adopted(json!({"config": {}}));
    world.config(ConfigKind::ConfigMap, "app", None);
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "Waiting/ConfigMissing");
    assert!(world.attention().unwrap().message.contains("ConfigMap/app does not exist"));
    world.config_map("app", &[("a", "1"), ("b", "7")]);
    assert_eq!(settled(&mut world), [""; 0], "the same content is back");
    assert_eq!(world.stands(), "UpToDate");
    world.config(ConfigKind::ConfigMap, "app", None);
    world.act();
    world.later(1).config_map("app", &[("a", "9")]);
    assert_eq!(settled(&mut world), ["web"]);
}

#[test]
fn required_config_that_comes_after_its_workload_is_its_first() {
    let mut world = World::new().with_policy(json!({"config": {}}));
    world.deployment("web", env_from("app"));
    world.act();
    assert_eq!(world.stands(), "Waiting/ConfigMissing");
    world.later(60).config_map("app", &[("a", "1")]);
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn p14_beyond_the_limit_changes_wait_for_the_window_and_roll_once() {
    let mut world = adopted(json!({"config": {"limit": {"max": 2, "window": "10m"}}}));
    for value in ["2", "3"] {
        world.config_map("app", &[("a", value)]);
        assert_eq!(settled(&mut world), ["web"]);
        world.finish("web");
        world.act();
    }
    world.config_map("app", &[("a", "4")]);
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "Limited/LimitReached");
    world.restart_operator();
    world.config_map("app", &[("a", "5")]);
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.later(600).act(), ["web"]);
}

#[test]
fn p14_only_so_many_are_under_way_at_once_and_a_failed_one_gives_its_slot_back() {
    let mut world = World::new()
        .with_policy(json!({"config": {}, "rollout": {"deadline": "5m", "onFailure": "Continue"}}));
    world.config_map("app", &[("a", "1")]);
    for name in ["one", "two", "three"] {
        world.deployment(name, env_from("app"));
    }
    world.act();
    world.max_config_rollouts = 1;
    world.later(60).config_map("app", &[("a", "2")]);
    assert_eq!(settled(&mut world), ["one"]);
    assert_eq!(world.later(30).act(), [""; 0]);
    world.finish("one");
    assert_eq!(world.act(), ["three"]);
    world.observe("three");
    assert_eq!(world.later(240).act(), [""; 0]);
    assert_eq!(world.later(120).act(), ["two"], "three has failed");
    assert!(
        world.object("three")["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .contains("Failed")
    );
}

#[test]
fn together_rolls_the_whole_group_once_each_also_after_a_crash() {
    let mut world =
        World::new().with_policy(json!({"config": {}, "rollout": {"together": "Config"}}));
    world.config_map("app", &[("a", "1")]);
    world.config_map("other", &[("x", "1")]);
    world.deployment("web", env_from("app"));
    world.workload(WorkloadKind::StatefulSet, "db", 2, env_from("other"));
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.max_config_rollouts = 1;
    let first = settled(&mut world);
    assert_eq!(first.len(), 1);
    world.restart_operator();
    world.max_config_rollouts = 100;
    let rest = settled(&mut world);
    assert_eq!(rest.len(), 1);
    assert_ne!(first, rest);
    world.finish("web");
    world.finish("db");
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn observe_reports_and_enforce_then_rolls_what_differs() {
    let mut world = adopted(json!({"config": {}, "mode": "Observe"}));
    world.config_map("app", &[("a", "2")]);
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "WouldRoll/ObserveMode");
    assert!(!world.namespace.workloads[&world.id("web")].marks.stands("lockkeeper.dev/governance"));
    world.policy("shop", json!({"config": {}}));
    world.later(5);
    assert_eq!(world.act(), ["web"]);
}

#[test]
fn a_user_who_paused_it_is_waited_for() {
    let mut world = adopted(json!({"config": {}}));
    world.edit("web", |web| web["spec"]["paused"] = json!(true));
    world.observe("web");
    world.config_map("app", &[("a", "2")]);
    assert_eq!(world.later(3).act(), [""; 0]);
    assert_eq!(world.stands(), "WaitsForUser/Paused");
    world.edit("web", |web| drop(web["spec"].as_object_mut().unwrap().remove("paused")));
    world.observe("web");
    assert_eq!(settled(&mut world), ["web"]);
}

#[test]
fn marks_that_a_manager_takes_away_twice_are_not_restored() {
    let mut world = adopted(json!({"config": {}}));
    for round in 0..3 {
        world.later(30).edit("web", |web| {
            web["metadata"]["annotations"] =
                json!({"deployment.kubernetes.io/revision": web["metadata"]["annotations"]["deployment.kubernetes.io/revision"]});
        });
        world.observe("web");
        world.act();
        let restored =
            world.namespace.workloads[&world.id("web")].marks.stands("lockkeeper.dev/config");
        assert_eq!(restored, round < 1, "round {round}");
    }
    assert_eq!(world.stands(), "Waiting/MarksReverted");
    assert!(world.attention().unwrap().message.contains("kubectl"));
    assert_eq!(world.later(3700).act(), [""; 0]);
    assert!(world.namespace.workloads[&world.id("web")].marks.stands("lockkeeper.dev/config"));
}

#[test]
fn a_policy_that_is_gone_lets_go_after_a_minute_and_only_while_the_crd_stands() {
    let mut world = adopted(json!({"config": {}}));
    world.namespace.policies.clear();
    assert_eq!(world.decide().patches.len(), 0);
    let decision = world.decide();
    world.memories.extend(decision.memories);
    world.later(61);
    let decision = world.decide();
    assert_eq!(
        decision.patches[0].purpose,
        lockkeeper::core::request::Purpose::Forget {
            confirm: Some(lockkeeper::core::request::Confirm {
                definition: Some("crd".into()),
                labels: [
                    ("app".into(), "web".into()),
                    ("lockkeeper.dev/governed".into(), "true".into())
                ]
                .into()
            })
        }
    );
}

#[test]
fn a_pod_that_waits_for_missing_config_has_not_started_with_anything_else() {
    let mut world = adopted(json!({"config": {}}));
    world.config(ConfigKind::ConfigMap, "app", None);
    world.act();
    world.later(1).start_pod("web");
    world.later(1).config_map("app", &[("a", "1"), ("b", "1")]);
    assert_eq!(settled(&mut world), [""; 0]);
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn pods_that_are_all_ending_do_not_say_what_those_after_them_started_with() {
    for ending in [true, false] {
        let mut world = World::new().with_policy(json!({"config": {}}));
        world.config_map("app", &[("a", "1")]);
        world.deployment("web", env_from("app"));
        let until = world.now;
        world
            .namespace
            .pods
            .values_mut()
            .filter(|_| ending)
            .for_each(|pod| pod.terminating = Some(until));
        world.act();
        let ready = &world.namespace.policies["shop"].status.conditions[1];
        assert_eq!(ready.message.contains("Unverified"), ending, "{}", ready.message);
    }
}

#[test]
fn a_changed_key_of_an_object_with_hundreds_is_named() {
    let mut world = World::new().with_policy(json!({"config": {"settle": "0s"}}));
    let keys: Vec<_> = (0..400).map(|number| format!("dashboard-{number}.json")).collect();
    let data = |changed: &'static str| {
        keys.iter()
            .map(|key| (key.as_str(), if key == "dashboard-137.json" { changed } else { "same" }))
            .collect::<Vec<_>>()
    };
    world.config_map("dashboards", &data("a"));
    world.deployment("web", json!({"containers": [{"name": "app", "image": "v1", "envFrom": [{"configMapRef": {"name": "dashboards"}}]}]}));
    world.act();
    world.later(60).act();
    world.config_map("dashboards", &data("b"));
    world.later(1);
    let decision = world.decide();
    let named = decision
        .notices
        .iter()
        .any(|notice| notice.message.contains("ConfigMap/dashboards[dashboard-137.json]"));
    assert!(named, "{:?}", decision.notices);
}

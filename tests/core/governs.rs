//! Which policy governs which workload.

use lockkeeper::marks::MarkSet;
use serde_json::json;

use crate::world::{World, env_from};

fn governor(world: &World, name: &str) -> String {
    world.namespace.workloads[&world.id(name)]
        .marks
        .text("lockkeeper.dev/governance")
        .unwrap_or_default()
        .into_owned()
}

#[test]
fn the_higher_priority_governs_then_the_first_name_and_the_other_says_so() {
    let mut world = World::new();
    for (name, priority) in [("b", 0), ("a", 0), ("shop", 5)] {
        world.policy(name, json!({"config": {}, "priority": priority}));
    }
    world.deployment("web", env_from("app"));
    world.act();
    assert!(governor(&world, "web").contains("\"shop\""));
    let left_out = &world.namespace.policies["a"].status.conditions[2];
    assert_eq!((left_out.type_.as_str(), left_out.status.as_str()), ("Governing", "False"));
    assert!(
        left_out.message.contains("Deployment/web is governed by policy shop"),
        "{}",
        left_out.message
    );
    assert_eq!(world.namespace.policies["a"].status.workloads.total, 0);

    world.namespace.policies.remove("shop");
    world.act();
    assert!(governor(&world, "web").contains("\"a\""));
}

#[test]
fn one_that_is_ignored_owned_or_reloaded_by_others_is_left_out_and_named() {
    let cases = [
        (json!({"annotations": {"lockkeeper.dev/ignore": "true"}}), "ignored"),
        (
            json!({"ownerReferences": [{"apiVersion": "x/v1", "kind": "Cluster", "name": "pg", "uid": "u", "controller": true}]}),
            "OwnedBy Cluster/pg",
        ),
        (json!({"annotations": {"reloader.stakater.com/auto": "true"}}), "OtherReloader"),
        (
            json!({"annotations": {"wave.pusher.com/update-on-config-change": "true"}}),
            "OtherReloader",
        ),
    ];
    for (metadata, reason) in cases {
        let mut world = World::new().with_policy(json!({"config": {}}));
        world.config_map("app", &[("a", "1")]);
        world.deployment("web", env_from("app"));
        world.act();
        assert!(!governor(&world, "web").is_empty());
        world.edit("web", |web| {
            for (key, value) in metadata.as_object().unwrap() {
                match web["metadata"][key].as_object_mut() {
                    Some(map) => map.extend(value.as_object().unwrap().clone()),
                    None => web["metadata"][key] = value.clone(),
                }
            }
        });
        world.act();
        assert_eq!(governor(&world, "web"), "", "{reason}: its marks go");
        let governing = &world.namespace.policies["shop"].status.conditions[2];
        assert!(governing.message.contains(reason), "{}", governing.message);
    }
}

#[test]
fn p15_a_policy_that_cannot_be_read_does_nothing_and_lets_nothing_go() {
    let mut world = World::new().with_policy(json!({"config": {}}));
    world.config_map("app", &[("a", "1")]);
    world.deployment("web", env_from("app"));
    world.act();
    world.namespace.policies.get_mut("shop").unwrap().spec = Err("spec.selector: no".into());
    world.config_map("app", &[("a", "2")]);
    for _ in 0..3 {
        assert_eq!(world.later(100).act(), [""; 0]);
    }
    assert!(!governor(&world, "web").is_empty());
    let conditions = &world.namespace.policies["shop"].status.conditions;
    assert_eq!(
        (conditions[0].reason.as_str(), conditions[1].type_.as_str()),
        ("InvalidSpec", "Stalled")
    );
    world.policy("shop", json!({"config": {}}));
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
}

//! What metrics count of a namespace: phases, conditions, and what has waited longest.

use std::collections::BTreeMap;

use lockkeeper::{
    api::{Phase, WorkloadCounts},
    core::decision::{Census, PolicyCensus},
};
use serde_json::{Value, json};

use crate::world::{World, env_key};

/// A workload that reads key `a` of ConfigMap app, adopted and done.
fn adopted(spec: Value) -> World {
    let mut world = World::new().with_policy(spec);
    world.config_map("app", &[("a", "1")]);
    world.later(5).deployment("web", env_key("app", "a"));
    world.later(5).act();
    world.later(60).act();
    world
}

fn census(world: &mut World) -> Census {
    world.act();
    world.decide().census
}

fn counts(world: &mut World) -> WorkloadCounts {
    world.act();
    world.decide().statuses.remove(0).1.workloads
}

#[test]
fn at_rest_nothing_waits_and_conditions_are_counted() {
    let mut world = adopted(json!({"config": {}}));
    let conditions =
        ["Governing", "Ready", "UpToDate"].map(|kind| ((kind.to_owned(), "True".to_owned()), 1));
    let of_policy = PolicyCensus {
        phases: BTreeMap::from([(Phase::UpToDate, 1)]),
        conditions: ["Governing", "Ready", "UpToDate"]
            .map(|kind| (kind.to_owned(), "True".to_owned()))
            .into(),
        ..PolicyCensus::default()
    };
    let expected = Census {
        phases: BTreeMap::from([(Phase::UpToDate, 1)]),
        conditions: conditions.into(),
        policies: BTreeMap::from([("shop".to_owned(), of_policy)]),
        ..Census::default()
    };
    assert_eq!(census(&mut world), expected);
}

#[test]
fn config_that_waits_for_no_gate_is_as_old_as_its_first_sight() {
    let mut world = adopted(json!({"config": {"limit": {"max": 1, "window": "1h"}}}));
    world.config_map("app", &[("a", "2")]);
    world.act();
    let seen = world.now;
    let settling = census(&mut world);
    assert_eq!(
        (settling.oldest_difference, settling.policies["shop"].oldest_difference),
        (Some(seen), Some(seen)),
        "settling"
    );
    assert_eq!(world.later(3).act(), ["web"]);
    world.finish("web");
    assert_eq!(census(&mut world).oldest_difference, None, "rolled");
    world.later(60).config_map("app", &[("a", "3")]);
    world.act();
    let seen = world.now;
    world.later(600);
    let counted = census(&mut world);
    assert_eq!(world.stands(), "Limited/LimitReached");
    assert_eq!(
        (counted.oldest_difference, counted.oldest_hold, counted.stale),
        (Some(seen), None, 1)
    );
    let counts = counts(&mut world);
    assert_eq!((counts.waiting_for_gates, counts.limited), (0, 1), "a limit is no gate");
}

#[test]
fn what_a_gate_keeps_waiting_is_as_old_as_its_hold() {
    let mut world = adopted(json!({"config": {}, "gates": {"approval": "Required"}}));
    world.config_map("app", &[("a", "2")]);
    world.act();
    world.later(3).act();
    assert_eq!(world.stands(), "Waiting/ApprovalRequired");
    let counts = counts(&mut world);
    assert_eq!((counts.waiting_for_gates, counts.waiting, counts.held), (1, 1, 0));
    let since = census(&mut world).oldest_hold;
    assert!(since.is_some_and(|since| since <= world.now), "{since:?}");
    let of_policy = census(&mut world).policies["shop"].clone();
    assert_eq!(
        (of_policy.oldest_hold, of_policy.phases),
        (since, BTreeMap::from([(Phase::Waiting, 1)]))
    );
    world.later(600);
    let counted = census(&mut world);
    assert_eq!((counted.oldest_hold, counted.oldest_difference), (since, None));
}

#[test]
fn a_policy_that_only_observes_has_nothing_that_is_overdue() {
    let mut world = adopted(json!({"config": {}, "mode": "Observe"}));
    world.config_map("app", &[("a", "2")]);
    world.act();
    world.later(600);
    let counted = census(&mut world);
    assert_eq!(world.stands(), "WouldRoll/ObserveMode");
    assert_eq!((counted.oldest_difference, counted.oldest_hold), (None, None));
}

#[test]
fn a_held_template_and_config_behind_the_same_gate_are_one_number_for_users() {
    let mut world = adopted(json!({"config": {}, "gates": {"approval": "Required"}}));
    world.later(5).deployment("api", env_key("app", "a"));
    world.later(5).act();
    world.later(60).act();
    assert_eq!(counts(&mut world).waiting_for_gates, 0);
    world.edit("api", |api| {
        api["metadata"]["generation"] = json!(2);
        api["metadata"]["annotations"]["lockkeeper.dev/hold"] = json!("2 by dev");
        api["metadata"]["annotations"]["lockkeeper.dev/hold-since"] = json!("2026-11-20T09:00:00Z");
        api["spec"]["paused"] = json!(true);
        api["spec"]["template"]["spec"]["containers"][0]["image"] = json!("new");
    });
    world.config_map("app", &[("a", "2")]);
    world.act();
    world.later(3).act();
    let counts = counts(&mut world);
    assert_eq!(
        (counts.total, counts.held, counts.waiting, counts.waiting_for_gates),
        (2, 1, 1, 2),
        "{counts:?}"
    );
}

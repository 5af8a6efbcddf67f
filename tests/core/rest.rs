//! What is at rest is not judged again before something happens that concerns it. That the
//! decisions are the same as those made from scratch the simulation shows, at each of its steps.

use lockkeeper::{
    api::ConfigKind,
    core::{arrange::ledger::Ledger, observed::ConfigId, rest::News},
};
use serde_json::json;

use crate::world::{
    World, env_from, env_key,
    held::{hold, spec},
};

fn map(name: &str) -> News {
    News::of_config(ConfigId { kind: ConfigKind::ConfigMap, name: name.into() })
}

/// Web reads a key of app, db all of other, and both have been up to date for a while.
fn at_rest(spec: serde_json::Value) -> World {
    let mut world = World::new().with_policy(spec);
    world.config_map("app", &[("a", "1")]);
    world.config_map("other", &[("a", "1")]);
    world.config_map("unread", &[("a", "1")]);
    world.deployment("web", env_key("app", "a"));
    world.deployment("db", env_from("other"));
    for _ in 0..3 {
        world.later(60).act();
    }
    assert_eq!(world.stands(), "UpToDate");
    world
}

fn resting(world: &World) -> usize {
    world.memories.values().filter(|memory| memory.rest.is_some()).count()
}

fn patched(world: &mut World, news: &News) -> Vec<String> {
    world.decide_on(news).patches.into_iter().map(|patch| patch.workload.name).collect()
}

#[test]
fn only_those_are_judged_again_that_read_what_changed() {
    let mut world = at_rest(json!({"config": {"settle": "0s"}}));
    assert_eq!(resting(&world), 2);
    world.config_map("app", &[("a", "2")]);
    assert_eq!(patched(&mut world, &News::due()), [""; 0], "nothing was told of it");
    assert_eq!(patched(&mut world, &map("other")), [""; 0], "nothing was told of it");
    assert_eq!(patched(&mut world, &map("app")), ["web"]);
    assert_eq!(patched(&mut world, &News::whole()), ["web"]);
    assert_eq!(patched(&mut world, &News::of_workloads(["uid-db".into()])), [""; 0]);
    assert_eq!(patched(&mut world, &News::of_workloads(["uid-web".into()])), ["web"]);
}

#[test]
fn what_is_at_rest_is_counted_all_the_same() {
    let world = at_rest(json!({"config": {"settle": "0s"}}));
    let decision = world.decide_on(&News::due());
    assert_eq!(decision.statuses[0].1, world.decide_on(&News::whole()).statuses[0].1);
    assert_eq!(decision.statuses[0].1.workloads.up_to_date, 2);
}

/// Two Deployments of which each has a change that waits for an approval.
fn waiting() -> World {
    let mut world =
        World::new().with_policy(json!({"config": {}, "gates": {"approval": "Required"}}));
    for name in ["web", "db"] {
        world.deployment(name, spec());
    }
    world.act();
    world.later(60).act();
    for name in ["web", "db"] {
        hold(&mut world, name, "v2");
    }
    for _ in 0..3 {
        world.later(60).act();
    }
    assert_eq!(world.stands(), "Held/ApprovalRequired");
    world
}

fn approve(world: &mut World, name: &str) {
    world.edit(name, |one| {
        let annotations = &mut one["metadata"]["annotations"];
        let hold = annotations["lockkeeper.dev/hold"].as_str().unwrap();
        annotations["lockkeeper.dev/approve"] = json!(hold.split(' ').next().unwrap());
        annotations["lockkeeper.dev/approved-by"] = json!("ann");
    });
}

#[test]
fn a_change_that_waits_is_judged_again_only_when_something_concerns_it() {
    let mut world = waiting();
    assert_eq!(resting(&world), 2);
    approve(&mut world, "web");
    assert_eq!(patched(&mut world, &News::due()), [""; 0], "nothing was told of it");
    assert_eq!(patched(&mut world, &News::of_workloads(["uid-db".into()])), [""; 0]);
    assert_eq!(patched(&mut world, &News::of_workloads(["uid-web".into()])), ["web"]);
    // Its pods may read what its template no longer reads.
    assert_eq!(patched(&mut world, &map("any")), ["web"]);
    assert_eq!(patched(&mut world, &News::whole()), ["web"]);
    world.later(10);
    assert_eq!(patched(&mut world, &News::due()), ["web"], "it was not looked at for long");
}

#[test]
fn what_is_said_of_a_change_that_waits_stands() {
    let world = waiting();
    let (due, whole) = (world.decide_on(&News::due()), world.decide_on(&News::whole()));
    assert_eq!((&due.statuses, &due.census), (&whole.statuses, &whole.census));
    assert_eq!((due.wake, due.memories.len()), (whole.wake, 0));
    assert_eq!(due.statuses[0].1.workloads.waiting_for_gates, 2);
    assert_eq!(due.statuses[0].1.attention.len(), 2);
}

#[test]
fn what_others_do_may_end_the_rest_of_those_that_go_in_order_or_together() {
    let step = json!([{"name": "db", "selector": {}}]);
    for spec in [
        json!({"config": {}, "rollout": {"together": "Config"}}),
        json!({"config": {}, "rollout": {"steps": step}}),
    ] {
        assert_eq!(resting(&at_rest(spec)), 0);
    }
}

#[test]
fn config_that_nobody_reads_concerns_no_namespace() {
    let known = |world: &World| {
        let mut ledger = Ledger::default();
        world.decide_by(&mut ledger, &News::whole());
        ledger
    };
    let world = at_rest(json!({"config": {"settle": "0s"}}));
    let ledger = known(&world);
    assert!(!ledger.concern(&world.namespace, &map("unread")));
    assert!(ledger.concern(&world.namespace, &map("app")));
    assert!(Ledger::default().concern(&world.namespace, &map("unread")), "nothing is known yet");
    let mut both = map("unread");
    both.add(News::due());
    assert!(ledger.concern(&world.namespace, &both), "a time has come besides");
    let included = at_rest(json!({"config": {"include": [{"kind": "ConfigMap", "name": "un*"}]}}));
    assert!(known(&included).concern(&included.namespace, &map("unread")));
    let mut left = included;
    left.namespace.policies.clear();
    assert!(!known(&left).concern(&left.namespace, &map("app")), "no policy asks");
}

/// What a decision by a ledger comes to, beside one from scratch.
fn same_by(ledger: &mut Ledger, world: &World, news: &News) {
    let (by, all) = (world.decide_by(ledger, news), world.decide_on(&News::whole()));
    assert_eq!(by.patches, all.patches, "{news:?}");
    assert_eq!(by.wake, all.wake, "{news:?}");
    assert_eq!((by.statuses, by.census), (all.statuses, all.census), "{news:?}");
}

#[test]
fn a_ledger_forgets_nothing_of_what_comes_and_goes() {
    let mut world = at_rest(json!({"config": {"settle": "0s"}}));
    let mut ledger = Ledger::default();
    same_by(&mut ledger, &world, &News::whole());
    same_by(&mut ledger, &world, &News::due());
    // One that is new is known by its name.
    world.deployment("cache", env_key("app", "a"));
    let cache = world.id("cache");
    same_by(&mut ledger, &world, &News::of_workload(cache.clone(), "uid-cache".into()));
    for _ in 0..3 {
        world.later(60).act();
        same_by(&mut ledger, &world, &News::of_workload(cache.clone(), "uid-cache".into()));
    }
    assert_eq!(world.decide_by(&mut ledger, &News::due()).statuses[0].1.workloads.up_to_date, 3);
    // What all but one of them read changes.
    world.config_map("app", &[("a", "2")]);
    same_by(&mut ledger, &world, &map("app"));
    world.act();
    for name in ["web", "cache"] {
        same_by(
            &mut ledger,
            &world,
            &News::of_workload(world.id(name), format!("uid-{name}").as_str().into()),
        );
    }
    // One is left out by its own annotation, and another goes.
    world.edit("db", |one| one["metadata"]["annotations"]["lockkeeper.dev/ignore"] = json!("true"));
    same_by(&mut ledger, &world, &News::of_workload(world.id("db"), "uid-db".into()));
    world.namespace.workloads.remove(&cache);
    same_by(&mut ledger, &world, &News::of_workloads(["uid-cache".into()]));
    world.policy("all", json!({"config": {}, "priority": 1}));
    same_by(&mut ledger, &world, &News::whole());
}

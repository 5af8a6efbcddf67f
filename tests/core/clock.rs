//! The clock of the operator's node is set, an hour ahead or an hour back. The operator then
//! forgets what it remembers (`shell::clock::Pace`); what stands on the objects was written by the
//! clock as it was.

use jiff::SignedDuration;
use lockkeeper::api::WorkloadKind;
use serde_json::json;

use crate::world::{
    World, env_key,
    held::{hold, mark, spec},
};

const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// As the shell does it.
fn set_clock(world: &mut World, by: SignedDuration) {
    world.now += by;
    world.memories.clear();
    world.namespace.config.values_mut().for_each(|entry| entry.clock_was_set(by));
}

#[test]
fn a_held_change_waits_no_longer_than_before() {
    for by in [AHEAD, -AHEAD] {
        let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
        world.workload(WorkloadKind::Deployment, "web", 2, spec());
        world.act();
        world.later(60).act();
        hold(&mut world, "web", "v2");
        world.act();
        world.later(3).act();
        assert_eq!(world.stands(), "Held/ApprovalRequired");
        set_clock(&mut world, by);
        world.act();
        world.later(3).act();
        assert_eq!(world.stands(), "Held/ApprovalRequired", "{by}");
        let id = mark(&world, "web", "hold").unwrap().split(' ').next().unwrap().to_owned();
        world.edit("web", |web| {
            web["metadata"]["annotations"]["lockkeeper.dev/approve"] = json!(id);
            web["metadata"]["annotations"]["lockkeeper.dev/approved-by"] = json!("ann");
        });
        world.observe("web");
        world.act();
        assert_eq!(mark(&world, "web", "hold"), None, "{by}: approved, and quiet for long enough");
    }
}

#[test]
fn a_config_change_rolls_once_within_its_limit_of_quiet() {
    for by in [AHEAD, -AHEAD] {
        let mut world =
            World::new().with_policy(json!({"config": {"settle": "2s", "settleLimit": "30s"}}));
        world.config_map("app", &[("key", "old")]);
        world.deployment("web", env_key("app", "key"));
        world.act();
        world.later(60).config_map("app", &[("key", "new")]);
        assert_eq!(world.act(), [""; 0], "it is quiet first");
        set_clock(&mut world, by);
        let mut rolled = world.act();
        for _ in 0..31 {
            rolled.extend(world.later(1).act());
        }
        assert_eq!(rolled, ["web"], "{by}");
        world.finish("web");
        world.act();
        assert_eq!(world.stands(), "UpToDate", "{by}");
    }
}

#[test]
fn the_limit_is_lifted_after_two_windows_at_the_latest() {
    let policy = json!({"config": {"settle": "1s", "limit": {"max": 1, "window": "1h"}}});
    let mut world = World::new().with_policy(policy);
    world.config_map("app", &[("key", "0")]);
    world.deployment("web", env_key("app", "key"));
    world.act();
    world.later(60).config_map("app", &[("key", "1")]);
    world.act();
    assert_eq!(world.later(2).act(), ["web"]);
    world.finish("web");
    world.act();
    set_clock(&mut world, -AHEAD);
    world.later(60).config_map("app", &[("key", "2")]);
    world.act();
    world.later(5).act();
    assert_eq!(world.stands(), "Limited/LimitReached", "what is to come counts: it was done");
    assert_eq!(world.later(2 * 3600).act(), ["web"]);
}

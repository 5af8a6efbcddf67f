//! What holds for any course of events.

use lockkeeper::{
    api::{ConfigKind, Period},
    core::digest::Key,
};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{World, env_from, env_key};

#[derive(Debug, Clone)]
enum Move {
    Write(&'static str, u8),
    Delete(&'static str),
    Image(u8),
    StartPod(&'static str),
    Finish(&'static str),
    Restart,
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let config = prop_oneof![Just("app"), Just("extra")];
    let workload = prop_oneof![Just("web"), Just("db")];
    let one = prop_oneof![
        4 => (config.clone(), 0..4u8).prop_map(|(name, value)| Move::Write(name, value)),
        1 => config.prop_map(Move::Delete),
        1 => (0..3u8).prop_map(Move::Image),
        2 => workload.clone().prop_map(Move::StartPod),
        2 => workload.prop_map(Move::Finish),
        1 => Just(Move::Restart),
        4 => (1..40u64).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 1..40)
}

fn make(world: &mut World, step: &Move) {
    match step {
        Move::Write(name, value) => world.config_map(name, &[("a", &value.to_string())]),
        Move::Delete(name) => world.config(ConfigKind::ConfigMap, name, None),
        Move::Image(image) => world.edit("web", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
        }),
        Move::StartPod(name) => world.start_pod(name),
        Move::Finish(name) => world.finish(name),
        Move::Restart => world.restart_operator(),
        Move::Pass(seconds) => drop(world.later(*seconds)),
    }
}

fn world() -> World {
    let mut world =
        World::new().with_policy(json!({"config": {"limit": {"max": 100, "window": "1s"}}}));
    world.config_map("app", &[("a", "0")]);
    world.deployment("web", env_key("app", "a"));
    world.workload(
        lockkeeper::api::WorkloadKind::StatefulSet,
        "db",
        2,
        json!({"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "extra", "optional": true}}]}]}),
    );
    world.later(5).act();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever happened: once all is quiet, config is there and rollouts are finished, every pod
    /// started after the last write of what it reads that made a difference, the status says so,
    /// and nothing is left to do.
    #[test]
    fn p4_no_course_of_events_leaves_a_pod_on_old_config(moves in moves()) {
        let mut world = world();
        for step in &moves {
            make(&mut world, step);
            world.act();
        }
        world.later(60).config_map("app", &[("a", "last")]);
        world.config_map("extra", &[("a", "last")]);
        for _ in 0..6 {
            world.later(60);
            world.act();
            world.finish("web");
            world.finish("db");
        }
        world.act();
        prop_assert_eq!(world.stands(), "UpToDate");
        for name in ["web", "db"] {
            let id = lockkeeper::core::observed::ConfigId { kind: ConfigKind::ConfigMap, name: if name == "web" { "app" } else { "extra" }.into() };
            let written = world.namespace.config[&id].versions().last().unwrap().written;
            prop_assert!(world.pods(name).iter().all(|pod| pod.created >= written), "{name} has a pod from before the last write");
        }
        prop_assert!(world.decide().patches.is_empty(), "P14: at rest nothing is written");
    }

    /// The order in which things are stored is no input: deciding twice gives the same.
    #[test]
    fn deciding_again_decides_the_same(moves in moves()) {
        let mut world = world();
        for step in &moves {
            make(&mut world, step);
            let (first, second) = (world.decide(), world.decide());
            prop_assert_eq!(first.patches, second.patches);
            prop_assert_eq!(first.statuses, second.statuses);
            world.act();
        }
    }

    /// A policy that observes never rolls.
    #[test]
    fn observe_never_rolls(moves in moves()) {
        let mut world = world();
        world.policy("shop", json!({"config": {}, "mode": "Observe"}));
        for step in &moves {
            make(&mut world, step);
            prop_assert!(world.act().is_empty());
        }
    }

    /// Contents are never digested alike by a shift of boundaries between keys and values.
    #[test]
    fn p11_digests_do_not_collide_on_shifted_boundaries(a in "[a-z=;]{0,6}", b in "[a-z=;]{0,6}", c in "[a-z=;]{0,6}", d in "[a-z=;]{0,6}") {
        let key = Key::new(&[1; 32]);
        let digest = |fields: &[&str]| fields.iter().fold(key.sum("test"), |sum, field| sum.field(field.as_bytes())).digest();
        prop_assert_eq!(digest(&[&a, &b]) == digest(&[&c, &d]), (&a, &b) == (&c, &d));
        let joined = format!("{a}{b}");
        prop_assert_ne!(digest(&[&a, &b]), digest(&[&joined]));
        prop_assert_ne!(digest(&[&a]), digest(&[&a, ""]));
    }

    /// A period is read back as it was written.
    #[test]
    fn periods_keep_their_text(text in "([0-9]{1,5}(h|m|s|ms)){1,4}") {
        prop_assert_eq!(Period::try_from(text.clone()).unwrap().to_string(), text);
    }
}

#[test]
fn content_that_shifts_between_keys_is_a_change() {
    let mut world = World::new().with_policy(json!({"config": {}}));
    world.config_map("app", &[("a", "x;b=y")]);
    world.deployment("web", env_from("app"));
    world.act();
    world.later(60).config_map("app", &[("a", "x"), ("b", "y")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    assert_eq!(world.attention().unwrap().changed, ["ConfigMap/app[a]", "ConfigMap/app[b]"]);
}

//! What a decision costs, without a cluster: processor time of one event in a namespace as it grows.
//! Run by `make bench ONLY=core`; it asserts nothing, it prints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    dead_code,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../../tests/core/world/mod.rs"]
mod world;

use std::time::Duration;

use lockkeeper::{
    api::{ConfigKind, WorkloadKind},
    core::{
        arrange::ledger::Ledger,
        observed::{ConfigId, Pod, WorkloadId},
        rest::News,
    },
};
use serde_json::json;

use crate::world::{World, env_from};

/// So many workloads, one size after the other; `SCALE=200` measures fewer.
const SIZES: &str = "200,2000,10000";
/// Events that are measured of each kind.
const EVENTS: usize = 50;
/// So many workloads are brought to rest at a time.
const BATCH: usize = 50;

fn main() {
    let sizes = std::env::var("SCALE").unwrap_or_else(|_| SIZES.to_owned());
    println!(
        "CPU of a decision in one namespace, in microseconds, by the workloads in it (with an empty ledger)"
    );
    println!(
        "{:>10} {:>16} {:>16} {:>16}",
        "workloads", "status write", "config read by 1", "pod change"
    );
    for size in sizes.split(',').map(|size| size.trim().parse().unwrap()) {
        measure(size);
    }
}

fn measure(size: usize) {
    let mut world = at_rest(size);
    let status = per_event(&mut world, |world, event| {
        let name = format!("web-{}", event * 97 % size);
        let now = world.now;
        let id = WorkloadId { kind: WorkloadKind::Deployment, name: name.clone() };
        let workload = world.namespace.workloads.get_mut(&id).unwrap();
        workload.resource_version += 1;
        workload.rollout.moved = now;
        News::of_workloads([format!("uid-{name}").as_str().into()])
    });
    let config = per_event(&mut world, |world, event| {
        let name = format!("config-{}", event * 89 % size);
        world.config_map(&name, &[("key", &format!("changed {event}"))]);
        News::of_config(ConfigId { kind: ConfigKind::ConfigMap, name: name.as_str().into() })
    });
    let pod = per_event(&mut world, |world, event| {
        let name = format!("web-{}", event * 83 % size);
        let id = format!("uid-{name}-");
        let is_its = |pod: &&Pod| pod.controller.as_ref().unwrap().starts_with(&id);
        let uid = world.namespace.pods.values().find(is_its).unwrap().uid.clone();
        world.namespace.pods.get_mut(&uid).unwrap().restarts += 1;
        News::of_workloads([format!("uid-{name}").as_str().into()])
    });
    println!("{size:>10} {status:>20} {config:>20} {pod:>20}");
}

/// Workloads of 3 pods each that all are up to date, under one policy.
fn at_rest(size: usize) -> World {
    let mut world = part(0, BATCH.min(size));
    for first in (BATCH..size).step_by(BATCH) {
        let more = part(first, (first + BATCH).min(size));
        world.namespace.workloads.extend(more.namespace.workloads);
        world.namespace.replica_sets.extend(more.namespace.replica_sets);
        world.namespace.pods.extend(more.namespace.pods);
        world.namespace.config.extend(more.namespace.config);
        world.memories.extend(more.memories);
    }
    world
}

/// Some of them: what a world does to one workload looks at all of them.
fn part(first: usize, end: usize) -> World {
    let spec = json!({"config": {"settle": "0s"}, "gates": {"approval": "Required"}});
    let mut world = World::new().with_policy(spec);
    for one in first..end {
        let (name, config) = (format!("web-{one}"), format!("config-{one}"));
        world.config_map(&config, &[("key", "0")]);
        world.workload(WorkloadKind::Deployment, &name, 3, env_from(&config));
    }
    for _ in 0..3 {
        world.later(60).act();
    }
    assert_eq!(world.stands(), "UpToDate");
    world
}

/// The processor time of the decision on one event, without that of the event itself: by a ledger,
/// and, as a reference, with an empty one.
fn per_event(world: &mut World, mut event: impl FnMut(&mut World, usize) -> News) -> String {
    let (mut by_ledger, mut without) = (Duration::ZERO, Duration::ZERO);
    let mut ledger = Ledger::default();
    world.decide_by(&mut ledger, &News::due());
    for number in 0..EVENTS {
        let news = event(world, number);
        let begun = cpu();
        let decision = world.decide_by(&mut ledger, &news);
        by_ledger += cpu() - begun;
        let begun = cpu();
        world.decide_on(&news);
        without += cpu() - begun;
        world.memories.extend(decision.memories);
        world.later(1);
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / EVENTS as f64;
    format!("{:.0} ({:.0})", micros(by_ledger), micros(without))
}

/// The time that this thread has spent on a processor.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

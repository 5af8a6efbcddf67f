//! Changes that admission holds, and the pods of a workload whose changes are held.

use lockkeeper::{api::WorkloadKind, core::observed::Uid};
use serde_json::json;

use super::World;

pub fn spec() -> serde_json::Value {
    json!({"containers": [{"name": "app", "image": "v1"}]})
}

pub fn hold(world: &mut World, name: &str, image: &str) {
    let id = world.id(name);
    world.edit(name, |web| {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        let generation = web["metadata"]["generation"].as_i64().unwrap() + 1;
        web["metadata"]["labels"]["lockkeeper.dev/governed"] = json!("true");
        web["metadata"]["annotations"]["lockkeeper.dev/hold"] =
            json!(format!("{generation} by dev"));
        if let Some(all) = web["metadata"]["annotations"].as_object_mut() {
            all.remove("lockkeeper.dev/partition");
        }
    });
    if id.kind == WorkloadKind::Deployment {
        world.observe_again(&id);
    } else {
        world.observe(name);
    }
}

pub fn setup(policy: serde_json::Value, kind: WorkloadKind, n: u32) -> World {
    let mut world = World::new().with_policy(policy);
    world.workload(kind, "web", n, spec());
    if kind == WorkloadKind::StatefulSet {
        number_pods(&mut world);
    }
    world.act();
    world.later(60).act();
    world
}

pub fn mark(world: &World, name: &str, mark: &str) -> Option<String> {
    world.object(name)["metadata"]["annotations"]
        .get(format!("lockkeeper.dev/{mark}"))
        .map(|text| text.as_str().unwrap().to_owned())
}

pub fn held(world: &World, name: &str) -> bool {
    world.object(name)["metadata"]["annotations"].get("lockkeeper.dev/hold").is_some()
}

pub fn pods_of(world: &World, name: &str) -> Vec<Uid> {
    world
        .namespace
        .pods
        .iter()
        .filter(|(_, p)| p.name.starts_with(name))
        .map(|(u, _)| u.clone())
        .collect()
}

/// The pods of a StatefulSet, by ordinals from 0.
pub fn number_pods(world: &mut World) {
    let mut uids = pods_of(world, "web");
    uids.sort();
    for (n, old) in uids.iter().enumerate() {
        let mut pod = world.namespace.pods.remove(old).unwrap();
        pod.name = format!("web-{n}").into();
        pod.uid = format!("pod-web-{n}-a").into();
        pod.controller = Some("uid-web".into());
        world.namespace.pods.insert(pod.uid.clone(), pod);
    }
}

pub fn renew(world: &mut World, n: usize, ready: bool) {
    world.later(1);
    world.observe("web");
    let revision = world.namespace.workloads[&world.id("web")].rollout.revision.clone();
    let now = world.now;
    let old: Vec<Uid> = world
        .namespace
        .pods
        .iter()
        .filter(|(_, p)| *p.name == *format!("web-{n}"))
        .map(|(u, _)| u.clone())
        .collect();
    let mut pod = world.namespace.pods.remove(&old[0]).unwrap();
    pod.uid = format!("{}x", pod.uid).into();
    (pod.revision, pod.created, pod.ready_moved, pod.ready) = (revision, now, Some(now), ready);
    world.version += 1;
    pod.created_version = Some(world.version);
    pod.started_version = Some(world.version);
    world.namespace.pods.insert(pod.uid.clone(), pod);
    world.observe("web");
}

pub fn unready(world: &mut World, ago: i64) {
    for uid in pods_of(world, "web") {
        let when = world.now - jiff::SignedDuration::from_secs(ago);
        let pod = world.namespace.pods.get_mut(&uid).unwrap();
        (pod.ready, pod.ready_moved) = (false, Some(when));
    }
}

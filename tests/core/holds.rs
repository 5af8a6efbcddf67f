//! What comes along with a held template: fewer replicas.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        gates::{answer::Answer, conversation::Errand},
        world::{Pod, Uid},
    },
};
use serde_json::{Value, json};

use crate::world::World;

fn world(kind: WorkloadKind, replicas: u32, policy: Value) -> World {
    let mut world = World::new().with_policy(policy);
    world.workload(kind, "web", replicas, json!({"containers": [{"name": "app", "image": "v1"}]}));
    world.act();
    world.later(60).act();
    world
}

/// Somebody changes the template and asks for fewer replicas, and admission holds both.
fn hold(world: &mut World, image: &str, fewer: Option<u32>) {
    world.edit("web", |web| {
        let id = web["metadata"]["generation"].as_i64().unwrap() + 1;
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        let runs = web["spec"]["replicas"].clone();
        let marks = &mut web["metadata"]["annotations"];
        marks["lockkeeper.dev/hold"] = json!(format!("{id} by dev"));
        match fewer {
            Some(fewer) => marks["lockkeeper.dev/declared-replicas"] = json!(format!("{fewer} of {runs}")),
            None => drop(marks.as_object_mut().unwrap().remove("lockkeeper.dev/declared-replicas")),
        }
    });
    let id = world.id("web");
    match id.kind {
        WorkloadKind::Deployment => world.observe_again(&id),
        _ => world.observe("web"),
    }
    world.said.clear();
    world.act();
    world.later(3).act();
}

fn is_held(world: &World) -> bool {
    !world.object("web")["metadata"]["annotations"]["lockkeeper.dev/hold"].is_null()
}

fn asked(world: &World) -> Vec<&str> {
    let mut names: Vec<_> = world.said.iter().filter(|(errand, _)| *errand == Errand::Ask).map(|(_, name)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The pods of a StatefulSet, by ordinals from 0.
fn number_pods(world: &mut World) {
    let mut pods: Vec<(Uid, Pod)> = std::mem::take(&mut world.namespace.pods).into_iter().collect();
    pods.sort_by(|one, other| one.0.cmp(&other.0));
    for (ordinal, (uid, mut pod)) in pods.into_iter().enumerate() {
        pod.name = format!("web-{ordinal}").into();
        world.namespace.pods.insert(uid, pod);
    }
}

#[test]
fn the_number_that_waits_is_told() {
    let mut world = world(WorkloadKind::Deployment, 4, json!({"gates": {"approval": "Required"}}));
    hold(&mut world, "v2", Some(1));
    let message = &world.attention().unwrap().message;
    assert!(message.contains("Its replicas stay at 4 until then: the 1 that its manifest asks for comes with the release"), "{message}");
    let held = world.told.iter().find(|(event, ..)| event.reason() == "UpgradeHeld").unwrap();
    assert!(held.2.contains("Its replicas stay at 4 until then"), "{}", held.2);

    // Somebody scales it meanwhile: that counts, and nothing waits any more.
    world.edit("web", |web| web["spec"]["replicas"] = json!(5));
    let id = world.id("web");
    world.observe_again(&id);
    world.act();
    assert!(!world.attention().unwrap().message.contains("replicas stay"), "{}", world.attention().unwrap().message);
}

#[test]
fn p8_pods_that_a_release_would_scale_away_are_asked_too() {
    // A partition of its own keeps the lowest three, and pods go one by one: the scale takes the highest three all at once.
    for (scope, partition, expected) in [("Workload", 3, 3), ("Workload", 0, 4), ("Pod", 0, 4), ("Pod", 3, 3)] {
        let mut world = world(WorkloadKind::StatefulSet, 4, json!({"gates": {"app": {"scope": scope}}}));
        number_pods(&mut world);
        world
            .edit("web", |web| web["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}));
        world.observe("web");
        world.edit("web", |web| web["metadata"]["annotations"]["lockkeeper.dev/declared-partition"] = json!(partition.to_string()));
        world.answers.insert("web-1".into(), Answer::No("a job runs".into()));
        hold(&mut world, "v2", Some(1));
        assert_eq!(asked(&world).len(), expected, "{scope} {partition}: {:?}", asked(&world));
        assert!(asked(&world).contains(&"web-1"), "{scope} {partition}");
        assert!(is_held(&world), "{scope} {partition}");

        world.answers.clear();
        world.later(60).act();
        world.later(60).act();
        assert!(!is_held(&world), "{scope} {partition}: {:?}", world.attention());
        // The walk begins with the highest of those that stay.
        let step = world.object("web")["metadata"]["annotations"]["lockkeeper.dev/partition"].as_str();
        assert_eq!(step, (scope == "Pod" && partition == 0).then_some("0"), "{scope} {partition}");
    }
}

#[test]
fn p8_fewer_replicas_that_come_with_a_revert_end_no_pod_that_says_no() {
    let mut world = world(WorkloadKind::Deployment, 3, json!({"gates": {"app": {}}}));
    let busy = world.pods("web")[0].name.to_string();
    world.answers.insert(busy, Answer::No("a job runs".into()));
    hold(&mut world, "v2", Some(1));
    assert!(is_held(&world));
    hold(&mut world, "v1", Some(1));
    assert!(is_held(&world), "put back, but two pods would go");
    // Without fewer replicas it is let through at once.
    hold(&mut world, "v1", None);
    assert!(!is_held(&world));

    // And so it is when nobody says no.
    hold(&mut world, "v2", Some(1));
    world.answers.clear();
    hold(&mut world, "v1", Some(1));
    world.later(60).act();
    assert!(!is_held(&world));
}

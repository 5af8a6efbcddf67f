//! What comes along with a held template, and what is held without pods or without the ReplicaSet
//! that ran.

use lockkeeper::{
    api::{ConfigKind, WorkloadKind},
    core::{
        conversation::{Errand, answer::Answer},
        notice::Event,
        observed::{Pod, Uid},
    },
};
use serde_json::{Value, json};

use crate::world::{
    World,
    held::{self, mark, setup},
};

pub fn world(kind: WorkloadKind, replicas: u32, policy: Value) -> World {
    let mut world = World::new().with_policy(policy);
    world.workload(kind, "web", replicas, json!({"containers": [{"name": "app", "image": "v1"}]}));
    world.act();
    world.later(60).act();
    world
}

/// Somebody changes the template and asks for fewer replicas, and admission holds both.
pub fn hold(world: &mut World, image: &str, fewer: Option<u32>) {
    world.edit("web", |web| {
        let id = web["metadata"]["generation"].as_i64().unwrap() + 1;
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        let runs = web["spec"]["replicas"].clone();
        let marks = &mut web["metadata"]["annotations"];
        marks["lockkeeper.dev/hold"] = json!(format!("{id} by dev"));
        match fewer {
            Some(fewer) => {
                marks["lockkeeper.dev/declared-replicas"] = json!(format!("{fewer} of {runs}"))
            }
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

pub fn is_held(world: &World) -> bool {
    !world.object("web")["metadata"]["annotations"]["lockkeeper.dev/hold"].is_null()
}

fn asked(world: &World) -> Vec<&str> {
    let mut names: Vec<_> = world
        .said
        .iter()
        .filter(|(errand, _)| *errand == Errand::Ask)
        .map(|(_, name)| name.as_str())
        .collect();
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
fn the_declared_replicas_that_wait_are_told() {
    let mut world = world(WorkloadKind::Deployment, 4, json!({"gates": {"approval": "Required"}}));
    hold(&mut world, "v2", Some(1));
    let message = &world.attention().unwrap().message;
    assert!(
        message.contains("Its replicas stay at 4 until the release. The 1 that its manifest declares applies with the release"),
        "{message}"
    );
    let held = world.told.iter().find(|(event, ..)| event.reason() == "UpgradeHeld").unwrap();
    assert!(held.2.contains("Its replicas stay at 4 until the release"), "{}", held.2);

    // Somebody scales it in the meantime: that counts, and nothing waits any more.
    world.edit("web", |web| web["spec"]["replicas"] = json!(5));
    let id = world.id("web");
    world.observe_again(&id);
    world.act();
    assert!(
        !world.attention().unwrap().message.contains("replicas stay"),
        "{}",
        world.attention().unwrap().message
    );
}

#[test]
fn p8_pods_that_a_release_would_scale_away_are_asked_too() {
    // A partition of its own keeps the lowest three, and pods go one by one: the scale takes the
    // highest three all at once.
    for (scope, partition, expected) in
        [("Workload", 3, 3), ("Workload", 0, 4), ("Pod", 0, 4), ("Pod", 3, 3)]
    {
        let mut world =
            world(WorkloadKind::StatefulSet, 4, json!({"gates": {"app": {"scope": scope}}}));
        number_pods(&mut world);
        world.edit("web", |web| {
            web["spec"]["updateStrategy"] =
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}})
        });
        world.observe("web");
        world.edit("web", |web| {
            web["metadata"]["annotations"]["lockkeeper.dev/declared-partition"] =
                json!(partition.to_string())
        });
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
        let step =
            world.object("web")["metadata"]["annotations"]["lockkeeper.dev/partition"].as_str();
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
    assert!(is_held(&world), "reverted, but two pods would go");
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

/// The workload is scaled, and its controller has seen it. At zero its pods are gone.
pub fn scale(world: &mut World, replicas: u32) {
    world.edit("web", |web| web["spec"]["replicas"] = json!(replicas));
    if replicas == 0 {
        world.namespace.pods.clear();
        world.edit("web", |web| {
            for field in ["replicas", "updatedReplicas", "availableReplicas"] {
                web["status"][field] = json!(0);
            }
        });
        world.namespace.replica_sets.values_mut().for_each(|set| set.replicas = 0);
    }
    let id = world.id("web");
    world.observe_again(&id);
}

pub fn told<'a>(world: &'a World, event: &str) -> Vec<&'a str> {
    world
        .told
        .iter()
        .filter(|(one, ..)| one.reason() == event)
        .map(|(.., message)| message.as_str())
        .collect()
}

#[test]
fn at_zero_replicas_every_gate_counts_but_the_app() {
    for (gates, expected) in [
        (json!({"gates": {"approval": "Required"}}), true),
        (json!({"mode": "Freeze"}), true),
        (
            json!({"gates": {"app": {}, "windows": [{"schedule": "0 2 1 1 *", "duration": "1h"}]}}),
            true,
        ),
        (json!({"gates": {"app": {}}}), false),
        (json!({"gates": {"app": {"prepare": {}}}}), false),
    ] {
        let mut world = world(WorkloadKind::Deployment, 2, gates.clone());
        hold(&mut world, "v2", None);
        scale(&mut world, 0);
        world.later(60).act();
        world.later(60).act();
        assert_eq!(is_held(&world), expected, "{gates}: {:?}", world.attention());
        // A revert of what waits needs nobody.
        if expected {
            hold(&mut world, "v1", None);
            assert!(!is_held(&world), "{gates}: {:?}", world.attention());
        }
    }
}

#[test]
fn a_deployment_without_replicas_is_held_only_where_it_would_start_what_ran_last() {
    let is_marked = |world: &World| {
        world.object("web")["metadata"]["annotations"]["lockkeeper.dev/hold-at-zero"] == "true"
    };
    for (gates, expected) in
        [(json!({"gates": {"approval": "Required"}}), true), (json!({"gates": {"app": {}}}), false)]
    {
        let mut world = world(WorkloadKind::Deployment, 2, gates.clone());
        assert!(!is_marked(&world), "{gates}: it has replicas");
        scale(&mut world, 0);
        world.act();
        assert_eq!(is_marked(&world), expected, "{gates}");
    }
    // After an undo the ReplicaSet that was created last is not the one that runs.
    let mut world = world(WorkloadKind::Deployment, 2, json!({"gates": {"approval": "Required"}}));
    let mut undone = world.namespace.replica_sets.values().next().unwrap().clone();
    (undone.name, undone.revision, undone.number) = ("web-undone".into(), "undone".into(), 1);
    undone.created = world.now;
    undone.template.0[0] ^= 1;
    world.namespace.replica_sets.insert("undone".into(), undone);
    scale(&mut world, 0);
    world.act();
    assert!(!is_marked(&world));

    // One that is held already is held on, and what would start is told.
    scale(&mut world, 2);
    hold(&mut world, "v2", None);
    scale(&mut world, 0);
    world.act();
    let message = &world.attention().unwrap().message;
    assert!(message.contains("kubectl delete replicaset -n  web-undone"), "{message}");
}

#[test]
fn a_deployment_whose_old_replica_set_is_gone_says_so_and_stays_held() {
    let mut world = world(WorkloadKind::Deployment, 2, json!({"gates": {"approval": "Required"}}));
    hold(&mut world, "v2", None);
    scale(&mut world, 0);
    world.namespace.replica_sets.clear();
    for replicas in [0, 2] {
        scale(&mut world, replicas);
        world.later(60).act();
        assert!(is_held(&world));
        assert!(
            world.attention().unwrap().message.contains("revisionHistoryLimit: 0"),
            "{:?}",
            world.attention()
        );
    }
    assert_eq!(told(&world, "RunningRevisionBroken").len(), 1);
}

#[test]
fn replicas_that_are_scaled_away_and_back_are_left_by_the_release() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for mode in ["Freeze", "Observe"] {
            let mut world = world(kind, 4, json!({"mode": "Freeze"}));
            hold(&mut world, "v2", Some(1));
            world.policy("shop", json!({"mode": mode}));
            let mark = |world: &World| {
                world.object("web")["metadata"]["annotations"]["lockkeeper.dev/declared-replicas"]
                    .clone()
            };
            world.act();
            assert_eq!(mark(&world), "1 of 4");
            for (replicas, expected) in [(5, "1 of 2147483647"), (4, "1 of 2147483647")] {
                scale(&mut world, replicas);
                let id = world.id("web");
                world.observe_again(&id);
                world.later(5).act();
                assert_eq!(mark(&world), expected, "{kind} {mode} {replicas}");
            }
            let message = &world.attention().unwrap().message;
            assert!(!message.contains("replicas stay"), "{message}");
        }
    }
}

/// Admission goes by what is noted before the release. The number that ran is back before the note
/// arrives, which is refused then.
#[test]
fn a_release_waits_until_it_is_noted_that_somebody_has_scaled() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = world(kind, 4, json!({"mode": "Freeze"}));
        hold(&mut world, "v2", Some(1));
        let id = world.id("web");
        scale(&mut world, 5);
        world.observe_again(&id);
        world.policy("shop", json!({}));
        let refused = world.decide();
        scale(&mut world, 4);
        world.observe_again(&id);
        world.memories.extend(refused.memories);
        let noted = world.decide();
        for decision in [&refused.patches, &noted.patches] {
            let text = serde_json::to_string(&decision[0].json()).unwrap();
            assert!(decision.len() == 1 && text.contains("1 of 2147483647"), "{kind}: {text}");
            assert!(!text.contains("lockkeeper.dev~1hold\""), "{kind}: {text}");
        }
        world.act();
        assert!(!is_held(&world), "{kind}");
        assert_eq!(told(&world, "UpgradeReleased").len(), 1, "{kind}");
    }
}

/// An exported manifest carries deployment.kubernetes.io/revision; while a Deployment is paused
/// with a new template nobody puts it right.
#[test]
fn a_revision_number_from_an_exported_manifest_holds_nothing_indefinitely() {
    let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::Deployment, 2);
    held::hold(&mut world, "web", "v2");
    world.edit("web", |web| {
        web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("99999")
    });
    let id = world.id("web");
    world.observe_again(&id);
    for _ in 0..10 {
        world.later(600).act();
    }
    assert_eq!(
        mark(&world, "web", "hold"),
        None,
        "{:?}",
        world.attention().map(|one| &one.message)
    );
}

/// revisionHistoryLimit: 0: held and scaled to 0, the controller drops the old ReplicaSet. Scaled
/// up again there are no pods until the release.
#[test]
fn p9_a_held_deployment_whose_replica_set_was_dropped_is_released() {
    for replicas in [0, 2] {
        let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::Deployment, 2);
        held::hold(&mut world, "web", "v2");
        world.namespace.pods.clear();
        world.namespace.replica_sets.clear();
        world.edit("web", |web| {
            web["spec"]["replicas"] = json!(replicas);
            web["status"] = json!({"conditions": [{"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"}]});
        });
        let id = world.id("web");
        world.observe_again(&id);
        for _ in 0..10 {
            world.later(600).act();
        }
        assert_eq!(
            mark(&world, "web", "hold"),
            None,
            "{replicas}: {:?}",
            world.attention().map(|one| &one.message)
        );
    }
}

#[test]
fn what_the_running_pods_need_and_is_missing_is_told_once_it_stays_missing() {
    let broken = |world: &World| {
        world.told.iter().filter(|(event, ..)| *event == Event::RunningRevisionBroken).count()
    };
    let mut world =
        World::new().with_policy(json!({"config": {}, "gates": {"approval": "Required"}}));
    world.config_map("app", &[("a", "1"), ("b", "1")]);
    let keys = ["a", "b"].map(
        |key| json!({"name": key, "valueFrom": {"configMapKeyRef": {"name": "app", "key": key}}}),
    );
    world.deployment("web", json!({"containers": [{"name": "app", "env": keys}]}));
    world.act();
    world.later(60).act();
    held::hold(&mut world, "web", "v2");
    world.act();
    world.config(ConfigKind::ConfigMap, "app", None);
    world.later(1).act();
    let told = world.attention().unwrap().message.clone();
    assert_eq!(
        told.matches("ConfigMap/app does not exist").count(),
        1,
        "an object is named once: {told}"
    );
    assert_eq!(broken(&world), 0, "its namespace may be going");
    world.later(5).act();
    assert_eq!(broken(&world), 1);
    world.later(60).act();
    assert_eq!(broken(&world), 1, "it is told once");
}

#[test]
fn p6_a_release_that_nobody_judged_is_written_again_until_admission_sees_it() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = world(kind, 2, json!({"gates": {"approval": "Required"}}));
        let left = |web: &mut Value| {
            let marks = web["metadata"]["annotations"].as_object_mut().unwrap();
            match kind {
                WorkloadKind::StatefulSet => {
                    marks.insert("lockkeeper.dev/declared-partition".into(), json!("0"));
                    web["spec"]["updateStrategy"] =
                        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": i32::MAX}});
                }
                _ => {
                    marks.insert("lockkeeper.dev/declared-paused".into(), json!("false"));
                    web["spec"]["paused"] = json!(true);
                }
            }
        };
        world.edit("web", left);
        let writes = |world: &mut World| {
            let patches = world.decide().patches;
            patches.iter().filter(|patch| patch.governed.is_some()).count()
        };
        assert_eq!(writes(&mut world), 1, "{kind:?}");
        world.act();
        assert_eq!(world.stands(), "Held/Releasing", "{kind:?}");
        assert_eq!(writes(world.later(29)), 0, "{kind:?}: too soon");
        assert_eq!(writes(world.later(2)), 1, "{kind:?}: not repeated");
        world.edit("web", |web| {
            let marks = web["metadata"]["annotations"].as_object_mut().unwrap();
            marks.retain(|mark, _| !mark.contains("declared-"));
            match kind {
                WorkloadKind::StatefulSet => {
                    web["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(0)
                }
                _ => web["spec"]["paused"] = json!(false),
            }
        });
        world.act();
        assert_ne!(world.stands(), "Held/Releasing", "{kind:?}");
    }
}

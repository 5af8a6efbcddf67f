//! What comes along with a held template, what is held without pods, and what is told where nothing
//! was held.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        gates::{answer::Answer, conversation::Errand},
        world::{Pod, Uid},
    },
};
use serde_json::{Value, json};

use crate::world::{World, env_from};

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

fn is_held(world: &World) -> bool {
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
fn the_number_that_waits_is_told() {
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
fn scale(world: &mut World, replicas: u32) {
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

fn told<'a>(world: &'a World, event: &str) -> Vec<&'a str> {
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
fn a_held_set_that_is_scaled_to_zero_is_told_as_missed() {
    for restart in [false, true] {
        let mut world = world(WorkloadKind::StatefulSet, 2, json!({"mode": "Freeze"}));
        hold(&mut world, "v2", None);
        assert!(is_held(&world));
        if restart {
            world.restart_operator();
        }
        scale(&mut world, 0);
        world.edit("web", |web| {
            web["status"]["currentRevision"] = web["status"]["updateRevision"].clone()
        });
        let id = world.id("web");
        world.observe_again(&id);
        world.act();
        assert!(!is_held(&world));
        let missed = told(&world, "HoldMissed");
        assert!(
            missed.len() == 1
                && missed[0].starts_with("ScaledToZero: change ")
                && missed[0].contains(" by dev "),
            "{missed:?}"
        );
        world.later(60).act();
        assert_eq!(told(&world, "HoldMissed").len(), 1);
    }
}

/// One more pod of the newest template, which has finished and is gone but for a finalizer.
fn finished_pod(world: &mut World) {
    let before: Vec<_> = world.namespace.pods.clone().into_iter().collect();
    world.start_pod("web");
    let until = world.now - std::time::Duration::from_secs(600);
    for (uid, pod) in &mut world.namespace.pods {
        if before.iter().all(|(known, _)| known != uid) {
            (pod.terminating, pod.finished, pod.ready) = (Some(until), true, false);
        }
    }
    world.namespace.pods.extend(before);
    let id = world.id("web");
    world.observe("web");
    world.observe_again(&id);
}

#[test]
fn a_change_that_comes_at_zero_and_is_not_held_is_told_unless_only_the_app_is_asked() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for (gates, expected) in
            [(json!({"gates": {"approval": "Required"}}), 1), (json!({"gates": {"app": {}}}), 0)]
        {
            let mut world = world(kind, 2, gates.clone());
            scale(&mut world, 0);
            world.act();
            finished_pod(&mut world);
            world.edit("web", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
            });
            world.observe("web");
            world.later(3).act();
            let missed = told(&world, "HoldMissed");
            assert_eq!(missed.len(), expected, "{kind} {gates}: {missed:?}");
            assert!(
                missed.iter().all(|message| message.starts_with("ScaledToZero: ")),
                "{missed:?}"
            );
            world.later(60).act();
            assert_eq!(told(&world, "HoldMissed").len(), expected, "{kind} {gates}");
        }
    }
}

/// A workload whose first pods are joined by one of another template before its rollout was ever
/// done.
fn changed_early(world: &mut World) {
    world.workload(
        WorkloadKind::Deployment,
        "web",
        2,
        json!({"containers": [{"name": "app", "image": "v1"}]}),
    );
    world.later(2);
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.start_pod("web");
}

#[test]
fn a_change_that_came_before_the_marks_is_told_once() {
    let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
    world.later(60);
    changed_early(&mut world);
    world.act();
    world.later(5).act();
    let missed = told(&world, "HoldMissed");
    assert!(missed.len() == 1 && missed[0].starts_with("NotMarked: "), "{missed:?}");
}

#[test]
fn a_rollout_that_began_before_its_policy_is_not_missed() {
    let mut world = World::new();
    changed_early(&mut world);
    world.later(60);
    world.policy("shop", json!({"gates": {"approval": "Required"}}));
    world.act();
    world.later(5).act();
    assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new());
}

#[test]
fn a_revert_amid_the_first_rollout_is_not_missed() {
    let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
    world.later(60);
    changed_early(&mut world);
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/rollout"] =
            json!("{\"change\": \"t-another\"}")
    });
    world.observe("web");
    world.act();
    world.later(5).act();
    assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new());
}

#[test]
fn a_workload_that_is_created_again_over_running_pods_is_told() {
    for same in [true, false] {
        let mut world = World::new().with_policy(json!({"gates": {"app": {}}}));
        world.later(60);
        world.workload(
            WorkloadKind::StatefulSet,
            "web",
            2,
            json!({"containers": [{"name": "app", "image": "v1"}]}),
        );
        world.act();
        world.later(60).act();
        // Deleted with its pods left, and made again.
        let now = world.now;
        world.edit("web", |web| {
            web["metadata"]["creationTimestamp"] = json!(now);
            web["metadata"]["annotations"] = json!({});
            web["metadata"]["labels"] = json!({"app": "web"});
            if !same {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
            }
        });
        world.memories.clear();
        world.later(2);
        if !same {
            world.start_pod("web");
        }
        world.observe("web");
        world.act();
        world.later(5).act();
        let missed = told(&world, "HoldMissed");
        assert_eq!(missed.len(), usize::from(!same), "{missed:?}");
    }
}

/// A workload whose config was rolled out once.
fn with_config(kind: WorkloadKind) -> World {
    let mut world = World::new().with_policy(
        json!({"config": {}, "gates": {"approval": "Required", "appliesTo": ["Template"]}}),
    );
    world.config_map("app", &[("a", "1")]);
    world.workload(kind, "web", 2, env_from("app"));
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    world.finish("web");
    world.act();
    world.later(60).act();
    world
}

#[test]
fn a_change_that_is_not_held_after_a_rollout_of_config_is_told() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = with_config(kind);
        let done = told(&world, "RolloutDone").len();
        world.edit("web", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
        });
        world.start_pod("web");
        world.act();
        world.later(5).act();
        assert_eq!(told(&world, "HoldMissed").len(), 1, "{kind}: {:?}", world.told);
        world.finish("web");
        world.act();
        world.later(60).act();
        assert_eq!(
            (told(&world, "HoldMissed").len(), told(&world, "RolloutDone").len()),
            (1, done + 1),
            "{kind}"
        );
    }
}

#[test]
fn a_rollout_of_config_whose_template_a_webhook_changes_is_not_missed() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = with_config(kind);
        let done = told(&world, "RolloutDone").len();
        world.config_map("app", &[("a", "3")]);
        world.act();
        assert_eq!(world.later(3).act(), ["web"]);
        let id = world.id("web");
        let generation = world.object("web")["metadata"]["generation"].as_i64().unwrap();
        world.edit("web", |web| {
            web["spec"]["template"]["metadata"]["labels"]["team"] = json!("shop");
            web["metadata"]["generation"] = json!(generation - 1);
        });
        world.observe_again(&id);
        world.start_pod("web");
        world.act();
        world.later(5).act();
        world.finish("web");
        world.act();
        assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new(), "{kind}");
        assert_eq!(told(&world, "RolloutDone").len(), done + 1, "{kind}");
    }
}

#[test]
fn one_that_is_woken_with_another_template_is_told() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for (policy, expected) in [
            (json!({"gates": {"approval": "Required"}}), 1),
            (json!({"mode": "Freeze"}), 1),
            (json!({"gates": {"app": {}}}), 0),
        ] {
            let mut world = world(kind, 2, policy.clone());
            scale(&mut world, 0);
            world.act();
            world.later(60).edit("web", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
                web["spec"]["replicas"] = json!(2);
            });
            world.start_pod("web");
            world.act();
            world.later(5).act();
            let missed = told(&world, "HoldMissed");
            assert_eq!(missed.len(), expected, "{kind} {policy}: {:?}", world.told);
            assert!(
                missed.iter().all(|message| message.starts_with("ScaledToZero: ")),
                "{missed:?}"
            );
            world.finish("web");
            world.act();
            assert_eq!(told(&world, "HoldMissed").len(), expected, "{kind} {policy}");
        }
    }
}

#[test]
fn what_rolled_while_the_operator_was_away_is_told_unless_nothing_asked_for_holds_then() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for (gates, expected) in [(json!({"approval": "Required"}), 1), (json!({}), 0)] {
            let mut world = world(kind, 2, json!({"gates": gates}));
            world.later(60).edit("web", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
            });
            world.finish("web");
            world.restart_operator();
            if expected == 0 {
                world.later(60).policy("shop", json!({"gates": {"approval": "Required"}}));
            }
            world.act();
            world.later(5).act();
            assert_eq!(
                told(&world, "HoldMissed").len(),
                expected,
                "{kind} {gates}: {:?}",
                world.told
            );
            world.later(60).act();
            assert_eq!(told(&world, "HoldMissed").len(), expected, "{kind} {gates}");
        }
    }
}

#[test]
fn a_revert_to_what_was_done_while_the_operator_was_away_is_no_miss() {
    let mut world = world(WorkloadKind::StatefulSet, 2, json!({"gates": {"approval": "Required"}}));
    hold(&mut world, "v2", None);
    let id = world.object("web")["metadata"]["annotations"]["lockkeeper.dev/hold"]
        .as_str()
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/approve"] = json!(id);
        web["metadata"]["annotations"]["lockkeeper.dev/approved-by"] = json!("boss");
    });
    world.later(60).act();
    assert!(!is_held(&world));
    // It is done while nobody looks, and so is what follows: another template, which is held, and
    // the same again.
    world.finish("web");
    world.restart_operator();
    world.edit("web", |web| {
        let id = web["metadata"]["generation"].as_i64().unwrap() + 1;
        web["metadata"]["annotations"]["lockkeeper.dev/hold"] = json!(format!("{id} by dev"));
    });
    let id = world.id("web");
    world.observe_again(&id);
    world.later(5).act();
    assert!(!is_held(&world));
    assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new());
}

#[test]
fn a_rollout_that_began_before_the_workload_was_selected_is_not_missed() {
    let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
    world.later(60);
    changed_early(&mut world);
    // Somebody adds the label by which the policy selects it.
    world.later(60).edit("web", |web| web["metadata"]["labels"]["team"] = json!("shop"));
    world.observe("web");
    world.act();
    world.later(5).act();
    assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new());
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

#[test]
fn a_rollout_that_began_before_holds_were_asked_for_is_not_missed() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for pods in [false, true] {
            let mut world = World::new().with_policy(json!({"config": {}}));
            world.config_map("app", &[("a", "1")]);
            world.workload(kind, "web", 2, env_from("app"));
            world.act();
            world.later(60).config_map("app", &[("a", "2")]);
            world.act();
            assert_eq!(world.later(3).act(), ["web"]);
            world.finish("web");
            world.act();
            world.later(60).edit("web", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
            });
            if pods {
                world.start_pod("web");
            } else {
                world.observe("web");
            }
            world.act();
            world.later(5).policy("shop", json!({"config": {}, "mode": "Freeze"}));
            world.act();
            world.later(5).act();
            world.start_pod("web");
            world.act();
            assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new(), "{kind} {pods}");
        }
    }
}

/// The policy is older than the change, but the operator was not installed then.
#[test]
fn a_rollout_that_began_before_the_marks_stood_again_is_not_missed() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = with_config(kind);
        world.memories.clear();
        world.later(60).edit("web", |web| {
            let marks = web["metadata"]["annotations"].as_object_mut().unwrap();
            marks.retain(|mark, _| {
                ["lockkeeper.dev/rollout", "lockkeeper.dev/config"].contains(&&**mark)
                    || !mark.starts_with("lockkeeper.dev/")
            });
            web["metadata"]["labels"].as_object_mut().unwrap().remove("lockkeeper.dev/governed");
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        world.start_pod("web");
        world.later(5).act();
        world.later(5).act();
        assert_eq!(told(&world, "HoldMissed"), Vec::<&str>::new(), "{kind}");
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

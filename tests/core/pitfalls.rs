//! Pitfalls: silence that is none, pods that were not seen, walks that lose their policy, author or
//! id, failures that others pay for.

use crate::world::{World, env_key};
use lockkeeper::api::{ConfigKind, WorkloadKind};
use lockkeeper::core::decision::Event;
use lockkeeper::core::gates::answer::Answer;
use lockkeeper::core::world::Uid;
use serde_json::json;

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

fn setup(policy: serde_json::Value, kind: WorkloadKind, n: u32) -> World {
    let mut world = World::new().with_policy(policy);
    world.workload(kind, "web", n, spec());
    if kind == WorkloadKind::StatefulSet {
        rename(&mut world);
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

fn pods_of(world: &World, name: &str) -> Vec<Uid> {
    world
        .namespace
        .pods
        .iter()
        .filter(|(_, p)| p.name.starts_with(name))
        .map(|(u, _)| u.clone())
        .collect()
}

fn rename(world: &mut World) {
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

fn renew(world: &mut World, n: usize, ready: bool) {
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
    world.namespace.pods.insert(pod.uid.clone(), pod);
    world.observe("web");
}

fn unready(world: &mut World, ago: i64) {
    for uid in pods_of(world, "web") {
        let when = world.now - jiff::SignedDuration::from_secs(ago);
        let pod = world.namespace.pods.get_mut(&uid).unwrap();
        (pod.ready, pod.ready_moved) = (false, Some(when));
    }
}

/// appliesTo: [Config] with scope: Pod: the walk is ended as soon as it has begun, and every pod
/// goes.
#[test]
fn p8_a_config_walk_goes_on_where_templates_are_not_held() {
    let mut world = World::new().with_policy(
        json!({"config": {}, "gates": {"appliesTo": ["Config"], "app": {"scope": "Pod"}}}),
    );
    world.config_map("app", &[("a", "1")]);
    world.workload(WorkloadKind::StatefulSet, "web", 3, env_key("app", "a"));
    rename(&mut world);
    world.act();
    world.later(60).act();
    for n in [0, 1] {
        world.answers.insert(format!("web-{n}"), Answer::No("job".into()));
    }
    world.config_map("app", &[("a", "2")]);
    world.act();
    let rolled = world.later(3).act();
    assert_eq!(rolled, ["web"]);
    renew(&mut world, 2, true);
    world.later(5).act();
    assert_eq!(
        mark(&world, "web", "partition").as_deref(),
        Some("2"),
        "web-0 and web-1 say no and go all the same"
    );
}

/// An exported manifest carries deployment.kubernetes.io/revision; while a Deployment is paused
/// with a new template nobody puts it right.
#[test]
fn a_revision_number_from_another_life_holds_nothing_indefinitely() {
    let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::Deployment, 2);
    hold(&mut world, "web", "v2");
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
fn p9_a_held_deployment_whose_replica_set_was_dropped_is_let_through() {
    for replicas in [0, 2] {
        let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::Deployment, 2);
        hold(&mut world, "web", "v2");
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

/// A Failed pod stays for up to 15 minutes, again and again on a node that evicts, and counts in
/// currentNumberScheduled.
#[test]
fn a_pod_that_has_ended_is_not_unseen() {
    for kind in [WorkloadKind::DaemonSet] {
        let mut world =
            World::new().with_policy(json!({"kinds": ["Deployment", "StatefulSet", "DaemonSet"], "config": {}, "gates": {"app": {}}}));
        world.config_map("app", &[("a", "1")]);
        world.workload(kind, "web", 3, env_key("app", "a"));
        world.act();
        world.later(60).act();
        let first = pods_of(&world, "web")[0].clone();
        let pod = world.namespace.pods.get_mut(&first).unwrap();
        (pod.finished, pod.ready, pod.reach.running) = (true, false, false);
        world.config_map("app", &[("a", "2")]);
        world.act();
        let mut rolled = Vec::new();
        for _ in 0..10 {
            rolled.extend(world.later(600).act());
            if !rolled.is_empty() {
                break;
            }
        }
        assert_eq!(rolled, ["web"], "{kind}: {:?}", world.attention().map(|one| &one.message));
    }
}

/// Nor does one that has ended and is being deleted stand for two: it is among the pods that are
/// seen.
#[test]
fn p8_a_pod_that_has_ended_and_is_going_does_not_stand_for_an_unseen_one() {
    let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::StatefulSet, 3);
    hold(&mut world, "web", "v2");
    let uids = pods_of(&world, "web");
    let now = world.now;
    // Of the three that its status counts, one has ended and one is not seen yet.
    world.namespace.pods.remove(&uids[1]);
    let going = world.namespace.pods.get_mut(&uids[0]).unwrap();
    (going.finished, going.ready, going.reach.running, going.terminating) =
        (true, false, false, Some(now));
    world.later(3).act();
    for _ in 0..5 {
        world.later(2).act();
        assert_eq!(
            world.stands(),
            "Held/AskingPods",
            "{:?}",
            world.attention().map(|one| &one.message)
        );
    }
}

/// A Deployment's status.replicas does not count pods that are going: they must not stand for those
/// that are not seen yet.
#[test]
fn p8_pods_that_are_going_do_not_stand_for_unseen_ones() {
    let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::Deployment, 2);
    hold(&mut world, "web", "v2");
    world.act();
    // A drained node: both go, with long grace periods; the two in their place are in
    // status.replicas, and not in our store yet.
    for uid in pods_of(&world, "web") {
        let end = world.now + jiff::SignedDuration::from_hours(1);
        world.namespace.pods.get_mut(&uid).unwrap().terminating = Some(end);
    }
    assert_eq!(world.object("web")["status"]["replicas"], 2);
    world.later(3).act();
    assert!(mark(&world, "web", "hold").is_some(), "let through with two pods unseen");
}

/// Draining pods are not Ready (that is how they get no new work), and say no. What they said is
/// forgotten, and one round gets no answer.
fn one_silent_round(forget: impl FnOnce(&mut World)) {
    let mut world = setup(json!({"gates": {"app": {"prepare": {}}}}), WorkloadKind::Deployment, 2);
    let names: Vec<String> = world.pods("web").iter().map(|p| p.name.to_string()).collect();
    names
        .iter()
        .for_each(|name| drop(world.answers.insert(name.clone(), Answer::No("job 4711".into()))));
    hold(&mut world, "web", "v2");
    world.act();
    world.later(3).act();
    unready(&mut world, 0);
    for _ in 0..70 {
        world.later(6).act();
    }
    assert!(mark(&world, "web", "hold").is_some());
    forget(&mut world);
    names.iter().for_each(|name| {
        drop(world.answers.insert(name.clone(), Answer::Hangs("no answer within 2s".into())))
    });
    world.later(1).act();
    world.later(3).act();
    assert!(
        mark(&world, "web", "hold").is_some(),
        "both say no, and are ended after one round without an answer"
    );
}

#[test]
fn p8_one_silent_round_after_a_restart_is_no_consent() {
    one_silent_round(World::restart_operator);
}

#[test]
fn p8_one_silent_round_about_the_next_change_is_no_consent() {
    one_silent_round(|world| hold(world, "web", "v3"));
}

/// We could not ask, because a header's Secret cannot be read: nobody was silent.
#[test]
fn p8_pods_that_were_not_asked_are_not_silent() {
    let mut world = setup(json!({"gates": {"app": {"prepare": {}}}}), WorkloadKind::Deployment, 2);
    let names: Vec<String> = world.pods("web").iter().map(|p| p.name.to_string()).collect();
    names
        .iter()
        .for_each(|name| drop(world.answers.insert(name.clone(), Answer::No("job 4711".into()))));
    hold(&mut world, "web", "v2");
    world.act();
    world.later(3).act();
    unready(&mut world, 0);
    for _ in 0..10 {
        world.later(6).act();
    }
    // What Credentials::read returns for every pod.
    names.iter().for_each(|name| {
        drop(world.answers.insert(
            name.clone(),
            Answer::NotAsked(
                "the header Authorization cannot be sent: there is no Secret gate".into(),
            ),
        ))
    });
    for _ in 0..60 {
        world.later(6).act();
    }
    assert!(
        mark(&world, "web", "hold").is_some(),
        "ended because a Secret was missing for 5 minutes"
    );
}

fn walking(policy: serde_json::Value) -> World {
    let mut world = setup(policy, WorkloadKind::StatefulSet, 3);
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    assert_eq!(mark(&world, "web", "partition").as_deref(), Some("2"));
    world
}

/// The CRD is deleted and comes again with another uid: a hold stays (PolicyLost), a walk's pods
/// all go.
#[test]
fn p8_a_walk_whose_policy_went_with_the_crd_stays() {
    let mut world = walking(json!({"gates": {"app": {"scope": "Pod"}}}));
    renew(&mut world, 2, true);
    world.later(5).act();
    let text = mark(&world, "web", "governance").unwrap().replace("\"crd\"", "\"crd-before\"");
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/governance"] = json!(text)
    });
    world.observe("web");
    world.namespace.policies.clear();
    world.act();
    world.later(61).act();
    assert_eq!(mark(&world, "web", "partition").as_deref(), Some("2"), "web-1 says no and goes");
}

/// Config that changes while a pod of the walk is being renewed, and needs approval, takes the
/// walk's id.
#[test]
fn p16_config_that_waits_for_approval_leaves_a_walk_its_id() {
    let mut world = World::new().with_policy(
        json!({"config": {}, "gates": {"approval": "Required", "app": {"scope": "Pod"}}}),
    );
    world.config_map("app", &[("a", "1")]);
    world.workload(WorkloadKind::StatefulSet, "web", 3, env_key("app", "a"));
    rename(&mut world);
    world.act();
    world.later(60).act();
    hold(&mut world, "web", "v2");
    let id = mark(&world, "web", "hold").unwrap().split(' ').next().unwrap().to_owned();
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/approve"] = json!(id);
        web["metadata"]["annotations"]["lockkeeper.dev/approved-by"] = json!("ann");
    });
    world.observe("web");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    assert_eq!(mark(&world, "web", "partition").as_deref(), Some("2"));
    renew(&mut world, 2, false);
    world.act();
    world.later(5).config_map("app", &[("a", "2")]);
    world.act();
    world.later(3).act();
    let since = mark(&world, "web", "hold-since").unwrap();
    assert!(
        since.starts_with(&format!("{id} ")),
        "the walk of change {id} is now {since}, pending {:?}",
        mark(&world, "web", "pending-config")
    );
}

/// A rollout that failed before it terminated any pod, and was reverted, restarts no follower.
#[test]
fn what_failed_and_was_reverted_restarts_nothing() {
    let policy = json!({"rollout": {"deadline": "2m", "steps": [
        {"name": "db", "selector": {"matchLabels": {"app": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}});
    let mut world = World::new().with_policy(policy);
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60).act();
    // One that is done, which web follows.
    hold(&mut world, "db", "v2");
    world.act();
    world.later(3).act();
    world.finish("db");
    let mut rolled = Vec::new();
    for _ in 0..3 {
        let now = world.later(10).act();
        if !now.is_empty() {
            world.finish("web");
        }
        rolled.extend(now);
    }
    assert_eq!(rolled, ["web"]);
    // One that never gets a pod ready.
    hold(&mut world, "db", "broken");
    world.act();
    world.later(3).act();
    world.observe("db");
    world.later(1).act();
    world.later(200).act();
    assert!(world.stands().starts_with("Failed"), "{}", world.stands());
    hold(&mut world, "db", "v2");
    let id = world.id("db");
    let mut again = Vec::new();
    for round in 0..6 {
        again.extend(world.later(10).act());
        if round == 1 {
            assert_eq!(mark(&world, "db", "hold"), None);
            world.observe("db");
            world.observe_again(&id);
        }
    }
    assert_eq!(again, [""; 0], "no pod of db was ended: {:?}", mark(&world, "db", "rollout"));
}

/// A walk that is held again (its policy changed) is "by lockkeeper": its author may then approve
/// what needs somebody else.
#[test]
fn p16_a_walk_that_is_held_again_keeps_its_author() {
    let mut world = setup(
        json!({"gates": {"approval": "RequiredFromOther", "app": {"scope": "Pod"}}}),
        WorkloadKind::StatefulSet,
        3,
    );
    hold(&mut world, "web", "v2");
    let approve = |world: &mut World, by: &str| {
        let id = mark(world, "web", "hold").unwrap().split(' ').next().unwrap().to_owned();
        world.edit("web", |web| {
            web["metadata"]["annotations"]["lockkeeper.dev/approve"] = json!(id);
            web["metadata"]["annotations"]["lockkeeper.dev/approved-by"] = json!(by);
        });
        world.observe("web");
    };
    approve(&mut world, "dev");
    world.act();
    world.later(3).act();
    assert!(mark(&world, "web", "hold").is_some(), "its author's approval does not count");
    approve(&mut world, "ann");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    assert_eq!(mark(&world, "web", "partition").as_deref(), Some("2"));
    renew(&mut world, 2, true);
    world.later(5).act();
    // Admission strips the approval with the hold that it was for.
    world.edit("web", |web| {
        let all = web["metadata"]["annotations"].as_object_mut().unwrap();
        all.remove("lockkeeper.dev/approve");
        all.remove("lockkeeper.dev/approved-by");
    });
    world.observe("web");
    world.policy("shop", json!({"gates": {"approval": "RequiredFromOther", "app": {}}}));
    world.act();
    world.observe("web");
    assert!(mark(&world, "web", "hold").is_some());
    world.answers.clear();
    approve(&mut world, "dev");
    world.later(3).act();
    world.later(60).act();
    assert!(mark(&world, "web", "hold").is_some(), "dev made the change and approved it");
}

/// The whole of a failed rollout is drained, without an end: new pods never become Ready, old ones
/// take no work.
#[test]
fn a_rollout_that_failed_does_not_keep_every_old_pod_from_working_indefinitely() {
    let mut world = setup(
        json!({"gates": {"app": {"prepare": {}}}, "rollout": {"deadline": "2m"}}),
        WorkloadKind::Deployment,
        2,
    );
    hold(&mut world, "web", "broken");
    world.act();
    world.later(3).act();
    assert_eq!(mark(&world, "web", "hold"), None);
    world.observe("web");
    world.later(1).act();
    for _ in 0..40 {
        world.later(20).act();
    }
    assert!(world.stands().starts_with("Failed"), "{}", world.stands());
    world.said.clear();
    for _ in 0..90 {
        world.later(20).act();
    }
    assert!(world.said.len() < 10, "for 30 minutes after the failure: {} POSTs", world.said.len());
}

/// A workload of an earlier step that is deleted in the middle of a rollout, and hangs on a
/// finalizer, is no longer a step.
#[test]
fn a_workload_that_is_being_deleted_keeps_no_step_waiting() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let mut world =
        World::new().with_policy(json!({"rollout": {"steps": [step("db"), step("web")]}}));
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60).act();
    hold(&mut world, "db", "v2");
    world.act();
    world.later(3).act();
    world.observe("db");
    world.later(1).act();
    let now = world.now;
    world.edit("db", |db| db["metadata"]["deletionTimestamp"] = json!(now));
    let id = world.id("db");
    world.observe_again(&id);
    hold(&mut world, "web", "v2");
    for _ in 0..20 {
        world.later(600).act();
    }
    assert_eq!(
        mark(&world, "web", "hold"),
        None,
        "{:?}",
        world.attention().map(|one| &one.message)
    );
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
    hold(&mut world, "web", "v2");
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

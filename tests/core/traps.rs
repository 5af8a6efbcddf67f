//! Traps around the app gate, walks and steps: what looks like consent, cures that wait for each
//! other, restarts that nobody asked for.

use crate::world::{World, env_key};
use lockkeeper::api::WorkloadKind;
use lockkeeper::core::gates::answer::Answer;
use lockkeeper::core::world::{ControllerRevision, Uid};
use serde_json::json;

fn spec() -> serde_json::Value {
    json!({"containers": [{"name": "app", "image": "v1"}]})
}

fn setup(policy: serde_json::Value, kind: WorkloadKind, n: u32) -> World {
    let mut world = World::new().with_policy(policy);
    world.workload(kind, "web", n, spec());
    world.act();
    world.later(60);
    world.act();
    world
}

fn hold(world: &mut World, name: &str, image: &str) {
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

fn held(world: &World, name: &str) -> bool {
    world.object(name)["metadata"]["annotations"].get("lockkeeper.dev/hold").is_some()
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

#[test]
fn p9_pods_that_never_ran_do_not_block_their_cure() {
    let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::Deployment, 2);
    for uid in pods_of(&world, "web") {
        let pod = world.namespace.pods.get_mut(&uid).unwrap();
        (pod.ready, pod.reach.running, pod.trouble) =
            (false, false, Some("ImagePullBackOff".into()));
    }
    hold(&mut world, "web", "v2");
    for _ in 0..5 {
        world.later(600).act();
    }
    assert!(!held(&world, "web"), "still held");
}

#[test]
fn p8_one_answer_that_is_lost_is_no_consent() {
    let mut world = setup(json!({"gates": {"app": {"prepare": {}}}}), WorkloadKind::Deployment, 2);
    hold(&mut world, "web", "v2");
    let names: Vec<String> = world.pods("web").iter().map(|p| p.name.to_string()).collect();
    world.answers.insert(names[0].clone(), Answer::No("job 4711".into()));
    world.later(3).act();
    for uid in pods_of(&world, "web") {
        let now = world.now;
        let pod = world.namespace.pods.get_mut(&uid).unwrap();
        (pod.ready, pod.ready_moved) = (false, Some(now));
    }
    for _ in 0..60 {
        world.later(6).act();
    }

    assert!(held(&world, "web"));
    world.answers.insert(names[0].clone(), Answer::Hangs("no answer within 2s".into()));
    world.later(6).act();

    assert!(held(&world, "web"), "released after one timeout");
}

#[test]
fn a_walk_that_only_waits_has_not_failed() {
    let mut world = World::new()
        .with_policy(json!({"gates": {"app": {"scope": "Pod"}}, "rollout": {"deadline": "10m"}}));
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    rename(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();

    renew(&mut world, 2);
    world.later(5).act();

    world.later(601).act();

    assert!(!world.stands().starts_with("Failed"));
}

/// pods are web-1.. in the world; make them 0-based.
fn rename(world: &mut World) {
    let mut uids = pods_of(world, "web");
    uids.sort();
    let uid = "uid-web";
    for (n, old) in uids.iter().enumerate() {
        let mut pod = world.namespace.pods.remove(old).unwrap();
        pod.name = format!("web-{n}").into();
        pod.uid = format!("pod-web-{n}-a").into();
        pod.controller = Some(uid.into());
        world.namespace.pods.insert(pod.uid.clone(), pod);
    }
}

fn renew(world: &mut World, n: usize) {
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
    (pod.revision, pod.created, pod.ready_moved) = (revision, now, Some(now));
    world.version += 1;
    pod.created_version = Some(world.version);
    world.namespace.pods.insert(pod.uid.clone(), pod);
    world.observe("web");
}

#[test]
fn a_cure_in_a_later_step_does_not_wait_for_what_waits_for_it() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let mut world =
        World::new().with_policy(json!({"rollout": {"steps": [step("db"), step("web")]}}));
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "broken");
    world.act();
    world.later(40).act();

    world.observe("web");
    world.later(1).act();
    world.later(700).act();
    world.edit("web", |w| {
        let t = w["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .replace("\"Done\"", "\"Failed\"");
        w["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    {
        let id = world.id("web");
        world.observe_again(&id);
    }

    // the cure and a change of the step before, in one helm upgrade
    hold(&mut world, "web", "v3");
    hold(&mut world, "db", "v3");
    for _ in 0..4 {
        world.later(60).act();
    }
    assert!(!held(&world, "web") || !held(&world, "db"), "deadlock");
}

#[test]
fn what_failed_and_was_reverted_is_forgotten() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let mut world =
        World::new().with_policy(json!({"rollout": {"steps": [step("db"), step("web")]}}));
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "broken");
    world.act();
    world.later(40).act();
    world.observe("web");
    world.later(1).act();
    world.later(700).act();
    world.edit("web", |w| {
        let t = w["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .replace("\"Done\"", "\"Failed\"");
        w["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    {
        let id = world.id("web");
        world.observe_again(&id);
    }

    hold(&mut world, "web", "v1");
    world.act();
    world.later(10).act();

    world.observe("web");
    let id = world.id("web");
    world.roll_out(&id);
    world.later(10).act();
    world.edit("web", |w| {
        let t = w["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .replace("\"Done\"", "\"Failed\"")
            .replace("t-28f96dee349770b3", "t-1f77b9d8bd21af01");
        w["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    {
        let id = world.id("web");
        world.observe_again(&id);
    }
    world.act();
    world.later(60);
    world.act();

    hold(&mut world, "web", "v3");
    hold(&mut world, "db", "v3");
    for _ in 0..4 {
        world.later(60).act();
    }
    assert!(!held(&world, "web") || !held(&world, "db"), "deadlock");
}

#[test]
fn p8_a_crash_of_long_ago_is_not_one_of_now() {
    let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::Deployment, 1);
    for uid in pods_of(&world, "web") {
        let when = world.now - jiff::SignedDuration::from_hours(240);
        let pod = world.namespace.pods.get_mut(&uid).unwrap();
        pod.crashed = Some(when);
        pod.restarts = 2;
    }
    hold(&mut world, "web", "v2");
    let name = world.pods("web")[0].name.to_string();
    world.answers.insert(name.clone(), Answer::No("job".into()));
    for _ in 0..100 {
        world.later(6).act();
    }

    assert!(held(&world, "web"));
    for uid in pods_of(&world, "web") {
        let now = world.now;
        let pod = world.namespace.pods.get_mut(&uid).unwrap();
        (pod.ready, pod.ready_moved) = (false, Some(now));
    }
    world.answers.insert(name, Answer::Hangs("t".into()));
    world.later(6).act();

    assert!(held(&world, "web"));
}

#[test]
fn p8_a_pod_that_has_just_spoken_is_waited_for_although_it_crashes() {
    let mut world = setup(json!({"gates": {"app": {}}}), WorkloadKind::Deployment, 1);
    world.later(86400).act();
    hold(&mut world, "web", "v2");
    let name = world.pods("web")[0].name.to_string();
    world.answers.insert(name.clone(), Answer::No("job".into()));
    for _ in 0..10 {
        world.later(6).act();
    }
    assert!(held(&world, "web"));
    for uid in pods_of(&world, "web") {
        let now = world.now;
        let pod = world.namespace.pods.get_mut(&uid).unwrap();
        (pod.ready, pod.ready_moved, pod.restarts, pod.trouble) =
            (false, Some(now), 1, Some("CrashLoopBackOff".into()));
    }
    world.answers.insert(name, Answer::Unusable("refused".into()));
    world.later(1).act();

    assert!(held(&world, "web"));
}

fn follow() -> World {
    let policy = json!({"rollout": {"steps": [
        {"name": "db", "selector": {"matchLabels": {"tier": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}});
    let mut world = World::new().with_policy(policy);
    for name in ["db", "db2"] {
        world.workload(WorkloadKind::Deployment, name, 2, spec());
        world.edit(name, |db| db["metadata"]["labels"]["tier"] = json!("db"));
        let id = world.id(name);
        world.observe_again(&id);
    }
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    world
}

#[test]
fn p1_a_lost_digest_key_restarts_nothing() {
    let mut world = follow();
    world.restart_operator();
    world.key = lockkeeper::core::config::digest::Key::new(&[8; 32]);
    world.act();
    let mut rolled = vec![];
    for _ in 0..3 {
        rolled.extend(world.later(60).act());
    }
    assert!(rolled.is_empty(), "{rolled:?}");
}

#[test]
fn a_workload_that_goes_restarts_nobody() {
    let mut world = follow();
    let id = world.id("db2");
    world.namespace.workloads.remove(&id);
    let mut rolled = vec![];
    for _ in 0..3 {
        rolled.extend(world.later(60).act());
    }
    assert!(rolled.is_empty(), "{rolled:?}");
}

#[test]
fn a_paused_step_restarts_nobody_twice() {
    let mut world = follow();
    hold(&mut world, "db", "v2");
    world.act();
    world.later(40).act();
    world.observe("db");
    world.later(1).act();
    world.start_pod("db");
    world.edit("db", |db| db["spec"]["paused"] = json!(true));
    let id = world.id("db");
    world.observe_again(&id);
    let mut rolled = vec![];
    for _ in 0..5 {
        rolled.extend(world.later(60).act());
        if !rolled.is_empty() {
            world.finish("web");
        }
    }
    world.edit("db", |db| db["spec"]["paused"] = json!(false));
    world.finish("db");
    for _ in 0..5 {
        rolled.extend(world.later(60).act());
        if rolled.len() > 1 {
            break;
        }
    }
    assert!(rolled.len() < 2, "{rolled:?}");
}

#[test]
fn config_that_changes_during_a_walk_waits_for_its_end() {
    let mut world =
        World::new().with_policy(json!({"config": {}, "gates": {"app": {"scope": "Pod"}}}));
    world.config_map("app", &[("a", "1")]);
    let mut pod_spec = env_key("app", "a");
    pod_spec["containers"][0]["image"] = json!("v1");
    world.workload(WorkloadKind::StatefulSet, "web", 3, pod_spec);
    rename(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    renew(&mut world, 2);
    world.later(5).act();

    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    world.said.clear();
    world.later(3);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.act()));
    assert!(result.is_ok());
}

#[test]
fn p8_a_hold_of_nothing_is_something_in_the_middle_of_a_walk() {
    let mut world = World::new().with_policy(json!({"gates": {"app": {"scope": "Pod"}}}));
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    rename(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    renew(&mut world, 2);
    world.later(5).act();

    hold(&mut world, "web", "v2");
    let decision = world.decide();
    assert!(
        decision.patches.iter().all(|p| !p
            .annotations
            .iter()
            .any(|(k, v)| *k == "lockkeeper.dev/hold" && v.is_none()))
    );
}

#[test]
fn p8_a_walk_whose_policy_changes_is_held_again() {
    let mut world = World::new().with_policy(json!({"gates": {"app": {"scope": "Pod"}}}));
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    rename(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    renew(&mut world, 2);
    world.later(5).act();

    world.policy("shop", json!({"gates": {"app": {"scope": "Workload"}}}));
    let decision = world.decide();
    assert!(
        decision
            .patches
            .iter()
            .any(|p| p.annotations.iter().any(|(k, v)| *k == "lockkeeper.dev/hold" && v.is_some()))
    );
}

#[test]
fn p14_a_restart_that_waits_writes_nothing_at_rest() {
    let policy = json!({"gates": {"approval": "Required"}, "rollout": {"steps": [
        {"name": "db", "selector": {"matchLabels": {"app": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}});
    let mut world = World::new().with_policy(policy);
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    // db rolls without hold (say it slipped by)
    world.edit("db", |db| db["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.finish("db");
    world.act();
    world.later(3).act();

    // its generation moves on with that write, and the controller has not seen it
    world.edit("web", |_| {});
    let decision = world.decide();
    assert!(decision.patches.is_empty());
}

#[test]
fn a_step_that_is_inserted_restarts_nobody() {
    let mut world = follow();
    world.workload(WorkloadKind::Deployment, "cache", 1, spec());
    world.act();
    world.later(60);
    world.act();
    world.policy(
        "shop",
        json!({"rollout": {"steps": [
        {"name": "db", "selector": {"matchLabels": {"tier": "db"}}},
        {"name": "cache", "selector": {"matchLabels": {"app": "cache"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}}),
    );
    let mut rolled = vec![];
    for _ in 0..3 {
        rolled.extend(world.later(60).act());
    }
    assert!(rolled.is_empty(), "{rolled:?}");
}

#[test]
fn p8_a_walk_keeps_its_judge() {
    let mut world = World::new().with_policy(
        json!({"selector": {"matchLabels": {"app": "web"}}, "gates": {"app": {"scope": "Pod"}}}),
    );
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    rename(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    renew(&mut world, 2);
    world.later(5).act();

    world.edit("web", |w| w["metadata"]["labels"]["app"] = json!("other"));
    world.observe("web");
    let decision = world.decide();
    assert!(decision.patches.is_empty());
}

#[test]
fn pods_that_cannot_be_asked_open_if_the_policy_says_so() {
    let mut world =
        setup(json!({"gates": {"app": {"whenUnreachable": "Open"}}}), WorkloadKind::Deployment, 1);
    for uid in pods_of(&world, "web") {
        world.namespace.pods.get_mut(&uid).unwrap().reach.host_network = true;
    }
    hold(&mut world, "web", "v2");
    for _ in 0..4 {
        world.later(600).act();
    }

    assert!(!held(&world, "web"));
}

fn second(policy: serde_json::Value, ended: &str, paused: bool) {
    let mut world = World::new().with_policy(policy);
    world.workload(WorkloadKind::Deployment, "db", 2, spec());
    world.edit("db", |db| db["metadata"]["labels"]["tier"] = json!("db"));
    let id = world.id("db");
    world.observe_again(&id);
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    world.act();
    world.later(60);
    world.act();
    // the last rollout of db, and web has followed it
    world.edit("db", |db| {
        let t = db["metadata"]["annotations"]["lockkeeper.dev/rollout"].as_str().unwrap().replace(
            '}',
            ",\"ended\":\"Done\",\"change\":\"t-1\",\"at\":\"2027-01-15T08:01:40Z\"}",
        );
        db["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    world.observe_again(&id);
    let mut legit = vec![];
    for _ in 0..3 {
        let r = world.later(60).act();
        if !r.is_empty() {
            world.finish("web");
        }
        legit.extend(r);
    }
    // db rolls again
    world.edit("db", |db| {
        db["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        if paused {
            db["spec"]["paused"] = json!(true);
        }
        let t = db["metadata"]["annotations"]["lockkeeper.dev/rollout"]
            .as_str()
            .unwrap()
            .replace("\"ended\":\"Done\"", &format!("\"ended\":\"{ended}\""))
            .replace("t-1", "t-2");
        db["metadata"]["annotations"]["lockkeeper.dev/rollout"] = json!(t);
    });
    world.observe("db");
    let mut rolled = vec![];
    for _ in 0..8 {
        let r = world.later(60).act();
        if !r.is_empty() {
            world.finish("web");
        }
        rolled.extend(r);
    }
    assert!(rolled.is_empty(), "{rolled:?}");
}

#[test]
fn what_has_failed_restarts_nobody() {
    second(
        json!({"rollout": {"onFailure": "Continue", "deadline": "2m", "steps": [
        {"name": "db", "selector": {"matchLabels": {"tier": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}}),
        "Failed",
        false,
    );
}

#[test]
fn what_waits_for_its_user_restarts_nobody() {
    second(
        json!({"rollout": {"steps": [
        {"name": "db", "selector": {"matchLabels": {"tier": "db"}}},
        {"name": "web", "selector": {"matchLabels": {"app": "web"}}, "restartWith": "Previous"}]}}),
        "UnderWay",
        true,
    );
}

/// The pods of a StatefulSet whose walk is over stay where it ended as long as the manifest asks
/// for a partition: with the next change of config they would all go at once.
#[test]
fn p8_where_a_walk_ended_is_no_consent_to_the_next_change_of_config() {
    for (scope, expected) in [("Pod", Some("2")), ("Workload", None)] {
        let mut world =
            World::new().with_policy(json!({"config": {}, "gates": {"app": {"scope": scope}}}));
        world.config_map("app", &[("a", "1")]);
        world.workload(WorkloadKind::StatefulSet, "web", 2, env_key("app", "a"));
        rename(&mut world);
        world.act();
        world.later(60).act();
        for pod in ["web-0", "web-1"] {
            world.answers.insert(pod.into(), Answer::No("busy".into()));
        }
        world.config_map("app", &[("a", "2")]);
        world.act();
        world.edit("web", |web| {
            let annotations = &mut web["metadata"]["annotations"];
            annotations["lockkeeper.dev/partition"] = json!("0");
            annotations["lockkeeper.dev/declared-partition"] = json!("2");
            annotations["lockkeeper.dev/hold-since"] = json!("c-12345678 2026-11-20T09:00:00Z");
            web["spec"]["updateStrategy"] =
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
        });
        world.observe("web");
        for _ in 0..5 {
            world.later(3).act();
        }
        let annotations = &world.object("web")["metadata"]["annotations"];
        assert_eq!(annotations["lockkeeper.dev/partition"].as_str(), expected, "{annotations}");
    }
}

/// A walk for config whose policy asks for no walks any more is held again, and found to be what
/// ran before but for our config-hash: that goes, and the config with it.
#[test]
fn p4_config_whose_rollout_is_taken_for_a_revert_is_rolled_again() {
    let mut world =
        World::new().with_policy(json!({"config": {}, "gates": {"app": {"scope": "Pod"}}}));
    world.config_map("app", &[("a", "1")]);
    world.workload(WorkloadKind::StatefulSet, "web", 2, env_key("app", "a"));
    rename(&mut world);
    let settled = world.namespace.workloads[&world.id("web")].rollout.revision.clone().unwrap();
    let template = world.namespace.workloads[&world.id("web")].template.clone();
    let revision = ControllerRevision {
        name: settled.clone(),
        stateful_set: "uid-web".into(),
        template: template.digest,
        config_hash: None,
        references: template.references.clone(),
        containers: template.containers.clone(),
    };
    world.namespace.controller_revisions.insert("revision".into(), revision);
    world.act();
    world.later(60).act();
    world.answers.insert("web-0".into(), Answer::No("busy".into()));
    world.config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    renew(&mut world, 1);
    world.edit("web", |web| web["status"]["currentRevision"] = json!(&*settled));
    let id = world.id("web");
    world.observe_again(&id);
    world.later(5).act();
    world.policy("shop", json!({"config": {}, "gates": {"app": {}}}));
    world.act();
    world.later(3);
    world.observe_again(&id);
    world.act();
    assert!(!held(&world, "web"), "{}", world.object("web")["metadata"]["annotations"]);

    // The controller has put web-1 back. It has started with the new config, web-0 has not.
    world.answers.clear();
    renew(&mut world, 1);
    for pod in world.namespace.pods.values_mut() {
        pod.revision = Some(settled.clone());
    }
    world.edit("web", |web| {
        web["status"]["currentRevision"] = json!(&*settled);
        web["status"]["updateRevision"] = json!(&*settled);
        web["status"]["updatedReplicas"] = json!(2);
    });
    world.observe_again(&id);
    let rolled: Vec<_> = (0..5).flat_map(|_| world.later(3).act()).collect();
    assert_eq!(rolled, ["web"], "{}", world.stands());
}

/// The controller of a StatefulSet renews nothing above a pod that is not Ready, and what is below
/// the partition comes back as it was.
#[test]
fn p9_a_broken_pod_whose_turn_would_come_last_does_not_block_its_cure() {
    for healthy in [false, true] {
        let mut world = World::new()
            .with_policy(json!({"gates": {"app": {"scope": "Pod", "brokenAfter": "20s"}}}));
        world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
        rename(&mut world);
        world.act();
        world.later(60).act();
        let now = world.now;
        for pod in world.namespace.pods.values_mut().filter(|pod| *pod.name == *"web-0" || !healthy)
        {
            (pod.ready, pod.ready_moved) = (false, Some(now));
        }
        for pod in ["web-0", "web-1"] {
            world.answers.insert(pod.into(), Answer::Unusable("connection refused".into()));
        }
        hold(&mut world, "web", "v2");
        if healthy {
            world.answers.insert("web-1".into(), Answer::No("busy".into()));
        }
        let step = |world: &World| {
            world.object("web")["metadata"]["annotations"]["lockkeeper.dev/partition"]
                .as_str()
                .map(str::to_owned)
        };
        for _ in 0..20 {
            world.later(5).act();
            world.observe("web");
        }
        assert!(!held(&world, "web"), "{healthy}: {:?}", world.attention());
        assert_eq!(
            step(&world).as_deref(),
            Some(if healthy { "2" } else { "0" }),
            "a pod that would go with it and says no is waited for"
        );
        world.answers.insert("web-1".into(), Answer::Yes);
        for _ in 0..5 {
            world.later(5).act();
        }
        assert_eq!(step(&world).as_deref(), Some("0"), "{healthy}: {:?}", world.attention());
    }
}

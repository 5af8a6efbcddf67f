//! The app gate and pods that do not answer: silent, crashed, going, or not seen yet. Silence is
//! consent only where nothing is left that could say no.

use lockkeeper::{api::WorkloadKind, core::conversation::answer::Answer};
use serde_json::json;

use crate::world::{
    World, env_key,
    held::{held, hold, mark, pods_of, setup, unready},
};

#[test]
fn p9_pods_that_never_ran_do_not_block_their_fix() {
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

/// A Failed pod stays for up to 15 minutes, again and again on a node that evicts, and counts in
/// currentNumberScheduled.
#[test]
fn a_finished_pod_is_not_waited_for_as_one_not_seen_yet() {
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
fn p8_a_finished_pod_that_terminates_does_not_count_as_one_not_seen_yet() {
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
fn p8_terminating_pods_do_not_count_as_pods_not_seen_yet() {
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

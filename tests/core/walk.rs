//! A StatefulSet that is upgraded pod by pod (`scope: Pod`): what a step waits for, and what becomes
//! of a walk when its policy, its config or its pods change on the way.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        conversation::answer::Answer, notice::Event, observed::ControllerRevision,
        request::FieldEdit,
    },
};
use serde_json::json;

use crate::world::{
    World, env_key,
    held::{held, hold, mark, number_pods, renew, setup, spec},
};

#[test]
fn a_walk_that_only_waits_has_not_failed() {
    let mut world = World::new()
        .with_policy(json!({"gates": {"app": {"scope": "Pod"}}, "rollout": {"deadline": "10m"}}));
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    number_pods(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();

    renew(&mut world, 2, true);
    world.later(5).act();

    world.later(601).act();

    assert!(!world.stands().starts_with("Failed"));
}

#[test]
fn config_that_changes_during_a_walk_waits_for_its_end() {
    let mut world =
        World::new().with_policy(json!({"config": {}, "gates": {"app": {"scope": "Pod"}}}));
    world.config_map("app", &[("a", "1")]);
    let mut pod_spec = env_key("app", "a");
    pod_spec["containers"][0]["image"] = json!("v1");
    world.workload(WorkloadKind::StatefulSet, "web", 3, pod_spec);
    number_pods(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    renew(&mut world, 2, true);
    world.later(5).act();

    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    world.said.clear();
    world.later(3);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.act()));
    assert!(result.is_ok());
}

#[test]
fn p8_a_hold_that_changes_nothing_is_kept_in_the_middle_of_a_walk() {
    let mut world = World::new().with_policy(json!({"gates": {"app": {"scope": "Pod"}}}));
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    number_pods(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    renew(&mut world, 2, true);
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

fn walking(policy: serde_json::Value) -> World {
    let mut world = setup(policy, WorkloadKind::StatefulSet, 3);
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    assert_eq!(mark(&world, "web", "partition").as_deref(), Some("2"));
    world
}

/// The next pod waits for the same answer as before, also while the controller has not seen the
/// newest write.
#[test]
fn a_walk_that_waits_keeps_its_gate_until_our_own_write_is_observed() {
    let mut world = walking(json!({"gates": {"app": {"scope": "Pod"}}}));
    renew(&mut world, 2, true);
    world.later(5).act();
    world.later(5).act();
    let before = world.attention().unwrap().clone();
    assert_eq!((before.gate.as_deref(), before.hold.is_some()), (Some("app"), true));
    let told =
        |world: &World| world.told.iter().filter(|(event, ..)| *event == Event::GateClosed).count();
    let closed = told(&world);
    world.edit("web", |web| web["spec"]["minReadySeconds"] = json!(1));
    world.act();
    let now = world.attention().unwrap();
    assert_eq!((&now.gate, &now.hold), (&before.gate, &before.hold));
    world.observe("web");
    world.later(5).act();
    assert_eq!(world.attention().unwrap().gate.as_deref(), Some("app"));
    assert_eq!(told(&world), closed, "that the gate is closed is told once");
}

#[test]
fn p8_a_walk_whose_policy_changes_is_held_again() {
    let mut world = World::new().with_policy(json!({"gates": {"app": {"scope": "Pod"}}}));
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    number_pods(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    renew(&mut world, 2, true);
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
fn p8_a_walk_keeps_its_judge() {
    let mut world = World::new().with_policy(
        json!({"selector": {"matchLabels": {"app": "web"}}, "gates": {"app": {"scope": "Pod"}}}),
    );
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    number_pods(&mut world);
    world.act();
    world.later(60);
    world.act();
    hold(&mut world, "web", "v2");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.act();
    world.later(3).act();
    renew(&mut world, 2, true);
    world.later(5).act();

    world.edit("web", |w| w["metadata"]["labels"]["app"] = json!("other"));
    world.observe("web");
    let decision = world.decide();
    assert!(decision.patches.is_empty());
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

/// What stays held although its policy was deleted with the CRD gets a judge that is there.
#[test]
fn p6_a_hold_whose_policy_went_with_the_crd_is_handed_over_to_another_judge() {
    let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
    world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
    world.act();
    hold(&mut world, "web", "v2");
    world.act();
    let text = mark(&world, "web", "governance").unwrap().replace("\"crd\"", "\"crd-before\"");
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/governance"] = json!(text)
    });
    world.observe("web");
    world.namespace.policies.clear();
    world.act();
    world.later(61).act();
    assert_eq!(handed(&mut world), [(Some(FieldEdit::Set("webhook".to_owned())), 0)]);
}

/// What stays held under a policy that observes, or was to be kept, gets a judge that is there.
#[test]
fn p6_a_hold_that_is_kept_is_handed_over_to_another_judge() {
    for observes in [true, false] {
        let gates = json!({"approval": "Required"});
        let mut world = World::new().with_policy(json!({"gates": gates, "whenUngoverned": "Keep"}));
        world.workload(WorkloadKind::Deployment, "web", 3, spec());
        world.act();
        hold(&mut world, "web", "v2");
        world.act();
        match observes {
            true => world.policy("shop", json!({"mode": "Observe", "gates": gates})),
            false => world.namespace.policies.clear(),
        }
        world.act();
        world.later(61).act();
        assert!(mark(&world, "web", "hold").is_some());
        assert_eq!(handed(&mut world), [(Some(FieldEdit::Set("webhook".to_owned())), 0)]);
    }
}

/// What is written of the judge once only the webhook judges, and how many annotations with it.
fn handed(world: &mut World) -> Vec<(Option<FieldEdit>, usize)> {
    let holds = json!([
        {"name": "holds.lockkeeper.dev", "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
            "operations": ["UPDATE"], "resources": ["deployments", "statefulsets"]}]},
        {"name": "created.lockkeeper.dev", "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["deployments", "statefulsets"]}]},
        {"name": "probe.lockkeeper.dev"},
    ]);
    world.enforcement.observe("MutatingWebhookConfiguration", "zz-lockkeeper", Some(holds));
    let patches = world.decide().patches;
    patches.iter().map(|patch| (patch.governed.clone(), patch.annotations.len())).collect()
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
    number_pods(&mut world);
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

/// Config that changes while a pod of the walk is being renewed, and needs approval, takes the
/// walk's id.
#[test]
fn p16_config_that_waits_for_approval_leaves_a_walk_its_id() {
    let mut world = World::new().with_policy(
        json!({"config": {}, "gates": {"approval": "Required", "app": {"scope": "Pod"}}}),
    );
    world.config_map("app", &[("a", "1")]);
    world.workload(WorkloadKind::StatefulSet, "web", 3, env_key("app", "a"));
    number_pods(&mut world);
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

/// The pods of a StatefulSet whose walk is over stay where it ended as long as the manifest asks
/// for a partition: with the next change of config they would all go at once.
#[test]
fn p8_where_a_walk_ended_is_no_consent_to_the_next_change_of_config() {
    for (scope, expected) in [("Pod", Some("2")), ("Workload", None)] {
        let mut world =
            World::new().with_policy(json!({"config": {}, "gates": {"app": {"scope": scope}}}));
        world.config_map("app", &[("a", "1")]);
        world.workload(WorkloadKind::StatefulSet, "web", 2, env_key("app", "a"));
        number_pods(&mut world);
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
    number_pods(&mut world);
    let settled = world.namespace.workloads[&world.id("web")].rollout.revision.clone().unwrap();
    let template = world.namespace.workloads[&world.id("web")].template.clone();
    let revision = ControllerRevision {
        name: settled.clone(),
        stateful_set: "uid-web".into(),
        template: template.digest,
        config_hash: None,
        rests: false,
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
    renew(&mut world, 1, true);
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
    renew(&mut world, 1, true);
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
fn p9_a_broken_pod_whose_turn_would_come_last_does_not_block_its_fix() {
    for healthy in [false, true] {
        let mut world = World::new()
            .with_policy(json!({"gates": {"app": {"scope": "Pod", "brokenAfter": "20s"}}}));
        world.workload(WorkloadKind::StatefulSet, "web", 3, spec());
        number_pods(&mut world);
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

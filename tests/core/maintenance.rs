//! Maintenance, from the word that asks for it to the end: with admission as its twin has it, and
//! controllers that do what they are told.

use lockkeeper::{api::WorkloadKind, core::notice::Event};
use model::admission::{OPERATOR, Operation, Twin, Write};
use serde_json::{Value, json};

use crate::world::{
    World,
    held::{mark, setup},
};

pub const KINDS: [WorkloadKind; 2] = [WorkloadKind::Deployment, WorkloadKind::StatefulSet];

/// Somebody writes the workload, and admission makes of it what it makes.
pub fn write(world: &mut World, user: &str, change: impl FnOnce(&mut Value)) {
    let kind = world.id("web").kind.to_string();
    world.edit("web", |web| {
        let old = web.clone();
        change(web);
        let (new, verbs) = (web.clone(), ["maintain", "approve"]);
        let write = Write {
            kind: &kind,
            operation: Operation::Update,
            old: Some(&old),
            new: &new,
            user,
            verbs: &verbs,
        };
        *web = Twin::default().admit(&write).unwrap().object;
    });
    world.observe("web");
}

pub fn annotate(world: &mut World, name: &str, value: &str) {
    write(world, "ann", |web| {
        web["metadata"]["annotations"][format!("lockkeeper.dev/{name}")] = json!(value);
    });
}

/// The operator decides until nothing is left to do, and admission sees what it writes.
pub fn act(world: &mut World) {
    for _ in 0..10 {
        let decision = world.decide();
        world.memories.extend(decision.memories);
        let told = decision
            .notices
            .iter()
            .map(|notice| (notice.event, notice.regarding.to_string(), notice.message.clone()));
        world.told.extend(told.collect::<Vec<_>>());
        for (name, status) in decision.statuses {
            world.namespace.policies.get_mut(&name).unwrap().status = status;
        }
        if decision.patches.is_empty() {
            return;
        }
        for patch in decision.patches {
            let patch: json_patch::Patch = serde_json::from_value(patch.json()).unwrap();
            write(world, OPERATOR, |web| json_patch::patch(web, &patch).unwrap());
        }
    }
    panic!("the decisions do not come to rest");
}

pub fn told(world: &World, event: Event) -> usize {
    world.told.iter().filter(|(told, ..)| *told == event).count()
}

/// The controller has ended all pods.
pub fn all_end(world: &mut World) {
    world.namespace.pods.clear();
    world.observe("web");
    act(world);
}

pub fn stage(world: &World) -> String {
    mark(world, "web", "in-maintenance")
        .and_then(|mark| mark.split(' ').next().map(str::to_owned))
        .unwrap_or_default()
}

/// Its pods start, and it is as it was declared.
fn comes_back_as(world: &mut World, kind: WorkloadKind, declared: &Value) {
    world.finish("web");
    act(world);
    assert_eq!((stage(world), world.stands()), (String::new(), "UpToDate".to_owned()));
    let mut spec = world.object("web")["spec"].clone();
    if kind == WorkloadKind::StatefulSet {
        // A partition that is 0 is the same as none.
        spec.as_object_mut().unwrap().remove("updateStrategy");
    }
    assert_eq!(spec, *declared, "{kind}");
}

pub fn stopped(kind: WorkloadKind, policy: Value) -> World {
    let mut world = setup(policy, kind, 2);
    annotate(&mut world, "maintenance", "Stop");
    act(&mut world);
    all_end(&mut world);
    assert_eq!(world.stands(), "Maintenance/InMaintenance", "{kind}");
    world
}

/// The pods of the app have ended, and others of the same names sleep.
pub fn asleep(kind: WorkloadKind, policy: Value, n: u32) -> World {
    let mut world = setup(policy, kind, n);
    annotate(&mut world, "maintenance", "Sleep");
    act(&mut world);
    let pods = world.namespace.pods.clone();
    all_end(&mut world);
    world.namespace.pods = pods;
    world
}

#[test]
fn a_workload_is_stopped_and_comes_back_as_it_was_declared() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "Required"}}), kind, 2);
        let declared = world.object("web")["spec"].clone();
        annotate(&mut world, "maintenance", "Stop");
        act(&mut world);
        assert_eq!(stage(&world), "stop", "{kind}");
        assert_eq!(world.object("web")["spec"]["replicas"], 0);
        assert_eq!(world.stands(), "Maintenance/GoingDown");
        let status = &world.namespace.policies["shop"].status;
        assert_eq!(status.workloads.maintenance, 1);
        let condition = status.conditions.iter().find(|one| one.type_ == "InMaintenance").unwrap();
        assert!(condition.message.contains(&format!("{kind}/web")), "{}", condition.message);
        all_end(&mut world);
        assert_eq!(world.stands(), "Maintenance/InMaintenance");
        let message = &world.attention().unwrap().message;
        assert!(
            message.contains("requested by ann") && message.contains("no pod runs"),
            "{message}"
        );
        assert_eq!(told(&world, Event::MaintenanceReminder), 0);
        world.later(4 * 3600 + 1);
        act(&mut world);
        act(&mut world);
        assert_eq!(told(&world, Event::MaintenanceReminder), 1);

        annotate(&mut world, "maintenance", "Off");
        act(&mut world);
        assert_eq!(stage(&world), "start", "{kind}");
        assert_eq!(world.stands(), "Maintenance/MaintenanceEnding");
        assert_eq!(world.object("web")["spec"]["template"], declared["template"]);
        comes_back_as(&mut world, kind, &declared);
        let both = [Event::MaintenanceStarted, Event::MaintenanceEnded];
        assert_eq!(both.map(|event| told(&world, event)), [1, 1]);
        let (.., ended) = world.told.iter().rfind(|(told, ..)| *told == both[1]).unwrap();
        assert!(ended.contains("with the revision of before, rev-"), "{kind}: {ended}");
    }
}

#[test]
fn gates_keep_a_maintenance_from_beginning_unless_no_pod_is_ready() {
    for (ready, expected) in
        [(true, ("Waiting/Frozen", "")), (false, ("Maintenance/GoingDown", "stop"))]
    {
        let mut world = setup(json!({"mode": "Freeze"}), WorkloadKind::Deployment, 2);
        for pod in 0..2 {
            world.ready("web", pod, ready);
        }
        annotate(&mut world, "maintenance", "Stop");
        act(&mut world);
        assert_eq!((world.stands().as_str(), stage(&world).as_str()), expected, "ready: {ready}");
    }
}

#[test]
fn a_held_change_begins_with_a_maintenance_and_so_needs_its_approval() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "Required"}}), kind, 2);
        write(&mut world, "dev", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        annotate(&mut world, "maintenance", "Stop");
        act(&mut world);
        world.later(60);
        act(&mut world);
        assert_eq!(
            (world.stands().as_str(), stage(&world).as_str()),
            ("Held/ApprovalRequired", "")
        );
        let hold = mark(&world, "web", "hold").unwrap();
        annotate(&mut world, "approve", hold.split(' ').next().unwrap());
        act(&mut world);
        assert_eq!((stage(&world).as_str(), mark(&world, "web", "hold")), ("stop", None), "{kind}");
        assert_eq!(world.object("web")["spec"]["template"]["spec"]["containers"][0]["image"], "v2");
    }
}

#[test]
fn what_changes_in_the_meantime_is_held_and_starts_with_the_end_once_it_may() {
    for kind in KINDS {
        let mut world = stopped(kind, json!({"gates": {"approval": "Required"}}));
        write(&mut world, "dev", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        act(&mut world);
        world.later(60);
        act(&mut world);
        assert_eq!(world.stands(), "Maintenance/InMaintenance");
        assert!(world.attention().unwrap().message.contains("by dev is held until then"));
        annotate(&mut world, "maintenance", "Off");
        act(&mut world);
        assert_eq!(
            (world.stands().as_str(), stage(&world).as_str()),
            ("Maintenance/ApprovalRequired", "stop")
        );
        let hold = mark(&world, "web", "hold").unwrap();
        annotate(&mut world, "approve", hold.split(' ').next().unwrap());
        act(&mut world);
        assert_eq!(
            (stage(&world).as_str(), mark(&world, "web", "hold")),
            ("start", None),
            "{kind}"
        );
        world.finish("web");
        act(&mut world);
        assert_eq!((stage(&world).as_str(), world.stands().as_str()), ("", "UpToDate"), "{kind}");
        let (.., ended) =
            world.told.iter().rfind(|(told, ..)| *told == Event::MaintenanceEnded).unwrap();
        assert!(ended.contains("Its template was changed in the meantime"), "{kind}: {ended}");
    }
}

#[test]
fn what_was_taken_back_in_the_meantime_needs_no_approval() {
    let mut world = stopped(WorkloadKind::Deployment, json!({"gates": {"approval": "Required"}}));
    for image in ["v2", "v1"] {
        write(&mut world, "dev", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        });
        act(&mut world);
    }
    assert!(mark(&world, "web", "hold").is_some());
    annotate(&mut world, "maintenance", "Off");
    act(&mut world);
    assert_eq!((stage(&world).as_str(), mark(&world, "web", "hold")), ("start", None));
}

#[test]
fn a_word_that_admission_did_not_record_begins_nothing_and_goes() {
    let mut world = setup(json!({}), WorkloadKind::Deployment, 2);
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/maintenance"] = json!("Stop");
    });
    world.observe("web");
    act(&mut world);
    assert_eq!((stage(&world).as_str(), mark(&world, "web", "maintenance")), ("", None));
    assert_eq!(world.stands(), "UpToDate");
}

#[test]
fn one_that_a_policy_only_observes_or_whose_claims_would_go_is_left_in_service_and_told_why() {
    for (policy, whenever, says) in [
        (json!({"mode": "Observe"}), "Retain", "mode: Observe"),
        (json!({}), "Delete", "whenScaled"),
    ] {
        let mut world = setup(policy, WorkloadKind::StatefulSet, 2);
        world.edit("web", |web| {
            web["metadata"]["labels"]["lockkeeper.dev/governed"] = json!("true");
            web["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": whenever});
        });
        annotate(&mut world, "maintenance", "Stop");
        let before = world.object("web")["spec"]["replicas"].clone();
        let decision = world.decide();
        let attention = &decision.statuses[0].1.attention[0];
        assert_eq!(attention.reason.as_str(), "MaintenanceImpossible", "{attention:?}");
        assert!(attention.message.contains(says), "{}", attention.message);
        act(&mut world);
        assert_eq!(
            (stage(&world).as_str(), &world.object("web")["spec"]["replicas"]),
            ("", &before)
        );
    }
}

#[test]
fn a_deleted_policy_does_not_end_a_maintenance_and_the_word_does() {
    for kind in KINDS {
        let mut world = stopped(kind, json!({}));
        world.namespace.policies.clear();
        for _ in 0..3 {
            world.later(120);
            act(&mut world);
        }
        assert_eq!(
            (stage(&world).as_str(), &world.object("web")["spec"]["replicas"]),
            ("stop", &json!(0))
        );
        annotate(&mut world, "maintenance", "Off");
        for _ in 0..3 {
            world.later(120);
            act(&mut world);
        }
        let replicas = |world: &World| world.object("web")["spec"]["replicas"].clone();
        assert_eq!((stage(&world).as_str(), replicas(&world)), ("start", json!(2)), "{kind}");
        world.finish("web");
        act(&mut world);
        assert_eq!((stage(&world).as_str(), replicas(&world)), ("", json!(2)), "{kind}");
        assert_eq!(
            world.object("web")["metadata"]["labels"]["lockkeeper.dev/governed"],
            Value::Null
        );
    }
}

#[test]
fn config_that_changes_in_the_meantime_rolls_nothing() {
    let mut world = World::new().with_policy(json!({"config": {}}));
    world.config_map("app", &[("a", "1")]);
    world.deployment("web", crate::world::env_key("app", "a"));
    world.act();
    world.later(60).act();
    annotate(&mut world, "maintenance", "Stop");
    act(&mut world);
    all_end(&mut world);
    world.later(10).config_map("app", &[("a", "2")]);
    world.later(60);
    act(&mut world);
    annotate(&mut world, "maintenance", "Off");
    act(&mut world);
    world.later(10).finish("web");
    act(&mut world);
    world.later(60);
    act(&mut world);
    assert_eq!((stage(&world).as_str(), world.stands().as_str()), ("", "UpToDate"));
    let template = &world.object("web")["spec"]["template"]["metadata"];
    assert_eq!(template["annotations"]["lockkeeper.dev/config-hash"], Value::Null);
}

#[test]
fn a_workload_sleeps_between_two_stops_and_comes_back_as_it_was_declared() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "Required"}}), kind, 2);
        let declared = world.object("web")["spec"].clone();
        annotate(&mut world, "maintenance", "Sleep keep=proxy,db");
        act(&mut world);
        assert_eq!(stage(&world), "stop", "{kind}");
        let pods = world.namespace.pods.clone();
        let all_run = |world: &mut World| {
            world.namespace.pods.clone_from(&pods);
            world.observe("web");
            act(world);
        };
        all_end(&mut world);
        let asleep = |world: &World, told: &str| {
            let web = world.object("web");
            let template = &web["spec"]["template"];
            assert_eq!((stage(world).as_str(), &web["spec"]["replicas"]), ("sleep", &json!(2)));
            assert_eq!(template["metadata"]["labels"]["lockkeeper.dev/in-maintenance"], "sleep");
            assert_eq!(template["metadata"]["annotations"]["lockkeeper.dev/in-maintenance"], told);
            assert_eq!(
                template["spec"]["schedulingGates"],
                json!([{"name": "lockkeeper.dev/in-maintenance"}])
            );
        };
        asleep(&world, "keep=proxy,db");
        all_run(&mut world);
        assert_eq!(world.stands(), "Maintenance/InMaintenance");
        let message = &world.attention().unwrap().message;
        assert!(
            message
                .contains("2 of 2 pods sleep. To run commands in them: kubectl lockkeeper shell"),
            "{message}"
        );
        // Other containers: the pods of before end first.
        annotate(&mut world, "maintenance", "Sleep keep=db");
        act(&mut world);
        assert_eq!(
            (stage(&world).as_str(), &world.object("web")["spec"]["replicas"]),
            ("stop", &json!(0))
        );
        all_end(&mut world);
        asleep(&world, "keep=db");
        all_run(&mut world);
        // What is changed sleeps too, and waits for its approval. A world has no revisions of sets, by
        // which it would be seen that a change was taken back.
        if kind == WorkloadKind::Deployment {
            write(&mut world, "dev", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
            });
            act(&mut world);
            assert!(world.attention().unwrap().message.contains("by dev is held until"));
            write(&mut world, "dev", |web| {
                web["spec"]["template"] = declared["template"].clone();
            });
        }
        annotate(&mut world, "maintenance", "Off");
        act(&mut world);
        assert_eq!(stage(&world), "stop", "{kind}");
        all_end(&mut world);
        assert_eq!(stage(&world), "start", "{kind}");
        comes_back_as(&mut world, kind, &declared);
        assert_eq!(mark(&world, "web", "hold"), None);
    }
}

/// Nothing can be run in a pod that admission did not put to sleep.
#[test]
fn pods_that_admission_did_not_put_to_sleep_are_told() {
    let mut world = asleep(WorkloadKind::StatefulSet, json!({}), 1);
    world.namespace.pods.values_mut().for_each(|pod| pod.gated = true);
    world.observe("web");
    act(&mut world);
    let message = &world.attention().unwrap().message;
    assert!(message.contains("Pods that do not start: 1"), "{message}");
}

#[test]
fn why_a_pod_that_sleeps_is_not_ready_is_told() {
    let mut world = asleep(WorkloadKind::StatefulSet, json!({}), 2);
    let whys = [None, Some("ImagePullBackOff (image pause:1)")];
    for (pod, why) in world.namespace.pods.values_mut().zip(whys) {
        (pod.ready, pod.ails) = (false, why.map(Into::into));
    }
    world.observe("web");
    act(&mut world);
    let message = &world.attention().unwrap().message;
    assert!(
        message.contains(
            "0 of 2 pods sleep (pod web-1: ImagePullBackOff (image pause:1), and 1 more)"
        ),
        "{message}"
    );
}

/// The replicas are set by the scale subresource, in which admission sees no marks.
#[test]
fn p18_a_workload_that_is_scaled_up_while_it_is_stopped_is_stopped_again() {
    for kind in KINDS {
        let mut world = stopped(kind, json!({}));
        world.edit("web", |web| web["spec"]["replicas"] = json!(2));
        world.observe("web");
        act(&mut world);
        assert_eq!(
            (stage(&world).as_str(), &world.object("web")["spec"]["replicas"]),
            ("stop", &json!(0))
        );
        assert_eq!(mark(&world, "web", "maintenance-replicas").as_deref(), Some("2"), "{kind}");
    }
}

#[test]
fn p12_no_step_takes_the_replicas_away_where_the_claims_would_go_with_them() {
    let mut world = asleep(WorkloadKind::StatefulSet, json!({}), 2);
    write(&mut world, "dev", |web| {
        web["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete"});
    });
    annotate(&mut world, "maintenance", "Off");
    act(&mut world);
    assert_eq!(
        (stage(&world).as_str(), &world.object("web")["spec"]["replicas"]),
        ("sleep", &json!(2))
    );
    assert_eq!(world.stands(), "Maintenance/MaintenanceImpossible");
    assert!(world.attention().unwrap().message.contains("whenScaled: Retain"));
}

/// Its sidecars, and the containers that are kept, run while the others sleep.
#[test]
fn p6_what_is_held_before_its_pods_sleep_needs_its_approval() {
    for kind in KINDS {
        let mut world = stopped(kind, json!({"gates": {"approval": "Required"}}));
        write(&mut world, "dev", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        annotate(&mut world, "maintenance", "Sleep");
        act(&mut world);
        world.later(60);
        act(&mut world);
        assert_eq!(
            (world.stands().as_str(), stage(&world).as_str()),
            ("Maintenance/ApprovalRequired", "stop"),
            "{kind}"
        );
        let hold = mark(&world, "web", "hold").unwrap();
        annotate(&mut world, "approve", hold.split(' ').next().unwrap());
        act(&mut world);
        assert_eq!(
            (stage(&world).as_str(), mark(&world, "web", "hold")),
            ("sleep", None),
            "{kind}"
        );
    }
}

/// And what is changed while they sleep waits: the pods sleep on in the template of before.
#[test]
fn p6_what_is_changed_while_pods_sleep_reaches_none_of_them() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "Required"}}), kind, 2);
        annotate(&mut world, "maintenance", "Sleep keep=app");
        act(&mut world);
        all_end(&mut world);
        write(&mut world, "dev", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        let spec = &world.object("web")["spec"];
        match kind {
            WorkloadKind::Deployment => assert_eq!(spec["paused"], true),
            _ => assert_eq!(spec["updateStrategy"]["rollingUpdate"]["partition"], 2_147_483_647),
        }
    }
}

#[test]
fn what_keeps_pods_on_an_older_revision_keeps_maintenance_from_beginning() {
    let mut world = setup(json!({}), WorkloadKind::Deployment, 2);
    world.edit("web", |web| {
        web["spec"]["paused"] = json!(true);
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    });
    world.observe("web");
    annotate(&mut world, "maintenance", "Stop");
    act(&mut world);
    assert_eq!(
        (stage(&world).as_str(), world.stands().as_str()),
        ("", "WaitsForUser/MaintenanceImpossible")
    );
    assert!(world.attention().unwrap().message.contains("on an older revision"));
}

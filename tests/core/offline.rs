//! Offline upgrades, from the held change to the start: with admission as its twin has it, and
//! controllers that do what they are told, one workload at a time.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        conversation::{Report, answer::Answer},
        notice::Event,
        observed::ControllerRevision,
    },
};
use model::admission::{OPERATOR, Operation, Twin, Write};
use serde_json::{Value, json};

use crate::world::{
    World,
    held::{mark, spec},
};

pub const KINDS: [WorkloadKind; 2] = [WorkloadKind::Deployment, WorkloadKind::StatefulSet];

/// Somebody writes a workload, and admission makes of it what it makes; why it refused, if it did.
fn write(
    world: &mut World,
    name: &str,
    (user, verbs): (&str, &[&str]),
    change: impl FnOnce(&mut Value),
) -> Result<(), String> {
    let kind = world.id(name).kind.to_string();
    let old = world.object(name).clone();
    let mut new = old.clone();
    change(&mut new);
    let operation = Operation::Update;
    let write = Write { kind: &kind, operation, old: Some(&old), new: &new, user, verbs };
    let admitted = Twin::default().admit(&write).map_err(|refused| refused.0)?.object;
    world.edit(name, |object| *object = admitted);
    see(world, name);
    Ok(())
}

fn annotate(world: &mut World, name: &str, key: &str, value: &str) -> Result<(), String> {
    write(world, name, ("ann", &["maintain", "approve", "bypass"]), |object| {
        object["metadata"]["annotations"][format!("lockkeeper.dev/{key}")] = json!(value);
    })
}

pub fn apply(world: &mut World, name: &str, image: &str) {
    write(world, name, ("dev", &[]), |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    })
    .unwrap();
}

/// The controllers see what was written, and say which revision has pods.
pub fn see(world: &mut World, name: &str) {
    world.observe(name);
    let id = world.id(name);
    let newest = world.revision(&id);
    let pods: Vec<_> = world.pods(name).iter().filter_map(|pod| pod.revision.clone()).collect();
    match id.kind {
        WorkloadKind::Deployment => {
            let sets: Vec<_> = world
                .namespace
                .replica_sets
                .of(&format!("uid-{name}"))
                .map(|(uid, set)| (uid.clone(), set.revision.clone()))
                .collect();
            for (uid, revision) in sets {
                let replicas = pods.iter().filter(|pod| **pod == revision).count() as u32;
                world.namespace.replica_sets.get_mut(&uid).unwrap().replicas = replicas;
            }
        }
        WorkloadKind::StatefulSet => {
            let template = &world.namespace.workloads[&id].template;
            let revision = ControllerRevision {
                name: newest.as_str().into(),
                stateful_set: format!("uid-{name}").as_str().into(),
                template: template.digest,
                config_hash: None,
                rests: template.rests,
                references: template.references.clone(),
                containers: template.containers.clone(),
            };
            let uid = format!("{name}-{newest}");
            world.namespace.controller_revisions.insert(uid.as_str().into(), revision);
            let runs = pods.first().map_or(newest, |pod| pod.to_string());
            world.edit_status(name, |status| status["currentRevision"] = json!(runs));
        }
        WorkloadKind::DaemonSet => {}
    }
}

/// The controller of one workload does what it is told; whether there was anything to do.
fn control(world: &mut World, name: &str) -> bool {
    let object = world.object(name);
    let wanted = object["spec"]["replicas"].as_u64().unwrap() as usize;
    let held = mark(world, name, "hold").is_some();
    let newest = world.revision(&world.id(name));
    let there = world.pods(name);
    let old = there.iter().any(|pod| pod.revision.as_deref() != Some(&newest));
    if wanted == 0 && !there.is_empty() {
        let gone: Vec<_> = there.iter().map(|pod| pod.uid.clone()).collect();
        world.namespace.pods.retain(|uid, _| !gone.contains(uid));
    } else if !held && (old || there.len() < wanted) {
        let id = world.id(name);
        world.roll_out(&id);
    } else {
        return false;
    }
    world.later(1);
    see(world, name);
    true
}

/// The operator decides once; what it did, as `name stage`.
fn decide(world: &mut World) -> Vec<String> {
    let decision = world.decide();
    world.memories.extend(decision.memories);
    let told = decision.notices.iter();
    let told = told.map(|one| (one.event, one.regarding.to_string(), one.message.clone()));
    world.told.extend(told.collect::<Vec<_>>());
    for (name, status) in decision.statuses {
        world.namespace.policies.get_mut(&name).unwrap().status = status;
    }
    let mut done = Vec::new();
    for call in decision.calls {
        let of = |name: &str| world.answers.get(name).cloned().unwrap_or(Answer::Yes);
        let answers = call.visits.iter().map(|visit| of(&visit.name)).collect();
        let uid = call.uid.clone();
        let report = Report { call, begun: world.now, ended: world.now, answers };
        world.memories.get_mut(&uid).unwrap().app.get_or_insert_default().hear(&report);
    }
    for patch in decision.patches {
        let name = patch.workload.name.clone();
        let before = stage(world, &name);
        let patch: json_patch::Patch = serde_json::from_value(patch.json()).unwrap();
        write(world, &name, (OPERATOR, &[]), |object| json_patch::patch(object, &patch).unwrap())
            .unwrap();
        let now = stage(world, &name);
        done.extend((now != before).then(|| format!("{name} {now}")));
        done.extend((now == before).then(String::new));
    }
    done
}

fn stage(world: &World, name: &str) -> String {
    let mark = mark(world, name, "in-maintenance").unwrap_or_default();
    let first = mark.split(' ').next().unwrap_or_default();
    let starts = if first == "stop" && mark.ends_with(" starts") { "ped, starts next" } else { "" };
    match first {
        "" => "serves".to_owned(),
        first => format!("{first}{starts}"),
    }
}

/// The operator and the controllers act until nothing is left to do; the stages in their order.
/// `forgets`: the operator is restarted before each decision.
pub fn run(world: &mut World, forgets: bool) -> Vec<String> {
    let names: Vec<_> = world.namespace.workloads.keys().map(|id| id.name.clone()).collect();
    let mut trace = Vec::new();
    let mut still = 0;
    for _ in 0..500 {
        let done = decide(world);
        barrier(world);
        still = if done.is_empty() { still + 1 } else { 0 };
        trace.extend(done.into_iter().filter(|one| !one.is_empty()));
        // What one agrees to is heard by the others with the next decision.
        if still < 4 {
            world.later(3);
            continue;
        }
        if forgets {
            world.restart_operator();
        }
        if names.iter().any(|name| control(world, name)) {
            still = 0;
        } else if still > 4 {
            return trace;
        }
        barrier(world);
        world.later(31);
    }
    panic!("the decisions do not come to rest: {trace:?}");
}

/// P21: no pod of the app in the new version while one of the old version is there.
fn barrier(world: &World) {
    let images = |name: &str| {
        let sleeps = stage(world, name) == "sleep";
        let newest = world.revision(&world.id(name));
        let pods = world.pods(name).into_iter().filter(move |_| !sleeps);
        pods.map(move |pod| pod.revision.as_deref() == Some(newest.as_str())).collect::<Vec<_>>()
    };
    let changed = ["db", "web"].map(|name| {
        let image = &world.object(name)["spec"]["template"]["spec"]["containers"][0]["image"];
        (image == "v2", images(name))
    });
    let new = changed.iter().any(|(v2, pods)| *v2 && pods.iter().any(|is_new| *is_new));
    let old = changed.iter().any(|(v2, pods)| *v2 && pods.iter().any(|is_new| !is_new));
    assert!(!(new && old), "pods of both versions run: {changed:?}");
}

pub fn policy(offline: &Value) -> Value {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    json!({
        "gates": {"approval": "Required"}, "rollout": {"steps": [step("db"), step("web")]},
        "offline": offline
    })
}

/// A database and its client, in steps of their own.
fn shop(offline: &Value, kind: WorkloadKind) -> World {
    let mut world = World::new().with_policy(policy(offline));
    world.workload(kind, "db", 2, spec());
    world.workload(WorkloadKind::Deployment, "web", 2, spec());
    see(&mut world, "db");
    see(&mut world, "web");
    run(&mut world, false);
    world.later(60);
    run(&mut world, false);
    world
}

pub fn approve(world: &mut World, name: &str) {
    let hold = mark(world, name, "hold").unwrap();
    annotate(world, name, "approve", hold.split(' ').next().unwrap()).unwrap();
}

pub fn stands(world: &World, name: &str) -> (String, String) {
    let all = &world.namespace.policies["shop"].status.attention;
    let one = all.iter().find(|one| one.name == name);
    one.map_or_else(Default::default, |one| {
        (format!("{}/{}", one.phase, one.reason.as_str()), one.message.clone())
    })
}

fn told(world: &World, event: Event) -> usize {
    world.told.iter().filter(|(told, ..)| *told == event).count()
}

pub fn by_person() -> Value {
    json!({"when": "Always", "migrate": {"by": "Person"}})
}

/// The change of the database is approved, and everything is down: its pods sleep.
pub fn migrating(kind: WorkloadKind) -> (World, String) {
    let mut world = shop(&by_person(), kind);
    apply(&mut world, "db", "v2");
    approve(&mut world, "db");
    run(&mut world, false);
    assert_eq!(stands(&world, "db").0, "Maintenance/Migrating", "{kind}");
    let mark = mark(&world, "db", "in-maintenance").unwrap();
    let change = mark.split(' ').find_map(|word| word.strip_prefix("change=")).unwrap();
    let change = change.to_owned();
    (world, change)
}

#[test]
fn p21_everything_goes_down_in_reverse_order_before_anything_migrates_or_starts() {
    for (kind, forgets) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut world = shop(&by_person(), kind);
        apply(&mut world, "db", "v2");
        assert_eq!(run(&mut world, forgets), [""; 0], "{kind}");
        assert!(forgets || stands(&world, "db").0 == "Held/ApprovalRequired", "{kind}");
        approve(&mut world, "db");
        let down = ["web stop", "db stop", "db sleep"];
        assert_eq!(run(&mut world, forgets), down, "{kind}, forgets: {forgets}");
        assert_eq!(stands(&world, "db").0, "Maintenance/Migrating", "{kind}");
        assert_eq!(stands(&world, "web").0, "Maintenance/WaitsForOthers", "{kind}");
        assert!(world.pods("web").is_empty() && world.pods("db").len() == 2);
        let change = mark(&world, "db", "in-maintenance").unwrap();
        let change = change.split(' ').find_map(|word| word.strip_prefix("change=")).unwrap();
        let message = stands(&world, "db").1;
        let command = format!("kubectl lockkeeper migrated {kind}/db -n  --change {change}");
        assert!(
            message.contains(&command.replace(&kind.to_string(), &kind.to_string().to_lowercase())),
            "{message}"
        );

        annotate(&mut world, "db", "migrated", change).unwrap();
        let up = run(&mut world, forgets);
        let starts = |name: &str| {
            up.iter()
                .position(|one| *one == format!("{name} start"))
                .unwrap_or_else(|| panic!("{up:?}"))
        };
        let serves = up.iter().position(|one| one == "db serves").unwrap();
        assert!(up[0] == "db stop" && starts("db") < serves && serves < starts("web"), "{up:?}");
        assert_eq!(["db", "web"].map(|name| stage(&world, name)), ["serves", "serves"]);
        assert_eq!(world.stands(), "UpToDate", "{kind}");
        assert_eq!(world.object("db")["spec"]["template"]["spec"]["containers"][0]["image"], "v2");
        assert_eq!(world.object("db")["spec"]["replicas"], 2);
        assert_eq!(mark(&world, "db", "migrated"), None);
        if !forgets {
            let all = [
                (Event::OfflineUpgradeStarted, 2),
                (Event::MigrationStarted, 1),
                (Event::MigrationDone, 1),
                (Event::OfflineUpgradeDone, 2),
            ];
            for (event, times) in all {
                assert_eq!(told(&world, event), times, "{kind}: {event:?}");
            }
        }
    }
}

#[test]
fn p21_without_a_migration_everything_is_down_and_then_starts_in_order() {
    for kind in KINDS {
        let mut world = shop(&json!({"when": "Always"}), kind);
        apply(&mut world, "db", "v2");
        apply(&mut world, "web", "v2");
        approve(&mut world, "db");
        approve(&mut world, "web");
        let mut trace = run(&mut world, false);
        let both: Vec<_> = trace.extract_if(2..4, |_| true).collect();
        assert!(both.iter().all(|one| one.ends_with(" stopped, starts next")), "{both:?}");
        let expected = ["web stop", "db stop", "db start", "db serves", "web start", "web serves"];
        assert_eq!(trace, expected, "{kind}");
        assert_eq!(world.stands(), "UpToDate", "{kind}");
    }
}

#[test]
fn p21_nothing_is_stopped_before_all_can_be() {
    for kind in KINDS {
        // Another change of the same policy is not approved.
        let mut world = shop(&by_person(), kind);
        apply(&mut world, "db", "v2");
        apply(&mut world, "web", "v2");
        approve(&mut world, "db");
        assert_eq!(run(&mut world, false), [""; 0], "{kind}");
        let (stand, message) = stands(&world, "db");
        assert!(stand == "Held/WaitsForOthers" && message.contains("deployment/web"), "{message}");
        assert_eq!(stands(&world, "web").0, "Held/ApprovalRequired");
        approve(&mut world, "web");
        assert_eq!(run(&mut world, false)[..2], ["web stop", "db stop"], "{kind}");
    }
}

#[test]
fn p21_the_pods_of_those_without_a_change_are_asked_too() {
    let mut with_app = policy(&by_person());
    with_app["gates"]["app"] = json!({});
    let mut world = World::new().with_policy(with_app);
    world.workload(WorkloadKind::StatefulSet, "db", 1, spec());
    world.workload(WorkloadKind::Deployment, "web", 1, spec());
    for name in ["db", "web"] {
        see(&mut world, name);
    }
    run(&mut world, false);
    let web = world.pods("web")[0].name.to_string();
    world.answers.insert(web, Answer::No("in a transaction".into()));
    apply(&mut world, "db", "v2");
    approve(&mut world, "db");
    for _ in 0..4 {
        run(&mut world, false);
    }
    assert_eq!(["db", "web"].map(|name| stage(&world, name)), ["serves", "serves"]);
    let (stand, message) = stands(&world, "web");
    assert!(stand == "Waiting/AppGateClosed" && message.contains("in a transaction"), "{message}");
    assert_eq!(mark(&world, "db", "in-maintenance"), None);
    world.answers.clear();
    for _ in 0..4 {
        run(&mut world, false);
    }
    assert_eq!(stands(&world, "db").0, "Maintenance/Migrating");
}

#[test]
fn p22_only_who_names_the_change_ends_its_migration() {
    for kind in KINDS {
        let (mut world, change) = migrating(kind);
        let other = change.parse::<i64>().unwrap() + 1;
        let refused = annotate(&mut world, "db", "migrated", &other.to_string()).unwrap_err();
        assert!(refused.contains("no pods sleep for the migration"), "{refused}");
        let write_as = |world: &mut World, verbs: &[&str]| {
            write(world, "db", ("eve", verbs), |object| {
                object["metadata"]["annotations"]["lockkeeper.dev/migrated"] = json!(change);
            })
        };
        assert!(write_as(&mut world, &["approve"]).unwrap_err().contains("verb maintain"));
        assert_eq!(run(&mut world, false), [""; 0], "{kind}");
        write_as(&mut world, &["maintain"]).unwrap();
        assert_eq!(run(&mut world, false)[0], "db stop", "{kind}");
    }
}

#[test]
fn p23_a_change_that_is_taken_back_before_its_migration_starts_the_old_version_at_once() {
    for kind in KINDS {
        let mut world = shop(&by_person(), kind);
        apply(&mut world, "db", "v2");
        approve(&mut world, "db");
        while stage(&world, "db") != "stop" {
            control(&mut world, "web");
            decide(&mut world);
            world.later(1);
        }
        control(&mut world, "db");
        apply(&mut world, "db", "v1");
        let trace = run(&mut world, false);
        assert!(trace.iter().all(|one| !one.contains("sleep")), "{kind}: {trace:?}");
        assert_eq!(world.stands(), "UpToDate", "{kind}");
        assert_eq!(told(&world, Event::MigrationStarted), 0);
    }
}

#[test]
fn p23_after_its_migration_began_the_old_version_starts_by_a_bypass_only() {
    for kind in KINDS {
        let (mut world, _) = migrating(kind);
        apply(&mut world, "db", "v1");
        for _ in 0..2 {
            run(&mut world, false);
            let (stand, message) = stands(&world, "db");
            assert!(stand == "Maintenance/DataMigrated", "{kind}: {stand}");
            assert!(message.contains("the data was migrated"), "{message}");
            approve(&mut world, "db");
        }
        let hold = mark(&world, "db", "hold").unwrap();
        let id = hold.split(' ').next().unwrap();
        annotate(&mut world, "db", "bypass", id).unwrap();
        run(&mut world, false);
        assert_eq!(["db", "web"].map(|name| stage(&world, name)), ["serves", "serves"], "{kind}");
        assert_eq!(world.object("db")["spec"]["template"]["spec"]["containers"][0]["image"], "v1");
        assert_eq!(world.stands(), "UpToDate", "{kind}");
        // It has its data again, so it is no danger any more.
        apply(&mut world, "db", "v2");
        run(&mut world, false);
        apply(&mut world, "db", "v1");
        run(&mut world, false);
        assert_eq!((world.stands(), mark(&world, "db", "hold")), ("UpToDate".to_owned(), None));
    }
}

#[test]
fn p23_a_new_version_that_fails_to_start_is_not_followed_by_the_old_one() {
    for kind in KINDS {
        let (mut world, change) = migrating(kind);
        annotate(&mut world, "db", "migrated", &change).unwrap();
        while stage(&world, "db") != "start" {
            if decide(&mut world).is_empty() {
                control(&mut world, "db");
            }
        }
        while !decide(&mut world).is_empty() {}
        control(&mut world, "db");
        for pod in 0..2 {
            world.ready("db", pod, false);
        }
        for _ in 0..4 {
            world.later(700);
            decide(&mut world);
            see(&mut world, "db");
        }
        assert_eq!(stands(&world, "db").0, "Failed/DeadlineExceeded", "{kind}");
        assert_eq!(stands(&world, "web").0, "Maintenance/OtherFailed", "{kind}");
        apply(&mut world, "db", "v1");
        approve(&mut world, "db");
        for _ in 0..4 {
            world.later(40);
            decide(&mut world);
        }
        let (stand, message) = stands(&world, "db");
        assert!(stand == "Held/DataMigrated" && message.contains("bypass="), "{stand} {message}");
    }
}

#[test]
fn a_second_change_is_held_and_named_and_takes_the_place_of_the_first_when_it_may() {
    for kind in KINDS {
        let (mut world, change) = migrating(kind);
        apply(&mut world, "db", "v3");
        assert_eq!(run(&mut world, false), [""; 0], "{kind}");
        let (stand, message) = stands(&world, "db");
        assert!(
            stand == "Maintenance/Migrating" && message.contains("by dev came in between"),
            "{message}"
        );
        annotate(&mut world, "db", "migrated", &change).unwrap();
        assert_eq!(run(&mut world, false), ["db stop"], "{kind}");
        let (stand, message) = stands(&world, "db");
        assert!(
            stand == "Maintenance/ApprovalRequired" && message.contains("came in between"),
            "{message}"
        );
        approve(&mut world, "db");
        assert_eq!(run(&mut world, false), ["db sleep"], "{kind}");
        let mark = mark(&world, "db", "in-maintenance").unwrap();
        assert!(
            mark.contains(" migrating") && !mark.contains(&format!("change={change} ")),
            "{mark}"
        );
    }
}

#[test]
fn what_changes_the_version_as_the_policy_says_goes_offline_and_the_rest_rolls() {
    let cases = [
        ("Minor", "pd:0.79.3", "pd:0.80.0", true),
        ("Minor", "pd:0.80.0", "pd:0.80.1", false),
        ("Minor", "pd:v0.80.0", "pd:v1.80.0", true),
        ("Major", "pd:0.79.3", "pd:0.80.0", false),
        ("Patch", "pd:0.80.0", "pd:0.80.1", true),
        ("Patch", "pd:latest", "pd:newest", false),
        ("Minor", "pd:0.80.0", "pd@sha256:abc", false),
    ];
    for (when, before, after, stops) in cases {
        for kind in KINDS {
            let image = json!({"containers": [{"name": "app", "image": before}]});
            let mut world = World::new().with_policy(policy(&json!({"when": when})));
            world.workload(kind, "db", 2, image);
            world.workload(WorkloadKind::Deployment, "web", 2, spec());
            for name in ["db", "web"] {
                see(&mut world, name);
            }
            run(&mut world, false);
            apply(&mut world, "db", after);
            approve(&mut world, "db");
            let trace = run(&mut world, false);
            let stopped = trace.iter().any(|one| one == "web stop");
            assert_eq!(stopped, stops, "{when}, {kind}: {before} to {after}, {trace:?}");
            assert_eq!(world.stands(), "UpToDate");
        }
    }
}

#[test]
fn only_what_is_asked_for_goes_offline() {
    for (asked, stopped) in [(false, false), (true, true)] {
        let mut world = shop(&json!({}), WorkloadKind::Deployment);
        if asked {
            annotate(&mut world, "db", "upgrade", "Offline").unwrap();
        }
        apply(&mut world, "db", "v2");
        approve(&mut world, "db");
        let trace = run(&mut world, false);
        assert_eq!(trace.iter().any(|one| one == "web stop"), stopped, "{trace:?}");
        assert_eq!(world.stands(), "UpToDate");
    }
}

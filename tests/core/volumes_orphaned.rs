//! Claims and volumes that nothing uses any more, and those that are being deleted: counted, and
//! reported.

use lockkeeper::{
    api::{Reason, WorkloadKind},
    core::{
        digest::Key,
        hold::enforced::Enforcement,
        notice::{Event, StorageObject},
        observed::storage::CronJob,
        reach::Reach,
    },
    shell::{
        digest,
        index::Index,
        streams::{self, Step},
        views::{Wire, storage::Volumes},
    },
};
use serde_json::json;

use crate::world::{
    World,
    volumes::{GI, shop, uses, volume},
};

#[test]
fn a_claim_that_nothing_refers_to_is_orphaned_in_time_and_used_again_in_time() {
    let mut world = shop("ReadWriteOnce", json!({"orphanedAfter": "1m"}));
    world.act();
    let id = world.id("web");
    world.namespace.pods.clear();
    let web = world.namespace.workloads.remove(&id).unwrap();
    world.act();
    assert!(
        world.claim_raw("data")["metadata"]["annotations"]["lockkeeper.dev/orphaned-since"]
            .is_string()
    );
    assert_eq!(world.counts()["orphaned"], 0, "not yet");
    world.later(61);
    world.act();
    assert_eq!(
        (&world.counts()["orphaned"], &world.counts()["orphanedBytes"]),
        (&json!(1), &json!(GI))
    );
    assert_eq!(world.told_of(Event::VolumeOrphaned), ["PersistentVolumeClaim/data"]);
    world.namespace.cron_jobs.insert(
        "nightly".into(),
        CronJob { claims: ["data".to_owned()].into(), ..CronJob::default() },
    );
    world.act();
    assert_eq!(world.counts()["orphaned"], 0, "a CronJob refers to it");
    world.namespace.cron_jobs.clear();
    world.namespace.workloads.insert(id, web);
    world.act();
    assert!(
        world.claim_raw("data")["metadata"]["annotations"]["lockkeeper.dev/orphaned-since"]
            .is_null()
    );
    // From then on its time begins again, also for an operator that was started again.
    let id = world.id("web");
    world.namespace.workloads.remove(&id);
    world.later(1000);
    world.act();
    assert_eq!(world.counts()["orphaned"], 0);
    world.restart_operator();
    world.later(59);
    world.act();
    assert_eq!(world.counts()["orphaned"], 0);
    world.later(2);
    world.act();
    assert_eq!(world.counts()["orphaned"], 1);
}

/// By an event on the volume.
#[test]
fn a_released_volume_is_reported_by_an_event() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(3600);
    world.act();
    assert!(!world.told_of(Event::VolumeOrphaned).is_empty());
}

/// Its label and its claimRef say that it is kept, and for whom.
#[test]
fn a_released_volume_whose_provenance_cannot_be_read_is_counted_all_the_same() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    world.change(&volume("pv-data"), json!({"metadata": {"annotations": {"lockkeeper.dev/provenance": "{\"namespace\": \"shop\""}}}));
    let decision = world.decide();
    assert!(!decision.volumes.is_empty(), "a kept volume is forgotten");
}

/// Network file systems declare any capacity, also the largest quantity there is.
#[test]
fn the_sum_of_large_volumes_does_not_overflow() {
    let mut world = World::new();
    world.policy("shop", json!({"volumes": {}}));
    for name in ["a", "b", "c"] {
        world.claim(name, "ReadWriteMany");
        world.change(
            &volume(&format!("pv-{name}")),
            json!({"spec": {"capacity": {"storage": "8Ei"}}}),
        );
        world.workload(WorkloadKind::Deployment, &format!("web-{name}"), 1, uses(name));
    }
    world.act();
    assert_eq!(world.counts()["protected"], 3);
}

/// The operator starts when a namespace is gone: what is left of it is locked and counted all the
/// same.
#[test]
fn a_namespace_of_which_only_volumes_are_left_is_judged_after_a_start() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    world.change(&volume("pv-data"), json!({"status": {"phase": "Available"}}));
    let raw = world.volume_raw("pv-data").clone();
    let key = digest::set_key(Key::new(&[7; 32]));
    let mut index =
        Index::new(key, "lockkeeper-system".into(), Reach::default(), Enforcement::default());
    let volume = streams::object(serde_json::from_value::<Wire<Volumes>>(raw).unwrap());
    for step in [Step::Restarted, Step::Listed(volume), Step::Complete] {
        index.apply(None, step, world.now);
    }
    assert_eq!(index.storage().of_namespace("shop").count(), 1);
    assert!(index.take_news().contains_key("shop"));
    assert!(
        index.namespace("shop").is_some(),
        "nothing is decided on what the loop looks up and does not find"
    );
}

#[test]
fn a_claim_that_is_deleted_while_it_is_used_is_reported_and_no_config_rollout_frees_it() {
    let mut world = World::new();
    world.policy("shop", json!({"config": {"settle": "1s"}, "volumes": {}}));
    world.claim("data", "ReadWriteMany");
    world.config_map("app", &[("key", "old")]);
    let mut spec = uses("data");
    spec["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "app"}}]);
    world.workload(WorkloadKind::Deployment, "web", 1, spec);
    world.act();
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
    );
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "ClaimTerminatingInUse");
    assert!(message.contains("web-1"), "{message}");
    assert_eq!(world.told_of(Event::ClaimTerminatingInUse), ["PersistentVolumeClaim/data"]);
    world.config_map("app", &[("key", "new")]);
    world.later(5);
    assert_eq!(world.act(), Vec::<String>::new());
    world.later(5);
    assert_eq!(world.act(), Vec::<String>::new());
    assert_eq!(world.attention().unwrap().reason, Reason::ClaimTerminating);
}

/// Where a policy does not give data back by itself, the last warning does not promise that.
#[test]
fn p13_the_last_warning_says_what_becomes_of_the_data() {
    for (readopt, wanted) in [
        ("SameNamespace", "and the next claim of this name gets it"),
        ("Never", "To give it to a claim: kubectl lockkeeper volumes readopt -n shop pv-data"),
    ] {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {"readopt": readopt}}));
        world.claim("data", "ReadWriteMany");
        world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
        world.act();
        world.change(
            &StorageObject::Claim("data".into()),
            json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
        );
        let (_, _, message) = world.volumes_safe();
        assert!(message.contains(wanted), "{readopt}: {message}");
    }
}

#[test]
fn a_claim_that_is_being_deleted_counts_more_than_one_that_is_shadowed() {
    let mut world = World::new();
    world.policy("shop", json!({"config": {"settle": "1s"}, "volumes": {}}));
    world.claim("another", "ReadWriteMany");
    world.claim("data", "ReadWriteMany");
    let mut spec = uses("data");
    spec["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "another", "persistentVolumeClaim": {"claimName": "another"}}));
    world.workload(WorkloadKind::Deployment, "web", 1, spec);
    world.act();
    world.lose_claim("another");
    world.later(60);
    world.claim_on("another", "ReadWriteMany", "pv-young", "Delete");
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
    );
    let id = world.id("web");
    let storage = &world.storage;
    let (enforcement, activities) = (
        lockkeeper::core::hold::enforced::Enforcement::default(),
        std::collections::HashMap::new(),
    );
    let around = lockkeeper::core::volumes::Surroundings {
        storage,
        enforcement: &enforcement,
        activities: &activities,
        now: world.now,
    };
    let governance = lockkeeper::core::governs::governance(&world.namespace);
    let judged = lockkeeper::core::volumes::judge(&world.namespace, &governance, &around);
    assert_eq!(
        judged.of_workloads[&id].danger.as_ref().unwrap().reason(),
        Reason::ClaimTerminating
    );
}

/// Its record goes with its claim, and with it whose data it is.
#[test]
fn a_kept_volume_that_is_being_deleted_is_a_danger() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.change(
        &volume("pv-data"),
        json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
    );
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "False", "{message}");
}

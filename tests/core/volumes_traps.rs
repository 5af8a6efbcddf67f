//! Scenarios in which volumes went wrong once, or nearly.

use lockkeeper::{
    api::{Reason, WorkloadKind},
    core::{
        config::digest::Key,
        decision::{Event, StorageObject},
        hold::enforced::Enforcement,
        reach::Reach,
        world::Uid,
    },
    shell::{
        digest,
        index::Index,
        streams::{self, Step, StreamId},
        views::{Wire, storage::Volumes},
    },
};
use model::admission::{OPERATOR, Operation, Twin, Write};
use serde_json::json;

use crate::{
    volumes::{merge, shop, uses},
    world::World,
};

pub(crate) fn volume(name: &str) -> StorageObject {
    StorageObject::Volume(name.into())
}

pub(crate) fn claim(name: &str) -> StorageObject {
    StorageObject::Claim(name.into())
}

fn no_claim_of_its_own(world: &World, name: &str) -> bool {
    world.volume_raw(name)["spec"]["claimRef"]["uid"].is_null()
}

/// What admission says to a patch of ours.
pub(crate) fn refused(
    world: &World,
    patch: &lockkeeper::core::decision::StoragePatch,
) -> Option<String> {
    let old = world.storage_objects[&patch.object].clone();
    let mut new = old.clone();
    merge(&mut new, &patch.json());
    let kind = match patch.object {
        StorageObject::Claim(_) => "PersistentVolumeClaim",
        StorageObject::Volume(_) => "PersistentVolume",
        StorageObject::Namespace(_) => "Namespace",
    };
    let write = Write {
        kind,
        operation: Operation::Update,
        old: Some(&old),
        new: &new,
        user: OPERATOR,
        verbs: &[],
    };
    Twin::default().admit(&write).err().map(|error| format!("{error:?}"))
}

/// A volume that waits is locked when its namespace goes, and our own self-restraint lets that
/// pass: or else a new namespace of that name would get the data.
#[test]
fn the_lock_is_admitted_by_our_own_self_restraint() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    assert!(no_claim_of_its_own(&world, "pv-data"));
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
    );
    let decision = world.decide();
    let (lock, _) = decision
        .storage
        .iter()
        .find(|(patch, _)| patch.claim_uid.is_some())
        .expect("it is to be locked");
    assert_eq!(refused(&world, lock), None);
}

/// Creation times are whole seconds. A claim that was created again within one second has the
/// younger volume all the same; one that got the older volume back later does not.
#[test]
fn p12_of_two_volumes_of_one_second_the_one_of_the_earlier_claim_is_older() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "VolumeShadowed", "{message}");
    assert!(
        message.contains("bound to volume pv-young, but its earlier data is on volume pv-data"),
        "{message}"
    );
    // The older one is given back, and the younger one is put aside.
    world.lose_claim("data");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-data", "Delete");
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "NoDanger", "{message}");
}

/// Before any claim lacks anything, and with the cure.
#[test]
fn a_missing_binding_of_the_claims_policies_is_reported_at_once() {
    let gap = "MutatingAdmissionPolicyBinding lockkeeper-claims is not installed: Helm, Argo CD and Flux may delete claims";
    for (missing, protection, expected) in [
        (None, json!(null), "NoDanger"),
        (Some("lockkeeper-claims"), json!(null), "ShieldIncomplete"),
        (Some("lockkeeper-claims"), json!("None"), "NoDanger"),
    ] {
        let mut world = shop("ReadWriteOnce", json!({"protection": protection}));
        world.act();
        world.enforcement = Enforcement::new("lockkeeper-system");
        for document in include_str!("../../charts/lockkeeper/admission/claims.yaml").split(
            "
---
",
        ) {
            let object: serde_json::Value = serde_saphyr::from_str(document).unwrap();
            let (kind, name) =
                (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            if kind != "MutatingAdmissionPolicyBinding" || Some(name) != missing {
                world.enforcement.observe(kind, name, Some(object["spec"].clone()));
            }
        }
        let (_, reason, message) = world.volumes_safe();
        assert_eq!(reason, expected, "{message}");
        if expected != "NoDanger" {
            assert!(
                message.contains(gap) && message.contains("helm upgrade lockkeeper"),
                "{message}"
            );
            assert_eq!(message.matches("lockkeeper-claims").count(), 1, "said once: {message}");
        }
    }
}

/// A GitOps tool heals the reclaim policy of a volume that its chart brings: the data stays kept,
/// and each time is told.
#[test]
fn p12_a_reclaim_policy_that_another_manager_sets_back_is_set_again_and_told() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    for times in 1..4 {
        world.change(
            &volume("pv-data"),
            json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}),
        );
        world.act();
        assert_eq!(world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        assert_eq!(world.told_of(Event::VolumeProtected).len(), 1 + times, "and told");
    }
    assert!(world.told.iter().any(|(_, _, message)| {
        message.contains("another manager set the reclaim policy of volume pv-data to Delete")
    }));
}

/// Any claim that fits may get it then.
#[test]
fn p12_a_kept_volume_whose_claim_reference_was_removed_by_hand_is_reported() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.change(
        &volume("pv-data"),
        json!({"spec": {"claimRef": null}, "status": {"phase": "Available"}}),
    );
    let (_, _, message) = world.volumes_safe();
    assert!(
        message.contains("volume pv-data with the data of claim data has no spec.claimRef"),
        "{message}"
    );
    assert!(
        message.contains(r#"kubectl patch pv pv-data --type=merge -p '{"spec":{"claimRef":{"namespace":"shop","name":"data"}}}'"#),
        "{message}"
    );
    assert_eq!(world.told_of(Event::VolumeOrphaned), ["PersistentVolume/pv-data"]);
    assert_eq!(world.counts()["orphaned"], 1);
    assert!(world.decide().storage.is_empty(), "what others freed is theirs");
}

/// So do all other patches of the ordinary life of a claim.
#[test]
fn the_other_storage_patches_are_admitted() {
    let mut world = shop("ReadWriteOnce", json!({"protection": "Deny"}));
    for _ in 0..10 {
        let decision = world.decide();
        for (patch, _) in &decision.storage {
            assert_eq!(refused(&world, patch), None, "{patch:?}");
        }
        decision.storage.iter().for_each(|(patch, _)| world.store(patch));
    }
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
    let stream = StreamId { kind: "persistentvolumes", namespace: None };
    index.apply(&stream, Step::Restarted, world.now);
    index.apply(
        &stream,
        Step::Listed(streams::object::<Volumes>(
            serde_json::from_value::<Wire<Volumes>>(raw).unwrap(),
        )),
        world.now,
    );
    index.apply(&stream, Step::Complete, world.now);
    assert_eq!(index.storage().of_namespace("shop").count(), 1);
    assert!(index.take_news().contains_key("shop"));
    assert!(
        index.namespace("shop").is_some(),
        "nothing is decided on what the loop looks up and does not find"
    );
}

/// Two volumes that wait for one claim: the binder takes any. The one that somebody chose waits
/// alone.
#[test]
fn what_is_chosen_is_the_only_one_that_waits() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    // The namespace is created again: the volume is of the one before.
    world.shop_namespace("ns-2");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    world.act();
    world.lose_claim("data");
    world.act();
    assert!(no_claim_of_its_own(&world, "pv-young") && !no_claim_of_its_own(&world, "pv-data"));
    world.change(&volume("pv-young"), json!({"status": {"phase": "Available"}}));
    world.change(
        &volume("pv-data"),
        json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": "ns-2"}}}),
    );
    world.act();
    assert!(no_claim_of_its_own(&world, "pv-data"), "it was chosen");
    assert!(!no_claim_of_its_own(&world, "pv-young"), "two volumes wait for one claim");
}

/// Users who restore a backup make a volume free by hand: that is not undone.
#[test]
fn what_others_freed_is_not_locked() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    let object = world.namespace.claims.remove("data").unwrap();
    world.storage_objects.remove(&claim("data"));
    assert_eq!(object.volume.as_deref(), Some("pv-data"));
    world.shop_namespace("ns-2");
    world.change(
        &volume("pv-data"),
        json!({"spec": {"claimRef": {"uid": null}}, "status": {"phase": "Available"}}),
    );
    let asks = json!({
        "metadata": {"name": "data", "uid": "claim-restored"}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "pv-data", "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}
    });
    world.put(claim("data"), asks);
    world.act();
    assert!(
        no_claim_of_its_own(&world, "pv-data"),
        "locked, and the restored claim never gets its data"
    );
    assert!(!world.told.is_empty(), "and not a word is said");
}

/// Two governed workloads use one claim: what one policy asks to keep, the other does not give
/// away.
#[test]
fn the_strongest_protection_counts_when_two_policies_see_to_a_claim() {
    let mut world = World::new();
    world.policy("readers", json!({"selector": {"matchLabels": {"app": "a-reader"}}, "volumes": {"protection": "None"}}));
    world.policy(
        "shop",
        json!({"selector": {"matchLabels": {"app": "db"}}, "volumes": {"protection": "Retain"}}),
    );
    world.claim("data", "ReadWriteMany");
    world.workload(WorkloadKind::Deployment, "a-reader", 1, uses("data"));
    world.workload(WorkloadKind::StatefulSet, "db", 1, uses("data"));
    world.act();
    assert_eq!(world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"], "Retain");
}

/// A rollout of `web` whose new pod waits; returns the new pod's uid.
pub(crate) fn waiting(world: &mut World) -> Uid {
    let old = world.pods("web")[0].clone();
    world
        .edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.later(1);
    world.start_pod("web");
    let new: Uid = format!("pod-{}", world.pods("web")[0].name).into();
    let pod = world.namespace.pods.get_mut(&new).unwrap();
    (pod.reach.running, pod.ready) = (false, false);
    world.namespace.pods.insert(old.uid.clone(), old);
    world.observe("web");
    new
}

/// Recreate would end the pod that serves, and help nobody.
#[test]
fn a_pod_that_cannot_be_scheduled_for_want_of_cpu_is_not_stuck_on_its_volume() {
    let mut world = World::new();
    world.claim("data", "ReadWriteOncePod");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    let pod = world.namespace.pods.get_mut(&new).unwrap();
    pod.claims.node = None;
    pod.claims.unschedulable = Some("0/3 nodes are available: 3 Insufficient cpu.".into());
    world.policy("shop", json!({"volumes": {}}));
    world.act();
    assert!(
        !world.marked_exclusive("web"),
        "the pod that serves is ended: {:?}",
        world.attention()
    );
}

/// A back-up's pod holds the volume: it is named, and nothing is ended.
#[test]
fn ending_the_old_pods_does_not_help_when_somebody_else_holds_the_volume() {
    let mut world = World::new();
    world.policy("shop", json!({"volumes": {}}));
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    world.act();
    let mut backup = world.pods("web")[0].clone();
    (backup.uid, backup.name, backup.controller, backup.revision) =
        ("backup".into(), "backup".into(), None, None);
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    // Recreate: the old pod is gone.
    world.namespace.pods.retain(|uid, _| *uid == new);
    world.namespace.pods.insert("backup".into(), backup);
    world.observe("web");
    world.act();
    let entry = world.attention().unwrap();
    assert_eq!(entry.reason, Reason::StuckOnVolume, "{entry:?}");
    assert!(!entry.message.contains("Its old pods are ended first"), "{}", entry.message);
}

/// The binder writes the new claim's uid before the phase: only the uid of the claim that is gone
/// is taken away.
#[test]
fn a_uid_that_the_binder_just_wrote_is_left() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    assert!(no_claim_of_its_own(&world, "pv-data"));
    let waits = json!({
        "metadata": {"name": "data", "uid": "claim-new"}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}
    });
    world.put(claim("data"), waits);
    world.change(&volume("pv-data"), json!({"spec": {"claimRef": {"uid": "claim-new"}}}));
    let patches: Vec<_> =
        world.decide().storage.into_iter().filter(|(patch, _)| patch.claim_uid.is_some()).collect();
    assert!(patches.is_empty(), "{patches:?}");
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

/// The policy that had it retained may have another name by now.
#[test]
fn what_is_not_found_again_is_said_also_when_the_policy_has_another_name() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.claim_on("data", "ReadWriteOnce", "pv-second", "Delete");
    world.act();
    world.lose_claim("data");
    world.act();
    assert_eq!(world.volumes_safe().1, "SeveralVolumes");
    world.namespace.policies.clear();
    world.policy("renamed", json!({"volumes": {}}));
    world.act();
    let said = world.namespace.policies["renamed"]
        .status
        .conditions
        .iter()
        .find(|one| one.type_ == "VolumesSafe")
        .unwrap();
    assert_eq!(
        said.reason, "SeveralVolumes",
        "{said:?} {:?}",
        world.namespace.policies["renamed"].status.volumes
    );
}

/// The mark is no reason for itself.
#[test]
fn the_declared_strategy_comes_back_when_the_policy_no_longer_asks_for_recreate() {
    let mut world = shop("ReadWriteOnce", json!({"exclusiveClaims": "Recreate"}));
    world.change(&volume("pv-data"), json!({"spec": {"csi": null, "hostPath": {}}}));
    world.act();
    assert!(world.marked_exclusive("web"));
    world.policy("shop", json!({"volumes": {"exclusiveClaims": "WhenDeadlock"}}));
    world.act();
    assert!(!world.marked_exclusive("web"));
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

/// An app's operator sets owner references each time it reconciles: two writes a round, without
/// end, help nobody.
#[test]
fn what_another_manager_restores_again_and_again_is_left_and_said() {
    let mut world = shop("ReadWriteOnce", json!({}));
    let owned = json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1", "controller": true}]}});
    for _ in 0..30 {
        world.change(&claim("data"), owned.clone());
        world.act();
        world.later(1);
    }
    let kept = world.claim_raw("data")["metadata"]["ownerReferences"]
        .as_array()
        .is_some_and(|owners| !owners.is_empty());
    assert!(kept, "written to 30 times in 30 s, and nobody was told");
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

/// The attach controller refuses it a second node.
#[test]
fn p13_an_iscsi_volume_is_attached() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.change(&volume("pv-data"), json!({"spec": {"csi": null, "iscsi": {"targetPortal": "10.0.0.1", "iqn": "iqn", "lun": 0}}}));
    world.act();
    assert!(world.marked_exclusive("web"));
}

/// The binder gives a pre-bound volume whatever its class, but not with other access modes.
#[test]
fn what_does_not_fit_is_judged_as_the_binder_does() {
    for (class, mode, fits) in [("slow", "ReadWriteOnce", true), ("fast", "ReadWriteMany", false)] {
        let mut world = shop("ReadWriteOnce", json!({}));
        world.act();
        world.lose_claim("data");
        world.act();
        let waits = json!({
            "metadata": {"name": "data", "uid": "claim-new"}, "status": {"phase": "Pending"},
            "spec": {"accessModes": [mode], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}
        });
        world.put(claim("data"), waits);
        let (status, _, message) = world.volumes_safe();
        assert_eq!(status == "True", fits, "{class} {mode}: {message}");
    }
}

/// An app restored into a new volume is shadowed by the old one until somebody says that that one
/// is not wanted.
#[test]
fn there_is_a_way_to_say_that_older_data_is_not_wanted() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-restored", "Delete");
    assert_eq!(world.volumes_safe().1, "VolumeShadowed");
    world.change(
        &volume("pv-data"),
        json!({"metadata": {"annotations": {"lockkeeper.dev/unprotect": "pv-data"}}}),
    );
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "NoDanger", "{message}");
}

/// Freeze and windows are asked before anything of ours that ends pods.
#[test]
fn a_stuck_rollout_is_not_freed_in_a_freeze() {
    let mut world = World::new();
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    world.policy("shop", json!({"mode": "Freeze", "volumes": {}}));
    world.act();
    assert!(!world.marked_exclusive("web"), "{:?}", world.attention());
}

/// In a relist the claim may be seen Bound before its volume is.
#[test]
fn a_volume_that_its_claim_names_as_bound_is_not_locked() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    world.change(&volume("pv-data"), json!({"status": {"phase": "Available"}}));
    let bound = json!({
        "metadata": {"name": "data", "uid": "claim-new"}, "status": {"phase": "Bound"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "pv-data", "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}
    });
    world.put(claim("data"), bound);
    let patches: Vec<_> =
        world.decide().storage.into_iter().filter(|(patch, _)| patch.claim_uid.is_some()).collect();
    assert!(patches.is_empty(), "{patches:?}");
}

/// The rest of the rollout would be RollingUpdate: the new pod starts while the old one still
/// writes.
#[test]
fn the_mark_is_not_taken_off_in_the_middle_of_a_rollout() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    assert!(world.marked_exclusive("web"));
    let _ = waiting(&mut world);
    world.namespace.autoscalers.insert("hpa".into(), (world.id("web"), 2));
    world.act();
    assert!(world.marked_exclusive("web"));
}

/// By an event on the volume.
#[test]
fn a_released_volume_is_told() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(3600);
    world.act();
    assert!(!world.told_of(Event::VolumeOrphaned).is_empty());
}

/// On resume the strategy would be Recreate, and the old pod, which says no, be ended at once.
#[test]
fn p8_a_rollout_that_is_paused_in_its_middle_gets_no_mark_unasked() {
    let mut world = World::new();
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    world.edit("web", |web| web["spec"]["paused"] = json!(true));
    world.observe("web");
    world
        .answers
        .insert("web-1".into(), lockkeeper::core::gates::answer::Answer::No("busy".into()));
    world.policy("shop", json!({"volumes": {}, "gates": {"app": {}}}));
    world.act();
    assert!(!world.marked_exclusive("web"), "{:?}", world.attention());
}

//! What a hostile reviewer found in volumes: each fails as long as its finding stands.

use std::time::{Duration, Instant};

use lockkeeper::{
    api::{Reason, WorkloadKind},
    core::{
        config::digest::Key,
        decision::{Event, StorageObject},
        hold::enforced::Enforcement,
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

fn volume(name: &str) -> StorageObject {
    StorageObject::Volume(name.into())
}

fn claim(name: &str) -> StorageObject {
    StorageObject::Claim(name.into())
}

fn no_claim_of_its_own(world: &World, name: &str) -> bool {
    world.volume_raw(name)["spec"]["claimRef"]["uid"].is_null()
}

/// What admission says to a patch of ours.
fn refused(world: &World, patch: &lockkeeper::core::decision::StoragePatch) -> Option<String> {
    let mut old = world.storage_objects[&patch.object].clone();
    old["status"] = old["status"].clone();
    let mut new = old.clone();
    merge(&mut new, &patch.json());
    let kind = match patch.object {
        StorageObject::Claim(_) => "PersistentVolumeClaim",
        StorageObject::Volume(_) => "PersistentVolume",
        StorageObject::Namespace(_) => "Namespace",
    };
    let write = Write { kind, operation: Operation::Update, old: Some(&old), new: &new, user: OPERATOR, verbs: &[] };
    Twin::default().admit(&write).err().map(|error| format!("{error:?}"))
}

/// SCENARIO: a volume waits for its next claim (claimRef without uid), and its namespace goes. The lock sets claimRef.uid; the chart's own
/// self-restraint lets the operator only *take away* keys of claimRef, so that every lock is refused (leftover.rs `lock`, self-restraint.yaml
/// `spec`). CONSEQUENCE: P12 is void on every cluster with the chart installed: a namespace that somebody else makes under that name gets the
/// data; with several candidates the binder takes any; and the refused write is tried again for ever (P14).
#[test]
fn the_lock_is_admitted_by_our_own_self_restraint() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    assert!(no_claim_of_its_own(&world, "pv-data"));
    world.change(&StorageObject::Namespace("shop".into()), json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}));
    let decision = world.decide();
    let (lock, _) = decision.storage.iter().find(|(patch, _)| patch.claim_uid.is_some()).expect("it is to be locked");
    assert_eq!(refused(&world, lock), None);
}

/// SCENARIO: every patch of the ordinary life of a claim passes our own restraint. (Passes; it stands here so that the one above is no accident.)
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

/// SCENARIO: the operator starts when a namespace is gone and one of its volumes still waits without a uid (the operator was down, or was
/// updated, while the namespace was deleted). The index makes an entry of a namespace only for objects *in* it, so nobody judges it.
/// CONSEQUENCE: with the operator up for hours, the volume is not locked; whoever makes the namespace anew races for its data. And its counts,
/// bytes and metrics are gone ("counted … also when policy, release and namespace are gone").
#[test]
fn a_namespace_of_which_only_volumes_are_left_is_judged_after_a_start() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    world.change(&volume("pv-data"), json!({"status": {"phase": "Available"}}));
    let raw = world.volume_raw("pv-data").clone();
    let key = digest::set_key(Key::new(&[7; 32]));
    let mut index = Index::new(key, "lockkeeper-system".into(), Enforcement::default());
    let stream = StreamId { kind: "persistentvolumes", namespace: None };
    index.apply(&stream, Step::Restarted, world.now);
    index.apply(&stream, Step::Listed(streams::object::<Volumes>(serde_json::from_value::<Wire<Volumes>>(raw).unwrap())), world.now);
    index.apply(&stream, Step::Complete, world.now);
    assert_eq!(index.storage().of_namespace("shop").count(), 1);
    assert!(index.take_dirty().contains("shop"));
    assert!(index.namespace("shop").is_some(), "nothing is decided on what the loop looks up and does not find");
}

/// SCENARIO: a namespace was made anew; the release ran in it for a moment and its own young volume waits for the next claim. The platform
/// chooses the *old* volume (readopt on the volume). It is freed, and the young one stays free beside it (find_again returns before it locks the
/// others). CONSEQUENCE: two volumes are pre-bound to one claim; the binder takes the first it finds: the person's word does not count, and the
/// wrong data comes up without a word.
#[test]
fn what_is_chosen_is_the_only_one_that_waits() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    // The namespace is made anew: the volume is of the one before.
    world.shop_namespace("ns-2");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    world.act();
    world.lose_claim("data");
    world.act();
    assert!(no_claim_of_its_own(&world, "pv-young") && !no_claim_of_its_own(&world, "pv-data"));
    world.change(&volume("pv-young"), json!({"status": {"phase": "Available"}}));
    world.change(&volume("pv-data"), json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": "ns-2"}}}));
    world.act();
    assert!(no_claim_of_its_own(&world, "pv-data"), "it was chosen");
    assert!(!no_claim_of_its_own(&world, "pv-young"), "two volumes wait for one claim");
}

/// SCENARIO: disaster recovery. Velero (or a person at 3 a.m., as every guide says) makes a retained volume available again: claimRef without
/// uid, in a namespace made anew, and a claim that asks for it by volumeName. We did not free it, but lock it, without an event.
/// CONSEQUENCE: the restored claim is Pending for ever; each time it is mended we undo it.
#[test]
fn what_others_freed_is_not_locked() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    let object = world.namespace.claims.remove("data").unwrap();
    world.storage_objects.remove(&claim("data"));
    assert_eq!(object.volume.as_deref(), Some("pv-data"));
    world.shop_namespace("ns-2");
    world.change(&volume("pv-data"), json!({"spec": {"claimRef": {"uid": null}}, "status": {"phase": "Available"}}));
    let asks = json!({
        "metadata": {"name": "data", "uid": "claim-restored"}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "pv-data", "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}
    });
    world.put(claim("data"), asks);
    world.act();
    assert!(no_claim_of_its_own(&world, "pv-data"), "locked, and the restored claim never gets its data");
    assert!(!world.told.is_empty(), "and not a word is said");
}

/// SCENARIO: two governed workloads use one claim: a Deployment whose policy says None (a reader, say), and a StatefulSet whose policy says
/// Retain. The first in order decides, not the strongest (usage.rs: `usage.governed.or`). CONSEQUENCE: the data that a policy asks to keep is
/// lost, and that policy's VolumesSafe is True.
#[test]
fn the_strongest_protection_counts_when_two_policies_see_to_a_claim() {
    let mut world = World::new();
    world.policy("readers", json!({"selector": {"matchLabels": {"app": "a-reader"}}, "volumes": {"protection": "None"}}));
    world.policy("shop", json!({"selector": {"matchLabels": {"app": "db"}}, "volumes": {"protection": "Retain"}}));
    world.claim("data", "ReadWriteMany");
    world.workload(WorkloadKind::Deployment, "a-reader", 1, uses("data"));
    world.workload(WorkloadKind::StatefulSet, "db", 1, uses("data"));
    world.act();
    assert_eq!(world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"], "Retain");
}

/// A rollout of `web` whose new pod waits; returns the new pod's uid.
fn waiting(world: &mut World) -> Uid {
    let old = world.pods("web")[0].clone();
    world.edit("web", |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    world.later(1);
    world.start_pod("web");
    let new: Uid = format!("pod-{}", world.pods("web")[0].name).into();
    let pod = world.namespace.pods.get_mut(&new).unwrap();
    (pod.reach.running, pod.ready) = (false, false);
    world.namespace.pods.insert(old.uid.clone(), old);
    world.observe("web");
    new
}

/// SCENARIO: ReadWriteOncePod, and the new pod cannot be scheduled for want of CPU. Any unschedulable pod counts as stuck on the volume
/// (exclusive.rs `stuck`). CONSEQUENCE: the strategy becomes Recreate in the middle of the rollout, which ends the pod that serves, and the new
/// one still cannot start: an outage made by us. The message lies about the cause.
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
    assert!(!world.marked_exclusive("web"), "the pod that serves is ended: {:?}", world.attention());
}

/// SCENARIO: a backup pod on node-1 holds the volume, and so does the old pod there; the new pod is on node-2. Or: there is no old pod at all.
/// Whoever holds the claim counts (`claim.usage.pods`), and "its old pods are ended first, so that it can go on" is done and said.
/// CONSEQUENCE: nothing goes on, for the backup holds the volume; the message sends whoever reads it the wrong way.
#[test]
fn ending_the_old_pods_does_not_help_when_somebody_else_holds_the_volume() {
    let mut world = World::new();
    world.policy("shop", json!({"volumes": {}}));
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    world.act();
    let mut backup = world.pods("web")[0].clone();
    (backup.uid, backup.name, backup.controller, backup.revision) = ("backup".into(), "backup".into(), None, None);
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

/// SCENARIO: the binder binds a freed volume while its phase is still Released (it looks at pre-bound volumes before it looks at the phase):
/// first it writes the new claim's uid into claimRef, then the phase. We see the first write. CONSEQUENCE: we take the uid of a live claim away
/// again, against the binder; only luck with resourceVersions ends it. `free` should only take away the uid of the claim that is gone.
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
    let patches: Vec<_> = world.decide().storage.into_iter().filter(|(patch, _)| patch.claim_uid.is_some()).collect();
    assert!(patches.is_empty(), "{patches:?}");
}

/// SCENARIO: three static volumes of a network file system whose capacity is the largest quantity there is (8Ei: capacity means nothing there).
/// CONSEQUENCE: the sum overflows: a panic in a checked build, and nonsense in metrics and status otherwise.
#[test]
fn the_sum_of_large_volumes_does_not_overflow() {
    let mut world = World::new();
    world.policy("shop", json!({"volumes": {}}));
    for name in ["a", "b", "c"] {
        world.claim(name, "ReadWriteMany");
        world.change(&volume(&format!("pv-{name}")), json!({"spec": {"capacity": {"storage": "8Ei"}}}));
        world.workload(WorkloadKind::Deployment, &format!("web-{name}"), 1, uses(name));
    }
    world.act();
    assert_eq!(world.counts()["protected"], 3);
}

/// SCENARIO: the policy is renamed (or the release that brings it), and volumes of its claims are left. Dangers and counts of released volumes
/// are filed under the policy's name of then, which nobody has any more. CONSEQUENCE: "found again, or its absence is said" (P12): neither. The next
/// claim gets an empty volume, and VolumesSafe was True all the time.
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
    let said = world.namespace.policies["renamed"].status.conditions.iter().find(|one| one.type_ == "VolumesSafe").unwrap();
    assert_eq!(said.reason, "SeveralVolumes", "{said:?} {:?}", world.namespace.policies["renamed"].status.volumes);
}

/// SCENARIO: `exclusiveClaims: Recreate` on a folder of the node, and back to `WhenUnsafe`. The mark keeps itself (exclusive.rs: "What has been
/// stuck once would be again" counts every mark). CONSEQUENCE: the declared strategy never comes back, against the table in docs/volumes.md. The same
/// happens to a Deployment that was at 0 replicas before its claim was bound to a pinned volume.
#[test]
fn the_declared_strategy_comes_back_when_the_policy_asks_for_recreate_no_more() {
    let mut world = shop("ReadWriteOnce", json!({"exclusiveClaims": "Recreate"}));
    world.change(&volume("pv-data"), json!({"spec": {"csi": null, "hostPath": {}}}));
    world.act();
    assert!(world.marked_exclusive("web"));
    world.policy("shop", json!({"volumes": {"exclusiveClaims": "WhenUnsafe"}}));
    world.act();
    assert!(!world.marked_exclusive("web"));
}

/// SCENARIO: the provenance of a released volume cannot be read (cut by a tool, written by a newer version of ours). CONSEQUENCE: it is left out
/// without a word: not counted, not listed, not locked (P12, P15), although its label and its claimRef say that it is kept, and for whom.
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

/// SCENARIO: an operator of an app sets its Deployment as the owner of its claim each time it reconciles. We take the reference away, it puts it
/// back. CONSEQUENCE: two writes a round, for ever, at the speed of two watches (P14). Marks of ours have a brake (`MarksReverted`); this has none,
/// nor has the reclaim policy against a GitOps tool that heals a static volume.
#[test]
fn what_another_manager_puts_back_again_and_again_is_left_and_said() {
    let mut world = shop("ReadWriteOnce", json!({}));
    let owned = json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1", "controller": true}]}});
    for _ in 0..30 {
        world.change(&claim("data"), owned.clone());
        world.act();
        world.later(1);
    }
    let kept = world.claim_raw("data")["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
    assert!(kept, "written to 30 times in 30 s, and nobody was told");
}

/// SCENARIO: somebody deletes the PersistentVolume under a bound claim. It waits (pv-protection) until the claim goes, and then the record goes,
/// and with it where the data is and whose. Nothing here looks at `Volume::deleting`. CONSEQUENCE: "the data of 1 claim is kept whatever is deleted"
/// is said of a volume that is being deleted; and one that is left and going is freed for a claim that the binder never gives it.
#[test]
fn a_kept_volume_that_is_being_deleted_is_a_danger() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.change(&volume("pv-data"), json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}));
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "False", "{message}");
}

/// SCENARIO: an iSCSI volume. Its plugin is attachable (pkg/volume/iscsi/attacher.go: `var _ volume.AttachableVolumePlugin = &iscsiPlugin{}`), so that
/// the attach controller refuses a second node; views/storage.rs takes it for one that nothing attaches. CONSEQUENCE: the rollout deadlocks (P13).
#[test]
fn p13_an_iscsi_volume_is_attached() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.change(&volume("pv-data"), json!({"spec": {"csi": null, "iscsi": {"targetPortal": "10.0.0.1", "iqn": "iqn", "lun": 0}}}));
    world.act();
    assert!(world.marked_exclusive("web"));
}

/// SCENARIO: the class of a claim changed in the chart. The binder gives a pre-bound volume whatever its class (FindMatchingVolume returns it before
/// it compares classes), but not if the access modes differ. CONSEQUENCE: `VolumeDoesNotFit` says what is not so, and is silent where it is so.
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

/// SCENARIO: an app is restored from a back-up into a new volume, and its claim bound to that; the old volume is Released and older.
/// CONSEQUENCE: `VolumeShadowed` for ever, and with gates every change of the workload is held. The cure that the message names,
/// `volumes unprotect VOLUME`, does not exist: the annotation is on a claim, and a released volume has none; nothing in the core looks at a volume's.
#[test]
fn there_is_a_way_to_say_that_older_data_is_not_wanted() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-restored", "Delete");
    assert_eq!(world.volumes_safe().1, "VolumeShadowed");
    world.change(&volume("pv-data"), json!({"metadata": {"annotations": {"lockkeeper.dev/unprotect": "pv-data"}}}));
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "NoDanger", "{message}");
}

/// SCENARIO: mode Freeze, and a rollout that is stuck on a volume. CONSEQUENCE: the pod that serves is ended in the freeze; freeze and windows
/// are asked before every other thing of ours that ends pods (strategy.rs `unblock` asks only the steps and the app).
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

/// SCENARIO: at a start, or in a relist, the claim is seen Bound before its volume is. CONSEQUENCE: its own volume counts as a leftover of another
/// and is to be locked: only the resourceVersion keeps us from making a bound claim Lost. (A wasted write at every readoption.)
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
    let patches: Vec<_> = world.decide().storage.into_iter().filter(|(patch, _)| patch.claim_uid.is_some()).collect();
    assert!(patches.is_empty(), "{patches:?}");
}

/// SCENARIO: 4,000 claims in a namespace (10,000 in the issue) are adopted: two patches a claim, and each looks through all before it.
/// CONSEQUENCE: quadratic; the single loop of the operator stands still for that long at every pass of the adoption. Growth by 4 must not cost 16.
#[test]
fn the_cost_of_adopting_many_claims_grows_with_their_number() {
    let cost = |claims: usize| {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {}}));
        let mut spec = json!({"containers": [{"name": "app"}], "volumes": []});
        for number in 0..claims {
            world.claim(&format!("data-{number}"), "ReadWriteMany");
            let one = json!({"name": format!("v{number}"), "persistentVolumeClaim": {"claimName": format!("data-{number}")}});
            spec["volumes"].as_array_mut().unwrap().push(one);
        }
        world.workload(WorkloadKind::Deployment, "web", 1, spec);
        let begun = Instant::now();
        let patches = world.decide().storage.len();
        assert_eq!(patches, 2 * claims);
        begun.elapsed()
    };
    let (few, many) = (cost(1000), cost(4000));
    println!("1000: {few:?}, 4000: {many:?}");
    assert!(many < few * 8 + Duration::from_millis(50), "1000: {few:?}, 4000: {many:?}");
}

/// SCENARIO: the same claims, and every write is refused (the role is too old): every pass looks for the policies concerned, once a patch.
#[test]
fn the_cost_of_many_refused_writes_grows_with_their_number() {
    let cost = |claims: usize| {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {}}));
        let mut spec = json!({"containers": [{"name": "app"}], "volumes": []});
        for number in 0..claims {
            world.claim(&format!("data-{number}"), "ReadWriteMany");
            let one = json!({"name": format!("v{number}"), "persistentVolumeClaim": {"claimName": format!("data-{number}")}});
            spec["volumes"].as_array_mut().unwrap().push(one);
        }
        world.workload(WorkloadKind::Deployment, "web", 1, spec);
        let trouble =
            lockkeeper::core::world::Trouble { refused: true, message: "forbidden".into(), retry_at: world.now + Duration::from_secs(60) };
        for (patch, _) in world.decide().storage {
            let activity = lockkeeper::core::world::Activity { trouble: Some(trouble.clone()), ..Default::default() };
            world.activities.insert(patch.uid, activity);
        }
        let begun = Instant::now();
        world.decide();
        begun.elapsed()
    };
    let (few, many) = (cost(500), cost(2000));
    println!("500: {few:?}, 2000: {many:?}");
    assert!(many < few * 8 + Duration::from_millis(50), "500: {few:?}, 2000: {many:?}");
}

/// SCENARIO: an app with gates and Recreate is in the middle of a rollout; somebody adds an autoscaler up to 2 (or scales to 2). The mark goes at
/// once, although setting it waits for the end of a rollout (strategy.rs `mark`). CONSEQUENCE: the rest of the rollout is RollingUpdate: the new pod starts
/// while the old one still writes (a folder of the node, NFS: nobody stops both).
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

/// SCENARIO: orphaned data of a released volume. CONSEQUENCE: no event is ever told of it, although item 5 of the issue asks for events.
#[test]
fn a_released_volume_is_told() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(3600);
    world.act();
    assert!(!world.told_of(Event::VolumeOrphaned).is_empty());
}

/// SCENARIO: somebody pauses a rollout in its middle (both pods there), and only then a policy with an app gate comes. `Progress::Held` counts as a time
/// at which the mark ends no pod (strategy.rs `mark`). CONSEQUENCE: on resume the strategy is Recreate, and the old pod, which says no, is ended at
/// once, without having been asked and before the new one is Ready (P8).
#[test]
fn p8_a_rollout_that_is_paused_in_its_middle_gets_no_mark_unasked() {
    let mut world = World::new();
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    world.edit("web", |web| web["spec"]["paused"] = json!(true));
    world.observe("web");
    world.answers.insert("web-1".into(), lockkeeper::core::gates::answer::Answer::No("busy".into()));
    world.policy("shop", json!({"volumes": {}, "gates": {"app": {}}}));
    world.act();
    assert!(!world.marked_exclusive("web"), "{:?}", world.attention());
}

/// SCENARIO: a namespace with 10,000 claims (CI, notebooks) and 1,000 Deployments that use none, no policy says `volumes`. Every pass of every change
/// there asks for each workload whether each claim's name is one of its ordinals (usage.rs `claims_of`), also for Deployments.
/// CONSEQUENCE: volumes cost those who do not use them.
#[test]
fn claims_cost_little_where_no_policy_says_volumes() {
    let cost = |claims: usize| {
        let mut world = World::new();
        world.policy("shop", json!({"config": {}}));
        for number in 0..claims {
            world.claim(&format!("data-{number}"), "ReadWriteMany");
        }
        for number in 0..300 {
            world.workload(WorkloadKind::Deployment, &format!("web-{number}"), 0, json!({"containers": []}));
        }
        let begun = Instant::now();
        world.decide();
        begun.elapsed()
    };
    let (few, many) = (cost(0), cost(10_000));
    println!("0: {few:?}, 10000: {many:?}");
    assert!(many < few * 3 + Duration::from_millis(50), "0 claims: {few:?}, 10000: {many:?}");
}

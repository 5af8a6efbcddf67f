//! Data that is found again: which volume a new claim gets, and what is reported where it gets
//! another one, or none.

use lockkeeper::core::{
    notice::{Event, StorageObject},
    observed::storage::State,
};
use serde_json::{Value, json};

use crate::world::volumes::{GI, claim, no_claim_of_its_own, refused, shop, volume};

#[test]
fn p12_another_namespace_of_the_same_name_gets_nothing_unless_it_is_asked_for() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
    // The namespace is going: from now on no claim of that name may get it.
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
    );
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string(), "locked again");
    world
        .change(&StorageObject::Volume("pv-data".into()), json!({"status": {"phase": "Released"}}));
    world.storage_objects.remove(&StorageObject::Namespace("shop".into()));
    world.shop_namespace("ns-2");
    let (_, _, message) = world.volumes_safe();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string());
    assert!(message.contains("volumes of an earlier namespace shop are kept: 1"), "{message}");
    // As its owner asks.
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": "ns-1"}}}),
    );
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
}

#[test]
fn p12_a_released_volume_is_judged_by_the_claim_of_its_name_under_any_policy() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.namespace.policies.clear();
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
    world.later(60);
    world.change(
        &StorageObject::Volume("pv-data".into()),
        json!({"status": {"phase": "Available"}}),
    );
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    world.act();
    assert!(
        world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string(),
        "the claim has a younger volume"
    );
    world
        .change(&StorageObject::Volume("pv-data".into()), json!({"status": {"phase": "Released"}}));
    let states: Vec<_> =
        lockkeeper::core::volumes::states(&world.namespace, &world.storage, world.now)
            .into_iter()
            .map(|kept| kept.state)
            .collect();
    assert_eq!(states, [State::Shadowed]);
}

#[test]
fn p12_a_claim_that_came_and_went_while_nobody_looked_keeps_no_data_from_being_found() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    let volume = StorageObject::Volume("pv-data".into());
    world.change(
        &volume,
        json!({"spec": {"claimRef": {"uid": "claim-nobody-saw"}}, "status": {"phase": "Released"}}),
    );
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
}

#[test]
fn of_several_volumes_none_is_readopted_and_one_that_does_not_fit_is_reported() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.claim_on("data", "ReadWriteOnce", "pv-second", "Delete");
    world.act();
    world.lose_claim("data");
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "SeveralVolumes");
    assert!(message.contains("pv-data, pv-second"), "{message}");
    for volume in ["pv-data", "pv-second"] {
        assert!(world.volume_raw(volume)["spec"]["claimRef"]["uid"].is_string(), "{volume}");
    }
    // Users who may write volumes say which.
    world.change(
        &StorageObject::Volume("pv-second".into()),
        json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": "ns-1"}}}),
    );
    world.act();
    assert!(world.volume_raw("pv-second")["spec"]["claimRef"]["uid"].is_null());
    let waits = json!({
        "metadata": {"name": "data", "uid": "claim-new"}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}}
    });
    world.put(StorageObject::Claim("data".into()), waits);
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "VolumeDoesNotFit");
    assert!(message.contains(&format!("{GI} bytes, less than the {}", 2 * GI)), "{message}");
}

/// The binder gives a pre-bound volume whatever its class, but not with other access modes.
#[test]
fn whether_a_volume_fits_is_judged_as_the_binder_does() {
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

/// The policy that had it retained may have another name by now.
#[test]
fn data_that_is_not_readopted_is_reported_also_by_a_policy_with_another_name() {
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

#[test]
fn p12_a_claim_with_a_younger_volume_is_reported_and_holds_changes() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    let (status, reason, message) = world.volumes_safe();
    assert_eq!((&*status, &*reason), ("False", "VolumeShadowed"));
    assert!(
        message.contains("pv-young")
            && message.contains("pv-data")
            && message.contains("volumes readopt"),
        "{message}"
    );
    assert_eq!(world.told_of(Event::VolumeShadowed), ["PersistentVolumeClaim/data"]);
    assert_eq!(
        world.volume_raw("pv-young")["spec"]["persistentVolumeReclaimPolicy"],
        "Retain",
        "its data counts too"
    );
    let counts = world.counts();
    assert_eq!((&counts["shadowed"], &counts["orphaned"]), (&json!(1), &json!(0)), "counted once");
    world.act();
    assert_eq!(world.told_of(Event::VolumeShadowed).len(), 1, "told once");
}

#[test]
fn p12_a_volume_that_is_chosen_is_free_before_the_claim_with_the_younger_one_is_gone() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-young", "Delete");
    world.act();
    let (volume, claim) =
        (StorageObject::Volume("pv-data".into()), StorageObject::Claim("data".into()));
    world.change(&volume, json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": "ns-1"}}}));
    world.act();
    assert!(
        world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string(),
        "the claim has another volume"
    );
    // The next claim of that name gets it, at once.
    world.change(&claim, json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}));
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
    world.change(&volume, json!({"status": {"phase": "Available"}}));
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null());
    // Without being chosen it would be the younger one's turn to go nowhere.
    world.change(&volume, json!({"metadata": {"annotations": {"lockkeeper.dev/readopt": null}}}));
    world.act();
    assert!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_string());
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

/// An app restored into a new volume is shadowed by the old one until somebody says that that one
/// is not wanted.
#[test]
fn older_data_that_is_given_up_shadows_no_newer_volume() {
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

#[test]
fn older_data_that_is_put_aside_for_a_snapshot_stays_kept_and_shadows_no_newer_volume() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.later(60);
    world.claim_on("data", "ReadWriteOnce", "pv-restored", "Delete");
    assert_eq!(world.volumes_safe().1, "VolumeShadowed");
    let raw = &world.volume_raw("pv-data")["metadata"]["annotations"]["lockkeeper.dev/provenance"];
    let mut provenance: Value = serde_json::from_str(raw.as_str().unwrap()).unwrap();
    provenance["putAside"] = json!(true);
    let aside =
        json!({"metadata": {"annotations": {"lockkeeper.dev/provenance": provenance.to_string()}}});
    world.change(&volume("pv-data"), aside);
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "NoDanger", "{message}");
    assert_eq!(
        world.volume_raw("pv-data")["metadata"]["labels"]["lockkeeper.dev/retained"],
        "true"
    );
}

/// Two volumes that wait for one claim: the binder takes any. The one that somebody chose waits
/// alone.
#[test]
fn the_volume_that_was_chosen_is_the_only_one_that_waits_for_the_claim() {
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
fn a_volume_that_others_freed_is_not_locked() {
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

/// A volume that waits is locked when its namespace goes, and our own self-restraint lets that
/// pass: or else a new namespace of that name would get the data.
#[test]
fn self_restraint_admits_the_lock_of_a_volume() {
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

/// The binder first writes the uid of the claim on the volume, then the phase.
#[test]
fn p14_a_volume_that_is_just_being_given_to_a_claim_is_not_taken_away_again() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.act();
    let volume = StorageObject::Volume("pv-data".into());
    let claim = json!({
        "metadata": {"name": "data", "namespace": "shop", "uid": "claim-new"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"}
    });
    world.put(StorageObject::Claim("data".into()), claim);
    world.change(&volume, json!({"spec": {"claimRef": {"uid": "claim-new"}}}));
    world.act();
    assert_eq!(world.volume_raw("pv-data")["spec"]["claimRef"]["uid"], "claim-new");
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

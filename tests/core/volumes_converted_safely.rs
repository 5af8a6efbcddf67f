//! What could lose data or names while a volume goes from one claim to another.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        notice::Event,
        observed::{Concerns, storage::Storage},
    },
};
use serde_json::json;

use crate::{
    unreadable::unreadable,
    volumes_converted::PV,
    world::{
        World,
        volumes::{claim, refused, shop, uses, volume},
    },
};

/// The operator is killed after each write. The next one finds what stands, and goes on.
#[test]
fn p25_an_operator_that_is_killed_after_any_write_keeps_the_data_and_the_names() {
    for (last, volumes) in [false, true]
        .into_iter()
        .flat_map(|last| [json!({}), json!({"protection": "None"})].map(|one| (last, one)))
    {
        let mut world = shop("ReadWriteOnce", volumes);
        world.act();
        let becomes =
            |name: &str| json!({"metadata": {"annotations": {"lockkeeper.dev/becomes": name}}});
        world.change(&claim("data"), becomes("data-web-set-0"));
        world.one_by_one(last);
        assert_eq!(world.stage(), "Prepared");
        world.flip();
        world.remove(WorkloadKind::Deployment, "web");
        world.one_by_one(last);
        world.bind();
        world.one_by_one(last);
        assert_eq!((world.stage(), world.holder().0.as_str()), ("Done", "data-web-set-0"));
        world.change(&claim("data-web-set-0"), becomes("data-web-set-0"));
        world.one_by_one(last);
        assert_eq!((world.stage(), world.reserved()), ("", None));
        let left = &world.claim_raw("data")["metadata"]["annotations"];
        assert!(left["lockkeeper.dev/becomes"].is_null(), "{left}");
    }
}

#[test]
fn p25_a_volume_that_would_not_outlive_its_claim_is_kept_first_and_then_handed_over() {
    let mut world = World::prepared(json!({}));
    world.flip();
    world.remove(WorkloadKind::Deployment, "web");
    world.change(&volume(PV), json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}));
    let patches = world.decide().storage;
    assert!(patches.iter().any(|(patch, _)| patch.reclaim_policy.as_deref() == Some("Retain")));
    assert!(patches.iter().all(|(patch, _)| patch.hand_over.is_none()), "{patches:?}");
    assert!(patches.iter().all(|(patch, _)| refused(&world, patch).is_none()), "{patches:?}");
    world.act();
    assert_eq!(world.holder().0, "data-web-set-0");

    // Nor is one handed over that goes.
    let mut world = World::prepared(json!({}));
    world.flip();
    world.remove(WorkloadKind::Deployment, "web");
    let goes = json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}});
    world.change(&volume(PV), goes);
    world.act();
    assert_eq!((world.stage(), world.holder().0.as_str()), ("Waiting", "data"));
    assert!(world.told_now().contains("the volume is being deleted"), "{}", world.told_now());
}

/// A namespace of the same name may be somebody else's.
#[test]
fn p25_a_later_namespace_of_the_same_name_gets_neither_the_names_nor_the_volume() {
    let mut world = World::prepared(json!({}));
    world.remove(WorkloadKind::Deployment, "web");
    world.lose_claim("data");
    world.act();
    let uid = world.holder().1;
    assert!(!uid.is_empty());
    world.shop_namespace("ns-2");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    world.create_claim_again("claim-foreign");
    world.act();
    assert_eq!((world.stage(), world.reserved()), ("", None));
    assert_eq!(world.holder(), ("data".to_owned(), uid));
    assert_eq!(world.counts()["orphaned"], 1, "it is not forgotten");
}

/// What was never known does not exist for the operator; its names stay reserved all the same.
#[test]
fn p25_no_name_is_given_free_while_something_cannot_be_read() {
    let mut world = World::prepared(json!({}));
    world.storage = Storage::default();
    let known: Vec<_> =
        world.storage_objects.keys().filter(|one| **one != volume(PV)).cloned().collect();
    known.iter().for_each(|one| world.see(one));
    unreadable(&mut world, "Pod", "stray", Concerns::ControlledBy("uid-stray".into()));
    world.act();
    assert_eq!(world.reserved(), Some("data=pv-data,data-web-set-0=pv-data"));
    // Nor does a conversion end then.
    world.see(&volume(PV));
    world.says("data", "data");
    assert_eq!(world.stage(), "Ending", "{}", world.told_now());
    assert!(world.reserved().is_some());
    world.namespace.unread.clear();
    world.act();
    assert_eq!((world.stage(), world.reserved()), ("", None));
}

#[test]
fn two_claims_that_are_to_become_the_same_one_are_both_refused() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.claim("more", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "more", 1, uses("more"));
    world.act();
    for name in ["data", "more"] {
        let mark =
            json!({"metadata": {"annotations": {"lockkeeper.dev/becomes": "data-web-set-0"}}});
        world.change(&claim(name), mark);
    }
    world.act();
    assert_eq!((world.stage(), world.reserved()), ("", None));
    let refused = world.told_of(Event::ConversionRefused);
    assert_eq!(refused, ["PersistentVolumeClaim/data", "PersistentVolumeClaim/more"]);
    world.change(
        &claim("more"),
        json!({"metadata": {"annotations": {"lockkeeper.dev/becomes": null}}}),
    );
    world.act();
    assert_eq!(world.stage(), "Prepared", "{}", world.told_now());
}

/// The controller of volumes has not seen yet that the old claim has no volume.
#[test]
fn a_conversion_that_is_finished_at_once_leaves_no_mark_on_the_old_claim() {
    let mut world = World::prepared(json!({}));
    world.flip();
    world.remove(WorkloadKind::Deployment, "web");
    world.act();
    world.says("data-web-set-0", "data-web-set-0");
    let left = &world.claim_raw("data")["metadata"];
    assert!(left["labels"]["lockkeeper.dev/retained"].is_null(), "{left}");
    assert!(left["annotations"]["lockkeeper.dev/becomes"].is_null(), "{left}");
    world.bind();
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "True", "{message}");
}

//! Claims that name a volume which is not theirs: created again from an export, restored in another
//! order, or pointed at another claim's volume.

use lockkeeper::{
    api::WorkloadKind,
    core::notice::{Event, StorageObject},
};
use serde_json::{Value, json};

use crate::world::{
    World,
    volumes::{claim, refused, shop, uses, volume},
};

/// A claim that is created again from an export: another uid, the volume's name, and no mark of
/// ours, as admission strips them.
fn created_again(volume: &str, phase: &str) -> Value {
    json!({
        "metadata": {"name": "data", "namespace": "shop", "uid": "claim-again", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": volume, "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": phase}
    })
}

/// Carries out all that is to be written to storage, as self-restraint allows it; the events that
/// tell of it.
fn write_all(world: &mut World) -> Vec<Event> {
    let mut told = Vec::new();
    for _ in 0..10 {
        let decision = world.decide();
        for (patch, notice) in &decision.storage {
            assert_eq!(refused(world, patch), None, "{patch:?}");
            told.extend(notice.as_ref().map(|notice| notice.event));
            world.store(patch);
        }
    }
    told
}

fn uid_on(world: &World, name: &str) -> Value {
    world.volume_raw(name)["spec"]["claimRef"]["uid"].clone()
}

/// As Kubernetes does when the uid on the volume is the claim's.
fn bind(world: &mut World, name: &str) {
    world.change(&volume(name), json!({"status": {"phase": "Bound"}}));
    world.change(&claim("data"), json!({"status": {"phase": "Bound"}}));
}

#[test]
fn p12_a_claim_that_is_created_again_with_its_binding_gets_its_volume() {
    // First it is Pending for a moment, or Lost at once.
    for first in ["Pending", "Lost"] {
        let mut world = shop("ReadWriteOnce", json!({}));
        world.act();
        world.lose_claim("data");
        world.put(claim("data"), created_again("pv-data", first));
        let mut told = write_all(&mut world);
        world.change(&claim("data"), json!({"status": {"phase": "Lost"}}));
        told.extend(write_all(&mut world));
        assert_eq!(uid_on(&world, "pv-data"), "claim-again", "{first}");
        assert_eq!(told, [Event::VolumeReadopted], "{first}");
        let (status, reason, message) = world.volumes_safe();
        assert_eq!((&*status, &*reason), ("False", "VolumeLost"), "until it is bound: {message}");
        bind(&mut world, "pv-data");
        let (status, _, message) = world.volumes_safe();
        assert_eq!(status, "True", "{message}");
        assert_eq!(world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        assert!(
            world.volume_raw("pv-data")["metadata"]["annotations"]["lockkeeper.dev/freed"]
                .is_null()
        );
        assert_eq!(world.counts()["protected"], 1);
        assert!(world.decide().storage.is_empty(), "at rest nothing is written");
    }
}

/// Velero restores volumes first, without the uid of the claim; other tools the claim first.
#[test]
fn p12_the_order_in_which_claim_and_volume_are_restored_does_not_matter() {
    for claim_first in [false, true] {
        let mut world = shop("ReadWriteOnce", json!({}));
        world.act();
        let exported = world.volume_raw("pv-data").clone();
        world.lose_claim("data");
        world.storage.remove("pv-data");
        world.storage_objects.remove(&volume("pv-data"));
        let restored = |world: &mut World| {
            let mut raw = exported.clone();
            raw["metadata"]["uid"] = json!("uid-restored");
            raw["spec"]["claimRef"]["uid"] = Value::Null;
            raw["status"] = json!({"phase": "Available"});
            world.put(volume("pv-data"), raw);
        };
        if !claim_first {
            restored(&mut world);
            write_all(&mut world);
        }
        world.put(claim("data"), created_again("pv-data", "Lost"));
        if claim_first {
            let (_, reason, message) = world.volumes_safe();
            assert_eq!(reason, "VolumeLost");
            assert!(message.contains("volume pv-data, which does not exist"), "{message}");
            restored(&mut world);
        }
        assert_eq!(write_all(&mut world), [Event::VolumeReadopted], "{claim_first}");
        assert_eq!(uid_on(&world, "pv-data"), "claim-again", "{claim_first}");
    }
}

#[test]
fn p12_a_lost_claim_that_gets_nothing_back_says_why_and_what_to_do() {
    type Case = fn(&mut World);
    let rows: [(&str, Case, &str); 5] = [
        (
            "the policy says Never",
            |world| world.policy("shop", json!({"volumes": {"readopt": "Never"}})),
            "kubectl lockkeeper volumes readopt -n shop pv-data",
        ),
        (
            "another namespace of that name",
            |world| {
                world.storage_objects.remove(&StorageObject::Namespace("shop".into()));
                world.shop_namespace("ns-2");
            },
            "from an earlier namespace of this name. To give it back: kubectl lockkeeper volumes readopt -n shop pv-data",
        ),
        (
            "the volume is gone",
            |world| {
                world.storage.remove("pv-data");
            },
            "volume pv-data, which does not exist",
        ),
        (
            "nobody kept the volume",
            |world| {
                world.change(
                    &volume("pv-data"),
                    json!({"metadata": {"labels": null, "annotations": null}}),
                )
            },
            r#"kubectl patch pv pv-data --type=merge -p '{"spec":{"claimRef":{"uid":"claim-again"}}}'"#,
        ),
        (
            "the volume of another claim",
            |world| {
                world.change(
                    &volume("pv-data"),
                    json!({"spec": {"claimRef": {"name": "theirs"}}, "metadata": {"labels": null}}),
                )
            },
            "belongs to claim theirs",
        ),
    ];
    for (name, case, cure) in rows {
        let mut world = shop("ReadWriteOnce", json!({}));
        if name.contains("Never") {
            case(&mut world);
        }
        world.act();
        world.lose_claim("data");
        case(&mut world);
        world.put(claim("data"), created_again("pv-data", "Lost"));
        write_all(&mut world);
        assert_ne!(uid_on(&world, "pv-data"), "claim-again", "{name}");
        let (status, reason, message) = world.volumes_safe();
        assert_eq!((&*status, &*reason), ("False", "VolumeLost"), "{name}: {message}");
        assert!(message.contains(cure), "{name}: {message}");
        assert_eq!(world.counts()["lost"], 1, "{name}");
    }
}

/// Kubernetes never gives it what it asks for, and says so only in an event.
#[test]
fn a_claim_that_waits_for_the_volume_of_another_claim_is_reported() {
    let mut world = World::new();
    world.policy("shop", json!({"volumes": {}}));
    world.claim("theirs", "ReadWriteMany");
    let mut waiting = created_again("pv-theirs", "Pending");
    waiting["metadata"]["annotations"] = json!({});
    world.put(claim("data"), waiting);
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "VolumeDoesNotFit");
    assert!(
        message.contains("claim data waits for volume pv-theirs, which belongs to claim theirs"),
        "{message}"
    );
}

/// The claim names one of several volumes, so nobody has to choose.
#[test]
fn p12_a_lost_claim_gets_the_volume_that_it_names_and_no_other() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.lose_claim("data");
    world.claim_on("data", "ReadWriteOnce", "pv-second", "Delete");
    world.act();
    world.lose_claim("data");
    world.act();
    world.put(claim("data"), created_again("pv-second", "Lost"));
    write_all(&mut world);
    assert_eq!(uid_on(&world, "pv-second"), "claim-again");
    assert!(uid_on(&world, "pv-data").is_string(), "no claim gets it");
    assert_ne!(uid_on(&world, "pv-data"), "claim-again");
}

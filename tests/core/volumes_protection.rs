//! Claims and volumes that are protected: what is written to them, what others write, and how
//! protection is given up.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        hold::enforced::Enforcement,
        judge::Release,
        notice::{Event, StorageObject},
    },
};
use serde_json::{Value, json};

use crate::world::{
    World,
    volumes::{claim, refused, shop, uses, volume},
};

#[test]
fn p12_a_claim_and_its_volume_are_retained_with_their_provenance() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1"}, {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "2"}]}}),
    );
    world.act();
    let volume = world.volume_raw("pv-data");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(volume["metadata"]["labels"]["lockkeeper.dev/retained"], "true");
    assert_eq!(
        volume["metadata"]["annotations"]["lockkeeper.dev/original-reclaim-policy"],
        "Delete"
    );
    let provenance: Value = serde_json::from_str(
        volume["metadata"]["annotations"]["lockkeeper.dev/provenance"].as_str().unwrap(),
    )
    .unwrap();
    assert_eq!(
        (&provenance["namespaceUid"], &provenance["workload"], &provenance["policy"]),
        (&json!("ns-1"), &json!("Deployment/web"), &json!("shop"))
    );
    let claim = world.claim_raw("data");
    assert_eq!(
        claim["metadata"]["labels"],
        json!({"lockkeeper.dev/retained": "true"}),
        "not protected"
    );
    assert_eq!(
        claim["metadata"]["ownerReferences"].as_array().unwrap().len(),
        1,
        "the Deployment no longer owns it"
    );
    assert_eq!(world.told_of(Event::VolumeProtected), ["PersistentVolumeClaim/data"]);
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "True", "{message}");
    assert_eq!(world.counts()["protected"], 1);
    assert!(world.decide().storage.is_empty(), "at rest nothing is written");
}

#[test]
fn p12_every_way_of_losing_the_governance_keeps_the_volume() {
    type Way = fn(&mut World);
    let ways: [(&str, Way); 4] = [
        ("the policy is deleted", |world| world.namespace.policies.clear()),
        ("the policy says None", |world| {
            world.policy("shop", json!({"volumes": {"protection": "None"}}))
        }),
        ("the policy has no volumes", |world| world.policy("shop", json!({"config": {}}))),
        ("the policy observes", |world| {
            world.policy("shop", json!({"volumes": {}, "mode": "Observe"}))
        }),
    ];
    for (name, way) in ways {
        let mut world = shop("ReadWriteOnce", json!({}));
        world.act();
        way(&mut world);
        world.act();
        world.later(3600);
        world.act();
        assert_eq!(
            world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"],
            "Retain",
            "{name}"
        );
        // Somebody's own word on the volume is put right as long as the claim has it.
        world.change(
            &StorageObject::Volume("pv-data".into()),
            json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}),
        );
        world.act();
        assert_eq!(
            world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"],
            "Retain",
            "{name}"
        );
        world.lose_claim("data");
        world.act();
        assert!(
            world.volume_raw("pv-data")["spec"]["claimRef"]["uid"].is_null(),
            "{name}: it waits for the next claim of that name"
        );
        world.claim_on("data", "ReadWriteOnce", "pv-data", "Delete");
        world.act();
        assert_eq!(world.told_of(Event::VolumeReadopted), ["PersistentVolumeClaim/data"], "{name}");
    }
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
        world.enforcement = Enforcement::new(&Release::new("lockkeeper-system", ""));
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

#[test]
fn a_stateful_set_has_consented_to_the_deletions_that_its_retention_policy_names_and_to_no_others()
{
    let rows = [
        (Value::Null, ("Delete", "Delete"), false, "the data of its claims is not kept"),
        (
            Value::Null,
            ("Retain", "Delete"),
            true,
            "the data of a pod that it scales away is not kept",
        ),
        (
            Value::Null,
            ("Delete", "Retain"),
            true,
            "but their volumes are kept until somebody deletes them",
        ),
        (json!("Retain"), ("Delete", "Delete"), true, ""),
    ];
    for (protection, (when_deleted, when_scaled), retained, said) in rows {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {"protection": protection}}));
        world.claim("data-db-0", "ReadWriteOnce");
        world.claim("data-db-7", "ReadWriteOnce");
        world.claim("data-db-x", "ReadWriteOnce");
        world.workload(WorkloadKind::StatefulSet, "db", 1, json!({"containers": []}));
        world.edit("db", |db| {
            db["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
            db["spec"]["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenDeleted": when_deleted, "whenScaled": when_scaled});
        });
        let (status, _, message) = world.volumes_safe();
        assert_eq!(status, "True", "{message}");
        assert_eq!(message.contains("StatefulSet/db"), !said.is_empty(), "{message}");
        assert!(message.contains(said), "{message}");
        assert_eq!(world.namespace.claims["data-db-0"].retained, retained);
        assert_eq!(world.namespace.claims["data-db-7"].retained, retained, "future ordinals too");
        assert!(!world.namespace.claims["data-db-x"].retained, "no ordinal");
        if retained {
            assert_eq!(
                (&world.counts()["protected"], &world.counts()["idle"]),
                (&json!(2), &json!(1)),
                "one is beyond the last ordinal"
            );
        }
    }
}

/// The controller makes the pod that it scales away the owner of its claim. Which ordinals go is
/// for it to say, also with `ordinals.start`.
#[test]
fn only_claims_that_when_scaled_delete_removes_are_let_go() {
    for (protection, expected) in [(Value::Null, "Delete"), (json!("Retain"), "Retain")] {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {"protection": protection}}));
        for claim in ["data-db-0", "data-db-5", "data-db-9"] {
            world.claim(claim, "ReadWriteOnce");
        }
        world.workload(WorkloadKind::StatefulSet, "db", 2, json!({"containers": []}));
        world.edit("db", |db| {
            db["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
            db["spec"]["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenDeleted": "Retain", "whenScaled": "Delete"});
        });
        world.act();
        let policies = |world: &World| {
            ["data-db-0", "data-db-5", "data-db-9"]
                .map(|claim| world.volume_raw(&format!("pv-{claim}"))["spec"]["persistentVolumeReclaimPolicy"].clone())
        };
        assert_eq!(
            policies(&world),
            ["Retain", "Retain", "Retain"],
            "beyond the last ordinal too: nothing deletes that one"
        );
        // The ordinals move: the pod of the first one goes, with its claim.
        world.edit("db", |db| db["spec"]["ordinals"] = json!({"start": 5}));
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "db-0", "uid": "pod-db-0"}]);
        world.change(
            &StorageObject::Claim("data-db-0".into()),
            json!({"metadata": {"ownerReferences": owner}}),
        );
        for _ in 0..5 {
            let decision = world.decide();
            for (patch, _) in &decision.storage {
                assert_eq!(refused(&world, patch), None, "{patch:?}");
            }
            decision.storage.iter().for_each(|(patch, _)| world.store(patch));
        }
        assert_eq!(policies(&world), [expected, "Retain", "Retain"]);
        assert_eq!(world.namespace.claims["data-db-0"].retained, expected == "Retain");
        // It is scaled up again before that: the controller takes the owner away.
        world.change(
            &StorageObject::Claim("data-db-0".into()),
            json!({"metadata": {"ownerReferences": null}}),
        );
        world.act();
        assert_eq!(policies(&world), ["Retain", "Retain", "Retain"]);
    }
}

#[test]
fn protection_is_given_up_by_an_act_of_its_own_and_only_of_a_bound_volume() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"annotations": {"lockkeeper.dev/unprotect": "another"}}}),
    );
    world.act();
    assert_eq!(
        world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"],
        "Retain",
        "that is not its volume"
    );
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {"annotations": {"lockkeeper.dev/unprotect": "pv-data"}}}),
    );
    world.act();
    let volume = world.volume_raw("pv-data");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(
        (&volume["metadata"]["labels"], &volume["metadata"]["annotations"]),
        (&json!({}), &json!({}))
    );
    let claim = world.claim_raw("data");
    assert_eq!(
        (&claim["metadata"]["labels"], &claim["metadata"]["annotations"]),
        (&json!({}), &json!({"lockkeeper.dev/unprotect": "pv-data"}))
    );
    assert_eq!(world.told_of(Event::VolumeUnprotected), ["PersistentVolumeClaim/data"]);
    assert!(world.decide().storage.is_empty());
}

#[test]
fn deny_needs_the_platforms_consent_and_permits_expire() {
    let mut world = shop("ReadWriteOnce", json!({"protection": "Deny"}));
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "DenyNotAllowed");
    assert!(message.contains("lockkeeper.dev/allow-deny"), "{message}");
    assert_eq!(
        world.volume_raw("pv-data")["spec"]["persistentVolumeReclaimPolicy"],
        "Retain",
        "it does what Retain does"
    );
    assert!(!world.namespace.claims["data"].protected);
}

#[test]
fn under_deny_claims_without_a_permit_are_named_on_their_namespace_until_it_is_permitted() {
    let mut world = shop("ReadWriteOnce", json!({"protection": "Deny"}));
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"labels": {"lockkeeper.dev/allow-deny": "true"}}}),
    );
    world.act();
    assert!(world.namespace.claims["data"].protected);
    let namespace = |world: &World| world.storage.namespaces["shop"].clone();
    world.act();
    assert!(namespace(&world).protected);
    assert_eq!(namespace(&world).marks.protected_claims.as_deref(), Some("data"));
    let until = world.now + std::time::Duration::from_secs(60);
    let permit = json!({"metadata": {"annotations": {"lockkeeper.dev/allow-deletion-until": until.to_string()}}});
    world.change(&StorageObject::Claim("data".into()), permit);
    world.act();
    assert!(namespace(&world).marks.protected_claims.is_none(), "permitted");
    world.later(61);
    world.act();
    assert!(!world.namespace.claims["data"].marks.allow_deletion_until.stands(), "it has expired");
    assert_eq!(namespace(&world).marks.protected_claims.as_deref(), Some("data"));
    // The platform withdraws its consent.
    world.change(
        &StorageObject::Namespace("shop".into()),
        json!({"metadata": {"labels": {"lockkeeper.dev/allow-deny": null}}}),
    );
    world.act();
    assert!(!world.namespace.claims["data"].protected && !namespace(&world).protected);
}

#[test]
fn what_another_manager_declares_is_left_and_reported() {
    let mut world = shop("ReadWriteOnce", json!({}));
    let fields =
        json!({"f:metadata": {"f:annotations": {"f:argocd.argoproj.io/sync-options": {}}}});
    world.change(
        &StorageObject::Claim("data".into()),
        json!({"metadata": {
            "annotations": {"argocd.argoproj.io/sync-options": "Prune=false"},
            "managedFields": [{"manager": "helm", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields}]}}),
    );
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "ShieldIncomplete");
    assert!(
        message.contains("helm declares argocd.argoproj.io/sync-options: Prune=false")
            && message.contains("Delete=false"),
        "{message}"
    );
    assert_eq!(
        world.claim_raw("data")["metadata"]["annotations"]["argocd.argoproj.io/sync-options"],
        "Prune=false"
    );
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

/// An app's operator sets owner references each time it reconciles: two writes a round, without
/// end, help nobody.
#[test]
fn what_another_manager_restores_again_and_again_is_left_and_reported() {
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

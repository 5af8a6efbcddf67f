//! What volumes do to workloads that nobody governs: the danger from which policies protect.

use serde_json::{Value, json};

use crate::{
    support::{Shop, eventually, operator},
    volumes_support::overlaps,
};

/// The promised strategy: the old pod ends before the new one comes.
async fn recreate(shop: &Shop, name: &str) {
    shop.patch(
        "Deployment",
        name,
        json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
    )
    .await;
    shop.done("Deployment", name).await;
}

#[tokio::test]
async fn a_volume_that_is_on_another_node_stops_a_rollout_indefinitely() {
    let _operator = operator();
    let shop = Shop::open("danger-node").await;
    let old = shop.keeper("web", "folders", "ReadWriteOnce").await;
    let volume = shop.volume_of("web-data").await;
    shop.write_line(&old, "precious").await;

    let node = shop.force_to_another_node("Deployment", "web", &old).await;
    let new = shop.other_pod("web", &old).await;
    let note = shop.event(&new, "FailedAttachVolume").await;
    let what =
        if shop.kubernetes().await < 37 { "Multi-Attach error" } else { "Waiting for detach" };
    assert_eq!(
        note,
        format!("{what} for volume {volume:?} Volume is already used by pod(s) {old}")
    );
    shop.is_stuck("web").await;
    shop.is_creating(&new).await;
    assert_eq!(shop.get("Pod", &new).await["spec"]["nodeName"], *node);
    let told = shop
        .events(&new)
        .await
        .into_iter()
        .filter(|(reason, _)| reason == "FailedAttachVolume")
        .count();
    assert_eq!(told, 1, "it is said once");
    assert_eq!(shop.read_data(&old).await.last().unwrap(), "precious", "the old pod goes on");

    // It goes on once the old pod is gone; here, because somebody understood.
    recreate(&shop, "web").await;
    let new = shop.only_pod("web").await;
    shop.reads_line(&new, "precious").await;
    assert_eq!(overlaps(&shop.journal(&volume)), []);
}

#[tokio::test]
async fn a_volume_for_one_pod_stops_every_rollout_indefinitely() {
    let _operator = operator();
    let shop = Shop::open("danger-pod").await;
    let old = shop.keeper("web", "folders", "ReadWriteOncePod").await;
    let volume = shop.volume_of("web-data").await;
    shop.write_line(&old, "precious").await;

    shop.set_image("web", "v2").await;
    let new = shop.other_pod("web", &old).await;
    let why = shop.is_unschedulable(&new).await;
    assert!(why.contains("ReadWriteOncePod"), "{why}");
    shop.is_stuck("web").await;
    assert_eq!(shop.read_data(&old).await.last().unwrap(), "precious", "the old pod goes on");

    // The node refuses too, where the scheduler was not asked.
    let here = shop.get("Pod", &old).await["spec"]["nodeName"].clone();
    let claim = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "web-data"}}]);
    let pod = json!({"nodeName": here, "terminationGracePeriodSeconds": 0, "volumes": claim, "containers": [{"name": "app", "image": "other:v1"}]});
    shop.create(json!({"kind": "Pod", "metadata": {"name": "placed"}, "spec": pod})).await;
    let note = shop.event("placed", "FailedMount").await;
    assert!(
        note.ends_with(
            "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
        ),
        "{note}"
    );
    shop.is_creating("placed").await;
    shop.delete("Pod", "placed").await;

    recreate(&shop, "web").await;
    let new = shop.only_pod("web").await;
    shop.reads_line(&new, "precious").await;
    assert_eq!(overlaps(&shop.journal(&volume)), []);
}

#[tokio::test]
async fn a_volume_that_nobody_attaches_is_written_by_two_pods_at_once() {
    let _operator = operator();
    let shop = Shop::open("danger-twice").await;
    let old = shop.keeper("web", "folders-unattached", "ReadWriteOnce").await;
    let volume = shop.volume_of("web-data").await;
    shop.write_line(&old, "precious").await;

    shop.force_to_another_node("Deployment", "web", &old).await;
    let new = shop.other_pod("web", &old).await;
    shop.done("Deployment", "web").await;
    assert_eq!(shop.only_pod("web").await, new);
    assert_eq!(overlaps(&shop.journal(&volume)), [(old, new.clone())]);
    assert!(
        shop.events(&new).await.iter().all(|(_, note)| !note.contains(&volume)),
        "and nobody says so"
    );
}

#[tokio::test]
async fn a_volume_of_one_node_keeps_its_pods_there() {
    let _operator = operator();
    let shop = Shop::open("danger-local").await;
    let old = shop.keeper("web", "folders-local", "ReadWriteOnce").await;
    let volume = shop.volume_of("web-data").await;
    // On its node, two pods have it at once.
    shop.set_image("web", "v2").await;
    let new = shop.other_pod("web", &old).await;
    shop.done("Deployment", "web").await;
    assert_eq!(overlaps(&shop.journal(&volume)), [(old, new.clone())]);

    shop.force_to_another_node("Deployment", "web", &new).await;
    let why = shop.is_unschedulable(&shop.other_pod("web", &new).await).await;
    assert!(why.contains("node(s) didn't match PersistentVolume's node affinity"), "{why}");
}

#[tokio::test]
async fn a_volume_goes_with_its_claim_its_statefulset_and_its_namespace_unless_it_is_retained() {
    let _operator = operator();
    let shop = Shop::open("danger-deleted").await;

    // A claim that is deleted stays as long as pods use it.
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    let volume = shop.volume_of("web-data").await;
    shop.write_line(&pod, "precious").await;
    shop.kubectl(&["delete", "pvc", "web-data", "--wait=false"]);
    let going = |claim: &Value| claim["metadata"]["deletionTimestamp"].is_string();
    eventually("the claim is going", || shop.get("PersistentVolumeClaim", "web-data"), going).await;
    assert_eq!(shop.read_data(&pod).await.last().unwrap(), "precious");
    shop.volume_is(&volume, "Bound").await;
    shop.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    shop.claim_is_gone("web-data").await;
    shop.volume_is_gone(&volume).await;

    let mut manifest = shop.stateful_manifest("db", 2);
    manifest["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenDeleted": "Delete"});
    shop.apply(&manifest);
    shop.done("StatefulSet", "db").await;
    let volumes = [shop.volume_of("data-db-0").await, shop.volume_of("data-db-1").await];
    shop.write_line("db-1", "precious").await;
    assert_eq!(shop.lines_on(&volumes[1]).unwrap(), ["started as db-1", "precious"]);
    shop.kubectl(&["delete", "statefulset", "db"]);
    for volume in &volumes {
        shop.volume_is_gone(volume).await;
    }

    // Without that policy the claims stay, and a StatefulSet of the same name finds its lines.
    shop.stateful("queue", 1).await;
    shop.write_line("queue-0", "precious").await;
    shop.delete("StatefulSet", "queue").await;
    shop.stateful("queue", 1).await;
    shop.reads_line("queue-0", "precious").await;

    let pod = shop.keeper("archive", "folders-immediate", "ReadWriteOnce").await;
    shop.write_line(&pod, "precious").await;
    let (lost, kept) = (shop.volume_of("data-queue-0").await, shop.volume_of("archive-data").await);
    shop.patch_volume(&kept, json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}})).await;
    shop.delete_namespace().await;
    shop.volume_is_gone(&lost).await;
    shop.volume_is(&kept, "Released").await;

    // A volume that is given back to its claim by name, without the uid of the one that is gone, is
    // found again.
    let nobody = json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}});
    shop.patch_volume(&kept, nobody).await;
    shop.volume_is(&kept, "Available").await;
    shop.open_again();
    let pod = shop.keeper("archive", "folders-immediate", "ReadWriteOnce").await;
    assert_eq!(shop.volume_of("archive-data").await, kept);
    shop.reads_line(&pod, "precious").await;
}

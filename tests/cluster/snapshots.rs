//! A snapshot of each volume is ready before a change is released. The API is that of
//! external-snapshotter; its controller and the CSI driver are played here.

use std::{path::Path, process::Command, sync::OnceLock};

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use model::admission::OPERATOR;
use serde_json::{Value, json};

use crate::{
    conformance::client_of,
    support::{Shop, eventually, kubectl, mark, operator, plugin::plugin, plugin::says, resource},
};

const DRIVER: &str = "folders.lockkeeper.dev";
const MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";

/// The cluster serves snapshots from now on, and has a class for the driver of its volumes. They come
/// from the Go module.
fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let module = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/local-cluster/snapshots");
        let download = ["mod", "download", "-json", MODULE];
        let output = Command::new("go").current_dir(module).args(download).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let folder = Path::new(told["Dir"].as_str().unwrap()).join("config/crd");
        for kind in ["classes", "contents", "s"] {
            let file = folder.join(format!("snapshot.storage.k8s.io_volumesnapshot{kind}.yaml"));
            kubectl(&["apply", "-f", file.to_str().unwrap()]);
        }
        kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
        let class = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "driver": DRIVER, "deletionPolicy": "Delete",
            "metadata": {"name": "folders", "annotations": {"snapshot.storage.kubernetes.io/is-default-class": "true"}}});
        crate::support::kubectl_with(&["apply", "-f", "-"], &class.to_string());
    });
}

impl Shop {
    async fn snapshots(&self) -> Vec<Value> {
        let listed = self.kubectl(&["get", "volumesnapshots", "-o", "json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed["items"].as_array().unwrap().clone()
    }

    async fn only_snapshot(&self) -> Value {
        let all = eventually("a snapshot", || self.snapshots(), |all| !all.is_empty()).await;
        assert_eq!(all.len(), 1, "{all:#?}");
        all[0].clone()
    }

    /// What the snapshot controller makes of a snapshot: a content, bound to it.
    async fn bind(&self, snapshot: &Value) -> String {
        let (meta, class) = (&snapshot["metadata"], &snapshot["spec"]["volumeSnapshotClassName"]);
        let name = format!("snapcontent-{}", meta["uid"].as_str().unwrap());
        let content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": name}, "spec": {
            "deletionPolicy": "Delete", "driver": DRIVER, "source": {"volumeHandle": "handle"}, "volumeSnapshotClassName": class,
            "volumeSnapshotRef": {"kind": "VolumeSnapshot", "namespace": self.name, "name": meta["name"], "uid": meta["uid"]}}});
        let content: DynamicObject = serde_json::from_value(content).unwrap();
        let contents = self.cluster_api("VolumeSnapshotContent");
        contents.create(&PostParams::default(), &content).await.unwrap();
        self.says_of(
            snapshot,
            json!({"boundVolumeSnapshotContentName": name, "readyToUse": false}),
        )
        .await;
        name
    }

    async fn says_of(&self, snapshot: &Value, status: Value) {
        let name = snapshot["metadata"]["name"].as_str().unwrap();
        let patch = Patch::Merge(json!({"status": status}));
        let snapshots = self.api("VolumeSnapshot");
        snapshots.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn content(&self, name: &str) -> Value {
        let content = self.cluster_api("VolumeSnapshotContent").get(name).await.unwrap();
        serde_json::to_value(content).unwrap()
    }
}

#[tokio::test]
async fn p26_a_change_waits_for_a_snapshot_of_its_volume_which_nobody_deletes() {
    let _operator = operator();
    install();
    let shop = Shop::open("snapshots").await;
    let gates = json!({"snapshot": {"timeout": "10m"}});
    // Two pods of different nodes cannot share the claim: the old one ends first.
    let config = json!({"settle": "300ms"});
    shop.policy(json!({"kinds": ["Deployment"], "config": config, "gates": gates, "volumes": {}}))
        .await;
    shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.marked("Deployment", "web").await;
    let claim = shop.get("PersistentVolumeClaim", "web-data").await["metadata"]["uid"].clone();

    // What the plugin says before there is a change.
    let mut next = shop.keeper_manifest("web", "web-data");
    next["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!("lockkeeper.dev/sample-app:v2");
    let file = std::env::temp_dir().join(format!("{}.json", shop.name));
    std::fs::write(&file, next.to_string()).unwrap();
    let plan = plugin(&shop, &["plan", "-f", file.to_str().unwrap()]);
    assert!(plan.text.contains("a snapshot of each of its claims"), "{}", plan.text);

    shop.apply(&next);
    let id = shop.is_held("Deployment", "web").await;
    let snapshot = shop.only_snapshot().await;
    let name = snapshot["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("pre-{id}-web-data-")), "{name}");
    let labels = &snapshot["metadata"]["labels"];
    assert_eq!(labels["lockkeeper.dev/claim-uid"], claim);
    assert_eq!(snapshot["spec"]["source"]["persistentVolumeClaimName"], "web-data");
    shop.waits_saying("Deployment", "web", "TakingSnapshots", &[&name]).await;
    says(&plugin(&shop, &["why", "deployment/web"]), true, &[&name, "claim web-data"]);

    // The driver's error is told, and the gate stays closed.
    let content = shop.bind(&snapshot).await;
    let error = json!({"error": {"message": "the disk is busy"}});
    shop.says_of(&snapshot, error).await;
    shop.waits_saying("Deployment", "web", "SnapshotFailed", &["the disk is busy"]).await;
    let retained = |content: &Value| content["spec"]["deletionPolicy"] == "Retain";
    eventually("the content outlives it", || shop.content(&content), retained).await;
    assert_eq!(shop.only_snapshot().await["metadata"]["uid"], snapshot["metadata"]["uid"]);
    assert!(mark(&shop.get("Deployment", "web").await, "hold").is_some());

    shop.says_of(&snapshot, json!({"readyToUse": true, "error": null})).await;
    shop.all_run("Deployment", "web", "lockkeeper.dev/sample-app:v2", 1).await;

    // The operator's account takes no other snapshots, and changes nothing else of a content.
    let account = "--as=system:serviceaccount:lockkeeper-system:lockkeeper";
    let mut other = snapshot.clone();
    other["metadata"] = json!({"name": "other", "namespace": shop.name});
    let said = shop.run("kubectl", &["create", "-f", "-", account], Some(&other));
    assert!(!said.success && said.text.contains("Lockkeeper restrains itself"), "{}", said.text);
    let operator = client_of(OPERATOR).await;
    let contents: Api<DynamicObject> = Api::all_with(operator, &resource("VolumeSnapshotContent"));
    for spec in [json!({"deletionPolicy": "Delete"}), json!({"driver": "other"})] {
        let patch = Patch::Merge(json!({"spec": spec}));
        let refused = contents.patch(&content, &PatchParams::default(), &patch).await.unwrap_err();
        assert!(refused.to_string().contains("Lockkeeper restrains itself"), "{refused}");
    }
}

#[tokio::test]
async fn p26_a_claim_is_created_again_from_a_snapshot_and_its_earlier_volume_is_kept() {
    let _operator = operator();
    install();
    let shop = Shop::open("restores").await;
    shop.policy(json!({"kinds": ["Deployment"], "volumes": {}})).await;
    shop.keeper("web", "folders", "ReadWriteOnce").await;
    let volume = shop.get("PersistentVolumeClaim", "web-data").await["spec"]["volumeName"].clone();
    let volume = volume.as_str().unwrap().to_owned();
    let retained = |volume: &Option<Value>| {
        volume.as_ref().unwrap()["metadata"]["labels"]["lockkeeper.dev/retained"] == "true"
    };
    eventually("the volume is protected", || shop.volume(&volume), retained).await;
    let snapshot = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": "before"},
        "spec": {"source": {"persistentVolumeClaimName": "web-data"}}});
    shop.apply(&snapshot);
    let restore = ["volumes", "restore", "web-data", "--from", "before", "--yes"];
    says(&plugin(&shop, &restore), false, &["not ready to use"]);
    let snapshot = shop.only_snapshot().await;
    shop.says_of(&snapshot, json!({"readyToUse": true})).await;
    says(&plugin(&shop, &restore), false, &["uses claim web-data", "--stop"]);
    let claim = shop.get("PersistentVolumeClaim", "web-data").await;
    assert_eq!(claim["spec"]["volumeName"], *volume);

    shop.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    shop.kubectl(&["wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s"]);
    let done = ["was created from VolumeSnapshot before", &volume];
    says(&plugin(&shop, &restore), true, &done);
    let made = shop.get("PersistentVolumeClaim", "web-data").await;
    assert_eq!(made["spec"]["dataSource"]["name"], "before");
    assert_ne!(made["metadata"]["uid"], claim["metadata"]["uid"]);
    says(&plugin(&shop, &restore), true, &["--again"]);

    // The workload runs on another volume. The earlier one stays, and endangers nothing.
    shop.kubectl(&["scale", "deployment/web", "--replicas=1"]);
    shop.all_run("Deployment", "web", "lockkeeper.dev/sample-app:v1", 1).await;
    let made = shop.get("PersistentVolumeClaim", "web-data").await;
    assert_ne!(made["spec"]["volumeName"], *volume);
    let earlier = shop.volume(&volume).await.unwrap();
    assert_eq!(earlier["status"]["phase"], "Released");
    assert_eq!(earlier["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    let safe = |policy: &Value| {
        let mut all = policy["status"]["conditions"].as_array().into_iter().flatten();
        all.any(|one| one["type"] == "VolumesSafe" && one["status"] == "True")
    };
    eventually("its volumes are safe", || shop.get("UpgradePolicy", "shop"), safe).await;

    // A run that was interrupted after it had deleted the claim.
    shop.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    shop.kubectl(&["wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s"]);
    shop.kubectl(&["delete", "pvc", "web-data"]);
    says(&plugin(&shop, &restore), true, &["was created from VolumeSnapshot before"]);
}

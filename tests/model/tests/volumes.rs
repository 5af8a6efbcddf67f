//! The models of volumes and nodes do what the real ones do.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use model::{
    controllers::{self, settle, step},
    server::{Account, Failure, NAMESPACE, Server},
};
use serde_json::{Value, json};

const USER: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };
const CLAIM: &str = "PersistentVolumeClaim";
const VOLUME: &str = "PersistentVolume";

/// Two nodes, a class of disks that are attached, one of disks that are not, and one of disks that
/// stay on their node.
fn new() -> Server {
    let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
    server.create(USER, "Namespace", json!({"metadata": {"name": NAMESPACE}})).unwrap();
    for node in ["node-a", "node-b"] {
        server.create(USER, "Node", json!({"metadata": {"name": node}})).unwrap();
    }
    for (class, attaches, mode) in [
        ("disk", true, "Immediate"),
        ("share", false, "Immediate"),
        ("local", false, "WaitForFirstConsumer"),
    ] {
        server
            .create(
                USER,
                "CSIDriver",
                json!({"metadata": {"name": class}, "spec": {"attachRequired": attaches}}),
            )
            .unwrap();
        let of_class = json!({"metadata": {"name": class}, "provisioner": class, "reclaimPolicy": "Delete", "volumeBindingMode": mode});
        server.create(USER, "StorageClass", of_class).unwrap();
    }
    server
}

fn claim_of(class: &str, mode: &str) -> Value {
    json!({"accessModes": [mode], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}})
}

fn claim(server: &mut Server, name: &str, class: &str, mode: &str) {
    server
        .create(USER, CLAIM, json!({"metadata": {"name": name}, "spec": claim_of(class, mode)}))
        .unwrap();
}

fn deployment(server: &mut Server, strategy: &Value) {
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "v1"}], "volumes": volumes}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template, "strategy": strategy});
    server.create(USER, "Deployment", json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
    settle(server);
}

fn edit(server: &mut Server, kind: &str, name: &str, patch: &Value) {
    server.update(USER, kind, name, |object| json_patch::merge(object, patch)).unwrap();
    settle(server);
}

fn image(server: &mut Server, tag: &str) {
    let containers = json!([{"name": "app", "image": tag}]);
    edit(
        server,
        "Deployment",
        "web",
        &json!({"spec": {"template": {"spec": {"containers": containers}}}}),
    );
}

fn cordon(server: &mut Server, node: &str, is: bool) {
    edit(server, "Node", node, &json!({"spec": {"unschedulable": is}}));
}

/// Of each pod the image, the node and the phase.
fn pods(server: &Server) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let of = |pod: &Value| {
        let image = text(&pod["spec"]["containers"][0]["image"]);
        format!("{image} {} {}", text(&pod["spec"]["nodeName"]), text(&pod["status"]["phase"]))
    };
    let mut pods: Vec<_> = server.list("Pod").iter().map(|pod| of(pod)).collect();
    pods.sort();
    pods
}

fn phase(server: &Server, kind: &str, name: &str) -> String {
    server.get(kind, name).unwrap()["status"]["phase"].as_str().unwrap().to_owned()
}

fn volume_of(server: &Server, claim: &str) -> String {
    server.get(CLAIM, claim).unwrap()["spec"]["volumeName"].as_str().unwrap().to_owned()
}

fn retain(server: &mut Server, volume: &str) {
    edit(server, VOLUME, volume, &json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}}));
}

#[test]
fn a_claim_gets_a_new_volume_which_goes_with_it_and_its_data_too() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    settle(&mut server);
    let volume = volume_of(&server, "data");
    assert_eq!(
        (phase(&server, CLAIM, "data").as_str(), phase(&server, VOLUME, &volume).as_str()),
        ("Bound", "Bound")
    );
    let reference = server.get(VOLUME, &volume).unwrap()["spec"]["claimRef"].clone();
    assert_eq!(reference["uid"], server.get(CLAIM, "data").unwrap()["metadata"]["uid"]);
    assert_eq!(server.list("Disk").len(), 1);
    server.delete(CLAIM, "data");
    let mut phases = Vec::new();
    while step(&mut server) {
        phases.extend(
            server
                .get(VOLUME, &volume)
                .map(|volume| volume["status"]["phase"].as_str().unwrap().to_owned()),
        );
    }
    assert!(phases.contains(&"Released".to_owned()), "{phases:?}");
    assert!(
        server.list("Disk").is_empty()
            && server.list(VOLUME).is_empty()
            && server.list(CLAIM).is_empty()
    );
}

#[test]
fn a_retained_volume_keeps_its_data_and_goes_only_to_the_claim_that_is_named_without_a_uid() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    settle(&mut server);
    let volume = volume_of(&server, "data");
    retain(&mut server, &volume);
    server.delete(CLAIM, "data");
    settle(&mut server);
    assert_eq!(phase(&server, VOLUME, &volume), "Released");
    // A new claim of that name is another claim: it gets another volume.
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    settle(&mut server);
    let younger = volume_of(&server, "data");
    assert_ne!(younger, volume);
    server.delete(CLAIM, "data");
    settle(&mut server);
    assert!(server.get(VOLUME, &younger).is_none() && server.get("Disk", &younger).is_none());
    // Without a uid the volume waits for the next claim of the name, and goes to no other.
    edit(
        &mut server,
        VOLUME,
        &volume,
        &json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}),
    );
    assert_eq!(phase(&server, VOLUME, &volume), "Available");
    claim(&mut server, "other", "disk", "ReadWriteOnce");
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    settle(&mut server);
    assert_eq!(volume_of(&server, "data"), volume);
    assert_ne!(volume_of(&server, "other"), volume);
}

#[test]
fn a_volume_that_is_too_small_or_of_other_modes_is_not_bound() {
    for (mode, storage) in [("ReadWriteMany", "1Gi"), ("ReadWriteOnce", "2Gi")] {
        let mut server = new();
        claim(&mut server, "data", "disk", "ReadWriteOnce");
        settle(&mut server);
        let volume = volume_of(&server, "data");
        retain(&mut server, &volume);
        server.delete(CLAIM, "data");
        settle(&mut server);
        edit(&mut server, VOLUME, &volume, &json!({"spec": {"claimRef": {"uid": null}}}));
        let mut spec = claim_of("disk", mode);
        spec["resources"]["requests"]["storage"] = json!(storage);
        server.create(USER, CLAIM, json!({"metadata": {"name": "data"}, "spec": spec})).unwrap();
        settle(&mut server);
        assert_ne!(volume_of(&server, "data"), volume, "{mode} {storage}");
    }
}

#[test]
fn a_claim_whose_volume_is_gone_or_another_ones_is_lost() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    settle(&mut server);
    let volume = volume_of(&server, "data");
    // It is protected as long as it is bound.
    server.delete(VOLUME, &volume);
    settle(&mut server);
    assert_eq!(phase(&server, CLAIM, "data"), "Bound");
    edit(
        &mut server,
        VOLUME,
        &volume,
        &json!({"spec": {"persistentVolumeReclaimPolicy": "Retain", "claimRef": {"uid": "another"}}}),
    );
    assert_eq!(phase(&server, CLAIM, "data"), "Lost");
    assert!(server.get(VOLUME, &volume).is_none());
    assert!(server.get("Disk", &volume).is_some(), "what is kept is kept");
}

#[test]
fn a_bound_claim_whose_volume_names_no_uid_any_more_is_lost() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    settle(&mut server);
    let volume = volume_of(&server, "data");
    edit(&mut server, VOLUME, &volume, &json!({"spec": {"claimRef": {"uid": null}}}));
    assert_eq!(phase(&server, CLAIM, "data"), "Lost");
    assert_eq!(server.list("Disk").len(), 1);
}

#[test]
fn a_uid_that_does_not_match_means_that_the_claim_is_gone_and_the_data_goes() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    settle(&mut server);
    let volume = volume_of(&server, "data");
    edit(&mut server, VOLUME, &volume, &json!({"spec": {"claimRef": {"uid": "another"}}}));
    assert!(server.list("Disk").is_empty());
    assert_eq!(phase(&server, CLAIM, "data"), "Lost");
}

#[test]
fn a_claim_in_use_goes_only_with_its_pods_and_no_new_pod_gets_it() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    deployment(&mut server, &json!({"type": "Recreate"}));
    server.delete(CLAIM, "data");
    settle(&mut server);
    assert_eq!(
        (pods(&server), server.list(CLAIM).len()),
        (vec!["v1 node-a Running".to_owned()], 1)
    );
    image(&mut server, "v2");
    assert_eq!((pods(&server), server.list(CLAIM).len()), (vec!["v2 none Pending".to_owned()], 0));
    assert!(server.list("Disk").is_empty());
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    settle(&mut server);
    assert_eq!(pods(&server), ["v2 node-a Running"]);
}

#[test]
fn a_disk_is_on_one_node_at_a_time_so_a_rolling_update_to_another_deadlocks() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    deployment(&mut server, &json!({}));
    assert_eq!(pods(&server), ["v1 node-a Running"]);
    image(&mut server, "v2");
    assert_eq!(pods(&server), ["v1 node-a Running", "v2 node-b Pending"]);
    let event = server.list("Event").remove(0);
    assert_eq!(event["reason"], "FailedAttachVolume");
    assert!(
        event["message"].as_str().unwrap().starts_with("Waiting for detach for volume \"pvc-"),
        "{event}"
    );
    // The way out: the old pod goes first.
    edit(
        &mut server,
        "Deployment",
        "web",
        &json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
    );
    assert_eq!(pods(&server), ["v2 node-b Running"]);
    assert_eq!(server.list("VolumeAttachment").len(), 1);
}

#[test]
fn on_the_same_node_or_without_attachment_nothing_keeps_two_pods_from_one_disk() {
    for (class, cordoned) in [("disk", true), ("share", false)] {
        let mut server = new();
        claim(&mut server, "data", class, "ReadWriteOnce");
        deployment(&mut server, &json!({}));
        cordon(&mut server, "node-b", cordoned);
        let unready = json!({"metadata": {"annotations": {"lockkeeper.dev/test-ready": "never"}}});
        edit(&mut server, "Deployment", "web", &json!({"spec": {"template": unready}}));
        image(&mut server, "v2");
        let pods = pods(&server);
        assert_eq!(pods.len(), 2, "{class}: {pods:?}");
        assert!(pods.iter().all(|pod| pod.ends_with("Running")), "{class}: {pods:?}");
        assert!(server.list("Disk")[0]["written"].as_array().unwrap().len() >= 2);
    }
}

#[test]
fn read_write_once_pod_is_for_one_pod_also_on_its_node() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOncePod");
    deployment(&mut server, &json!({}));
    cordon(&mut server, "node-b", true);
    image(&mut server, "v2");
    assert_eq!(pods(&server), ["v1 node-a Running", "v2 none Pending"]);
    let waiting =
        server.list("Pod").into_iter().find(|pod| pod["status"]["phase"] == "Pending").unwrap();
    assert_eq!(waiting["status"]["conditions"][0]["reason"], "Unschedulable");
}

#[test]
fn a_local_disk_is_made_where_its_pod_is_and_holds_it_there() {
    let mut server = new();
    claim(&mut server, "data", "local", "ReadWriteOnce");
    settle(&mut server);
    assert_eq!(phase(&server, CLAIM, "data"), "Pending", "nobody uses it yet");
    deployment(&mut server, &json!({}));
    image(&mut server, "v2");
    assert_eq!(pods(&server), ["v2 node-a Running"]);
    cordon(&mut server, "node-a", true);
    image(&mut server, "v3");
    assert_eq!(pods(&server), ["v2 node-a Running", "v3 none Pending"]);
}

fn stateful_set(server: &mut Server, policy: &Value) {
    let template = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
    let claims = json!([{"metadata": {"name": "data"}, "spec": claim_of("disk", "ReadWriteOnce")}]);
    let spec = json!({
        "replicas": 2, "selector": {"matchLabels": {"app": "db"}}, "template": template, "volumeClaimTemplates": claims,
        "persistentVolumeClaimRetentionPolicy": policy,
    });
    server.create(USER, "StatefulSet", json!({"metadata": {"name": "db"}, "spec": spec})).unwrap();
    settle(server);
}

#[test]
fn a_stateful_set_makes_its_claims_and_finds_them_again() {
    let mut server = new();
    stateful_set(&mut server, &json!({}));
    let volumes = ["data-db-0", "data-db-1"].map(|claim| volume_of(&server, claim));
    edit(&mut server, "StatefulSet", "db", &json!({"spec": {"replicas": 0}}));
    edit(&mut server, "StatefulSet", "db", &json!({"spec": {"replicas": 2}}));
    server.delete("StatefulSet", "db");
    settle(&mut server);
    assert!(server.list("Pod").is_empty());
    stateful_set(&mut server, &json!({}));
    assert_eq!(["data-db-0", "data-db-1"].map(|claim| volume_of(&server, claim)), volumes);
    assert_eq!(
        server.get("Disk", &volumes[1]).unwrap()["written"],
        json!(["db-1", "db-1", "db-1"])
    );
}

#[test]
fn a_pod_of_a_stateful_set_that_waits_gets_another_claim() {
    let mut server = new();
    ["node-a", "node-b"].into_iter().for_each(|node| cordon(&mut server, node, true));
    stateful_set(&mut server, &json!({}));
    assert_eq!(pods(&server), ["v1 none Pending"]);
    let before = server.get(CLAIM, "data-db-0").unwrap()["metadata"]["uid"].clone();
    server.delete(CLAIM, "data-db-0");
    settle(&mut server);
    assert_ne!(server.get(CLAIM, "data-db-0").unwrap()["metadata"]["uid"], before);
    cordon(&mut server, "node-a", false);
    assert_eq!(pods(&server), ["v1 node-a Running", "v1 node-a Running"]);
}

#[test]
fn a_retention_policy_of_a_stateful_set_deletes_claims_by_their_owners() {
    let mut server = new();
    stateful_set(&mut server, &json!({"whenDeleted": "Delete", "whenScaled": "Delete"}));
    let owner = |server: &Server, claim: &str| {
        server.get(CLAIM, claim).unwrap()["metadata"]["ownerReferences"][0]["kind"].clone()
    };
    assert_eq!(owner(&server, "data-db-0"), "StatefulSet");
    edit(&mut server, "StatefulSet", "db", &json!({"spec": {"replicas": 1}}));
    assert_eq!(server.list(CLAIM).len(), 1);
    server.delete("StatefulSet", "db");
    settle(&mut server);
    assert!(server.list(CLAIM).is_empty() && server.list("Disk").is_empty());
}

#[test]
fn what_a_claim_is_owned_by_takes_it_along_unless_somebody_else_owns_it_too() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    deployment(&mut server, &json!({}));
    let uid = server.get("Deployment", "web").unwrap()["metadata"]["uid"].clone();
    let of_deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid});
    let of_config = server.create(USER, "ConfigMap", json!({"metadata": {"name": "app"}})).unwrap();
    let of_config = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "app", "uid": of_config["metadata"]["uid"]});
    edit(
        &mut server,
        CLAIM,
        "data",
        &json!({"metadata": {"ownerReferences": [of_deployment, of_config]}}),
    );
    server.delete("Deployment", "web");
    settle(&mut server);
    assert_eq!(
        server.get(CLAIM, "data").unwrap()["metadata"]["ownerReferences"],
        json!([of_config])
    );
    server.delete("ConfigMap", "app");
    settle(&mut server);
    assert!(server.list(CLAIM).is_empty());
}

#[test]
fn a_namespace_goes_with_all_that_is_in_it_and_comes_again_as_another_one() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    deployment(&mut server, &json!({}));
    let uid =
        |server: &Server| server.get("Namespace", NAMESPACE).unwrap()["metadata"]["uid"].clone();
    let (before, volume) = (uid(&server), volume_of(&server, "data"));
    retain(&mut server, &volume);
    server.delete_by(USER, "Namespace", NAMESPACE).unwrap();
    let refused = server.create(USER, "ConfigMap", json!({"metadata": {"name": "late"}}));
    assert!(matches!(refused, Err(Failure::Forbidden(_))), "{refused:?}");
    settle(&mut server);
    assert!(
        server.get("Namespace", NAMESPACE).is_none()
            && server.list("Pod").is_empty()
            && server.list(CLAIM).is_empty()
    );
    assert_eq!(phase(&server, VOLUME, &volume), "Released");
    server.create(USER, "Namespace", json!({"metadata": {"name": NAMESPACE}})).unwrap();
    assert_ne!(uid(&server), before);
}

#[test]
fn a_pod_on_a_node_is_gone_only_when_its_kubelet_says_so() {
    let mut server = new();
    claim(&mut server, "data", "disk", "ReadWriteOnce");
    deployment(&mut server, &json!({}));
    server.delete("Deployment", "web");
    assert_eq!(server.list("Pod").len(), 1);
    let pod = server.list("Pod").remove(0);
    let name = pod["metadata"]["name"].as_str().unwrap();
    // Its containers end first.
    assert!(controllers::kubelet(&mut server, name) && server.list("Pod").len() == 1);
    assert!(controllers::kubelet(&mut server, name) && server.list("Pod").is_empty());
}

//! Stories about what is around workloads: Secrets, volumes, policies, and operators.

use std::{collections::BTreeSet, time::Duration};

use lockkeeper::{
    api::{WorkloadKind, marks},
    core::hold::uninstall::{Governed, HeldWorkloads, in_the_way},
    shell::uninstall::UninstallError,
};
use serde_json::{Value, json};

use super::{DB, DEV, Story, WEB, edit_policy, id};
use crate::{
    cluster::{APPROVER, Cluster, ON_CALL, pods_of},
    election::Candidate,
    operator::ACCOUNT,
    scenes::{Scene, manifest, policy},
};

/// Web reads a Secret too.
fn read_secret(cluster: &mut Cluster) {
    let secret = json!({"metadata": {"name": "login"}, "data": {"password": "b2xk"}});
    cluster.server.create(DEV, "Secret", secret).unwrap();
    let from = json!([{"secretRef": {"name": "login"}}]);
    cluster
        .write(DEV, WEB, |web| web["spec"]["template"]["spec"]["containers"][0]["envFrom"] = from)
        .unwrap();
}

#[test]
fn a_secret_that_is_rotated_is_rolled_out() {
    let mut story = Story::new().under(&json!({}));
    read_secret(&mut story.cluster);
    story
        .and(&["UpgradePolicy"])
        .then("the password is rotated", |cluster| {
            let rotate = |secret: &mut Value| secret["data"]["password"] = json!("bmV3");
            cluster.server.update(DEV, "Secret", "login", rotate).unwrap();
        })
        .then("the Secret is deleted", |cluster| cluster.server.delete("Secret", "login"))
        .is("a_secret_that_is_rotated_is_rolled_out");
}

#[test]
fn with_on_failure_continue_the_next_step_goes_on() {
    let step = |tier: &str| json!({"name": tier, "selector": {"matchLabels": {"tier": tier}}});
    let steps = json!([step("data"), step("logic"), step("front")]);
    Story::of(Scene::Steps, &[DB, WEB])
        .under(&json!({"rollout": {"deadline": "60s", "steps": steps, "onFailure": "Continue"}}))
        .then("dev sets broken1 on db, and v1 on web", |cluster| {
            cluster.set_image(DB, "broken1");
            cluster.set_image(WEB, "v1");
        })
        .then("two minutes pass", |cluster| cluster.pass(Duration::from_secs(120)))
        .is("with_on_failure_continue_the_next_step_goes_on");
}

#[test]
fn a_rollout_that_waits_for_its_own_volume_goes_on() {
    Story::of(Scene::Volumes, &[WEB])
        .under(&json!({"volumes": {"exclusiveClaims": "Ignore"}}))
        .and(&["UpgradePolicy"])
        .then("the node of web takes no new pods, and dev sets v1", |cluster| {
            let node = pods_of(&cluster.server, "web")[0]["spec"]["nodeName"].clone();
            let cordon = |node: &mut Value| node["spec"]["unschedulable"] = json!(true);
            cluster.server.update(DEV, "Node", node.as_str().unwrap(), cordon).unwrap();
            cluster.set_image(WEB, "v1");
        })
        .then("the policy is to see to volumes", |cluster| {
            edit_policy(cluster, &json!({"volumes": {"exclusiveClaims": "WhenDeadlock"}}));
        })
        .is("a_rollout_that_waits_for_its_own_volume_goes_on");
}

#[test]
fn data_is_kept_and_found_again() {
    let claim = || json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "disk", "resources": {"requests": {"storage": "1Gi"}}}});
    Story::of(Scene::Volumes, &[WEB])
        .under(&json!({"volumes": {"orphanedAfter": "30s"}}))
        .and(&["PersistentVolumeClaim", "PersistentVolume"])
        .then("dev deletes web and its claim", |cluster| {
            cluster.server.delete("Deployment", "web");
            cluster.server.delete("PersistentVolumeClaim", "data");
        })
        .then("dev creates both again", |cluster| {
            cluster.server.create(DEV, "PersistentVolumeClaim", claim()).unwrap();
            cluster
                .server
                .create(DEV, "Deployment", manifest(Scene::Volumes, "web", "v0"))
                .unwrap();
        })
        .is("data_is_kept_and_found_again");
}

#[test]
fn two_policies_that_overlap_are_named() {
    Story::new()
        .and(&["UpgradePolicy"])
        .then("dev creates a second policy for the same workloads", |cluster| {
            let mut second = policy(&json!({"gates": {"approval": "Required"}}));
            second["metadata"]["name"] = json!("store");
            cluster.server.create(DEV, "UpgradePolicy", second).unwrap();
        })
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the first one is deleted", |cluster| cluster.server.delete("UpgradePolicy", "shop"))
        .is("two_policies_that_overlap_are_named");
}

#[test]
fn a_policy_that_cannot_be_read_still_holds() {
    Story::new()
        .and(&["UpgradePolicy"])
        .then("a newer version writes the policy", |cluster| {
            edit_policy(cluster, &json!({"gates": {"approval": "RequiredFromTwo"}}));
        })
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .then("the policy is written as before", |cluster| {
            edit_policy(cluster, &json!({"gates": {"approval": "Required"}}));
        })
        .is("a_policy_that_cannot_be_read_still_holds");
}

#[test]
fn another_operator_goes_on_where_the_first_one_stopped() {
    Story::of(Scene::Replicas, &[WEB])
        .under(&json!({"gates": {"approval": "Required"}}))
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the node of the operator that leads is gone", |cluster| cluster.restart())
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .is("another_operator_goes_on_where_the_first_one_stopped");
}

/// What `helm uninstall` does, as far as workloads go; what it says, if it does nothing.
fn uninstall(cluster: &mut Cluster, what: HeldWorkloads) -> Option<String> {
    let kinds = [WorkloadKind::Deployment, WorkloadKind::StatefulSet];
    let of_kind = |kind: WorkloadKind| {
        let all = cluster.server.list(&kind.to_string());
        all.into_iter().map(move |object| Governed { kind, object: (*object).clone() })
    };
    let all: Vec<_> = kinds.into_iter().flat_map(of_kind).collect();
    let held = in_the_way(&all, what);
    if !held.is_empty() {
        let namespace = "lockkeeper-system".to_owned();
        return Some(UninstallError::Refused { held, namespace }.to_string());
    }
    // It does not lead, and nobody asks it to.
    let now = cluster.server.now();
    cluster.operator.candidate = Some(Candidate::new("stopped".to_owned(), now));
    for one in all {
        let kind = one.kind.to_string();
        cluster.server.json_patch(ACCOUNT, &kind, one.name(), &one.let_go()).unwrap();
    }
    for &at in cluster.scene.workloads() {
        cluster.consent.let_go(&cluster.server, at, &BTreeSet::new());
    }
    None
}

#[test]
fn an_uninstall_names_what_is_held() {
    let mut refused = String::new();
    let mut story = Story::new().then("dev sets v1", |cluster| cluster.set_image(WEB, "v1")).then(
        "the administrator uninstalls",
        |cluster| {
            refused = uninstall(cluster, HeldWorkloads::Refuse).unwrap();
        },
    );
    story.text += &format!("  helm shows: {refused}\n");
    story
        .then("the administrator uninstalls, and releases what is held", |cluster| {
            assert_eq!(uninstall(cluster, HeldWorkloads::Release), None);
        })
        .then("dev sets v2", |cluster| cluster.set_image(WEB, "v2"))
        .is("an_uninstall_names_what_is_held");
}

#[test]
fn who_made_a_change_does_not_approve_it() {
    let approve = |who| {
        move |cluster: &mut Cluster| {
            let id = id(cluster, WEB);
            cluster.annotate(who, WEB, "approve", &id).unwrap();
        }
    };
    Story::of(Scene::FourEyes, &[WEB])
        .then("the approver sets v1", |cluster| cluster.set_image_as(APPROVER, WEB, "v1"))
        .then("the approver approves", approve(APPROVER))
        .then("on-call approves, with the same annotation", approve(ON_CALL))
        .then("on-call removes the annotation, and approves", |cluster| {
            let remove = |web: &mut Value| {
                let annotations = web["metadata"]["annotations"].as_object_mut().unwrap();
                annotations.remove(marks::APPROVE).unwrap();
            };
            cluster.write(ON_CALL, WEB, remove).unwrap();
            approve(ON_CALL)(cluster);
        })
        .is("who_made_a_change_does_not_approve_it");
}

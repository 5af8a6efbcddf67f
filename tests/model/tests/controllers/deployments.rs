//! The controller of Deployments, with that of its ReplicaSets.

use std::time::Duration;

use model::{
    controllers::{scripts::Revisions, settle, step},
    server::Server,
};
use serde_json::json;

use super::{USER, all_images, broken, condition, edit, images, new, play};

#[test]
fn a_paused_deployment_keeps_its_revision_through_scaling_and_evictions() {
    let mut server = new("Deployment", 2);
    edit(&mut server, "Deployment", |object| {
        object["spec"]["paused"] = json!(true);
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    });
    assert!(server.get("Deployment", "web").unwrap()["status"]["updatedReplicas"].is_null());
    edit(&mut server, "Deployment", |object| object["spec"]["replicas"] = json!(4));
    assert_eq!(images(&server), ["v1"; 4]);
    let pod = server.list("Pod")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    server.delete("Pod", &pod);
    settle(&mut server);
    assert_eq!(images(&server), ["v1"; 4]);
    edit(&mut server, "Deployment", |object| {
        drop(object["spec"].as_object_mut().unwrap().remove("paused"))
    });
    assert_eq!(images(&server), ["v2"; 4]);
}

#[test]
fn created_paused_there_are_no_pods() {
    let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
    let spec = json!({"paused": true, "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    server.create(USER, "Deployment", json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
    settle(&mut server);
    assert!(server.list("ReplicaSet").is_empty() && server.list("Pod").is_empty());
}

#[test]
fn one_replica_with_the_default_strategy_surges_and_recreate_does_not() {
    let mut server = new("Deployment", 1);
    server
        .update(USER, "Deployment", "web", |object| {
            object["spec"]["template"]["metadata"]["annotations"] =
                json!({"lockkeeper.dev/test-ready": "never"});
        })
        .unwrap();
    settle(&mut server);
    assert_eq!(server.list("Pod").len(), 2, "the old pod stays until the new one is ready");
    edit(&mut server, "Deployment", |object| {
        object["spec"]["strategy"] = json!({"type": "Recreate"})
    });
    assert_eq!(server.list("Pod").len(), 1);
    let refused = server.update(USER, "Deployment", "web", |object| {
        object["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 1})
    });
    assert!(refused.is_err());
}

fn reason(server: &Server) -> String {
    condition(&server.get("Deployment", "web").unwrap(), "Progressing")["reason"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn conditions_tell_how_a_rollout_goes() {
    let mut server = new("Deployment", 2);
    let time = |server: &Server, kind: &str, field: &str| {
        condition(&server.get("Deployment", "web").unwrap(), kind)[field].clone()
    };
    assert_eq!(
        (reason(&server).as_str(), time(&server, "Available", "status")),
        ("NewReplicaSetAvailable", json!("True"))
    );
    server.advance(Duration::from_secs(60));
    // Scaling is no rollout.
    edit(&mut server, "Deployment", |object| object["spec"]["replicas"] = json!(4));
    assert_eq!(time(&server, "Progressing", "lastUpdateTime"), "2026-11-20T09:00:00Z");
    let mut reasons = vec![reason(&server)];
    server
        .update(USER, "Deployment", "web", |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
        })
        .unwrap();
    while step(&mut server) {
        reasons.push(reason(&server));
    }
    reasons.dedup();
    assert_eq!(
        reasons,
        [
            "NewReplicaSetAvailable",
            "NewReplicaSetCreated",
            "ReplicaSetUpdated",
            "NewReplicaSetAvailable"
        ]
    );
    assert_eq!(time(&server, "Progressing", "lastUpdateTime"), "2026-11-20T09:01:00Z");
    assert_eq!(time(&server, "Progressing", "lastTransitionTime"), "2026-11-20T09:00:00Z");
    broken(&mut server, "Deployment", "v3");
    assert_eq!(
        (reason(&server).as_str(), time(&server, "Available", "status")),
        ("ReplicaSetUpdated", json!("True"))
    );
    server.advance(Duration::from_secs(601));
    settle(&mut server);
    assert_eq!(
        (reason(&server).as_str(), time(&server, "Progressing", "status")),
        ("ProgressDeadlineExceeded", json!("False"))
    );
    let status = server.get("Deployment", "web").unwrap()["status"].clone();
    assert_eq!(
        (&status["replicas"], &status["updatedReplicas"], &status["availableReplicas"]),
        (&json!(5), &json!(2), &json!(3))
    );
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let mut server = new("Deployment", 3);
    edit(&mut server, "Deployment", |object| {
        object["spec"]["strategy"] = json!({"type": "Recreate"})
    });
    server
        .update(USER, "Deployment", "web", |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
        })
        .unwrap();
    let mut were_none = false;
    while step(&mut server) {
        let mut images = images(&server);
        images.dedup();
        assert!(images.len() <= 1, "old and new side by side");
        were_none |= images.is_empty();
    }
    assert!(were_none);
    assert_eq!(images(&server), ["v2"; 3]);
}

#[test]
fn a_rolling_update_keeps_to_its_limits() {
    for (surge, unavailable, most, least) in [
        (json!("25%"), json!("25%"), 8, 5),
        (json!(2), json!(0), 8, 6),
        (json!(0), json!(1), 6, 5),
        (json!("0%"), json!("10%"), 6, 5),
    ] {
        let mut server = new("Deployment", 6);
        let limits = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        edit(&mut server, "Deployment", |object| object["spec"]["strategy"] = limits.clone());
        server
            .update(USER, "Deployment", "web", |object| {
                object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2")
            })
            .unwrap();
        while step(&mut server) {
            let pods = server
                .list("Pod")
                .into_iter()
                .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
            let (ready, starting): (Vec<_>, Vec<_>) =
                pods.partition(|pod| pod["status"]["phase"] == "Running");
            assert!(
                ready.len() + starting.len() <= most && ready.len() >= least,
                "{limits}: {} ready, {} starting",
                ready.len(),
                starting.len()
            );
        }
        assert_eq!(images(&server), ["v2"; 6]);
    }
}

#[test]
fn paused_midway_scaling_multiplies_both_revisions() {
    let states = play("Deployment", "paused midway");
    let count =
        |at: usize, tag: &str| states[at].images.iter().filter(|image| *image == tag).count();
    assert_eq!((count(1, "v1"), count(1, "v2")), (3, 2));
    assert_eq!((count(3, "v1"), count(3, "v2")), (6, 4), "in proportion");
    assert_eq!(states[3].revisions, Revisions::Sets(2));
    assert_eq!(states[7].images, ["v1"; 2]);
}

#[test]
fn a_held_deployment_at_zero_comes_back_at_the_replica_set_that_was_created_last() {
    assert_eq!(all_images("Deployment", "held, to zero and back")[3..], ["v1 v1", "v2 v2"]);
    // Not at the one that ran last.
    assert_eq!(
        all_images("Deployment", "reverted, then held, to zero and back")[2..],
        ["v1 v1", "v1 v1", "", "v2 v2", "v3 v3"]
    );
    assert_eq!(
        all_images("Deployment", "held without history, to zero and back")[2..],
        ["", "", "v2 v2"]
    );
}

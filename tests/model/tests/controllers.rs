//! The models of the controllers do what the real ones were measured to do.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use model::{
    admission::HELD,
    controllers::{
        deployment, evict, kubelet,
        scripts::{self, Revisions, Settled},
        settle, step,
    },
    server::{Account, Failure, Server},
};
use serde_json::{Value, json};

const USER: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };

fn workload(server: &mut Server, kind: &str, replicas: i64) {
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
    let spec =
        json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
    server
        .create(USER, kind, json!({"metadata": {"name": "web", "labels": labels}, "spec": spec}))
        .unwrap();
    settle(server);
}

fn new(kind: &str, replicas: i64) -> Server {
    let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
    workload(&mut server, kind, replicas);
    server
}

fn edit(server: &mut Server, kind: &str, change: impl FnOnce(&mut Value)) {
    server.update(USER, kind, "web", change).unwrap();
    settle(server);
}

fn image(server: &mut Server, kind: &str, tag: &str) {
    edit(server, kind, |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(tag)
    });
}

fn images(server: &Server) -> Vec<String> {
    let mut images: Vec<_> = server
        .list("Pod")
        .iter()
        .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned())
        .collect();
    images.sort();
    images
}

#[test]
fn a_rollout_replaces_all_pods_and_a_revert_finds_the_old_replica_set() {
    for kind in ["Deployment", "StatefulSet"] {
        let mut server = new(kind, 3);
        image(&mut server, kind, "v2");
        assert_eq!(images(&server), ["v2", "v2", "v2"], "{kind}");
        image(&mut server, kind, "v1");
        assert_eq!(images(&server), ["v1", "v1", "v1"], "{kind}");
        let revisions =
            server.list(if kind == "Deployment" { "ReplicaSet" } else { "ControllerRevision" });
        assert_eq!(revisions.len(), 2, "{kind}");
    }
}

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

#[test]
fn a_partition_above_every_ordinal_holds_new_ordinals_too_and_steps_down_by_index() {
    let mut server = new("StatefulSet", 2);
    let partition = |server: &mut Server, partition: i64| {
        edit(server, "StatefulSet", |object| {
            object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(partition)
        });
    };
    partition(&mut server, HELD);
    image(&mut server, "StatefulSet", "v2");
    edit(&mut server, "StatefulSet", |object| object["spec"]["replicas"] = json!(3));
    assert_eq!(images(&server), ["v1"; 3]);
    server.delete("Pod", "web-1");
    settle(&mut server);
    assert_eq!(images(&server), ["v1"; 3]);
    partition(&mut server, 2);
    assert_eq!(images(&server), ["v1", "v1", "v2"]);
    partition(&mut server, 0);
    assert_eq!(images(&server), ["v2"; 3]);
    let status = server.get("StatefulSet", "web").unwrap()["status"].clone();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
}

#[test]
fn a_set_is_stuck_behind_a_broken_pod_of_a_withdrawn_revision() {
    let mut server = new("StatefulSet", 2);
    edit(&mut server, "StatefulSet", |object| {
        object["spec"]["template"]["metadata"]["annotations"] =
            json!({"lockkeeper.dev/test-ready": "never"});
    });
    edit(&mut server, "StatefulSet", |object| {
        drop(object["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("annotations"))
    });
    let broken = server.get("Pod", "web-1").unwrap();
    assert_eq!(broken["status"]["conditions"][0]["status"], "False");
    server.delete("Pod", "web-1");
    settle(&mut server);
    assert_eq!(server.get("Pod", "web-1").unwrap()["status"]["conditions"][0]["status"], "True");
}

#[test]
fn generations_count_spec_and_for_deployments_annotations_too() {
    for (kind, expected) in [("Deployment", 2), ("StatefulSet", 1)] {
        let mut server = new(kind, 1);
        let before = server.get(kind, "web").unwrap()["metadata"]["generation"].as_i64().unwrap();
        edit(&mut server, kind, |object| object["metadata"]["annotations"]["team"] = json!("a"));
        let after = server.get(kind, "web").unwrap()["metadata"]["generation"].as_i64().unwrap();
        assert_eq!(after - before + 1, expected, "{kind}");
        let patch = json!([{"op": "test", "path": "/metadata/generation", "value": after + 1}, {"op": "remove", "path": "/spec/replicas"}]);
        assert!(server.json_patch(USER, kind, "web", &patch).is_err(), "{kind}: a failed test");
    }
}

fn condition(object: &Value, kind: &str) -> Value {
    object["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["type"] == kind)
        .unwrap()
        .clone()
}

fn reason(server: &Server) -> String {
    condition(&server.get("Deployment", "web").unwrap(), "Progressing")["reason"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn broken(server: &mut Server, kind: &str, tag: &str) {
    edit(server, kind, |object| {
        object["spec"]["template"]["metadata"]["annotations"] =
            json!({"lockkeeper.dev/test-ready": "never"});
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(tag);
    });
}

/// The states of a script, by its kind and name.
fn play(kind: &str, name: &str) -> Vec<Settled> {
    let script = scripts::all()
        .into_iter()
        .find(|script| script.kind == kind && script.name == name)
        .unwrap();
    scripts::run(&script, &mut Server::new("2026-11-20T09:00:00Z".parse().unwrap()))
}

fn all_images(kind: &str, name: &str) -> Vec<String> {
    play(kind, name).iter().map(|state| state.images.join(" ")).collect()
}

#[test]
fn a_write_that_changes_nothing_makes_no_version() {
    for kind in ["Deployment", "StatefulSet"] {
        let mut server = new(kind, 1);
        let before = server.version();
        server.update(USER, kind, "web", |_| {}).unwrap();
        server.update(USER, kind, "web", |object| object["spec"]["paused"] = Value::Null).unwrap();
        server
            .create(USER, "ConfigMap", json!({"metadata": {"name": "app"}, "data": {"key": "1"}}))
            .unwrap();
        server
            .update(USER, "ConfigMap", "app", |config| config["data"]["key"] = json!("1"))
            .unwrap();
        assert_eq!(server.version(), before + 1, "{kind}");
        assert_eq!(
            server.create(USER, "ConfigMap", json!({"metadata": {"name": "app"}})),
            Err(Failure::AlreadyExists)
        );
        assert_eq!(server.update(USER, kind, "other", |_| {}), Err(Failure::NotFound));
    }
}

#[test]
fn a_replacement_drops_what_it_does_not_say_but_not_the_status_and_must_not_be_of_an_old_version() {
    let mut server = new("Deployment", 2);
    let before = server.get("Deployment", "web").unwrap();
    let mut manifest = json!({"metadata": {"name": "web"}, "spec": before["spec"]});
    manifest["spec"]["paused"] = json!(true);
    manifest["status"] = json!({"replicas": 7});
    let after = server.replace(USER, "Deployment", manifest.clone()).unwrap();
    assert!(after["metadata"]["labels"].is_null() && after["metadata"]["annotations"].is_null());
    assert_eq!(
        (&after["status"], &after["metadata"]["uid"]),
        (&before["status"], &before["metadata"]["uid"])
    );
    assert_eq!(after["metadata"]["generation"], 2);
    manifest["spec"]["paused"] = json!(false);
    manifest["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(server.replace(USER, "Deployment", manifest.clone()), Err(Failure::Conflict));
    manifest["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
    let last = server.replace(USER, "Deployment", manifest).unwrap();
    assert!(last["spec"]["paused"].is_null());
    assert!(
        matches!(server.create(USER, "Deployment", (*last).clone()), Err(Failure::Invalid(_))),
        "with a version of its own"
    );
}

#[test]
fn field_managers_keep_the_time_of_their_newest_write_and_status_has_entries_of_its_own() {
    let mut server = new("Deployment", 1);
    let times = |server: &Server| -> Vec<(String, bool, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let object = server.get("Deployment", "web").unwrap();
        let entries = object["metadata"]["managedFields"].as_array().unwrap().clone();
        entries
            .iter()
            .map(|entry| {
                (text(&entry["manager"]), entry["subresource"] == "status", text(&entry["time"]))
            })
            .collect()
    };
    let at = |second: u32| format!("2026-11-20T09:00:{second:02}Z");
    let controllers = "kube-controller-manager".to_owned();
    assert_eq!(
        times(&server),
        [("kubectl".to_owned(), false, at(0)), (controllers.clone(), true, at(0))]
    );
    server.advance(Duration::from_millis(5700));
    let helm = Account { user: "ci", manager: "helm", verbs: &[] };
    server
        .update(helm, "Deployment", "web", |object| {
            object["metadata"]["labels"]["team"] = json!("a")
        })
        .unwrap();
    server.advance(Duration::from_secs(2));
    image(&mut server, "Deployment", "v2");
    assert_eq!(
        times(&server),
        [
            ("helm".to_owned(), false, at(5)),
            ("kubectl".to_owned(), false, at(7)),
            (controllers, true, at(7))
        ]
    );
    let generation = |server: &Server| {
        server.get("Deployment", "web").unwrap()["metadata"]["generation"].clone()
    };
    assert_eq!(
        generation(&server),
        2,
        "neither labels, nor status, nor the controller's annotation make a generation"
    );
    let status = |object: &mut Value| {
        object["status"]["note"] = json!(1);
        object["spec"]["replicas"] = json!(9);
    };
    let written = server.update_status(USER, "Deployment", "web", status).unwrap();
    assert_eq!((&written["status"]["note"], &written["spec"]["replicas"]), (&json!(1), &json!(1)));
    server.update(USER, "Deployment", "web", |object| object["status"] = json!({})).unwrap();
    assert_eq!(server.get("Deployment", "web").unwrap()["status"]["note"], 1);
}

#[test]
fn the_server_gives_defaults_and_refuses_what_the_real_one_refuses() {
    let mut server = new("Deployment", 1);
    let strategy = server.get("Deployment", "web").unwrap()["spec"]["strategy"].clone();
    assert_eq!(
        strategy,
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    workload(&mut server, "StatefulSet", 1);
    let spec = server.get("StatefulSet", "web").unwrap()["spec"].clone();
    assert_eq!(
        spec["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    );
    let mut refused = |kind: &str, patch: Value| {
        let before = server.version();
        let result = server
            .update(USER, kind, "web", |object| json_patch::merge(&mut object["spec"], &patch));
        assert_eq!(
            matches!(result, Err(Failure::Invalid(_))),
            server.version() == before,
            "{kind} {patch}: {result:?}"
        );
        result.is_err()
    };
    assert!(refused("Deployment", json!({"strategy": {"type": "Recreate"}})));
    assert!(refused("Deployment", json!({"selector": {"matchLabels": {"app": "other"}}})));
    assert!(refused("StatefulSet", json!({"serviceName": "other"})));
    assert!(refused("StatefulSet", json!({"podManagementPolicy": "Parallel"})));
    assert!(refused("StatefulSet", json!({"updateStrategy": {"type": "OnDelete"}})));
    assert!(!refused(
        "StatefulSet",
        json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}, "replicas": 2, "ordinals": {"start": 1}})
    ));
    assert!(!refused(
        "Deployment",
        json!({"strategy": {"type": "Recreate", "rollingUpdate": null}})
    ));
}

#[test]
fn what_a_deleted_workload_owns_goes_with_it_and_the_watch_log_tells() {
    for kind in ["Deployment", "StatefulSet"] {
        let mut server = new(kind, 2);
        let before = server.version();
        server.delete(kind, "web");
        for owned in ["Pod", "ReplicaSet", "ControllerRevision"] {
            assert!(server.list(owned).is_empty(), "{kind}: {owned}");
        }
        let events = server.events_since(before);
        assert_eq!(events.len(), 4, "{kind}: itself, a revision, two pods");
        assert!(events.iter().all(|event| event.deleted));
        assert_eq!(events[3].version, server.version());
        assert_eq!(events[0].object["metadata"]["resourceVersion"], events[0].version.to_string());
        assert!(server.events_since(server.version()).is_empty());
    }
}

#[test]
fn a_pod_starts_and_goes_step_by_step() {
    let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
    let metadata = json!({"labels": {"app": "web"}, "annotations": {"a": "1"}});
    let template =
        json!({"metadata": metadata, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
    let spec =
        json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    server.create(USER, "Deployment", json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
    while server.list("Pod").is_empty() {
        assert!(deployment(&mut server, "web"));
    }
    let pod = server.list("Pod").remove(0);
    let name = pod["metadata"]["name"].as_str().unwrap();
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(pod["metadata"]["annotations"], json!({"a": "1"}));
    let set = server.list("ReplicaSet").remove(0);
    assert_eq!(
        pod["metadata"]["labels"]["pod-template-hash"],
        set["metadata"]["labels"]["pod-template-hash"]
    );
    assert_eq!(
        set["metadata"]["name"],
        format!("web-{}", set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap())
    );
    assert_eq!(
        (
            &pod["metadata"]["ownerReferences"][0]["uid"],
            &pod["metadata"]["ownerReferences"][0]["controller"]
        ),
        (&set["metadata"]["uid"], &json!(true))
    );
    server.advance(Duration::from_secs(3));
    assert!(kubelet(&mut server, name) && !kubelet(&mut server, name));
    let running = server.get("Pod", name).unwrap();
    assert_eq!(
        running["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
        "2026-11-20T09:00:03Z"
    );
    assert_eq!(condition(&running, "Ready")["lastTransitionTime"], "2026-11-20T09:00:03Z");
    assert!(running["status"]["podIP"].is_string());
    settle(&mut server);
    assert!(evict(&mut server, name) && !evict(&mut server, name));
    assert!(server.get("Pod", name).unwrap()["metadata"]["deletionTimestamp"].is_string());
    assert!(kubelet(&mut server, name));
    assert_eq!(server.get("Pod", name).unwrap()["status"]["phase"], "Succeeded");
    assert!(kubelet(&mut server, name) && server.get("Pod", name).is_none());
    settle(&mut server);
    assert_eq!(server.list("Pod").len(), 1);
}

#[test]
fn revisions_are_numbered_and_a_revert_gets_the_next_number() {
    let mut server = new("Deployment", 1);
    let number = |server: &Server| {
        server.get("Deployment", "web").unwrap()["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone()
    };
    for (tag, expected) in [("v1", "1"), ("v2", "2"), ("v1", "3"), ("v3", "4")] {
        image(&mut server, "Deployment", tag);
        assert_eq!(number(&server), expected);
    }
    let mut server = new("StatefulSet", 1);
    let newest = |server: &Server| {
        let all = server.list("ControllerRevision");
        let newest = all.iter().max_by_key(|one| one["revision"].as_i64()).unwrap().clone();
        let template = &newest["data"]["spec"]["template"];
        (
            all.len(),
            newest["revision"].as_i64().unwrap(),
            template["spec"]["containers"][0]["image"].clone(),
            newest["metadata"]["name"].clone(),
        )
    };
    for (tag, number, expected) in [("v1", 1, 1), ("v2", 2, 2), ("v1", 2, 3), ("v3", 3, 4)] {
        image(&mut server, "StatefulSet", tag);
        let update = server.get("StatefulSet", "web").unwrap()["status"]["updateRevision"].clone();
        assert_eq!(newest(&server), (number, expected, json!(tag), update));
    }
}

#[test]
fn old_revisions_beyond_the_limit_are_dropped() {
    for (kind, revisions) in [("Deployment", "ReplicaSet"), ("StatefulSet", "ControllerRevision")] {
        let mut server = new(kind, 1);
        edit(&mut server, kind, |object| object["spec"]["revisionHistoryLimit"] = json!(2));
        (2..7).for_each(|number| image(&mut server, kind, &format!("v{number}")));
        assert_eq!(server.list(revisions).len(), 3, "{kind}");
    }
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

#[test]
fn a_held_set_leaks_at_as_many_as_there_are_and_at_zero() {
    assert_eq!(
        all_images("StatefulSet", "held by the largest partition"),
        ["v1 v1", "v1 v1", "v1 v1 v1 v1", "v1 v1 v1 v1", "v1", "v2"]
    );
    assert_eq!(all_images("StatefulSet", "held by as many as there are")[2], "v1 v1 v2 v2");
    assert_eq!(all_images("StatefulSet", "held, to zero and back")[3], "v2 v2");
}

#[test]
fn on_delete_starts_the_new_version_with_any_eviction() {
    assert_eq!(
        all_images("StatefulSet", "OnDelete"),
        ["v1 v1", "v1 v1", "v1 v2", "v1 v2 v2", "v2 v2 v2"]
    );
    assert_eq!(
        play("StatefulSet", "OnDelete")[4].revisions,
        Revisions::Same(false),
        "it never counts as complete"
    );
}

#[test]
fn a_partition_is_an_index_and_pods_above_it_come_back_new() {
    let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
    workload(&mut server, "StatefulSet", 3);
    edit(&mut server, "StatefulSet", |object| object["spec"]["ordinals"] = json!({"start": 5}));
    let names: Vec<_> =
        server.list("Pod").iter().map(|pod| pod["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["web-5", "web-6", "web-7"]);
    let seventh = server.get("Pod", "web-7").unwrap();
    assert_eq!(seventh["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "7");
    let partition = |server: &mut Server, partition: i64| {
        edit(server, "StatefulSet", |object| {
            object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(partition)
        });
    };
    let of = |server: &Server, name: &str| {
        server.get("Pod", name).unwrap()["spec"]["containers"][0]["image"].clone()
    };
    partition(&mut server, HELD);
    image(&mut server, "StatefulSet", "v2");
    partition(&mut server, 2);
    assert_eq!(["web-5", "web-6", "web-7"].map(|name| of(&server, name)), ["v1", "v1", "v2"]);
    evict(&mut server, "web-7");
    evict(&mut server, "web-5");
    settle(&mut server);
    assert_eq!(["web-5", "web-6", "web-7"].map(|name| of(&server, name)), ["v1", "v1", "v2"]);
    // From the highest down, and no further than to one that is not ready.
    broken(&mut server, "StatefulSet", "v3");
    partition(&mut server, 0);
    assert_eq!(["web-5", "web-6", "web-7"].map(|name| of(&server, name)), ["v1", "v1", "v3"]);
}

#[test]
fn scripts_settle_in_the_same_states_every_time() {
    let scripts = scripts::all();
    assert!(scripts.len() >= 15);
    for script in &scripts {
        assert_eq!(
            scripts
                .iter()
                .filter(|other| (other.kind, other.name) == (script.kind, script.name))
                .count(),
            1
        );
        let states = play(script.kind, script.name);
        assert_eq!(states.len(), script.writes.len());
        assert_eq!(states, play(script.kind, script.name), "{}", script.name);
        let refused = script.name.ends_with("is refused");
        assert!(
            states.iter().all(|state| !state.refused) != refused,
            "{} {}",
            script.kind,
            script.name
        );
        assert!(
            states.iter().all(|state| state.replicas as usize == state.images.len()),
            "{} {}: {states:?}",
            script.kind,
            script.name
        );
    }
}

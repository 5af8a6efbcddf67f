//! The controller of StatefulSets.

use model::{
    admission::HELD,
    controllers::{
        evict,
        scripts::{self, Revisions},
        settle,
    },
    server::Server,
};
use serde_json::json;

use super::{USER, all_images, broken, edit, image, images, new, workload};

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
    // Before 1.37 it never counts as complete.
    for (kubernetes, complete) in [(36, false), (37, true)] {
        let script = scripts::all().into_iter().find(|one| one.name == "OnDelete").unwrap();
        let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
        server.kubernetes = kubernetes;
        let settled = scripts::run(&script, &mut server);
        assert_eq!(settled[4].revisions, Revisions::Same(complete), "1.{kubernetes}");
    }
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
fn of_a_parallel_set_old_pods_that_are_not_ready_end_first_from_1_37_on() {
    for (kubernetes, expected) in [(36, ["v1", "v1", "v2"]), (37, ["v2", "v1", "v1"])] {
        let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
        server.kubernetes = kubernetes;
        let labels = json!({"app": "web"});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
        let spec = json!({"replicas": 3, "podManagementPolicy": "Parallel", "selector": {"matchLabels": labels}, "template": template});
        let set = json!({"metadata": {"name": "web", "labels": labels}, "spec": spec});
        server.create(USER, "StatefulSet", set).unwrap();
        settle(&mut server);
        server.control("Pod", "web-0", |pod| {
            pod["status"]["conditions"][0]["status"] = json!("False")
        });
        // At most one is unavailable: the rollout stops at the first new pod.
        broken(&mut server, "StatefulSet", "v2");
        let of =
            |name: &str| server.get("Pod", name).unwrap()["spec"]["containers"][0]["image"].clone();
        assert_eq!(["web-0", "web-1", "web-2"].map(of), expected, "1.{kubernetes}");
    }
}

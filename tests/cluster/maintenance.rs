//! Maintenance: a workload is stopped, stays so no matter who scales or changes it, and comes back
//! exactly as it was declared.

use kube::api::ListParams;
use serde_json::{Value, json};

use crate::support::{
    Shop, eventually, mark, operator, operator_alone,
    plugin::{Person, both, says},
};

pub fn maintainer(shop: &Shop) -> Person {
    Person::new(shop, "maintainer", &["lockkeeper-maintainer"])
}

fn start(shop: &Shop, by: &Person, place: &str) {
    let start = ["maintenance", "start", place, "--stop", "--reason", "restore the backup"];
    let said = by.plugin(shop, &start);
    says(&said, true, &["Maintenance of", "is requested"]);
}

pub fn end(shop: &Shop, by: &Person, place: &str) {
    says(&by.plugin(shop, &["maintenance", "end", place]), true, &["ends", "as it is declared"]);
}

/// Waits until a workload is stopped and its policy says so.
async fn stopped(shop: &Shop, kind: &str, name: &str) -> Value {
    let stands = |object: &Value| {
        mark(object, "in-maintenance").is_some_and(|mark| mark.starts_with("stop id="))
            && object["spec"]["replicas"] == 0
    };
    eventually(&format!("{kind} {name} is stopped"), || shop.get(kind, name), stands).await;
    eventually("no pod is left", || all_pods(shop, name), Vec::is_empty).await;
    shop.stands(name, "Maintenance", "InMaintenance").await;
    shop.get(kind, name).await
}

/// Waits until nothing of a maintenance is left on a workload, and all its pods run.
pub async fn in_service(shop: &Shop, kind: &str, name: &str) -> Value {
    let free = |object: &Value| mark(object, "in-maintenance").is_none();
    eventually(&format!("{kind} {name} is in service"), || shop.get(kind, name), free).await;
    shop.done(kind, name).await;
    shop.get(kind, name).await
}

/// The pods of a workload, those that are going included.
pub async fn all_pods(shop: &Shop, name: &str) -> Vec<Value> {
    let labels = ListParams::default().labels(&format!("app={name}"));
    let pods = shop.api("Pod").list(&labels).await.unwrap().items;
    pods.into_iter().map(|pod| serde_json::to_value(pod).unwrap()).collect()
}

fn is_gated(pod: &Value) -> bool {
    let mut gates = pod["spec"]["schedulingGates"].as_array().into_iter().flatten();
    gates.any(|gate| gate["name"] == "lockkeeper.dev/in-maintenance")
        && pod["spec"]["nodeName"].is_null()
        && pod["status"]["containerStatuses"].as_array().is_none_or(Vec::is_empty)
}

/// The name of the revision that a workload runs.
pub async fn revision(shop: &Shop, kind: &str, name: &str) -> String {
    if kind == "StatefulSet" {
        let object = shop.get(kind, name).await;
        return object["status"]["updateRevision"].as_str().unwrap().to_owned();
    }
    let sets = shop.api("ReplicaSet").list(&ListParams::default()).await.unwrap().items;
    let running = sets.into_iter().filter(|set| {
        set.data["spec"]["replicas"].as_u64() > Some(0)
            && set.data["spec"]["selector"]["matchLabels"]["app"] == name
    });
    running.map(|set| set.metadata.name.unwrap()).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn p17_after_maintenance_the_spec_and_the_revision_are_those_of_before() {
    let _operator = operator();
    let shop = Shop::gated("maintained").await;
    let by = maintainer(&shop);
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        let before =
            (shop.get(kind, &name).await["spec"].clone(), revision(&shop, kind, &name).await);
        start(&shop, &by, &place);
        let object = stopped(&shop, kind, &name).await;
        let template = &object["spec"]["template"];
        assert_eq!(template["metadata"]["labels"]["lockkeeper.dev/in-maintenance"], "stop");
        assert_eq!(template["spec"]["containers"], before.0["template"]["spec"]["containers"]);
        assert_eq!(mark(&object, "maintenance-replicas").as_deref(), Some("2"));
        says(
            &by.plugin(&shop, &["maintenance", "status", &place]),
            true,
            &[
                "is in maintenance",
                "requested by maintainer (restore the backup)",
                "maintenance end",
            ],
        );
        says(&by.plugin(&shop, &["why", &place]), true, &["It is in maintenance (InMaintenance)"]);
        end(&shop, &by, &place);
        let after = in_service(&shop, kind, &name).await["spec"].clone();
        assert_eq!(after, before.0, "{kind}");
        assert_eq!(revision(&shop, kind, &name).await, before.1, "{kind}");
        shop.event(&name, "MaintenanceStarted").await;
        shop.event(&name, "MaintenanceEnded").await;
        says(
            &by.plugin(&shop, &["maintenance", "end", &place]),
            false,
            &["is not in maintenance. Nothing was changed"],
        );
    }
}

#[tokio::test]
async fn p18_no_container_of_a_stopped_app_runs_with_the_operator_down_and_pods_scaled_up_exclusively()
 {
    let operator = operator_alone();
    let shop = Shop::gated("stopped").await;
    let by = maintainer(&shop);
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        start(&shop, &by, &place);
        stopped(&shop, kind, &name).await;
    }
    operator.stop();
    for (kind, name, place) in both() {
        // The scale subresource is not seen by admission.
        shop.kubectl(&["scale", &place, "--replicas=2"]);
        let gated = |pods: &Vec<Value>| !pods.is_empty() && pods.iter().all(is_gated);
        let pods = eventually("pods that never run", || all_pods(&shop, &name), gated).await;
        let first = pods[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let uid = pods[0]["metadata"]["uid"].clone();
        shop.kubectl(&["delete", "pod", &first]);
        let again =
            |pods: &Vec<Value>| gated(pods) && pods.iter().all(|pod| pod["metadata"]["uid"] != uid);
        eventually("the pod that takes its place never runs", || all_pods(&shop, &name), again)
            .await;
        // Any write that admission sees takes the replicas away again.
        shop.annotate(kind, &name, "app-gate", "port=1");
        assert_eq!(shop.get(kind, &name).await["spec"]["replicas"], 0);
    }
    operator.start();
    for (kind, name, place) in both() {
        end(&shop, &by, &place);
        in_service(&shop, kind, &name).await;
        shop.all_run(kind, &name, "other:v1", 2).await;
    }
}

#[tokio::test]
async fn p19_what_others_declare_neither_ends_a_maintenance_nor_conflicts_with_it() {
    let _operator = operator();
    let shop = Shop::gated("declared-stopped").await;
    let by = maintainer(&shop);
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        start(&shop, &by, &place);
        stopped(&shop, kind, &name).await;
        let mut declared = shop.manifest(kind, &name, "v2");
        declared["spec"]["replicas"] = json!(3);
        for way in [
            &["apply", "-f", "-"][..],
            &["replace", "-f", "-"],
            // It would take the replicas of the others for its own.
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            &["apply", "--server-side", "-f", "-"],
        ] {
            let said = eventually(
                "it is stored",
                || async { shop.run("kubectl", way, Some(&declared)) },
                |said| said.success,
            )
            .await;
            assert!(!said.text.contains("onflict"), "{way:?}: {}", said.text);
            let object = shop.get(kind, &name).await;
            assert_eq!(object["spec"]["replicas"], 0, "{way:?}");
            let template = &object["spec"]["template"];
            assert_eq!(template["metadata"]["labels"]["lockkeeper.dev/in-maintenance"], "stop");
            assert!(mark(&object, "hold").is_some(), "{way:?}");
        }
        stopped(&shop, kind, &name).await;

        // It starts with what was declared, and so only when that is approved.
        end(&shop, &by, &place);
        shop.stands(&name, "Maintenance", "ApprovalRequired").await;
        assert!(all_pods(&shop, &name).await.is_empty());
        let hold = mark(&shop.get(kind, &name).await, "hold").unwrap();
        shop.annotate(kind, &name, "approve", hold.split(' ').next().unwrap());
        in_service(&shop, kind, &name).await;
        shop.all_run(kind, &name, "other:v2", 3).await;
        shop.is_free(kind, &name).await;

        // helm neither waits nor conflicts.
        let release = format!("helm-{}", kind.to_lowercase());
        let chart = format!("kind={kind}");
        shop.helm_upgrade(&release, &[&chart, "tag=v1"]);
        shop.marked(kind, &release).await;
        let place = format!("{}/{release}", kind.to_lowercase());
        start(&shop, &by, &place);
        stopped(&shop, kind, &release).await;
        for tag in ["tag=v1", "tag=v2", "tag=v1"] {
            shop.helm_upgrade(&release, &[&chart, tag]);
        }
        stopped(&shop, kind, &release).await;
        end(&shop, &by, &place);
        in_service(&shop, kind, &release).await;
        shop.all_run(kind, &release, "other:v1", 2).await;
    }
}

#[tokio::test]
async fn p20_an_app_that_crashes_is_stopped_and_comes_back() {
    let _operator = operator();
    let shop = Shop::gated("crashing").await;
    let by = maintainer(&shop);
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        let mut broken = shop.manifest(kind, &name, "v1");
        broken["spec"]["template"]["metadata"]["annotations"] =
            json!({"lockkeeper.dev/test-crash": "true"});
        shop.apply(&broken);
        shop.waits(kind, &name, "ApprovalRequired").await;
        let id = shop.is_held(kind, &name).await;
        shop.annotate(kind, &name, "approve", &id);
        let crashes = |pods: &Vec<Value>| {
            pods.iter()
                .any(|pod| pod["metadata"]["annotations"]["lockkeeper.dev/test-crash"] == "true")
        };
        eventually("a pod of the new one is there", || all_pods(&shop, &name), crashes).await;
        let declared = shop.get(kind, &name).await["spec"]["template"].clone();
        start(&shop, &by, &place);
        stopped(&shop, kind, &name).await;
        end(&shop, &by, &place);
        let crashes_again = |object: &Value| {
            object["spec"]["replicas"] == 2 && object["spec"]["template"] == declared
        };
        eventually("it is declared again", || shop.get(kind, &name), crashes_again).await;
        eventually("it starts again", || all_pods(&shop, &name), crashes).await;
    }
}

#[tokio::test]
async fn p24_who_lacks_the_verb_neither_begins_nor_ends_a_maintenance() {
    let _operator = operator();
    let shop = Shop::gated("no-verb").await;
    let (by, dev) = (maintainer(&shop), Person::new(&shop, "dev", &["lockkeeper-approver"]));
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        let needs = ["needs verb maintain on upgradepolicies.lockkeeper.dev"];
        let said = dev.plugin(&shop, &["maintenance", "start", &place, "--stop"]);
        says(&said, false, &needs);
        assert_eq!(mark(&shop.get(kind, &name).await, "maintenance"), None);
        start(&shop, &by, &place);
        stopped(&shop, kind, &name).await;
        says(&dev.plugin(&shop, &["maintenance", "end", &place]), false, &needs);
        let dropped = "lockkeeper.dev/maintenance-";
        shop.kubectl(&["annotate", &place, dropped, "--as=dev"]);
        let object = stopped(&shop, kind, &name).await;
        assert_eq!(mark(&object, "maintenance").as_deref(), Some("Stop: restore the backup"));
        assert_eq!(mark(&object, "maintenance-by").as_deref(), Some("maintainer"));
        end(&shop, &by, &place);
        in_service(&shop, kind, &name).await;
    }
}

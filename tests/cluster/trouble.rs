//! What goes wrong for one workload, or for all, and what is seen of it.

use std::net::TcpListener;

use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use crate::{
    support::plugin::plugin,
    support::{
        Shop, env, eventually, kubectl, mark, metrics, operator, operator_address, operator_alone,
        written,
    },
};

fn apply(object: &Value) {
    let file = std::env::temp_dir().join(format!("lockkeeper-{:x}.json", rand::random::<u64>()));
    std::fs::write(&file, object.to_string()).unwrap();
    kubectl(&["apply", "-f", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
}

/// Refuses patches of workloads labelled `refuse: NAME`, without a server.
fn refuse(name: &str) {
    apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "matchConstraints": {
                "objectSelector": {"matchLabels": {"refuse": name}},
                "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]},
            "matchConditions": [{"name": "operator", "expression": "request.userInfo.username.endsWith(':lockkeeper')"}],
            "validations": [{"expression": "false", "message": "no change on a Friday"}]}},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]}},
    ]}));
}

#[tokio::test]
async fn p5_a_workload_that_is_refused_or_hangs_delays_no_other_and_is_tried_until_it_works() {
    let _operator = operator();
    let shop = Shop::governed("trouble").await;
    let policy = shop.name.clone();
    shop.config_map("app", &[("key", "old")]).await;
    let names: Vec<_> = (0..8)
        .map(|number| format!("web-{number}"))
        .chain(["refused".into(), "hanging".into()])
        .collect();
    for name in &names {
        shop.deployment(name, json!({"env": env("KEY", "app", "key")})).await;
    }
    shop.adopted().await;
    shop.patch("Deployment", "refused", json!({"metadata": {"labels": {"refuse": policy}}})).await;
    shop.patch("Deployment", "hanging", json!({"metadata": {"labels": {"hang": policy}}})).await;
    refuse(&policy);
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let port = silent.local_addr().unwrap().port();
    apply(
        &json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": policy}, "webhooks": [{
        "name": "hang.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 30, "failurePolicy": "Fail",
        "clientConfig": {"url": format!("https://127.0.0.1:{port}/")},
        "objectSelector": {"matchLabels": {"hang": policy}},
        "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]}]}),
    );
    let user = "--as=system:serviceaccount:lockkeeper-system:lockkeeper";
    eventually(
        "the refusal is in force",
        || async {
            let mut dry = local_cluster::shared().command("kubectl");
            dry.args([
                "annotate",
                "deployment/refused",
                "x=y",
                "--overwrite",
                "--dry-run=server",
                "-n",
                &shop.name,
                user,
            ]);
            !dry.output().unwrap().status.success()
        },
        |refused| *refused,
    )
    .await;

    let mut taken = Vec::new();
    let asked = || {
        let tried = ["annotate", "deployment/hanging", "x=y", "--overwrite", "--dry-run=server"];
        shop.run("kubectl", &[&tried[..], &["--request-timeout=2s"]].concat(), None);
        taken.extend(silent.accept());
        let connections = taken.len();
        async move { connections }
    };
    eventually("the webhook is in force", asked, |connections| *connections > 0).await;

    shop.write("app", "key", "new").await;
    for name in names.iter().filter(|name| name.starts_with("web")) {
        shop.rolled(name, 1).await;
    }
    assert_eq!((shop.rollouts("refused").await, shop.rollouts("hanging").await), (0, 0));
    shop.stands_saying("refused", "Waiting", "PatchRefused", &["no change on a Friday"]).await;
    let counted = |metrics: &String| {
        metrics.contains(r#"lockkeeper_actions_total{action="Roll",outcome="Refused"}"#)
    };
    eventually("the refusal is counted", metrics, counted).await;
    shop.stands("hanging", "Waiting", "PatchFailing").await;
    shop.operator_has_acted().await;

    kubectl(&[
        "delete",
        "validatingadmissionpolicybinding,validatingadmissionpolicy,validatingwebhookconfiguration",
        &policy,
        "--ignore-not-found",
    ]);
    drop((silent, taken));
    for name in ["refused", "hanging"] {
        shop.rolled(name, 1).await;
        shop.all_read(name, "KEY", "new").await;
    }
    shop.up_to_date().await;
}

/// The schema refuses what it can at apply time; what was stored under another schema is still
/// there.
#[tokio::test]
async fn p15_a_policy_that_cannot_be_read_says_so_and_disturbs_no_other_exclusively() {
    let _alone = operator_alone();
    let shop = Shop::governed("invalid").await;
    shop.config_map("app", &[("key", "old")]).await;
    shop.deployment("web", json!({"env": env("KEY", "app", "key")})).await;
    shop.adopted().await;
    let schema = |schema: &str| {
        let patch = format!(
            r#"[{{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": {schema}}}]"#
        );
        kubectl(&["patch", "crd", "upgradepolicies.lockkeeper.dev", "--type=json", "-p", &patch]);
    };
    let strict = kubectl(&[
        "get",
        "crd",
        "upgradepolicies.lockkeeper.dev",
        "-o",
        "jsonpath={.spec.versions[0].schema.openAPIV3Schema}",
    ]);
    schema(r#"{"type": "object", "x-kubernetes-preserve-unknown-fields": true}"#);
    let bad = || async {
        let bad = json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy", "metadata": {"name": "bad"}, "spec": {"selector": {}, "config": "yes"}});
        shop.api("UpgradePolicy")
            .create(&PostParams::default(), &serde_json::from_value(bad).unwrap())
            .await
            .is_ok()
    };
    eventually("the loose schema is in force", bad, |created| *created).await;
    let ready = |policy: &Value| {
        policy["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["type"] == "Ready")
            .cloned()
    };
    let policy = eventually(
        "it says so",
        || shop.get("UpgradePolicy", "bad"),
        |policy| ready(policy).is_some(),
    )
    .await;
    schema(&strict);
    let ready = ready(&policy).unwrap();
    assert_eq!(
        (ready["status"].as_str(), ready["reason"].as_str()),
        (Some("False"), Some("InvalidSpec"))
    );
    assert!(
        ready["message"].as_str().unwrap().starts_with("spec: invalid type: string"),
        "{ready}"
    );
    shop.write("app", "key", "new").await;
    shop.rolled("web", 1).await;
}

#[tokio::test]
async fn p15_garbage_in_our_annotations_is_adopted_again_and_rolls_nothing() {
    let _operator = operator();
    let shop = Shop::governed("garbage").await;
    shop.config_map("app", &[("key", "old")]).await;
    for name in ["config", "governance", "rollouts", "rollout"] {
        shop.deployment(name, json!({"env": env("KEY", "app", "key")})).await;
    }
    shop.adopted().await;
    for name in ["config", "governance", "rollouts", "rollout"] {
        let key = format!("lockkeeper.dev/{name}");
        shop.patch(
            "Deployment",
            name,
            json!({"metadata": {"annotations": {key: "{\"v\": [garbage"}}}),
        )
        .await;
    }
    shop.operator_has_acted().await;
    // What is written before a workload is adopted again is taken as it is, and rolls nothing.
    for name in ["config", "governance", "rollouts", "rollout"] {
        let adopted = |object: &Value| {
            mark(object, "config").is_some() && !object.to_string().contains("[garbage")
        };
        eventually("it is adopted again", || shop.get("Deployment", name), adopted).await;
    }
    shop.write("app", "key", "new").await;
    for name in ["config", "governance", "rollouts", "rollout"] {
        shop.rolled(name, 1).await;
    }
    shop.up_to_date().await;
}

#[tokio::test]
async fn p11_no_byte_of_a_secret_is_seen_anywhere_and_large_ones_are_digested() {
    let _operator = operator();
    let shop = Shop::governed("secret").await;
    let canary = "correct-horse-battery-staple";
    let big = "x".repeat(1000 * 1000);
    shop.secret("big", &[("key", canary), ("rest", &big)]).await;
    let keys: Vec<_> = (0..500).map(|number| format!("key-{number}")).collect();
    shop.config_map("many", &keys.iter().map(|key| (key.as_str(), "v")).collect::<Vec<_>>()).await;
    shop.deployment("web", json!({"image": "other", "envFrom": [{"secretRef": {"name": "big"}}, {"configMapRef": {"name": "many"}}]}))
        .await;
    shop.adopted().await;
    let changed = format!("{canary}-2");
    shop.patch("Secret", "big", json!({"stringData": {"key": changed}})).await;
    shop.rolled("web", 1).await;
    shop.write("many", "key-499", "w").await;
    shop.rolled("web", 2).await;
    shop.up_to_date().await;
    shop.event("web", "ConfigRollout").await;
    let events = shop.api("Event").list(&ListParams::default()).await.unwrap().items;
    let log = kubectl_logs();
    assert!(log.contains("Secret/big"), "the log told of it");
    let places = [
        serde_json::to_string(&events).unwrap(),
        shop.get("Deployment", "web").await.to_string(),
        shop.get("UpgradePolicy", "shop").await.to_string(),
        metrics().await,
        log,
    ];
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(canary);
    for place in places {
        assert!(
            !place.contains(canary) && !place.contains(encoded.trim_end_matches('=')),
            "a secret in {place:.300}"
        );
    }
}

/// The operator's log: the local cluster keeps each container's beside its kubeconfig.
fn kubectl_logs() -> String {
    let pods = local_cluster::shared().kubeconfig.with_file_name("pods").join("lockkeeper-system");
    let logs = std::fs::read_dir(pods)
        .unwrap()
        .flatten()
        .map(|pod| std::fs::read_to_string(pod.path().join("lockkeeper.log")).unwrap_or_default());
    logs.collect()
}

#[tokio::test]
async fn a_workload_made_again_under_its_name_is_another_one() {
    let _operator = operator();
    let shop = Shop::governed("again").await;
    shop.config_map("app", &[("key", "old")]).await;
    shop.deployment("web", json!({"env": env("KEY", "app", "key")})).await;
    shop.adopted().await;
    let mut copy = shop.get("Deployment", "web").await;
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        copy["metadata"].as_object_mut().unwrap().remove(field);
    }
    shop.delete("Deployment", "web").await;
    shop.write("app", "key", "new").await;
    let object = serde_json::from_value(copy).unwrap();
    shop.api("Deployment").create(&PostParams::default(), &object).await.unwrap();
    shop.operator_has_acted().await;
    assert_eq!(shop.rollouts("web").await, 0, "the copied record was made for another object");
    shop.all_read("web", "KEY", "new").await;
    shop.up_to_date().await;
}

#[tokio::test]
async fn a_rollout_without_progress_has_failed_and_says_what_is_wrong_with_which_pod() {
    let _operator = operator();
    let shop = Shop::open("failed").await;
    shop.policy(json!({"config": {"settle": "200ms"}, "rollout": {"deadline": "4s"}})).await;
    shop.config_map("app", &[("key", "old")]).await;
    shop.workload("Deployment", "web", 2, json!({"env": env("KEY", "app", "key")})).await;
    shop.adopted().await;
    let crash = json!({"spec": {"template": {"metadata": {"annotations": {"lockkeeper.dev/test-crash": "true"}}}}});
    shop.patch("Deployment", "web", crash).await;
    // Between two crashes the pod runs, and nothing is wrong with it.
    let named = |entry: &Value| entry["message"].as_str().unwrap().contains("CrashLoopBackOff");
    eventually("the pod is named", || shop.stands("web", "Failed", "DeadlineExceeded"), named)
        .await;
    let columns = kubectl(&["get", "upgradepolicies", "-n", &shop.name]);
    assert!(columns.contains("FAILED"), "{columns}");
    let cure = json!({"spec": {"template": {"metadata": {"annotations": {"lockkeeper.dev/test-crash": null}}}}});
    shop.patch("Deployment", "web", cure).await;
    shop.up_to_date().await;
}

#[tokio::test]
async fn p14_at_rest_the_operator_writes_nothing_exclusively() {
    let _alone = operator_alone();
    let shop = Shop::governed("rest").await;
    shop.config_map("app", &[("key", "old")]).await;
    shop.deployment("web", json!({"env": env("KEY", "app", "key")})).await;
    shop.adopted().await;
    shop.operator_has_acted().await;
    shop.up_to_date().await;
    // Statuses whose wording changed are written after half a minute; two equal readings in a row,
    // that far apart, are rest. None at all is a replica that has led for a moment only.
    let mut before = Vec::new();
    let rested = || async {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        let now = written(&operator_address().await);
        if now.is_empty() {
            shop.operator_has_acted().await;
        }
        now
    };
    shop.patiently("two equal readings", rested, |now| {
        let same = !now.is_empty() && *now == before;
        before.clone_from(now);
        same
    })
    .await;
}

/// The API server accepts a time whose year is 10000 in UTC, and serves it. Such an object stops
/// nothing but what depends on it.
#[tokio::test]
async fn one_object_that_cannot_be_read_is_reported_and_stops_no_other() {
    let _operator = operator();
    let shop = Shop::governed("unreadable").await;
    for name in ["web", "reads", "owns"] {
        shop.config_map(name, &[("key", "old")]).await;
        shop.deployment(name, json!({"env": env("KEY", name, "key")})).await;
    }
    shop.adopted().await;
    let sets = shop.kubectl(&["get", "replicasets", "-o", "name"]);
    let set = sets.lines().find(|name| name.contains("/owns-")).unwrap();
    let late = |version: &str, fields: Value| {
        let entry = json!({"manager": "clock", "operation": "Update", "apiVersion": version, "time": "9999-12-31T23:59:59-12:00",
            "fieldsType": "FieldsV1", "fieldsV1": fields});
        json!({"metadata": {"managedFields": [entry]}}).to_string()
    };
    shop.kubectl(&[
        "patch",
        "configmap",
        "reads",
        "--type=merge",
        "-o",
        "name",
        "-p",
        &late("v1", json!({"f:data": {"f:key": {}}})),
    ]);
    shop.kubectl(&[
        "patch",
        set,
        "--type=merge",
        "-o",
        "name",
        "-p",
        &late("apps/v1", json!({"f:spec": {"f:replicas": {}}})),
    ]);
    let served =
        shop.kubectl(&["get", "configmap", "reads", "-o", "json", "--show-managed-fields"]);
    assert!(served.contains("10000-01-01T11:59:59Z"), "the API server takes it: {served}");

    let set_name = set.rsplit('/').next().unwrap();
    for name in ["reads", set_name] {
        let note = shop.event(name, "UnreadableObject").await;
        assert!(note.contains("metadata.managedFields["), "{note}");
    }
    for (workload, object) in
        [("reads", "ConfigMap/reads"), ("owns", &format!("ReplicaSet/{set_name}"))]
    {
        let left = shop.stands(workload, "Waiting", "UnreadableObject").await;
        assert!(
            left["message"]
                .as_str()
                .unwrap()
                .contains(&format!("{object} cannot be read: metadata.managedFields[")),
            "{left}"
        );
    }
    shop.write("web", "key", "new").await;
    shop.write("owns", "key", "new").await;
    shop.rolled("web", 1).await;
    assert_eq!(shop.rollouts("owns").await, 0, "it is left as it is");
    let counted = |metrics: &String| {
        ["ConfigMap", "ReplicaSet"].iter().all(|kind| {
            metrics.contains(&format!("lockkeeper_unreadable_objects{{kind=\"{kind}\"}} 1"))
        })
    };
    eventually("both are counted", metrics, counted).await;
    let said = plugin(&shop, &["why", "deployment/owns"]).text;
    assert!(
        said.contains(&format!(
            "warning: replicasets: {set_name} in namespace {} cannot be read and is left out",
            shop.name
        )),
        "{said}"
    );

    // The entry goes away, and with it all that was wrong.
    for object in ["configmap/reads", set] {
        shop.kubectl(&[
            "patch",
            object,
            "--type=merge",
            "-o",
            "name",
            "-p",
            r#"{"metadata": {"managedFields": [{}]}}"#,
        ]);
    }
    shop.rolled("owns", 1).await;
    shop.up_to_date().await;
}

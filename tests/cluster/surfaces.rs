//! What a user can write, and what they are told.

use serde_json::{Value, json};

use crate::support::{Shop, eventually, kubectl, operator};

#[tokio::test]
async fn every_rule_of_the_schema_accepts_and_refuses_with_a_sentence() {
    let _operator = operator();
    let shop = Shop::open("schema").await;
    let with = |path: &str, value: Value| {
        let mut spec = json!({"selector": {}, "config": {}, "rollout": {}});
        let mut place = &mut spec;
        for step in path.split('.') {
            place = &mut place[step];
        }
        *place = value;
        spec
    };
    let cases = [
        (
            with("config.settle", json!("30s")),
            with("config.settle", json!("31s")),
            "settle must not be longer than settleLimit",
        ),
        (
            with("config.settleLimit", json!("1h")),
            with("config.settleLimit", json!("2h")),
            "at most 1h",
        ),
        (
            with("config.settle", json!("500ms")),
            with("config.settle", json!("1 day")),
            "should match",
        ),
        (
            with("config.limit.max", json!(100)),
            with("config.limit.max", json!(0)),
            "greater than or equal to 1",
        ),
        (
            with("config.limit.window", json!("168h")),
            with("config.limit.window", json!("0s")),
            "from 1s to 168h",
        ),
        (
            with("rollout.deadline", json!("1s")),
            with("rollout.deadline", json!("200h")),
            "from 1s to 168h",
        ),
        (
            with(
                "maintenance",
                json!({"mode": "Sleep", "keepRunning": ["proxy"], "remindAfter": "1m"}),
            ),
            with("maintenance", json!({"remindAfter": "30s"})),
            "from 1m to 8760h",
        ),
        (
            with("maintenance", json!({"mode": "Stop"})),
            with("maintenance", json!({"mode": "Nap"})),
            "supported values",
        ),
        (
            with("maintenance", json!({"keepRunning": []})),
            with("maintenance", json!({"keepRunning": ["Proxy"]})),
            "should match",
        ),
        (
            with("offline", json!({"when": "Always", "migrate": {"by": "Person"}})),
            with("offline", json!({"migrate": {}})),
            "Required value",
        ),
        (
            with("offline", json!({})),
            with("offline", json!({"when": "Sometimes"})),
            "supported values",
        ),
        (with("kinds", json!(["DaemonSet"])), with("kinds", json!(["Job"])), "supported values"),
        (with("kinds", json!(["Deployment"])), with("kinds", json!([])), "at least 1"),
        (with("mode", json!("Freeze")), with("mode", json!("Sometimes")), "supported values"),
        (
            with("whenUngoverned", json!("Keep")),
            with("whenUngoverned", json!("Forget")),
            "supported values",
        ),
        (
            with("gates", json!({"approval": "RequiredFromOther"})),
            with("gates", json!({"approval": "Perhaps"})),
            "supported values",
        ),
        (
            with("gates", json!({"appliesTo": ["Config"]})),
            with("gates", json!({"appliesTo": []})),
            "at least 1",
        ),
        (
            with(
                "gates",
                json!({"windows": [{"type": "Deny", "schedule": "0 2 * * *", "duration": "744h"}]}),
            ),
            with("gates", json!({"windows": [{"schedule": "0 2 * * *", "duration": "745h"}]})),
            "from 1m to 744h",
        ),
        (
            with(
                "gates",
                json!({"windows": [{"schedule": "0 2 * * *", "duration": "1m", "timeZone": "Europe/Zurich"}]}),
            ),
            with("gates", json!({"windows": [{"schedule": "2", "duration": "1m"}]})),
            "at least 9",
        ),
        (
            with("priority", json!(-5)),
            with("priority", json!(2_000_000)),
            "less than or equal to 1000000",
        ),
        (
            with(
                "selector.matchExpressions",
                json!([{"key": "a", "operator": "In", "values": ["b"]}]),
            ),
            with("selector.matchExpressions", json!([{"key": "a", "operator": "In"}])),
            "In and NotIn need values",
        ),
        (
            with("selector.matchExpressions", json!([{"key": "a", "operator": "Exists"}])),
            with("selector.matchExpressions", json!([{"key": "a", "operator": "Like"}])),
            "operator must be In, NotIn, Exists or DoesNotExist",
        ),
        (
            with("selector.matchLabels", json!({"a.b/c": "d"})),
            with("selector.matchLabels", json!({"a": "no value!"})),
            "should match",
        ),
        (
            with("selector.matchLabels", json!({"a": ""})),
            with("selector.matchLabels", json!({"/a": "b"})),
            "keys must be label keys",
        ),
        (
            with("config.include", json!([{"kind": "Secret", "name": "a-*", "keys": ["*.lic"]}])),
            with("config.include", json!([{"kind": "Secret", "name": "A b"}])),
            "lower-case letters",
        ),
        (
            with("config.exclude", json!([{"kind": "ConfigMap", "name": "a"}])),
            with("config.exclude", json!([{"kind": "ConfigMap", "name": "a", "keys": ["a/b"]}])),
            "should match",
        ),
    ];
    let policies = shop.api("UpgradePolicy");
    let dry = kube::api::PostParams { dry_run: true, ..Default::default() };
    let object = |name: &str, spec: &Value| {
        serde_json::from_value(
            json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy", "metadata": {"name": name}, "spec": spec}),
        )
        .unwrap()
    };
    for (good, bad, sentence) in cases {
        policies
            .create(&dry, &object("shop", &good))
            .await
            .unwrap_or_else(|error| panic!("{good} was refused: {error}"));
        let refused = policies
            .create(&dry, &object("shop", &bad))
            .await
            .expect_err(&format!("{bad} was accepted"))
            .to_string();
        assert!(refused.contains(sentence), "{bad}: {refused}");
    }
    let long = policies
        .create(&dry, &object(&"x".repeat(64), &json!({"selector": {}})))
        .await
        .unwrap_err()
        .to_string();
    assert!(long.contains("at most 63 characters"), "{long}");
}

#[tokio::test]
async fn the_samples_are_accepted_and_explain_knows_the_fields() {
    let _operator = operator();
    let shop = Shop::open("samples").await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/samples");
    kubectl(&["apply", "-n", &shop.name, "--dry-run=server", "-f", folder]);
    let text = kubectl(&["explain", "upgradepolicies.spec.config.settle"]);
    assert!(
        text.contains("The quiet time after the last change") && text.contains("Default: 2s"),
        "{text}"
    );
    let text = kubectl(&["explain", "upgradepolicies.spec.mode"]);
    assert!(text.contains("Freeze: Hold every change"), "{text}");
    kubectl(&["get", "lockkeeper", "-n", &shop.name]);
}

#[tokio::test]
async fn kubectl_get_tells_the_story() {
    let _operator = operator();
    let shop = Shop::governed("columns").await;
    shop.config_map("app", &[("key", "old")]).await;
    shop.deployment(
        "web",
        json!({"image": "other", "envFrom": [{"configMapRef": {"name": "app"}}]}),
    )
    .await;
    shop.adopted().await;
    let table = kubectl(&["get", "up", "-n", &shop.name]);
    let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        head,
        [
            "NAME",
            "MODE",
            "WORKLOADS",
            "UP-TO-DATE",
            "WAITING",
            "ROLLING",
            "FAILED",
            "READY",
            "ENFORCED",
            "AGE"
        ]
    );
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..8], ["shop", "Enforce", "1", "1", "0", "0", "0", "True"]);
    shop.write("app", "key", "new").await;
    shop.rolled("web", 1).await;
    kubectl(&["wait", "--for=condition=UpToDate", "up/shop", "-n", &shop.name, "--timeout=290s"]);
    let events = || async { kubectl(&["events", "-n", &shop.name, "--for", "deployment/web"]) };
    let all = |events: &String| {
        ["ConfigChanged", "ConfigRollout", "RolloutDone"]
            .iter()
            .all(|reason| events.contains(reason))
    };
    eventually("the events tell it", events, all).await;
}

//! What a pod template reads.

use lockkeeper::core::config::references::of_template;
use serde_json::{Value, json};

fn reads(spec: Value) -> Vec<String> {
    of_template(&json!({"spec": spec}))
        .iter()
        .map(|one| format!("{one}{}", if one.optional { "?" } else { "" }))
        .collect()
}

#[test]
fn environment_variables_read_their_key_and_env_from_reads_all() {
    let container = json!({"env": [
        {"name": "A", "value": "plain"},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "b"}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "c", "optional": true}}},
        {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ], "envFrom": [{"prefix": "X_", "configMapRef": {"name": "all"}}, {"secretRef": {"name": "more", "optional": true}}]});
    let expected = ["ConfigMap/all", "ConfigMap/app[b]", "Secret/more?", "Secret/pass[c]?"];
    assert_eq!(reads(json!({"containers": [container]})), expected);
    assert_eq!(reads(json!({"containers": [], "initContainers": [container]})), expected);
}

#[test]
fn volumes_count_if_some_container_mounts_them() {
    let spec = |mounted: &str| {
        json!({
            "containers": [{"name": "app"}],
            "initContainers": [{"name": "sidecar", "restartPolicy": "Always", "volumeMounts": [{"name": mounted, "mountPath": "/x", "subPath": "y"}]}],
            "volumes": [
                {"name": "all", "configMap": {"name": "app"}},
                {"name": "some", "secret": {"secretName": "pass", "items": [{"key": "a", "path": "a"}, {"key": "b", "path": "b"}]}},
                {"name": "mixed", "projected": {"sources": [
                    {"configMap": {"name": "one", "optional": true}}, {"secret": {"name": "two", "items": [{"key": "k", "path": "p"}]}},
                    {"serviceAccountToken": {"path": "token"}}, {"downwardAPI": {}}]}},
                {"name": "scratch", "emptyDir": {}},
            ],
            "imagePullSecrets": [{"name": "registry"}],
        })
    };
    assert_eq!(reads(spec("all")), ["ConfigMap/app"]);
    assert_eq!(reads(spec("some")), ["Secret/pass[a]", "Secret/pass[b]"]);
    assert_eq!(reads(spec("mixed")), ["ConfigMap/one?", "Secret/two[k]"]);
    assert_eq!(reads(spec("scratch")), [""; 0]);
}

#[test]
fn one_that_is_required_anywhere_is_required() {
    let env = |optional: bool| json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "a", "optional": optional}}});
    assert_eq!(
        reads(json!({"containers": [{"env": [env(true), env(false)]}]})),
        ["ConfigMap/app[a]"]
    );
}

#[test]
fn p15_what_is_malformed_is_passed_over() {
    for spec in [
        json!(null),
        json!([]),
        json!({"containers": {"a": 1}}),
        json!({"containers": [null, 7, {"env": "x", "envFrom": [{"configMapRef": {}}], "volumeMounts": [{}]}], "volumes": [{"name": 3}]}),
    ] {
        assert_eq!(reads(spec), [""; 0]);
    }
}

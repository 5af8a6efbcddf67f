//! `kubectl lockkeeper plan` reads YAML as kubectl does.

use local_cluster::shared;
use serde_json::{Value, json};

use crate::{
    plugin_plan::has,
    support::plugin::ran,
    support::{Shop, operator},
};

/// The table by which the plugin's reader is tested, and what the real kubectl makes of it.
#[tokio::test]
async fn the_plugin_reads_yaml_as_kubectl_does() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../model/cases/yaml.json")).unwrap();
    let shop = Shop::open("plan-yaml").await;
    let file = std::env::temp_dir().join(format!("{}.yaml", shop.name));
    let read = |spec: &str| {
        let text = format!(
            "apiVersion: example.com/v1\nkind: Thing\nmetadata: {{name: x}}\nspec:\n{spec}"
        );
        std::fs::write(&file, text).unwrap();
        let said = shop.run(
            "kubectl",
            &["label", "--local", "-f", file.to_str().unwrap(), "-o", "json", "a=b"],
            None,
        );
        said.success.then(|| serde_json::from_str::<Value>(&said.text).unwrap()["spec"].clone())
    };
    let (mut fields, mut expected) = (String::new(), json!({}));
    for (number, case) in cases.iter().enumerate() {
        let yaml = case["yaml"].as_str().unwrap();
        match case.get("value") {
            Some(value) => {
                fields += &format!("  v{number}: {yaml}\n");
                expected[format!("v{number}")] = value.clone();
            }
            None => assert_eq!(read(&format!("  v: {yaml}\n")), None, "{yaml}"),
        }
        match case["key"].as_str() {
            Some(key) => {
                fields += &format!("  k{number}:\n    {yaml}: a\n");
                expected[format!("k{number}")] = json!({key: "a"});
            }
            None if yaml.starts_with('.') => {}
            None => assert_eq!(read(&format!("  {yaml}: a\n")), None, "{yaml}"),
        }
    }
    let found = read(&fields).unwrap();
    let differ =
        expected.as_object().unwrap().iter().filter(|(name, value)| found[*name] != **value);
    let differ: Vec<_> =
        differ.map(|(name, value)| format!("{name}: {} for {value}", found[name])).collect();
    assert!(cases.len() > 50 && differ.is_empty(), "{differ:#?}");
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn the_plugin_plans_no_change_where_a_manifest_says_the_same_in_yaml_1_1() {
    let _operator = operator();
    let shop = Shop::gated("plan-octal").await;
    shop.secret("s", &[("a", "1")]).await;
    let manifest = |tag: &str, label: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, labels: {{app: web, x: {label}}}}}\nspec:\n  replicas: 1\n  \
             selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}, annotations: {{on: \"yes\", 0400: \"1\"}}}}\n    \
             spec:\n      automountServiceAccountToken: no\n      containers:\n      - name: app\n        image: other:{tag}\n        stdin: off\n        \
             resources: {{requests: {{cpu: 0.50, memory: 1e3}}}}\n        volumeMounts: [{{name: s, mountPath: /s, readOnly: yes}}]\n      \
             volumes: [{{name: s, secret: {{secretName: s, defaultMode: 0400, items: [{{key: a, path: a, mode: 0o600}}]}}}}]\n"
        )
    };
    let file = std::env::temp_dir().join(format!("{}.yaml", shop.name));
    std::fs::write(&file, manifest("v1", "a")).unwrap();
    shop.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    shop.marked("Deployment", "web").await;
    let plan =
        |text: &str| ran(&shop, &shared().kubeconfig, &["plan", "-f", "-", "--exit-code"], text);
    has(&plan(&manifest("v1", "a")), 0, &["Nothing would happen"]);
    let ran = plan(&manifest("v2", "a"));
    has(&ran, 10, &["deployment/web would be held", "other:v1 -> other:v2"]);
    assert!(!ran.out.contains("defaultMode") && !ran.out.contains("annotations"), "{ran:?}");
    // A number for a label: in the words of the API server.
    for label in ["0400", "yes", "1.10"] {
        has(
            &plan(&manifest("v1", label)),
            10,
            &["deployment/web would be refused", "The API server says", "metadata.labels"],
        );
    }
}

//! The condition by which the API server asks the webhook, `concerns.cel` of the chart: no write
//! that the rules change is kept from it.

use std::{collections::HashMap, sync::Arc};

use cel::{Context, Env, Program, Value as Cel, objects::Map};
use model::admission::{Operation, Twin, Write, generate};
use serde_json::{Value, json};

const CONDITION: &str = include_str!("../../charts/lockkeeper/webhook/concerns.cel");

struct Condition(Arc<Env>, Program);

impl Condition {
    fn read() -> Self {
        let env = Env::stdlib();
        let program = env.compile(CONDITION).unwrap();
        Self(Arc::new(env), program)
    }

    fn holds(&self, old: &Value, new: &Value) -> bool {
        let mut context = Context::with_env(self.0.clone());
        context.add_variable_from_value("object", to_cel(new));
        context.add_variable_from_value("oldObject", to_cel(old));
        match self.1.execute(&context) {
            Ok(Cel::Bool(holds)) => holds,
            other => panic!("{other:?}: {old} {new}"),
        }
    }
}

fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(is) => Cel::Bool(*is),
        Value::Number(number) => Cel::Int(number.as_i64().unwrap()),
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone().into(), to_cel(value)));
            Cel::Map(Map { map: Arc::new(fields.collect::<HashMap<_, _>>()) })
        }
    }
}

/// As it is stored: without labels or annotations that are an empty map.
fn stored(object: &Value) -> Value {
    let mut object = object.clone();
    for pointer in ["/metadata", "/spec/template/metadata"] {
        let Some(Value::Object(metadata)) = object.pointer_mut(pointer) else { continue };
        metadata.retain(|_, value| *value != json!({}));
    }
    object
}

/// How many updates of governed workloads do not concern the rules.
fn spared(condition: &Condition, writes: &[(String, Write)]) -> usize {
    let mut spared = 0;
    for (name, write) in writes {
        let of_concern = ["Deployment", "StatefulSet"].contains(&write.kind);
        let Some(old) = write.old.filter(|_| of_concern && write.operation == Operation::Update)
        else {
            continue;
        };
        let labelled =
            |object: &Value| object["metadata"]["labels"].get("lockkeeper.dev/governed").is_some();
        if !(labelled(old) || labelled(write.new)) || condition.holds(old, write.new) {
            continue;
        }
        spared += 1;
        // One that is refused is refused without the webhook too.
        if let Ok(admitted) = Twin::default().admit(write) {
            assert_eq!(stored(&admitted.object), stored(write.new), "{name}: the rules change it");
        }
    }
    spared
}

#[test]
fn p6_no_write_that_the_rules_change_is_kept_from_the_webhook() {
    let condition = Condition::read();
    let cases: Vec<Value> = serde_json::from_str(&model::admission::cases()).unwrap();
    let verbs: Vec<Vec<&str>> = cases
        .iter()
        .map(|case| case["verbs"].as_array().unwrap().iter().filter_map(Value::as_str).collect())
        .collect();
    let writes: Vec<_> = cases
        .iter()
        .zip(&verbs)
        .filter(|(case, _)| case["operation"] == "UPDATE")
        .map(|(case, verbs)| {
            let write = Write {
                kind: case["kind"].as_str().unwrap(),
                operation: Operation::Update,
                old: Some(&case["old"]).filter(|old| !old.is_null()),
                new: &case["new"],
                user: case["user"].as_str().unwrap(),
                verbs,
            };
            (case["name"].as_str().unwrap().to_owned(), write)
        })
        .collect();
    assert!(writes.len() > 150, "{} cases", writes.len());
    assert!(spared(&condition, &writes) > 0);
    let generated = generate::writes(1, 4000);
    let writes: Vec<_> = generated.iter().map(|made| (format!("{made:?}"), made.write())).collect();
    assert!(spared(&condition, &writes) > 10);
}

#[test]
fn what_is_scaled_annotated_or_finished_does_not_depend_on_the_webhook() {
    let condition = Condition::read();
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web", "lockkeeper.dev/governed": "webhook"},
            "annotations": {"lockkeeper.dev/hold-changes": "true", "lockkeeper.dev/config": "x"}},
        "spec": {"replicas": 2, "strategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}}},
        "status": {"replicas": 1}});
    let rows = [
        ("/spec/replicas", json!(5), false),
        ("/status", json!({"replicas": 2}), false),
        ("/metadata/labels/app", json!("other"), false),
        ("/spec/template/spec/containers/0/image", json!("app:2"), true),
        (
            "/spec/template/metadata",
            json!({"labels": {"app": "web"}, "annotations": {"a": "b"}}),
            true,
        ),
        ("/spec/strategy", json!({"type": "Recreate"}), true),
        ("/metadata/annotations/lockkeeper.dev~1config", json!("forged"), true),
        ("/metadata/annotations", json!({"lockkeeper.dev/config": "x"}), true),
        ("/metadata/labels", json!({"app": "web"}), true),
    ];
    for (pointer, value, concerns) in rows {
        let mut new = web.clone();
        *new.pointer_mut(pointer).unwrap() = value;
        assert_eq!(condition.holds(&web, &new), concerns, "{pointer}");
    }
    let with = |pointer: &str, key: &str, value: Value| {
        let mut new = web.clone();
        new.pointer_mut(pointer).unwrap()[key] = value;
        new
    };
    let annotated = with("/metadata/annotations", "team", json!("shop"));
    assert!(!condition.holds(&web, &annotated));
    let revision = with("/metadata/annotations", "deployment.kubernetes.io/revision", json!("7"));
    assert!(!condition.holds(&web, &revision), "the Deployment controller's own write");
    assert!(condition.holds(&web, &with("/spec", "paused", json!(true))));
    assert!(
        condition.holds(&web, &with("/metadata/annotations", "lockkeeper.dev/approve", json!("3")))
    );
    // What waits is judged at each write.
    let held = with("/metadata/annotations", "lockkeeper.dev/hold", json!("3 by ann"));
    assert!(condition.holds(&held, &held));
    // But its finalizers can be removed while no webhook answers.
    let mut going = held.clone();
    going["metadata"]["deletionTimestamp"] = json!("2026-11-20T10:00:00Z");
    let mut finalized = going.clone();
    finalized["metadata"]["finalizers"] = json!([]);
    assert!(!condition.holds(&going, &finalized));
    finalized["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
    assert!(condition.holds(&going, &finalized));
}

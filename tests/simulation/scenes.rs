//! What a run is about: its workloads, and the policies that its users choose from.

use serde_json::{Value, json};

/// Kind and name of a workload.
pub type At = (&'static str, &'static str);

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Changes wait for approvals.
    Approvals,
    /// Changes wait for what the pods say.
    Asked,
    /// The same, and the pods of StatefulSets go one by one.
    Walks,
}

impl Scene {
    /// By its name, for who replays a seed.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Approvals, Self::Asked, Self::Walks].into_iter().find(|scene| format!("{scene:?}").eq_ignore_ascii_case(name))
    }

    pub fn workloads(self) -> &'static [At] {
        &[("Deployment", "web"), ("StatefulSet", "db")]
    }

    /// Whether the pods are asked.
    pub fn asks(self) -> bool {
        self != Self::Approvals
    }

    /// What policies may say; the first is the one that is there at the beginning.
    pub fn policies(self) -> Vec<Value> {
        let app = |changes: Value| {
            let mut app = json!({"period": "2s", "brokenAfter": "20s"});
            app.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            app
        };
        match self {
            Self::Approvals => vec![
                json!({"gates": {"approval": "Required"}}),
                json!({"gates": {"approval": "Required", "appliesTo": ["Template"]}}),
                json!({"mode": "Freeze"}),
                json!({"mode": "Observe", "gates": {"approval": "Required"}}),
                json!({}),
                json!({"gates": {"approval": "Required"}, "whenUngoverned": "Keep"}),
                json!({"selector": {"matchLabels": {"managed": "no"}}, "gates": {"approval": "Required"}}),
                json!({"gates": {"approval": "Required", "windows": [{"schedule": "0 2 * * *", "duration": "1h", "timeZone": "Nowhere"}]}}),
            ],
            Self::Asked => {
                let prepare = json!({"timeout": "40s"});
                vec![
                    json!({"gates": {"app": app(json!({}))}}),
                    json!({"gates": {"app": app(json!({"successes": 2}))}}),
                    json!({"gates": {"app": app(json!({"prepare": prepare}))}}),
                    json!({"gates": {"app": app(json!({"prepare": prepare, "whenUnreachable": "Open"}))}}),
                    json!({"gates": {"app": app(json!({"whenUnreachable": "Open", "whenMissing": "Open"}))}}),
                    json!({"gates": {"app": app(json!({})), "appliesTo": ["Template"]}}),
                    json!({"mode": "Freeze", "gates": {"app": app(json!({"prepare": prepare}))}}),
                    json!({"mode": "Observe", "gates": {"app": app(json!({}))}}),
                    json!({"gates": {"app": app(json!({"prepare": prepare}))}, "whenUngoverned": "Keep"}),
                    json!({}),
                ]
            }
            Self::Walks => {
                let prepare = json!({"timeout": "40s"});
                vec![
                    json!({"gates": {"app": app(json!({"scope": "Pod"}))}}),
                    json!({"gates": {"app": app(json!({"scope": "Pod", "successes": 2}))}}),
                    json!({"gates": {"app": app(json!({"scope": "Pod", "prepare": prepare}))}}),
                    json!({"gates": {"app": app(json!({"scope": "Pod", "prepare": prepare})), "appliesTo": ["Template"]}}),
                    json!({"gates": {"app": app(json!({"scope": "Pod", "whenUnreachable": "Open"}))}}),
                    json!({"mode": "Freeze", "gates": {"app": app(json!({"scope": "Pod"}))}}),
                ]
            }
        }
    }
}

pub fn manifest(name: &str, image: &str) -> Value {
    let labels = json!({"app": name, "managed": "yes"});
    let container = json!({
        "name": "app", "image": image, "ports": [{"containerPort": 8080}], "envFrom": [{"configMapRef": {"name": "app"}}],
    });
    let mut template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
    put_image(&mut template, image);
    json!({"metadata": {"name": name, "labels": labels, "annotations": {"team": "a"}}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}})
}

/// An image whose pods are never ready.
pub fn is_broken(image: &str) -> bool {
    image.starts_with("broken")
}

/// Puts an image into a template.
pub fn put_image(template: &mut Value, image: &str) {
    template["spec"]["containers"][0]["image"] = json!(image);
    let ready = if is_broken(image) { json!("never") } else { Value::Null };
    template["metadata"]["annotations"]["lockkeeper.dev/test-ready"] = ready;
}

pub fn policy(changes: &Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"managed": "yes"}}, "config": {"settle": "1s", "settleLimit": "5s"}});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "shop"}, "spec": spec})
}

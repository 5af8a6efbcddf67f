//! What a run is about: its workloads, and the policies that its users choose from.

use serde_json::{Value, json};

use crate::volumes::mount;

/// Kind and name of a workload.
pub type At = (&'static str, &'static str);

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Changes wait for approvals.
    Approvals,
    /// Two people change the same workloads, and an approval must come from somebody else.
    FourEyes,
    /// Changes wait for what the pods say.
    Asked,
    /// The same, and the pods of StatefulSets go one by one.
    Walks,
    /// Workloads wait for each other.
    Steps,
    /// Two operators, of which one leads.
    Replicas,
    /// Workloads have volumes.
    Volumes,
}

impl Scene {
    /// By its name, for who replays a seed.
    pub fn named(name: &str) -> Option<Self> {
        [
            Self::Approvals,
            Self::FourEyes,
            Self::Asked,
            Self::Walks,
            Self::Steps,
            Self::Replicas,
            Self::Volumes,
        ]
        .into_iter()
        .find(|scene| format!("{scene:?}").eq_ignore_ascii_case(name))
    }

    pub fn workloads(self) -> &'static [At] {
        match self {
            Self::Steps => &[
                ("Deployment", "api"),
                ("StatefulSet", "db"),
                ("StatefulSet", "queue"),
                ("Deployment", "web"),
            ],
            Self::Volumes => &[("Deployment", "web"), ("StatefulSet", "db"), ("Deployment", "api")],
            _ => &[("Deployment", "web"), ("StatefulSet", "db")],
        }
    }

    /// Whether the pods are asked.
    pub fn asks(self) -> bool {
        !matches!(self, Self::Approvals | Self::FourEyes)
    }

    /// How many of the policies let everything through in the end.
    pub fn plain(self) -> usize {
        match self {
            Self::Approvals | Self::FourEyes => 0,
            Self::Asked => 6,
            Self::Walks => 6,
            Self::Steps => 7,
            Self::Replicas => 6 + 6,
            Self::Volumes => 6,
        }
    }

    /// What policies may say; the first is the one that is there at the beginning.
    pub fn policies(self) -> Vec<Value> {
        if self == Self::Replicas {
            let (mut asked, mut walks) = (Self::Asked.policies(), Self::Walks.policies());
            let frozen = [asked.split_off(6), walks.split_off(6)].concat();
            return [asked, walks, frozen].concat();
        }
        let app = |changes: Value| {
            let mut app = json!({"period": "2s", "brokenAfter": "20s"});
            app.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            app
        };
        match self {
            Self::Approvals => vec![
                json!({"gates": {"approval": "Required"}}),
                json!({"gates": {"approval": "RequiredFromOther"}}),
                json!({"gates": {"approval": "Required", "appliesTo": ["Template"]}}),
                json!({"mode": "Freeze"}),
                json!({"mode": "Observe", "gates": {"approval": "Required"}}),
                json!({}),
                json!({"gates": {"approval": "Required"}, "whenUngoverned": "Keep"}),
                json!({"selector": {"matchLabels": {"managed": "no"}}, "gates": {"approval": "Required"}}),
                json!({"gates": {"approval": "Required", "windows": [{"schedule": "0 2 * * *", "duration": "1h", "timeZone": "Nowhere"}]}}),
            ],
            Self::FourEyes => vec![json!({"gates": {"approval": "RequiredFromOther"}})],
            Self::Asked | Self::Replicas => {
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
                    json!({"gates": {"app": app(json!({"prepare": prepare}))}}),
                    json!({"mode": "Freeze", "gates": {"app": app(json!({"scope": "Pod"}))}}),
                    json!({"mode": "Freeze"}),
                    json!({}),
                ]
            }
            Self::Volumes => {
                let prepare = json!({"timeout": "40s"});
                vec![
                    json!({"volumes": {}, "gates": {"app": app(json!({}))}}),
                    json!({"volumes": {"orphanedAfter": "30s"}}),
                    json!({"volumes": {"exclusiveClaims": "Recreate"}, "gates": {"app": app(json!({"prepare": prepare}))}}),
                    json!({"volumes": {"protection": "Deny"}}),
                    json!({"volumes": {}, "gates": {"app": app(json!({"scope": "Pod"}))}}),
                    json!({"volumes": {"readopt": "Never", "orphanedAfter": "30s"}}),
                    json!({"volumes": {}, "mode": "Freeze"}),
                    json!({"volumes": {}, "mode": "Observe"}),
                    json!({"volumes": {"exclusiveClaims": "WhenDeadlock"}}),
                    json!({"volumes": {"exclusiveClaims": "Report"}}),
                    json!({"volumes": {"exclusiveClaims": "Ignore", "protection": "None"}}),
                    json!({}),
                ]
            }
            Self::Steps => {
                let step =
                    |tier: &str| json!({"name": tier, "selector": {"matchLabels": {"tier": tier}}});
                let follows = |tier: &str| json!({"name": tier, "selector": {"matchLabels": {"tier": tier}}, "restartWith": "Previous"});
                let steps = json!([step("data"), step("logic"), step("front")]);
                let chain = json!([step("data"), follows("logic"), follows("front")]);
                let prepare = json!({"timeout": "40s"});
                vec![
                    json!({"gates": {"app": app(json!({}))}, "rollout": {"maxConcurrent": 1, "deadline": "60s", "steps": chain}}),
                    json!({"gates": {"app": app(json!({}))}, "rollout": {"deadline": "60s", "steps": steps, "onFailure": "Continue"}}),
                    json!({"rollout": {"maxConcurrent": 2, "deadline": "60s", "steps": steps}}),
                    json!({"rollout": {"deadline": "60s", "steps": chain, "onFailure": "Continue"}}),
                    json!({"gates": {"app": app(json!({"prepare": prepare}))}, "rollout": {"maxConcurrent": 1, "deadline": "60s"}}),
                    json!({"gates": {"app": app(json!({"scope": "Pod"}))}, "rollout": {"deadline": "60s", "steps": steps}}),
                    json!({"gates": {"app": app(json!({"prepare": prepare}))}, "rollout": {"maxConcurrent": 2, "deadline": "60s", "steps": chain}}),
                    json!({"mode": "Freeze", "rollout": {"deadline": "60s", "steps": steps}}),
                ]
            }
        }
    }
}

/// The claim that a Deployment names.
pub fn claim_name(workload: &str) -> &'static str {
    if workload == "api" { "single" } else { "data" }
}

pub fn manifest(scene: Scene, name: &str, image: &str) -> Value {
    let tier = match name {
        "db" | "queue" => "data",
        "api" => "logic",
        _ => "front",
    };
    let labels = json!({"app": name, "managed": "yes", "tier": tier});
    let container = json!({
        "name": "app", "image": image, "ports": [{"containerPort": 8080}], "envFrom": [{"configMapRef": {"name": "app"}}],
    });
    let mut template =
        json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
    put_image(&mut template, image);
    let mut manifest = json!({
        "metadata": {"name": name, "labels": labels, "annotations": {"team": "a"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template},
    });
    if scene == Scene::Volumes {
        let kind =
            scene.workloads().iter().find(|(_, one)| *one == name).map_or("", |(kind, _)| kind);
        mount(kind, name, &mut manifest);
    }
    manifest
}

/// An image whose pods are never ready.
pub fn is_broken(image: &str) -> bool {
    image.starts_with("broken")
}

pub fn image_of_pod(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// Puts an image into a template.
pub fn put_image(template: &mut Value, image: &str) {
    template["spec"]["containers"][0]["image"] = json!(image);
    let ready = if is_broken(image) { json!("never") } else { Value::Null };
    template["metadata"]["annotations"]["lockkeeper.dev/test-ready"] = ready;
}

pub fn policy(changes: &Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"managed": "yes"}}, "config": {"settle": "1s", "settleLimit": "5s", "limit": {"max": 100, "window": "1h"}}});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "shop"}, "spec": spec})
}

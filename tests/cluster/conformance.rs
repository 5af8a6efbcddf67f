//! The twin of the admission policies answers as the policies do; without this the simulation would
//! prove only itself.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{
    Api, Client, Config,
    api::{DynamicObject, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use local_cluster::shared;
use model::admission::{Admitted, Judge, OPERATOR, Operation, Refused, Twin, Write};
use serde_json::{Value, json};

use crate::support::{Shop, operator, resource};

/// A client that acts as somebody else.
pub async fn client_of(user: &str) -> Client {
    let text = std::fs::read_to_string(&shared().kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&text).unwrap(),
        &KubeConfigOptions::default(),
    )
    .await
    .unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    Client::try_from(config).unwrap()
}

/// What an object is like where nobody but admission had a say: no versions, no times, no managers,
/// no defaults of the API server's.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, value| {
            ["name", "labels", "annotations"].contains(&key.as_str())
                && !value.is_null()
                && value.as_object().is_none_or(|map| !map.is_empty())
        });
    }
    if let Some(all) = object.as_object_mut() {
        all.retain(|key, _| ["metadata", "spec"].contains(&key.as_str()));
    }
    for container in object["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        container.retain(|key, _| {
            !["imagePullPolicy", "resources", "terminationMessagePath", "terminationMessagePolicy"]
                .contains(&key.as_str())
        });
    }
    if let Some(Value::Object(rolling)) = object.pointer_mut("/spec/updateStrategy/rollingUpdate")
        && rolling.get("maxUnavailable") == Some(&json!(1))
    {
        // A default from 1.37 on.
        rolling.remove("maxUnavailable");
    }
    if let Some(of_template) = object["spec"]["template"]["metadata"].as_object_mut() {
        of_template.retain(|_, value| {
            !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
        });
    }
    object
}

async fn read(client: &Client, namespace: &str, kind: &str, name: &str) -> Value {
    let raw = |object: Result<Value, kube::Error>| object.unwrap();
    raw(match kind {
        "Deployment" => Api::<Deployment>::namespaced(client.clone(), namespace)
            .get(name)
            .await
            .map(|one| serde_json::to_value(one).unwrap()),
        _ => Api::<StatefulSet>::namespaced(client.clone(), namespace)
            .get(name)
            .await
            .map(|one| serde_json::to_value(one).unwrap()),
    })
}

async fn create(
    client: &Client,
    namespace: &str,
    kind: &str,
    object: &Value,
) -> Result<Value, kube::Error> {
    let params = PostParams::default();
    Ok(match kind {
        "Deployment" => {
            let object = serde_json::from_value(object.clone()).unwrap();
            serde_json::to_value(
                Api::<Deployment>::namespaced(client.clone(), namespace)
                    .create(&params, &object)
                    .await?,
            )
            .unwrap()
        }
        _ => {
            let object = serde_json::from_value(object.clone()).unwrap();
            serde_json::to_value(
                Api::<StatefulSet>::namespaced(client.clone(), namespace)
                    .create(&params, &object)
                    .await?,
            )
            .unwrap()
        }
    })
}

/// What a replace would make of an object; nothing is stored.
async fn replaced(
    client: &Client,
    namespace: &str,
    kind: &str,
    name: &str,
    object: &Value,
) -> Result<Value, kube::Error> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    Ok(match kind {
        "Deployment" => {
            let object = serde_json::from_value(object.clone()).unwrap();
            serde_json::to_value(
                Api::<Deployment>::namespaced(client.clone(), namespace)
                    .replace(name, &params, &object)
                    .await?,
            )
            .unwrap()
        }
        _ => {
            let object = serde_json::from_value(object.clone()).unwrap();
            serde_json::to_value(
                Api::<StatefulSet>::namespaced(client.clone(), namespace)
                    .replace(name, &params, &object)
                    .await?,
            )
            .unwrap()
        }
    })
}

/// What a write of the status would make of an object; nothing is stored.
async fn status_replaced(
    client: &Client,
    namespace: &str,
    kind: &str,
    name: &str,
    object: &Value,
) -> Result<Value, kube::Error> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(kind));
    let object = serde_json::from_value(object.clone()).unwrap();
    Ok(serde_json::to_value(api.replace_status(name, &params, &object).await?).unwrap())
}

/// Fits a case into this namespace.
fn placed(object: &Value, namespace: &str, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["name"] = json!(name);
    object["metadata"]["namespace"] = json!(namespace);
    for field in ["generation", "resourceVersion", "uid", "creationTimestamp", "managedFields"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object
}

/// An object as it is where the webhook judges: the cases have the label of the API server's.
fn judged_by_webhook(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(label) = object.pointer_mut("/metadata/labels/lockkeeper.dev~1governed")
        && *label == "true"
    {
        *label = json!("webhook");
    }
    object
}

/// Whether a message is this refusal; what may not be changed is named in no certain order.
pub fn says(message: &str, refused: &str) -> bool {
    let Some((what, fields)) = refused.split_once(" may not change ") else {
        return message.contains(refused);
    };
    message.contains(what) && fields.split(", ").all(|field| message.contains(field))
}

type Answers = (Result<Value, kube::Error>, Result<Admitted, Refused>);

/// The real policies and the twin, side by side.
struct Judges {
    shop: Shop,
    judge: Judge,
    clients: BTreeMap<String, Client>,
    compared: usize,
    wrong: Vec<String>,
}

impl Judges {
    async fn new(name: &str) -> Self {
        let shop = Shop::open(name).await;
        shop.kubectl(&[
            "create",
            "rolebinding",
            "operator",
            "--clusterrole=admin",
            "--serviceaccount=lockkeeper-system:lockkeeper",
        ]);
        let of_status = "--resource=deployments/status,statefulsets/status,daemonsets/status";
        shop.kubectl(&["create", "role", "status-writer", "--verb=update,patch", of_status]);
        shop.kubectl(&[
            "create",
            "rolebinding",
            "operator-status",
            "--role=status-writer",
            "--serviceaccount=lockkeeper-system:lockkeeper",
        ]);
        shop.may(OPERATOR, "create", "deployments.apps");
        shop.may(OPERATOR, "update", "statefulsets.apps/status");
        let clients = [(OPERATOR.to_owned(), client_of(OPERATOR).await)].into();
        let judge = if shop.kubernetes().await < 36 { Judge::Webhook } else { Judge::default() };
        Self { shop, judge, clients, compared: 0, wrong: Vec::new() }
    }

    /// A user who may edit workloads, and has these verbs; the name depends on them.
    async fn account(&mut self, user: &str, verbs: &[&str]) -> String {
        if user == OPERATOR {
            return user.to_owned();
        }
        let account = format!("{user}-{}", verbs.len());
        if !self.clients.contains_key(&account) {
            let shop = &self.shop;
            for role in ["admin", "status-writer"] {
                let (binding, role) = (
                    format!("{account}-{role}"),
                    format!("--{}={role}", if role == "admin" { "clusterrole" } else { "role" }),
                );
                shop.kubectl(&[
                    "create",
                    "rolebinding",
                    &binding,
                    &role,
                    &format!("--user={account}"),
                ]);
            }
            if !verbs.is_empty() {
                let mut arguments =
                    vec!["create", "role", &account, "--resource=upgradepolicies.lockkeeper.dev"];
                let flags: Vec<_> = verbs.iter().map(|verb| format!("--verb={verb}")).collect();
                arguments.extend(flags.iter().map(String::as_str));
                shop.kubectl(&arguments);
                shop.kubectl(&[
                    "create",
                    "rolebinding",
                    &account,
                    &format!("--role={account}"),
                    &format!("--user={account}"),
                ]);
            }
            shop.may(&account, "update", "statefulsets.apps");
            shop.may(&account, "update", "statefulsets.apps/status");
            for verb in verbs {
                shop.may(&account, verb, "upgradepolicies.lockkeeper.dev");
            }
            self.clients.insert(account.clone(), client_of(&account).await);
        }
        account
    }

    async fn compare(
        &mut self,
        what: &str,
        name: &str,
        (kind, operation): (&str, Operation),
        (old, new): (&Value, &Value),
        (user, verbs): (&str, &[&str]),
    ) {
        let account = self.account(user, verbs).await;
        let namespace = &self.shop.name;
        let (old, new) = match self.judge {
            Judge::Webhook => (&judged_by_webhook(old), &judged_by_webhook(new)),
            _ => (old, new),
        };
        // As the operator, whom nothing keeps from creating an object in any state.
        if create(&self.clients[OPERATOR], namespace, kind, &placed(old, namespace, name))
            .await
            .is_err()
        {
            return;
        }
        loop {
            let (real, twin) =
                self.both(name, (kind, operation), (old, new), (&account, verbs)).await;
            match (&real, &twin) {
                // The controllers write to it too.
                (Err(kube::Error::Api(status)), _) if status.code == 409 => continue,
                (Ok(real), Ok(twin)) if comparable(real) == comparable(&twin.object) => {}
                (Err(kube::Error::Api(status)), Err(refused))
                    if says(&status.message, &refused.0) => {}
                // What is invalid is refused later than in admission.
                (Err(kube::Error::Api(status)), Ok(_))
                    if status.code == 422 && !status.message.contains("Lockkeeper") => {}
                _ => self.wrong.push(format!(
                    "{what}:\n  real {}\n  twin {}",
                    shown(&real),
                    shown_twin(&twin)
                )),
            }
            break;
        }
        self.compared += 1;
        self.shop.api(kind).delete(name, &Default::default()).await.unwrap();
    }

    async fn both(
        &self,
        name: &str,
        (kind, operation): (&str, Operation),
        (old, new): (&Value, &Value),
        (account, verbs): (&str, &[&str]),
    ) -> Answers {
        let namespace = &self.shop.name;
        let stored = read(&self.shop.client, namespace, kind, name).await;
        // What the API server fills in, the twin gets filled in.
        let new = placed(new, namespace, name);
        let mut written = stored.clone();
        for field in ["labels", "annotations"] {
            written["metadata"][field] = new["metadata"][field].clone();
        }
        merge(&mut written["spec"], &old["spec"], &new["spec"]);
        let write =
            Write { kind, operation, old: Some(&stored), new: &written, user: account, verbs };
        let twin = Twin { judge: self.judge, ..Twin::default() }.admit(&write);
        let real = match operation {
            Operation::Status => {
                status_replaced(&self.clients[account], namespace, kind, name, &written).await
            }
            _ => replaced(&self.clients[account], namespace, kind, name, &written).await,
        };
        (real, twin)
    }

    fn verdict(self, at_least: usize) {
        let Self { compared, wrong, .. } = self;
        assert!(compared >= at_least, "{compared} writes were compared");
        assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[tokio::test]
async fn the_twin_answers_as_the_real_policies_do() {
    let _operator = operator();
    let mut judges = Judges::new("conformance").await;
    let all: Vec<Value> = serde_json::from_str(&model::admission::cases()).unwrap();
    for (number, case) in all.iter().enumerate() {
        let kind = case["kind"].as_str().unwrap();
        let special = matches!(
            case["old"]["metadata"]["namespace"].as_str(),
            Some("kube-system" | "lockkeeper-system")
        );
        let operation = match case["operation"].as_str() {
            Some("UPDATE") => Operation::Update,
            Some("UPDATE_STATUS") => Operation::Status,
            _ => continue,
        };
        if !["Deployment", "StatefulSet"].contains(&kind) || special {
            continue;
        }
        let verbs: Vec<_> =
            case["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
        let user = case["user"].as_str().unwrap();
        let (what, name) = (case["name"].to_string(), format!("case-{number}"));
        judges
            .compare(&what, &name, (kind, operation), (&case["old"], &case["new"]), (user, &verbs))
            .await;
    }
    judges.verdict(150);
}

#[tokio::test]
async fn the_twin_answers_as_the_real_policies_do_to_whatever_is_written() {
    let _operator = operator();
    let mut judges = Judges::new("generated").await;
    for (number, generated) in model::admission::generate::writes(7, 250).into_iter().enumerate() {
        let write = generated.write();
        let Some(old) = write.old.filter(|_| write.kind != "DaemonSet") else { continue };
        let what = format!("write {number} of {} by {}", write.kind, write.user);
        let kind = (write.kind, Operation::Update);
        judges
            .compare(
                &what,
                &format!("write-{number}"),
                kind,
                (old, write.new),
                (write.user, write.verbs),
            )
            .await;
    }
    judges.verdict(150);
}

/// Puts into a defaulted spec what changed between two that are not.
pub fn merge(into: &mut Value, old: &Value, new: &Value) {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        if old != new {
            *into = new.clone();
        }
        return;
    };
    for (key, value) in after {
        match before.get(key) {
            Some(known) if known == value => {}
            Some(known) if known.is_object() && value.is_object() => {
                merge(&mut into[key], known, value)
            }
            _ => into[key] = value.clone(),
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        if let Some(map) = into.as_object_mut() {
            map.remove(key);
        }
    }
}

fn shown(real: &Result<Value, kube::Error>) -> String {
    real.as_ref().map_or_else(|error| error.to_string(), |object| comparable(object).to_string())
}

fn shown_twin(twin: &Result<Admitted, Refused>) -> String {
    twin.as_ref().map_or_else(
        |refused| refused.0.clone(),
        |admitted| comparable(&admitted.object).to_string(),
    )
}

#[tokio::test]
async fn the_models_of_the_controllers_come_to_rest_where_the_real_ones_do() {
    use model::controllers::scripts::{NAME, Settled, Write as Step, all, in_order, run};
    let _operator = operator();
    let mut wrong = Vec::new();
    for (number, script) in all().into_iter().enumerate() {
        let shop = Shop::open(&format!("script-{number}")).await;
        let mut model = model::server::Server::new("2026-11-20T09:00:00Z".parse().unwrap());
        model.kubernetes = shop.kubernetes().await;
        let expected = run(&script, &mut model);
        for (step, (write, expected)) in script.writes.iter().zip(expected).enumerate() {
            // Of ReplicaSets without pods the one that was created last counts, in whole seconds.
            if script.name.contains("to zero and back") {
                shop.a_second_passes().await;
            }
            let refused = match write {
                Step::Create(manifest) => {
                    let mut manifest = manifest.clone();
                    manifest["apiVersion"] = json!("apps/v1");
                    manifest["kind"] = json!(script.kind);
                    !shop.run("kubectl", &["create", "-f", "-"], Some(&manifest)).success
                }
                Step::Patch(patch) => {
                    !shop
                        .run(
                            "kubectl",
                            &["patch", script.kind, NAME, "--type=merge", "-p", &patch.to_string()],
                            None,
                        )
                        .success
                }
                Step::Evict(place) => {
                    let mut pods = raw(&shop, "Pod").await;
                    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
                    let mut pods: Vec<_> = pods.into_iter().map(std::sync::Arc::new).collect();
                    in_order(&mut pods);
                    let name = pods[*place]["metadata"]["name"].as_str().unwrap().to_owned();
                    !shop
                        .run(
                            "kubectl",
                            &["delete", "pod", &name, "--grace-period=0", "--force"],
                            None,
                        )
                        .success
                }
            };
            let mut seen = None;
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
            while std::time::Instant::now() < deadline && seen.as_ref() != Some(&expected) {
                let workload = shop.get(script.kind, NAME).await;
                let pods = raw(&shop, "Pod").await;
                let sets = raw(&shop, "ReplicaSet").await;
                seen = Some(Settled::of(&workload, &pods, &sets, refused));
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            if seen.as_ref() != Some(&expected) {
                wrong.push(format!(
                    "{} ({}), step {step}:\n  real  {seen:?}\n  model {expected:?}",
                    script.name, script.kind
                ));
                break;
            }
        }
        shop.kubectl(&["delete", script.kind, NAME, "--wait=false"]);
    }
    assert!(wrong.is_empty(), "{} scripts differ:\n{}", wrong.len(), wrong.join("\n"));
}

async fn raw(shop: &Shop, kind: &str) -> Vec<Value> {
    let all = shop.api(kind).list(&Default::default()).await.unwrap().items;
    all.into_iter().map(|one| serde_json::to_value(one).unwrap()).collect()
}

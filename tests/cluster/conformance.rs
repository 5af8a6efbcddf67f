//! The twin of the admission policies answers as the policies do; without this the simulation would prove only itself.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{
    Api, Client, Config,
    api::{PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use local_cluster::shared;
use model::admission::{OPERATOR, Operation, Twin, Write};
use serde_json::{Value, json};

use crate::support::{Shop, operator};

/// A client that acts as somebody else.
async fn client_of(user: &str) -> Client {
    let text = std::fs::read_to_string(&shared().kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&text).unwrap(), &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    Client::try_from(config).unwrap()
}

/// What an object is like where nobody but admission had a say: no versions, no times, no managers, no defaults of the API server's.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, value| ["name", "labels", "annotations"].contains(&key.as_str()) && value.as_object().is_none_or(|map| !map.is_empty()));
    }
    if let Some(all) = object.as_object_mut() {
        all.retain(|key, _| ["metadata", "spec"].contains(&key.as_str()));
    }
    if let Some(of_template) = object["spec"]["template"]["metadata"].as_object_mut() {
        of_template.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()));
    }
    object
}

async fn read(client: &Client, namespace: &str, kind: &str, name: &str) -> Value {
    let raw = |object: Result<Value, kube::Error>| object.unwrap();
    raw(match kind {
        "Deployment" => Api::<Deployment>::namespaced(client.clone(), namespace).get(name).await.map(|one| serde_json::to_value(one).unwrap()),
        _ => Api::<StatefulSet>::namespaced(client.clone(), namespace).get(name).await.map(|one| serde_json::to_value(one).unwrap()),
    })
}

async fn create(client: &Client, namespace: &str, kind: &str, object: &Value) -> Result<Value, kube::Error> {
    let params = PostParams::default();
    Ok(match kind {
        "Deployment" => {
            let object = serde_json::from_value(object.clone()).unwrap();
            serde_json::to_value(Api::<Deployment>::namespaced(client.clone(), namespace).create(&params, &object).await?).unwrap()
        }
        _ => {
            let object = serde_json::from_value(object.clone()).unwrap();
            serde_json::to_value(Api::<StatefulSet>::namespaced(client.clone(), namespace).create(&params, &object).await?).unwrap()
        }
    })
}

/// What a replace would make of an object; nothing is stored.
async fn replaced(client: &Client, namespace: &str, kind: &str, name: &str, object: &Value) -> Result<Value, kube::Error> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    Ok(match kind {
        "Deployment" => {
            let object = serde_json::from_value(object.clone()).unwrap();
            serde_json::to_value(Api::<Deployment>::namespaced(client.clone(), namespace).replace(name, &params, &object).await?).unwrap()
        }
        _ => {
            let object = serde_json::from_value(object.clone()).unwrap();
            serde_json::to_value(Api::<StatefulSet>::namespaced(client.clone(), namespace).replace(name, &params, &object).await?).unwrap()
        }
    })
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

#[tokio::test]
async fn the_twin_answers_as_the_real_policies_do() {
    let _operator = operator();
    let shop = Shop::open("conformance").await;
    shop.kubectl(&["create", "rolebinding", "operator", "--clusterrole=admin", "--serviceaccount=lockkeeper-system:lockkeeper"]);
    let mut clients = std::collections::BTreeMap::new();
    clients.insert(OPERATOR.to_owned(), client_of(OPERATOR).await);
    let all: Vec<Value> = serde_json::from_str(include_str!("../model/cases/admission.json")).unwrap();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (number, case) in all.iter().enumerate() {
        let kind = case["kind"].as_str().unwrap();
        let special = matches!(case["old"]["metadata"]["namespace"].as_str(), Some("kube-system" | "lockkeeper-system"));
        if !["Deployment", "StatefulSet"].contains(&kind) || case["operation"] != "UPDATE" || special {
            continue;
        }
        let user = case["user"].as_str().unwrap();
        let verbs: Vec<_> = case["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
        let account = if user == OPERATOR { user.to_owned() } else { format!("{user}-{}", verbs.len()) };
        if !clients.contains_key(&account) {
            shop.kubectl(&["create", "rolebinding", &format!("{account}-admin"), "--clusterrole=admin", &format!("--user={account}")]);
            if !verbs.is_empty() {
                let mut arguments = vec!["create", "role", &account, "--resource=upgradepolicies.lockkeeper.dev"];
                let flags: Vec<_> = verbs.iter().map(|verb| format!("--verb={verb}")).collect();
                arguments.extend(flags.iter().map(String::as_str));
                shop.kubectl(&arguments);
                shop.kubectl(&["create", "rolebinding", &account, &format!("--role={account}"), &format!("--user={account}")]);
            }
            clients.insert(account.clone(), client_of(&account).await);
        }
        let name = format!("case-{number}");
        // As the operator, whom nothing keeps from creating an object in any state.
        let old = placed(&case["old"], &shop.name, &name);
        if create(&clients[OPERATOR], &shop.name, kind, &old).await.is_err() {
            continue;
        }
        let old = read(&shop.client, &shop.name, kind, &name).await;
        let mut new = placed(&case["new"], &shop.name, &name);
        for field in ["resourceVersion"] {
            new["metadata"][field] = old["metadata"][field].clone();
        }
        // What the API server fills in, the twin gets filled in.
        let filled = {
            let mut filled = old.clone();
            filled["metadata"]["labels"] = new["metadata"]["labels"].clone();
            filled["metadata"]["annotations"] = new["metadata"]["annotations"].clone();
            merge(&mut filled["spec"], &case["old"]["spec"], &new["spec"]);
            filled
        };
        let twin = Twin::default().admit(&Write { kind, operation: Operation::Update, old: Some(&old), new: &filled, user: &account, verbs: &verbs });
        let mut written = filled.clone();
        written["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        let real = replaced(&clients[&account], &shop.name, kind, &name, &written).await;
        compared += 1;
        match (&real, &twin) {
            (Ok(real), Ok(twin)) if comparable(real) == comparable(&twin.object) => {}
            (Err(kube::Error::Api(status)), Err(refused)) if status.message.contains(&refused.0) => {}
            // What is invalid is refused later than in admission.
            (Err(kube::Error::Api(status)), Ok(_)) if status.code == 422 && !status.message.contains("Lockkeeper") => {}
            _ => wrong.push(format!("{}:\n  real {}\n  twin {}", case["name"], shown(&real), shown_twin(&twin))),
        }
        shop.kubectl(&["delete", &kind.to_lowercase(), &name, "--wait=false"]);
    }
    assert!(compared > 150, "{compared} cases were compared");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Puts into a defaulted spec what changed between two that are not.
fn merge(into: &mut Value, old: &Value, new: &Value) {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        if old != new {
            *into = new.clone();
        }
        return;
    };
    for (key, value) in after {
        match before.get(key) {
            Some(known) if known == value => {}
            Some(known) if known.is_object() && value.is_object() => merge(&mut into[key], known, value),
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

fn shown_twin(twin: &Result<model::admission::Admitted, model::admission::Refused>) -> String {
    twin.as_ref().map_or_else(|refused| refused.0.clone(), |admitted| comparable(&admitted.object).to_string())
}

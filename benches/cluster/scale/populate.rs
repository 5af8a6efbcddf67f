//! Makes what is measured: policies, config, workloads with the status that their controller would
//! write, pods.

use std::ops::Range;

use futures::{StreamExt, stream};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{ConfigMap, Pod, Secret},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::Layout;
use crate::objects::{CONCURRENT, deployment, namespace, policy};

/// Namespaces, with a policy each.
pub const NAMESPACES: usize = 500;
/// ConfigMaps and Secrets in all of them together.
pub const CONFIG: usize = NAMESPACES * 2 * OF_EACH;
/// Pods of a workload, where there are any.
pub const PODS: usize = 3;
/// Workloads of the crowded namespace that read what all of them read.
pub const READERS: usize = 1000;
/// The namespace of all workloads.
pub const CROWD: &str = "crowd";
/// ConfigMaps in a namespace, and as many Secrets.
const OF_EACH: usize = 20;
/// Workloads of the crowded namespace that read a ConfigMap of their own.
const WITH_OWN: usize = 200;

/// A workload, and a ConfigMap that nobody else reads.
pub struct Place {
    pub namespace: String,
    pub workload: String,
    pub map: String,
}

impl Place {
    pub fn of(layout: Layout, number: usize) -> Self {
        let (namespace, map) = match layout {
            Layout::Spread => (team(number), format!("map-{}", number / NAMESPACES % OF_EACH)),
            Layout::Crowded if number < WITH_OWN => (CROWD.to_owned(), format!("own-{number}")),
            Layout::Crowded => (CROWD.to_owned(), "common".to_owned()),
        };
        Self { namespace, workload: format!("web-{number}"), map }
    }
}

fn team(number: usize) -> String {
    format!("team-{}", number % NAMESPACES)
}

/// Namespaces, policies, ConfigMaps and Secrets.
pub async fn config(client: &Client) {
    let settings = json!({"config": {"settle": "0s", "limit": {"max": 100, "window": "1s"}}});
    let fill = |number: usize| {
        let settings = settings.clone();
        async move {
            let name = team(number);
            namespace(client, &name).await;
            policy(client, &name, settings).await;
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &name);
            let secrets: Api<Secret> = Api::namespaced(client.clone(), &name);
            for number in 0..OF_EACH {
                create(&maps, map(&format!("map-{number}"))).await;
                let secret = json!({"metadata": {"name": format!("secret-{number}")}, "stringData": {"user": "app", "password": "x".repeat(1000)}});
                create(&secrets, secret).await;
            }
            create(&maps, map("unread")).await;
        }
    };
    stream::iter(0..NAMESPACES).for_each_concurrent(CONCURRENT, fill).await;
    namespace(client, CROWD).await;
    policy(client, CROWD, settings).await;
    let maps: &Api<ConfigMap> = &Api::namespaced(client.clone(), CROWD);
    let own = (0..WITH_OWN).map(|number| format!("own-{number}"));
    let names = own.chain(["common", "shared", "unread"].map(str::to_owned));
    stream::iter(names)
        .for_each_concurrent(CONCURRENT, |name| async move { drop(create(maps, map(&name)).await) })
        .await;
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"app.yaml": "y".repeat(2000), "level": "info"}})
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

/// Those of these numbers, each with the status of one that is rolled out with no pods.
pub async fn workloads(client: &Client, layout: Layout, numbers: Range<usize>) {
    let make = |number: usize| async move {
        let place = Place::of(layout, number);
        let mut sources = vec![json!({"configMapRef": {"name": place.map}})];
        match layout {
            Layout::Spread => {
                sources.push(json!({"secretRef": {"name": place.map.replace("map", "secret")}}))
            }
            Layout::Crowded if number < READERS => {
                sources.push(json!({"configMapRef": {"name": "shared"}}))
            }
            Layout::Crowded => {}
        }
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &place.namespace);
        let object =
            deployment(&place.workload, json!({"envFrom": sources}), json!({"replicas": 0}));
        deployments.create(&PostParams::default(), &object).await.unwrap();
        patch_status(&deployments, &place.workload, observed(0)).await;
    };
    stream::iter(numbers).for_each_concurrent(CONCURRENT, make).await;
}

/// What the controller would say of a workload with so many pods. It has seen every generation that
/// is to come, since nobody will say so again.
fn observed(pods: usize) -> Value {
    json!({"observedGeneration": 1_000_000, "replicas": pods, "updatedReplicas": pods, "readyReplicas": pods, "availableReplicas": pods})
}

/// Writes the status of an object.
pub async fn patch_status<K>(api: &Api<K>, name: &str, status: Value)
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status})))
        .await
        .unwrap();
}

/// Gives every workload pods that run.
pub async fn pods(client: &Client) {
    let all: Api<Deployment> = Api::all(client.clone());
    let owners = all.list(&ListParams::default()).await.unwrap().items;
    let grow = |owner: Deployment| async move {
        let (name, namespace) =
            (owner.metadata.name.clone().unwrap(), owner.metadata.namespace.clone().unwrap());
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        deployments
            .patch(
                &name,
                &PatchParams::default(),
                &Patch::Merge(json!({"spec": {"replicas": PODS}})),
            )
            .await
            .unwrap();
        patch_status(&deployments, &name, observed(PODS)).await;
        let mut template =
            serde_json::to_value(owner.spec.as_ref().unwrap().template.clone()).unwrap();
        template["metadata"]["labels"]["pod-template-hash"] = json!("1");
        let set = json!({
            "metadata": {"name": format!("{name}-1"), "labels": template["metadata"]["labels"], "ownerReferences": [owned_by(&owner)],
                "annotations": {"deployment.kubernetes.io/revision": "1"}},
            "spec": {"replicas": PODS, "selector": {"matchLabels": template["metadata"]["labels"]}, "template": template},
        });
        let set: ReplicaSet = create(&Api::namespaced(client.clone(), &namespace), set).await;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        for number in 0..PODS {
            let pod = format!("{name}-1-{number}");
            let mut object = json!({"metadata": {"name": pod, "labels": template["metadata"]["labels"], "ownerReferences": [owned_by(&set)]},
                "spec": template["spec"]});
            object["spec"]["nodeName"] = json!("bench");
            create(&pods, object).await;
            patch_status(&pods, &pod, running()).await;
        }
    };
    stream::iter(owners).for_each_concurrent(CONCURRENT, grow).await;
}

fn owned_by<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    owner.controller_owner_ref(&()).unwrap()
}

fn running() -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
    let container = json!({"name": "app", "image": "none", "imageID": "none", "ready": true, "restartCount": 0, "started": true,
        "state": {"running": {"startedAt": now}}});
    json!({"phase": "Running", "podIP": "127.0.0.9", "conditions": conditions, "containerStatuses": [container]})
}

/// Deletes the workloads of the crowded namespace.
pub async fn clear(client: &Client) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), CROWD);
    let names = deployments
        .list_metadata(&ListParams::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .filter_map(|one| one.metadata.name);
    let delete = |name: String| {
        let deployments = deployments.clone();
        async move { drop(deployments.delete(&name, &DeleteParams::background()).await.unwrap()) }
    };
    stream::iter(names).for_each_concurrent(CONCURRENT, delete).await;
}

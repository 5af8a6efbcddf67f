//! What is measured on: objects in the cluster, and when they are as wanted.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Namespace, rbac::v1::ClusterRoleBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use lockkeeper::api::{UpgradePolicy, crd};
use serde_json::{Value, json};

use crate::times::Times;

/// Requests at once, as many as the operator's own.
pub const CONCURRENT: usize = 48;

/// What the operator needs of a cluster.
pub async fn prepare(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .patch(crd::NAME, &PatchParams::apply("bench"), &Patch::Apply(crd::definition()))
        .await
        .unwrap();
    // The API server serves a new kind a moment after it accepts its definition.
    let policies: Api<UpgradePolicy> = Api::all(client.clone());
    while policies.list(&ListParams::default()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    namespace(client, "lockkeeper-system").await;
    namespace(client, "admission").await;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let object = json!({"metadata": {"name": "bench"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "lockkeeper", "namespace": "lockkeeper-system"}]});
    bindings
        .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
        .await
        .unwrap();
}

pub async fn namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &object).await.unwrap();
}

/// A policy for all workloads of a namespace, with what `spec` says besides.
pub async fn policy(client: &Client, namespace: &str, mut spec: Value) {
    spec["selector"] = json!({});
    let policies: Api<UpgradePolicy> = Api::namespaced(client.clone(), namespace);
    let object = json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy", "metadata": {"name": "bench"}, "spec": spec});
    policies
        .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
        .await
        .unwrap();
}

/// A Deployment of one container, with what `container` and `spec` say besides.
pub fn deployment(name: &str, container: Value, spec: Value) -> Deployment {
    let labels = json!({"app": name});
    let mut object = json!({"metadata": {"name": name, "labels": labels, "annotations": {"a": "b"}}, "spec": {"selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels, "annotations": {"a": "b"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "none"}]}}}});
    json_patch::merge(&mut object["spec"]["template"]["spec"]["containers"][0], &container);
    json_patch::merge(&mut object["spec"], &spec);
    serde_json::from_value(object).unwrap()
}

/// Changes the template of a Deployment; returns what came of it.
pub async fn change(deployments: &Api<Deployment>, name: &str) -> Deployment {
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"n": format!("{:x}", rand::random::<u64>())}}}}});
    deployments.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
}

pub fn annotation<'a>(one: &'a Deployment, key: &str) -> Option<&'a str> {
    one.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub fn template_annotation<'a>(one: &'a Deployment, key: &str) -> Option<&'a str> {
    one.spec
        .as_ref()?
        .template
        .metadata
        .as_ref()?
        .annotations
        .as_ref()?
        .get(key)
        .map(String::as_str)
}

/// Whether a Deployment has so many pods, all of them of its newest template and available.
pub fn rolled_out(one: &Deployment, pods: i32) -> bool {
    let status = one.status.clone().unwrap_or_default();
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    status.observed_generation == one.metadata.generation
        && counts.iter().all(|count| *count == Some(pods))
}

/// Waits until so many Deployments are as wanted.
pub async fn until(api: &Api<Deployment>, count: usize, wanted: impl Fn(&Deployment) -> bool) {
    let mut events = std::pin::pin!(watcher(api.clone(), watcher::Config::default()));
    let mut done = HashSet::new();
    while let Some(event) = events.try_next().await.unwrap() {
        if let watcher::Event::Apply(one) | watcher::Event::InitApply(one) = event
            && wanted(&one)
        {
            done.insert(one.metadata.uid.unwrap());
        }
        if done.len() >= count {
            return;
        }
    }
}

/// Waits until a watch shows a Deployment as wanted.
pub async fn when(api: &Api<Deployment>, name: &str, wanted: impl Fn(&Deployment) -> bool) {
    let mut events = std::pin::pin!(watcher(
        api.clone(),
        watcher::Config::default().fields(&format!("metadata.name={name}"))
    ));
    while let Some(event) = events.try_next().await.unwrap() {
        if let watcher::Event::Apply(one) | watcher::Event::InitApply(one) = event
            && wanted(&one)
        {
            return;
        }
    }
}

/// Writes an annotation, and waits until a watch shows what comes of it.
pub async fn write(
    api: &Api<Deployment>,
    name: &str,
    key: &str,
    value: &str,
    wanted: impl Fn(&Deployment) -> bool,
) {
    let (params, patch) =
        (PatchParams::default(), Patch::Merge(json!({"metadata": {"annotations": {key: value}}})));
    let (written, ()) = tokio::join!(api.patch(name, &params, &patch), when(api, name, wanted));
    written.unwrap();
}

/// For each of these, two writes, the second one when the first was seen, until the second is seen:
/// what a write that answers another one takes at least.
pub async fn two_writes(api: &Api<Deployment>, names: impl Iterator<Item = String>) -> Times {
    let mut times = Vec::new();
    for name in names {
        let begun = Instant::now();
        for key in ["bench/first", "bench/second"] {
            let value = format!("{:x}", rand::random::<u64>());
            write(api, &name, key, &value, |one| annotation(one, key) == Some(&value)).await;
        }
        times.push(begun.elapsed());
    }
    times.into()
}

/// Patches like those of config rollouts, of the first so many Deployments, in a bare loop, until
/// the last one is seen.
pub async fn bare_patches(deployments: &Api<Deployment>, count: usize) -> Duration {
    let begun = Instant::now();
    let hash = format!("{:x}", rand::random::<u64>());
    let hash = hash.as_str();
    let patch = |number: usize| async move {
        let body = json!([
            {"op": "add", "path": "/metadata/annotations/bench~1config", "value": "x".repeat(400)},
            {"op": "add", "path": "/metadata/annotations/bench~1rollouts", "value": "1795233998"},
            {"op": "add", "path": "/metadata/annotations/bench~1governance", "value": "x".repeat(80)},
            {"op": "add", "path": "/spec/template/metadata/annotations/bench~1config-hash", "value": hash},
        ]);
        let patch: json_patch::Patch = serde_json::from_value(body).unwrap();
        deployments
            .patch(
                &format!("web-{number}"),
                &PatchParams::default(),
                &Patch::<Deployment>::Json(patch),
            )
            .await
            .unwrap();
    };
    // Seen by the same watch as ours, so that both pay for it.
    let hashed = |one: &Deployment| template_annotation(one, "bench/config-hash") == Some(hash);
    tokio::join!(
        stream::iter(0..count).for_each_concurrent(CONCURRENT, patch),
        until(deployments, count, hashed)
    );
    begun.elapsed()
}

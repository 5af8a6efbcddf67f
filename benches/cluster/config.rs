//! A change of config that many read, with real pods, and what the operator needs beside many
//! ConfigMaps and Secrets.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Secret},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use lockkeeper::api::marks;
use serde_json::json;

use crate::{
    objects::{
        CONCURRENT, annotation, bare_patches, deployment, namespace, policy, rolled_out,
        template_annotation, until,
    },
    operator::Operator,
    process,
};

pub async fn run(client: &Client) {
    println!(
        "\nfrom the write of a shared ConfigMap to the last patch accepted (settle 0s, no cluster limit)"
    );
    println!(
        "{:>10} {:>12} {:>12} {:>8} {:>20}",
        "workloads", "floor", "lockkeeper", "times", "CPU of each rollout"
    );
    for count in [50, 200] {
        let name = format!("speed-{count}");
        let deployments = workloads(client, &name, count).await;
        let floor = bare_patches(&deployments, count).await;
        until(&deployments, count, |one| rolled_out(one, 1)).await;
        let operator = Operator::start().await;
        policy(client, &name, json!({"config": {"settle": "0s"}})).await;
        let (ours, followed) = rolled(client, &deployments, count, &operator).await;
        println!(
            "{count:>10} {:>10} ms {:>10} ms {:>8.2} {:>17.2} ms",
            floor.as_millis(),
            ours.as_millis(),
            ours.as_secs_f64() / floor.as_secs_f64(),
            followed.as_secs_f64() * 1e3 / count as f64
        );
        operator.stop();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.delete(&name, &Default::default()).await.unwrap();
    }

    workloads(client, "size", 200).await;
    policy(client, "size", json!({"config": {"settle": "0s"}})).await;
    fill(client).await;
    let operator = Operator::start().await;
    println!("\nwith 5,000 Secrets of 2 KB, 2,500 ConfigMaps of 8 KB (30 MB) and 200 workloads");
    println!("  start to ready      {:>8} ms", operator.ready_after.as_millis());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = operator.cpu();
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!("  memory at rest      {:>8.1} MiB RSS", operator.memory("VmRSS"));
    println!("  memory at its peak  {:>8.1} MiB RSS", operator.memory("VmHWM"));
    println!(
        "  CPU at rest         {:>8.2} % of one core over 20 s",
        (operator.cpu() - before).as_secs_f64() / 20.0 * 100.0
    );
    println!(
        "  reference: this benchmark's own process, which holds nothing: {:.1} MiB RSS",
        process::memory(std::process::id(), "VmRSS")
    );
    operator.stop();
}

/// Deployments that read one ConfigMap, with a pod each.
async fn workloads(client: &Client, name: &str, count: usize) -> Api<Deployment> {
    namespace(client, name).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), name);
    let map = serde_json::from_value(json!({"metadata": {"name": "shared"}, "data": {"key": "0"}}))
        .unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), name);
    let create = |number: usize| {
        let deployments = deployments.clone();
        async move {
            let object = deployment(
                &format!("web-{number}"),
                json!({"envFrom": [{"configMapRef": {"name": "shared"}}]}),
                json!({}),
            );
            deployments.create(&PostParams::default(), &object).await.unwrap();
        }
    };
    stream::iter(0..count).for_each_concurrent(CONCURRENT, create).await;
    until(&deployments, count, |one| rolled_out(one, 1)).await;
    deployments
}

/// The time from the write to the last patch, as a watch of our own sees it, and the CPU time of the
/// operator until the last rollout is done and reported.
async fn rolled(
    client: &Client,
    deployments: &Api<Deployment>,
    count: usize,
    operator: &Operator,
) -> (Duration, Duration) {
    until(deployments, count, |one| annotation(one, marks::CONFIG).is_some()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), deployments.namespace().unwrap());
    let (begun, cpu) = (Instant::now(), operator.cpu());
    maps.patch("shared", &PatchParams::default(), &Patch::Merge(json!({"data": {"key": "1"}})))
        .await
        .unwrap();
    until(deployments, count, |one| template_annotation(one, marks::CONFIG_HASH).is_some()).await;
    let patched = begun.elapsed();
    until(deployments, count, |one| rolled_out(one, 1)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    (patched, operator.cpu() - cpu)
}

async fn fill(client: &Client) {
    namespace(client, "filler").await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "filler");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "filler");
    let (secrets, maps) = (&secrets, &maps);
    let secret = |number: usize| async move {
        let object = json!({"metadata": {"name": format!("secret-{number}")}, "stringData": {"user": "app", "password": "x".repeat(2000)}});
        secrets
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap();
    };
    stream::iter(0..5000).for_each_concurrent(CONCURRENT, secret).await;
    let map = |number: usize| async move {
        let object = json!({"metadata": {"name": format!("map-{number}")}, "data": {"app.yaml": "y".repeat(7900), "level": "info"}});
        maps.create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap();
    };
    stream::iter(0..2500).for_each_concurrent(CONCURRENT, map).await;
}

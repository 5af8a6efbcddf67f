//! The app gate: how soon after the last yes a change is let through, and what asking many workloads costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::get};
use futures::{StreamExt, TryStreamExt, stream};
use hyper::{HeaderMap, Method};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use lockkeeper::{
    api::{UpgradePolicy, marks},
    shell::ask::http::{Channel, send},
};
use serde_json::{Value, json};

use crate::{CONCURRENT, Operator, memory, namespace, until};

const PORT: u16 = 18_090;
const ROUNDS: usize = 20;
const WORKLOADS: usize = 1000;
const PODS: i32 = 3;
const MEASURED: Duration = Duration::from_secs(30);

/// What all pods answer: one server stands for them, since every loopback address is this machine's.
#[derive(Default)]
struct Answers {
    yes: AtomicBool,
    asked: AtomicUsize,
}

pub async fn run(client: &Client) {
    let answers = Arc::new(Answers::default());
    let routes = Router::new().route("/upgradeable", get(answer)).with_state(answers.clone());
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", PORT)).await.unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    latency(client, &answers).await;
    load(client, &answers).await;
    server.abort();
}

async fn answer(State(answers): State<Arc<Answers>>) -> Json<Value> {
    answers.asked.fetch_add(1, Ordering::Relaxed);
    Json(json!({"isUpgradeable": answers.yes.load(Ordering::Relaxed)}))
}

async fn workloads(client: &Client, name: &str, count: usize, period: &str) -> Api<Deployment> {
    namespace(client, name).await;
    let policies: Api<UpgradePolicy> = Api::namespaced(client.clone(), name);
    let spec = json!({"selector": {}, "config": {"settle": "0s"}, "gates": {"app": {"period": period}}});
    let policy = json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy", "metadata": {"name": "bench"}, "spec": spec});
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), name);
    let create = |number: usize| {
        let deployments = deployments.clone();
        async move {
            let labels = json!({"app": format!("web-{number}")});
            let container = json!({"name": "app", "image": "none", "ports": [{"containerPort": PORT}]});
            let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 0});
            let object = json!({"metadata": {"name": format!("web-{number}")}, "spec": {"replicas": PODS, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec}}});
            deployments.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        }
    };
    stream::iter(0..count).for_each_concurrent(CONCURRENT, create).await;
    until(&deployments, count, |one| {
        let marked = one.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(marks::HOLD_CHANGES));
        marked && one.status.as_ref().is_some_and(|status| status.available_replicas == Some(PODS))
    })
    .await;
    deployments
}

async fn change(deployments: &Api<Deployment>, number: usize) {
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"n": format!("{:x}", rand::random::<u64>())}}}}});
    deployments.patch(&format!("web-{number}"), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn latency(client: &Client, answers: &Answers) {
    let operator = Operator::start().await;
    let deployments = workloads(client, "latency", 1, "1s").await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        answers.yes.store(false, Ordering::Relaxed);
        change(&deployments, 0).await;
        let asked = answers.asked.load(Ordering::Relaxed);
        while answers.asked.load(Ordering::Relaxed) < asked + 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // At another place in the period each time.
        tokio::time::sleep(Duration::from_millis(50 * u64::try_from(round).unwrap())).await;
        let mut events = std::pin::pin!(watcher(deployments.clone(), watcher::Config::default()));
        answers.yes.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        while let Some(event) = events.try_next().await.unwrap() {
            if let watcher::Event::Apply(one) | watcher::Event::InitApply(one) = event
                && one.metadata.annotations.is_some_and(|all| !all.contains_key(marks::HOLD))
            {
                break;
            }
        }
        times.push(begun.elapsed());
        until(&deployments, 1, |one| {
            let status = one.status.clone().unwrap_or_default();
            status.observed_generation == one.metadata.generation
                && status.updated_replicas == Some(PODS)
                && status.replicas == Some(PODS)
                && status.available_replicas == Some(PODS)
        })
        .await;
    }
    operator.stop();
    times.sort();
    println!("\nfrom the moment when all 3 pods would say yes to the accepted release, as a watch sees it, asked every 1000 ms");
    println!(
        "  quickest {:>6} ms   median {:>6} ms   slowest {:>6} ms",
        times[0].as_millis(),
        times[ROUNDS / 2].as_millis(),
        times[ROUNDS - 1].as_millis()
    );
}

async fn load(client: &Client, answers: &Answers) {
    let operator = Operator::start().await;
    let deployments = workloads(client, "load", WORKLOADS, "5s").await;
    answers.yes.store(false, Ordering::Relaxed);
    stream::iter(0..WORKLOADS).for_each_concurrent(CONCURRENT, |number| change(&deployments, number)).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (cpu, asked) = (operator.cpu(), answers.asked.load(Ordering::Relaxed));
    tokio::time::sleep(MEASURED).await;
    let (used, asked) = (operator.cpu() - cpu, answers.asked.load(Ordering::Relaxed) - asked);
    let seconds = MEASURED.as_secs_f64();
    println!("\n{WORKLOADS} held workloads of {PODS} pods that say no, asked every 5 s (600 requests a second are wanted)");
    println!(
        "  {:>6.0} requests a second   CPU {:>5.1} % of one core   memory {:>5.1} MB RSS",
        asked as f64 / seconds,
        used.as_secs_f64() / seconds * 100.0,
        operator.memory("VmRSS")
    );
    operator.stop();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "load");
    let addresses: Vec<_> =
        pods.list(&ListParams::default()).await.unwrap().items.into_iter().filter_map(|pod| pod.status?.pod_ip?.parse().ok()).collect();
    let (cpu, begun) = (own_cpu(), Instant::now());
    let one = |number: usize| {
        let address = std::net::SocketAddr::new(addresses[number % addresses.len()], PORT);
        async move { drop(send(&Channel::Plain, (Method::GET, address, "/upgradeable"), &HeaderMap::new(), Duration::from_secs(2)).await) }
    };
    stream::iter(0..asked).for_each_concurrent(64, one).await;
    println!(
        "  reference: as many requests in a bare loop, with what answers them: {:.1} % of one core if spread over the same time ({} ms in one go), {:.1} MB RSS",
        (own_cpu() - cpu).as_secs_f64() / seconds * 100.0,
        begun.elapsed().as_millis(),
        memory(std::process::id(), "VmRSS")
    );
}

fn own_cpu() -> Duration {
    crate::cpu(std::process::id())
}

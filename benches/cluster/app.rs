//! The app gate: how soon after the last yes a change is let through, and what asking many
//! workloads costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::get};
use futures::{StreamExt, stream};
use hyper::{HeaderMap, Method};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use lockkeeper::{
    api::marks,
    shell::ask::http::{Channel, send},
};
use serde_json::{Value, json};

use crate::{
    objects::{
        CONCURRENT, annotation, change, deployment, namespace, policy, rolled_out, until, when,
    },
    operator::Operator,
    process,
    times::Times,
};

const PORT: u16 = 18_090;
const ROUNDS: usize = 20;
const WORKLOADS: usize = 1000;
const PODS: i32 = 3;
const MEASURED: Duration = Duration::from_secs(30);

/// What all pods answer: one server stands for them, since every loopback address is this
/// machine's.
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
    policy(client, name, json!({"config": {"settle": "0s"}, "gates": {"app": {"period": period}}}))
        .await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), name);
    let create = |number: usize| {
        let deployments = deployments.clone();
        async move {
            let container = json!({"ports": [{"containerPort": PORT}]});
            let object = deployment(&format!("web-{number}"), container, json!({"replicas": PODS}));
            deployments.create(&PostParams::default(), &object).await.unwrap();
        }
    };
    stream::iter(0..count).for_each_concurrent(CONCURRENT, create).await;
    let ready =
        |one: &Deployment| annotation(one, marks::HOLD_CHANGES).is_some() && rolled_out(one, PODS);
    until(&deployments, count, ready).await;
    deployments
}

async fn latency(client: &Client, answers: &Answers) {
    let operator = Operator::start().await;
    let deployments = workloads(client, "latency", 1, "1s").await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        answers.yes.store(false, Ordering::Relaxed);
        change(&deployments, "web-0").await;
        let asked = answers.asked.load(Ordering::Relaxed);
        while answers.asked.load(Ordering::Relaxed) < asked + 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // At another place in the period each time.
        tokio::time::sleep(Duration::from_millis(50 * u64::try_from(round).unwrap())).await;
        answers.yes.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        when(&deployments, "web-0", |one| annotation(one, marks::HOLD).is_none()).await;
        times.push(begun.elapsed());
        until(&deployments, 1, |one| rolled_out(one, PODS)).await;
    }
    operator.stop();
    println!(
        "\nfrom the moment when all 3 pods would say yes to the accepted release, as a watch sees it, asked every 1000 ms"
    );
    println!("  {}", Times::from(times));
}

async fn load(client: &Client, answers: &Answers) {
    let operator = Operator::start().await;
    let deployments = workloads(client, "load", WORKLOADS, "5s").await;
    answers.yes.store(false, Ordering::Relaxed);
    let change_it = |number: usize| {
        let deployments = &deployments;
        async move { drop(change(deployments, &format!("web-{number}")).await) }
    };
    stream::iter(0..WORKLOADS).for_each_concurrent(CONCURRENT, change_it).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (cpu, asked) = (operator.cpu(), answers.asked.load(Ordering::Relaxed));
    tokio::time::sleep(MEASURED).await;
    let (used, asked) = (operator.cpu() - cpu, answers.asked.load(Ordering::Relaxed) - asked);
    let seconds = MEASURED.as_secs_f64();
    println!(
        "\n{WORKLOADS} held workloads of {PODS} pods that say no, asked every 5 s (600 requests a second are wanted)"
    );
    println!(
        "  {:>6.0} requests a second   CPU {:>5.1} % of one core   memory {:>5.1} MiB RSS",
        asked as f64 / seconds,
        used.as_secs_f64() / seconds * 100.0,
        operator.memory("VmRSS")
    );
    operator.stop();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "load");
    let addresses: Vec<_> = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .filter_map(|pod| pod.status?.pod_ip?.parse().ok())
        .collect();
    let own = std::process::id();
    let (cpu, begun) = (process::cpu(own), Instant::now());
    let one = |number: usize| {
        let address = std::net::SocketAddr::new(addresses[number % addresses.len()], PORT);
        async move {
            drop(
                send(
                    &Channel::Plain,
                    (Method::GET, address, "/upgradeable"),
                    &HeaderMap::new(),
                    Duration::from_secs(2),
                )
                .await,
            )
        }
    };
    stream::iter(0..asked).for_each_concurrent(64, one).await;
    println!(
        "  reference: as many requests in a bare loop, with what answers them: {:.1} % of one core if spread over the same time ({} ms in one go), {:.1} MiB RSS",
        (process::cpu(own) - cpu).as_secs_f64() / seconds * 100.0,
        begun.elapsed().as_millis(),
        process::memory(own, "VmRSS")
    );
}

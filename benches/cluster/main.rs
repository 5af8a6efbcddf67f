//! Speed and size of the operator on a real control plane, beside a reference measured in the same run. Run by `make bench`; it asserts
//! nothing, it prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs, reason = "a benchmark")]

mod app;
mod hold;

use std::{
    collections::HashSet,
    fs,
    path::Path,
    process::Child,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Secret},
    rbac::v1::ClusterRoleBinding,
};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher,
};
use local_cluster::shared;
use lockkeeper::api::{UpgradePolicy, crd, marks};
use serde_json::json;

/// As the operator's own.
const CONCURRENT: usize = 48;
const METRICS: &str = "127.0.0.1:18099";
const ACCOUNT: &str = "system:serviceaccount:lockkeeper-system:lockkeeper";

#[tokio::main]
async fn main() {
    let text = fs::read_to_string(&shared().kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&text).unwrap(), &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let definitions: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        Api::all(client.clone());
    definitions.patch(crd::NAME, &PatchParams::apply("bench"), &Patch::Apply(crd::definition())).await.unwrap();
    namespace(&client, "lockkeeper-system").await;
    all_rights(&client).await;

    // Part of the name of what is measured; without it, all.
    let only = std::env::var("ONLY").unwrap_or_default();
    if "hold".contains(&only) {
        hold::run(&client).await;
    }
    if "config".contains(&only) {
        config_and_size(&client).await;
    }
    if "app".contains(&only) {
        hold::policies(&client, true).await;
        app::run(&client).await;
    }
}

async fn config_and_size(client: &Client) {
    println!("\nfrom the write of a shared ConfigMap to the last patch accepted (settle 0s, no cluster limit)");
    println!("{:>10} {:>12} {:>12} {:>8}", "workloads", "floor", "lockkeeper", "times");
    for count in [50, 200] {
        let name = format!("speed-{count}");
        workloads(client, &name, count).await;
        let floor = floor(client, &name, count).await;
        let operator = Operator::start().await;
        policy(client, &name).await;
        let ours = rolled(client, &name, count).await;
        println!("{count:>10} {:>10} ms {:>10} ms {:>8.2}", floor.as_millis(), ours.as_millis(), ours.as_secs_f64() / floor.as_secs_f64());
        operator.stop();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.delete(&name, &Default::default()).await.unwrap();
    }

    workloads(client, "size", 200).await;
    policy(client, "size").await;
    fill(client).await;
    let operator = Operator::start().await;
    println!("\nwith 5,000 Secrets of 2 KB, 2,500 ConfigMaps of 8 KB (30 MB) and 200 workloads");
    println!("  start to ready      {:>8} ms", operator.ready_after.as_millis());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = operator.cpu();
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!("  memory at rest      {:>8.1} MB RSS", operator.memory("VmRSS"));
    println!("  memory at its peak  {:>8.1} MB RSS", operator.memory("VmHWM"));
    println!("  CPU at rest         {:>8.2} % of one core over 20 s", (operator.cpu() - before).as_secs_f64() / 20.0 * 100.0);
    println!("  reference: this benchmark's own process, which holds nothing: {:.1} MB RSS", memory(std::process::id(), "VmRSS"));
    operator.stop();
}

struct Operator {
    child: Child,
    ready_after: Duration,
}

impl Operator {
    async fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/lockkeeper");
        let log = fs::File::create(std::env::temp_dir().join("lockkeeper-bench.log")).unwrap();
        let begun = Instant::now();
        // Under the account that the admission policies know.
        let mut kubeconfig: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(&shared().kubeconfig).unwrap()).unwrap();
        for user in kubeconfig["users"].as_array_mut().unwrap() {
            user["user"]["as"] = json!(ACCOUNT);
        }
        let file = std::env::temp_dir().join("lockkeeper-bench.kubeconfig");
        fs::write(&file, kubeconfig.to_string()).unwrap();
        let kubeconfig = format!("KUBECONFIG={}", file.display());
        let arguments = [&kubeconfig, program.to_str().unwrap(), "run", "--metrics-address", METRICS, "--max-config-rollouts", "100000"];
        let child = shared().spawn(Path::new("/usr/bin/env"), &arguments, log).unwrap();
        let mut operator = Self { child, ready_after: Duration::ZERO };
        while !ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        operator.ready_after = begun.elapsed();
        operator
    }

    fn memory(&self, field: &str) -> f64 {
        memory(self.child.id(), field)
    }

    fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn ready() -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(METRICS) else { return false };
    let mut answer = String::new();
    write!(stream, "GET /readyz HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.0 200")
}

fn cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: u64 = text.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    // The kernel reports in hundredths of a second.
    Duration::from_millis(ticks * 10)
}

fn memory(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

async fn all_rights(client: &Client) {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let object = json!({"metadata": {"name": "bench"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "lockkeeper", "namespace": "lockkeeper-system"}]});
    bindings.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

async fn namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &object).await.unwrap();
}

async fn policy(client: &Client, namespace: &str) {
    let policies: Api<UpgradePolicy> = Api::namespaced(client.clone(), namespace);
    let spec = json!({"selector": {}, "config": {"settle": "0s"}});
    let object = serde_json::from_value(
        json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy", "metadata": {"name": "bench"}, "spec": spec}),
    );
    policies.create(&PostParams::default(), &object.unwrap()).await.unwrap();
}

/// Deployments that read one ConfigMap, with a pod each.
async fn workloads(client: &Client, name: &str, count: usize) {
    namespace(client, name).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), name);
    let map = serde_json::from_value(json!({"metadata": {"name": "shared"}, "data": {"key": "0"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), name);
    let deployments = &deployments;
    let create = |number: usize| async move {
        let labels = json!({"app": format!("web-{number}")});
        let container = json!({"name": "app", "image": "none", "envFrom": [{"configMapRef": {"name": "shared"}}]});
        let object = json!({"metadata": {"name": format!("web-{number}")}, "spec": {
            "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels, "annotations": {"a": "b"}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}}});
        deployments.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    };
    stream::iter(0..count).for_each_concurrent(CONCURRENT, create).await;
    until(deployments, count, |one| {
        one.status.as_ref().is_some_and(|status| status.available_replicas == Some(1) && status.replicas == Some(1))
    })
    .await;
}

/// Waits until so many Deployments are as wanted.
async fn until(api: &Api<Deployment>, count: usize, wanted: impl Fn(&Deployment) -> bool) {
    let mut events = std::pin::pin!(watcher(api.clone(), watcher::Config::default()));
    let mut done = HashSet::new();
    while let Some(event) = events.try_next().await.unwrap() {
        if let watcher::Event::Apply(one) | watcher::Event::InitApply(one) = event
            && wanted(&one)
        {
            done.insert(one.metadata.name.unwrap());
        }
        if done.len() == count {
            return;
        }
    }
}

/// The same patches, in a bare loop.
async fn floor(client: &Client, name: &str, count: usize) -> Duration {
    let deployments: Arc<Api<Deployment>> = Arc::new(Api::namespaced(client.clone(), name));
    let begun = Instant::now();
    let patch = |number: usize| {
        let deployments = deployments.clone();
        async move {
            let record = "x".repeat(400);
            let body = json!([
                {"op": "add", "path": "/metadata/annotations/bench~1config", "value": record},
                {"op": "add", "path": "/metadata/annotations/bench~1rollouts", "value": "1795233998"},
                {"op": "add", "path": "/metadata/annotations/bench~1governance", "value": "x".repeat(80)},
                {"op": "add", "path": "/spec/template/metadata/annotations/bench~1config-hash", "value": "0123456789abcdef"},
            ]);
            let patch: json_patch::Patch = serde_json::from_value(body).unwrap();
            deployments.patch(&format!("web-{number}"), &PatchParams::default(), &Patch::<Deployment>::Json(patch)).await.unwrap();
        }
    };
    // Seen by the same watch as ours, so that both pay for it.
    let hashed = |one: &Deployment| template_has(one, "bench/config-hash");
    tokio::join!(stream::iter(0..count).for_each_concurrent(CONCURRENT, patch), until(&deployments, count, hashed));
    let time = begun.elapsed();
    let rolled = |one: &Deployment| {
        let generation = one.metadata.generation;
        one.status.as_ref().is_some_and(|s| {
            s.observed_generation == generation && s.updated_replicas == Some(1) && s.replicas == Some(1) && s.available_replicas == Some(1)
        })
    };
    until(&deployments, count, rolled).await;
    time
}

/// From the write to the last patch, as a watch of our own sees it.
async fn rolled(client: &Client, name: &str, count: usize) -> Duration {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), name);
    let adopted = |one: &Deployment| one.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(marks::CONFIG));
    until(&deployments, count, adopted).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), name);
    let begun = Instant::now();
    maps.patch("shared", &PatchParams::default(), &Patch::Merge(json!({"data": {"key": "1"}}))).await.unwrap();
    let hashed = |one: &Deployment| template_has(one, marks::CONFIG_HASH);
    until(&deployments, count, hashed).await;
    begun.elapsed()
}

fn template_has(one: &Deployment, annotation: &str) -> bool {
    let meta = one.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    meta.and_then(|meta| meta.annotations.as_ref()).is_some_and(|all| all.contains_key(annotation))
}

async fn fill(client: &Client) {
    namespace(client, "filler").await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "filler");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "filler");
    let (secrets, maps) = (&secrets, &maps);
    let secret = |number: usize| async move {
        let object = json!({"metadata": {"name": format!("secret-{number}")}, "stringData": {"user": "app", "password": "x".repeat(2000)}});
        secrets.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    };
    stream::iter(0..5000).for_each_concurrent(CONCURRENT, secret).await;
    let map = |number: usize| async move {
        let object = json!({"metadata": {"name": format!("map-{number}")}, "data": {"app.yaml": "y".repeat(7900), "level": "info"}});
        maps.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    };
    stream::iter(0..2500).for_each_concurrent(CONCURRENT, map).await;
}

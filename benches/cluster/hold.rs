//! What admission adds to a write of a template, and how soon an approved change is let through.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::watcher,
};
use lockkeeper::api::{UpgradePolicy, marks};
use serde_json::{Value, json};

use crate::{Operator, namespace};

const FILES: [&str; 6] = [
    include_str!("../../charts/lockkeeper/admission/deployments.yaml"),
    include_str!("../../charts/lockkeeper/admission/statefulsets.yaml"),
    include_str!("../../charts/lockkeeper/admission/created.yaml"),
    include_str!("../../charts/lockkeeper/admission/rights.yaml"),
    include_str!("../../charts/lockkeeper/admission/self-restraint.yaml"),
    include_str!("../../charts/lockkeeper/admission/warnings.yaml"),
];
/// Writes at once.
const WRITERS: usize = 8;
const ROUNDS: usize = 3;
const WRITES: usize = 400;
const APPROVALS: usize = 40;

pub async fn run(client: &Client) {
    namespace(client, "admission").await;
    for number in 0..WRITERS {
        for (name, governed) in [("plain", false), ("held", true)] {
            deployment(client, &format!("{name}-{number}"), governed).await;
        }
    }
    // One after the other, so that what the machine does besides falls on all of them.
    let mut times = [Duration::ZERO; 4];
    for _ in 0..ROUNDS {
        times[0] += writes(client, "plain").await;
        times[1] += writes(client, "held").await;
        policies(client, true).await;
        times[2] += writes(client, "plain").await;
        times[3] += writes(client, "held").await;
        policies(client, false).await;
    }
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / (ROUNDS * WRITES) as f64 * WRITERS as f64;
    println!("\na write of a template, {WRITERS} at once, without our admission policies and with them");
    for (what, without, with) in [("not governed", times[0], times[2]), ("governed and held", times[1], times[3])] {
        println!("{what:>20} {:>8.2} ms {:>8.2} ms {:>8.2} times", each(without), each(with), with.as_secs_f64() / without.as_secs_f64());
    }
    policies(client, true).await;
    approvals(client).await;
    policies(client, false).await;
}

/// Paused, so that no rollout gets in the way.
async fn deployment(client: &Client, name: &str, governed: bool) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), "admission");
    let labels = json!({"app": name});
    let mut object = json!({"metadata": {"name": name, "labels": labels}, "spec": {"paused": true, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "none"}]}}}});
    if governed {
        object["metadata"]["labels"][marks::GOVERNED] = json!("true");
        object["metadata"]["annotations"] = json!({marks::HOLD_CHANGES: "true"});
    }
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

async fn writes(client: &Client, name: &str) -> Duration {
    let begun = Instant::now();
    let writer = |number: usize| async move {
        let api: Api<Deployment> = Api::namespaced(client.clone(), "admission");
        for _ in 0..WRITES / WRITERS {
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {"n": format!("{:x}", rand::random::<u64>())}}}}});
            api.patch(&format!("{name}-{number}"), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    };
    stream::iter(0..WRITERS).for_each_concurrent(WRITERS, writer).await;
    begun.elapsed()
}

/// Installs the chart's policies, or takes their bindings off, and waits until that has come into force.
pub async fn policies(client: &Client, on: bool) {
    for document in FILES.iter().flat_map(|file| file.split("\n---\n")) {
        let object: Value = serde_saphyr::from_str(document).unwrap();
        let kind = object["kind"].as_str().unwrap().to_owned();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", &kind));
        let resource = ApiResource {
            plural: if kind.ends_with("Policy") { kind.to_lowercase().replace("policy", "policies") } else { resource.plural.clone() },
            ..resource
        };
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let name = object["metadata"]["name"].as_str().unwrap();
        match (on, kind.ends_with("Binding")) {
            (true, _) => drop(api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(&object)).await.unwrap()),
            (false, true) => drop(api.delete(name, &Default::default()).await),
            (false, false) => {}
        }
    }
    deployment(client, if on { "probe-on" } else { "probe-off" }, true).await;
    let api: Api<Deployment> = Api::namespaced(client.clone(), "admission");
    let name = if on { "probe-on" } else { "probe-off" };
    loop {
        let patch = json!({"spec": {"template": {"metadata": {"annotations": {"n": format!("{:x}", rand::random::<u64>())}}}}});
        let answer = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let held = answer.metadata.annotations.is_some_and(|all| all.contains_key(marks::HOLD));
        if held == on {
            break;
        }
        if on {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        // What was held before stays marked so; another one tells.
        api.delete(name, &Default::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        deployment(client, name, true).await;
    }
    api.delete(name, &Default::default()).await.unwrap();
}

async fn approvals(client: &Client) {
    namespace(client, "approvals").await;
    let policies: Api<UpgradePolicy> = Api::namespaced(client.clone(), "approvals");
    let spec = json!({"selector": {}, "config": {"settle": "0s"}, "gates": {"approval": "Required"}});
    let policy = json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy", "metadata": {"name": "bench"}, "spec": spec});
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    let api: Api<Deployment> = Api::namespaced(client.clone(), "approvals");
    for number in 0..APPROVALS {
        let labels = json!({"app": format!("web-{number}")});
        let object = json!({"metadata": {"name": format!("web-{number}"), "labels": labels}, "spec": {"selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "none"}]}}}});
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    let operator = Operator::start().await;
    let marked = |one: &Deployment| annotation(one, marks::HOLD_CHANGES).is_some() && annotation(one, marks::ROLLOUT).is_some();
    crate::until(&api, APPROVALS, marked).await;
    let mut times = Vec::new();
    for number in 0..APPROVALS {
        let name = format!("web-{number}");
        let image = json!({"spec": {"template": {"metadata": {"annotations": {"n": "1"}}}}});
        let held = api.patch(&name, &PatchParams::default(), &Patch::Merge(image)).await.unwrap();
        let id = annotation(&held, marks::HOLD).unwrap().split(' ').next().unwrap().to_owned();
        when(&api, &name, |one| annotation(one, marks::HOLD_SINCE).is_some()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        write(&api, &name, marks::APPROVE, &id, |one| annotation(one, marks::HOLD).is_none()).await;
        times.push(begun.elapsed());
    }
    operator.stop();
    times.sort();
    let floor = floor(&api).await;
    println!(
        "\nfrom the write of an approval to the accepted release, as a watch sees it; the floor is one write after another, seen the same way"
    );
    println!(
        "  floor {:>6} ms   median {:>6} ms   slowest {:>6} ms",
        floor.as_millis(),
        times[APPROVALS / 2].as_millis(),
        times[APPROVALS - 1].as_millis()
    );
}

/// Two writes, the second one when the first was seen, until the second is seen.
async fn floor(api: &Api<Deployment>) -> Duration {
    let mut times = Vec::new();
    for number in 0..APPROVALS {
        let name = format!("web-{number}");
        let begun = Instant::now();
        for key in ["bench/first", "bench/second"] {
            write(api, &name, key, "1", |one| annotation(one, key).is_some()).await;
        }
        times.push(begun.elapsed());
    }
    times.sort();
    times[APPROVALS / 2]
}

/// Writes an annotation, and waits until a watch shows what comes of it.
async fn write(api: &Api<Deployment>, name: &str, key: &str, value: &str, wanted: impl Fn(&Deployment) -> bool) {
    let (params, patch) = (PatchParams::default(), Patch::Merge(json!({"metadata": {"annotations": {key: value}}})));
    let (written, ()) = tokio::join!(api.patch(name, &params, &patch), when(api, name, wanted));
    written.unwrap();
}

fn annotation<'a>(one: &'a Deployment, key: &str) -> Option<&'a str> {
    one.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

async fn when(api: &Api<Deployment>, name: &str, wanted: impl Fn(&Deployment) -> bool) {
    let mut events = std::pin::pin!(watcher(api.clone(), watcher::Config::default().fields(&format!("metadata.name={name}"))));
    while let Some(event) = events.try_next().await.unwrap() {
        if let watcher::Event::Apply(one) | watcher::Event::InitApply(one) = event
            && wanted(&one)
        {
            return;
        }
    }
}

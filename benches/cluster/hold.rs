//! What admission adds to a write of a template, and how soon an approved change is let through.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration, apps::v1::Deployment,
};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use lockkeeper::{
    api::marks,
    core::judge::{Release, Rules},
    shell::{
        streams::Pending,
        webhook::{
            Judge, Webhook,
            secrets::{LEAF_SECRET, Source},
            setup::{CONFIGURATION, set_up},
        },
    },
    telemetry::metrics::Metrics,
};
use serde_json::{Value, json};

use crate::{
    objects::{annotation, change, deployment, namespace, policy, two_writes, until, when, write},
    operator::Operator,
    times::Times,
};

const FILES: [&str; 7] = [
    include_str!("../../charts/lockkeeper/admission/deployments.yaml"),
    include_str!("../../charts/lockkeeper/admission/statefulsets.yaml"),
    include_str!("../../charts/lockkeeper/admission/created.yaml"),
    include_str!("../../charts/lockkeeper/admission/probe.yaml"),
    include_str!("../../charts/lockkeeper/admission/rights.yaml"),
    include_str!("../../charts/lockkeeper/admission/self-restraint.yaml"),
    include_str!("../../charts/lockkeeper/admission/warnings.yaml"),
];
/// Those of them that a cluster has where the webhook holds.
const BESIDE_WEBHOOK: std::ops::RangeFrom<usize> = 4..;
const CONCERNS: &str = include_str!("../../charts/lockkeeper/webhook/concerns.cel");
/// Writes at once.
const WRITERS: usize = 8;
const ROUNDS: usize = 3;
const NAMESPACE: &str = "lockkeeper-system";
const WRITES: usize = 400;
const APPROVALS: usize = 40;

pub async fn run(client: &Client) {
    for number in 0..WRITERS {
        for (name, judge) in [("plain", None), ("held", Some("true")), ("left", Some("webhook"))] {
            paused(client, &format!("{name}-{number}"), judge).await;
        }
    }
    let webhook = serve(client).await;
    // One after the other, so that what the machine does besides falls on all of them.
    let (mut without, mut with) = ([Duration::ZERO; 3], [Duration::ZERO; 3]);
    for _ in 0..ROUNDS {
        without[0] += writes(client, "plain").await;
        without[1] += writes(client, "held").await;
        without[2] += writes(client, "left").await;
        policies(client, true).await;
        with[0] += writes(client, "plain").await;
        with[1] += writes(client, "held").await;
        policies(client, false).await;
        by_webhook(client, &webhook, true).await;
        with[2] += writes(client, "left").await;
        by_webhook(client, &webhook, false).await;
    }
    let each =
        |time: Duration| time.as_secs_f64() * 1000.0 / (ROUNDS * WRITES) as f64 * WRITERS as f64;
    println!("\na write of a template, {WRITERS} at once, without our admission and with it");
    for (number, what) in
        ["not governed", "held by the policies", "held by the webhook"].into_iter().enumerate()
    {
        println!(
            "{what:>20} {:>8.2} ms {:>8.2} ms {:>8.2} times",
            each(without[number]),
            each(with[number]),
            with[number].as_secs_f64() / without[number].as_secs_f64()
        );
    }
    policies(client, true).await;
    approvals(client).await;
    policies(client, false).await;
}

/// Paused, so that no rollout gets in the way.
async fn paused(client: &Client, name: &str, judge: Option<&str>) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), "admission");
    let mut object = deployment(name, json!({}), json!({"paused": true}));
    if let Some(judge) = judge {
        object
            .metadata
            .labels
            .get_or_insert_default()
            .insert(marks::GOVERNED.to_owned(), judge.to_owned());
        object
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(marks::HOLD_CHANGES.to_owned(), "true".to_owned());
    }
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn writes(client: &Client, name: &str) -> Duration {
    let begun = Instant::now();
    let writer = |number: usize| async move {
        let api: Api<Deployment> = Api::namespaced(client.clone(), "admission");
        for _ in 0..WRITES / WRITERS {
            change(&api, &format!("{name}-{number}")).await;
        }
    };
    stream::iter(0..WRITERS).for_each_concurrent(WRITERS, writer).await;
    begun.elapsed()
}

/// Installs the chart's policies, or takes their bindings off, and waits until that has come into
/// force.
pub async fn policies(client: &Client, on: bool) {
    install(client, &FILES, on).await;
    in_force(client, "true", on).await;
}

/// The webhook, served from here.
async fn serve(client: &Client) -> Webhook {
    let rules = Rules::read(&Release::new(NAMESPACE, "")).unwrap();
    let judge: Judge = Arc::new(move |write, rights| rules.judge(write, rights));
    let source = Source {
        namespace: NAMESPACE.to_owned(),
        secret: LEAF_SECRET.to_owned(),
        names: vec!["127.0.0.1".to_owned()],
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let served = (Arc::new(Metrics::default()), Pending::default());
    Webhook::start(any, source, judge, client.clone(), served).await.unwrap()
}

/// Has the API server ask the webhook about workloads that are left to it, as the chart does, or no
/// longer, and waits until that has come into force.
async fn by_webhook(client: &Client, webhook: &Webhook, on: bool) {
    install(client, &FILES[BESIDE_WEBHOOK], on).await;
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let url = format!("https://{}/mutate/fail", webhook.address());
    let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION}, "webhooks": [{
            "name": "holds.lockkeeper.dev", "admissionReviewVersions": ["v1"], "clientConfig": {"url": url},
            "failurePolicy": "Fail", "matchPolicy": "Equivalent", "reinvocationPolicy": "Never",
            "sideEffects": "None", "timeoutSeconds": 2,
            "objectSelector": {"matchLabels": {marks::GOVERNED: "webhook"}},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}],
            "matchConditions": [{"name": "concerns", "expression": CONCERNS}]}]});
    if on {
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        set_up(client.clone(), NAMESPACE.to_owned(), names).await.unwrap();
    } else {
        api.delete(CONFIGURATION, &Default::default()).await.unwrap();
    }
    in_force(client, "webhook", on).await;
}

async fn install(client: &Client, files: &[&str], on: bool) {
    for document in files.iter().flat_map(|file| file.split("\n---\n")) {
        let object: Value = serde_saphyr::from_str(document).unwrap();
        let kind = object["kind"].as_str().unwrap().to_owned();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "admissionregistration.k8s.io",
            "v1",
            &kind,
        ));
        let resource = ApiResource {
            plural: if kind.ends_with("Policy") {
                kind.to_lowercase().replace("policy", "policies")
            } else {
                resource.plural.clone()
            },
            ..resource
        };
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let name = object["metadata"]["name"].as_str().unwrap();
        match (on, kind.ends_with("Binding")) {
            (true, _) => drop(
                api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(&object))
                    .await
                    .unwrap(),
            ),
            (false, true) => drop(api.delete(name, &Default::default()).await),
            (false, false) => {}
        }
    }
}

async fn in_force(client: &Client, judge: &str, on: bool) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), "admission");
    let name = if on { "probe-on" } else { "probe-off" };
    paused(client, name, Some(judge)).await;
    while annotation(&change(&api, name).await, marks::HOLD).is_some() != on {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if !on {
            // What was held before stays marked so; another one tells.
            api.delete(name, &Default::default()).await.unwrap();
            paused(client, name, Some(judge)).await;
        }
    }
    api.delete(name, &Default::default()).await.unwrap();
}

async fn approvals(client: &Client) {
    namespace(client, "approvals").await;
    policy(
        client,
        "approvals",
        json!({"config": {"settle": "0s"}, "gates": {"approval": "Required"}}),
    )
    .await;
    let api: Api<Deployment> = Api::namespaced(client.clone(), "approvals");
    for number in 0..APPROVALS {
        api.create(
            &PostParams::default(),
            &deployment(&format!("web-{number}"), json!({}), json!({})),
        )
        .await
        .unwrap();
    }
    let operator = Operator::start().await;
    let marked = |one: &Deployment| {
        annotation(one, marks::HOLD_CHANGES).is_some() && annotation(one, marks::ROLLOUT).is_some()
    };
    until(&api, APPROVALS, marked).await;
    let mut times = Vec::new();
    for number in 0..APPROVALS {
        let name = format!("web-{number}");
        let held = change(&api, &name).await;
        let id = annotation(&held, marks::HOLD).unwrap().split(' ').next().unwrap().to_owned();
        when(&api, &name, |one| annotation(one, marks::HOLD_SINCE).is_some()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        write(&api, &name, marks::APPROVE, &id, |one| annotation(one, marks::HOLD).is_none()).await;
        times.push(begun.elapsed());
    }
    operator.stop();
    let floor = two_writes(&api, (0..APPROVALS).map(|number| format!("web-{number}"))).await;
    println!(
        "\nfrom the write of an approval to the accepted release, as a watch sees it; the floor is one write after another, seen the same way"
    );
    println!("  {}   floor {} ms (median)", Times::from(times), floor.median().as_millis());
}

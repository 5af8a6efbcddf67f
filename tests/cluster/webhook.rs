//! Holds by the webhook, as below Kubernetes 1.36. It is tried on the version that the cluster has:
//! the chart can be told to have no policies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use lockkeeper::shell::webhook::certificate::Pair;
use serde_json::{Value, json};

use crate::support::{
    HOLDABLE, OperatorAlone, Said, Service, Shop, Way, eventually, kubectl, kubectl_with, mark,
    named, operator_alone, webhook_service,
};

const CONFIGURATION: [&str; 2] = ["mutatingwebhookconfiguration", "zz-lockkeeper"];

fn judge(object: &Value) -> &Value {
    &object["metadata"]["labels"]["lockkeeper.dev/governed"]
}

fn set_image(shop: &Shop, kind: &str, name: &str, tag: &str) -> Said {
    let image = format!("app=other:{tag}");
    shop.run("kubectl", &["set", "image", &format!("{kind}/{name}"), &image], None)
}

/// The workloads of the cluster that are left to a judge.
fn left_to(judge: &str) -> String {
    let label = format!("lockkeeper.dev/governed={judge}");
    kubectl(&["get", "deployments,statefulsets", "-A", "-o", "name", "-l", &label])
}

fn has_policies() -> bool {
    let name = ["lockkeeper-deployments", "--ignore-not-found", "-o", "name"];
    let served = kubectl(&["api-resources", "--api-group=admissionregistration.k8s.io"]);
    served.contains("MutatingAdmissionPolicy")
        && !kubectl(&[&["get", "mutatingadmissionpolicy"], &name[..]].concat()).trim().is_empty()
}

/// As before a cluster goes back below 1.36: the webhook beside the policies, then without them.
async fn hand_over_to_the_webhook(operator: &OperatorAlone, service: &Service) {
    let url = format!("webhook.url=https://{}", service.address);
    let values = ["holds.by=webhook", &url];
    operator.set(&values);
    if has_policies() {
        // Other tests leave workloads behind that are handed over too.
        let left = || async { left_to("true") };
        eventually("all workloads are handed over", left, |left| left.trim().is_empty()).await;
        operator.set(&values);
    }
    assert!(!has_policies(), "the chart removes the policies when nothing is left to them");
}

/// Once nothing is left to the webhook. Other tests leave workloads behind that are handed over too.
async fn without_the_webhook(operator: OperatorAlone) {
    let left = || async { left_to("webhook") };
    eventually("all workloads are handed over", left, |left| left.trim().is_empty()).await;
    drop(operator);
    let there = kubectl(&[&["get"], &CONFIGURATION[..], &["--ignore-not-found"]].concat());
    assert_eq!(there.trim(), "", "the chart removes the webhook");
}

/// Somebody who changes workloads and reverts that, again and again.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Writer {
    /// Each change that the API server accepts must be held in that very write.
    fn start(namespace: &str, names: Vec<(&'static str, String)>) -> Self {
        let (stop, namespace) = (Arc::new(AtomicBool::new(false)), namespace.to_owned());
        let stopped = stop.clone();
        let run =
            move |arguments: &[&str]| kubectl_with(&[&["-n", &*namespace], arguments].concat(), "");
        let thread = thread::spawn(move || {
            let mut changes = 0;
            let until = |what: &str, done: &dyn Fn() -> bool| {
                let deadline = Instant::now() + Duration::from_secs(300);
                while !done() {
                    assert!(Instant::now() < deadline, "{what}");
                    thread::sleep(Duration::from_millis(50));
                }
            };
            while !stopped.load(Ordering::SeqCst) {
                for (kind, name) in &names {
                    let workload = format!("{kind}/{name}");
                    let set = |image: &str| {
                        until(&format!("{workload} accepts {image}"), &|| {
                            let said = run(&["set", "image", &workload, image]);
                            let refused = said.text.contains("failed calling webhook");
                            assert!(said.success || refused, "{}", said.text);
                            said.success
                        });
                    };
                    let now = || -> Value {
                        serde_json::from_str(&run(&["get", &workload, "-o", "json"]).text).unwrap()
                    };
                    set("app=other:v2");
                    let object = now();
                    let partition = &object["spec"]["updateStrategy"]["rollingUpdate"]["partition"];
                    let held = object["spec"]["paused"] == true || *partition == 2_147_483_647;
                    assert!(held && mark(&object, "hold").is_some(), "slipped by: {object:#}");
                    set("app=other:v1");
                    until(&format!("{workload} is free"), &|| mark(&now(), "hold").is_none());
                    changes += 1;
                }
            }
            changes
        });
        Self { stop, thread }
    }

    /// How many changes were made.
    fn end(self) -> u32 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

async fn holds_enforced(shop: &Shop, status: &str, reason: &str, words: &str) {
    let condition = || async {
        let status = shop.status().await;
        let mut all = status["conditions"].as_array().cloned().unwrap_or_default().into_iter();
        all.find(|one| one["type"] == "HoldsEnforced").unwrap_or_default()
    };
    let so = |one: &Value| {
        one["status"] == status
            && one["reason"] == reason
            && one["message"].as_str().is_some_and(|message| message.contains(words))
    };
    eventually(&format!("HoldsEnforced {status} {reason} {words}"), condition, so).await;
}

/// P6, P10 while a cluster goes back below 1.36, and on again: no change slips by, no pod is
/// replaced, and what is held stays held.
#[tokio::test]
async fn p6_p10_no_change_slips_by_while_another_judge_takes_over_exclusively() {
    let (operator, service) = (operator_alone(), webhook_service());
    let shop = Shop::gated("judges").await;
    let mut pods = Vec::new();
    for kind in HOLDABLE {
        for way in ["held", "changed"] {
            shop.guarded(kind, &named(way, kind)).await;
            pods.push(shop.pods(&named(way, kind)).await);
        }
        set_image(&shop, kind, &named("held", kind), "v2");
        shop.waits(kind, &named("held", kind), "ApprovalRequired").await;
    }
    let held = |kind: &'static str| {
        let shop = &shop;
        async move { shop.is_held(kind, &named("held", kind)).await }
    };
    let ids = [held(HOLDABLE[0]).await, held(HOLDABLE[1]).await];
    let changed = HOLDABLE.map(|kind| (kind, named("changed", kind)));
    let writer = Writer::start(&shop.name, changed.to_vec());

    hand_over_to_the_webhook(&operator, &service).await;
    for kind in HOLDABLE {
        for way in ["held", "changed"] {
            assert_eq!(judge(&shop.get(kind, &named(way, kind)).await), "webhook");
        }
    }
    assert_eq!([held(HOLDABLE[0]).await, held(HOLDABLE[1]).await], ids);
    holds_enforced(&shop, "True", "Enforced", "").await;

    if !kubectl(&["api-resources"]).contains("MutatingAdmissionPolicy") {
        // Nobody else can judge here.
        assert!(writer.end() > 0);
        return;
    }
    operator.set(&[&format!("webhook.url=https://{}", service.address)]);
    for kind in HOLDABLE {
        for way in ["held", "changed"] {
            let name = named(way, kind);
            eventually("the API server judges", || shop.get(kind, &name), |it| judge(it) == "true")
                .await;
        }
    }
    let changes = writer.end();
    assert!(changes > 10, "{changes} changes were held");
    assert_eq!([held(HOLDABLE[0]).await, held(HOLDABLE[1]).await], ids);
    let mut now = Vec::new();
    for kind in HOLDABLE {
        for way in ["held", "changed"] {
            now.push(shop.pods(&named(way, kind)).await);
        }
    }
    assert_eq!(now, pods, "nothing was rolled out");
    holds_enforced(&shop, "True", "Enforced", "").await;
    without_the_webhook(operator).await;
}

/// P6 below 1.36: the table of docs/operations.md, "The webhook does not answer".
#[tokio::test]
async fn p6_a_webhook_that_fails_refuses_changes_and_is_told_until_it_answers_exclusively() {
    let (operator, service) = (operator_alone(), webhook_service());
    hand_over_to_the_webhook(&operator, &service).await;
    let (shop, beside) = (Shop::gated("cut-off").await, Shop::open("beside-cut-off").await);
    beside.apply(&beside.manifest("Deployment", "web", "v1"));
    beside.done("Deployment", "web").await;
    shop.guarded("Deployment", "web").await;
    eventually("the webhook judges", || shop.get("Deployment", "web"), |it| judge(it) == "webhook")
        .await;
    set_image(&shop, "Deployment", "web", "v2");
    shop.waits("Deployment", "web", "ApprovalRequired").await;
    holds_enforced(&shop, "True", "Enforced", "").await;

    let long_ago = Timestamp::now() - SignedDuration::from_hours(24 * 100);
    let other = Pair::authority(long_ago).unwrap();
    let expired = other.sign(&["127.0.0.1".to_owned()], long_ago).unwrap();
    // What the API server verifies the webhook by: an authority that did not sign what it shows.
    let trust_other = || {
        let bundle = k8s_openapi::ByteString(other.certificate.clone().into_bytes());
        let configuration = kubectl(&[&["get"], &CONFIGURATION[..], &["-o", "json"]].concat());
        let configuration: Value = serde_json::from_str(&configuration).unwrap();
        let entries = 0..configuration["webhooks"].as_array().unwrap().len();
        let patch: Vec<_> = entries
            .map(|index| json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle}))
            .collect();
        let patch = json!(patch).to_string();
        kubectl(&[&["patch"], &CONFIGURATION[..], &["--type=json", "-p", &patch]].concat());
    };
    let mut tags = 0;
    let mut fails = async |what: &str, words: &str| {
        let mut attempt = || {
            tags += 1;
            let said = set_image(&shop, "Deployment", "web", &format!("{what}{tags}"));
            async move { said }
        };
        let refused = |said: &Said| {
            let call = "failed calling webhook \"holds.lockkeeper.dev\"";
            !said.success && said.text.contains(call) && said.text.contains(words)
        };
        eventually(&format!("refused: {words}"), &mut attempt, refused).await;
        let id = shop.is_held("Deployment", "web").await;
        holds_enforced(&shop, "False", "WebhookUnreachable", words).await;
        assert!(!attempt().await.success, "{what}: refused until it answers");
        assert_eq!(shop.is_held("Deployment", "web").await, id, "what is held stays held");
        let said = set_image(&beside, "Deployment", "web", what);
        assert!(said.success && !said.text.contains("Lockkeeper"), "{}", said.text);
        beside.done("Deployment", "web").await;
    };
    service.lead(Way::Dropped);
    fails("dropped", "context deadline exceeded").await;
    service.lead(Way::Open);
    holds_enforced(&shop, "True", "Enforced", "").await;
    trust_other();
    service.lead(Way::Server(expired.configuration().unwrap()));
    fails("expired", "certificate has expired").await;
    service.lead(Way::Open);
    fails("unknown", "certificate signed by unknown authority").await;
    let url = format!("webhook.url=https://{}", service.address);
    operator.set(&["holds.by=webhook", &url]);
    holds_enforced(&shop, "True", "Enforced", "").await;
    let said = set_image(&shop, "Deployment", "web", "v3");
    assert!(said.text.contains("stored, but held by Lockkeeper"), "{}", said.text);
    shop.waits("Deployment", "web", "ApprovalRequired").await;
    shop.approve("Deployment", "web", "other:v3").await;
    shop.done("Deployment", "web").await;

    // The only failure in which a change is let through.
    kubectl(&[&["delete"], &CONFIGURATION[..]].concat());
    holds_enforced(&shop, "False", "WebhookMissing", "helm upgrade").await;
    shop.marked("Deployment", "web").await;
    set_image(&shop, "Deployment", "web", "v4");
    shop.all_run("Deployment", "web", "other:v4", 2).await;
    operator.set(&["holds.by=webhook", &url]);
    holds_enforced(&shop, "True", "Enforced", "").await;
    let said = set_image(&shop, "Deployment", "web", "v5");
    assert!(said.text.contains("stored, but held by Lockkeeper"), "{}", said.text);
    shop.is_held("Deployment", "web").await;

    hand_over_to_the_policies(operator, &shop, &service).await;
}

/// The chart as it is by itself: nothing of the webhook is left behind.
async fn hand_over_to_the_policies(operator: OperatorAlone, shop: &Shop, service: &Service) {
    if !kubectl(&["api-resources"]).contains("MutatingAdmissionPolicy") {
        return;
    }
    operator.set(&[&format!("webhook.url=https://{}", service.address)]);
    for kind in HOLDABLE {
        let of_kind = || async {
            let all = shop.api(kind).list(&ListParams::default()).await.unwrap().items;
            all.into_iter().map(|one| serde_json::to_value(one).unwrap()).collect::<Vec<_>>()
        };
        eventually("the API server judges", of_kind, |all| {
            all.iter().all(|it| judge(it) == "true")
        })
        .await;
    }
    without_the_webhook(operator).await;
}

/// P6 below 1.36: held, or refused while no replica answers; never let through.
#[tokio::test]
async fn p6_p10_p16_the_webhook_holds_and_what_it_cannot_judge_is_refused_exclusively() {
    let (operator, service) = (operator_alone(), webhook_service());
    hand_over_to_the_webhook(&operator, &service).await;
    let (shop, beside) = (Shop::gated("by-webhook").await, Shop::open("beside-holds").await);
    for kind in HOLDABLE {
        let name = &named("web", kind);
        beside.apply(&beside.manifest(kind, name, "v1"));
        beside.done(kind, name).await;
        shop.guarded(kind, name).await;
        eventually("the webhook judges", || shop.get(kind, name), |it| judge(it) == "webhook")
            .await;
        let before = shop.pods(name).await;
        let said = set_image(&shop, kind, name, "v2");
        assert!(said.text.contains("stored, but held by Lockkeeper"), "{}", said.text);
        shop.is_held(kind, name).await;
        assert_eq!(shop.pods(name).await, before);
        shop.waits(kind, name, "ApprovalRequired").await;
        shop.approve(kind, name, "other:v2").await;
        shop.done(kind, name).await;
        set_image(&shop, kind, name, "v3");
        shop.waits(kind, name, "ApprovalRequired").await;
    }
    operator.stop();
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let id = shop.is_held(kind, name).await;
        let before = shop.pods(name).await;
        let said = set_image(&shop, kind, name, "v4");
        assert!(
            !said.success && said.text.contains("failed calling webhook \"holds.lockkeeper.dev\""),
            "{}",
            said.text
        );
        assert_eq!(shop.is_held(kind, name).await, id, "what is held stays held");
        assert_eq!(shop.pods(name).await, before);
        shop.kubectl(&["scale", &format!("{kind}/{name}"), "--replicas=3"]);
        eventually(
            "it is scaled on its old template",
            || shop.images(name),
            |images| images.len() == 3 && images.iter().all(|image| image == "other:v2"),
        )
        .await;
        shop.kubectl(&["scale", &format!("{kind}/{name}"), "--replicas=2"]);
        // What nobody governs does not know of it.
        let said = set_image(&beside, kind, name, "v2");
        assert!(said.success && !said.text.contains("Lockkeeper"), "{}", said.text);
        beside.done(kind, name).await;
        beside.apply(&beside.manifest(kind, &named("new", kind), "v1"));
        beside.done(kind, &named("new", kind)).await;
    }
    operator.start();
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let set = || async { set_image(&shop, kind, name, "v4") };
        let said = eventually("a replica answers", set, |said| said.success).await;
        assert!(said.text.contains("stored, but held by Lockkeeper"), "{}", said.text);
        shop.waits(kind, name, "ApprovalRequired").await;
        shop.approve(kind, name, "other:v4").await;
        shop.done(kind, name).await;
    }
    hand_over_to_the_policies(operator, &shop, &service).await;
}

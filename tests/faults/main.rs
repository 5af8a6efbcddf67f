//! The real streams, main loop and executor against an API server in this process that can be told
//! to fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod api_server;
mod ask;
mod hand_over;
mod lease;
mod pause;
mod unreadable;
mod webhook;

use std::{sync::Arc, time::Duration};

use api_server::{ApiServer, Fault};
use lockkeeper::{
    api::UpgradePolicyStatus,
    core::{digest::Key, hold::enforced::Enforcement, judge::Release, observed::Uid, reach::Reach},
    shell::{
        ask::{Asker, credentials::Allowed},
        digest,
        executor::{Executor, Outcome},
        index::Index,
        lease::Term,
        notify::Notices,
        probe::{Connect, Prober},
        reconcile::{Parts, Reconciler},
        streams::{Pending, Streams},
    },
    telemetry::{health::Heartbeat, metrics::Metrics},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

/// The operator on this API server; it ends when the sender is dropped.
fn operator(server: &ApiServer) -> watch::Sender<bool> {
    let key = digest::set_key(Key::new(&[7; 32]));
    let (client, metrics) = (server.client(), Arc::new(Metrics::default()));
    let (seen, mut sightings) = mpsc::channel(1024);
    let (done, mut completions) = mpsc::unbounded_channel();
    let notices = Notices::start(client.clone(), metrics.clone(), "lockkeeper-0".to_owned());
    let streams = Streams::start(
        client.clone(),
        &Reach::default(),
        seen,
        metrics.clone(),
        Pending::default(),
    );
    let index = Index::new(
        key,
        "lockkeeper-system".into(),
        Reach::default(),
        Enforcement::new(&Release::new("lockkeeper-system", "")),
    );
    let (_leads, term) =
        tokio::sync::watch::channel(Term::undisputed(std::time::Duration::from_secs(3600)));
    let asker = Asker::new(
        client.clone(),
        done.clone(),
        term.clone(),
        metrics.clone(),
        Allowed { read: true, insecure: false },
    );
    let connect = server.clone();
    let connect: Connect = Arc::new(move || Ok(connect.client()));
    let prober = Prober::new(connect, "lockkeeper-system".to_owned(), done.clone());
    let executor = Executor::new(client, done, term.clone());
    let mut reconciler = Reconciler::new(Parts {
        key,
        max_config_rollouts: 100,
        index,
        streams,
        executor,
        asker,
        prober,
        term,
        notices,
        metrics,
        heartbeat: Heartbeat::default(),
    });
    let (stop, mut stopped) = watch::channel(false);
    tokio::spawn(
        async move { reconciler.run(&mut sightings, &mut completions, &mut stopped).await },
    );
    stop
}

/// A Deployment at 1 replica, rolled out, whose pod was there before.
fn seed(server: &ApiServer) {
    change(server, "old");
    server.put(
        "deployments",
        json!({"metadata": {"name": "web", "namespace": "shop", "annotations": {"deployment.kubernetes.io/revision": "1"}}, "spec": {"replicas": 1,
        "template": {"metadata": {"annotations": {"a": "b"}}, "spec": {"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "app"}}]}]}}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}}),
    );
    let owner = |kind: &str, uid: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": uid, "controller": true}]);
    server.put(
        "replicasets",
        json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {"pod-template-hash": "1"},
        "annotations": {"deployment.kubernetes.io/revision": "1"}, "ownerReferences": owner("Deployment", "deployments-web")}}),
    );
    server.put(
        "pods",
        json!({"metadata": {"name": "web-1-a", "namespace": "shop", "labels": {"pod-template-hash": "1"}, "ownerReferences": owner("ReplicaSet", "replicasets-web-1")},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    server.put(
        "upgradepolicies",
        json!({"metadata": {"name": "shop", "namespace": "shop"}, "spec": {"selector": {}, "config": {"settle": "0s"}}}),
    );
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 30 s");
}

async fn adopted(server: &ApiServer) {
    until("adopted", || mark(server, "config").is_some()).await;
}

/// The operator, which has adopted the Deployment.
async fn running() -> (ApiServer, watch::Sender<bool>) {
    let server = ApiServer::new();
    seed(&server);
    let operator = operator(&server);
    adopted(&server).await;
    (server, operator)
}

fn mark(server: &ApiServer, name: &str) -> Option<String> {
    server.get("deployments", "web")["metadata"]["annotations"][format!("lockkeeper.dev/{name}")]
        .as_str()
        .map(str::to_owned)
}

fn hash(server: &ApiServer) -> Option<Value> {
    server.get("deployments", "web")["spec"]["template"]["metadata"]["annotations"]
        .get("lockkeeper.dev/config-hash")
        .cloned()
}

/// How many requests asked for a rollout.
fn rolls(server: &ApiServer) -> usize {
    server.patches("deployments").iter().filter(|patch| patch.contains("config-hash")).count()
}

/// What the policy's status says of this.
fn condition(server: &ApiServer, kind: &str) -> Value {
    let conditions = server.get("upgradepolicies", "shop")["status"]["conditions"].clone();
    let mut all = conditions.as_array().cloned().unwrap_or_default().into_iter();
    all.find(|one| one["type"] == kind).unwrap_or_default()
}

/// The ConfigMap that the Deployment reads.
fn app(value: &str) -> Value {
    json!({"metadata": {"name": "app", "namespace": "shop"}, "data": {"key": value}})
}

fn change(server: &ApiServer, value: &str) {
    server.put("configmaps", app(value));
}

#[tokio::test]
async fn p5_conflicts_throttling_and_errors_end_in_one_rollout() {
    for faults in [
        vec![Fault::Status(409)],
        vec![Fault::Status(422), Fault::Status(422)],
        vec![Fault::Throttled(1)],
        vec![Fault::Status(500), Fault::Status(503)],
        vec![Fault::Drop],
    ] {
        let (server, _operator) = running().await;
        let count = faults.len();
        server.fail_patches("deployments", faults.clone());
        change(&server, "new");
        until("rolled", || hash(&server).is_some()).await;
        assert_eq!(server.faults_left(), 0, "every fault was met");
        assert_eq!(
            rolls(&server),
            count + 1,
            "{faults:?}: one request a fault, and the one that is accepted"
        );
    }
}

#[tokio::test]
async fn an_accepted_patch_whose_answer_is_lost_is_not_made_twice() {
    let (server, _operator) = running().await;
    server.fail_patches("deployments", vec![Fault::AcceptAndDrop]);
    change(&server, "new");
    until("rolled", || hash(&server).is_some()).await;
    let first = hash(&server);
    change(&server, "new, and a key nobody asked for");
    until("rolled again", || hash(&server) != first).await;
    assert_eq!(rolls(&server), 2);
}

#[tokio::test]
async fn p4_what_changes_while_the_watches_are_lost_or_expired_is_found() {
    let (server, _operator) = running().await;
    server.blind(true);
    server.cut_watches();
    change(&server, "new");
    server.blind(false);
    until("rolled", || hash(&server).is_some()).await;
    assert!(server.lists("configmaps") >= 2, "it was listed again");
}

#[tokio::test]
async fn p2_config_that_nobody_read_counts_from_when_somebody_reads_it() {
    let (server, _operator) = running().await;
    let other = |value: &str| {
        server.put(
            "configmaps",
            json!({"metadata": {"name": "other", "namespace": "shop"}, "data": {"n": value}}),
        )
    };
    // Seen to be read by nobody: what is written after it was seen before it.
    other("1");
    change(&server, "new");
    until("rolled", || hash(&server).is_some()).await;
    let mut web = server.get("deployments", "web");
    web["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{"configMapRef": {"name": "other"}}]);
    server.put("deployments", web);
    until("its new reference is recorded", || {
        mark(&server, "config").is_some_and(|record| record.contains("other"))
    })
    .await;
    let before = hash(&server);
    other("2");
    until("rolled for it", || hash(&server) != before).await;
}

/// A cluster that goes back to a version without them: their watches are not resumed, and nothing
/// is held any more.
#[tokio::test]
async fn holds_enforced_tells_when_the_admission_policies_are_no_longer_served() {
    let server = ApiServer::new();
    seed(&server);
    server.put(
        "upgradepolicies",
        json!({"metadata": {"name": "shop", "namespace": "shop"}, "spec": {"selector": {}, "gates": {"approval": "Required"}}}),
    );
    let _operator = operator(&server);
    let reason = || condition(&server, "HoldsEnforced")["reason"].clone();
    until("the policies are looked for", || reason() == "AdmissionPolicyMissing").await;
    let kinds = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"];
    kinds.iter().for_each(|kind| server.serve(kind, false));
    server.cut_watches();
    until("that they are not served is told", || reason() == "AdmissionUnavailable").await;
    kinds.iter().for_each(|kind| server.serve(kind, true));
    until("that they are served again is told", || reason() == "AdmissionPolicyMissing").await;
}

#[tokio::test]
async fn p14_at_rest_nothing_is_written() {
    let (server, _operator) = running().await;
    let quiet = |server: &ApiServer| {
        server.get("upgradepolicies", "shop")["status"]["workloads"]["upToDate"] == 1
    };
    until("up to date", || quiet(&server)).await;
    let before = server.writes();
    // Events that concern nothing: a pod elsewhere, a label, a ConfigMap that nobody reads.
    for number in 0..50 {
        server.put("configmaps", json!({"metadata": {"name": "other", "namespace": "shop"}, "data": {"n": number.to_string()}}));
        server.put(
            "configmaps",
            json!({"metadata": {"name": "app", "namespace": "shop", "labels": {"n": number.to_string()}}, "data": {"key": "old"}}),
        );
    }
    // Something that concerns it, after all of those: when that is seen, they were.
    change(&server, "new");
    until("rolled", || hash(&server).is_some()).await;
    let since =
        server.patches("deployments").len() + server.patches("upgradepolicies/status").len();
    assert!(
        since <= before + 4,
        "{since} writes, {before} before: one rollout, its status, and nothing for the rest"
    );
}

/// What the watch of a namespace saw before it was ended is late: the next watch of that name begins
/// with a list of its own.
#[tokio::test]
async fn what_an_ended_watch_saw_does_not_count_for_the_next_one() {
    let server = ApiServer::new();
    seed(&server);
    let (seen, mut sightings) = mpsc::channel(1024);
    let (reach, metrics) = (Reach::default(), Arc::new(Metrics::default()));
    let mut streams = Streams::start(server.client(), &reach, seen, metrics, Pending::default());
    let shop = [("shop")].into();
    streams.follow(&shop);
    let mut of_pods = async || loop {
        let sighting = sightings.recv().await.unwrap();
        if sighting.stream.to_string() == "pods in shop" {
            return sighting;
        }
    };
    let first = of_pods().await;
    assert!(streams.counts(&first));
    streams.follow(&[].into());
    assert!(!streams.counts(&first), "it no longer runs");
    streams.follow(&shop);
    assert!(!streams.counts(&first), "another one of that name runs");
    while !streams.counts(&of_pods().await) {}
}

#[tokio::test]
async fn the_status_of_a_policy_that_is_gone_is_forgotten() {
    let server = ApiServer::new();
    seed(&server);
    let (done, mut completions) = mpsc::unbounded_channel();
    let (_leads, term) = watch::channel(Term::undisputed(Duration::from_secs(3600)));
    let mut executor = Executor::new(server.client(), done, term);
    let uid: Uid = "upgradepolicies-shop".into();
    executor.status("shop", "shop".to_owned(), uid.clone(), UpgradePolicyStatus::default());
    let Outcome::Status(_, _, result) = completions.recv().await.unwrap().outcome else {
        panic!("a status was written");
    };
    executor.status_ended(&uid, &result);
    assert!(result.is_ok() && executor.status_times(&uid).0.is_some(), "{result:?}");
    executor.forget(&uid);
    assert_eq!(executor.status_times(&uid), (None, None, false));
}

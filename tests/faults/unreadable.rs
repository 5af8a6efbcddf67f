//! One object that cannot be read never stops the watch of its kind: it is reported and skipped.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{ApiServer, adopted, app, change, condition, hash, operator, running, seed, until};

/// What an API server writes for `9999-12-31T23:59:59-12:00`.
const TOO_LATE: &str = "10000-01-01T11:59:59Z";
const EVENT: &str = "UnreadableObject";

/// Makes an object one that cannot be read.
fn broken(mut object: Value) -> Value {
    object["metadata"]["managedFields"] = json!([{"manager": "kubectl", "time": TOO_LATE}]);
    object
}

fn break_object(server: &ApiServer, plural: &str, name: &str) {
    server.put(plural, broken(server.get(plural, name)));
}

fn attention(server: &ApiServer) -> Value {
    server.get("upgradepolicies", "shop")["status"]["attention"][0].clone()
}

fn is_left_alone(server: &ApiServer) -> bool {
    attention(server)["reason"] == EVENT
}

/// The names of the objects of which was told that they cannot be read.
fn told(server: &ApiServer) -> Vec<String> {
    server
        .events(EVENT)
        .iter()
        .map(|event| event["regarding"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_cannot_be_read_from_the_beginning_stops_nothing_and_is_told_once_without_its_values()
{
    // Of all tests of this program: a subscriber of one thread may find that another thread has
    // switched a line off.
    let log = Log::default();
    let writer = log.clone();
    let logs = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(logs).unwrap();
    let server = ApiServer::new();
    seed(&server);
    server.put(
        "secrets",
        json!({"metadata": {"name": "login", "namespace": "shop"}, "data": {"password": 424_242}}),
    );
    server.put(
        "configmaps",
        broken(
            json!({"metadata": {"name": "late", "namespace": "shop"}, "data": {"key": "wpazxq"}}),
        ),
    );
    server.put(
        "configmaps",
        broken(json!({"metadata": {"name": "elsewhere", "namespace": "other"}})),
    );
    let _operator = operator(&server);
    adopted(&server).await;
    change(&server, "new");
    until("rolled", || hash(&server).is_some()).await;
    until("told", || told(&server).len() == 2).await;
    let first = hash(&server);
    // Listed again: it is not told again.
    server.blind(true);
    server.cut_watches();
    change(&server, "newer");
    server.blind(false);
    until("rolled again", || hash(&server) != first).await;
    assert!(server.lists("configmaps") >= 2);
    let mut names = told(&server);
    names.sort();
    assert_eq!(names, ["late", "login"], "where no policy is, nothing is told");
    let login = server
        .events(EVENT)
        .into_iter()
        .find(|event| event["regarding"]["name"] == "login")
        .unwrap();
    assert_eq!(
        (&login["regarding"]["kind"], &login["regarding"]["apiVersion"], &login["type"]),
        (&json!("Secret"), &json!("v1"), &json!("Warning"))
    );
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("Secret/login") && log.contains("ConfigMap/late"),
        "the log tells of them: {log}"
    );
    for text in server.events(EVENT).iter().map(ToString::to_string).chain([log]) {
        assert!(
            !text.contains("424242") && !text.contains("wpazxq") && !text.contains("password"),
            "no value is told"
        );
    }
}

#[tokio::test]
async fn what_becomes_unreadable_is_left_as_it_is_until_it_can_be_read_again() {
    let (server, _operator) = running().await;
    server.put("configmaps", broken(app("new")));
    until("left alone", || is_left_alone(&server)).await;
    let message = attention(&server)["message"].to_string();
    assert!(
        message.contains("ConfigMap/app cannot be read: metadata.managedFields[0].time"),
        "{message}"
    );
    assert_eq!(hash(&server), None, "what cannot be read rolls nothing");
    until("told", || told(&server) == ["app"]).await;

    change(&server, "newest");
    until("rolled", || hash(&server).is_some()).await;
    until("no longer reported", || attention(&server)["reason"] != EVENT).await;
    assert_eq!(told(&server), ["app"]);
}

#[tokio::test]
async fn an_unreadable_object_that_is_deleted_is_gone() {
    let (server, _operator) = running().await;
    // A pod that was never known keeps its workload from being judged.
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "replicasets-web-1", "controller": true}]);
    server.put(
        "pods",
        broken(json!({"metadata": {"name": "web-1-b", "namespace": "shop", "ownerReferences": owner}, "status": {"phase": "Running"}})),
    );
    until("left alone", || is_left_alone(&server)).await;
    change(&server, "new");
    server.put("configmaps", json!({"metadata": {"name": "seen", "namespace": "shop"}}));
    server.delete("pods", "web-1-b");
    until("rolled", || hash(&server).is_some()).await;

    // One that was known is gone too, with what cannot be read of it.
    break_object(&server, "configmaps", "app");
    until("left alone again", || is_left_alone(&server)).await;
    server.delete("configmaps", "app");
    until("missing", || attention(&server)["reason"] == "ConfigMissing").await;
}

/// Its spec may say something else than what is known: nothing is done on that.
#[tokio::test]
async fn a_policy_that_cannot_be_read_is_not_acted_on() {
    let (server, _operator) = running().await;
    break_object(&server, "upgradepolicies", "shop");
    let stalled = || condition(&server, "Stalled")["message"].to_string();
    until("it says so", || {
        stalled().contains("the policy cannot be read: metadata.managedFields[0].time")
    })
    .await;
    until("told", || told(&server) == ["shop"]).await;
}

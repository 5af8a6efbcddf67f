//! Connections are kept while a change waits, and only as long, and what an app does with them
//! between two requests is never taken for an answer.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use lockkeeper::{
    api::WorkloadKind,
    core::{
        conversation::{Call, Errand, Visit},
        observed::WorkloadId,
    },
    marks::About,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Operator, compare, in_words, reply, yes};
use crate::{ApiServer, operator, seed, until};

/// What an app does with a connection when it has answered.
#[derive(Clone, Copy)]
enum Habit {
    /// Waits for the next request.
    Keeps,
    /// The same, and says no.
    Refuses,
    /// Closes it, and does not say so before.
    Closes,
    /// Says before that it will close it, and does.
    ClosesAloud,
    /// Speaks HTTP/1.0.
    Old,
    /// Takes the next request, and closes the connection instead of an answer.
    Drops,
    /// Takes the next request, and never answers on this connection again.
    Hangs,
    /// Takes the next request, and says that it was idle for too long.
    SaysThatItWasIdle,
    /// Sends an answer that nobody asked for: a yes after each no.
    AnswersTwice,
}

/// An app that counts its connections.
struct App {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    /// The paths that were asked for.
    requests: Arc<Mutex<Vec<String>>>,
}

impl App {
    async fn new(habit: Habit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            accepted: Arc::default(),
            ended: Arc::default(),
            requests: Arc::default(),
        };
        let (accepted, ended, requests) =
            (app.accepted.clone(), app.ended.clone(), app.requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (ended, requests) = (ended.clone(), requests.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, habit, &requests).await;
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        app
    }

    /// How many connections it had, and how many of them are open.
    fn connections(&self) -> (usize, usize) {
        let ended = self.ended.load(Ordering::SeqCst);
        let accepted = self.accepted.load(Ordering::SeqCst);
        (accepted, accepted - ended)
    }

    async fn has_open(&self, count: usize) {
        until(&format!("{count} connections are open"), || self.connections().1 == count).await;
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

async fn serve(
    mut stream: TcpStream,
    habit: Habit,
    requests: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let answer = match habit {
        Habit::Old => {
            b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n{\"isUpgradeable\": true}".to_vec()
        }
        Habit::ClosesAloud => {
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 23\r\n\r\n{\"isUpgradeable\": true}"
                .to_vec()
        }
        Habit::Refuses => reply(200, r#"{"isUpgradeable": false}"#),
        Habit::AnswersTwice => [reply(200, r#"{"isUpgradeable": false}"#), yes()].concat(),
        _ => yes(),
    };
    let mut number = 0;
    loop {
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut heard).await? == 0 {
                return Ok(());
            }
        }
        number += 1;
        let line = String::from_utf8_lossy(&heard).lines().next().unwrap_or_default().to_owned();
        requests.lock().unwrap().push(line);
        match habit {
            Habit::Drops if number > 1 => return Ok(()),
            Habit::Hangs if number > 1 => while stream.read_buf(&mut heard).await? > 0 {},
            Habit::SaysThatItWasIdle if number > 1 => {
                stream.write_all(&reply(408, "")).await?;
                return stream.shutdown().await;
            }
            _ => stream.write_all(&answer).await?,
        }
        if matches!(habit, Habit::Closes | Habit::ClosesAloud | Habit::Old) {
            return stream.shutdown().await;
        }
    }
}

fn visit(pod: &str, restarts: u32, address: SocketAddr) -> Visit {
    Visit { pod: pod.into(), name: format!("web-1-{pod}").into(), restarts, address }
}

/// Asks the pods of a workload, and returns what the first of them said.
async fn ask(
    operator: &mut Operator,
    (workload, errand): (&str, Errand),
    gate: &Value,
    visits: Vec<Visit>,
) -> String {
    let call = Call {
        workload: WorkloadId { kind: WorkloadKind::Deployment, name: workload.into() },
        uid: workload.into(),
        policy: "shop".into(),
        about: Some(About { id: "7".parse().unwrap(), step: None }),
        errand,
        gate: serde_json::from_value(gate.clone()).unwrap(),
        visits,
    };
    operator.asker.call("shop", call);
    in_words(&operator.report().await.answers[0])
}

#[tokio::test]
async fn while_a_change_waits_each_pod_has_one_connection_and_it_ends_with_the_change() {
    let (app, mut operator) = (App::new(Habit::Keeps).await, Operator::new(false));
    let gate = json!({"prepare": {}});
    let pods = || vec![visit("a", 0, app.address), visit("b", 0, app.address)];
    for _ in 0..3 {
        assert_eq!(ask(&mut operator, ("web", Errand::Ask), &gate, pods()).await, "Yes");
    }
    assert_eq!((app.requests(), app.connections()), (6, (2, 2)));
    // What else is said to them goes the same way.
    assert_eq!(ask(&mut operator, ("web", Errand::Prepare), &gate, pods()).await, "Yes");
    assert_eq!((app.requests(), app.connections()), (8, (2, 2)));
    // Another workload has connections of its own, and its end is not theirs.
    ask(&mut operator, ("api", Errand::Ask), &gate, vec![visit("c", 0, app.address)]).await;
    assert_eq!(app.connections(), (3, 3));
    operator.asker.hang_up(&"api".into());
    app.has_open(2).await;
    // A pod that is no longer asked, because it is terminating or gone, has none.
    ask(&mut operator, ("web", Errand::Ask), &gate, vec![visit("a", 0, app.address)]).await;
    app.has_open(1).await;
    operator.asker.hang_up(&"web".into());
    app.has_open(0).await;
    assert_eq!(app.connections(), (3, 0));
    // Nothing waits: each request has its own connection again.
    for errand in [Errand::Withdraw, Errand::Prepare, Errand::Verify] {
        assert_eq!(ask(&mut operator, ("web", errand), &gate, pods()).await, "Yes");
        app.has_open(0).await;
    }
    assert_eq!(app.connections(), (9, 0));
    // A check whether the gate works leaves none behind, and pods that are asked seldom have none.
    let seldom = json!({"period": "5m"});
    ask(&mut operator, ("web", Errand::Ask), &seldom, pods()).await;
    app.has_open(0).await;
    // One who no longer leads has none either.
    ask(&mut operator, ("web", Errand::Ask), &gate, pods()).await;
    app.has_open(2).await;
    operator.asker.hang_up_all();
    app.has_open(0).await;
}

#[tokio::test]
async fn a_pod_that_is_another_one_is_never_asked_on_an_old_connection() {
    let (app, mut operator) = (App::new(Habit::Keeps).await, Operator::new(false));
    let moved = App::new(Habit::Keeps).await;
    let gate = json!({});
    // Started again, at another address, and another pod that was given the address.
    let rows = [
        (visit("a", 0, app.address), (1, 1)),
        (visit("a", 1, app.address), (2, 1)),
        (visit("b", 1, app.address), (3, 1)),
        (visit("b", 1, moved.address), (3, 0)),
        (visit("b", 1, app.address), (4, 1)),
    ];
    for (visit, (accepted, open)) in rows {
        let what = format!("{visit:?}");
        assert_eq!(ask(&mut operator, ("web", Errand::Ask), &gate, vec![visit]).await, "Yes");
        app.has_open(open).await;
        assert_eq!(app.connections().0, accepted, "{what}");
    }
}

#[tokio::test]
async fn what_an_app_does_with_an_idle_connection_is_no_answer() {
    let mut rows = Vec::new();
    for (name, habit, expected) in [
        ("closes", Habit::Closes, "Yes"),
        ("closes aloud", Habit::ClosesAloud, "Yes"),
        ("HTTP/1.0", Habit::Old, "Yes"),
        ("drops the next", Habit::Drops, "Yes"),
        ("says that it was idle", Habit::SaysThatItWasIdle, "Yes"),
        ("answers twice", Habit::AnswersTwice, "No"),
    ] {
        let (app, mut operator) = (App::new(habit).await, Operator::new(false));
        for _ in 0..3 {
            let pods = vec![visit("a", 0, app.address)];
            let said = ask(&mut operator, ("web", Errand::Ask), &json!({}), pods).await;
            rows.push((name, said, expected));
            // Whatever the app does between two requests, it has done.
            if !matches!(habit, Habit::Drops | Habit::SaysThatItWasIdle) {
                app.has_open(0).await;
            }
        }
        rows.push((name, format!("{} connections", app.connections().0), "3 connections"));
    }
    compare(rows);
}

#[tokio::test]
async fn a_pod_that_hangs_on_a_kept_connection_has_a_new_one_the_next_time() {
    let (app, mut operator) = (App::new(Habit::Hangs).await, Operator::new(false));
    let gate = json!({"timeout": "300ms"});
    let mut said = Vec::new();
    for _ in 0..3 {
        let pods = vec![visit("a", 0, app.address)];
        said.push(ask(&mut operator, ("web", Errand::Ask), &gate, pods).await);
    }
    assert!(said[0] == "Yes" && said[2] == "Yes" && said[1].contains("within 300ms"), "{said:?}");
    assert_eq!(app.connections().0, 2);
}

/// The Deployment of [`seed`] with a template change that is held; its pod is this app.
fn hold(server: &ApiServer, app: &App) {
    let mut deployment = server.get("deployments", "web");
    let metadata = &mut deployment["metadata"];
    metadata["labels"] = json!({"lockkeeper.dev/governed": "true"});
    metadata["generation"] = json!(2);
    metadata["annotations"]["lockkeeper.dev/hold"] = json!("2 by ann");
    metadata["annotations"]["lockkeeper.dev/hold-changes"] = json!("true");
    deployment["spec"]["paused"] = json!(true);
    deployment["spec"]["template"]["metadata"]["annotations"]["a"] = json!("c");
    deployment["status"]["observedGeneration"] = json!(2);
    server.put("deployments", deployment);
    let mut set = server.get("replicasets", "web-1");
    set["spec"]["replicas"] = json!(1);
    set["spec"]["template"]["spec"]["containers"] = json!([{"name": "app"}]);
    server.put("replicasets", set);
    let mut pod = server.get("pods", "web-1-a");
    pod["spec"]["containers"] =
        json!([{"name": "app", "ports": [{"containerPort": app.address.port()}]}]);
    pod["status"]["podIP"] = json!("127.0.0.1");
    server.put("pods", pod);
}

#[tokio::test]
async fn the_loop_keeps_connections_while_a_change_is_held_and_closes_them_with_the_hold() {
    let server = ApiServer::new();
    let app = App::new(Habit::Refuses).await;
    seed(&server);
    hold(&server, &app);
    server.put(
        "upgradepolicies",
        json!({"metadata": {"name": "shop", "namespace": "shop"}, "spec": {"selector": {},
            "gates": {"app": {"period": "1s"}}}}),
    );
    let _operator = operator(&server);
    until("asked 4 times", || app.requests() >= 4).await;
    app.has_open(1).await;
    // Perhaps one more for the check whether the gate works.
    assert!(app.connections().0 <= 2, "{:?}", app.connections());
    // The user reverts: nothing is held any longer.
    let mut deployment = server.get("deployments", "web");
    deployment["metadata"]["annotations"].as_object_mut().unwrap().remove("lockkeeper.dev/hold");
    deployment["spec"]["paused"] = json!(false);
    deployment["spec"]["template"]["metadata"]["annotations"]["a"] = json!("b");
    server.put("deployments", deployment);
    app.has_open(0).await;
}

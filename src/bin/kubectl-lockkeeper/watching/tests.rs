use std::{cell::RefCell, rc::Rc, sync::Arc, sync::Mutex};

use futures::stream;
use serde_json::{Value, json};

use super::*;

fn deployment(image: &str) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "w", "resourceVersion": "1"},
        "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}},
    })
}

fn status(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "as it is", "reason": "Reason"})
}

/// An API server with one Deployment: what it answers to each list and each watch of
/// Deployments, in turn. The last answer is repeated; a watch that has nothing to say stays
/// open.
fn server(
    lists: Vec<(u16, Value)>,
    watches: Vec<(u16, Vec<Value>)>,
) -> (Cluster, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (path, query) =
            (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        let (watch, of_ours) = (query.contains("watch=true"), path.ends_with("/deployments"));
        let (lists, watches, log) = (lists.clone(), watches.clone(), log.clone());
        async move {
            let word = if watch { "watch" } else { "list" };
            let before = {
                let mut log = log.lock().unwrap();
                let before = log.iter().filter(|one| of_ours && *one == word).count();
                log.extend(of_ours.then(|| word.to_owned()));
                before
            };
            let empty = (200, json!({"metadata": {"resourceVersion": "1"}, "items": []}));
            let (code, body) = match (watch, of_ours) {
                (false, true) => lists.get(before).or(lists.last()).unwrap().clone(),
                (false, false) => empty,
                (true, true) => {
                    let (code, events) = watches.get(before).cloned().unwrap_or((200, Vec::new()));
                    if events.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
                    return Ok::<_, std::convert::Infallible>(
                        http::Response::builder()
                            .status(code)
                            .body(kube::client::Body::from(lines.into_bytes()))
                            .unwrap(),
                    );
                }
                (true, false) => std::future::pending().await,
            };
            Ok(http::Response::builder()
                .status(code)
                .body(kube::client::Body::from(body.to_string().into_bytes()))
                .unwrap())
        }
    });
    (Cluster { client: kube::Client::new(service, "shop"), namespace: "shop".to_owned() }, asked)
}

fn list(image: &str) -> (u16, Value) {
    (200, json!({"metadata": {"resourceVersion": "1"}, "items": [deployment(image)]}))
}

fn event(kind: &str, image: &str) -> Value {
    json!({"type": kind, "object": deployment(image)})
}

/// Watches until the Deployment is as it is to be, or a kind cannot be read.
async fn watch_until(cluster: &Cluster, done: impl Fn(&Result<Seen, Failure>) -> bool) {
    let watching = Watching::new(cluster, Scope::default());
    let mut news = watching.news();
    let seen = async {
        while !watching.seen().as_ref().is_some_and(&done) {
            let _ = news.changed().await;
        }
    };
    tokio::select! {
        () = seen => {}
        never = watching.run() => match never {},
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("it was not seen"),
    }
}

fn runs(image: &'static str) -> impl Fn(&Result<Seen, Failure>) -> bool {
    let digest = |image: &str| {
        let wire: Wire<Deployments> = serde_json::from_value(deployment(image)).unwrap();
        Deployments::view(&wire.metadata, wire.body).template.digest
    };
    let wanted = digest(image);
    move |seen| {
        seen.as_ref().is_ok_and(|seen| {
            seen.world.workloads.values().any(|workload| workload.template.digest == wanted)
        })
    }
}

#[tokio::test]
async fn a_kind_is_listed_once_and_then_watched() {
    let (cluster, asked) = server(
        vec![list("v1")],
        vec![(200, vec![event("MODIFIED", "v2")]), (200, vec![event("MODIFIED", "v3")])],
    );
    watch_until(&cluster, runs("v3")).await;
    assert_eq!(asked.lock().unwrap().iter().filter(|one| *one == "list").count(), 1);
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_begun_again_with_a_list() {
    let gone = json!({"type": "ERROR", "object": status(410)});
    let (cluster, asked) = server(vec![list("v1"), list("v2")], vec![(200, vec![gone])]);
    watch_until(&cluster, runs("v2")).await;
    assert_eq!(asked.lock().unwrap().iter().filter(|one| *one == "list").count(), 2);
}

#[tokio::test]
async fn what_may_not_be_watched_is_listed_again() {
    let (cluster, asked) = server(
        vec![list("v1"), list("v2")],
        vec![(403, vec![status(403)]), (403, vec![status(403)])],
    );
    watch_until(&cluster, runs("v2")).await;
    assert_eq!(asked.lock().unwrap()[..3], ["list", "watch", "list"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_tried_again() {
    let (cluster, _) = server(vec![(500, status(500)), list("v1")], Vec::new());
    let said = Rc::new(RefCell::new(false));
    let heard = said.clone();
    watch_until(&cluster, move |seen| {
        if let Err(why) = seen {
            assert!(why.to_string().contains("cannot read deployments"), "{why}");
            *heard.borrow_mut() = true;
        }
        runs("v1")(seen)
    })
    .await;
    assert!(*said.borrow(), "a failure was seen before");
}

#[tokio::test]
async fn what_is_deleted_is_gone() {
    let kept = Kept::<Wire<Deployments>>::new("deployments");
    let wire = || serde_json::from_value::<Wire<Deployments>>(deployment("v1")).unwrap();
    let sender = watch::Sender::new(());
    let events = [Event::Init, Event::InitApply(wire()), Event::InitDone, Event::Delete(wire())];
    assert!(kept.state().is_none());
    kept.until_broken(stream::iter(events.map(Ok)), &sender).await;
    assert!(kept.state().is_some_and(|state| state.is_ok()) && kept.all().is_empty());
}

#[tokio::test]
async fn what_is_no_object_is_left_out_and_what_was_known_of_it_stands() {
    let broken = |name: &str, image: &str| {
        let mut object = deployment(image);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["managedFields"] =
            json!([{"manager": "kubectl", "time": "10000-01-01T11:59:59Z"}]);
        object
    };
    let items = json!([broken("never", "v1"), deployment("v1")]);
    let (cluster, _) = server(
        vec![(200, json!({"metadata": {"resourceVersion": "1"}, "items": items}))],
        vec![(
            200,
            vec![
                json!({"type": "MODIFIED", "object": broken("web", "v2")}),
                json!({"type": "MODIFIED", "object": broken("other", "v2")}),
            ],
        )],
    );
    watch_until(&cluster, runs("v1")).await;
    let kept = Kept::<Wire<Deployments>>::new("deployments");
    let read = |raw: Value| serde_json::from_value::<Lenient<Wire<Deployments>>>(raw).unwrap();
    let names = |kept: &Kept<Wire<Deployments>>| {
        kept.all().iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    };
    let sender = watch::Sender::new(());
    let web = || read(broken("web", "v2"));
    let events = [
        Event::Init,
        Event::InitApply(read(deployment("v1"))),
        Event::InitDone,
        Event::Apply(web()),
        Event::Apply(read(broken("never", "v1"))),
    ];
    kept.until_broken(stream::iter(events.map(Ok)), &sender).await;
    assert_eq!(names(&kept), ["web"]);
    kept.until_broken(
        stream::iter([Event::Init, Event::InitApply(web()), Event::InitDone].map(Ok)),
        &sender,
    )
    .await;
    assert_eq!(names(&kept), ["web"], "listed again");
    assert_eq!(kept.named.borrow().len(), 2, "{:?}", kept.named);
    kept.until_broken(stream::iter([Ok(Event::Delete(web()))]), &sender).await;
    assert!(kept.all().is_empty());
}

//! An API server in this process: objects, versions, lists, watches and JSON patches, and faults on
//! demand.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::body::{Body, Bytes};
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// How a request fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// With this code; 422 as a failed test of a JSON patch.
    Status(u16),
    /// 429, to be tried again after so many seconds.
    Throttled(u32),
    /// The connection ends without an answer.
    Drop,
    /// The same, but the write is made.
    AcceptAndDrop,
}

/// What it answers to a question about rights.
#[derive(Clone, Copy, Debug, Default)]
pub enum Review {
    Allowed,
    #[default]
    Denied,
    /// 500.
    Failed,
    /// Nothing.
    Slow,
}

#[derive(Default)]
struct State {
    access: Review,
    access_reviews: Vec<Value>,
    version: u64,
    objects: BTreeMap<(String, String), Value>,
    watches: Vec<(String, mpsc::UnboundedSender<String>)>,
    faults: VecDeque<(String, Fault)>,
    patches: Vec<(String, String)>,
    lists: Vec<String>,
    /// What was created of kinds that are not kept here: events.
    created: Vec<Value>,
    blind: bool,
    /// Resources that are not served.
    gone: BTreeSet<String>,
    /// The newest version that no watch was told of.
    missed: BTreeMap<String, u64>,
}

#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<State>>);

const KINDS: [(&str, &str); 14] = [
    ("configmaps", "ConfigMap"),
    ("secrets", "Secret"),
    ("pods", "Pod"),
    ("persistentvolumes", "PersistentVolume"),
    ("deployments", "Deployment"),
    ("statefulsets", "StatefulSet"),
    ("daemonsets", "DaemonSet"),
    ("replicasets", "ReplicaSet"),
    ("upgradepolicies", "UpgradePolicy"),
    ("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
    ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
    ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    ("validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
    ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
];

impl ApiServer {
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        kube::Client::new(service, "default")
    }

    /// Creates an object or replaces its fields, as a user would.
    pub fn put(&self, plural: &str, mut object: Value) {
        let mut state = self.state();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (plural.to_owned(), name.clone());
        if let Some(known) = state.objects.get(&key) {
            object["metadata"]["uid"] = known["metadata"]["uid"].clone();
            object["metadata"]["creationTimestamp"] =
                known["metadata"]["creationTimestamp"].clone();
            object["metadata"]["generation"] = known["metadata"]["generation"].clone();
        } else {
            object["metadata"]["uid"] = json!(format!("{plural}-{name}"));
            object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
            object["metadata"]["generation"] = json!(1);
        }
        state.store(key, object);
    }

    /// Deletes an object.
    pub fn delete(&self, plural: &str, name: &str) {
        let mut state = self.state();
        let mut gone = state.objects.remove(&(plural.to_owned(), name.to_owned())).unwrap();
        state.version += 1;
        gone["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.tell(plural, "DELETED", &gone);
    }

    /// The events that were written, with this reason.
    pub fn events(&self, reason: &str) -> Vec<Value> {
        self.state().created.iter().filter(|one| one["reason"] == reason).cloned().collect()
    }

    pub fn get(&self, plural: &str, name: &str) -> Value {
        self.state().objects[&(plural.to_owned(), name.to_owned())].clone()
    }

    /// The next patches of this resource fail so, one after the other.
    pub fn fail_patches(&self, resource: &str, faults: Vec<Fault>) {
        self.state().faults.extend(faults.into_iter().map(|fault| (resource.to_owned(), fault)));
    }

    pub fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    /// The bodies of the patches of a resource that were asked for.
    pub fn patches(&self, resource: &str) -> Vec<String> {
        self.state()
            .patches
            .iter()
            .filter(|(of, _)| of == resource)
            .map(|(_, body)| body.clone())
            .collect()
    }

    /// Patches of workloads and statuses so far.
    pub fn writes(&self) -> usize {
        self.state().patches.len()
    }

    pub fn lists(&self, plural: &str) -> usize {
        self.state().lists.iter().filter(|one| *one == plural).count()
    }

    /// While blind, watches tell nothing, and one that begins before what was missed is told that
    /// its version has expired.
    pub fn blind(&self, blind: bool) {
        self.state().blind = blind;
    }

    /// Serves a resource no longer, or again. Watches that are open stay so until they are cut.
    pub fn serve(&self, plural: &str, serves: bool) {
        match serves {
            true => drop(self.state().gone.remove(plural)),
            false => drop(self.state().gone.insert(plural.to_owned())),
        }
    }

    /// From now on, questions about rights are answered so.
    pub fn review_access(&self, answer: Review) {
        self.state().access = answer;
    }

    /// The questions about rights.
    pub fn access_reviews(&self) -> Vec<Value> {
        self.state().access_reviews.clone()
    }

    pub fn cut_watches(&self) {
        self.state().watches.clear();
    }

    async fn answer(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path: Vec<_> =
            parts.uri.path().trim_matches('/').split('/').map(str::to_owned).collect();
        let query = parts.uri.query().unwrap_or_default();
        if path.last().is_some_and(|last| last == "subjectaccessreviews") {
            return Ok(self.access_review(serde_json::from_slice(&body).unwrap()).await);
        }
        let Some(at) = path.iter().position(|step| KINDS.iter().any(|(plural, _)| plural == step))
        else {
            if parts.method != "POST" {
                return Ok(status(404));
            }
            self.state().created.extend(serde_json::from_slice::<Value>(&body));
            return Ok(reply(201, &json!({"metadata": {}})));
        };
        let plural = &path[at];
        if self.state().gone.contains(plural) {
            return Ok(status(404));
        }
        match parts.method.as_str() {
            "GET" if query.contains("watch=true") => Ok(self.watch(plural, query)),
            "GET" if path.len() > at + 1 => Ok(self.one(plural, &path[at - 1], &path[at + 1])),
            "GET" => Ok(self.list(plural)),
            "PATCH" => {
                self.patch(plural, &path[at + 1], path.get(at + 2).map(String::as_str), &body)
            }
            "POST" => Ok(self.write(plural, serde_json::from_slice(&body).unwrap(), true)),
            "PUT" => Ok(self.write(plural, serde_json::from_slice(&body).unwrap(), false)),
            _ => Ok(status(405)),
        }
    }

    async fn access_review(&self, review: Value) -> Response<Body> {
        let answer = self.state().access;
        self.state().access_reviews.push(review.clone());
        let answered = |allowed: bool| {
            let mut answer = review.clone();
            answer["status"] = json!({"allowed": allowed});
            reply(201, &answer)
        };
        match answer {
            Review::Allowed => answered(true),
            Review::Denied => answered(false),
            Review::Failed => status(500),
            Review::Slow => std::future::pending().await,
        }
    }

    /// Creates an object, or replaces the version that it names.
    fn write(&self, plural: &str, object: Value, creates: bool) -> Response<Body> {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (plural.to_owned(), name.clone());
        let before = self.state().objects.get(&key).cloned();
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        match &before {
            Some(_) if creates => return status(409),
            None if !creates => return status(404),
            Some(before) if version(before) != version(&object) => return status(409),
            _ => {}
        }
        self.put(plural, object);
        reply(200, &self.get(plural, &name))
    }

    fn one(&self, plural: &str, namespace: &str, name: &str) -> Response<Body> {
        let state = self.state();
        let object = state.objects.get(&(plural.to_owned(), name.to_owned()));
        let of_cluster = |object: &Value| object["metadata"].get("namespace").is_none();
        object
            .filter(|object| object["metadata"]["namespace"] == namespace || of_cluster(object))
            .map_or_else(|| status(404), |object| reply(200, object))
    }

    fn list(&self, plural: &str) -> Response<Body> {
        let mut state = self.state();
        state.lists.push(plural.to_owned());
        let items: Vec<_> = state
            .objects
            .iter()
            .filter(|((of, _), _)| of == plural)
            .map(|(_, object)| object.clone())
            .collect();
        let kind = KINDS.iter().find(|(of, _)| *of == plural).unwrap().1;
        reply(
            200,
            &json!({"kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {"resourceVersion": state.version.to_string()}, "items": items}),
        )
    }

    fn watch(&self, plural: &str, query: &str) -> Response<Body> {
        let mut state = self.state();
        let from = query
            .split('&')
            .find_map(|field| field.strip_prefix("resourceVersion=")?.parse().ok())
            .unwrap_or(0);
        if state.missed.get(plural).is_some_and(|missed| from < *missed) {
            let expired = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}});
            return Response::new(Body::from(format!("{expired}\n")));
        }
        let (tell, told) = mpsc::unbounded_channel::<String>();
        state.watches.push((plural.to_owned(), tell));
        let lines =
            stream::unfold(
                told,
                |mut told| async move { told.recv().await.map(|line| (line, told)) },
            );
        Response::new(Body::from_stream(lines.map(|line| Ok::<_, Infallible>(Bytes::from(line)))))
    }

    fn patch(
        &self,
        plural: &str,
        name: &str,
        subresource: Option<&str>,
        body: &[u8],
    ) -> Result<Response<Body>, std::io::Error> {
        let mut state = self.state();
        let resource =
            subresource.map_or_else(|| plural.to_owned(), |sub| format!("{plural}/{sub}"));
        state.patches.push((resource.clone(), String::from_utf8_lossy(body).into_owned()));
        let fault = if state.faults.front().is_some_and(|(of, _)| *of == resource) {
            state.faults.pop_front().map(|(_, fault)| fault)
        } else {
            None
        };
        match fault {
            Some(Fault::Status(code)) => return Ok(status(code)),
            Some(Fault::Throttled(seconds)) => {
                let details = json!({"retryAfterSeconds": seconds});
                return Ok(reply(
                    429,
                    &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "slow down", "details": details}),
                ));
            }
            Some(Fault::Drop) => return Err(std::io::Error::other("connection reset")),
            Some(Fault::AcceptAndDrop) | None => {}
        }
        let key = (plural.to_owned(), name.to_owned());
        let Some(mut object) = state.objects.get(&key).cloned() else { return Ok(status(404)) };
        if subresource.is_some() {
            let patch: Value = serde_json::from_slice(body).unwrap();
            object["status"] = patch["status"].clone();
        } else {
            let patch: json_patch::Patch = serde_json::from_slice(body).unwrap();
            if json_patch::patch(&mut object, &patch).is_err() {
                return Ok(status(422));
            }
            let generation = object["metadata"]["generation"].as_i64().unwrap() + 1;
            object["metadata"]["generation"] = json!(generation);
            object["status"]["observedGeneration"] = json!(generation);
        }
        state.store(key.clone(), object);
        match fault {
            Some(_) => Err(std::io::Error::other("connection reset")),
            None => Ok(reply(200, &state.objects[&key])),
        }
    }
}

impl State {
    fn store(&mut self, key: (String, String), mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        if self.blind {
            self.missed.insert(key.0.clone(), self.version);
        } else {
            self.tell(&key.0, kind, &object);
        }
        self.objects.insert(key, object);
    }

    fn tell(&mut self, of: &str, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.watches.retain(|(plural, tell)| plural != of || tell.send(line.clone()).is_ok());
    }
}

fn reply(code: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn status(code: u16) -> Response<Body> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "InternalError",
    };
    reply(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": "as told"}),
    )
}

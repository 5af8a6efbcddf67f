//! What is measured at each size.

use std::time::{Duration, Instant};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use local_cluster::shared;
use lockkeeper::api::marks;
use serde_json::json;

use super::{
    Layout,
    populate::{self, CROWD, Place, READERS},
    table::Row,
};
use crate::{
    objects::{annotation, bare_patches, two_writes, until, when},
    operator::Operator,
    process,
    times::Times,
};

/// Before anything is measured.
const SETTLE: Duration = Duration::from_secs(10);
/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(20);
/// Changes that one workload reads, one after the other.
const CHANGES: usize = 20;
/// Writes whose cost is measured, and the time between two of them: so long that each is decided on
/// by itself.
const EVENTS: usize = 200;
const PACE: Duration = Duration::from_millis(40);

/// Measures the operator over so many workloads, and what the API server or a bare client needs for
/// the same.
pub async fn measure(client: &Client, layout: Layout, size: usize) -> Vec<Row> {
    eprintln!("measuring {size} workloads");
    let subject = Subject { client, layout, size };
    let deployments: Api<Deployment> =
        Api::namespaced(client.clone(), &Place::of(layout, 0).namespace);
    let floor_of_one =
        two_writes(&deployments, std::iter::repeat_n("web-0".to_owned(), CHANGES)).await;
    let floor_of_many = match layout {
        Layout::Crowded => Some(bare_patches(&deployments, subject.readers()).await),
        Layout::Spread => None,
    };
    let listed = list_all(client).await;

    let first = Instant::now();
    let operator = Operator::start().await;
    until(&Api::<Deployment>::all(client.clone()), size, |one| {
        annotation(one, marks::CONFIG).is_some()
    })
    .await;
    let adopted = first.elapsed();
    come_to_rest(client).await;
    operator.stop();

    let operator = Operator::start().await;
    let mut rows = vec![
        ("first start until every workload is adopted", seconds(adopted)),
        (
            "start to ready (a bare list of the same)",
            format!("{} ({})", seconds(operator.ready_after), seconds(listed)),
        ),
    ];
    come_to_rest(client).await;
    let written = writes(client).await;
    let before = Spent::now(&operator);
    tokio::time::sleep(REST).await;
    let rest = before.until_now(&operator);
    rows.extend([
        (
            "memory at rest, RSS (API server)",
            format!(
                "{:.0} MiB ({:.0})",
                operator.memory("VmRSS"),
                process::memory(api_server(), "VmRSS")
            ),
        ),
        ("memory at its peak", format!("{:.0} MiB", operator.memory("VmHWM"))),
        (
            "CPU at rest, of one core (API server)",
            format!("{:.2} % ({:.1} %)", rest.share(rest.operator), rest.share(rest.server)),
        ),
        ("writes at rest", format!("{} in {} s", writes(client).await - written, REST.as_secs())),
    ]);
    let changes = Times::from(subject.changes().await);
    rows.push((
        "config change read by 1, write to patch (two bare writes)",
        format!("{} ms ({})", changes.median().as_millis(), floor_of_one.median().as_millis()),
    ));
    if let Some(floor) = floor_of_many {
        let time = subject.shared_change().await;
        rows.push((
            "config change read by 1,000, write to last patch (bare patches)",
            format!("{} ms ({})", time.as_millis(), floor.as_millis()),
        ));
    }
    come_to_rest(client).await;
    let cost = Cost { operator: &operator, rest };
    rows.push((
        "CPU of a ConfigMap write that nobody reads (API server)",
        cost.of(async |number| subject.write("unread", number).await).await,
    ));
    rows.push((
        "CPU of a status write of one workload (API server)",
        cost.of(async |number| subject.write_status(number).await).await,
    ));
    rows.push((
        "CPU of a config change read by 1 (API server)",
        cost.of(async |number| subject.write(&subject.place(number).map, number).await).await,
    ));
    operator.stop();
    rows
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

struct Subject<'a> {
    client: &'a Client,
    layout: Layout,
    size: usize,
}

impl Subject<'_> {
    fn place(&self, number: usize) -> Place {
        Place::of(self.layout, number % self.size.min(EVENTS))
    }

    fn readers(&self) -> usize {
        self.size.min(READERS)
    }

    /// Changes a ConfigMap, beside the workload of this number.
    async fn write(&self, map: &str, number: usize) {
        let maps: Api<ConfigMap> =
            Api::namespaced(self.client.clone(), &self.place(number).namespace);
        let patch =
            Patch::Merge(json!({"data": {"level": format!("{:x}", rand::random::<u64>())}}));
        maps.patch(map, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn write_status(&self, number: usize) {
        let place = self.place(number);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &place.namespace);
        let condition = json!({"type": "Bench", "status": "True", "reason": format!("R{:x}", rand::random::<u64>())});
        populate::patch_status(&deployments, &place.workload, json!({"conditions": [condition]}))
            .await;
    }

    /// Changes what one workload reads, until it is seen to be patched.
    async fn changes(&self) -> Vec<Duration> {
        let place = self.place(0);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &place.namespace);
        let mut times = Vec::new();
        for _ in 0..CHANGES {
            let now = deployments.get(&place.workload).await.unwrap();
            let before = annotation(&now, marks::CONFIG);
            let begun = Instant::now();
            let changed = |one: &Deployment| annotation(one, marks::CONFIG) != before;
            tokio::join!(self.write(&place.map, 0), when(&deployments, &place.workload, changed));
            times.push(begun.elapsed());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        times
    }

    /// Changes what many read, until the last of them is seen to be patched.
    async fn shared_change(&self) -> Duration {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), CROWD);
        let records = |one: &Deployment| {
            (one.metadata.name.clone(), annotation(one, marks::CONFIG).map(str::to_owned))
        };
        let before: std::collections::HashMap<_, _> = deployments
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .iter()
            .map(records)
            .collect();
        let changed = |one: &Deployment| {
            before[&one.metadata.name].as_deref() != annotation(one, marks::CONFIG)
        };
        let begun = Instant::now();
        tokio::join!(self.write("shared", 0), until(&deployments, self.readers(), changed));
        begun.elapsed()
    }
}

/// Time that the operator and the API server have spent on processors.
#[derive(Clone, Copy)]
struct Spent {
    operator: Duration,
    server: Duration,
    at: Instant,
}

/// The same over a while.
#[derive(Clone, Copy)]
struct Used {
    operator: Duration,
    server: Duration,
    over: Duration,
}

impl Spent {
    fn now(operator: &Operator) -> Self {
        Self { operator: operator.cpu(), server: process::cpu(api_server()), at: Instant::now() }
    }

    fn until_now(self, operator: &Operator) -> Used {
        let now = Self::now(operator);
        Used {
            operator: now.operator - self.operator,
            server: now.server - self.server,
            over: now.at - self.at,
        }
    }
}

impl Used {
    /// In hundredths of a core.
    fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.over.as_secs_f64() * 100.0
    }
}

/// Measures what an event costs beyond what is spent at rest.
struct Cost<'a> {
    operator: &'a Operator,
    rest: Used,
}

impl Cost<'_> {
    async fn of(&self, event: impl AsyncFn(usize)) -> String {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = Spent::now(self.operator);
        let mut clock = tokio::time::interval(PACE);
        for number in 0..EVENTS {
            clock.tick().await;
            event(number).await;
        }
        // What comes of the last ones.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let used = before.until_now(self.operator);
        let each = |time: Duration, at_rest: Duration| {
            let base =
                at_rest.as_secs_f64() * used.over.as_secs_f64() / self.rest.over.as_secs_f64();
            (time.as_secs_f64() - base).max(0.0) * 1000.0 / EVENTS as f64
        };
        format!(
            "{:.2} ms ({:.2})",
            each(used.operator, self.rest.operator),
            each(used.server, self.rest.server)
        )
    }
}

fn api_server() -> u32 {
    shared()
        .control_plane("kube-apiserver")
        .expect("the scale is measured on a cluster that local-cluster runs")
        .id()
}

/// How long it takes to list what the operator watches, in pages like its own, and to read none of
/// it.
async fn list_all(client: &Client) -> Duration {
    let begun = Instant::now();
    let kinds = [
        "/api/v1/configmaps",
        "/api/v1/secrets",
        "/api/v1/pods",
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/replicasets",
    ];
    futures::future::join_all(kinds.map(|path| list(client, path))).await;
    begun.elapsed()
}

async fn list(client: &Client, path: &str) {
    let mut next = Some(String::new());
    while let Some(token) = next {
        let request = hyper::Request::get(format!("{path}?limit=100&continue={token}"))
            .body(Vec::new())
            .unwrap();
        let page = client.request_text(request).await.unwrap();
        // The metadata of a list come before its items.
        next = page
            .split_once(r#""continue":""#)
            .and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()));
    }
}

/// Writes that the API server has accepted, but those of Leases.
/// Waits until nobody writes any more: what is found at a start is noted.
async fn come_to_rest(client: &Client) {
    let mut written = 0;
    loop {
        tokio::time::sleep(SETTLE).await;
        let now = writes(client).await;
        if now == std::mem::replace(&mut written, now) {
            return;
        }
    }
}

async fn writes(client: &Client) -> u64 {
    let request = hyper::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = client.request_text(request).await.unwrap();
    let is_write = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && !line.contains(r#"resource="leases""#)
            && ["POST", "PUT", "PATCH", "APPLY", "DELETE"]
                .iter()
                .any(|verb| line.contains(&format!(r#"verb="{verb}""#)))
    };
    let counts = text
        .lines()
        .filter(is_write)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    counts.sum::<f64>() as u64
}

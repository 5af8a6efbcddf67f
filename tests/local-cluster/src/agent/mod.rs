//! The node agent: registers nodes and makes the pods that are scheduled to them real.
//!
//! A container whose image is known runs as a process on the pod's own loopback address; any other
//! counts as running and ready at once. How near it is to a real node is in this package's README.

mod attach;
mod block;
mod content;
mod environment;
mod logs;
mod node;
mod pod;
mod probe;
mod provision;
mod run;
mod services;
mod status;
mod storage;
mod volumes;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

pub use block::Block;

use crate::Error;

/// Between two attempts at something that cannot be done yet.
const RETRY: Duration = Duration::from_millis(300);

/// What the agent works with.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// How many nodes it plays.
    pub nodes: usize,
    /// Executables by image, without the tag.
    pub programs: BTreeMap<String, PathBuf>,
    /// Where pods have their folders: `NAMESPACE/NAME/`.
    pub folder: PathBuf,
    /// Where volumes have theirs.
    pub volumes: PathBuf,
    /// The API server's address, for pods.
    pub address: String,
    /// The certificate authority in PEM, for pods.
    pub authority: String,
    /// The version that the nodes report.
    pub kubernetes: String,
}

/// The running agent; it and its processes end when it is dropped.
pub struct Agent {
    tasks: Vec<AbortHandle>,
}

/// What every pod's task shares.
pub(crate) struct Shared {
    pub client: Client,
    pub options: AgentOptions,
    pub in_use: attach::InUse,
    /// The nodes whose kubelet is lost.
    pub lost: watch::Sender<BTreeSet<String>>,
    block: Block,
    next_address: AtomicU32,
}

impl Shared {
    /// Whether this node's kubelet is lost.
    pub fn is_lost(&self, node: &str) -> bool {
        self.lost.borrow().contains(node)
    }

    /// A loopback address that no pod had before.
    pub fn new_address(&self) -> Ipv4Addr {
        let number = self.next_address.fetch_add(1, Ordering::Relaxed);
        Ipv4Addr::from_bits(self.block.first().to_bits() + number)
    }
}

impl Agent {
    /// None yet.
    pub(crate) fn none() -> Self {
        Self { tasks: Vec::new() }
    }

    /// Registers the nodes and follows their pods.
    ///
    /// # Errors
    /// When a node cannot be registered.
    pub async fn start(client: Client, options: AgentOptions, block: Block) -> Result<Self, Error> {
        let names: Vec<_> = (1..=options.nodes)
            .map(|number| format!("node-{number}"))
            .chain([node::SPARE.to_owned()])
            .collect();
        let (port, answering) = logs::server(options.folder.clone()).await?;
        let kubelet = node::Kubelet { port, version: options.kubernetes.clone() };
        for name in &names {
            node::register(&client, name, &kubelet).await?;
        }
        storage::register(&client).await?;
        let (in_use, lost, next_address) =
            (attach::InUse::default(), watch::Sender::default(), AtomicU32::new(0));
        let shared = Arc::new(Shared { client, options, in_use, lost, block, next_address });
        let tasks = [
            tokio::spawn(node::heartbeats(shared.clone(), names, kubelet.clone())),
            tokio::spawn(node::follow(shared.clone(), kubelet)),
            tokio::spawn(provision::claims(shared.clone())),
            tokio::spawn(provision::volumes(shared.clone())),
            tokio::spawn(attach::follow(shared.clone())),
            tokio::spawn(answering),
            tokio::spawn(services::follow(shared.clone())),
            tokio::spawn(follow(shared)),
        ];
        Ok(Self { tasks: tasks.iter().map(tokio::task::JoinHandle::abort_handle).collect() })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// One task a pod; each is told of every change of its pod, unless its node is lost.
async fn follow(shared: Arc<Shared>) {
    let (mut known, mut lost) = (Tasks::default(), shared.lost.subscribe());
    loop {
        // What a node missed while it was lost it learns from a new list.
        tokio::select! {
            () = known.follow(&shared) => return,
            changed = lost.changed() => if changed.is_err() { return },
        }
    }
}

/// The tasks of pods, by the pods' uids.
#[derive(Default)]
struct Tasks {
    known: HashMap<String, watch::Sender<Option<Pod>>>,
    tasks: JoinSet<()>,
}

impl Tasks {
    async fn follow(&mut self, shared: &Arc<Shared>) {
        let api: Api<Pod> = Api::all(shared.client.clone());
        let scheduled = watcher::Config::default().fields("spec.nodeName!=");
        let mut events = std::pin::pin!(watcher(api, scheduled).default_backoff());
        let mut listed = HashSet::new();
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "the watch of pods failed");
                    continue;
                }
            };
            match event {
                watcher::Event::Apply(pod) => self.tell(shared, pod),
                watcher::Event::InitApply(pod) => {
                    listed.extend(pod.metadata.uid.clone());
                    self.tell(shared, pod);
                }
                watcher::Event::Delete(pod) => {
                    self.gone(shared, pod.metadata.uid.as_deref().unwrap_or_default())
                }
                watcher::Event::Init => listed.clear(),
                watcher::Event::InitDone => {
                    let missing: Vec<_> =
                        self.known.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
                    missing.iter().for_each(|uid| self.gone(shared, uid));
                }
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn tell(&mut self, shared: &Arc<Shared>, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone().filter(|_| !on_lost_node(shared, &pod)) else {
            return;
        };
        match self.known.get(&uid) {
            Some(task) => drop(task.send(Some(pod))),
            None if pod.status.as_ref().is_some_and(|status| {
                matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
            }) => {}
            None => {
                let (tell, told) = watch::channel(Some(pod));
                self.tasks.spawn(pod::run(shared.clone(), told));
                self.known.insert(uid, tell);
            }
        }
    }

    /// A pod is deleted by force, or after its task has ended.
    fn gone(&mut self, shared: &Arc<Shared>, uid: &str) {
        let cut_off = |task: &watch::Sender<Option<Pod>>| {
            task.borrow().as_ref().is_some_and(|pod| on_lost_node(shared, pod))
        };
        if !self.known.get(uid).is_some_and(cut_off)
            && let Some(task) = self.known.remove(uid)
        {
            let _ = task.send(None);
        }
    }
}

fn on_lost_node(shared: &Shared, pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .is_some_and(|node| shared.is_lost(node))
}

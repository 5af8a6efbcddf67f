//! The node agent: registers nodes and makes the pods that are scheduled to them real.
//!
//! A container whose image is known runs as a process on the pod's own loopback address; any other counts as running and ready at once.

mod attach;
mod content;
mod environment;
mod logs;
mod node;
mod pod;
mod probe;
mod provision;
mod status;
mod storage;
mod volumes;

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, TcpListener},
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

use crate::{Error, Trying};

/// Between two attempts at something that cannot be done yet.
const RETRY: Duration = Duration::from_millis(300);
/// Held by each running cluster on one address of its own.
const CLAIM_PORT: u16 = 47_100;

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
    block: Block,
    next_address: AtomicU32,
}

/// 65,000 loopback addresses that no other cluster on this machine uses: it holds a port of the last of them.
struct Block {
    first: Ipv4Addr,
    _claim: TcpListener,
}

impl Block {
    fn claim() -> std::io::Result<Self> {
        let mut refusal = None;
        for second in 1..=250 {
            match TcpListener::bind((Ipv4Addr::new(127, second, 255, 254), CLAIM_PORT)) {
                Ok(claim) => return Ok(Self { first: Ipv4Addr::new(127, second, 0, 1), _claim: claim }),
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(|| std::io::Error::other("no loopback addresses are left")))
    }
}

impl Shared {
    /// A loopback address that no pod had before.
    pub fn new_address(&self) -> Ipv4Addr {
        let number = self.next_address.fetch_add(1, Ordering::Relaxed);
        Ipv4Addr::from_bits(self.block.first.to_bits() + number)
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
    pub async fn start(client: Client, options: AgentOptions) -> Result<Self, Error> {
        let block = Block::claim().trying(|| "claiming addresses for pods".into())?;
        let names: Vec<_> = (1..=options.nodes).map(|number| format!("node-{number}")).collect();
        let (port, answering) = logs::server(options.folder.clone()).await?;
        for name in &names {
            node::register(&client, name, port).await?;
        }
        storage::register(&client).await?;
        let heartbeats = tokio::spawn(node::heartbeats(client.clone(), names)).abort_handle();
        let shared = Arc::new(Shared { client, options, in_use: attach::InUse::default(), block, next_address: AtomicU32::new(0) });
        let tasks = [
            tokio::spawn(provision::claims(shared.clone())),
            tokio::spawn(provision::volumes(shared.clone())),
            tokio::spawn(attach::follow(shared.clone())),
            tokio::spawn(answering),
            tokio::spawn(follow(shared)),
        ];
        Ok(Self { tasks: tasks.iter().map(tokio::task::JoinHandle::abort_handle).chain([heartbeats]).collect() })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// One task a pod; each is told of every change of its pod.
async fn follow(shared: Arc<Shared>) {
    let api: Api<Pod> = Api::all(shared.client.clone());
    let scheduled = watcher::Config::default().fields("spec.nodeName!=");
    let mut events = std::pin::pin!(watcher(api, scheduled).default_backoff());
    let mut known: HashMap<String, watch::Sender<Option<Pod>>> = HashMap::new();
    let mut tasks = JoinSet::new();
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
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                let Some(uid) = pod.metadata.uid.clone() else { continue };
                match known.get(&uid) {
                    Some(task) => drop(task.send(Some(pod))),
                    None if pod.status.as_ref().is_some_and(|status| matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))) => {}
                    None => {
                        let (tell, told) = watch::channel(Some(pod));
                        tasks.spawn(pod::run(shared.clone(), told));
                        known.insert(uid, tell);
                    }
                }
            }
            watcher::Event::Delete(pod) => {
                if let Some(task) = pod.metadata.uid.and_then(|uid| known.remove(&uid)) {
                    let _ = task.send(None);
                }
            }
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
        while tasks.try_join_next().is_some() {}
    }
}

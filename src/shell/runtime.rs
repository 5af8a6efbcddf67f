//! Starts the operator and stops it.

use std::{sync::Arc, time::Duration};

use kube::{Client, Config};
use tokio::sync::{mpsc, watch};

use super::{
    ask::{Asker, credentials::Allowed},
    digest,
    errors::{Class, Error, with_causes},
    executor::Executor,
    index::Index,
    lease::{self, Leadership, Term},
    limits,
    notify::Notices,
    probe::{Connect, Prober},
    reconcile::{Parts, Reconciler},
    streams::{Pending, Streams},
    webhook::{Judge, Webhook, secrets::Source},
};
use crate::{
    core::{
        digest::Key,
        hold::enforced::Enforcement,
        judge::{Release, Rules},
        lease::Timing,
        reach::Feature,
    },
    settings::{RunSettings, WebhookSettings},
    telemetry::{
        health::{self, Heartbeat},
        metrics::Metrics,
    },
};

/// Sightings that wait; the watches wait when there are more.
const SIGHTINGS: usize = 1024;
/// How long requests under way are waited for at the end.
const SAFE_POINT: Duration = Duration::from_secs(3);
/// The Lease by which one replica acts, in the operator's namespace.
pub const LEASE: &str = "lockkeeper";
/// Between tries to get at the digest key.
const KEY_RETRY: Duration = Duration::from_secs(2);

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no configuration for a cluster.
    #[error(
        "no cluster to talk to: set KUBECONFIG to a kubeconfig file, or run in a pod with a service account ({0})"
    )]
    NoCluster(String),
    /// The client cannot be made.
    #[error("the client cannot be made: {0}")]
    Client(String),
    /// The address is taken or not ours.
    #[error("--metrics-address {address} cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The webhook cannot be served.
    #[error("the webhook cannot be served on {address} (--webhook-address): {why}")]
    Webhook {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        why: String,
    },
    /// SIGTERM cannot be waited for.
    #[error("signals cannot be waited for: {0}")]
    Signals(#[from] std::io::Error),
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(settings: RunSettings) -> Result<(), StartError> {
    limits::open_files();
    let config = config().await?;
    let client = connected(config.clone())?;
    let stop = stop_signal()?;

    let (metrics, pending, heartbeat) =
        (Arc::new(Metrics::default()), Pending::default(), Heartbeat::default());
    pending.add("the digest key");
    let unready = Pending::default();
    let waits = [pending.clone(), unready.clone()];
    health::serve(settings.metrics_address, metrics.clone(), waits, heartbeat.clone())
        .await
        .map_err(|source| StartError::Listen { address: settings.metrics_address, source })?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), metrics = %settings.metrics_address, "lockkeeper starts");

    // Beside all else: it holds changes also while nobody leads.
    let served = (metrics.clone(), unready);
    let webhook = webhook(&settings.webhook, &settings.release.release(), &client, served).await?;

    let mut stopping = stop.clone();
    let key = tokio::select! {
        key = digest_key(&client, &settings.release.operator_namespace, &heartbeat) => key,
        _ = stopping.changed() => return Ok(()),
    };
    pending.remove("the digest key");
    let connect: Connect = Arc::new(move || Ok(Client::try_from(config.clone())?));
    let clients = (client, connect);
    reconcile(settings, clients, digest::set_key(key), (metrics, pending, heartbeat), stop).await;
    if let Some(webhook) = webhook {
        webhook.finish().await;
    }
    tracing::info!("lockkeeper stops");
    Ok(())
}

/// The webhook, where there is to be one.
///
/// # Errors
/// When it cannot be served.
pub async fn webhook(
    settings: &WebhookSettings,
    release: &Release,
    client: &Client,
    served: (Arc<Metrics>, Pending),
) -> Result<Option<Webhook>, StartError> {
    let Some(address) = settings.webhook_address else { return Ok(None) };
    let failed = |why| StartError::Webhook { address, why };
    let source = Source {
        namespace: release.namespace.clone(),
        secret: settings.webhook_secret.clone(),
        names: settings.webhook_names.0.clone(),
    };
    let rules = Rules::read(release).map_err(failed)?;
    let judge: Judge = Arc::new(move |write, rights| rules.judge(write, rights));
    let webhook = Webhook::start(address, source, judge, client.clone(), served).await;
    let webhook = webhook.map_err(|error| failed(error.to_string()))?;
    tracing::info!(address = %webhook.address(), "the webhook listens");
    Ok(Some(webhook))
}

/// A client of the cluster that KUBECONFIG names, or that this runs in.
///
/// # Errors
/// When there is none, or none can be made for it.
pub async fn client() -> Result<Client, StartError> {
    connected(config().await?)
}

async fn config() -> Result<Config, StartError> {
    let mut config =
        Config::infer().await.map_err(|error| StartError::NoCluster(with_causes(&error)))?;
    // What fails is tried again where it can be seen.
    config.default_retry = false;
    Ok(config)
}

fn connected(config: Config) -> Result<Client, StartError> {
    Client::try_from(config).map_err(|error| StartError::Client(with_causes(&error)))
}

async fn reconcile(
    settings: RunSettings,
    (client, connect): (Client, Connect),
    key: &'static Key,
    (metrics, pending, heartbeat): (Arc<Metrics>, Pending, Heartbeat),
    mut stop: watch::Receiver<bool>,
) {
    let (seen, mut sightings) = mpsc::channel(SIGHTINGS);
    let (done, mut completions) = mpsc::unbounded_channel();
    let notices = Notices::start(client.clone(), metrics.clone(), settings.pod_name.clone());
    let warm = pending.clone();
    let reach = settings.reach();
    let streams = Streams::start(client.clone(), &reach, seen, metrics.clone(), pending);
    let enforcement = Enforcement::new(&settings.release.release())
        .serving_webhook(settings.webhook.webhook_address.is_some())
        .without_conversion(
            (!reach.has(Feature::Conversion)).then(|| Feature::Conversion.to_string()),
        );
    let allowed = Allowed {
        read: reach.has(Feature::GateCredentials),
        insecure: settings.insecure_gate_headers,
    };
    let namespace = settings.release.operator_namespace.clone();
    let index = Index::new(key, namespace.clone(), reach, enforcement);
    let (told, term) = watch::channel(Term::default());
    let (let_go, stopped_acting) = watch::channel(false);
    let leadership = Leadership {
        client: client.clone(),
        namespace: settings.release.operator_namespace,
        name: LEASE,
        identity: lease::identity(&settings.pod_name, &settings.pod_uid),
        timing: Timing::default(),
    };
    let leading = tokio::spawn(lead_when_warm(leadership, warm, told, stopped_acting));
    let asker = Asker::new(client.clone(), done.clone(), term.clone(), metrics.clone(), allowed);
    let prober = Prober::new(connect, namespace, done.clone());
    let executor = Executor::new(client, done, term.clone());
    let mut reconciler = Reconciler::new(Parts {
        key,
        max_config_rollouts: settings.max_config_rollouts,
        index,
        streams,
        executor,
        asker,
        prober,
        term,
        notices,
        metrics,
        heartbeat,
    });
    reconciler.run(&mut sightings, &mut completions, &mut stop).await;
    // What was sent is waited for, so that its outcome is told; what was not is found again at the
    // next start.
    let _ = tokio::time::timeout(SAFE_POINT, reconciler.finish(&mut completions)).await;
    // Now another replica may act.
    let _ = let_go.send(true);
    let _ = leading.await;
    reconciler.end().await;
}

/// A replica that has not seen the cluster yet leaves the Lease to one that has.
async fn lead_when_warm(
    leadership: Leadership,
    pending: Pending,
    told: watch::Sender<Term>,
    mut stop: watch::Receiver<bool>,
) {
    tokio::select! {
        () = pending.nothing() => {}
        _ = stop.wait_for(|told| *told) => return,
    }
    leadership.lead(told, stop).await;
}

async fn digest_key(client: &Client, namespace: &str, heartbeat: &Heartbeat) -> Key {
    loop {
        heartbeat.beat();
        match digest::load_key(client, namespace).await {
            Ok(key) => return key,
            Err(error) => complain(&error, namespace),
        }
        tokio::time::sleep(KEY_RETRY).await;
    }
}

fn complain(error: &Error, namespace: &str) {
    let hint = match error.class() {
        Class::Gone => "does the namespace exist? It is set by --operator-namespace",
        Class::Refused => "the operator needs to get and create this Secret there",
        _ => "it is tried again",
    };
    tracing::warn!(secret = %format!("{namespace}/{}", digest::KEY_SECRET), error = %error.sentence(), "cannot get at the digest key; {hint}");
}

/// Told when the process is asked to end, by SIGTERM or SIGINT.
///
/// # Errors
/// When signals cannot be waited for.
pub fn stop_signal() -> Result<watch::Receiver<bool>, std::io::Error> {
    let mut signals = Signals::new()?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        signals.asked_to_end().await;
        tracing::info!("told to stop; finishing the requests in progress");
        // Kept until then, or a closed channel would look like a stop.
        let _ = tell.send(true);
    });
    Ok(told)
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, std::io::Error> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The operator runs on Linux; the plugin, which shares this code, also on Windows.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> Result<Self, std::io::Error> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn asked_to_end(&mut self) {
        let _ = self.0.recv().await;
    }
}

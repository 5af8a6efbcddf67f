//! Flags, each with an environment variable.

use std::{collections::BTreeSet, net::SocketAddr};

use clap::{Args, Parser, Subcommand};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{
    core::{
        hold::uninstall::HeldWorkloads,
        judge::Release,
        reach::{Feature, Reach},
    },
    shell::webhook::secrets::LEAF_SECRET,
    telemetry::logs::LogFormat,
};

/// Upgrades of ordinary Kubernetes workloads that are safe by construction.
#[derive(Parser, Debug)]
#[command(name = "lockkeeper", version, about, max_term_width = 110)]
pub struct Settings {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the operator against the cluster that KUBECONFIG names, or the one it runs in
    Run(RunSettings),
    /// Print the CustomResourceDefinition as YAML, or write it to the cluster
    Crd(CrdSettings),
    /// Check that an installed Lockkeeper can do its work: API server, CRD, leader, admission
    /// policies. `helm test` runs it
    Check(CheckSettings),
    /// Stop the operator and take what acts off every workload, so that none stays frozen. `helm
    /// uninstall` runs it
    Uninstall(UninstallSettings),
    /// Make the authority and the certificate of the webhook, and make them known to the API
    /// server. A hook of the chart runs it
    WebhookSetup(WebhookSetupSettings),
}

/// Settings of `crd`.
#[derive(Args, Debug, Clone)]
pub struct CrdSettings {
    /// Write it to the cluster, and wait until it is established, instead of printing it
    #[arg(long)]
    pub apply: bool,
}

/// The release that the operator is of.
#[derive(Args, Debug, Clone)]
pub struct ReleaseSettings {
    /// The namespace of the operator, where it keeps the key of its digests; it is never governed
    /// itself
    #[arg(
        long,
        env = "LOCKKEEPER_OPERATOR_NAMESPACE",
        default_value = "lockkeeper-system",
        value_name = "NAME"
    )]
    pub operator_namespace: String,

    /// The image of the operator, which runs in the containers of workloads that sleep too. Without it,
    /// the admission policy that puts pods to sleep is not compared with the chart's
    #[arg(
        long,
        env = "LOCKKEEPER_IMAGE",
        default_value = "",
        value_name = "IMAGE",
        hide_default_value = true
    )]
    pub image: String,
}

impl ReleaseSettings {
    /// As the chart's admission policies are written for it.
    pub fn release(&self) -> Release {
        Release::new(&self.operator_namespace, &self.image)
    }
}

/// Settings of `check`.
#[derive(Args, Debug, Clone)]
pub struct CheckSettings {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for help")]
    pub release: ReleaseSettings,

    /// How long to wait for what is not there yet
    #[arg(long, default_value = "60", value_name = "SECONDS")]
    pub timeout: u64,
}

/// Settings of `webhook-setup`.
#[derive(Args, Debug, Clone)]
pub struct WebhookSetupSettings {
    /// The namespace of the operator, where the Secrets of the webhook are
    #[arg(
        long,
        env = "LOCKKEEPER_OPERATOR_NAMESPACE",
        default_value = "lockkeeper-system",
        value_name = "NAME"
    )]
    pub operator_namespace: String,

    /// The names by which the API server calls the webhook, with commas between
    #[arg(long, value_name = "NAMES", value_parser = hosts)]
    pub webhook_names: Hosts,
}

/// Settings of `uninstall`.
#[derive(Args, Debug, Clone)]
pub struct UninstallSettings {
    /// What becomes of changes that are held: Refuse to go on, or Release them, past their gates.
    /// The annotation lockkeeper.dev/uninstall of the operator's Deployment says it otherwise
    #[arg(long, default_value = "Refuse", value_name = "Refuse|Release", value_parser = HeldWorkloads::parse)]
    pub held: HeldWorkloads,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for help")]
    pub release: ReleaseSettings,

    /// The namespaces that the operator watches; all, without it
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// After so long it gives up, lets the operator run again, and says what is left
    #[arg(long, default_value = "240", value_name = "SECONDS")]
    pub timeout: u64,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for help")]
    pub webhook: WebhookSettings,
}

/// Settings of the operator.
#[derive(Args, Debug, Clone)]
pub struct RunSettings {
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, env = "LOCKKEEPER_METRICS_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT", value_parser = address)]
    pub metrics_address: SocketAddr,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for help")]
    pub release: ReleaseSettings,

    /// The name of the operator's pod, by which people know which replica leads
    #[arg(long, env = "LOCKKEEPER_POD_NAME", default_value = "lockkeeper", value_name = "NAME")]
    pub pod_name: String,

    /// The uid of the operator's pod, by which a container that restarts knows the Lease as its own
    /// and takes it back at once
    #[arg(
        long,
        env = "LOCKKEEPER_POD_UID",
        default_value = "",
        hide_default_value = true,
        value_name = "UID"
    )]
    pub pod_uid: String,

    /// The namespaces to watch, with commas between; empty: all of the cluster
    #[arg(long, env = "LOCKKEEPER_WATCH_NAMESPACES", default_value = "", value_name = "NAMES", hide_default_value = true, value_parser = names)]
    pub watch_namespaces: Names,

    /// What policies may ask for, with commas between: each needs rights of its own
    #[arg(long, env = "LOCKKEEPER_FEATURES", default_value = "config,gateCredentials,volumes,conversion,snapshots", value_name = "FEATURES", value_parser = features)]
    pub features: Features,

    /// Config rollouts that may be under way at once in the whole cluster
    #[arg(long, env = "LOCKKEEPER_MAX_CONFIG_ROLLOUTS", default_value = "100", value_name = "NUMBER", value_parser = at_least_one)]
    pub max_config_rollouts: usize,

    /// Send headers that policies take from Secrets also to pods that are not verified by a
    /// certificate
    #[arg(long, env = "LOCKKEEPER_INSECURE_GATE_HEADERS", default_value = "false", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub insecure_gate_headers: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for help")]
    pub webhook: WebhookSettings,

    /// How logs are written, to standard error
    #[arg(long, env = "LOCKKEEPER_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// What is logged: a level (error, warn, info, debug, trace), or target=level pairs with commas
    /// between
    #[arg(long, env = "LOCKKEEPER_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
}

/// Settings of the webhook that holds changes where the API server has no policies that can.
#[derive(Args, Debug, Clone)]
pub struct WebhookSettings {
    /// Where the webhook listens; without it, there is none
    #[arg(long, env = "LOCKKEEPER_WEBHOOK_ADDRESS", value_name = "ADDRESS:PORT", value_parser = address)]
    pub webhook_address: Option<SocketAddr>,

    /// The names by which the API server calls the webhook, with commas between. Empty: somebody
    /// else makes its certificate and renews it
    #[arg(long, env = "LOCKKEEPER_WEBHOOK_NAMES", default_value = "", value_name = "NAMES", hide_default_value = true, value_parser = hosts)]
    pub webhook_names: Hosts,

    /// The Secret with the webhook's certificate, of type kubernetes.io/tls
    #[arg(long, env = "LOCKKEEPER_WEBHOOK_SECRET", default_value = LEAF_SECRET, value_name = "NAME")]
    pub webhook_secret: String,
}

/// Names of a server, or its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(pub Vec<String>);

/// Names of namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(BTreeSet<String>);

/// Features that are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features(BTreeSet<Feature>);

impl RunSettings {
    /// How far the operator reaches.
    pub fn reach(&self) -> Reach {
        Reach { namespaces: self.watch_namespaces.0.clone(), features: self.features.0.clone() }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn names(text: &str) -> Result<Names, String> {
    let is_name = |name: &str| {
        name.len() <= 63
            && name
                .chars()
                .all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-')
    };
    match words(text).find(|name| !is_name(name)) {
        Some(wrong) => Err(format!(
            "{wrong:?} is no name of a namespace; write names with commas between, such as shop,billing"
        )),
        None => Ok(Names(words(text).map(str::to_owned).collect())),
    }
}

fn hosts(text: &str) -> Result<Hosts, String> {
    let is_host = |name: &str| ServerName::try_from(name).is_ok();
    match words(text).find(|name| !is_host(name)) {
        Some(wrong) => Err(format!(
            "{wrong:?} is no name of a server; write names or addresses with commas between, such as lockkeeper-webhook.lockkeeper-system.svc"
        )),
        None => Ok(Hosts(words(text).map(str::to_owned).collect())),
    }
}

fn features(text: &str) -> Result<Features, String> {
    let known = |word: &str| Feature::ALL.into_iter().find(|feature| feature.as_str() == word);
    let all = Feature::ALL.map(Feature::as_str).join(", ");
    let found = words(text)
        .map(|word| known(word).ok_or_else(|| format!("{word:?} is no feature; there are {all}")));
    found.collect::<Result<_, _>>().map(Features)
}

/// A pod's IPv6 address comes without brackets.
fn address(text: &str) -> Result<SocketAddr, String> {
    let split = || {
        let (host, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(host.parse().ok()?, port.parse().ok()?))
    };
    text.parse()
        .ok()
        .or_else(split)
        .ok_or_else(|| "write an IP address and a port, such as 0.0.0.0:8080".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

//! Flags, each with an environment variable.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::{core::hold::uninstall::HeldWorkloads, telemetry::logs::LogFormat};

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
    /// Check that an installed Lockkeeper can do its work: API server, CRD, leader, admission policies. `helm test` runs it
    Check(CheckSettings),
    /// Stop the operator and take what acts off every workload, so that none stays frozen. `helm uninstall` runs it
    Uninstall(UninstallSettings),
}

/// Settings of `crd`.
#[derive(Args, Debug, Clone)]
pub struct CrdSettings {
    /// Write it to the cluster, and wait until it is established, instead of printing it
    #[arg(long)]
    pub apply: bool,
}

/// Settings of `check`.
#[derive(Args, Debug, Clone)]
pub struct CheckSettings {
    /// The namespace of the operator
    #[arg(long, env = "LOCKKEEPER_OPERATOR_NAMESPACE", default_value = "lockkeeper-system", value_name = "NAME")]
    pub operator_namespace: String,

    /// How long to wait for what is not there yet
    #[arg(long, default_value = "60", value_name = "SECONDS")]
    pub timeout: u64,
}

/// Settings of `uninstall`.
#[derive(Args, Debug, Clone)]
pub struct UninstallSettings {
    /// What becomes of changes that are held: Refuse to go on, or Release them, past their gates. The annotation lockkeeper.dev/uninstall of the
    /// operator's Deployment says it otherwise
    #[arg(long, default_value = "Refuse", value_name = "Refuse|Release", value_parser = HeldWorkloads::parse)]
    pub held: HeldWorkloads,

    /// The namespace of the operator
    #[arg(long, env = "LOCKKEEPER_OPERATOR_NAMESPACE", default_value = "lockkeeper-system", value_name = "NAME")]
    pub operator_namespace: String,

    /// Only workloads of these namespaces; all, without it
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub namespaces: Vec<String>,

    /// After so long it gives up, lets the operator run again, and says what is left
    #[arg(long, default_value = "240", value_name = "SECONDS")]
    pub timeout: u64,
}

/// Settings of the operator.
#[derive(Args, Debug, Clone)]
pub struct RunSettings {
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, env = "LOCKKEEPER_METRICS_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT", value_parser = address)]
    pub metrics_address: SocketAddr,

    /// The namespace of the operator, where it keeps the key of its digests; it is never governed itself
    #[arg(long, env = "LOCKKEEPER_OPERATOR_NAMESPACE", default_value = "lockkeeper-system", value_name = "NAME")]
    pub operator_namespace: String,

    /// The name of the operator's pod, by which people know which replica leads
    #[arg(long, env = "LOCKKEEPER_POD_NAME", default_value = "lockkeeper", value_name = "NAME")]
    pub pod_name: String,

    /// Config rollouts that may be under way at once in the whole cluster
    #[arg(long, env = "LOCKKEEPER_MAX_CONFIG_ROLLOUTS", default_value = "100", value_name = "NUMBER", value_parser = at_least_one)]
    pub max_config_rollouts: usize,

    /// Send headers that policies take from Secrets also to pods that are not verified by a certificate
    #[arg(long, env = "LOCKKEEPER_INSECURE_GATE_HEADERS", default_value = "false", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub insecure_gate_headers: bool,

    /// How logs are written, to standard error
    #[arg(long, env = "LOCKKEEPER_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// What is logged: a level (error, warn, info, debug, trace), or target=level pairs with commas between
    #[arg(long, env = "LOCKKEEPER_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
}

/// A pod's IPv6 address comes without brackets.
fn address(text: &str) -> Result<SocketAddr, String> {
    let split = || {
        let (host, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(host.parse().ok()?, port.parse().ok()?))
    };
    text.parse().ok().or_else(split).ok_or_else(|| "write an IP address and a port, such as 0.0.0.0:8080".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

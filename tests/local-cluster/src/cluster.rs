//! Starts the control plane, and ends it.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    Error, Kubernetes, Programs, Trying,
    agent::{Agent, AgentOptions, Block},
    certificates::{Authority, Identity},
    process::Program,
};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// The place of the API server among the programs of the control plane: after etcd, before those
/// that talk to it.
const API_SERVER: usize = 1;
/// Beside the kubeconfig: the version that the control plane is to have.
const ASKED: &str = "kubernetes";
/// Beside the kubeconfig: the process that looks at this file on SIGUSR1.
const SUPERVISOR: &str = "supervisor.pid";
/// A control plane of another version starts on what the one before it stored.
const CHANGED_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Requests of the pods' own accounts.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [
    {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
    {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
    {"level": "None"}]}"#;

/// What the cluster has besides its control plane.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes.
    pub nodes: usize,
    /// Executables by image, without the tag: containers of these images run as processes.
    pub programs: BTreeMap<String, PathBuf>,
    /// Only etcd and the API server: objects stay as they were written. A benchmark of many needs
    /// no controllers that share its machine.
    pub bare: bool,
    /// Which version, if not the main one.
    pub kubernetes: Option<Kubernetes>,
    /// What its programs get besides what they always get.
    pub flags: Flags,
}

/// Flags for the programs of the control plane.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// For the API server, such as `--runtime-config=api/beta=true`.
    pub api_server: Vec<String>,
    /// Feature gates for all programs, such as `StatefulSetRecreateStrategy=true`.
    pub feature_gates: Vec<String>,
}

impl Flags {
    fn all_get(&self) -> Option<String> {
        let gates = self.feature_gates.join(",");
        (!gates.is_empty()).then(|| format!("--feature-gates={gates}"))
    }
}

/// A running cluster. Everything ends when it is dropped.
pub struct Cluster {
    programs: Programs,
    folder: TempDir,
    /// etcd, the API server, the scheduler and the controller manager, as far as they have been
    /// started.
    control_plane: Vec<Program>,
    address: String,
    _agent: Agent,
}

impl Cluster {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When a program cannot be built or started, or does not become ready.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let Options { kubernetes, flags, .. } = options;
        let programs = programs(kubernetes).await?;
        let folder = temporary_folder()?;
        let path = folder.path();
        let authority = Authority::new(path)?;
        authority.server(
            "server",
            &[
                "127.0.0.1",
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
            ],
        )?;
        authority.key_pair("service-account")?;
        let [etcd_port, etcd_peer_port, port, scheduler_port, manager_port] = free_ports()?;
        let address = format!("https://127.0.0.1:{port}");
        write_kubeconfigs(path, &authority, &address, [])?;

        std::fs::write(path.join(SUPERVISOR), std::process::id().to_string())
            .trying(|| "noting this process".into())?;
        std::fs::write(path.join("audit-policy.yaml"), AUDIT_POLICY)
            .trying(|| "writing the audit policy".into())?;
        let mut cluster =
            Self { programs, control_plane: Vec::new(), address, _agent: Agent::none(), folder };
        cluster.run("etcd", etcd_arguments(etcd_port, etcd_peer_port))?;
        let block = Block::claim().trying(|| "claiming loopback addresses".into())?;
        let mut arguments = api_server_arguments(etcd_port, port, &block.services());
        if options.bare {
            // It would refuse pods until a controller has made the namespace's account.
            arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        arguments.extend(flags.all_get());
        arguments.extend(flags.api_server.iter().cloned());
        cluster.run("kube-apiserver", arguments)?;
        cluster.wait_for_api_server().await?;
        if options.bare {
            return Ok(cluster);
        }
        let client = cluster.client().await?;
        for (program, mut arguments) in [
            ("kube-scheduler", scheduler_arguments(scheduler_port)),
            ("kube-controller-manager", manager_arguments(manager_port)),
        ] {
            arguments.extend(flags.all_get());
            cluster.run(program, arguments)?;
        }
        let pods = cluster.folder.path().join("pods");
        let authority = authority.certificate().to_owned();
        let agent = AgentOptions {
            nodes: options.nodes,
            programs: options.programs,
            folder: pods,
            volumes: cluster.folder.path().join("volumes"),
            address: cluster.address.clone(),
            authority,
            kubernetes: cluster.kubernetes().reported(),
        };
        cluster._agent = Agent::start(client.clone(), agent, block).await?;
        cluster.wait_until_ready(&client, options.nodes).await?;
        Ok(cluster)
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    /// Its version.
    pub fn kubernetes(&self) -> &Kubernetes {
        self.programs.kubernetes()
    }

    /// The folder with kubectl and helm, for `PATH`.
    pub fn bin(&self) -> &Path {
        self.programs.folder()
    }

    /// Where the logs of the control plane (`*.log`) and of the pods
    /// (`pods/NAMESPACE/NAME/CONTAINER.log`) are, and the volumes (`volumes/NAME/`).
    pub fn logs(&self) -> &Path {
        self.folder.path()
    }

    fn run(&mut self, program: &str, arguments: Vec<String>) -> Result<(), Error> {
        self.control_plane.push(Program::start(
            &self.programs.path(program),
            self.folder.path(),
            arguments,
        )?);
        Ok(())
    }

    /// Starts again, with the ports and the data that it had, whatever of the control plane has
    /// ended.
    ///
    /// # Errors
    /// When a program cannot be started, or the API server does not become ready.
    pub async fn revive(&mut self) -> Result<(), Error> {
        self.control_plane.iter_mut().take(API_SERVER + 1).try_for_each(Program::revive)?;
        // Those that talk to it give up when it is not there at their start; a kubelet would start
        // them again and again.
        self.wait_for_api_server().await?;
        self.control_plane.iter_mut().try_for_each(Program::revive)
    }

    /// Goes on with the programs of another version, with the ports and the data that the cluster
    /// has: an upgrade, or the way back. Pods stay as they are, and so do the nodes.
    ///
    /// # Errors
    /// When a program cannot be built or started, or the API server does not become ready.
    pub async fn change(&mut self, kubernetes: Kubernetes) -> Result<(), Error> {
        self.programs = programs(Some(kubernetes)).await?;
        for program in self.control_plane.iter_mut().skip(API_SERVER).rev() {
            program.kill().await;
            program.replace_by(|name| self.programs.path(name));
        }
        self.revive().await
    }

    /// The version that `local-cluster change` asked for, unless it is the one that runs.
    pub fn asked(&self) -> Option<Kubernetes> {
        let text = std::fs::read_to_string(self.folder.path().join(ASKED)).ok()?;
        text.trim().parse().ok().filter(|asked| asked != self.kubernetes())
    }

    /// Ends everything.
    pub async fn stop(mut self) {
        // First who would miss the others.
        for program in self.control_plane.iter_mut().rev() {
            program.kill().await;
        }
    }

    async fn client(&self) -> Result<Client, Error> {
        connect(&self.kubeconfig()).await
    }

    /// An error, with the log of what was started last.
    fn last_error(&self, what: &str) -> Error {
        self.control_plane
            .last()
            .map_or_else(|| Error::Build(what.to_owned()), |program| program.error(what))
    }

    async fn wait_for_api_server(&mut self) -> Result<(), Error> {
        let client = self.client().await?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.control_plane.iter_mut().take(API_SERVER + 1).try_for_each(Program::check)?;
            let request = axum::http::Request::get("/readyz").body(Vec::new()).unwrap_or_default();
            if client.request_text(request).await.is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.last_error("did not become ready"));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn wait_until_ready(&mut self, client: &Client, nodes: usize) -> Result<(), Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let all_nodes: Api<Node> = Api::all(client.clone());
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.control_plane.iter_mut().try_for_each(Program::check)?;
            let account = accounts.get_opt("default").await?.is_some();
            let usable = |node: &Node| {
                let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
                taints.is_none_or(Vec::is_empty)
            };
            let ready = all_nodes
                .list(&ListParams::default())
                .await?
                .items
                .iter()
                .filter(|node| usable(node))
                .count();
            if account && ready == nodes {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = format!(
                    "did not get the cluster ready: default service account {account}, {ready} of {nodes} nodes"
                );
                return Err(self.last_error(&what));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Asks the cluster with this kubeconfig to go on with another version, and waits until its API
/// server has it.
///
/// # Errors
/// When it is not a cluster that this program started, or its API server does not become ready.
pub async fn change(kubeconfig: &Path, kubernetes: &Kubernetes) -> Result<(), Error> {
    let file = kubeconfig.with_file_name(SUPERVISOR);
    let text = std::fs::read_to_string(&file).trying(|| format!("reading {}", file.display()))?;
    let supervisor = text
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::Build(format!("{} names no process", file.display())))?;
    std::fs::write(kubeconfig.with_file_name(ASKED), kubernetes.name())
        .trying(|| "asking for a version".into())?;
    kill_process(supervisor, Signal::USR1)
        .map_err(std::io::Error::from)
        .trying(|| format!("telling process {text}"))?;
    let client = connect(kubeconfig).await?;
    let deadline = Instant::now() + CHANGED_WITHIN;
    loop {
        let ready = axum::http::Request::get("/readyz").body(Vec::new()).unwrap_or_default();
        let version = client.apiserver_version().await.map(|version| version.git_version);
        if version.is_ok_and(|version| version == kubernetes.reported())
            && client.request_text(ready).await.is_ok()
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = format!("the API server did not become ready as Kubernetes {kubernetes}");
            return Err(Error::Build(what));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn programs(kubernetes: Option<Kubernetes>) -> Result<Programs, Error> {
    tokio::task::spawn_blocking(move || Programs::find_or_build(kubernetes))
        .await
        .map_err(|error| Error::Build(error.to_string()))?
}

/// Ports that nobody listens on. None of those from which the system opens connections: it would
/// take one away before its program starts.
fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    // Clusters that start at the same time begin at different ones.
    let first =
        PORTS.start + (std::process::id() % (u32::from(PORTS.end - PORTS.start) / 8)) as u16 * 8;
    let mut free = (first..PORTS.end)
        .chain(PORTS.start..first)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free
            .next()
            .ok_or_else(|| std::io::Error::other("all are taken"))
            .trying(|| "finding ports".into())?;
    }
    Ok(ports)
}

/// A client as a kubeconfig file says.
pub(crate) async fn connect(kubeconfig: &Path) -> Result<Client, Error> {
    let text = std::fs::read_to_string(kubeconfig).trying(|| "reading the kubeconfig".into())?;
    let kubeconfig =
        Kubeconfig::from_yaml(&text).map_err(|error| Error::Build(error.to_string()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Ok(Client::try_from(config.map_err(|error| Error::Build(error.to_string()))?)?)
}

/// A folder of this cluster alone, which goes with it.
pub(crate) fn temporary_folder() -> Result<TempDir, Error> {
    let folder = tempfile::Builder::new().prefix("local-cluster-").tempdir();
    folder.trying(|| "making a temporary folder".into())
}

/// Writes `NAME.kubeconfig` for the administrator, for the programs of the control plane, and for
/// `others`: the name, the user, and the group.
pub(crate) fn write_kubeconfigs(
    folder: &Path,
    authority: &Authority,
    address: &str,
    others: impl IntoIterator<Item = (String, String, Option<&'static str>)>,
) -> Result<(), Error> {
    let own = [
        ("admin", "admin", Some("system:masters")),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
    ];
    let own = own.map(|(name, user, group)| (name.to_owned(), user.to_owned(), group));
    for (name, user, group) in own.into_iter().chain(others) {
        write_kubeconfig(
            &folder.join(format!("{name}.kubeconfig")),
            address,
            authority.certificate(),
            &authority.client(&user, group)?,
        )?;
    }
    Ok(())
}

fn write_kubeconfig(
    path: &Path,
    address: &str,
    authority: &str,
    identity: &Identity,
) -> Result<(), Error> {
    let encode = |text: &str| {
        serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap_or_default()
    };
    let user = json!({"client-certificate-data": encode(&identity.certificate), "client-key-data": encode(&identity.key)});
    std::fs::write(path, kubeconfig(address, &encode(authority), &user).to_string())
        .trying(|| format!("writing {}", path.display()))
}

/// A kubeconfig in JSON, which is YAML too.
pub(crate) fn kubeconfig(
    address: &str,
    authority: &serde_json::Value,
    user: &serde_json::Value,
) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": address, "certificate-authority-data": authority}}],
        "users": [{"name": "local", "user": user}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    })
}

fn etcd_arguments(port: u16, peer_port: u16) -> Vec<String> {
    let (client, peer) =
        (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    [
        "--data-dir=etcd".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=warn".to_owned(),
    ]
    .into()
}

fn api_server_arguments(etcd_port: u16, port: u16, services: &str) -> Vec<String> {
    [
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--client-ca-file=ca.crt".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--tls-cert-file=server.crt".to_owned(),
        "--tls-private-key-file=server.key".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-account-key-file=service-account.pub".to_owned(),
        "--service-account-signing-key-file=service-account.key".to_owned(),
        format!("--service-cluster-ip-range={services}"),
        // Who did what: a test compares it with the rights that the chart grants.
        "--audit-policy-file=audit-policy.yaml".to_owned(),
        "--audit-log-path=audit.log".to_owned(),
        "--max-requests-inflight=2000".to_owned(),
        "--max-mutating-requests-inflight=1000".to_owned(),
    ]
    .into()
}

fn scheduler_arguments(port: u16) -> Vec<String> {
    let kubeconfig = "scheduler.kubeconfig";
    [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ]
    .into()
}

fn manager_arguments(port: u16) -> Vec<String> {
    let kubeconfig = "controller-manager.kubeconfig";
    [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--root-ca-file=ca.crt".to_owned(),
        "--service-account-private-key-file=service-account.key".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        // At the default of 20 requests a second the controllers would be what tests wait for.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        // A volume that becomes available does not wake the claims that wait for it; only this
        // does.
        "--pvclaimbinder-sync-period=1s".to_owned(),
        // Loopback addresses are not allowed in endpoints.
        "--controllers=*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller".to_owned(),
    ]
    .into()
}

//! What runs in the namespaces: it makes their mounts and network, starts the programs, and runs
//! the command. When it ends, all that it started ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node as ApiNode, ServiceAccount};
use kube::{Api, api::ListParams};
use tokio::time::{Instant, sleep};

use super::{Plan, node::Node, packages::run};
use crate::{Error, Trying, cluster::connect, exit_code, process::Program, supervise};

/// The service `kubernetes` is the API server itself, so pods find it without a kube-proxy.
pub const API_SERVER: &str = "10.96.0.1";
pub const BRIDGE: &str = "cni0";
pub const BRIDGE_ADDRESS: &str = "10.244.0.1";
const READY_WITHIN: Duration = Duration::from_secs(180);

/// In the order of their start.
struct Running(Vec<Program>);

/// Makes the cluster ready, and runs the plan's command; without one, goes on until it is told to
/// stop.
///
/// # Errors
/// When something of it cannot be made, started or made ready.
pub async fn inside(folder: &Path, command: Vec<String>) -> Result<ExitCode, Error> {
    let begun = Instant::now();
    let plan = Plan::read(folder)?;
    mounts(folder)?;
    network(&plan)?;
    let mut running = Running(Vec::new());
    control_plane(folder, &plan, &mut running).await?;
    for number in 1..=plan.nodes {
        running.0.extend(Node { plan: &plan, folder, number }.start().await?);
    }
    running.wait_for_nodes(folder, plan.nodes).await?;
    eprintln!(
        "local-cluster: real nodes are ready after {:.1} s; logs are in {}",
        begun.elapsed().as_secs_f64(),
        folder.display()
    );
    let Some((program, arguments)) = command.split_first() else {
        let enter = folder.join("in");
        let enter = enter.display();
        println!("In another terminal:\n");
        println!("  {enter} kubectl get nodes");
        println!(
            "  {enter} bash      # a shell in the cluster's network\n\nCtrl-C ends the cluster."
        );
        running.supervise(std::future::pending::<()>()).await;
        return Ok(ExitCode::SUCCESS);
    };
    let kubeconfig = folder.join("admin.kubeconfig");
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .envs([(crate::shared::KUBECONFIG, &kubeconfig), ("KUBECONFIG", &kubeconfig)])
        .env(crate::shared::BIN, &plan.programs)
        .env(crate::shared::SUPERVISOR, std::process::id().to_string())
        .env(crate::shared::REAL_NODE, folder)
        .kill_on_drop(true)
        .spawn()
        .trying(|| format!("running {program}"))?;
    let status = running.supervise(child.wait()).await;
    Ok(exit_code(status.and_then(Result::ok)))
}

impl Running {
    fn start(
        &mut self,
        program: PathBuf,
        folder: &Path,
        arguments: Vec<String>,
    ) -> Result<(), Error> {
        self.0.push(Program::start(&program, folder, arguments)?);
        Ok(())
    }

    /// Looks until it is as it should be, or a program ends.
    async fn until(
        &mut self,
        what: &str,
        mut look: impl AsyncFnMut() -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + READY_WITHIN;
        while !look().await {
            self.0.iter_mut().try_for_each(Program::check)?;
            if Instant::now() > deadline {
                let what = format!("was started, but {what} did not come within {READY_WITHIN:?}");
                return Err(self
                    .0
                    .last()
                    .map_or_else(|| Error::Build(what.clone()), |program| program.error(&what)));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn wait_for_nodes(&mut self, folder: &Path, nodes: usize) -> Result<(), Error> {
        let client = connect(&folder.join("admin.kubeconfig")).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let all: Api<ApiNode> = Api::all(client);
        self.until("its nodes", async || {
            let list = all.list(&ListParams::default()).await;
            let ready = list.map(|list| list.items.iter().filter(|node| is_ready(node)).count());
            let account = accounts.get_opt("default").await.ok().flatten();
            ready.is_ok_and(|ready| ready == nodes) && account.is_some()
        })
        .await
    }

    /// Until `work` is done, or somebody tells us to stop.
    async fn supervise<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        supervise(work, async || self.0.iter_mut().try_for_each(Program::revive)).await
    }
}

fn is_ready(node: &ApiNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let tainted = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    tainted.is_none_or(Vec::is_empty)
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What the programs write outside of our folder stays in these namespaces.
fn mounts(folder: &Path) -> Result<(), Error> {
    let mount = |arguments: &[&str]| run(Command::new("mount").args(arguments));
    mount(&["--make-rshared", "/"])?;
    for folder in ["/run", "/var/log"] {
        mount(&["-t", "tmpfs", "none", folder])?;
    }
    let kept = folder.join("var");
    let (upper, work) = (kept.join("upper"), kept.join("work"));
    fs::create_dir_all(&kept).trying(|| format!("making {}", kept.display()))?;
    mount(&["-t", "tmpfs", "none", &kept.to_string_lossy()])?;
    for folder in [&upper, &work] {
        fs::create_dir_all(folder).trying(|| format!("making {}", folder.display()))?;
    }
    let layers =
        format!("lowerdir=/var/lib,upperdir={},workdir={}", upper.display(), work.display());
    mount(&["-t", "overlay", "-o", &layers, "none", "/var/lib"])
}

fn network(plan: &Plan) -> Result<(), Error> {
    let ip = |arguments: &str| run(Command::new("ip").args(arguments.split(' ')));
    ip("link set lo up")?;
    ip(&format!("address add {API_SERVER}/32 dev lo"))?;
    for number in 1..=plan.nodes {
        let node = Node { plan, folder: Path::new(""), number };
        ip(&format!("address add {}/32 dev lo", node.address()))?;
    }
    ip(&format!("link add {BRIDGE} type bridge"))?;
    ip(&format!("address add {BRIDGE_ADDRESS}/16 dev {BRIDGE}"))?;
    ip(&format!("link set {BRIDGE} up"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").trying(|| "allowing pods to reach pods".into())
}

async fn control_plane(folder: &Path, plan: &Plan, running: &mut Running) -> Result<(), Error> {
    let of_cluster = |name: &str| plan.programs.join(name);
    let own = |arguments: &[&str]| arguments.iter().map(|one| (*one).to_owned()).collect();
    running.start(
        of_cluster("etcd"),
        folder,
        own(&["--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn"]),
    )?;
    running.start(
        of_cluster("kube-apiserver"),
        folder,
        own(&[
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=443",
            "--bind-address=0.0.0.0",
            "--advertise-address=10.99.0.1",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--client-ca-file=ca.crt",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=service-account.pub",
            "--service-account-signing-key-file=service-account.key",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--kubelet-preferred-address-types=InternalIP",
        ]),
    )?;
    let client = connect(&folder.join("admin.kubeconfig")).await?;
    running
        .until("its readiness", async || {
            let request = axum::http::Request::get("/readyz").body(Vec::new()).unwrap_or_default();
            client.request_text(request).await.is_ok()
        })
        .await?;
    let of = |name: &str| {
        ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
            .map(|flag| format!("--{flag}={name}.kubeconfig"))
            .into_iter()
            .chain(["--leader-elect=false".to_owned()])
    };
    running.start(of_cluster("kube-scheduler"), folder, of("scheduler").collect())?;
    let more: Vec<String> = own(&[
        "--root-ca-file=ca.crt",
        "--service-account-private-key-file=service-account.key",
        "--use-service-account-credentials=true",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        // A volume that becomes available does not wake the claims that wait for it; only this does.
        "--pvclaimbinder-sync-period=1s",
        // A node whose kubelet ended is lost after this time, not after 50 seconds.
        "--node-monitor-grace-period=20s",
        "--node-monitor-period=1s",
    ]);
    running.start(
        of_cluster("kube-controller-manager"),
        folder,
        of("controller-manager").chain(more).collect(),
    )
}

//! `local-cluster`: builds, starts and lends out the cluster.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Instant};

use clap::{Args, Parser, Subcommand};
use local_cluster::{
    BIN, Cluster, Flags, KUBECONFIG, Kubernetes, Options, Programs, SUPERVISOR, exit_code,
    image::{Image, architecture},
    image_index,
    real_node::{self, RealNodes},
    supervise,
};

/// A real Kubernetes control plane on this machine, without containers.
#[derive(Parser)]
#[command(max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the programs, if they are not there yet, and print their folder
    Build {
        #[command(flatten)]
        version: Version,
        /// Also those of real nodes: the kubelet and containerd
        #[arg(long)]
        real_node: bool,
    },
    /// Start a cluster and keep it until Ctrl-C
    Up(Nodes),
    /// Let the running cluster of KUBECONFIG go on with the control plane of another version, as an
    /// upgrade does: same data, same pods
    Change(Version),
    /// Start a cluster, run a command against it, end it, and exit as the command did
    Run {
        #[command(flatten)]
        nodes: Nodes,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Make an image of programs, as the last stage of a Dockerfile says, without a tool for containers
    Image(ImageArguments),
    /// Join images for several architectures to one, as a folder in the OCI layout
    JoinImages {
        /// The folder
        #[arg(long)]
        out: PathBuf,
        /// The tarballs, each for one architecture
        #[arg(required = true)]
        tarballs: Vec<PathBuf>,
    },
    /// Say why real nodes cannot run on this machine, if they cannot
    RealNodePossible,
    /// What a cluster with real nodes runs in its namespaces
    #[command(hide = true)]
    Inside {
        folder: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

#[derive(Args)]
struct ImageArguments {
    /// Its last stage, which is FROM scratch, says what the image is
    #[arg(long, default_value = "Dockerfile")]
    dockerfile: PathBuf,
    /// A name of the image, such as lockkeeper.dev/lockkeeper:0.1.0
    #[arg(long, required = true)]
    name: Vec<String>,
    /// amd64 or arm64 [default: this machine's]
    #[arg(long)]
    architecture: Option<String>,
    /// The tarball, in the OCI layout
    #[arg(long)]
    out: PathBuf,
    /// A file that the Dockerfile copies
    #[arg(required = true, value_name = "NAME=PATH", value_parser = program)]
    files: Vec<(String, PathBuf)>,
}

#[derive(Args)]
struct Version {
    /// A version of Kubernetes, such as 1.33. Each is built once; the folders of controlplane/ name
    /// those there are [default: the main version]
    #[arg(long, value_name = "VERSION", env = "KUBERNETES", value_parser = version, hide_env_values = true)]
    kubernetes: Option<Asked>,
}

/// The version that was asked for, if one was: `make` passes an empty text when none was.
#[derive(Clone)]
struct Asked(Option<Kubernetes>);

impl Version {
    fn asked(self) -> Option<Kubernetes> {
        self.kubernetes.and_then(|asked| asked.0)
    }
}

fn version(text: &str) -> Result<Asked, String> {
    if text.is_empty() { Ok(Asked(None)) } else { text.parse().map(|one| Asked(Some(one))) }
}

#[derive(Args)]
struct Nodes {
    #[command(flatten)]
    version: Version,
    /// A flag for the API server besides its own, such as --api-server=--runtime-config=api/beta=true
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    api_server: Vec<String>,
    /// Feature gates for the API server, the controller manager and the scheduler
    #[arg(long, value_name = "NAME=true", value_delimiter = ',')]
    feature_gates: Vec<String>,
    /// Nodes
    #[arg(long, default_value = "2")]
    nodes: usize,
    /// Run containers of this image as a process of this executable
    #[arg(long, value_name = "IMAGE=PATH", value_parser = program)]
    program: Vec<(String, PathBuf)>,
    /// Only etcd and the API server: no controllers, no scheduler, no nodes
    #[arg(long, conflicts_with_all = ["nodes", "program"])]
    bare: bool,
    /// Real nodes: a kubelet and containerd each, in namespaces of their own. Needs root
    #[arg(long, conflicts_with_all = ["bare", "program"])]
    real_node: bool,
    /// An image for real nodes, as a tarball in the OCI layout
    #[arg(long, value_name = "TARBALL", requires = "real_node")]
    image: Vec<PathBuf>,
}

fn program(text: &str) -> Result<(String, PathBuf), String> {
    let (image, path) = text.split_once('=').ok_or("write IMAGE=PATH")?;
    let path = std::fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))?;
    Ok((image.to_owned(), path))
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("warn,kube_client=off")
        .init();
    let outcome = match Arguments::parse().command {
        Command::Build { version, real_node } => build(version, real_node),
        Command::Change(version) => change(version.asked()).await,
        Command::Up(nodes) if nodes.real_node => on_real_nodes(nodes, Vec::new()).await,
        Command::Up(nodes) => up(nodes).await,
        Command::Run { nodes, command } if nodes.real_node => on_real_nodes(nodes, command).await,
        Command::Run { nodes, command } => run(nodes, command).await,
        Command::Image(arguments) => image(arguments),
        Command::JoinImages { out, tarballs } => {
            image_index::join(&tarballs, &out).map(|()| ExitCode::SUCCESS)
        }
        Command::RealNodePossible => real_node::possible().map(|()| ExitCode::SUCCESS),
        Command::Inside { folder, command } => real_node::inside(&folder, command).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("local-cluster: {error}");
        ExitCode::FAILURE
    })
}

async fn on_real_nodes(
    nodes: Nodes,
    command: Vec<String>,
) -> Result<ExitCode, local_cluster::Error> {
    real_node::possible()?;
    let programs =
        Programs::find_or_build(nodes.version.asked().or_else(Kubernetes::newest_with_kubelet))?;
    real_node::run(programs, RealNodes { nodes: nodes.nodes, images: nodes.image, command }).await
}

fn image(arguments: ImageArguments) -> Result<ExitCode, local_cluster::Error> {
    let file = &arguments.dockerfile;
    let dockerfile = std::fs::read_to_string(file).map_err(|source| local_cluster::Error::Io {
        what: format!("reading {}", file.display()),
        source,
    })?;
    let image = Image {
        names: arguments.name,
        dockerfile,
        files: arguments.files.into_iter().collect(),
        architecture: arguments.architecture.unwrap_or_else(architecture),
    };
    println!("{}", image.write(&arguments.out)?);
    Ok(ExitCode::SUCCESS)
}

async fn start(nodes: Nodes) -> Result<Cluster, local_cluster::Error> {
    let mut programs: BTreeMap<_, _> = nodes.program.into_iter().collect();
    if let Ok(own) = std::env::current_exe() {
        let sample = own.with_file_name("sample-app");
        programs.entry("lockkeeper.dev/sample-app".to_owned()).or_insert(sample);
    }
    let begun = Instant::now();
    let cluster = Cluster::start(Options {
        nodes: nodes.nodes,
        programs,
        bare: nodes.bare,
        kubernetes: nodes.version.asked(),
        flags: Flags { api_server: nodes.api_server, feature_gates: nodes.feature_gates },
    })
    .await?;
    eprintln!(
        "local-cluster: Kubernetes {} is ready after {:.1} s; logs are in {}",
        cluster.kubernetes(),
        begun.elapsed().as_secs_f64(),
        cluster.logs().display()
    );
    Ok(cluster)
}

async fn change(asked: Option<Kubernetes>) -> Result<ExitCode, local_cluster::Error> {
    let programs = Programs::find_or_build(asked)?;
    let Some(kubeconfig) = std::env::var_os("KUBECONFIG").map(PathBuf::from) else {
        return Err(local_cluster::Error::Build("KUBECONFIG is not set".into()));
    };
    local_cluster::change(&kubeconfig, programs.kubernetes()).await?;
    Ok(ExitCode::SUCCESS)
}

fn build(version: Version, real_node: bool) -> Result<ExitCode, local_cluster::Error> {
    let programs = Programs::find_or_build(version.asked())?;
    if real_node {
        programs.kubelet()?;
        Programs::containerd()?;
    }
    println!("{}", programs.folder().display());
    Ok(ExitCode::SUCCESS)
}

async fn up(nodes: Nodes) -> Result<ExitCode, local_cluster::Error> {
    let cluster = start(nodes).await?;
    println!("In another terminal:\n");
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    // What was built with this program: kubectl finds its plugins on the path.
    let own = std::env::current_exe()
        .ok()
        .and_then(|own| Some(format!(":{}", own.parent()?.display())))
        .unwrap_or_default();
    println!("  export PATH={}{own}:$PATH\n", cluster.bin().display());
    println!("  kubectl get nodes\n\nCtrl-C ends the cluster.");
    supervised(cluster, std::future::pending::<()>()).await;
    Ok(ExitCode::SUCCESS)
}

async fn run(nodes: Nodes, command: Vec<String>) -> Result<ExitCode, local_cluster::Error> {
    let Some((program, arguments)) = command.split_first() else { return Ok(ExitCode::FAILURE) };
    let mut child = tokio::process::Command::new(program);
    child.args(arguments).kill_on_drop(true);
    let cluster = if std::env::var_os(KUBECONFIG).is_some() {
        None
    } else {
        let cluster = start(nodes).await?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = vec![cluster.bin().to_owned()];
        folders.extend(std::env::split_paths(&path));
        child
            .env("KUBECONFIG", cluster.kubeconfig())
            .env(KUBECONFIG, cluster.kubeconfig())
            .env(BIN, cluster.bin())
            .env(SUPERVISOR, std::process::id().to_string())
            .env("PATH", std::env::join_paths(folders).unwrap_or(path));
        Some(cluster)
    };
    let mut child = child.spawn().map_err(|source| local_cluster::Error::Io {
        what: format!("running {program}"),
        source,
    })?;
    let status = match cluster {
        Some(cluster) => supervised(cluster, child.wait()).await,
        None => Some(child.wait().await),
    };
    Ok(exit_code(status.and_then(Result::ok)))
}

/// Until `work` is done, or somebody tells us to stop. Then the cluster ends.
async fn supervised<T>(mut cluster: Cluster, work: impl Future<Output = T>) -> Option<T> {
    let done = supervise(work, async || match cluster.asked() {
        Some(kubernetes) => cluster.change(kubernetes).await,
        None => cluster.revive().await,
    })
    .await;
    cluster.stop().await;
    done
}

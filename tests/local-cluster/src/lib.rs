//! A real Kubernetes control plane on this machine, for Lockkeeper's tests and demo: etcd, API
//! server, controller manager and scheduler, built once from Go modules, and a node agent that
//! makes pods real. Everything listens on loopback addresses only.

use std::time::Duration;

pub mod agent;
mod certificates;
mod cluster;
pub mod image;
pub mod image_index;
mod kubernetes;
mod process;
mod programs;
pub mod real_node;
pub mod reports;
mod shared;
mod supervise;

pub use cluster::{Cluster, Flags, Options, change};
pub use kubernetes::Kubernetes;
pub use programs::Programs;
pub use shared::{BIN, KUBECONFIG, SUPERVISOR, Shared, shared};
pub use supervise::{exit_code, supervise};

/// Why the cluster cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Go programs cannot be built.
    #[error("the cluster's programs cannot be built: {0}")]
    Build(String),
    /// A program ended, or did not become ready.
    #[error("{program} {what}; the end of its log:\n{log}")]
    Program {
        /// Its name.
        program: String,
        /// What happened to it.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The API server answers with an error.
    #[error("the API server: {0}")]
    Kube(#[from] Box<kube::Error>),
    /// An image cannot be made.
    #[error("an image cannot be made: {0}")]
    Image(String),
    /// Real nodes cannot run on this machine.
    #[error(
        "real nodes cannot run here: {0}. They need root, the right to make mount, network and process namespaces, iproute2, and Debian's packages"
    )]
    NoRealNodes(String),
    /// A file or a process cannot be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kube(Box::new(error))
    }
}

/// A time as tests write it: `8s` or `500ms`.
pub fn duration(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
}

/// Says what was tried when a file or a process cannot be handled.
trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Trying<T> for std::io::Result<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}

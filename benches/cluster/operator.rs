//! The operator as a process of this machine.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use local_cluster::shared;
use serde_json::json;

use crate::process;

const METRICS: &str = "127.0.0.1:18099";
/// The account that the admission policies know.
const ACCOUNT: &str = "system:serviceaccount:lockkeeper-system:lockkeeper";

pub struct Operator {
    child: Child,
    /// From its start until its readiness probe says yes.
    pub ready_after: Duration,
}

impl Operator {
    /// Starts it, and waits until it is ready. Its rollouts have no limit in the cluster.
    pub async fn start() -> Self {
        let log = fs::File::create(std::env::temp_dir().join("lockkeeper-bench.log")).unwrap();
        let begun = Instant::now();
        let mut kubeconfig: serde_json::Value =
            serde_saphyr::from_str(&fs::read_to_string(&shared().kubeconfig).unwrap()).unwrap();
        for user in kubeconfig["users"].as_array_mut().unwrap() {
            user["user"]["as"] = json!(ACCOUNT);
        }
        let file = std::env::temp_dir().join("lockkeeper-bench.kubeconfig");
        fs::write(&file, kubeconfig.to_string()).unwrap();
        let kubeconfig = format!("KUBECONFIG={}", file.display());
        // Another build can be measured in the place of this one's.
        let program = std::env::var("LOCKKEEPER")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_lockkeeper").to_owned());
        let arguments = [
            &kubeconfig,
            program.as_str(),
            "run",
            "--metrics-address",
            METRICS,
            "--max-config-rollouts",
            "100000",
        ];
        let child = shared().spawn(Path::new("/usr/bin/env"), &arguments, log).unwrap();
        let mut operator = Self { child, ready_after: Duration::ZERO };
        while !get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.0 200")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        operator.ready_after = begun.elapsed();
        operator
    }

    pub fn memory(&self, field: &str) -> f64 {
        process::memory(self.child.id(), field)
    }

    pub fn cpu(&self) -> Duration {
        process::cpu(self.child.id())
    }

    /// Ends it politely, so that the next one need not wait for its Lease to run out.
    pub fn stop(mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
    }
}

fn get(path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(METRICS).ok()?;
    let mut answer = String::new();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

//! One node: containerd and a kubelet.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Plan, images::PAUSE, packages::run};
use crate::{Error, Trying, process::Program};

const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// A node of the cluster, counted from 1.
pub struct Node<'a> {
    pub plan: &'a Plan,
    pub folder: &'a Path,
    pub number: usize,
}

impl Node<'_> {
    pub fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    /// Where its kubelet listens.
    pub fn address(&self) -> String {
        format!("10.99.0.{}", self.number)
    }

    /// Its own files and logs.
    fn own(&self) -> PathBuf {
        self.folder.join(self.name())
    }

    fn socket(&self) -> String {
        format!("/run/containerd-{}.sock", self.number)
    }

    /// Starts it, with all images. It is not ready yet when this returns.
    pub async fn start(&self) -> Result<[Program; 2], Error> {
        let own = self.own();
        for folder in ["containerd", "kubelet", "cni", "plugins", "opt"] {
            let folder = own.join(folder);
            fs::create_dir_all(&folder).trying(|| format!("making {}", folder.display()))?;
        }
        let write = |name: &str, text: String| {
            fs::write(own.join(name), text).trying(|| format!("writing {name}"))
        };
        write("containerd.toml", self.containerd())?;
        write("cni/10-bridge.conflist", self.network().to_string())?;
        write("kubelet.yaml", self.kubelet().to_string())?;
        let containerd = Program::start(
            &self.plan.containerd.join("containerd"),
            &own,
            vec!["--config=containerd.toml".to_owned()],
        )?;
        self.import(&containerd).await?;
        let kubelet = Program::start(
            &self.plan.kubelet,
            &own,
            vec![
                "--config=kubelet.yaml".to_owned(),
                format!("--kubeconfig={}/{}.kubeconfig", self.folder.display(), self.name()),
                format!("--root-dir={}/kubelet", own.display()),
                format!("--hostname-override={}", self.name()),
                format!("--node-ip={}", self.address()),
            ],
        )?;
        Ok([containerd, kubelet])
    }

    async fn import(&self, containerd: &Program) -> Result<(), Error> {
        let ctr = || {
            let mut ctr = std::process::Command::new(self.plan.containerd.join("ctr"));
            ctr.args(["-a", &self.socket(), "-n", "k8s.io"]);
            ctr
        };
        let deadline = Instant::now() + STARTED_WITHIN;
        while let Err(error) = run(ctr().arg("version")) {
            if Instant::now() > deadline {
                return Err(containerd.error(&format!("did not answer: {error}")));
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.plan
            .images
            .iter()
            .try_for_each(|image| run(ctr().args(["images", "import"]).arg(image)))
    }

    fn containerd(&self) -> String {
        let (own, tools) = (self.own(), self.plan.tools.display());
        let own = own.display();
        let (number, socket) = (self.number, self.socket());
        // restrict_oom_score_adj: a machine may not let runc lower the score of a pod.
        format!(
            r#"version = 3
root = "{own}/containerd"
state = "/run/containerd-{number}"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.blockfile"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{own}/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{tools}/runc"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{tools}/cni"]
    conf_dir = "{own}/cni"
"#
        )
    }

    /// All nodes are on one bridge, each with addresses of its own for pods.
    fn network(&self) -> serde_json::Value {
        let number = self.number;
        let range = json!({"subnet": "10.244.0.0/16", "gateway": super::inside::BRIDGE_ADDRESS,
            "rangeStart": format!("10.244.{number}.2"), "rangeEnd": format!("10.244.{number}.250")});
        json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [{
            "type": "bridge", "bridge": super::inside::BRIDGE, "isGateway": false, "ipMasq": false, "hairpinMode": true,
            "ipam": {"type": "host-local", "dataDir": format!("/run/addresses-{number}"), "ranges": [[range]],
                "routes": [{"dst": "0.0.0.0/0"}]}}]})
    }

    fn kubelet(&self) -> serde_json::Value {
        let own = self.own();
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address(),
            "healthzPort": 10_247 + self.number,
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}/{}", self.plan.cgroup, self.number),
            "cgroupsPerQOS": true,
            "enforceNodeAllocatable": [],
            "failCgroupV1": false,
            "failSwapOn": false,
            "containerRuntimeEndpoint": format!("unix://{}", self.socket()),
            "podLogsDir": own.join("logs"),
            "resolvConf": "",
            "makeIPTablesUtilChains": false,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "100Mi", "imagefs.available": "100Mi", "nodefs.inodesFree": "1%"},
            "imageGCHighThresholdPercent": 100,
            "maxPods": 100,
            "podPidsLimit": -1,
            "volumePluginDir": own.join("plugins"),
            "nodeStatusUpdateFrequency": "5s",
            "registryPullQPS": 0,
        })
    }
}

//! The plugin, run as the administrator or as a person with fewer rights.

use kube::config::Kubeconfig;
use local_cluster::shared;
use serde_json::Value;

use super::{HOLDABLE, Said, Shop};

/// Runs the plugin as the administrator.
pub fn plugin(shop: &Shop, arguments: &[&str]) -> Said {
    run(shop, &shared().kubeconfig, arguments)
}

fn run(shop: &Shop, kubeconfig: &std::path::Path, arguments: &[&str]) -> Said {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-lockkeeper"));
    let output = command
        .env("KUBECONFIG", kubeconfig)
        .args(["-n", &shop.name])
        .args(arguments)
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Said { success: output.status.success(), text }
}

/// Somebody with the right to edit workloads, and these of the chart's ClusterRoles.
pub struct Person {
    name: &'static str,
    kubeconfig: std::path::PathBuf,
}

/// What a command of the plugin wrote, and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs the plugin with something on its standard input.
pub fn ran(shop: &Shop, kubeconfig: &std::path::Path, arguments: &[&str], input: &str) -> Ran {
    use std::{io::Write, process::Stdio};
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-lockkeeper"));
    command.env("KUBECONFIG", kubeconfig).args(["-n", &shop.name]).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

impl Person {
    pub fn new(shop: &Shop, name: &'static str, roles: &[&str]) -> Self {
        Self::with(shop, name, &[roles, &["admin"]].concat())
    }

    /// Somebody with these ClusterRoles in the namespace, and no other right.
    pub fn with(shop: &Shop, name: &'static str, roles: &[&str]) -> Self {
        for role in roles {
            shop.grant(name, &format!("{name}-{role}"), role);
        }
        let mut config = Kubeconfig::read_from(&shared().kubeconfig).unwrap();
        for user in &mut config.auth_infos {
            user.auth_info.as_mut().unwrap().impersonate = Some(name.to_owned());
        }
        let kubeconfig = std::env::temp_dir().join(format!("{}-{name}.json", shop.name));
        std::fs::write(&kubeconfig, serde_json::to_string(&config).unwrap()).unwrap();
        Self { name, kubeconfig }
    }

    pub fn ran(&self, shop: &Shop, arguments: &[&str], input: &str) -> Ran {
        ran(shop, &self.kubeconfig, arguments, input)
    }

    pub fn plugin(&self, shop: &Shop, arguments: &[&str]) -> Said {
        run(shop, &self.kubeconfig, arguments)
    }

    pub fn set_image(&self, shop: &Shop, place: &str, tag: &str) {
        shop.kubectl(&[
            "set",
            "image",
            place,
            &format!("app=other:{tag}"),
            &format!("--as={}", self.name),
        ]);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// The command succeeded and said all this.
#[track_caller]
pub fn says(said: &Said, success: bool, parts: &[&str]) {
    assert_eq!(said.success, success, "{}", said.text);
    for part in parts {
        assert!(said.text.contains(part), "{part:?} is not in:\n{}", said.text);
    }
}

/// Both kinds, each with a name and as one writes it for kubectl.
pub fn both() -> impl Iterator<Item = (&'static str, String, String)> {
    HOLDABLE.iter().map(|kind| {
        let name = format!("web-{}", kind.to_lowercase());
        (*kind, name.clone(), format!("{}/{name}", kind.to_lowercase()))
    })
}

/// The config-hash of its template.
pub async fn config_hash(shop: &Shop, kind: &str, name: &str) -> Value {
    shop.get(kind, name).await["spec"]["template"]["metadata"]["annotations"]["lockkeeper.dev/config-hash"].clone()
}

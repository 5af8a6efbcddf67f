//! Which cluster, as which user: the kubeconfig, and the flags that kubectl has over it.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use kube::{
    Config,
    config::{
        AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
        NamedContext,
    },
};
use lockkeeper::{api::Period, shell::errors::with_causes};

use crate::{cluster::Failure, completion};

/// What stands for a context, a cluster or a user that the flags alone describe.
const BY_FLAGS: &str = "flags";

/// Which cluster, namespace and user.
#[derive(Args, Default)]
pub struct Connection {
    /// The namespace; without it, that of the context
    #[arg(short, long, global = true, value_name = "NAME", add = ArgValueCompleter::new(completion::namespaces), help_heading = "Cluster")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCompleter::new(completion::contexts), help_heading = "Cluster")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub user: Option<String>,
    /// The kubeconfig file; without it, KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The address of the API server
    #[arg(short, long, global = true, value_name = "URL", help_heading = "Cluster")]
    pub server: Option<String>,
    /// The server's name in its certificate, where that is not its address
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub tls_server_name: Option<String>,
    /// Do not verify the server's certificate. Others on the network can then read and change what
    /// is sent
    #[arg(long, global = true, help_heading = "Cluster")]
    pub insecure_skip_tls_verify: bool,
    /// A file with the certificate of the authority that signs the server's certificate
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub certificate_authority: Option<PathBuf>,
    /// A file with the client certificate
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub client_certificate: Option<PathBuf>,
    /// A file with the key of the client certificate
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub client_key: Option<PathBuf>,
    /// The bearer token
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Cluster")]
    pub token: Option<String>,
    /// The user to impersonate
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Cluster")]
    pub impersonate: Option<String>,
    /// A group to impersonate; may be given several times
    #[arg(
        long = "as-group",
        global = true,
        value_name = "GROUP",
        requires = "impersonate",
        help_heading = "Cluster"
    )]
    pub impersonate_groups: Vec<String>,
    /// The uid to impersonate
    #[arg(
        long = "as-uid",
        global = true,
        value_name = "UID",
        requires = "impersonate",
        help_heading = "Cluster"
    )]
    pub impersonate_uid: Option<String>,
    /// The longest wait for one answer of the API server, such as 10s; 0 for no limit
    #[arg(long, global = true, value_name = "DURATION", value_parser = request_timeout, default_value = "0", hide_default_value = true)]
    #[arg(help_heading = "Cluster")]
    pub request_timeout: Duration,
}

/// As kubectl takes it: a number without a unit is one of seconds.
fn request_timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => Period::try_from(text.to_owned())
            .map(|period| period.length())
            .map_err(|error| error.to_string()),
    }
}

impl Connection {
    /// The same for kubectl, but for the namespace.
    pub fn flags(&self) -> Vec<String> {
        let path = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
        let named = [
            ("context", self.context.clone()),
            ("cluster", self.cluster.clone()),
            ("user", self.user.clone()),
            ("kubeconfig", path(&self.kubeconfig)),
            ("server", self.server.clone()),
            ("tls-server-name", self.tls_server_name.clone()),
            ("certificate-authority", path(&self.certificate_authority)),
            ("client-certificate", path(&self.client_certificate)),
            ("client-key", path(&self.client_key)),
            ("token", self.token.clone()),
            ("as", self.impersonate.clone()),
            ("as-uid", self.impersonate_uid.clone()),
        ];
        let groups = self.impersonate_groups.iter().map(|group| ("as-group", group.clone()));
        let given = named.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        let mut flags: Vec<_> =
            given.chain(groups).map(|(flag, value)| format!("--{flag}={value}")).collect();
        if self.insecure_skip_tls_verify {
            flags.push("--insecure-skip-tls-verify".to_owned());
        }
        flags
    }

    /// How to talk to the cluster, and the namespace.
    pub async fn config(self) -> Result<(Config, String), Failure> {
        let no_cluster = |error: &dyn std::error::Error| Failure::NoCluster(with_causes(error));
        let kubeconfig = match &self.kubeconfig {
            Some(file) => Kubeconfig::read_from(file).map_err(|error| no_cluster(&error)),
            None => Kubeconfig::read().map_err(|error| no_cluster(&error)),
        };
        let config = match kubeconfig {
            Ok(kubeconfig) => self.over(kubeconfig).await.map_err(|error| no_cluster(&error)),
            Err(_) if self.server.is_some() && self.kubeconfig.is_none() => {
                self.over(Kubeconfig::default()).await.map_err(|error| no_cluster(&error))
            }
            Err(error) => Err(error),
        };
        // In a pod there is no kubeconfig, but a service account.
        let mut config = match config {
            Err(error) if self.kubeconfig.is_none() => Config::incluster().map_err(|_| error)?,
            other => other?,
        };
        if let Some(user) = &self.impersonate {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                Some(self.impersonate_groups.clone()).filter(|groups| !groups.is_empty());
            config.auth_info.impersonate_uid.clone_from(&self.impersonate_uid);
        }
        if !self.request_timeout.is_zero() {
            let limit = Some(self.request_timeout);
            (config.connect_timeout, config.read_timeout, config.write_timeout) =
                (limit, limit, limit);
        }
        let namespace = self.namespace.unwrap_or_else(|| config.default_namespace.clone());
        Ok((config, namespace))
    }

    async fn over(&self, kubeconfig: Kubeconfig) -> Result<Config, kube::config::KubeconfigError> {
        let (kubeconfig, options) = self.overridden(kubeconfig);
        Config::from_custom_kubeconfig(kubeconfig, &options).await
    }

    /// The kubeconfig with what the flags say in place of what it has, and what is chosen of it.
    fn overridden(&self, mut kubeconfig: Kubeconfig) -> (Kubeconfig, KubeConfigOptions) {
        let mut options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let name = options
            .context
            .clone()
            .or_else(|| kubeconfig.current_context.clone())
            .filter(|name| !name.is_empty());
        let context = kubeconfig
            .contexts
            .iter()
            .find(|one| Some(&one.name) == name.as_ref())
            .and_then(|one| one.context.clone());
        if name.is_none() && self.server.is_some() {
            let context = Context {
                cluster: BY_FLAGS.to_owned(),
                user: Some(BY_FLAGS.to_owned()),
                ..Context::default()
            };
            kubeconfig.contexts.push(NamedContext {
                name: BY_FLAGS.to_owned(),
                context: Some(context),
                ..NamedContext::default()
            });
            options.context = Some(BY_FLAGS.to_owned());
        }
        let chosen = |given: &Option<String>, of_context: Option<String>| {
            given.clone().or(of_context).unwrap_or_else(|| BY_FLAGS.to_owned())
        };
        let cluster =
            chosen(&self.cluster, context.as_ref().map(|context| context.cluster.clone()));
        let user = chosen(&self.user, context.and_then(|context| context.user));
        if !kubeconfig.clusters.iter().any(|one| one.name == cluster) && cluster == BY_FLAGS {
            kubeconfig.clusters.push(NamedCluster {
                name: cluster.clone(),
                cluster: Some(Cluster::default()),
                ..NamedCluster::default()
            });
        }
        if !kubeconfig.auth_infos.iter().any(|one| one.name == user) && user == BY_FLAGS {
            kubeconfig.auth_infos.push(NamedAuthInfo {
                name: user.clone(),
                auth_info: Some(AuthInfo::default()),
                ..NamedAuthInfo::default()
            });
        }
        let mut clusters = kubeconfig.clusters.iter_mut().filter(|one| one.name == cluster);
        if let Some(cluster) = clusters.next().and_then(|one| one.cluster.as_mut()) {
            self.override_cluster(cluster);
        }
        let mut users = kubeconfig.auth_infos.iter_mut().filter(|one| one.name == user);
        if let Some(user) = users.next().and_then(|one| one.auth_info.as_mut()) {
            self.override_user(user);
        }
        (kubeconfig, options)
    }

    fn override_cluster(&self, cluster: &mut Cluster) {
        if let Some(server) = &self.server {
            cluster.server = Some(server.clone());
        }
        if let Some(name) = &self.tls_server_name {
            cluster.tls_server_name = Some(name.clone());
        }
        if let Some(file) = &self.certificate_authority {
            cluster.certificate_authority = Some(file.display().to_string());
            cluster.certificate_authority_data = None;
        }
        if self.insecure_skip_tls_verify {
            cluster.insecure_skip_tls_verify = Some(true);
            (cluster.certificate_authority, cluster.certificate_authority_data) = (None, None);
        }
    }

    fn override_user(&self, user: &mut AuthInfo) {
        if let Some(token) = &self.token {
            user.token = Some(token.clone().into());
            (user.token_file, user.exec, user.auth_provider) = (None, None, None);
            (user.username, user.password) = (None, None);
        }
        if let Some(file) = &self.client_certificate {
            user.client_certificate = Some(file.display().to_string());
            user.client_certificate_data = None;
        }
        if let Some(file) = &self.client_key {
            user.client_key = Some(file.display().to_string());
            user.client_key_data = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig() -> Kubeconfig {
        let text = r#"{"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://one", "certificate-authority-data": "eA=="}}, {"name": "d", "cluster": {"server": "https://two"}}],
            "users": [{"name": "u", "user": {"username": "ann", "password": "x"}}]}"#;
        serde_json::from_str(text).unwrap()
    }

    fn cluster(kubeconfig: &Kubeconfig, name: &str) -> Cluster {
        kubeconfig.clusters.iter().find(|one| one.name == name).unwrap().cluster.clone().unwrap()
    }

    fn user(kubeconfig: &Kubeconfig, name: &str) -> AuthInfo {
        kubeconfig
            .auth_infos
            .iter()
            .find(|one| one.name == name)
            .unwrap()
            .auth_info
            .clone()
            .unwrap()
    }

    #[test]
    fn flags_go_before_the_kubeconfig() {
        let flags = Connection {
            server: Some("https://three".to_owned()),
            tls_server_name: Some("api".to_owned()),
            insecure_skip_tls_verify: true,
            token: Some("t".to_owned()),
            ..Connection::default()
        };
        let (found, _) = flags.overridden(kubeconfig());
        let (one, two, ann) = (cluster(&found, "c"), cluster(&found, "d"), user(&found, "u"));
        assert_eq!(
            (one.server.as_deref(), one.tls_server_name.as_deref()),
            (Some("https://three"), Some("api"))
        );
        assert_eq!(
            (one.insecure_skip_tls_verify, one.certificate_authority_data),
            (Some(true), None)
        );
        assert_eq!(two.server.as_deref(), Some("https://two"), "only what is chosen");
        assert!(ann.token.is_some() && ann.username.is_none());

        let (same, _) = Connection::default().overridden(kubeconfig());
        assert_eq!(cluster(&same, "c").server.as_deref(), Some("https://one"));
        assert!(user(&same, "u").token.is_none() && user(&same, "u").username.is_some());
    }

    #[tokio::test]
    async fn a_server_and_a_token_are_enough() {
        let flags = Connection {
            server: Some("https://three:6443".to_owned()),
            token: Some("t".to_owned()),
            ..Connection::default()
        };
        let config = flags.over(Kubeconfig::default()).await.unwrap();
        assert_eq!(config.cluster_url.to_string(), "https://three:6443/");
        assert!(config.auth_info.token.is_some());
        assert!(Connection::default().over(Kubeconfig::default()).await.is_err());
    }

    #[test]
    fn kubectl_gets_the_same_flags() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            connection: Connection,
        }
        let flags = [
            "--context=b",
            "--kubeconfig=/k",
            "--token=t",
            "--as=ann",
            "--as-group=a",
            "--as-group=b",
            "--insecure-skip-tls-verify",
        ];
        let line = Line::parse_from(["x", "-n", "shop"].iter().chain(&flags));
        assert_eq!(line.connection.flags(), flags);
    }

    #[test]
    fn timeouts_are_read_as_kubectl_reads_them() {
        for (text, expected) in [("0", Some(0)), ("5", Some(5)), ("2m", Some(120)), ("soon", None)]
        {
            assert_eq!(request_timeout(text).ok(), expected.map(Duration::from_secs), "{text}");
        }
    }
}

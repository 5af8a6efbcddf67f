//! Services, as kube-proxy plays them: a connection to a Service's cluster address goes on to a
//! ready pod. The API server finds webhooks so. The cluster has no endpoints, because addresses in
//! them must not be loopback addresses; the pods are looked up for each connection.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use futures::TryStreamExt;
use k8s_openapi::{
    api::core::v1::{Pod, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{RETRY, Shared};

/// What one Service declares, and what listens for it. It ends when this is dropped.
type Served = (Option<ServiceSpec>, JoinSet<()>);

/// Serves all Services, until it is stopped.
pub async fn follow(shared: Arc<Shared>) {
    let api: Api<Service> = Api::all(shared.client.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut served: HashMap<String, Served> = HashMap::new();
    loop {
        match events.try_next().await {
            Ok(Some(watcher::Event::Apply(service) | watcher::Event::InitApply(service))) => {
                let uid = service.uid().unwrap_or_default();
                if served.get(&uid).is_none_or(|(declared, _)| *declared != service.spec) {
                    served.remove(&uid);
                    served.insert(uid, serve(&shared.client, &service));
                }
            }
            Ok(Some(watcher::Event::Delete(service))) => {
                served.remove(&service.uid().unwrap_or_default());
            }
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "the watch of services failed"),
        }
    }
}

fn serve(client: &Client, service: &Service) -> Served {
    let mut tasks = JoinSet::new();
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    if let Some(spec) = &service.spec
        && let Some(labels) = spec.selector.as_ref().filter(|labels| !labels.is_empty())
        && let Some(address) = spec.cluster_ip.as_ref().and_then(|ip| ip.parse::<Ipv4Addr>().ok())
    {
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = labels.join(",");
        for port in spec.ports.iter().flatten().cloned() {
            let pods = Pods {
                api: Api::namespaced(client.clone(), &namespace),
                labels: labels.clone(),
                port,
            };
            let name = format!("{namespace}/{name}");
            tasks.spawn(async move { listen(address, &name, Arc::new(pods)).await });
        }
    }
    (service.spec.clone(), tasks)
}

/// The pods behind one port of a Service.
struct Pods {
    api: Api<Pod>,
    labels: String,
    port: ServicePort,
}

async fn listen(address: Ipv4Addr, service: &str, pods: Arc<Pods>) {
    let Ok(port) = u16::try_from(pods.port.port) else { return };
    let listener = loop {
        match TcpListener::bind((address, port)).await {
            Ok(listener) => break listener,
            // Only root may take the ports below 1024, unless the machine says otherwise.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                tracing::warn!(%error, service, port, "this Service does not work");
                return;
            }
            // One before it may have just ended.
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    };
    let mut connections = JoinSet::new();
    loop {
        if let Ok((mut from, _)) = listener.accept().await {
            let pods = pods.clone();
            connections.spawn(async move {
                // Without a ready pod the connection is closed.
                if let Some(mut to) = pods.connect().await {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

impl Pods {
    /// A connection to the first of the ready pods that accepts one.
    async fn connect(&self) -> Option<TcpStream> {
        let pods = self.api.list(&ListParams::default().labels(&self.labels)).await.ok()?;
        for pod in pods.items.iter().filter(|pod| is_ready(pod)) {
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
            if let Some((address, port)) = address.zip(self.target(pod))
                && let Ok(stream) = TcpStream::connect((address, port)).await
            {
                return Some(stream);
            }
        }
        None
    }

    /// The port of the pod.
    fn target(&self, pod: &Pod) -> Option<u16> {
        let number = match &self.port.target_port {
            None => self.port.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) => {
                let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
                containers
                    .flat_map(|container| container.ports.iter().flatten())
                    .find(|port| port.name.as_ref() == Some(name))?
                    .container_port
            }
        };
        u16::try_from(number).ok()
    }
}

/// Whether a Service sends connections to it.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

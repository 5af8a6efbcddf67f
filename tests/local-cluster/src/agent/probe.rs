//! Probes over HTTP and TCP.

use std::{net::SocketAddr, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Whether the container passes a probe now. Probes of other kinds than HTTP and TCP always pass.
pub async fn passes(probe: &Probe, container: &Container, address: &str) -> bool {
    let limit =
        Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    let port_of = |port: &IntOrString| match port {
        IntOrString::Int(port) => u16::try_from(*port).ok(),
        IntOrString::String(name) => {
            let named =
                container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            named.and_then(|port| u16::try_from(port.container_port).ok())
        }
    };
    if let Some(http) = &probe.http_get {
        let Some(port) = port_of(&http.port) else { return false };
        let host = http.host.as_deref().unwrap_or(address);
        return timeout(limit, http_ok(host, port, http.path.as_deref().unwrap_or("/")))
            .await
            .unwrap_or(false);
    }
    if let Some(tcp) = &probe.tcp_socket {
        let Some(port) = port_of(&tcp.port) else { return false };
        return timeout(limit, connect(address, port)).await.is_ok_and(|stream| stream.is_some());
    }
    true
}

async fn connect(host: &str, port: u16) -> Option<TcpStream> {
    let address = SocketAddr::new(host.parse().ok()?, port);
    // Everything of this cluster is on this machine; nothing else is ever asked.
    if !address.ip().is_loopback() {
        return None;
    }
    TcpStream::connect(address).await.ok()
}

async fn http_ok(host: &str, port: u16, path: &str) -> bool {
    let Some(mut stream) = connect(host, port).await else { return false };
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: kube-probe/1.37\r\nConnection: close\r\n\r\n"
    );
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut head = [0; 12];
    if stream.read_exact(&mut head).await.is_err() {
        return false;
    }
    // "HTTP/1.0 200"
    std::str::from_utf8(&head[9..])
        .ok()
        .and_then(|code| code.parse::<u16>().ok())
        .is_some_and(|code| (200..400).contains(&code))
}

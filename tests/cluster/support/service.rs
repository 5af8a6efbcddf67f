//! What a Service does, where the cluster has none: connections to one address go on to a ready pod.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use super::kubectl_with;

const READY: &str = "go-template={{range .items}}{{$pod := .}}{{range .status.conditions}}\
                     {{if eq .type \"Ready\"}}{{if eq .status \"True\"}}{{$pod.status.podIP}} \
                     {{end}}{{end}}{{end}}{{end}}";

/// An address that leads to the ready pods that serve the webhook, for as long as the tests run.
pub fn webhook_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Without a ready pod the connection is closed.
            if let Some(pod) = pod() {
                join(client, pod);
            }
        }
    });
    address
}

fn pod() -> Option<TcpStream> {
    let labels = "app.kubernetes.io/part-of=lockkeeper,app.kubernetes.io/component=webhook";
    let ready =
        kubectl_with(&["get", "pods", "-n", "lockkeeper-system", "-l", labels, "-o", READY], "");
    let addresses = ready.text.split_whitespace().map(str::to_owned);
    addresses.filter_map(|address| TcpStream::connect((address, 10250)).ok()).next()
}

fn join(one: TcpStream, other: TcpStream) {
    for (from, to) in [(&one, &other), (&other, &one)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
            let _ = from.shutdown(std::net::Shutdown::Both);
        });
    }
}

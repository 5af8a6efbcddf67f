//! What a Service does, where the cluster has none: connections to one address go on to a ready
//! pod. It can be made to fail as a network does.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use tokio_rustls::rustls::{ServerConfig, ServerConnection};

use super::kubectl_with;

const READY: &str = "go-template={{range .items}}{{$pod := .}}{{range .status.conditions}}\
                     {{if eq .type \"Ready\"}}{{if eq .status \"True\"}}{{$pod.status.podIP}} \
                     {{end}}{{end}}{{end}}{{end}}";

/// What becomes of connections.
#[derive(Clone)]
pub enum Way {
    /// They go on to a ready pod.
    Open,
    /// Nothing is answered, as where a network policy drops what is sent.
    Dropped,
    /// They meet a server that proves itself so.
    Server(Arc<ServerConfig>),
}

/// An address that leads to the ready pods that serve the webhook, for as long as the tests run.
pub struct Service {
    pub address: SocketAddr,
    way: Arc<Mutex<Way>>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

pub fn webhook_service() -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (way, connections) = (Arc::new(Mutex::new(Way::Open)), Arc::new(Mutex::new(Vec::new())));
    let service = Service { address, way: way.clone(), connections: connections.clone() };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            connections.lock().unwrap().push(client.try_clone().unwrap());
            let way = way.lock().unwrap().clone();
            match way {
                // Without a ready pod the connection is closed.
                Way::Open => match pod() {
                    Some(pod) => join(client, pod),
                    None => drop(client.shutdown(Shutdown::Both)),
                },
                Way::Dropped => {}
                Way::Server(config) => drop(thread::spawn(move || shake_hands(client, config))),
            }
        }
    });
    service
}

impl Service {
    /// From now on connections end so; those that are open are closed.
    pub fn lead(&self, way: Way) {
        *self.way.lock().unwrap() = way;
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn shake_hands(mut client: TcpStream, config: Arc<ServerConfig>) {
    let mut tls = ServerConnection::new(config).unwrap();
    let _ = tls.complete_io(&mut client);
    let _ = client.shutdown(Shutdown::Both);
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
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}

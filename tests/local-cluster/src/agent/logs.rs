//! What the API server asks a kubelet for when somebody wants `kubectl logs`. A container has one
//! log through all its restarts.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path as Place, Query, State},
    http::StatusCode,
    routing::get,
    serve::Listener,
};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
        version::TLS13,
    },
    server::TlsStream,
};

use crate::{Error, Trying};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const CHUNK: usize = 64 * 1024;

/// Listens for the API server, which asks nobody whose certificate it is; and answers once it is
/// polled. The port too.
///
/// # Errors
/// When no port or no certificate can be had.
pub async fn server(folder: PathBuf) -> Result<(u16, impl Future<Output = ()>), Error> {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13]);
    let config = config.and_then(|config| {
        config.with_no_client_auth().with_single_cert(vec![own.cert.into()], key)
    });
    let config = config.map_err(|error| Error::Build(error.to_string()))?;
    let tcp = TcpListener::bind("127.0.0.1:0")
        .await
        .trying(|| "listening for those who want logs".into())?;
    let port = tcp.local_addr().trying(|| "listening for those who want logs".into())?.port();
    let routes = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(log))
        .with_state(folder);
    let answering = async move {
        let _ =
            axum::serve(Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) }, routes).await;
    };
    Ok((port, answering))
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// What is wanted of a log. Times are not noted with its lines, and so cannot be asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(default)]
    follow: bool,
    tail_lines: Option<usize>,
    limit_bytes: Option<usize>,
}

async fn log(
    State(folder): State<PathBuf>,
    Place((namespace, pod, container)): Place<(String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Body, StatusCode> {
    let path = folder.join(namespace).join(pod).join(format!("{container}.log"));
    // What only counts as running says nothing.
    let Ok(mut file) = File::open(&path) else { return Ok(Body::empty()) };
    let left = wanted.limit_bytes.unwrap_or(usize::MAX);
    begin(&mut file, wanted.tail_lines).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let chunks = futures::stream::unfold((file, left), move |(mut file, left)| {
        let path = path.clone();
        async move {
            loop {
                // Asked before what it wrote last is read.
                let goes_on = wanted.follow && runs(&path);
                let mut chunk = vec![0; CHUNK.min(left)];
                let read = file.read(&mut chunk);
                match read {
                    Ok(0) if goes_on && left > 0 => tokio::time::sleep(LOOK_EVERY).await,
                    Ok(0) => return None,
                    Ok(length) => {
                        chunk.truncate(length);
                        return Some((Ok(chunk), (file, left - length)));
                    }
                    Err(error) => return Some((Err(error), (file, 0))),
                }
            }
        }
    });
    Ok(Body::from_stream(chunks))
}

/// Goes to the first byte that is wanted.
fn begin(file: &mut File, tail_lines: Option<usize>) -> std::io::Result<()> {
    let Some(lines) = tail_lines else { return Ok(()) };
    let mut all = Vec::new();
    file.read_to_end(&mut all)?;
    // The newline at the end begins no line.
    let ends = all
        .iter()
        .enumerate()
        .rev()
        .filter(|(index, byte)| **byte == b'\n' && index + 1 < all.len())
        .map(|(index, _)| index + 1);
    let first = if lines == 0 { all.len() } else { ends.clone().nth(lines - 1).unwrap_or(0) };
    file.seek(SeekFrom::Start(first as u64)).map(|_| ())
}

/// Whether the process runs that was noted beside the log.
fn runs(log: &Path) -> bool {
    std::fs::read_to_string(log.with_extension("pid"))
        .is_ok_and(|pid| Path::new("/proc").join(pid.trim()).exists())
}

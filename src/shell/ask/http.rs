//! Requests to pods: no redirects, no proxies, and bounds on everything that comes back.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};

use crate::shell::errors::with_causes;

/// At most so many bytes of an answer are read, and as many of its headers.
pub const ANSWER_LIMIT: usize = 64 * 1024;

/// How a pod is talked to.
#[derive(Clone, PartialEq)]
pub enum Channel {
    /// In the clear.
    Plain,
    /// Encrypted.
    Tls(Tls),
}

/// How a pod is talked to in TLS.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// The name that the certificate must be for, if not the address.
    name: Option<ServerName<'static>>,
    /// The certificates in PEM that verify the pod; empty: nothing does.
    authorities: Arc<[u8]>,
}

impl PartialEq for Tls {
    /// Whether both verify in the same way.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.authorities == other.authorities
    }
}

/// What a pod answered.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, of at most [`ANSWER_LIMIT`].
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Silence {
    /// Not in time.
    Timeout,
    /// For this reason.
    Failed(String),
}

impl Channel {
    /// Encrypted, and not verified, as kubelet's probes.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn unverified() -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions();
        let config = config
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
        let config = Arc::new(config.with_no_client_auth());
        Ok(Self::Tls(Tls { config, name: None, authorities: Arc::default() }))
    }

    /// Encrypted, and verified by certificates in PEM.
    ///
    /// # Errors
    /// When there is no certificate in it, or the name is none.
    pub fn verified(authorities: &[u8], name: Option<&str>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            // The error would quote it, and it may be a key that was put there by mistake.
            let certificate = certificate.map_err(|_| "it is no PEM".to_owned())?;
            roots
                .add(certificate)
                .map_err(|error| format!("a certificate in it cannot be used: {error}"))?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions();
        let config = config
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = name
            .map(|name| {
                ServerName::try_from(name.to_owned())
                    .map_err(|_| format!("{name:?} is no server name"))
            })
            .transpose()?;
        Ok(Self::Tls(Tls { config: Arc::new(config), name, authorities: authorities.into() }))
    }
}

/// A request: its method, the pod's address, and the path.
pub type To<'a> = (Method, SocketAddr, &'a str);

/// Makes one request on a connection of its own, all of it within the timeout.
///
/// # Errors
/// When there is no answer.
pub async fn send(
    channel: &Channel,
    to: To<'_>,
    headers: &HeaderMap,
    timeout: Duration,
) -> Result<Reply, Silence> {
    let exchange = async {
        let request = request(to.clone(), headers, false)?;
        let mut connection = Connection::open(channel, to.1).await?;
        connection.exchange(request).await.map_err(|broken| broken.why)
    };
    within(timeout, exchange).await
}

/// Makes one request on the connection that was kept, or on a new one. All of it is within the
/// timeout. Returns the connection too, which may be kept.
///
/// The pod may close a connection at any time in between: what becomes of a request on one that was
/// kept is no answer before the pod begins to answer, and the request is made again on a new one.
///
/// # Errors
/// When there is no answer.
pub async fn send_on(
    kept: Option<Connection>,
    channel: &Channel,
    to: To<'_>,
    headers: &HeaderMap,
    timeout: Duration,
) -> Result<(Reply, Connection), Silence> {
    let exchange = async {
        let kept = match kept {
            Some(mut kept) => kept.sender.ready().await.is_ok().then_some(kept),
            None => None,
        };
        if let Some(mut kept) = kept {
            match kept.exchange(request(to.clone(), headers, true)?).await {
                // So some servers say that they close a connection which is idle.
                Ok(reply) if reply.status == StatusCode::REQUEST_TIMEOUT => {}
                Ok(reply) => return Ok((reply, kept)),
                Err(broken) if broken.began => return Err(broken.why),
                Err(_) => {}
            }
        }
        let request = request(to.clone(), headers, true)?;
        let mut connection = Connection::open(channel, to.1).await?;
        let reply = connection.exchange(request).await.map_err(|broken| broken.why)?;
        Ok((reply, connection))
    };
    within(timeout, exchange).await
}

async fn within<T>(
    timeout: Duration,
    exchange: impl Future<Output = Result<T, String>>,
) -> Result<T, Silence> {
    match tokio::time::timeout(timeout, exchange).await {
        Ok(result) => result.map_err(Silence::Failed),
        Err(_) => Err(Silence::Timeout),
    }
}

fn request(
    (method, address, path): To<'_>,
    headers: &HeaderMap,
    keep: bool,
) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let own = request.headers_mut();
    own.extend(headers.clone());
    own.insert(
        HOST,
        HeaderValue::try_from(address.to_string()).map_err(|error| error.to_string())?,
    );
    own.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("lockkeeper/", env!("CARGO_PKG_VERSION"))),
    );
    own.insert(ACCEPT, HeaderValue::from_static("application/json"));
    own.insert(CONNECTION, HeaderValue::from_static(if keep { "keep-alive" } else { "close" }));
    Ok(request)
}

/// An open connection to a pod; it closes when it is dropped.
pub struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    _driver: JoinSet<hyper::Result<()>>,
}

/// What went wrong with a request.
struct Broken {
    /// The pod had begun to answer.
    began: bool,
    why: String,
}

impl Connection {
    async fn open(channel: &Channel, address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        match channel {
            Channel::Plain => Self::on(stream).await,
            Channel::Tls(Tls { config, name, authorities: _ }) => {
                let name =
                    name.clone().unwrap_or_else(|| ServerName::IpAddress(address.ip().into()));
                let stream = TlsConnector::from(config.clone())
                    .connect(name, stream)
                    .await
                    .map_err(|error| why_no_tls(&error))?;
                Self::on(stream).await
            }
        }
    }

    async fn on(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, String> {
        let handshake =
            http1::Builder::new().max_buf_size(ANSWER_LIMIT).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| with_causes(&error))?;
        // Ends with this connection, whatever becomes of it.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { sender, _driver: driver })
    }

    /// Whether the pod has closed it, or announced that it will.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    async fn exchange(&mut self, request: Request<Empty<Bytes>>) -> Result<Reply, Broken> {
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(|error| Broken { began: false, why: with_causes(&error) })?;
        let status = response.status();
        match Limited::new(response.into_body(), ANSWER_LIMIT).collect().await {
            Ok(body) => Ok(Reply { status, body: body.to_bytes() }),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let why = format!("its answer is longer than {} KiB", ANSWER_LIMIT / 1024);
                Err(Broken { began: true, why })
            }
            Err(error) => {
                Err(Broken { began: true, why: format!("its answer breaks off: {error}") })
            }
        }
    }
}

/// Why there is no encryption, in words.
fn why_no_tls(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS there, which scheme: HTTPS wants (gates.app.scheme)".to_owned()
        }
        _ => format!("TLS: {error}"),
    }
}

/// Takes any certificate, even one that cannot be read: a signature by a key that nobody vouches
/// for proves nothing.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

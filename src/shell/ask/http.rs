//! One request to a pod: a connection of its own, no redirects, no proxies, and bounds on
//! everything that comes back.

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
#[derive(Clone)]
pub enum Channel {
    /// In the clear.
    Plain,
    /// Encrypted; the name that the certificate must be for, if not the address.
    Tls(Arc<ClientConfig>, Option<ServerName<'static>>),
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
        Ok(Self::Tls(Arc::new(config.with_no_client_auth()), None))
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
        Ok(Self::Tls(Arc::new(config), name))
    }
}

/// Makes one request, all of it within the timeout.
///
/// # Errors
/// When there is no answer.
pub async fn send(
    channel: &Channel,
    (method, address, path): (Method, SocketAddr, &str),
    headers: &HeaderMap,
    timeout: Duration,
) -> Result<Reply, Silence> {
    let exchange = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        match channel {
            Channel::Plain => exchange(stream, (method, address, path), headers).await,
            Channel::Tls(config, name) => {
                let name =
                    name.clone().unwrap_or_else(|| ServerName::IpAddress(address.ip().into()));
                let stream = TlsConnector::from(config.clone())
                    .connect(name, stream)
                    .await
                    .map_err(|error| why_no_tls(&error))?;
                exchange(stream, (method, address, path), headers).await
            }
        }
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(result) => result.map_err(Silence::Failed),
        Err(_) => Err(Silence::Timeout),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (method, address, path): (Method, SocketAddr, &str),
    headers: &HeaderMap,
) -> Result<Reply, String> {
    let handshake =
        http1::Builder::new().max_buf_size(ANSWER_LIMIT).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| with_causes(&error))?;
    // Ends with this request, whatever becomes of it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
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
    own.insert(CONNECTION, HeaderValue::from_static("close"));
    let response = sender.send_request(request).await.map_err(|error| with_causes(&error))?;
    let status = response.status();
    match Limited::new(response.into_body(), ANSWER_LIMIT).collect().await {
        Ok(body) => Ok(Reply { status, body: body.to_bytes() }),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(format!("its answer is longer than {} KiB", ANSWER_LIMIT / 1024))
        }
        Err(error) => Err(format!("its answer breaks off: {error}")),
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

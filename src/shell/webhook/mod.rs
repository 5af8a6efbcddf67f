//! Judges writes where the API server has no policies that can: each replica serves a mutating
//! admission webhook that applies the chart's own policies ([`core::judge`](crate::core::judge)).
//!
//! It acts on nothing. So each replica serves, whichever leads.

pub mod certificate;
mod review;
mod rights;
pub mod secrets;
mod serve;
pub mod setup;

use std::{net::SocketAddr, sync::Arc};

use kube::Client;
use tokio::{net::TcpListener, sync::watch};

pub use self::serve::{Judge, LARGEST};
use self::{
    secrets::{Secrets, Source},
    serve::Server,
};
use super::streams::Pending;
use crate::telemetry::metrics::Metrics;

/// What readiness waits for.
const WAITS_FOR: &str = "the certificate of the webhook";

/// A webhook that serves until the process ends.
pub struct Webhook {
    server: Arc<Server>,
    address: SocketAddr,
}

impl Webhook {
    /// Listens, and answers as soon as there is a certificate; until then, `unready` has it.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(
        address: SocketAddr,
        source: Source,
        judge: Judge,
        client: Client,
        (metrics, unready): (Arc<Metrics>, Pending),
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        unready.add(WAITS_FOR);
        let (told, mut proof) = watch::channel(None);
        let server = Arc::new(Server::new(judge, client.clone(), metrics));
        tokio::spawn(server.clone().listen(listener, proof.clone()));
        tokio::spawn(Secrets::new(client, source).follow(told));
        tokio::spawn(async move {
            if proof.wait_for(Option::is_some).await.is_ok() {
                unready.remove(WAITS_FOR);
            }
        });
        Ok(Self { server, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until no review is being judged, but not for long.
    pub async fn finish(&self) {
        self.server.finish().await;
    }
}

//! `/metrics`, `/livez`, `/readyz`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use super::metrics::Metrics;
use crate::shell::{clock, streams::Pending};

/// Seconds after which a main loop that has not come round counts as dead.
const STALLED_SECONDS: u64 = 60;

/// When the main loop last came round, by the monotonic clock: a change of the other clock must
/// neither have it killed nor hide that it hangs.
#[derive(Clone)]
pub struct Heartbeat {
    start: Instant,
    /// Seconds after the start.
    last: Arc<AtomicU64>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { start: clock::moment(), last: Arc::default() }
    }
}

impl Heartbeat {
    /// It came round.
    pub fn beat(&self) {
        self.last.store(self.seconds(), Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        self.seconds().saturating_sub(self.last.load(Ordering::Relaxed))
    }

    fn seconds(&self) -> u64 {
        clock::moment().saturating_duration_since(self.start).as_secs()
    }
}

#[derive(Clone)]
struct Facts {
    metrics: Arc<Metrics>,
    waits: [Pending; 2],
    heartbeat: Heartbeat,
}

/// Answers until the operator ends. It is ready when nothing is waited for.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    waits: [Pending; 2],
    heartbeat: Heartbeat,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    // In a pod the address is the pod's; kubectl port-forward comes by the loopback one. There may
    // be another process there.
    let loopback = if address.is_ipv4() {
        IpAddr::from(Ipv4Addr::LOCALHOST)
    } else {
        Ipv6Addr::LOCALHOST.into()
    };
    let beside = match address.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => None,
        _ => TcpListener::bind((loopback, address.port())).await.ok(),
    };
    let routes = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(Facts { metrics, waits, heartbeat });
    for listener in [Some(listener), beside].into_iter().flatten() {
        let routes = routes.clone();
        tokio::spawn(async move { axum::serve(listener, routes).await });
    }
    Ok(())
}

async fn show_metrics(
    State(facts): State<Facts>,
) -> Result<([(&'static str, &'static str); 1], String), StatusCode> {
    let text = facts.metrics.text().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

async fn live(State(facts): State<Facts>) -> (StatusCode, String) {
    match facts.heartbeat.age() {
        age if age > STALLED_SECONDS => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the main loop has not come round for {age} s\n"),
        ),
        _ => (StatusCode::OK, "ok\n".to_owned()),
    }
}

async fn ready(State(facts): State<Facts>) -> (StatusCode, String) {
    match facts.waits.iter().flat_map(Pending::list).collect::<Vec<_>>() {
        waits if waits.is_empty() => (StatusCode::OK, "ready\n".to_owned()),
        waits => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waits.join(", "))),
    }
}

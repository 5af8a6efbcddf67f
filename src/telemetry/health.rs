//! `/metrics`, `/livez`, `/readyz`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use super::metrics::Metrics;
use crate::shell::{clock, streams::Pending};

/// A main loop that has not come round for so many seconds is not alive.
const STALLED_SECONDS: i64 = 60;

/// When the main loop last came round.
#[derive(Clone)]
pub struct Heartbeat(Arc<AtomicI64>);

impl Default for Heartbeat {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(clock::now().as_second())))
    }
}

impl Heartbeat {
    /// It came round.
    pub fn beat(&self) {
        self.0.store(clock::now().as_second(), Ordering::Relaxed);
    }

    fn age(&self) -> i64 {
        clock::now().as_second() - self.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Facts {
    metrics: Arc<Metrics>,
    pending: Pending,
    heartbeat: Heartbeat,
}

/// Answers until the operator ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, pending: Pending, heartbeat: Heartbeat) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let routes = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(Facts { metrics, pending, heartbeat });
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(())
}

async fn show_metrics(State(facts): State<Facts>) -> Result<([(&'static str, &'static str); 1], String), StatusCode> {
    let text = facts.metrics.text().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

async fn live(State(facts): State<Facts>) -> (StatusCode, String) {
    match facts.heartbeat.age() {
        age if age > STALLED_SECONDS => (StatusCode::SERVICE_UNAVAILABLE, format!("the main loop has not come round for {age} s\n")),
        _ => (StatusCode::OK, "ok\n".to_owned()),
    }
}

async fn ready(State(facts): State<Facts>) -> (StatusCode, String) {
    match facts.pending.list() {
        waits if waits.is_empty() => (StatusCode::OK, "ready\n".to_owned()),
        waits => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waits.join(", "))),
    }
}

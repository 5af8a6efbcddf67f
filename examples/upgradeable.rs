//! An app that says when it may be upgraded, as docs/upgradeable.md shows it.

#![allow(clippy::disallowed_methods, reason = "this is no part of the operator")]

use std::{collections::HashMap, error::Error, sync::Arc, sync::Mutex, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, signal::unix, time::Instant, time::sleep};

#[derive(Default)]
struct Work {
    jobs: usize,
    rests_until: Option<Instant>,
    stopping: bool,
}
type Shared = Arc<Mutex<Work>>;

fn locked<T>(shared: &Shared, act: impl FnOnce(&mut Work) -> T) -> T {
    act(&mut shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

async fn upgradeable(State(shared): State<Shared>) -> Json<Value> {
    let jobs = locked(&shared, |work| work.jobs);
    Json(json!({"isUpgradeable": jobs == 0, "reason": format!("{jobs} jobs are running")}))
}

async fn prepare(State(shared): State<Shared>, headers: HeaderMap) -> StatusCode {
    let ttl = headers
        .get("Lockkeeper-Prepare-Ttl")
        .and_then(|ttl| ttl.to_str().ok()?.parse().ok())
        .unwrap_or(60);
    locked(&shared, |work| work.rests_until = Some(Instant::now() + Duration::from_secs(ttl)));
    StatusCode::NO_CONTENT
}

async fn withdraw(State(shared): State<Shared>) -> StatusCode {
    locked(&shared, |work| work.rests_until = None);
    StatusCode::NO_CONTENT
}

// The app's own work. Code that begins some asks first, under the same lock.
async fn begin(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, u64>>,
) -> StatusCode {
    let seconds = query.get("seconds").copied().unwrap_or(1);
    let takes_work = locked(&shared, |work| {
        let takes_work =
            !work.stopping && work.rests_until.is_none_or(|until| Instant::now() >= until);
        work.jobs += usize::from(takes_work);
        takes_work
    });
    if !takes_work {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    tokio::spawn(async move {
        sleep(Duration::from_secs(seconds)).await;
        locked(&shared, |work| work.jobs -= 1);
    });
    StatusCode::ACCEPTED
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shared = Shared::default();
    let app = Router::new()
        .route("/upgradeable", get(upgradeable))
        .route("/prepare-upgrade", post(prepare).delete(withdraw))
        .route("/jobs", post(begin))
        .with_state(shared.clone());
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    unix::signal(unix::SignalKind::terminate())?.recv().await;
    locked(&shared, |work| work.stopping = true);
    while locked(&shared, |work| work.jobs) > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    println!("stopped with 0 jobs");
    Ok(())
}

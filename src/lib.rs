//! Lockkeeper makes upgrades of ordinary Kubernetes workloads safe.
//!
//! ```text
//! API server ──▶ shell::streams ──▶ shell::index ──▶ core::arrange ──▶ shell::reconcile ──▶ shell::executor ──▶ API server
//!                (watches)          (the world)      (the decision)    (hands it over)      (one request an action)
//! ```
//!
//! Dependencies point one way: `api ← marks ← core ← workload ← shell ← main`. What Lockkeeper
//! decides is decided in [`core`], a synchronous function of what was observed; [`shell`] only
//! observes and carries out. `tests/architecture/` holds this.

pub mod api;
pub mod core;
pub mod marks;
pub mod settings;
pub mod shell;
pub mod telemetry;
pub mod workload;

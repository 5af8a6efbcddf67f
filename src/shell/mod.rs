//! All I/O. Thin: it observes, hands what it saw to the core, and carries out what the core
//! decides.

pub mod ask;
pub mod check;
pub mod clock;
pub mod definition;
pub mod digest;
pub mod errors;
pub mod executor;
pub mod index;
pub mod lease;
pub mod limits;
pub mod notify;
pub mod probe;
pub mod reconcile;
pub mod runtime;
pub mod streams;
pub mod uninstall;
pub mod views;
pub mod webhook;
pub mod write;

//! What a change waits for: gates, which are asked in order, and the next not before the one before
//! is open. The last one asks the pods.

pub mod app;
pub mod approval;
pub mod blocker;
pub mod change;
pub mod freeze;
pub mod gate;
pub mod order;
pub mod quiet;
pub mod steps;
pub mod talk;
pub mod volumes;
pub mod windows;
pub mod words;

pub use self::order::{ask, each, outside};

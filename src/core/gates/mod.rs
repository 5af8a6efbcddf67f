//! What a change waits for: gates, which are asked in order, and the next not before the one before
//! is open. The last two ask the pods, and take snapshots.
//!
//! Each gate is a value of [`gate::Gate`] in a file of its own, of which [`freeze`] is the shortest.
//! [`order`] asks them in the order of [`blocker::GateName`]; why one is closed is a
//! [`blocker::Blocker`], and [`words`] makes the sentences and commands of it. [`talk`] is what the
//! gate [`app`] has to say to pods.

pub mod app;
pub mod approval;
pub mod blocker;
pub mod change;
pub mod freeze;
pub mod gate;
pub mod order;
pub mod quiet;
pub mod snapshot;
pub mod steps;
pub mod talk;
pub mod volumes;
pub mod windows;
pub mod words;

pub use self::order::{ask, each, would_wait_for};

//! A model of what Lockkeeper stands on: an API server with versions, a watch log and admission,
//! and the controllers of Deployments and StatefulSets. All of it is pure: no I/O, no clock of its
//! own, no randomness. Tests compare it with the real ones.

pub mod admission;
pub mod controllers;
pub mod server;

//! The pure core: tables, stories and properties, all synchronous.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod app;
mod authors;
mod census;
mod clock;
mod gates;
mod governs;
mod holds;
mod lease;
mod observed;
mod others;
mod pitfalls;
mod progress;
mod properties;
mod references;
mod rest;
mod stories;
mod traps;
mod unread;
mod volumes;
mod volumes_lost;
mod volumes_sharing;
mod volumes_traps;
mod windows;
mod world;
mod writers;

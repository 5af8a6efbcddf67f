//! What the pages for users say is what the code does. What needs a cluster for that is in
//! `tests/cluster/docs.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod book;
mod explain;
mod links;
mod marks;
mod metrics;
#[allow(dead_code, reason = "shared with tests/cluster")]
mod pages;
mod reasons;
mod registry;
mod upgradeable;
mod versions;
mod words;

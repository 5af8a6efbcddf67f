//! The promises, tried one by one on a real control plane, against the operator as helm installs
//! it.
//!
//! Run them with `make test`: they need a cluster around them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::await_holding_lock,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod app;
mod approval;
mod chart;
mod config;
mod conformance;
mod conformance_storage;
mod convert;
mod docs;
mod enforced;
mod failover;
mod foreign;
mod held_config;
mod history;
mod hold;
mod hold_trouble;
mod maintenance;
mod node;
mod offline;
mod operations;
mod operator_down;
#[path = "../docs/pages.rs"]
#[allow(dead_code, reason = "shared with tests/docs")]
mod pages;
mod plugin_approve;
mod plugin_plan;
mod plugin_plan_yaml;
mod plugin_reading;
mod plugin_release;
mod plugin_undo;
mod prepare;
mod progress;
mod reach;
mod sleeping;
mod snapshots;
mod steps;
mod support;
mod surfaces;
mod trouble;
mod ungoverned;
mod volumes;
mod volumes_danger;
mod volumes_plugin;
mod volumes_support;
mod walk;
mod webhook;

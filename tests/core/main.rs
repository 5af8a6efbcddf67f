//! The pure core: tables, stories and properties, all synchronous.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod app;
mod app_silence;
mod attention;
mod authors;
mod census;
mod clock;
mod concerns;
mod config;
mod conflicting_writers;
mod election;
mod gates;
mod governs;
mod hold_missed;
mod holds;
mod index;
mod judge;
mod lease;
mod maintenance;
mod maintenance_stages;
mod observe_mode;
mod offline;
mod offline_snapshots;
mod old_pods;
mod progress;
mod properties;
mod references;
mod rest;
mod rollout_recreate;
mod room_for_holds;
mod snapshots;
mod steps;
mod unreadable;
mod volumes_converted;
mod volumes_converted_safely;
mod volumes_exclusive;
mod volumes_lost;
mod volumes_orphaned;
mod volumes_protection;
mod volumes_readopted;
mod volumes_sharing;
mod walk;
mod webhooks;
mod windows;
mod world;

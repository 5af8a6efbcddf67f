//! Lockkeeper on real nodes, in the image that its users get, installed as they install it. `make
//! node` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod alone;
mod promises;
mod reports;
mod support;

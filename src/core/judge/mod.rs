//! The chart's own admission policies as a second judge: a webhook applies them where the API
//! server cannot, before Kubernetes 1.36.

mod rights;
mod write;

pub use rights::{Right, Rights};
pub use write::{Judgement, Operation, Request, User};

//! Rollouts: how far one is, how many a workload may have, and how many the cluster may have at once.

pub mod limits;
pub mod outcome;
pub mod progress;
pub mod slots;

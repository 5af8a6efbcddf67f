//! Rollouts: how far one is, how many a workload may have, how many the cluster may have at once,
//! and in which order workloads and pods go.

pub mod follow;
pub mod lack;
pub mod limits;
pub mod outcome;
pub mod progress;
pub mod revisions;
pub mod slots;
pub mod steps;
pub mod turn;
pub mod verdict;
pub mod walk;
pub mod words;

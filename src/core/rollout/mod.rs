//! Rollouts: how far one is, how many a workload may have, how many the cluster may have at once,
//! and in which order workloads and pods go.
//!
//! [`revisions`] and [`progress`] are facts, [`outcome`] is what is written down of the last rollout.
//! [`verdict`] says where a workload stands, [`follow`] what became of its rollout. Workloads go in
//! the order of [`steps`]; the pods of a StatefulSet one by one by [`turn`] and [`walk`].

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

//! Config: what a template reads, what it was when the pods started, and whether they must start
//! again.

pub mod change;
pub mod desired;
pub mod find;
pub mod freshness;
pub mod pending;
pub mod record;
pub mod references;
pub mod roll;
pub mod together;
pub mod words;

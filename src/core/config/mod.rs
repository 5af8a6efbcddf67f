//! Config: what a template reads, what it was when the pods started, and whether they must start
//! again.
//!
//! [`references`] says what is read, [`desired`] what that is now, and [`record`] what the pods
//! started with. [`find`] compares them by [`change`] and [`freshness`], and [`roll`] says what a
//! difference waits for.

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

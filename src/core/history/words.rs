//! Sentences about a record.

use std::fmt;

use super::chain::Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str(
                "the annotation lockkeeper.dev/history is no record: somebody wrote over it",
            ),
            Self::OtherKey(name) => write!(
                f,
                "the record was made with another digest key, named {name:?}. Read the Secret of the operator that made it: --key-namespace"
            ),
            Self::Altered(n) => {
                write!(f, "entry {n} was altered, or the entry before it was cut out")
            }
            Self::Cut(before, after) => {
                write!(f, "entries were cut out between entry {before} and entry {after}")
            }
            Self::Ends => f.write_str("the oldest or the newest entries were cut out"),
            Self::Broken(n) => {
                write!(f, "the record had been altered or cut before the operator wrote entry {n}")
            }
        }
    }
}

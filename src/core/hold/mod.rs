//! Template changes that are held in admission: what waits, what lets it through, and the marks
//! that make it so.
//!
//! [`state`] reads what admission wrote of a hold, [`release`] says what is to become of it, and
//! [`marking`] writes the marks by which admission holds. [`missed`] finds changes that should have
//! been held. [`enforced`], [`judges`] and [`probe`] are about whether admission does its part,
//! [`unmark`] and [`uninstall`] about its end.

pub mod at_zero;
pub mod authors;
pub mod change;
pub mod enforced;
pub mod governance;
pub mod judges;
pub mod marking;
pub mod missed;
pub mod observed;
pub mod probe;
pub mod release;
pub mod state;
pub mod uninstall;
pub mod unjudged;
pub mod unmark;
pub mod volatile;
pub mod words;
pub mod writers;

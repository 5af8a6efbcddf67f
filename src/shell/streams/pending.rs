//! What the replica waits for before it is ready.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Which watches are not complete yet, by name; shared with the readiness probe.
#[derive(Clone, Default)]
pub struct Pending(watch::Sender<BTreeSet<String>>);

impl Pending {
    /// Waits for this.
    pub fn add(&self, what: impl Into<String>) {
        self.0.send_if_modified(|all| all.insert(what.into()));
    }

    /// Waits for it no longer.
    pub fn remove(&self, what: &str) {
        self.0.send_if_modified(|all| all.remove(what));
    }

    /// What is waited for.
    pub fn list(&self) -> Vec<String> {
        self.0.borrow().iter().cloned().collect()
    }

    /// Returns when nothing is waited for.
    pub async fn nothing(&self) {
        // It fails only when all senders are gone, of which this is one.
        let _ = self.0.subscribe().wait_for(BTreeSet::is_empty).await;
    }
}

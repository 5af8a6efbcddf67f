//! Where what happens is told. Everything that is told passes [`Notices::tell`]: another place to
//! tell it is another file here, and another line there.

mod kubernetes;
mod log;

use std::sync::Arc;

use kube::Client;
use tokio::task::JoinHandle;

use self::kubernetes::Events;
use crate::{core::notice::Notice, telemetry::metrics::Metrics};

/// Tells what happens, to all who are to know.
pub struct Notices {
    events: Events,
    writer: JoinHandle<()>,
}

impl Notices {
    /// Ready to tell. Events say that this replica wrote them: its pod's name.
    pub fn start(client: Client, metrics: Arc<Metrics>, replica: String) -> Self {
        let (events, writer) = Events::start(client, metrics, replica);
        Self { events, writer }
    }

    /// Tells what happened in a namespace; of an object of the cluster it is empty.
    pub fn tell(&self, namespace: &str, notice: Notice) {
        log::tell(namespace, &notice);
        self.events.tell(namespace, notice);
    }

    /// Tells what still waits, but not for long.
    pub async fn finish(self) {
        self.events.finish(self.writer).await;
    }
}

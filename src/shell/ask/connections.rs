//! Connections to pods that are kept between two requests, while a change of their workload waits.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::http::{Channel, Connection};
use crate::{
    core::{
        conversation::{Call, Errand, Visit},
        observed::Uid,
    },
    shell::{clock, limits},
};

/// A connection that was not used for this long is closed.
const IDLE: Duration = Duration::from_secs(120);
/// Pods that are asked less often have no connection kept.
const LONGEST_PERIOD: Duration = Duration::from_secs(60);
/// Between two looks for idle connections.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// The kept connections of each workload by the workload's uid. There is a place for
/// [so many](limits::kept_connections); the others are closed after each answer.
pub struct Connections {
    of_workloads: HashMap<Uid, Arc<Line>>,
    places: Arc<Semaphore>,
    tidied: Instant,
}

/// The kept connections to the pods of one workload. They close when the last task that uses the
/// line ends, if the line was taken from [`Connections`] in the meantime.
pub struct Line {
    of_pods: Mutex<HashMap<Uid, Kept>>,
    places: Arc<Semaphore>,
}

/// A connection, and whom it reaches.
struct Kept {
    peer: Peer,
    connection: Connection,
    used: Instant,
    _place: OwnedSemaphorePermit,
}

/// Whom a connection reaches. The same pod is another peer when it was started again, has another
/// address, or is verified in another way.
#[derive(Clone, PartialEq)]
pub struct Peer {
    pod: Uid,
    restarts: u32,
    address: SocketAddr,
    channel: Channel,
}

impl Peer {
    /// The one that a visit goes to.
    pub fn of(visit: &Visit, channel: &Channel) -> Self {
        let Visit { pod, name: _, restarts, address } = visit.clone();
        Self { pod, restarts, address, channel: channel.clone() }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            of_workloads: HashMap::new(),
            places: Arc::new(Semaphore::new(limits::kept_connections())),
            tidied: clock::moment(),
        }
    }
}

impl Connections {
    /// The line for a call. Only while pods are being asked about a change there is one.
    pub fn line(&mut self, call: &Call) -> Option<Arc<Line>> {
        if call.errand == Errand::Verify || call.gate.period.length() > LONGEST_PERIOD {
            return None;
        }
        if call.errand == Errand::Ask {
            let places = self.places.clone();
            let line = self.of_workloads.entry(call.uid.clone());
            let line = line.or_insert_with(|| Arc::new(Line { of_pods: Mutex::default(), places }));
            // Pods that are gone or are terminating are no longer asked.
            line.keep_only(&call.visits.iter().map(|visit| &visit.pod).collect());
        }
        self.of_workloads.get(&call.uid).cloned()
    }

    /// Closes the connections of a workload: nothing of it waits any longer.
    pub fn close(&mut self, workload: &Uid) {
        self.of_workloads.remove(workload);
    }

    /// Closes all connections.
    pub fn close_all(&mut self) {
        self.of_workloads.clear();
    }

    /// Closes what was not used for long, at most every 10 s.
    pub fn tidy(&mut self) {
        if self.tidied.elapsed() < TIDY_EVERY {
            return;
        }
        self.tidied = clock::moment();
        self.of_workloads.retain(|_, line| line.tidy() || Arc::strong_count(line) > 1);
    }
}

impl Line {
    /// Takes the connection to a peer out of the line, if there is one.
    pub fn take(&self, peer: &Peer) -> Option<Connection> {
        let kept = self.of_pods().remove(&peer.pod)?;
        let is_good = kept.peer == *peer && kept.used.elapsed() < IDLE;
        is_good.then_some(kept.connection)
    }

    /// Keeps a connection for the next request, if there is a place for it.
    pub fn put(&self, peer: Peer, connection: Connection) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let kept = Kept { peer, connection, used: clock::moment(), _place: place };
        self.of_pods().insert(kept.peer.pod.clone(), kept);
    }

    fn keep_only(&self, pods: &HashSet<&Uid>) {
        self.of_pods().retain(|pod, _| pods.contains(pod));
    }

    /// Closes what was not used for long; whether anything is left.
    fn tidy(&self) -> bool {
        let mut of_pods = self.of_pods();
        of_pods.retain(|_, kept| kept.used.elapsed() < IDLE);
        !of_pods.is_empty()
    }

    fn of_pods(&self) -> MutexGuard<'_, HashMap<Uid, Kept>> {
        self.of_pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

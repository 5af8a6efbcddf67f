//! The watches. Each runs in a task of its own with a backoff of its own, so that a kind that is
//! not served slows no other; all of them tell one channel what they saw.

mod object;
mod pending;
mod watch;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use kube::{Api, Client};
use tokio::{sync::mpsc, task::AbortHandle};

use self::watch::Watching;
pub use self::{
    object::{Object, Step, StreamId, lenient, object},
    pending::Pending,
    watches::{Place, WATCHES, Watch},
};
use super::index::{Effects, Index, Indexed};
use crate::{core::reach::Reach, telemetry::metrics::Metrics};

/// Something that a watch saw, of whichever kind.
pub struct Sighting {
    /// Which watch.
    pub stream: StreamId,
    /// Which one, of several that ran one after the other.
    serial: u64,
    /// What became of its list, if that is what it saw.
    pub list: Option<List>,
    take_in: Box<TakeIn>,
}

/// Shows the index what was seen, as the kind that it is.
type TakeIn = dyn FnOnce(&mut Index, Timestamp) -> Effects + Send;

/// What became of the list of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// It is complete, or there is none.
    Complete,
    /// It cannot be had.
    Unreadable,
}

impl Sighting {
    fn new<K: Indexed>(stream: StreamId, serial: u64, step: Step<K>) -> Self {
        let list = match &step {
            Step::Complete | Step::NotServed => Some(List::Complete),
            Step::Unreadable => Some(List::Unreadable),
            Step::Restarted | Step::Listed(_) | Step::Applied(_) | Step::Deleted(_) => None,
        };
        let namespace = stream.namespace().map(str::to_owned);
        let take_in = move |index: &mut Index, now| index.apply(namespace.as_deref(), step, now);
        Self { stream, serial, list, take_in: Box::new(take_in) }
    }

    /// Lets the index take it in.
    pub fn take_in(self, index: &mut Index, now: Timestamp) -> Effects {
        (self.take_in)(index, now)
    }
}

/// How far the list of a watch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing waits for it.
    NotAwaited,
    /// It is not complete yet.
    Awaited,
    /// It cannot be completed. Only its own namespace waits for it.
    Unreadable,
    /// It was complete once.
    Complete,
}

struct Running {
    serial: u64,
    place: Place,
    progress: Progress,
    task: AbortHandle,
}

/// The watches that run.
pub struct Streams {
    client: Client,
    seen: mpsc::Sender<Sighting>,
    metrics: Arc<Metrics>,
    pending: Pending,
    running: HashMap<StreamId, Running>,
    /// How many were started so far.
    started: u64,
    /// The namespaces of interest, whose pods and revisions are watched.
    followed: BTreeSet<String>,
    /// How many watches of a namespace have no list yet.
    unread: BTreeMap<String, usize>,
}

impl Streams {
    /// Starts the watches that are needed to reach so far. Pods and revisions are watched by
    /// namespace, where there are policies.
    pub fn start(
        client: Client,
        reach: &Reach,
        seen: mpsc::Sender<Sighting>,
        metrics: Arc<Metrics>,
        pending: Pending,
    ) -> Self {
        let mut streams = Self {
            client,
            seen,
            metrics,
            pending,
            running: HashMap::new(),
            started: 0,
            followed: BTreeSet::new(),
            unread: BTreeMap::new(),
        };
        for watch in WATCHES.iter().filter(|watch| watch.is_needed(reach)) {
            match watch.place {
                Place::Cluster => watch.start(&mut streams, None),
                Place::Reach | Place::Namespaces if reach.namespaces.is_empty() => {
                    watch.start(&mut streams, None)
                }
                Place::Reach | Place::Namespaces => reach
                    .namespaces
                    .iter()
                    .for_each(|namespace| watch.start(&mut streams, Some(namespace))),
                Place::Interest => {}
            }
        }
        streams
    }

    /// Watches, from now on, pods and revisions of exactly these namespaces; returns those no
    /// longer watched.
    pub fn follow(&mut self, namespaces: &BTreeSet<&str>) -> Vec<String> {
        let gone: Vec<_> = self
            .followed
            .iter()
            .filter(|known| !namespaces.contains(known.as_str()))
            .cloned()
            .collect();
        gone.iter().for_each(|namespace| self.end(namespace));
        for namespace in namespaces {
            if self.followed.insert((*namespace).to_owned()) {
                of_interest().for_each(|watch| watch.start(self, Some(namespace)));
            }
        }
        gone
    }

    /// Ends the watches of a namespace that is of no interest any longer.
    fn end(&mut self, namespace: &str) {
        self.followed.remove(namespace);
        let ended: Vec<_> = self
            .running
            .iter()
            .filter(|(stream, running)| {
                running.place == Place::Interest && stream.namespace() == Some(namespace)
            })
            .map(|(stream, _)| stream.clone())
            .collect();
        for stream in ended {
            self.completed(&stream);
            if let Some(running) = self.running.remove(&stream) {
                running.task.abort();
            }
        }
    }

    /// Notes what became of the list of a watch. Returns whether something waited for that.
    pub fn note(&mut self, stream: &StreamId, list: List) -> bool {
        match list {
            List::Complete => self.completed(stream),
            List::Unreadable => {
                self.unreadable(stream);
                true
            }
        }
    }

    /// A watch cannot have its list. Only its namespace still waits for it.
    fn unreadable(&mut self, stream: &StreamId) {
        self.pending.remove(&stream.to_string());
        if let Some(running) = self.running.get_mut(stream)
            && running.progress == Progress::Awaited
        {
            running.progress = Progress::Unreadable;
        }
    }

    /// A watch has its list. Returns whether it is the first time.
    fn completed(&mut self, stream: &StreamId) -> bool {
        let Some(running) = self.running.get_mut(stream) else { return false };
        match running.progress {
            Progress::NotAwaited | Progress::Complete => false,
            Progress::Awaited | Progress::Unreadable => {
                running.progress = Progress::Complete;
                self.pending.remove(&stream.to_string());
                if let Some(namespace) = stream.namespace() {
                    self.read(namespace);
                }
                true
            }
        }
    }

    /// Whether a sighting is of a watch that still runs. What one saw that was ended does not count
    /// for the next one of its name.
    pub fn counts(&self, sighting: &Sighting) -> bool {
        let running = self.running.get(&sighting.stream);
        running.is_some_and(|running| running.serial == sighting.serial)
    }

    /// Whether the watches that were started first have their lists.
    pub fn cluster_ready(&self) -> bool {
        self.running
            .values()
            .filter(|running| running.place != Place::Interest)
            .all(|running| running.progress != Progress::Awaited)
    }

    /// Whether the watches of a namespace, if there are any, have theirs.
    pub fn namespace_ready(&self, namespace: &str) -> bool {
        !self.unread.contains_key(namespace)
    }

    /// The namespaces whose watches do not all have their lists yet.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.unread.keys().map(String::as_str)
    }

    fn read(&mut self, namespace: &str) {
        if let Some(count) = self.unread.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.unread.remove(namespace);
            }
        }
    }

    fn spawn<K: Indexed>(&mut self, watch: &Watch, namespace: Option<&str>) {
        let stream = StreamId::of::<K>(namespace);
        if watch.awaited {
            self.pending.add(stream.to_string());
            if let Some(namespace) = namespace {
                *self.unread.entry(namespace.to_owned()).or_default() += 1;
            }
        }
        let api = match watch.path(namespace) {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        self.started += 1;
        let serial = self.started;
        let watching = Watching::<K> {
            api,
            config: watch.config(namespace),
            stream: stream.clone(),
            serial,
            seen: self.seen.clone(),
            metrics: self.metrics.clone(),
            awaited: watch.awaited,
        };
        let progress = if watch.awaited { Progress::Awaited } else { Progress::NotAwaited };
        let task = tokio::spawn(watching.run()).abort_handle();
        self.running.insert(stream, Running { serial, place: watch.place, progress, task });
    }
}

/// The watches that run where there are policies, or claims that are retained.
pub fn of_interest() -> impl Iterator<Item = &'static Watch> {
    WATCHES.iter().filter(|watch| watch.place == Place::Interest)
}

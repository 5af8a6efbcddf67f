//! The task of one watch.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::mpsc, time::sleep};

use super::{Sighting, Step, StreamId, object::lenient};
use crate::{
    shell::{
        clock,
        errors::with_causes,
        index::Indexed,
        views::{Wire, lenient::Lenient},
    },
    telemetry::metrics::Metrics,
};

/// A watch that keeps failing is logged this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// A watch that must be listed again is so after this.
const RELIST_PAUSE: Duration = Duration::from_millis(500);

/// One watch.
pub struct Watching<K: Indexed> {
    /// What is watched.
    pub api: Api<Lenient<Wire<K>>>,
    /// Which objects of it.
    pub config: watcher::Config,
    /// Its name.
    pub stream: StreamId,
    /// Its number: others of its name may have run before.
    pub serial: u64,
    /// Where it tells what it saw.
    pub seen: mpsc::Sender<Sighting>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether its list is waited for.
    pub awaited: bool,
}

type Events<K> = BoxStream<'static, watcher::Result<Event<Lenient<Wire<K>>>>>;

/// What a watch was told.
enum Told<K: Indexed> {
    Step(Step<K>),
    /// Something that it told is lost: only a new list tells what.
    Lost(&'static str, Option<watcher::Error>),
    /// It continues on its own.
    Failed(watcher::Error),
    Ended,
}

/// What stands of failures.
#[derive(Default)]
struct Failing {
    complained: Option<std::time::Instant>,
    /// Its namespace does not wait for it any longer.
    unreadable: bool,
}

impl<K: Indexed> Watching<K> {
    /// Watches until the receiver is gone.
    pub async fn run(self) {
        let mut events = self.open();
        let mut failing = Failing::default();
        loop {
            let step = match told(events.try_next().await, self.awaited) {
                Told::Step(step) => {
                    self.works(&mut failing, &step);
                    step
                }
                Told::Lost(why, error) => {
                    self.metrics.watch_failed(self.stream.plural());
                    let error = error.as_ref().map(|error| with_causes(error));
                    tracing::warn!(watch = %self.stream, error, "{why}; everything is listed again");
                    sleep(RELIST_PAUSE).await;
                    events = self.open();
                    continue;
                }
                Told::Failed(error) => match self.fails(&mut failing, &error) {
                    Some(step) => step,
                    None => continue,
                },
                Told::Ended => return,
            };
            let sighting = Sighting::new(self.stream.clone(), self.serial, step);
            if self.seen.send(sighting).await.is_err() {
                return;
            }
        }
    }

    fn open(&self) -> Events<K> {
        watcher(self.api.clone(), self.config.clone()).default_backoff().boxed()
    }

    fn works(&self, failing: &mut Failing, step: &Step<K>) {
        if matches!(step, Step::Complete) {
            failing.unreadable = false;
            if failing.complained.take().is_some() && self.awaited {
                tracing::info!(watch = %self.stream, "the watch works again");
            }
        }
    }

    /// A failure of a watch that is not awaited does not count. Returns what to tell of others.
    fn fails(&self, failing: &mut Failing, error: &watcher::Error) -> Option<Step<K>> {
        if !self.awaited {
            return None;
        }
        self.metrics.watch_failed(self.stream.plural());
        let now = clock::moment();
        if failing.complained.is_none_or(|last| now.duration_since(last) > COMPLAIN_EVERY) {
            failing.complained = Some(now);
            tracing::warn!(watch = %self.stream, error = %with_causes(error), "the watch failed; it is tried again until it works");
        }
        let news = self.stream.namespace().is_some()
            && is_forbidden(error)
            && !std::mem::replace(&mut failing.unreadable, true);
        news.then_some(Step::Unreadable)
    }
}

fn told<K: Indexed>(
    result: watcher::Result<Option<Event<Lenient<Wire<K>>>>>,
    awaited: bool,
) -> Told<K> {
    match result {
        Ok(None) => Told::Ended,
        Ok(Some(event)) => step(event).map_or(
            Told::Lost(
                "the watch told of an object without a name, uid or version that can be read",
                None,
            ),
            Told::Step,
        ),
        // Its text may be that of a Secret.
        Err(watcher::Error::WatchFailed(kube::Error::SerdeError(_))) => {
            Told::Lost("the watch told something that is no JSON", None)
        }
        Err(watcher::Error::InitialListFailed(kube::Error::Api(status)))
            if awaited && status.code == 404 =>
        {
            Told::Step(Step::NotServed)
        }
        // It was served before: only a new list tells whether it still is.
        Err(error) if awaited && is_gone(&error) => {
            Told::Lost("the watch is no longer served", Some(error))
        }
        Err(error) => Told::Failed(error),
    }
}

/// Whether the API server does not know the resource of a watch that had its list.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 403)
}

/// What a watch saw; none if its object cannot be identified.
fn step<K: Indexed>(event: Event<Lenient<Wire<K>>>) -> Option<Step<K>> {
    Some(match event {
        Event::Init => Step::Restarted,
        Event::InitApply(read) => Step::Listed(lenient(read)?),
        Event::InitDone => Step::Complete,
        Event::Apply(read) => Step::Applied(lenient(read)?),
        Event::Delete(read) => Step::Deleted(lenient(read)?),
    })
}

//! Events, as `kubectl describe` shows them.
//!
//! They are written by our own hand: kube's recorder takes two events that differ only in their
//! text for one, for six minutes.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as KubeEvent},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use rand::RngExt;
use tokio::sync::mpsc;

use crate::{
    api::WorkloadKind,
    core::{
        notice::{Notice, Regarding, StorageObject},
        plain,
    },
    shell::{clock, errors::within},
    telemetry::metrics::Metrics,
};

/// Events that wait to be written; more are dropped and counted.
const QUEUE: usize = 1024;
/// The API's limit for a note, in bytes.
const NOTE_LIMIT: usize = 1024;
/// How long the queue is emptied when the operator stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Takes events and writes them in its own time.
pub struct Events {
    queue: mpsc::Sender<(String, Notice, Timestamp)>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// Starts the writer. Events say that this replica wrote them: its pod's name.
    pub fn start(
        client: Client,
        metrics: Arc<Metrics>,
        replica: String,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, mut waiting) = mpsc::channel::<(String, Notice, Timestamp)>(QUEUE);
        let lost = metrics.clone();
        let task = tokio::spawn(async move {
            while let Some((namespace, notice, time)) = waiting.recv().await {
                for regarding in regarding(&namespace, &notice) {
                    // What is about an object of the cluster goes where kubectl looks for it.
                    let place = regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
                    let events: Api<KubeEvent> = Api::namespaced(client.clone(), &place);
                    if let Err(error) = within(events.create(
                        &PostParams::default(),
                        &event(&place, &notice, regarding, (time, &replica)),
                    ))
                    .await
                    {
                        lost.event_lost();
                        tracing::debug!(%namespace, error = %error.sentence(), "an event could not be written");
                    }
                }
            }
        });
        (Self { queue, metrics }, task)
    }

    /// Writes an event, on the workload and on its policy.
    pub fn tell(&self, namespace: &str, notice: Notice) {
        if self.queue.try_send((namespace.to_owned(), notice, clock::now())).is_err() {
            self.metrics.event_lost();
        }
    }

    /// Writes what still waits, but not for long.
    pub async fn finish(self, task: tokio::task::JoinHandle<()>) {
        drop(self.queue);
        let _ = tokio::time::timeout(LAST_WORDS, task).await;
    }
}

fn regarding(namespace: &str, notice: &Notice) -> Vec<ObjectReference> {
    let reference = |api: &str, kind: String, name: &str, uid: &str| ObjectReference {
        api_version: Some(api.to_owned()),
        kind: Some(kind),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    };
    let (uid, of_cluster) = (&*notice.uid, |mut reference: ObjectReference| {
        reference.namespace = None;
        reference
    });
    let regarding = match &notice.regarding {
        Regarding::Workload(id) => {
            reference(WorkloadKind::API_VERSION, id.kind.to_string(), &id.name, uid)
        }
        Regarding::Storage(StorageObject::Claim(name)) => {
            reference("v1", "PersistentVolumeClaim".to_owned(), name, uid)
        }
        Regarding::Storage(StorageObject::Volume(name)) => {
            of_cluster(reference("v1", "PersistentVolume".to_owned(), name, uid))
        }
        Regarding::Storage(StorageObject::Namespace(name)) => {
            of_cluster(reference("v1", "Namespace".to_owned(), name, uid))
        }
        Regarding::Object { api_version, kind, name } => {
            let regarding = reference(api_version, (*kind).to_owned(), name, uid);
            if namespace.is_empty() { of_cluster(regarding) } else { regarding }
        }
    };
    let policy = notice.policy.iter().map(|(name, uid)| {
        reference("lockkeeper.dev/v1alpha1", "UpgradePolicy".to_owned(), name, uid)
    });
    std::iter::once(regarding).chain(policy).collect()
}

fn event(
    namespace: &str,
    notice: &Notice,
    regarding: ObjectReference,
    (time, replica): (Timestamp, &str),
) -> KubeEvent {
    let on_policy = regarding.kind.as_deref() == Some("UpgradePolicy");
    let message = plain(&notice.message);
    let mut note =
        if on_policy { format!("{}: {message}", notice.regarding) } else { message.into_owned() };
    if note.len() > NOTE_LIMIT {
        let end =
            (0..=NOTE_LIMIT - 4).rev().find(|&end| note.is_char_boundary(end)).unwrap_or_default();
        note.truncate(end);
        note.push('…');
    }
    let mut event = KubeEvent {
        action: Some(notice.event.reason().to_owned()),
        event_time: Some(MicroTime(time)),
        note: Some(note),
        reason: Some(notice.event.reason().to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some("lockkeeper.dev/operator".to_owned()),
        reporting_instance: Some(replica.to_owned()),
        type_: Some(if notice.event.is_warning() { "Warning" } else { "Normal" }.to_owned()),
        ..KubeEvent::default()
    };
    event.metadata.namespace = Some(namespace.to_owned());
    event.metadata.name = Some(format!("lockkeeper.{:016x}", rand::rng().random::<u64>()));
    event
}

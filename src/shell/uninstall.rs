//! Takes Lockkeeper off the workloads of a cluster before it is uninstalled.
//!
//! It runs under the operator's own account, for admission lets nobody else take a hold off; so it
//! can do nothing to a workload that the operator could not. It stops the operator and becomes its
//! successor by the Lease, so that nothing restores what it removes.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    clock,
    errors::{Class, Error, within},
    lease::{self, Leadership, Term},
    runtime::{self, LEASE, StartError, client, stop_signal},
    streams::Pending,
    webhook::{
        Webhook,
        secrets::{AUTHORITY_SECRET, LEAF_SECRET},
    },
};
use crate::{
    api::{WorkloadKind, marks},
    core::{
        hold::uninstall::{Governed, Held, HeldWorkloads, in_maintenance, in_the_way},
        lease::Timing,
    },
    marks::labels,
    settings::UninstallSettings,
    telemetry::metrics::Metrics,
};

/// The operator's Deployment.
const OPERATOR: &str = "lockkeeper";
/// Requests at once.
const AT_ONCE: usize = 8;
/// Between two rounds over what is left.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Objects in a page of a list.
const PAGE_SIZE: u32 = 100;
/// How often starting the operator again is tried.
const TRIES: usize = 5;
/// Maximum number of workloads that are named.
const NAMED: usize = 20;

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// There is no cluster to talk to.
    #[error(transparent)]
    NoCluster(#[from] StartError),
    /// Something is held, and is not to be let through.
    #[error(
        "not uninstalled, because these changes are held: {}. Release each (kubectl lockkeeper approve, or bypass) or revert it (kubectl lockkeeper undo), and uninstall again. To release all of them: kubectl annotate deployment/{OPERATOR} -n {namespace} {mark}=Release, and uninstall again. Until then Lockkeeper continues as before",
        names(held),
        mark = marks::UNINSTALL
    )]
    Refused {
        /// The changes.
        held: Vec<Held>,
        /// Where the operator is.
        namespace: String,
    },
    /// Workloads are stopped for maintenance.
    #[error(
        "not uninstalled, because these workloads are in maintenance: {0}. End it for each (kubectl lockkeeper maintenance end), wait until it is in service, and uninstall again. Until then Lockkeeper continues as before"
    )]
    InMaintenance(String),
    /// The annotation on the Deployment cannot be read.
    #[error("not uninstalled: annotation {mark} of deployment/{OPERATOR} says {0:?}; write Refuse or Release", mark = marks::UNINSTALL)]
    Annotation(String),
    /// A request failed that nothing can be done without.
    #[error(
        "not uninstalled: cannot {what}: {why}. Without this step: helm uninstall --no-hooks, which leaves held workloads frozen"
    )]
    Failed {
        /// What for.
        what: String,
        /// What the API server answered.
        why: String,
    },
    /// Besides, the operator could not be started again.
    #[error(
        "{why}. But the operator is stopped still ({started}): kubectl scale deployment/{OPERATOR} -n {namespace} --replicas={replicas}"
    )]
    Stopped {
        /// Why nothing is uninstalled.
        why: String,
        /// Why it could not be started.
        started: String,
        /// Where it is.
        namespace: String,
        /// How many it had.
        replicas: i32,
    },
    /// SIGTERM or SIGINT: its pod is deleted, or its node drained.
    #[error(
        "not uninstalled: told to stop before every workload was released. Lockkeeper continues as before; uninstall again"
    )]
    ToldToStop,
    /// It took too long.
    #[error(
        "not uninstalled: after {seconds} s {waiting}. Lockkeeper goes on as before. Without this step: helm uninstall --no-hooks, which leaves \
         held workloads frozen"
    )]
    Late {
        /// How long.
        seconds: u64,
        /// What it was waiting for.
        waiting: String,
    },
}

fn names(held: &[Held]) -> String {
    some_of(&held.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn some_of(all: &[String]) -> String {
    let named: Vec<_> = all.iter().take(NAMED).cloned().collect();
    match all.len() - named.len() {
        0 => named.join(", "),
        more => format!("{}, and {more} more", named.join(", ")),
    }
}

/// Does it; what was done.
///
/// # Errors
/// When it cannot be done, or must not.
pub async fn run(settings: UninstallSettings) -> Result<String, UninstallError> {
    let client = client().await?;
    let mut stop = stop_signal().map_err(StartError::from)?;
    let deadline = Instant::from_std(clock::moment()) + Duration::from_secs(settings.timeout);
    let uninstall = Uninstall { deadline, client, settings }.heeding_the_annotation().await?;
    uninstall.check(&uninstall.governed().await?)?;
    let replicas = uninstall.scale(0).await?;
    let done = tokio::select! {
        done = uninstall.let_all_go() => done,
        _ = stop.wait_for(|told| *told) => Err(UninstallError::ToldToStop),
    };
    if let (Err(_), Some(replicas)) = (&done, replicas) {
        let mut started = uninstall.scale(replicas).await;
        for _ in 1..TRIES {
            if started.is_ok() {
                break;
            }
            sleep(LOOK_EVERY).await;
            started = uninstall.scale(replicas).await;
        }
        if let (Err(why), Err(started)) = (&done, started) {
            let namespace = uninstall.settings.release.operator_namespace;
            return Err(UninstallError::Stopped {
                why: why.to_string(),
                started: started.to_string(),
                namespace,
                replicas,
            });
        }
    }
    done
}

struct Uninstall {
    client: Client,
    settings: UninstallSettings,
    deadline: Instant,
}

impl Uninstall {
    /// An annotation on the Deployment may say what becomes of held changes.
    async fn heeding_the_annotation(mut self) -> Result<Self, UninstallError> {
        let found = match within(self.operator().get(OPERATOR)).await {
            Err(error) if error.class() == Class::Gone => None,
            other => {
                other
                    .map_err(|error| failed("read the operator's Deployment", &error))?
                    .metadata
                    .annotations
            }
        };
        if let Some(said) = labels::uninstall(found.as_ref()) {
            self.settings.held = HeldWorkloads::parse(said)
                .map_err(|_| UninstallError::Annotation(said.to_owned()))?;
        }
        Ok(self)
    }

    fn operator(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.settings.release.operator_namespace)
    }

    fn check(&self, all: &[Governed]) -> Result<(), UninstallError> {
        let maintained = in_maintenance(all);
        if !maintained.is_empty() {
            return Err(UninstallError::InMaintenance(some_of(&maintained)));
        }
        match in_the_way(all, self.settings.held) {
            held if held.is_empty() => Ok(()),
            held => Err(UninstallError::Refused {
                held,
                namespace: self.settings.release.operator_namespace.clone(),
            }),
        }
    }

    fn late(&self, waiting: String) -> UninstallError {
        UninstallError::Late { seconds: self.settings.timeout, waiting }
    }

    /// Scales the operator; returns how many replicas it had. None without a Deployment.
    async fn scale(&self, replicas: i32) -> Result<Option<i32>, UninstallError> {
        let deployments = self.operator();
        let failed = |error: &Error| {
            failed(
                &format!(
                    "scale deployment {}/{OPERATOR}",
                    self.settings.release.operator_namespace
                ),
                error,
            )
        };
        let before = match within(deployments.get_scale(OPERATOR)).await {
            Err(error) if error.class() == Class::Gone => return Ok(None),
            other => other.map_err(|error| failed(&error))?.spec.and_then(|spec| spec.replicas),
        };
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        within(deployments.patch_scale(OPERATOR, &parameters(), &patch))
            .await
            .map_err(|error| failed(&error))?;
        Ok(before)
    }

    /// Once no operator acts, removes every mark that acts.
    async fn let_all_go(&self) -> Result<String, UninstallError> {
        let (told, mut term) = watch::channel(Term::default());
        let (let_go, stop) = watch::channel(false);
        let leadership = Leadership {
            client: self.client.clone(),
            namespace: self.settings.release.operator_namespace.clone(),
            name: LEASE,
            identity: lease::identity("uninstall", ""),
            timing: Timing::default(),
        };
        let leading = tokio::spawn(leadership.lead(told, stop));
        let leads = async { term.wait_for(|term| term.may_act(clock::moment())).await.is_ok() };
        let webhook = self.serve().await;
        let done = match tokio::time::timeout_at(self.deadline, leads).await {
            Ok(true) => match webhook {
                Ok(webhook) => self.all_gone(&term, webhook.as_ref()).await,
                Err(error) => Err(error.into()),
            },
            _ => Err(self.late("a replica of the operator still holds its Lease".to_owned())),
        };
        let _ = let_go.send(true);
        let _ = leading.await;
        done
    }

    /// Serves the webhook, in place of the replicas that are gone: without it nothing could be
    /// written on workloads that it judges. Another process may have its address for a moment.
    async fn serve(&self) -> Result<Option<Webhook>, StartError> {
        let (settings, release) = (&self.settings.webhook, self.settings.release.release());
        loop {
            let served = (Arc::new(Metrics::default()), Pending::default());
            match runtime::webhook(settings, &release, &self.client, served).await {
                Err(_) if Instant::from_std(clock::moment()) < self.deadline => {
                    sleep(LOOK_EVERY).await;
                }
                served => return served,
            }
        }
    }

    /// Leaves every workload, and removes what Helm does not.
    async fn all_gone(
        &self,
        term: &watch::Receiver<Term>,
        webhook: Option<&Webhook>,
    ) -> Result<String, UninstallError> {
        let mut said = self.rounds(term).await?;
        if webhook.is_none() || self.settings.webhook.webhook_names.0.is_empty() {
            return Ok(said);
        }
        let namespace = &self.settings.release.operator_namespace;
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        for name in [LEAF_SECRET, AUTHORITY_SECRET] {
            match within(secrets.delete(name, &DeleteParams::default())).await {
                Err(error) if error.class() != Class::Gone => {
                    let why = error.sentence();
                    said.push_str(&format!("; Secret {namespace}/{name} is left: {why}"));
                }
                _ => {}
            }
        }
        Ok(said)
    }

    async fn rounds(&self, term: &watch::Receiver<Term>) -> Result<String, UninstallError> {
        let (mut count, mut released) = (0, Vec::new());
        let mut waiting = "the API server has not answered for all workloads".to_owned();
        loop {
            let all = self.governed().await?;
            // Changed since the first look, perhaps.
            self.check(&all)?;
            if all.is_empty() {
                let through = match released.as_slice() {
                    [] => "nothing was held".to_owned(),
                    some => format!("held changes that roll out now: {}", names(some)),
                };
                return Ok(format!("Lockkeeper has left {count} workloads; {through}"));
            }
            let mut going = stream::iter(&all)
                .map(|one| async move { (one, self.let_go(one, term).await) })
                .buffer_unordered(AT_ONCE);
            let mut left = false;
            while let Some((one, result)) = tokio::time::timeout_at(self.deadline, going.next())
                .await
                .map_err(|_| self.late(waiting.clone()))?
            {
                match result {
                    Ok(()) => {
                        count += 1;
                        released.extend(one.held());
                    }
                    Err(why) => {
                        left = true;
                        waiting = format!(
                            "{} in namespace {} still carries our marks: {why}",
                            one.name(),
                            one.namespace()
                        );
                    }
                }
            }
            if !left {
                waiting = "workloads keep appearing that carry our label".to_owned();
            }
            if Instant::from_std(clock::moment()) >= self.deadline {
                return Err(self.late(waiting));
            }
            if left {
                sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn let_go(&self, one: &Governed, term: &watch::Receiver<Term>) -> Result<(), String> {
        if !term.borrow().may_act(clock::moment()) {
            return Err(Error::NotLeading.sentence());
        }
        let patch: json_patch::Patch = serde_json::from_value(one.let_go()).unwrap_or_default();
        let api = Api::<DynamicObject>::namespaced_with(
            self.client.clone(),
            one.namespace(),
            &one.kind.resource(),
        );
        match within(api.patch(one.name(), &parameters(), &Patch::<()>::Json(patch))).await {
            Err(error) if error.class() == Class::Gone => Ok(()),
            Err(error) => Err(error.sentence()),
            Ok(written) if labels::governed(written.metadata.labels.as_ref()).stands() => {
                Err("admission puts them back, for this is not the operator's account; run it under that, as the chart does".to_owned())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Every workload that carries our label, and is not being deleted.
    async fn governed(&self) -> Result<Vec<Governed>, UninstallError> {
        let mut all = Vec::new();
        let everywhere = [String::new()];
        let namespaces = if self.settings.watch_namespaces.is_empty() {
            &everywhere[..]
        } else {
            &self.settings.watch_namespaces
        };
        for &kind in WorkloadKind::ALL {
            for namespace in namespaces {
                let resource = kind.resource();
                let api: Api<DynamicObject> = match namespace.as_str() {
                    "" => Api::all_with(self.client.clone(), &resource),
                    one => Api::namespaced_with(self.client.clone(), one, &resource),
                };
                let mut page = ListParams::default().labels(marks::GOVERNED).limit(PAGE_SIZE);
                loop {
                    let list = within(api.list(&page))
                        .await
                        .map_err(|error| failed(&format!("list {}", resource.plural), &error))?;
                    let staying = list
                        .items
                        .into_iter()
                        .filter(|one| one.metadata.deletion_timestamp.is_none());
                    all.extend(staying.map(|mut one| {
                        one.metadata.managed_fields = None;
                        Governed { kind, object: json!(one) }
                    }));
                    match list.metadata.continue_.filter(|next| !next.is_empty()) {
                        Some(next) => page = page.continue_token(&next),
                        None => break,
                    }
                }
            }
        }
        Ok(all)
    }
}

fn failed(what: &str, error: &Error) -> UninstallError {
    UninstallError::Failed { what: what.to_owned(), why: error.sentence() }
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

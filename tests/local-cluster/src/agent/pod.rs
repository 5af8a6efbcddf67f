//! The life of one pod.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    RETRY, Shared, environment,
    run::{Run, exit_code},
    status::{ContainerState, Sandbox, State, report},
    volumes::{self, Wait},
};

mod containers;

/// Keeps every container of the pod from becoming ready.
const NEVER_READY: &str = "lockkeeper.dev/test-ready";

/// Lets every container of the pod crash again and again.
const CRASH: &str = "lockkeeper.dev/test-crash";

/// How long (8s, 500ms) containers of images that are not known take to end. Without it they end at
/// once.
const END_AFTER: &str = "lockkeeper.dev/test-end-after";

/// Each new value is a reboot of the pod's node, as the pod sees it: its containers are gone, and
/// it gets another sandbox and address.
const REBOOT: &str = "lockkeeper.dev/test-reboot";

/// The kubelet evicts the pod: its containers end, and the pod stays in the API.
const EVICT: &str = "lockkeeper.dev/test-evict";

/// No container has such a name.
const EMPTY: &str = ".empty";

/// How long a pod whose containers have ended stays in the API before it is gone.
const STAYS_ENDED: Duration = Duration::from_millis(500);

struct Life {
    shared: Arc<Shared>,
    told: watch::Receiver<Option<Pod>>,
    pod: Pod,
    /// None before its sandbox stands.
    address: Option<String>,
    folder: PathBuf,
    /// What its containers find as their file systems. A pod of the same name may come while this
    /// one is going.
    root: PathBuf,
    /// The folders that its containers share, by the names of its volumes: those of its claims, and
    /// empty ones.
    folders: BTreeMap<String, PathBuf>,
    began: Timestamp,
    states: Vec<ContainerState>,
    runs: Vec<Run>,
    /// The value of the last reboot.
    boot: Option<String>,
    /// No container is started or restarted from now on.
    ending: bool,
    /// All containers have ended for good.
    ended: bool,
}

/// Why a pod is not tended any longer.
enum Over {
    /// Its node rebooted: all of it starts again.
    Rebooted,
    /// It is to end, or has ended.
    Ends,
}

/// Makes a pod real until it is deleted or done.
pub async fn run(shared: Arc<Shared>, told: watch::Receiver<Option<Pod>>) {
    let Some(pod) = told.borrow().clone() else { return };
    let meta = &pod.metadata;
    let folder = shared
        .options
        .folder
        .join(meta.namespace.as_deref().unwrap_or_default())
        .join(meta.name.as_deref().unwrap_or_default());
    let root = folder.join(format!("root-{}", meta.uid.as_deref().unwrap_or_default()));
    let (began, folders, states, runs) =
        (Timestamp::now(), BTreeMap::new(), Vec::new(), Vec::new());
    let mut life = Life {
        shared,
        told,
        address: None,
        folder,
        root,
        folders,
        began,
        states,
        runs,
        boot: None,
        ending: false,
        ended: false,
        pod,
    };
    life.boot = life.annotation(REBOOT);
    life.plan();
    life.live().await;
}

impl Life {
    fn plan(&mut self) {
        let Some(spec) = &self.pod.spec else { return };
        let init = spec.init_containers.iter().flatten().map(|container| (true, container));
        for (init, container) in
            init.chain(spec.containers.iter().map(|container| (false, container)))
        {
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            self.states.push(ContainerState {
                name: container.name.clone(),
                image: container.image.clone().unwrap_or_default(),
                init,
                stays: !init || sidecar,
                state: State::Waiting(
                    if init { "PodInitializing" } else { "ContainerCreating" },
                    String::new(),
                ),
                last: None,
                starts: 0,
                begun: false,
                ready: false,
            });
            self.runs.push(Run::new(container.clone()));
        }
    }

    async fn live(&mut self) {
        // The kubelet has seen it. It has no address yet.
        self.report().await;
        while let Some(Over::Rebooted) = self.live_in_a_sandbox().await {
            self.lose_sandbox().await;
        }
        self.end().await;
    }

    /// Until its sandbox is lost, or the pod ends.
    async fn live_in_a_sandbox(&mut self) -> Option<Over> {
        if !self.wait_for_volumes().await {
            return None;
        }
        self.address = Some(self.shared.new_address().to_string());
        for index in 0..self.runs.len() {
            if !self.bring_up(index).await {
                return None;
            }
        }
        self.report().await;
        loop {
            if let Some(over) = self.tend().await {
                return Some(over);
            }
        }
    }

    /// What a reboot of the node does: nobody knows how the containers ended.
    async fn lose_sandbox(&mut self) {
        self.boot = self.annotation(REBOOT);
        self.address = None;
        for (run, state) in self.runs.iter_mut().zip(&mut self.states) {
            run.kill().await;
            *run = Run::new(run.container.clone());
            state.lost();
        }
        self.report().await;
    }

    async fn report(&mut self) -> bool {
        if let Some(pod) = self.told.borrow().clone() {
            self.pod = pod;
        }
        if self.node_is_lost() {
            return true;
        }
        let sandbox =
            Sandbox { address: self.address.as_deref(), began: self.began, ended: self.ended };
        report(&self.shared.client, &self.pod, &sandbox, &self.states).await
    }

    fn node_is_lost(&self) -> bool {
        self.shared.is_lost(
            self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default(),
        )
    }

    fn leaving(&self) -> bool {
        leaving(&self.told)
    }

    /// Waits for a while; false if the pod is to end.
    async fn pause(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            if self.leaving() {
                return false;
            }
            tokio::select! {
                () = sleep_until(until) => return !self.leaving(),
                changed = self.told.changed() => if changed.is_err() { return false },
            }
        }
    }

    async fn wait_for_volumes(&mut self) -> bool {
        let mut said = None;
        loop {
            let missing = match environment::volumes(&self.shared, &self.pod).await {
                Ok(_) => match volumes::mount(&self.shared, &self.pod).await {
                    Ok(folders) => {
                        self.folders = folders;
                        self.share_empty_folders();
                        return !self.leaving();
                    }
                    Err(wait) => wait,
                },
                Err(missing) => Wait::Others(format!("MountVolume.SetUp failed: {missing}")),
            };
            if said.as_ref() != Some(&missing) {
                for state in &mut self.states {
                    state.wait("ContainerCreating", missing.to_string());
                }
                self.report().await;
                if let Wait::Failed(note) = &missing {
                    volumes::tell(&self.shared, &self.pod, note).await;
                }
                said = Some(missing);
            }
            if !self.pause(RETRY).await {
                return false;
            }
        }
    }

    fn share_empty_folders(&mut self) {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes.filter(|volume| volume.empty_dir.is_some()) {
            let folder = self.root.join(EMPTY).join(&volume.name);
            self.folders.insert(volume.name.clone(), folder);
        }
    }

    /// As it is now: tests put it on pods that run, and take it off.
    fn annotation(&self, key: &str) -> Option<String> {
        let told = self.told.borrow();
        told.as_ref().unwrap_or(&self.pod).metadata.annotations.as_ref()?.get(key).cloned()
    }

    /// Waits for the next thing that happens, and sees to it.
    async fn tend(&mut self) -> Option<Over> {
        let done = |(run, state): (&Run, &ContainerState)| {
            matches!(state.state, State::Terminated(_)) && run.restart.is_none()
        };
        if self.leaving()
            || self.annotation(EVICT).is_some()
            || self.runs.iter().zip(&self.states).all(done)
        {
            return Some(Over::Ends);
        }
        if self.annotation(REBOOT) != self.boot {
            return Some(Over::Rebooted);
        }
        self.happen(None).await
    }

    /// One thing: the pod changes, a container ends, or something is due; until `end` at the
    /// latest.
    async fn happen(&mut self, end: Option<Instant>) -> Option<Over> {
        let due = self.runs.iter().filter_map(|run| run.due).chain(end).min();
        let waits = self.runs.iter_mut().enumerate().map(|(index, run)| {
            Box::pin(async move {
                match &mut run.process {
                    Some(process) => (index, process.wait().await.map_or(1, exit_code)),
                    None => std::future::pending().await,
                }
            })
        });
        let exited = tokio::select! {
            changed = self.told.changed() => return if changed.is_ok() { None } else { Some(Over::Ends) },
            (exited, ..) = futures::future::select_all(waits) => Some(exited),
            () = async { match due { Some(due) => sleep_until(due).await, None => std::future::pending().await } } => None,
        };
        if let Some((index, code)) = exited {
            self.exited(index, code);
            self.report().await;
            return None;
        }
        let now = Instant::now();
        let mut changed = false;
        for index in 0..self.runs.len() {
            if self.runs[index].due.is_some_and(|due| due <= now) {
                changed |= self.see_to(index).await;
            }
        }
        if changed {
            self.report().await;
        }
        None
    }

    /// SIGTERM to all at once, SIGKILL at the end of the grace period. What still runs is probed
    /// and reported as before. False if the pod is deleted by force in between.
    async fn wind_down(&mut self) -> bool {
        self.ending = true;
        let begun = Instant::now();
        // What is deleted by force is killed, before it can do anything about it.
        let by_force = self.grace().is_none();
        for run in &mut self.runs {
            if !by_force {
                run.signal();
            }
            if run.restart.take().is_some() || run.process.is_none() {
                run.due = None;
            }
        }
        let played_end = begun
            + self
                .annotation(END_AFTER)
                .and_then(|text| crate::duration(&text))
                .unwrap_or_default();
        loop {
            let Some(grace) = self.grace() else {
                for run in &mut self.runs {
                    run.kill().await;
                }
                return false;
            };
            let (now, deadline) = (Instant::now(), begun + grace);
            for index in 0..self.runs.len() {
                let run = &mut self.runs[index];
                let running = matches!(self.states[index].state, State::Running(_));
                if running && run.process.is_none() && now >= played_end.min(deadline) {
                    self.exited(index, 0);
                } else if running && now >= deadline {
                    run.kill().await;
                    self.exited(index, 137);
                }
            }
            if !self.states.iter().any(|state| matches!(state.state, State::Running(_))) {
                return true;
            }
            let end = if now < played_end { played_end.min(deadline) } else { deadline };
            if self.happen(Some(end)).await.is_some() {
                return true;
            }
        }
    }

    /// How long its containers may take to end; none if the pod is gone.
    fn grace(&self) -> Option<Duration> {
        let told = self.told.borrow();
        let pod = told.as_ref()?;
        let declared = || pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = pod
            .metadata
            .deletion_grace_period_seconds
            .or_else(declared)
            .and_then(|seconds| u64::try_from(seconds).ok());
        Some(Duration::from_secs(seconds.unwrap_or(30)))
    }

    /// Takes away what its containers found.
    async fn clear(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
        self.release().await;
    }

    /// Its node no longer uses its volumes.
    async fn release(&self) {
        let node =
            self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let pod = self.pod.metadata.uid.as_deref().unwrap_or_default();
        if let Err(error) = self.shared.in_use.release(&self.shared.client, node, pod).await {
            tracing::debug!(%error, node, "a node could not tell what it uses");
        }
    }

    /// The containers end, the pod is reported as Succeeded or Failed, and it is gone soon after;
    /// or it stays until somebody deletes it.
    async fn end(&mut self) {
        let deleted = self.leaving();
        if !self.wind_down().await {
            return self.clear().await;
        }
        self.ended = true;
        self.report().await;
        // A pod that is done uses no volumes.
        self.release().await;
        if deleted {
            sleep(STAYS_ENDED).await;
        }
        while !self.leaving() || self.node_is_lost() {
            if self.told.changed().await.is_err() {
                return self.clear().await;
            }
        }
        self.clear().await;
        let pod = &self.pod;
        let api: Api<Pod> = Api::namespaced(
            self.shared.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let mut at_once = DeleteParams::default().grace_period(0);
        at_once.preconditions =
            Some(Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() });
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        while let Err(error) = api.delete(name, &at_once).await {
            if matches!(error, kube::Error::Api(_)) {
                return;
            }
            sleep(RETRY).await;
        }
    }
}

fn leaving(told: &watch::Receiver<Option<Pod>>) -> bool {
    told.borrow().as_ref().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
}

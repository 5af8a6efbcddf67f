//! The life of one pod.

use std::{collections::BTreeMap, fs::File, os::unix::process::ExitStatusExt, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, Pod, Probe},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::{
    process::Child,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    RETRY, Shared, environment, probe,
    status::{ContainerState, Exit, State, report},
    volumes::{self, Wait},
};
use crate::process::{bound_command, limited_command, note};

/// Keeps every container of the pod from becoming ready.
const NEVER_READY: &str = "lockkeeper.dev/test-ready";
/// Lets every container of the pod crash again and again.
const CRASH: &str = "lockkeeper.dev/test-crash";
/// How long (8s, 500ms) containers of images that are not known take to end. Without it they end at once.
const END_AFTER: &str = "lockkeeper.dev/test-end-after";

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

struct Life {
    shared: Arc<Shared>,
    told: watch::Receiver<Option<Pod>>,
    pod: Pod,
    address: String,
    folder: PathBuf,
    /// What its containers find as their file systems. A pod of the same name may come while this one is going.
    root: PathBuf,
    /// The folders of its claims, by the names of its volumes.
    claims: BTreeMap<String, PathBuf>,
    began: Timestamp,
    states: Vec<ContainerState>,
    runs: Vec<Run>,
}

/// A container as it runs.
struct Run {
    container: Container,
    process: Option<Child>,
    /// When to look at it again: to start it anew, or to probe it.
    due: Option<Instant>,
    backoff: Duration,
    liveness_failures: i32,
}

/// Makes a pod real until it is deleted or done.
pub async fn run(shared: Arc<Shared>, told: watch::Receiver<Option<Pod>>) {
    let Some(pod) = told.borrow().clone() else { return };
    let meta = &pod.metadata;
    let folder = shared.options.folder.join(meta.namespace.as_deref().unwrap_or_default()).join(meta.name.as_deref().unwrap_or_default());
    let address = shared.new_address().to_string();
    let root = folder.join(format!("root-{}", meta.uid.as_deref().unwrap_or_default()));
    let (began, claims) = (Timestamp::now(), BTreeMap::new());
    let mut life = Life { shared, told, address, folder, root, claims, began, states: Vec::new(), runs: Vec::new(), pod };
    life.plan();
    life.live().await;
}

impl Life {
    fn plan(&mut self) {
        let Some(spec) = &self.pod.spec else { return };
        let init = spec.init_containers.iter().flatten().map(|container| (true, container));
        for (init, container) in init.chain(spec.containers.iter().map(|container| (false, container))) {
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            self.states.push(ContainerState {
                name: container.name.clone(),
                image: container.image.clone().unwrap_or_default(),
                init,
                stays: !init || sidecar,
                state: State::Waiting(if init { "PodInitializing" } else { "ContainerCreating" }, String::new()),
                last: None,
                restarts: 0,
                ready: false,
            });
            self.runs.push(Run { container: container.clone(), process: None, due: None, backoff: FIRST_BACKOFF, liveness_failures: 0 });
        }
    }

    async fn live(&mut self) {
        if !self.wait_for_volumes().await {
            return self.end().await;
        }
        for index in 0..self.runs.len() {
            if !self.bring_up(index).await {
                return self.end().await;
            }
        }
        self.report().await;
        while self.tend().await {}
        self.end().await;
    }

    async fn report(&mut self) -> bool {
        if let Some(pod) = self.told.borrow().clone() {
            self.pod = pod;
        }
        report(&self.shared.client, &self.pod, &self.address, &self.states, self.began).await
    }

    fn leaving(&self) -> bool {
        self.told.borrow().as_ref().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
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
                    Ok(claims) => {
                        self.claims = claims;
                        return !self.leaving();
                    }
                    Err(wait) => wait,
                },
                Err(missing) => Wait::Others(format!("MountVolume.SetUp failed: {missing}")),
            };
            if said.as_ref() != Some(&missing) {
                for state in &mut self.states {
                    state.state = State::Waiting("ContainerCreating", missing.to_string());
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

    /// Starts a container, and waits for it if it is an init container that ends. False if the pod is to end.
    async fn bring_up(&mut self, index: usize) -> bool {
        loop {
            if !self.start(index).await {
                return false;
            }
            if self.states[index].stays {
                return true;
            }
            if let Some(process) = &mut self.runs[index].process {
                let code = process.wait().await.map_or(1, exit_code);
                self.ended(index, code);
            } else {
                self.ended(index, 0);
            }
            match &self.states[index].state {
                State::Terminated(exit) if exit.code == 0 => return true,
                State::Terminated(_) => {
                    self.report().await;
                    return false;
                }
                _ => {}
            }
            self.report().await;
            let backoff = self.runs[index].backoff;
            if !self.pause(backoff).await {
                return false;
            }
        }
    }

    /// Starts a container as soon as it finds what it needs. False if the pod is to end.
    async fn start(&mut self, index: usize) -> bool {
        let mut said = false;
        loop {
            let container = self.runs[index].container.clone();
            match self.try_start(&container).await {
                Ok(process) => {
                    let probed = readiness(&container).is_some() && process.is_some();
                    let never = self.annotation(NEVER_READY).is_some();
                    let state = &mut self.states[index];
                    state.state = State::Running(Timestamp::now());
                    state.ready = !probed && !never;
                    let run = &mut self.runs[index];
                    run.process = process;
                    run.liveness_failures = 0;
                    run.due = (probed || container.liveness_probe.is_some()).then(|| Instant::now() + Duration::from_millis(100));
                    if self.annotation(CRASH).is_some() {
                        self.runs[index].due = Some(Instant::now() + Duration::from_millis(200));
                    }
                    return !self.leaving();
                }
                Err(missing) => {
                    self.states[index].state = State::Waiting("CreateContainerConfigError", missing);
                    if !said {
                        self.report().await;
                        said = true;
                    }
                }
            }
            if !self.pause(RETRY).await {
                return false;
            }
        }
    }

    /// As it is now: tests put it on pods that run, and take it off.
    fn annotation(&self, key: &str) -> Option<String> {
        let told = self.told.borrow();
        told.as_ref().unwrap_or(&self.pod).metadata.annotations.as_ref()?.get(key).cloned()
    }

    /// The process, or none for an image that is not known.
    async fn try_start(&self, container: &Container) -> Result<Option<Child>, String> {
        let variables =
            environment::variables(&self.shared, &self.pod, container, &self.address).await.map_err(|error| error.to_string())?;
        let Some(program) = self.program(container) else { return Ok(None) };
        let volumes = environment::volumes(&self.shared, &self.pod).await.map_err(|error| error.to_string())?;
        let root = self.root.join(&container.name);
        let made = std::fs::create_dir_all(&root).and_then(|()| environment::mount(container, &volumes, &self.claims, &root));
        made.map_err(|error| format!("making the container's files: {error}"))?;
        let kubeconfig = environment::kubeconfig(&self.shared, &self.pod, &root).await.map_err(|error| error.to_string())?;
        let path = self.folder.join(format!("{}.log", container.name));
        let log = File::options().create(true).append(true).open(&path);
        let log = log.and_then(|log| Ok((log.try_clone()?, log))).map_err(|error| format!("opening the container's log: {error}"))?;

        let expand = |words: &Option<Vec<String>>| -> Vec<String> {
            words.iter().flatten().map(|word| environment::expand(word, &variables)).collect()
        };
        let (command, arguments) = (expand(&container.command), expand(&container.args));
        // A command names a program inside the image; the executable is the image here, so only its arguments count.
        let mut process = memory_limit(container).map_or_else(|| bound_command(&program), |limit| limited_command(&program, limit));
        process
            .args(command.iter().skip(1))
            .args(arguments)
            .current_dir(&root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(environment::POD_ROOT, &root)
            // It has no network namespace either: what would listen on all addresses must listen on its own.
            .env("POD_IP", &self.address)
            .env("HOSTNAME", self.pod.metadata.name.as_deref().unwrap_or_default())
            .envs(kubeconfig.map(|path| ("KUBECONFIG", path)))
            .envs(&variables)
            .stdout(log.0)
            .stderr(log.1);
        let process = process.spawn().and_then(|process| note(&path, &process).map(|()| process));
        process.map(Some).map_err(|error| format!("starting {}: {error}", program.display()))
    }

    fn program(&self, container: &Container) -> Option<PathBuf> {
        let image = container.image.as_deref()?;
        let name = image.split('@').next()?;
        let without_tag = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        };
        self.shared.options.programs.get(without_tag).cloned()
    }

    fn ended(&mut self, index: usize, code: i32) {
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
        let state = &mut self.states[index];
        let started = if let State::Running(since) = state.state { since } else { Timestamp::now() };
        let exit = Exit { code, started, finished: Timestamp::now() };
        let sidecar = state.init && state.stays;
        let again = match policy {
            _ if sidecar => true,
            "Never" => false,
            "OnFailure" => code != 0,
            _ => !state.init || code != 0,
        };
        state.ready = false;
        let run = &mut self.runs[index];
        run.process = None;
        if again {
            state.state = State::Waiting("CrashLoopBackOff", format!("back-off restarting failed container {}", state.name));
            state.last = Some(exit);
            state.restarts += 1;
            run.due = Some(Instant::now() + run.backoff);
            run.backoff = (run.backoff * 2).min(LONGEST_BACKOFF);
        } else {
            state.state = State::Terminated(exit);
            run.due = None;
        }
    }

    /// Waits for the next thing that happens, and sees to it. False if the pod is to end.
    async fn tend(&mut self) -> bool {
        if self.leaving() {
            return false;
        }
        if self.runs.iter().zip(&self.states).all(|(_, state)| matches!(state.state, State::Terminated(_))) {
            // A pod that is done uses no volumes.
            self.release().await;
            return self.told.changed().await.is_ok();
        }
        let due = self.runs.iter().filter_map(|run| run.due).min();
        let waits = self.runs.iter_mut().enumerate().map(|(index, run)| {
            Box::pin(async move {
                match &mut run.process {
                    Some(process) => (index, process.wait().await.map_or(1, exit_code)),
                    None => std::future::pending().await,
                }
            })
        });
        let exited = tokio::select! {
            changed = self.told.changed() => return changed.is_ok(),
            (exited, ..) = futures::future::select_all(waits) => Some(exited),
            () = async { match due { Some(due) => sleep_until(due).await, None => std::future::pending().await } } => None,
        };
        if let Some((index, code)) = exited {
            self.ended(index, code);
            self.report().await;
            return true;
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
        true
    }

    /// A container whose time has come: to be started anew, to crash, or to be probed. Whether its status changed.
    async fn see_to(&mut self, index: usize) -> bool {
        self.runs[index].due = None;
        if matches!(self.states[index].state, State::Waiting(..)) {
            self.start(index).await;
            return true;
        }
        if self.annotation(CRASH).is_some() {
            self.ended(index, 1);
            return true;
        }
        if self.runs[index].process.is_none() {
            return false;
        }
        let container = self.runs[index].container.clone();
        let mut period = Duration::from_secs(10);
        let mut changed = false;
        if let Some(readiness) = readiness(&container) {
            period = period.min(period_of(readiness));
            let ready = probe::passes(readiness, &container, &self.address).await && self.annotation(NEVER_READY).is_none();
            changed = ready != self.states[index].ready;
            self.states[index].ready = ready;
            if !ready {
                // A container that is starting is looked at often: tests wait for it.
                period = period.min(Duration::from_millis(250));
            }
        }
        if let Some(liveness) = &container.liveness_probe {
            period = period.min(period_of(liveness));
            let alive = probe::passes(liveness, &container, &self.address).await;
            let run = &mut self.runs[index];
            run.liveness_failures = if alive { 0 } else { run.liveness_failures + 1 };
            if run.liveness_failures >= liveness.failure_threshold.unwrap_or(3).max(20) {
                self.terminate(index, Duration::from_secs(5)).await;
                self.ended(index, 137);
                return true;
            }
        }
        self.runs[index].due = Some(Instant::now() + period);
        changed
    }

    /// How long the containers without a process take to end.
    fn played_end(&self) -> Option<Duration> {
        let played =
            self.runs.iter().zip(&self.states).any(|(run, state)| run.process.is_none() && matches!(state.state, State::Running(_)));
        crate::duration(&self.annotation(END_AFTER)?).filter(|_| played)
    }

    async fn terminate(&mut self, index: usize, grace: Duration) {
        let Some(process) = &mut self.runs[index].process else { return };
        if let Some(pid) = process.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(grace, process.wait()).await.is_err() {
            let _ = process.kill().await;
        }
    }

    /// Takes away what its containers found.
    async fn clear(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
        self.release().await;
    }

    /// Its node uses its volumes no more.
    async fn release(&self) {
        let node = self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let pod = self.pod.metadata.uid.as_deref().unwrap_or_default();
        if let Err(error) = self.shared.in_use.release(&self.shared.client, node, pod).await {
            tracing::debug!(%error, node, "a node could not tell what it uses");
        }
    }

    /// SIGTERM to all at once, SIGKILL at the end of the grace period, and the pod is gone.
    async fn end(&mut self) {
        let Some(pod) = self.told.borrow().clone() else {
            // Deleted by force.
            for run in &mut self.runs {
                if let Some(process) = &mut run.process {
                    let _ = process.kill().await;
                }
            }
            return self.clear().await;
        };
        let grace = pod.metadata.deletion_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30);
        let done = pod.metadata.deletion_timestamp.is_none();
        for run in &self.runs {
            if let Some(pid) =
                run.process.as_ref().and_then(Child::id).and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let told_to_end = Instant::now();
        let deadline = told_to_end + Duration::from_secs(grace);
        for run in &mut self.runs {
            if let Some(process) = &mut run.process
                && tokio::time::timeout_at(deadline, process.wait()).await.is_err()
            {
                let _ = process.kill().await;
            }
        }
        if let Some(slow) = self.played_end() {
            sleep_until(deadline.min(told_to_end + slow)).await;
        }
        self.clear().await;
        if done {
            // Failed for good: it stays until somebody deletes it.
            while !self.leaving() {
                if self.told.changed().await.is_err() {
                    return;
                }
            }
        }
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
        let mut at_once = DeleteParams::default().grace_period(0);
        at_once.preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() });
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        while let Err(error) = api.delete(name, &at_once).await {
            if matches!(error, kube::Error::Api(_)) {
                return;
            }
            sleep(RETRY).await;
        }
    }
}

/// A startup probe gates readiness; where there is none, readiness itself counts.
fn readiness(container: &Container) -> Option<&Probe> {
    container.readiness_probe.as_ref().or(container.startup_probe.as_ref())
}

/// In bytes, where it is written in mebibytes; other units do not occur here.
fn memory_limit(container: &Container) -> Option<u64> {
    let limit = container.resources.as_ref()?.limits.as_ref()?.get("memory")?;
    Some(limit.0.strip_suffix("Mi")?.parse::<u64>().ok()? << 20)
}

fn period_of(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1))
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

//! The containers of a pod: how they start, are probed, end and are restarted.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::{process::Child, time::Instant};

use super::super::{RETRY, environment, probe, run::exit_code, status::State};
use super::{CRASH, Life, NEVER_READY, leaving};
use crate::process::{bound_command, limited_command, note};

impl Life {
    /// Starts a container, and waits for it if it is an init container that ends. False if the pod
    /// is to end.
    pub(super) async fn bring_up(&mut self, index: usize) -> bool {
        loop {
            if !self.start(index).await {
                return false;
            }
            if self.states[index].stays {
                return true;
            }
            self.report().await;
            let Some(code) = self.exit_of(index).await else { return false };
            self.exited(index, code);
            self.report().await;
            match &self.states[index].state {
                State::Terminated(exit) if exit.code == 0 => return true,
                _ if self.runs[index].restart.is_none() => return false,
                _ => {}
            }
            while let Some(due) = self.runs[index].due {
                if !self.pause(due.saturating_duration_since(Instant::now())).await {
                    return false;
                }
                if self.back_off(index) {
                    self.report().await;
                } else {
                    break;
                }
            }
        }
    }

    /// How an init container ends; none if the pod is to end before that.
    pub(super) async fn exit_of(&mut self, index: usize) -> Option<i32> {
        let Self { runs, told, .. } = self;
        loop {
            if leaving(told) {
                return None;
            }
            let Some(process) = &mut runs[index].process else { return Some(0) };
            tokio::select! {
                changed = told.changed() => changed.ok()?,
                status = process.wait() => return Some(status.map_or(1, exit_code)),
            }
        }
    }

    /// A container that has ended and is to be restarted, whose time has come. Whether it has to
    /// wait still, as one that crashes too often.
    pub(super) fn back_off(&mut self, index: usize) -> bool {
        let rest = self.runs[index].restart.take().unwrap_or_default();
        if rest.is_zero() {
            return false;
        }
        let name = self.states[index].name.clone();
        self.states[index]
            .wait("CrashLoopBackOff", format!("back-off restarting failed container {name}"));
        self.runs[index].due = Some(Instant::now() + rest);
        true
    }

    /// Starts a container as soon as it finds what it needs. False if the pod is to end.
    pub(super) async fn start(&mut self, index: usize) -> bool {
        let mut said = None;
        let mut pulls = [
            ("ErrImagePull", "failed to pull and unpack image: not found"),
            ("ImagePullBackOff", "Back-off pulling image"),
        ];
        loop {
            let container = self.runs[index].container.clone();
            if repository(&container) == Some(NO_IMAGE) {
                let (reason, message) = pulls[0];
                pulls.swap(0, 1);
                self.states[index].wait(
                    reason,
                    format!("{message} {:?}", container.image.as_deref().unwrap_or_default()),
                );
                self.report().await;
                if !self.pause(IMAGE_RETRY).await {
                    return false;
                }
                continue;
            }
            match self.try_start(&container).await {
                Ok(process) => {
                    let probed = readiness(&container).is_some() && process.is_some();
                    let never = self.plays(NEVER_READY, &container);
                    let state = &mut self.states[index];
                    state.run();
                    state.ready = !probed && !never;
                    let run = &mut self.runs[index];
                    run.process = process;
                    (run.readiness_failures, run.liveness_failures) = (0, 0);
                    run.due = (probed || container.liveness_probe.is_some())
                        .then(|| Instant::now() + Duration::from_millis(100));
                    if self.plays(CRASH, &container) {
                        self.runs[index].due = Some(Instant::now() + Duration::from_millis(200));
                    }
                    return !self.leaving();
                }
                Err(missing) => {
                    if said.as_ref() != Some(&missing) {
                        self.states[index].wait("CreateContainerConfigError", missing.clone());
                        self.report().await;
                        said = Some(missing);
                    }
                }
            }
            if !self.pause(RETRY).await {
                return false;
            }
        }
    }

    /// The process, or none for an image that is not known.
    pub(super) async fn try_start(&self, container: &Container) -> Result<Option<Child>, String> {
        let address = self.address.as_deref().unwrap_or_default();
        let variables = environment::variables(&self.shared, &self.pod, container, address)
            .await
            .map_err(|error| error.to_string())?;
        let root = self.root.join(&container.name);
        let Some(program) = self.program(container, &root) else { return Ok(None) };
        let volumes = environment::volumes(&self.shared, &self.pod)
            .await
            .map_err(|error| error.to_string())?;
        let made = std::fs::create_dir_all(&root)
            .and_then(|()| environment::mount(container, &volumes, &self.folders, &root));
        made.map_err(|error| format!("making the container's files: {error}"))?;
        let kubeconfig = environment::kubeconfig(&self.shared, &self.pod, &root)
            .await
            .map_err(|error| error.to_string())?;
        let path = self.folder.join(format!("{}.log", container.name));
        let log = File::options().create(true).append(true).open(&path);
        let log = log
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| format!("opening the container's log: {error}"))?;

        let expand = |words: &Option<Vec<String>>| -> Vec<String> {
            words.iter().flatten().map(|word| environment::expand(word, &variables)).collect()
        };
        let (mut command, arguments) = (expand(&container.command), expand(&container.args));
        if is_pause(container) {
            // It names directories of its container.
            let inside =
                |word: &str| Some(root.join(word.strip_prefix('/')?).display().to_string());
            command
                .iter_mut()
                .for_each(|word| *word = inside(word).unwrap_or(std::mem::take(word)));
        }
        // A command names a program inside the image; the executable is the image here, so only its
        // arguments count.
        let mut process = memory_limit(container)
            .map_or_else(|| bound_command(&program), |limit| limited_command(&program, limit));
        process
            .args(command.iter().skip(1))
            .args(arguments)
            .current_dir(&root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(environment::POD_ROOT, &root)
            // It has no network namespace either: what would listen on all addresses must listen on
            // its own.
            .env("POD_IP", address)
            .env("HOSTNAME", self.pod.metadata.name.as_deref().unwrap_or_default())
            .envs(kubeconfig.map(|path| ("KUBECONFIG", path)))
            .envs(&variables)
            .stdout(log.0)
            .stderr(log.1);
        let process = process.spawn().and_then(|process| note(&path, &process).map(|()| process));
        process.map(Some).map_err(|error| format!("starting {}: {error}", program.display()))
    }

    /// The program of its image. Lockkeeper's program for containers that sleep stands beside that
    /// of the operator, and wherever it was installed.
    fn program(&self, container: &Container, root: &Path) -> Option<PathBuf> {
        let of_image = self.shared.options.programs.get(repository(container)?);
        if !is_pause(container) {
            return of_image.cloned();
        }
        let path = container.command.as_ref()?.first()?.strip_prefix('/')?;
        match path.contains('/') {
            true => Some(root.join(path)),
            false => Some(of_image?.with_file_name(path)),
        }
    }

    /// Whether a container is to do what an annotation asks of the app.
    fn plays(&self, key: &str, container: &Container) -> bool {
        !is_pause(container) && self.annotation(key).is_some()
    }

    /// A container has ended. It is restarted at once the first time, and later each time it ends
    /// soon.
    pub(super) fn exited(&mut self, index: usize, code: i32) {
        let policy = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.as_deref())
            .unwrap_or("Always");
        let state = &mut self.states[index];
        let sidecar = state.init && state.stays;
        let again = match policy {
            _ if self.ending => false,
            _ if sidecar => true,
            "Never" => false,
            "OnFailure" => code != 0,
            _ => !state.init || code != 0,
        };
        let ran = state.terminate(code);
        self.runs[index].exited(again, ran);
    }

    /// A container whose time has come: to be started again, to crash, or to be probed. Whether its
    /// status changed.
    pub(super) async fn see_to(&mut self, index: usize) -> bool {
        self.runs[index].due = None;
        if !matches!(self.states[index].state, State::Running(_)) {
            if !self.back_off(index) {
                self.start(index).await;
            }
            return true;
        }
        let container = self.runs[index].container.clone();
        if self.plays(CRASH, &container) && !self.ending {
            self.exited(index, 1);
            return true;
        }
        if self.runs[index].process.is_none() {
            return false;
        }
        let address = self.address.clone().unwrap_or_default();
        let mut period = Duration::from_secs(10);
        let mut changed = false;
        if let Some(readiness) = readiness(&container) {
            period = period.min(period_of(readiness));
            let passes = probe::passes(readiness, &container, &address).await
                && !self.plays(NEVER_READY, &container);
            let (run, state) = (&mut self.runs[index], &mut self.states[index]);
            run.readiness_failures = if passes { 0 } else { run.readiness_failures + 1 };
            let ready = passes
                || (state.ready
                    && run.readiness_failures < readiness.failure_threshold.unwrap_or(3));
            changed = ready != state.ready;
            state.ready = ready;
            if !ready {
                // A container that is starting is looked at often: tests wait for it.
                period = period.min(Duration::from_millis(250));
            }
        }
        if let Some(liveness) = container.liveness_probe.as_ref().filter(|_| !self.ending) {
            period = period.min(period_of(liveness));
            let alive = probe::passes(liveness, &container, &address).await;
            let run = &mut self.runs[index];
            run.liveness_failures = if alive { 0 } else { run.liveness_failures + 1 };
            if run.liveness_failures >= liveness.failure_threshold.unwrap_or(3).max(20) {
                let code = self.runs[index].terminate(Duration::from_secs(5)).await;
                self.exited(index, code);
                return true;
            }
        }
        self.runs[index].due = Some(Instant::now() + period);
        changed
    }
}

/// Whether Lockkeeper's program runs in it in place of the app.
fn is_pause(container: &Container) -> bool {
    let program = container.command.as_ref().and_then(|command| command.first());
    program.is_some_and(|program| program.ends_with("/lockkeeper-pause"))
}

/// There is no image in this repository.
pub(super) const NO_IMAGE: &str = "lockkeeper.dev/missing";

/// Between ErrImagePull and ImagePullBackOff.
pub(super) const IMAGE_RETRY: Duration = Duration::from_secs(2);

/// The image without its tag and digest.
pub(super) fn repository(container: &Container) -> Option<&str> {
    let name = container.image.as_deref()?.split('@').next()?;
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => Some(repository),
        _ => Some(name),
    }
}

/// A startup probe gates readiness; where there is none, readiness itself counts.
pub(super) fn readiness(container: &Container) -> Option<&Probe> {
    container.readiness_probe.as_ref().or(container.startup_probe.as_ref())
}

/// In bytes, where it is written in mebibytes; other units do not occur here.
pub(super) fn memory_limit(container: &Container) -> Option<u64> {
    let limit = container.resources.as_ref()?.limits.as_ref()?.get("memory")?;
    Some(limit.0.strip_suffix("Mi")?.parse::<u64>().ok()? << 20)
}

pub(super) fn period_of(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1))
}

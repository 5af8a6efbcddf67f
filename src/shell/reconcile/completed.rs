//! Takes note of requests that have ended.

use std::time::Duration;

use super::Reconciler;
use crate::{
    api::UpgradePolicyStatus,
    core::{
        notice::{Event, Notice},
        observed::Uid,
        others,
        request::{Patch, Purpose, SnapshotRequest, StoragePatch},
        rest::News,
    },
    shell::{
        clock,
        errors::{Class, Error},
        executor::{Completion, Outcome},
        write::Written,
    },
};

impl Reconciler {
    pub(super) fn complete(&mut self, completion: Completion) {
        let Completion { namespace, uid, outcome } = completion;
        match outcome {
            Outcome::Patch(patch, notices, result) => {
                self.patched(&namespace, &patch, notices, &result);
            }
            Outcome::Storage(patch, notice, result) => {
                self.stored(&namespace, &patch, notice, &result);
            }
            Outcome::Snapshot(request, result) => {
                self.snapshot_written(&request, &uid, &result);
                // Its claim is that of the workload, which is looked at again.
                return self.index.tell(&namespace, News::of_workloads([request.workload_uid]));
            }
            Outcome::Heard(report) => {
                if let Some(memory) = self.memories.get_mut(&uid) {
                    memory.app.get_or_insert_default().hear(&report);
                }
            }
            Outcome::Found(why) => self.found(&uid, why),
            Outcome::Probed(answer) => {
                self.metrics.reviews.probed(answer.as_str());
                self.prober.answered();
                return self.index.judges_answered(&answer);
            }
            Outcome::Status(name, status, result) => {
                self.status_written(&namespace, (&name, &uid), *status, &result);
            }
        }
        self.index.tell(&namespace, News::of_workloads([uid]));
    }

    fn patched(
        &mut self,
        namespace: &str,
        patch: &Patch,
        notices: Vec<Notice>,
        result: &Result<Written, Error>,
    ) {
        self.metrics.patched(&patch.purpose, outcome_of(result));
        match result {
            Ok(_) => self.accepted(namespace, patch, notices),
            Err(error) if error.is_obsolete() => {
                tracing::debug!(namespace, workload = %patch.workload, purpose = ?patch.purpose, error = %error.sentence(), "decided on an older version; looking again");
            }
            Err(error) => {
                tracing::warn!(namespace, workload = %patch.workload, purpose = ?patch.purpose, error = %error.sentence(), "a patch failed; it is tried again");
            }
        }
        let workload = self
            .index
            .namespace(namespace)
            .and_then(|namespace| namespace.workloads.get(&patch.workload));
        let seen = workload
            .filter(|workload| workload.uid == patch.uid)
            .map_or(0, |workload| workload.resource_version);
        self.executor.patch_ended(&patch.uid, patch.resource_version, seen, result);
    }

    fn stored(
        &mut self,
        namespace: &str,
        patch: &StoragePatch,
        notice: Option<Notice>,
        result: &Result<Written, Error>,
    ) {
        let uid = &patch.uid;
        self.metrics.storage_patched(outcome_of(result));
        match result {
            Ok(written) => {
                let known = self
                    .executor
                    .activities()
                    .get(uid)
                    .map(|activity| activity.additions.clone())
                    .unwrap_or_default();
                let added = others::of_storage(&patch.object, uid, known, &written.added);
                for notice in notice.into_iter().chain(added) {
                    self.notices.tell(namespace, notice);
                }
            }
            Err(error) if error.is_obsolete() => {
                tracing::debug!(namespace, object = ?patch.object, error = %error.sentence(), "decided on an older version; looking again");
            }
            Err(error) => {
                tracing::warn!(namespace, object = ?patch.object, error = %error.sentence(), "a patch failed; it is tried again");
            }
        }
        let seen = self.index.version_of(namespace, &patch.object).unwrap_or_default();
        self.executor.patch_ended(uid, patch.resource_version, seen, result);
    }

    fn snapshot_written(
        &mut self,
        request: &SnapshotRequest,
        slot: &Uid,
        result: &Result<Written, Error>,
    ) {
        let (name, workload) = (&request.name, &request.workload);
        self.metrics.snapshot_written(request.step.action(), outcome_of(result));
        match result {
            Ok(_) => {
                tracing::info!(snapshot = name, %workload, step = request.step.action(), "a snapshot is taken before a change");
            }
            Err(error) if error.is_obsolete() => {
                tracing::debug!(snapshot = name, %workload, error = %error.sentence(), "decided on what is no longer so; looking again");
            }
            Err(error) => {
                tracing::warn!(snapshot = name, %workload, error = %error.sentence(), "a snapshot could not be written; it is tried again");
            }
        }
        self.executor.patch_ended(slot, 0, 0, result);
    }

    fn found(&mut self, uid: &Uid, why: Option<Box<str>>) {
        self.executor.looked_up(uid);
        let lack = self.memories.get_mut(uid).and_then(|memory| memory.lack.as_mut());
        if let Some(lack) = lack
            && why.is_some()
        {
            lack.why = why;
        }
    }

    fn status_written(
        &mut self,
        namespace: &str,
        (policy, uid): (&str, &Uid),
        status: UpgradePolicyStatus,
        result: &Result<(), Error>,
    ) {
        self.metrics.status_written(outcome_of(result));
        match result {
            Ok(()) => self.index.wrote_status(namespace, policy, uid, status),
            Err(error) if error.is_obsolete() => {
                tracing::debug!(namespace, policy, error = %error.sentence(), "its status is of an older time; looking again");
            }
            Err(error) => {
                tracing::warn!(namespace, policy, error = %error.sentence(), "the status of a policy could not be written; it is tried again");
            }
        }
        if let Some(retry) = self.executor.status_ended(uid, result) {
            self.wake_at(namespace, retry);
        }
    }

    fn accepted(&self, namespace: &str, patch: &Patch, notices: Vec<Notice>) {
        match &patch.purpose {
            &Purpose::Roll(cause, seen) => {
                let after = seen
                    .and_then(|seen| Duration::try_from(clock::now().duration_since(seen)).ok());
                self.metrics.rolled(cause, after);
            }
            Purpose::Adopt => {
                tracing::info!(namespace, workload = %patch.workload, "adopted: its config is taken as it is, nothing is rolled")
            }
            Purpose::Forget { .. } => {
                tracing::info!(namespace, workload = %patch.workload, "let go: no policy governs it any longer, and the annotations are removed")
            }
            Purpose::Release(release) => {
                self.metrics.released(release.as_str());
                tracing::info!(namespace, workload = %patch.workload, cause = release.as_str(), "released: the held change rolls out");
            }
            Purpose::Record | Purpose::Step | Purpose::Unblock | Purpose::Maintain => {}
        }
        for notice in notices {
            if notice.event == Event::HoldBypassed {
                self.metrics.released("Bypassed");
            }
            self.notices.tell(namespace, notice);
        }
    }
}

fn outcome_of<T>(result: &Result<T, Error>) -> &'static str {
    let Err(error) = result else { return "Accepted" };
    match error.class() {
        Class::Conflict if matches!(error, Error::NotLeading | Error::Late) => "NotSent",
        Class::Conflict => "Conflict",
        Class::Gone => "Gone",
        Class::Throttled(_) => "Throttled",
        Class::Transient => "Unanswered",
        Class::Refused => "Refused",
    }
}

//! Hands over what was decided to those who do it.

use super::Reconciler;
use crate::{
    api::UpgradePolicyStatus,
    core::{
        conditions,
        decision::Decision,
        notice::{Event, Notice, Regarding},
        observed::Uid,
        request::{Patch, Purpose},
        rollout::words::consent,
    },
    marks::{MarkSet, Marks},
    shell::clock,
};

impl Reconciler {
    pub(super) fn hand_over(&mut self, namespace: &str, mut decision: Decision) {
        for (uid, memory) in decision.memories {
            if memory.asked_about().is_none() {
                self.asker.hang_up(&uid);
            }
            self.memories.insert(uid, memory);
        }
        self.metrics.set_namespace(namespace, decision.census);
        self.metrics.set_volumes(namespace, decision.volumes);
        self.told.insert(namespace.to_owned(), decision.told);
        decision.waited.into_iter().for_each(|(reason, time)| self.metrics.waited(reason, time));
        decision.suppressed.into_iter().for_each(|reason| self.metrics.suppressed(reason));
        if let Some(wake) = decision.wake {
            self.wake_at(namespace, wake);
        }
        for patch in decision.patches {
            let carried =
                |notice: &Notice| notice.uid == patch.uid && notice.event.comes_with_patch();
            let mut notices: Vec<_> =
                decision.notices.extract_if(.., |notice| carried(notice)).collect();
            notices.extend(begun(&patch, decision.rolled.get(&patch.uid)));
            tracing::debug!(namespace, workload = %patch.workload, purpose = ?patch.purpose, "patching");
            self.executor.patch(namespace, patch, notices);
        }
        for (patch, notice) in decision.storage {
            tracing::debug!(namespace, object = ?patch.object, "patching");
            self.executor.storage(namespace, patch, notice);
        }
        for request in decision.snapshots {
            tracing::debug!(namespace, snapshot = request.name, "asking for a snapshot");
            self.executor.snapshot(namespace, request);
        }
        for (workload, uid, since) in decision.lookups {
            self.executor.look_up(namespace, (workload, uid), since);
        }
        for call in decision.calls {
            self.asker.call(namespace, call);
        }
        for notice in decision.notices {
            self.notices.tell(namespace, notice);
        }
        for (name, status) in decision.statuses {
            self.write_status(namespace, name, status);
        }
    }

    fn write_status(&mut self, namespace: &str, name: String, status: UpgradePolicyStatus) {
        let policies = self.index.namespace(namespace).map(|namespace| &namespace.policies);
        let Some(policy) = policies.and_then(|policies| policies.get(&name)) else { return };
        let (last_write, retry_at, busy) = self.executor.status_times(&policy.uid);
        let now = clock::now();
        match conditions::write_at(&policy.status, &status, last_write, now)
            .map(|time| retry_at.map_or(time, |retry| retry.max(time)))
        {
            Some(time) if time <= now && !busy => {
                let uid = policy.uid.clone();
                self.executor.status(namespace, name, uid, status);
            }
            Some(time) if time > now => self.wake_at(namespace, time),
            _ => {}
        }
    }
}

fn begun(patch: &Patch, rolled: Option<&(Option<(String, Uid)>, String)>) -> Option<Notice> {
    let (&Purpose::Roll(cause, _), Some((policy, what))) = (&patch.purpose, rolled) else {
        return None;
    };
    let written = patch.annotations.iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
    let consent = consent(Marks::read(written).outcome());
    let consent = consent.map_or_else(String::new, |consent| format!("; {consent}"));
    Some(Notice {
        regarding: Regarding::Workload(patch.workload.clone()),
        uid: patch.uid.clone(),
        policy: policy.clone(),
        event: Event::ConfigRollout,
        message: format!("rolling, because {cause} ({what}){consent}"),
    })
}

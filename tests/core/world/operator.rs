//! The operator in the world: it decides, and what it decides is carried out.

use lockkeeper::{
    api::{Attention, WorkloadKind},
    core::{
        arrange::{Surroundings, assess_by, ledger::Ledger},
        conversation::{Errand, Report, answer::Answer},
        decision::Decision,
        notice::Notice,
        observed::{ConfigEntry, Version},
        request::Purpose,
        rest::News,
        rollout::slots,
    },
};

use super::{World, at};

impl World {
    /// Pods seen only in a list, after a restart of the operator, and nothing remembered.
    pub fn restart_operator(&mut self) {
        self.memories.clear();
        self.activities.clear();
        for pod in self.namespace.pods.values_mut() {
            pod.created_version = None;
            pod.started_version = None;
        }
        for (_, entry) in self.namespace.config.iter_mut() {
            let last = Version { seen: None, ..entry.versions().last().unwrap().clone() };
            *entry = ConfigEntry::new(last, entry.ignored);
        }
        self.namespace.config.retain(|_, entry| entry.content().is_some());
    }

    /// Decides, and carries nothing out.
    pub fn decide(&mut self) -> Decision {
        self.decide_on(&News::whole())
    }

    /// Decides what is to be decided after this has happened.
    pub fn decide_on(&self, news: &News) -> Decision {
        self.decide_by(&mut Ledger::default(), news)
    }

    /// The same by what was kept since the last decision.
    pub fn decide_by(&self, ledger: &mut Ledger, news: &News) -> Decision {
        let around = Surroundings {
            key: &self.key,
            watched: at(-10),
            definition: Some("crd"),
            enforcement: &self.enforcement,
            activities: &self.activities,
            memories: &self.memories,
            storage: &self.storage,
            told: &self.standing,
            now: self.now,
        };
        let assessments = assess_by(ledger, &self.namespace, news, &around);
        let demands = [("shop".to_owned(), assessments.demand(&self.activities))].into();
        let granted = slots::allot(&demands, self.max_config_rollouts);
        assessments.arrange(&granted, &self.memories)
    }

    /// Decides and carries it out, again and again until nothing is left to do at this time.
    /// Returns the names of the workloads that were rolled.
    pub fn act(&mut self) -> Vec<String> {
        let mut rolled = Vec::new();
        for _ in 0..20 {
            let decision = self.decide();
            self.memories.extend(decision.memories);
            self.standing.insert(self.namespace.name.to_string(), decision.told);
            let about = |notice: &Notice| {
                (notice.event, notice.regarding.to_string(), notice.message.clone())
            };
            self.told.extend(decision.notices.iter().map(about));
            self.looked.extend(decision.lookups.into_iter().map(|(workload, ..)| workload.name));
            let stored = !decision.storage.is_empty();
            for (patch, notice) in decision.storage {
                self.store(&patch);
                self.told.extend(notice.as_ref().map(about));
            }
            for (name, status) in decision.statuses {
                self.namespace.policies.get_mut(&name).unwrap().status = status;
            }
            let called = !decision.calls.is_empty();
            for call in decision.calls {
                let names = call.visits.iter().map(|visit| (call.errand, visit.name.to_string()));
                self.said.extend(names.filter(|(errand, _)| *errand != Errand::Verify));
                let of = |name: &str| match call.errand {
                    Errand::Ask | Errand::Verify => {
                        self.answers.get(name).cloned().unwrap_or(Answer::Yes)
                    }
                    Errand::Prepare | Errand::Withdraw => Answer::Yes,
                };
                let answers = call.visits.iter().map(|visit| of(&visit.name)).collect();
                let uid = call.uid.clone();
                let report = Report { call, begun: self.now, ended: self.now, answers };
                self.memories.get_mut(&uid).unwrap().app.get_or_insert_default().hear(&report);
            }
            if decision.patches.is_empty() && !called && !stored {
                return rolled;
            }
            for patch in decision.patches {
                if matches!(patch.purpose, Purpose::Roll(..)) {
                    rolled.push(patch.workload.name.clone());
                }
                let object = self.objects.get_mut(&patch.workload).unwrap();
                let body: json_patch::Patch = serde_json::from_value(patch.json()).unwrap();
                json_patch::patch(object, &body).unwrap();
                // What is let through the controller has not seen yet.
                let rolls =
                    patch.config_hash.is_some() || matches!(patch.purpose, Purpose::Release(_));
                match (rolls, patch.workload.kind) {
                    (false, WorkloadKind::StatefulSet | WorkloadKind::DaemonSet) => {
                        self.sync(&patch.workload)
                    }
                    (false, WorkloadKind::Deployment) => {
                        self.bump(&patch.workload);
                        self.observe_again(&patch.workload);
                    }
                    (true, _) => self.bump(&patch.workload),
                }
            }
        }
        panic!("there is always something left to do: the decisions do not come to rest");
    }

    pub fn attention(&self) -> Option<&Attention> {
        self.namespace.policies["shop"].status.attention.first()
    }

    /// `Phase/Reason` of the first workload in attention, or `UpToDate`.
    pub fn stands(&self) -> String {
        self.attention()
            .map_or("UpToDate".into(), |one| format!("{}/{}", one.phase, one.reason.as_str()))
    }
}

//! One workload with everything that it is judged by.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::{
    api::ConfigSpec,
    core::{
        conversation::Templates,
        digest::Key,
        gates::blocker::Blocker,
        governs::Ruling,
        hold::{
            governance::other_reloader,
            judges::Judges,
            state::{approved_by, bypassed_by},
        },
        memory::{Activity, Memory},
        observed::{Namespace, Pod, Reference, Uid, Workload, storage::Storage},
        offline::run::Run,
        rollout::{outcome::Previous, progress::Progress, revisions::Revisions},
        volumes::finding::OfWorkload,
    },
    marks::{ChangeId, values::Bypassed},
};

/// What holds for every workload of a namespace.
pub struct Around<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The digest key.
    pub key: &'a Key,
    /// Since when config is watched.
    pub watched: Timestamp,
    /// The uid of our CRD, while it stands.
    pub definition: Option<&'a str>,
    /// Admission is in place.
    pub enforced: bool,
    /// Who judges writes.
    pub judges: Judges,
    /// The storage of the cluster.
    pub storage: &'a Storage,
    /// What the executor is doing, by what it is about.
    pub activities: &'a HashMap<Uid, Activity>,
    /// Now.
    pub now: Timestamp,
}

/// What the other workloads of its policy mean for a workload.
pub struct Siblings<'a> {
    /// When the template of one of them, or its own, changed last.
    pub last_change: Option<Timestamp>,
    /// What those read that roll together with it.
    pub group: &'a [Reference],
    /// What keeps it from its turn.
    pub waits: Option<&'a Blocker>,
    /// What it restarts with.
    pub previous: &'a Previous,
    /// How far they are with an offline upgrade, if there is one.
    pub run: Option<&'a Run<'a>>,
}

/// One workload, and what is known of it.
pub struct Subject<'a> {
    /// What holds for its namespace.
    pub around: &'a Around<'a>,
    /// What its policy lets happen to it.
    pub ruling: Ruling<'a>,
    /// The workload, as it may be judged: see [`crate::core::rollout::progress::seen`].
    pub workload: &'a Workload,
    /// Its pods, those being deleted included.
    pub pods: &'a [&'a Pod],
    /// What its pods were made from.
    pub revisions: Revisions<'a>,
    /// What its pods read: of a held workload those that run, not its template.
    pub reads: &'a [Reference],
    /// How far its rollout is.
    pub progress: Progress,
    /// What the other workloads of its policy mean for it.
    pub siblings: Siblings<'a>,
    /// What its volumes mean for it.
    pub volumes: &'a OfWorkload,
    /// What the executor is doing about it.
    pub activity: &'a Activity,
    /// What is remembered of it.
    pub memory: &'a Memory,
}

/// In place of what only the operator knows of a workload, for those who look at it from outside.
pub struct Unknown {
    key: Key,
    volumes: OfWorkload,
    activity: Activity,
    memory: Memory,
    storage: Storage,
    activities: HashMap<Uid, Activity>,
}

impl Default for Unknown {
    fn default() -> Self {
        // No digest of it is compared with one that the operator made.
        let (key, volumes) = (Key::new(&[0; 32]), OfWorkload::default());
        Self {
            key,
            volumes,
            activity: Activity::default(),
            memory: Memory::default(),
            storage: Storage::default(),
            activities: HashMap::new(),
        }
    }
}

impl Unknown {
    /// What holds for a namespace.
    pub fn around<'a>(
        &'a self,
        namespace: &'a Namespace,
        enforced: bool,
        now: Timestamp,
    ) -> Around<'a> {
        Around {
            namespace,
            key: &self.key,
            watched: now,
            definition: None,
            enforced,
            judges: Judges::default(),
            storage: &self.storage,
            activities: &self.activities,
            now,
        }
    }

    /// A workload as those gates need it that ask for nothing but the policy, the change and the
    /// time.
    pub fn subject<'a>(
        &'a self,
        around: &'a Around<'a>,
        ruling: Ruling<'a>,
        workload: &'a Workload,
    ) -> Subject<'a> {
        Subject {
            around,
            ruling,
            workload,
            pods: &[],
            revisions: Revisions::of(around.namespace, workload, &[], None),
            reads: &[],
            progress: Progress::Unobserved,
            siblings: Siblings {
                last_change: None,
                group: &[],
                waits: None,
                previous: &Previous::Nothing,
                run: None,
            },
            volumes: &self.volumes,
            activity: &self.activity,
            memory: &self.memory,
        }
    }
}

impl<'a> Subject<'a> {
    /// Its namespace.
    pub fn namespace(&self) -> &'a Namespace {
        self.around.namespace
    }

    /// The digest key.
    pub fn key(&self) -> &'a Key {
        self.around.key
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.around.now
    }

    /// Where the templates of its pods are found.
    pub fn templates(&self) -> Templates<'a> {
        Templates { namespace: self.namespace(), workload: self.workload }
    }

    /// What the policy asks for config, unless another reloader acts on the workload.
    pub fn config(&self) -> Option<&ConfigSpec> {
        self.ruling
            .spec()
            .config
            .as_ref()
            .filter(|_| other_reloader(self.namespace(), self.workload).is_none())
    }

    /// Whether admission records who approves and bypasses. Where it does not, anybody could have
    /// written these marks.
    pub fn records_approvals(&self) -> bool {
        self.around.enforced && self.workload.id.kind.can_be_held()
    }

    /// Who approved the change with this id.
    pub fn approved_by(&self, id: &ChangeId) -> Option<&'a str> {
        approved_by(self.workload, id).filter(|_| self.records_approvals())
    }

    /// The bypass that let a change through.
    pub fn bypassed_by(&self) -> Option<&'a Bypassed> {
        bypassed_by(self.workload).filter(|_| self.records_approvals())
    }
}

//! What the operator decides about the namespace as it is, and as it would be: by its own core, on
//! two worlds.

pub mod unheld;
mod waits;
mod worlds;

use std::collections::{BTreeMap, HashMap};

use lockkeeper::core::{
    arrange::{Surroundings, assess_each},
    finding::Assessment,
    governs::Ruling,
    hold::enforced::Enforcement,
    observed::{Workload, WorkloadId},
    rest::News,
};

use self::worlds::World;
pub use self::worlds::{Fate, nobodys};
use super::{judge::Situation, outcome::Wait};

/// What is decided about a workload.
pub struct Verdict {
    /// What the operator finds.
    pub found: Assessment,
    /// Every gate that would keep its change waiting.
    pub waits: Vec<Wait>,
}

/// What the operator decides.
pub struct Forecast {
    before: BTreeMap<WorkloadId, Verdict>,
    after: BTreeMap<WorkloadId, Verdict>,
    /// The same as after, where every workload is rolled for config as well.
    config: BTreeMap<WorkloadId, Verdict>,
    fates: BTreeMap<WorkloadId, Fate>,
}

impl Forecast {
    /// Decides about both worlds.
    pub fn new(now: &Situation) -> Self {
        let records = worlds::records(now);
        let after = worlds::after(now, &records);
        let config = after.with_eyes_on_config();
        Self {
            before: decide(&worlds::before(now, &records), now),
            config: decide(&config, now),
            after: decide(&after, now),
            fates: after.fates,
        }
    }

    /// What is decided about a workload as things are.
    pub fn before(&self, workload: &WorkloadId) -> Option<&Verdict> {
        self.before.get(workload)
    }

    /// What would be decided about it; none of one that is none of Lockkeeper's.
    pub fn after(&self, workload: &WorkloadId) -> Option<&Verdict> {
        self.after.get(workload)
    }

    /// What becomes of its template.
    pub fn fate(&self, workload: &WorkloadId) -> Fate {
        self.fates.get(workload).copied().unwrap_or(Fate::Same)
    }

    /// What changes of the config that it reads, whether or not its policy asks for that.
    pub fn changed_config(&self, workload: &Workload, ruling: Option<&Ruling>) -> &[String] {
        let asked = ruling.is_some_and(|ruling| ruling.spec().config.is_some());
        let verdicts = if asked { &self.after } else { &self.config };
        verdicts.get(&workload.id).map_or(&[], |verdict| verdict.found.changed_config())
    }
}

fn decide(world: &World, now: &Situation) -> BTreeMap<WorkloadId, Verdict> {
    let around = Surroundings {
        key: now.key,
        watched: now.now,
        definition: None,
        enforcement: &Enforcement::default(),
        storage: now.storage,
        told: &HashMap::new(),
        activities: &HashMap::new(),
        memories: &world.memories,
        now: now.now,
    };
    let mut closed = BTreeMap::new();
    let all = assess_each(&world.namespace, &News::whole(), &around, |subject, _| {
        let id = &subject.workload.id;
        let fate = world.fates.get(id).copied().unwrap_or(Fate::Same);
        closed.insert(id.clone(), waits::closed(subject, fate));
    });
    let verdict = |id: &WorkloadId| {
        let found = all.of(id)?.clone();
        Some((id.clone(), Verdict { found, waits: closed.remove(id).unwrap_or_default() }))
    };
    world.namespace.workloads.keys().filter_map(verdict).collect()
}

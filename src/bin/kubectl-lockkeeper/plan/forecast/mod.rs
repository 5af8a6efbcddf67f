//! What the operator decides about the namespace as it is, and as it would be: by its own core, on
//! two worlds.

pub mod unheld;
mod waits;
mod worlds;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lockkeeper::{
    api::Phase,
    core::{
        arrange::{Surroundings, assess_each},
        governs::Ruling,
        hold::enforced::Enforcement,
        observed::{Workload, WorkloadId},
        planned::Plan,
        rest::News,
    },
};

use self::worlds::World;
pub use self::worlds::{Fate, nobodys};
use super::{judge::Situation, outcome::Wait};

/// What is decided about a workload.
pub struct Verdict {
    /// What the operator finds.
    pub found: Plan,
    /// Every gate that would keep its change waiting.
    pub waits: Vec<Wait>,
}

/// So often the operator may have to note something before it has nothing left to note.
const NOTES: usize = 4;

/// What the operator decides.
pub struct Forecast {
    before: BTreeMap<WorkloadId, Verdict>,
    after: BTreeMap<WorkloadId, Verdict>,
    /// The same as after, where every workload is rolled for config as well.
    config: BTreeMap<WorkloadId, Verdict>,
    world: World,
}

impl Forecast {
    /// Decides about both worlds.
    pub fn new(now: &Situation) -> Self {
        let records = worlds::records(now, now.before);
        let mut noted = worlds::before(now, &records);
        let before = decide(&noted, now);
        note_all(&mut noted, now);
        let world = worlds::after(now, &records, &noted);
        let config = decide(&world.with_eyes_on_config(), now);
        Self { before, config, after: decide(&world, now), world }
    }

    /// The workloads that begin to restart with a step before theirs once the rollouts of these are
    /// done.
    pub fn restarts(&self, done: &BTreeSet<WorkloadId>, now: &Situation) -> BTreeSet<WorkloadId> {
        let verdicts = decide(&self.world.once_done(done, now), now);
        let restarts = |(id, verdict): (WorkloadId, Verdict)| {
            let acts = !matches!(verdict.found.phase(), Phase::WouldRoll | Phase::WouldHold);
            (acts && verdict.found.report.config.restarts_with_previous()).then_some(id)
        };
        verdicts.into_iter().filter_map(restarts).collect()
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
        self.world.fates.get(workload).copied().unwrap_or(Fate::Same)
    }

    /// What changes of the config that it reads, whether or not its policy asks for that.
    pub fn changed_config(&self, workload: &Workload, ruling: Option<&Ruling>) -> &[String] {
        let asked = ruling.is_some_and(|ruling| ruling.spec().config.is_some());
        let verdicts = if asked { &self.after } else { &self.config };
        verdicts
            .get(&workload.id)
            .map_or(&[], |verdict| verdict.found.report.config.changed_config())
    }
}

/// Until the operator has noted all that it notes.
fn note_all(world: &mut World, now: &Situation) {
    for _ in 0..NOTES {
        let verdicts = decide(world, now);
        let noted = verdicts.iter().filter(|(id, verdict)| world.note(id, &verdict.found)).count();
        if noted == 0 {
            break;
        }
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

//! What can happen, chosen by a seed.

use std::time::Duration;

use lockkeeper::core::conversation::{Errand, answer::Answer};
use model::{admission::Twin, controllers};

use crate::{
    cluster::Cluster,
    fault::Fault,
    operator::{CHOSEN, KINDS, WITHOUT_STORAGE},
    scenes::Scene,
    seen::Seen,
};

/// splitmix64.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

impl Cluster {
    pub fn move_on(&mut self) -> Result<(), String> {
        if self.standby.is_some() && self.chance.below(2) == 0 {
            self.take_turns();
        }
        if self.scene.asks() {
            match self.chance.below(20) {
                0..=6 if self.scene == Scene::Volumes && self.chance.below(2) == 0 => {
                    self.storage_move();
                    return self.check();
                }
                0..=2 if self.standby.is_some() => {
                    let lost = [self.chance.below(8) == 0, self.chance.below(8) == 0];
                    self.elect(lost);
                    return self.check();
                }
                0..=7 => {
                    self.app_move();
                    return self.check();
                }
                8..=11 => return self.calm(),
                _ => {}
            }
        }
        match self.chance.below(100) {
            0..=17 => self.user()?,
            18..=20 => self.evict(),
            21..=45 => {
                // Looked at after each: what a ReplicaSet has too many may be gone after the next.
                for _ in 0..=self.chance.below(3) {
                    controllers::step(&mut self.server);
                    self.check()?;
                }
            }
            46..=66 => {
                let kinds = if self.scene == Scene::Volumes {
                    &KINDS[..CHOSEN]
                } else {
                    &KINDS[..WITHOUT_STORAGE]
                };
                let (kind, ..) = *self.chance.of(kinds);
                for _ in 0..=self.chance.below(6) {
                    self.operator.deliver(&self.server, kind);
                }
            }
            67..=79 => drop(self.decide()),
            80..=91 if !self.operator.stores.is_empty() && self.chance.below(2) == 0 => {
                let index = self.chance.below(self.operator.stores.len() as u64);
                self.store(usize::try_from(index).unwrap())?;
            }
            80..=91 if !self.operator.outbox.is_empty() => {
                let index = self.chance.below(self.operator.outbox.len() as u64);
                self.send(usize::try_from(index).unwrap())?;
            }
            92..=93 => {
                self.say(|| "the operator is killed, and starts again".to_owned());
                self.seen.crashes += 1;
                self.restart();
            }
            _ => {
                let time = *self.chance.of(&[100, 700, 1500, 4000, 70_000]);
                self.pass(Duration::from_millis(time));
            }
        }
        self.check()
    }

    /// For a while nothing is late or lost.
    pub fn calm(&mut self) -> Result<(), String> {
        let (rounds, nap) = (self.chance.below(8) + 1, *self.chance.of(&[200, 1000, 2500]));
        for _ in 0..rounds {
            self.round()?;
            self.pass(Duration::from_millis(nap));
        }
        Ok(())
    }

    /// Everybody does what is to be done. Returns whether anything was written.
    pub fn round(&mut self) -> Result<bool, String> {
        if self.standby.is_some() {
            // The one that leads, if one does, comes last and so stays.
            for _ in 0..2 {
                self.take_turns();
                self.elect([false; 2]);
                self.operator.deliver_all(&self.server);
                self.decide();
            }
            let now = self.server.now();
            if self.standby.as_ref().is_some_and(|standby| standby.may_act(now)) {
                self.take_turns();
            }
        }
        self.operator.deliver_all(&self.server);
        let mut busy = !self.operator.may_act(self.server.now());
        loop {
            self.decide();
            while !self.operator.outbox.is_empty() {
                self.send(0)?;
                self.check()?;
                busy = true;
            }
            while !self.operator.stores.is_empty() {
                self.store(0)?;
                self.check()?;
                busy = true;
            }
            // What is heard is decided on at once.
            if self.operator.talks.is_empty() {
                break;
            }
            while !self.operator.talks.is_empty() {
                self.talk(0, [false; 2]);
            }
        }
        busy |= controllers::step(&mut self.server);
        self.check()?;
        Ok(busy)
    }

    /// Time passes: what has no answer by then gets none.
    pub fn pass(&mut self, time: Duration) {
        self.server.advance(time);
        let now = self.server.now();
        let all = self
            .operator
            .talks
            .iter_mut()
            .chain(self.standby.iter_mut().flat_map(|standby| &mut standby.talks));
        for talk in all {
            if talk.begun + talk.call.gate.timeout.length() <= now {
                let late = talk
                    .call
                    .visits
                    .iter()
                    .zip(&mut talk.answers)
                    .filter(|(_, answer)| answer.is_none());
                for (visit, answer) in late {
                    *answer = Some(Answer::Hangs("no answer in time".to_owned()));
                    if talk.call.errand == Errand::Prepare {
                        self.apps.of(&visit.pod).prepared_at = now;
                    }
                }
            }
        }
    }

    /// The operator looks after its Lease, if there are several. A request or its answer may be
    /// lost.
    pub fn elect(&mut self, lost: [bool; 2]) {
        let now = self.server.now();
        let Some(candidate) = &mut self.operator.candidate else { return };
        let term = candidate.term;
        candidate.run(&mut self.lease, now, lost);
        let (begins, name) = (candidate.term > term, candidate.name.clone());
        self.seen.terms += u64::from(begins);
        if begins {
            self.say(|| format!("{name} begins to lead"));
        }
    }

    pub fn live(&mut self, moves: usize) -> Result<(), String> {
        for number in 0..moves {
            self.move_on().map_err(|violation| format!("after move {number}: {violation}"))?;
        }
        self.come_to_rest().map_err(|violation| format!("coming to rest: {violation}"))?;
        self.at_rest().map_err(|violation| format!("at rest: {violation}"))?;
        match self.scene.asks() {
            true => self.end_well().map_err(|violation| format!("in the end: {violation}")),
            false => Ok(()),
        }
    }
}

/// So many moves, chosen by a seed; then everything comes to rest.
pub fn run(
    scene: Scene,
    seed: u64,
    moves: usize,
    twin: Twin,
    fault: Option<Fault>,
    aloud: bool,
) -> Result<Seen, String> {
    let mut cluster = Cluster::new(scene, seed, twin, fault, aloud);
    let result = cluster.live(moves);
    for one in cluster.operator.attention.iter().filter(|_| aloud) {
        println!(
            "status: {}/{} {:?} ({:?}): {}",
            one.kind, one.name, one.phase, one.reason, one.message
        );
    }
    let (unblocked, found_again) = (cluster.kept.unblocked, cluster.kept.found_again);
    result.map(|()| Seen {
        followed: cluster.order.followed,
        unblocked,
        found_again,
        ..cluster.seen
    })
}

//! What is said between the operator and the pods of a workload: the calls that are to be made, and
//! what came of them.

pub mod answer;
pub mod visit;
pub mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

pub use self::visit::{Templates, Unplaced, Visit, place};
use crate::{
    api::AppGate,
    core::{
        conversation::answer::Answer,
        later,
        observed::{Pod, Uid, WorkloadId},
    },
    marks::About,
};

/// How long a pod that was asked to take no new work keeps to it, unless it is asked again.
pub const LEASE: Duration = Duration::from_secs(60);

/// What is remembered of a workload's pods. Losing it means asking again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// What its pods are being asked about.
    pub about: Option<About>,
    /// When the last round began and ended.
    pub round: Option<(Timestamp, Timestamp)>,
    /// What its pods answered in it.
    pub readings: BTreeMap<Uid, Reading>,
    /// When each pod last said yes or no, whatever it was asked about and whatever became of it
    /// since.
    pub spoke: BTreeMap<Uid, Timestamp>,
    /// The pods that were asked to take no new work, and may still keep to it.
    pub prepared: BTreeMap<Uid, Prepared>,
    /// Those of them that were told that they may take work again, and may not have heard it.
    pub withdrawn: BTreeSet<Uid>,
    /// Since when pods take no new work because of this change.
    pub preparing_since: Option<Timestamp>,
    /// Until when they are left alone, after that took too long.
    pub respite: Option<Timestamp>,
    /// Since when no pod of it counts, as far as that was seen.
    pub nobody_since: Option<Timestamp>,
    /// What a pod answered when it was asked whether the gate is set up rightly.
    pub verified: Option<Verified>,
    /// The calls that are being made.
    pub calling: BTreeSet<Errand>,
}

/// What a pod answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// How often its containers had been started again: after another time it is to be asked again.
    pub restarts: u32,
    /// What it answered last.
    pub answer: Answer,
    /// Since when it says so, in a word.
    pub since: Timestamp,
    /// In how many rounds in a row it answered yes.
    pub yes: u32,
    /// How many times in a row it gave no answer in time.
    pub hung: u32,
    /// One that hangs is asked less often: not before this.
    pub not_before: Timestamp,
    /// Since when it has answered neither yes nor no.
    pub silent_since: Option<Timestamp>,
}

/// What a pod answered when it was asked whether the gate is set up rightly.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// When.
    pub at: Timestamp,
    /// What.
    pub answer: Answer,
    /// The pod's name.
    pub pod: String,
    /// How it was asked: another gate is to be verified again.
    pub gate: AppGate,
}

/// A pod that was asked to take no new work.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Where, and which container of it.
    pub visit: Visit,
    /// How.
    pub gate: AppGate,
    /// The change because of which.
    pub about: Option<About>,
    /// Until when it keeps to it, as it agreed to.
    pub agreed_until: Option<Timestamp>,
    /// Until when it may keep to it, though we have no answer.
    pub until: Option<Timestamp>,
    /// When it was last asked to.
    pub tried: Timestamp,
    /// Why it does not, if so.
    pub refused: Option<String>,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Errand {
    /// May the pods be ended?
    Ask,
    /// The pods are to take no new work.
    Prepare,
    /// They may take work again.
    Withdraw,
    /// Does the gate work at all?
    Verify,
}

impl Errand {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "Ask",
            Self::Prepare => "Prepare",
            Self::Withdraw => "Withdraw",
            Self::Verify => "Verify",
        }
    }
}

/// Requests to pods of one workload, made at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The workload.
    pub workload: WorkloadId,
    /// Its uid.
    pub uid: Uid,
    /// The uid of its policy, for fairness.
    pub policy: Uid,
    /// What they are about, if it is a change.
    pub about: Option<About>,
    /// What for.
    pub errand: Errand,
    /// How.
    pub gate: AppGate,
    /// Whom.
    pub visits: Vec<Visit>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The call.
    pub call: Call,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What each pod answered; to POST and DELETE any 2xx is a yes.
    pub answers: Vec<Answer>,
}

impl Conversation {
    /// As it is remembered; none if there is nothing to remember.
    pub fn kept(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Answers about another change are void.
    pub fn turn_to(&mut self, about: Option<&About>) {
        if self.about.as_ref() != about {
            self.about = about.cloned();
            (self.round, self.preparing_since, self.respite, self.nobody_since) =
                (None, None, None, None);
            self.readings.clear();
        }
    }

    /// What a pod answered, unless its containers were started again since.
    pub fn reading(&self, pod: &Pod) -> Option<&Reading> {
        self.readings.get(&pod.uid).filter(|reading| reading.restarts == pod.restarts)
    }

    /// Forgets pods that are gone.
    pub fn keep_only(&mut self, there: &BTreeSet<&str>) {
        self.spoke.retain(|pod, _| there.contains(&**pod));
        self.readings.retain(|pod, _| there.contains(&**pod));
    }

    /// Takes in what came of a call.
    pub fn hear(&mut self, report: &Report) {
        let Call { errand, about, gate, visits, .. } = &report.call;
        self.calling.remove(errand);
        // The clock may have been set back in between.
        let begun = report.begun.min(report.ended);
        let answers = visits.iter().zip(&report.answers);
        match errand {
            Errand::Ask if *about == self.about => {
                self.round = Some((begun, report.ended));
                for (visit, answer) in answers {
                    if answer.is_usable() {
                        self.spoke.insert(visit.pod.clone(), report.ended);
                    }
                    let reading = Reading::after(
                        self.readings.get(&visit.pod),
                        visit,
                        answer,
                        gate,
                        report.ended,
                    );
                    self.readings.insert(visit.pod.clone(), reading);
                }
            }
            Errand::Ask => {}
            Errand::Prepare => {
                for (visit, answer) in answers {
                    let before = self
                        .prepared
                        .get(&visit.pod)
                        .filter(|before| before.visit.restarts == visit.restarts);
                    // It ends no earlier than reckoned from when we began to ask, and no later than
                    // from when we had the answer.
                    let agreed_until = match answer {
                        Answer::Yes => Some(later(begun, LEASE)),
                        _ => before.and_then(|before| before.agreed_until),
                    };
                    let until = match answer {
                        Answer::Yes | Answer::Hangs(_) => Some(later(report.ended, LEASE)),
                        _ => before.and_then(|before| before.until),
                    };
                    let (visit, gate, tried) = (visit.clone(), gate.clone(), begun);
                    let one = Prepared {
                        visit,
                        gate,
                        about: about.clone(),
                        agreed_until,
                        until,
                        tried,
                        refused: answer.trouble(),
                    };
                    self.prepared.insert(one.visit.pod.clone(), one);
                }
            }
            Errand::Withdraw => {
                for (visit, answer) in answers {
                    // What it was asked since then counts. One that cannot be reached finds the
                    // lease lapsed.
                    let lapsed = self
                        .prepared
                        .get(&visit.pod)
                        .is_some_and(|one| one.until.is_none_or(|until| until <= report.ended));
                    if *answer == Answer::Yes || matches!(answer, Answer::Missing(_)) || lapsed {
                        self.prepared.remove(&visit.pod);
                    } else if let Some(one) = self.prepared.get_mut(&visit.pod) {
                        one.tried = report.ended;
                    }
                }
            }
            Errand::Verify => {
                if let Some((visit, answer)) = answers.into_iter().next() {
                    let (answer, pod, gate) =
                        (answer.clone(), visit.name.to_string(), gate.clone());
                    self.verified = Some(Verified { at: report.ended, answer, pod, gate });
                }
            }
        }
    }
}

impl Reading {
    fn after(
        known: Option<&Self>,
        visit: &Visit,
        answer: &Answer,
        gate: &AppGate,
        now: Timestamp,
    ) -> Self {
        let silent_since = (!answer.is_usable())
            .then(|| known.and_then(|known| known.silent_since).unwrap_or(now));
        let before = known.filter(|known| known.restarts == visit.restarts);
        let same = before.filter(|before| before.answer.as_str() == answer.as_str());
        let hung = if let Answer::Hangs(_) = answer {
            before.map_or(0, |before| before.hung) + 1
        } else {
            0
        };
        // It may be slow once or twice. Then it costs a place that others need.
        let pause = match hung {
            0..3 => Duration::ZERO,
            more => gate
                .period
                .length()
                .saturating_mul(1 << (more - 2).min(6))
                .min(Duration::from_secs(60)),
        };
        Self {
            restarts: visit.restarts,
            answer: answer.clone(),
            since: same.map_or(now, |same| same.since),
            yes: if *answer == Answer::Yes { before.map_or(0, |before| before.yes) + 1 } else { 0 },
            hung,
            not_before: later(now, pause),
            silent_since,
        }
    }
}

//! The Lease for which several operators run, with their real participants. Their clocks are one;
//! what clocks may do is tried elsewhere.

use std::time::Duration;

use jiff::Timestamp;
use lockkeeper::core::lease::{Answer, Identity, Participant, Record, Step, Timing};

/// The Lease on the API server.
#[derive(Default)]
pub struct Lease {
    record: Option<Record>,
    version: u64,
}

impl Lease {
    /// Carries out a request.
    fn serve(&mut self, step: &Step) -> Answer {
        let written = |record: &Record, version: u64| Record {
            version: version.to_string(),
            ..record.clone()
        };
        let new = match (step, &self.record) {
            (Step::Look, None) => return Answer::Absent,
            (Step::Look, Some(record)) => return Answer::Lease(record.clone()),
            (Step::Create(record), None) => written(record, self.version + 1),
            (Step::Replace(record), Some(known)) if known.version == record.version => {
                written(record, self.version + 1)
            }
            _ => return Answer::Refused,
        };
        self.version += 1;
        Answer::Lease(self.record.insert(new).clone())
    }
}

/// One operator's part in it.
pub struct Candidate {
    pub name: String,
    participant: Participant,
    since: Timestamp,
    /// How many times it has become leader.
    pub term: u64,
}

impl Candidate {
    pub fn new(name: String, now: Timestamp) -> Self {
        let identity = Identity { process: name.clone(), container: None };
        Self {
            participant: Participant::new(identity, Timing::default()),
            name,
            since: now,
            term: 0,
        }
    }

    fn clock(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.since)).unwrap_or_default()
    }

    pub fn may_act(&self, now: Timestamp) -> bool {
        self.participant.may_act(self.clock(now))
    }

    /// Its next request, if it is time for one; that, or its answer, may be lost.
    pub fn run(
        &mut self,
        lease: &mut Lease,
        now: Timestamp,
        [request_lost, answer_lost]: [bool; 2],
    ) {
        let (clock, acted) = (self.clock(now), self.may_act(now));
        let step = self.participant.step(clock, now);
        if matches!(step, Step::Rest(_) | Step::End) {
            return;
        }
        let answer = if request_lost { Answer::Unanswered } else { lease.serve(&step) };
        self.participant.answered(if answer_lost { Answer::Unanswered } else { answer }, clock);
        self.term += u64::from(!acted && self.may_act(now));
    }
}

//! Which of several operators acts: one participant's view of the Lease that they share.
//!
//! Kubernetes gives one thing to build on: a replace that names a resourceVersion fails once the
//! object has another one. The rest follows from two spans. A holder acts until
//! [`Timing::deadline`] after it *sent* its last renewal that succeeded. Nobody takes a Lease
//! before it has been seen, without any change, for [`Timing::lease`]. Who sees a renewal sees it
//! after it was sent, and a replace of what was seen proves that nothing was written since; so the
//! holder has stopped before another begins, whatever the network and the API server do.
//!
//! Every span is measured by the participant's own monotonic clock. The times in the record are for
//! people: clocks of nodes may be hours apart. Assumed is only that monotonic clocks run at about
//! the same rate (within a third, with the spans of [`Timing::default`]). A process may be stopped
//! for any time, at any point; a machine that is suspended as a whole, with its clock, is not
//! covered. Nor is a person who writes into the Lease that it was let go; one who deletes it,
//! erases it or puts an old one back is.
//!
//! One holder is known to be dead: an earlier process of our own container, since a kubelet starts
//! a container only after its last process has ended. What it held is taken at once, if the Lease
//! shows that the holder itself wrote its name there ([`Record::written_by_holder`]): then nobody
//! has held the Lease after it.
//!
//! [`Participant::step`] says what to do, [`Participant::answered`] takes what came of it: one
//! request at a time.

use std::time::Duration;

use jiff::Timestamp;

/// The `leaseDurationSeconds` of a Lease that was let go, as Kubernetes' own components write it.
/// With an empty holder it says that the holder has stopped: the Lease may be taken at once.
const LET_GO: i32 = 1;

/// The spans of an election, each by the participant's own monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease must have been seen unchanged before it is taken from its holder. The
    /// API knows whole seconds of it.
    pub lease: Duration,
    /// How long after a renewal was sent its sender may act. The distance to `lease` is what
    /// clocks may differ in their rates.
    pub deadline: Duration,
    /// Between two renewals or two tries.
    pub retry: Duration,
    /// Between two looks at a Lease that another holds: so late it is noticed that he let go of it,
    /// or that he renews it no longer.
    pub look: Duration,
    /// No answer is waited for longer than this.
    pub call: Duration,
}

impl Default for Timing {
    /// A holder that dies is replaced within 15 s (`look` and `lease`, and half a second to see
    /// what it did last), one that lets go within 2 s. Two calls that hang are survived.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(13),
            deadline: Duration::from_secs(9),
            retry: Duration::from_secs(2),
            look: Duration::from_secs(1),
            call: Duration::from_secs(3),
        }
    }
}

/// What a Lease says. What it lacks is empty; one without a spec has no holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`; another one with each write, no matter who made it and of what.
    pub version: String,
    /// `holderIdentity`.
    pub holder: String,
    /// `leaseDurationSeconds`.
    pub seconds: Option<i32>,
    /// `acquireTime`, by the wall clock of the holder.
    pub acquired: Option<Timestamp>,
    /// `renewTime`, by the wall clock of the holder, in microseconds.
    pub renewed: Option<Timestamp>,
    /// `leaseTransitions`: how often the holder changed.
    pub transitions: i32,
    /// `holderIdentity` was last changed by one of those who run for the Lease, so by the holder:
    /// `metadata.managedFields` says so. False for what a person put there, and where it cannot be
    /// known.
    pub written_by_holder: bool,
}

/// What a participant is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Not empty, and never used by another process or by a later one.
    pub process: String,
    /// What all processes of its container begin with, and no others; none if it is not known to
    /// run in a container.
    pub container: Option<String>,
}

impl Identity {
    /// Whether this is an earlier process of the same container.
    fn succeeds(&self, holder: &str) -> bool {
        holder != self.process
            && self
                .container
                .as_ref()
                .is_some_and(|container| !container.is_empty() && holder.starts_with(container))
    }
}

impl Record {
    /// Its last holder says that it has stopped. A holder that is merely missing says nothing:
    /// it may have been erased.
    fn is_let_go(&self) -> bool {
        self.holder.is_empty() && self.seconds == Some(LET_GO)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Get the Lease.
    Look,
    /// Create the Lease as this says.
    Create(Record),
    /// Replace the Lease as this says, if it still has this version.
    Replace(Record),
    /// Nothing until then; then ask for the next step.
    Rest(Duration),
    /// Nothing any more: told to stop, and nothing of ours stands.
    End,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The Lease, as it was found or as it was written.
    Lease(Record),
    /// There is no Lease (404 to a look).
    Absent,
    /// Not done, for certain: a conflict, or any other refusal.
    Refused,
    /// It may have been done, or may yet be.
    Unanswered,
}

/// A record that was seen.
#[derive(Debug, Clone)]
struct Sight {
    record: Record,
    /// When it was first seen as it is now.
    since: Duration,
    /// Last written by us.
    ours: bool,
}

/// One of those who would hold the Lease. Times are since any fixed moment of the process, by its
/// monotonic clock.
#[derive(Debug, Clone)]
pub struct Participant {
    identity: Identity,
    timing: Timing,
    sight: Option<Sight>,
    /// The sight is from before the last pause or failure: look before deciding.
    stale: bool,
    /// What was asked to be written and has no answer yet, and when it, or a look, was sent.
    asked: Option<Record>,
    sent: Duration,
    /// The last write that had no answer in time, and when it was sent.
    unanswered: Option<(Record, Duration)>,
    acts_until: Duration,
    next: Duration,
    stopping: bool,
}

impl Participant {
    /// One that has seen nothing.
    pub fn new(identity: Identity, timing: Timing) -> Self {
        Self {
            identity,
            timing,
            sight: None,
            stale: true,
            asked: None,
            sent: Duration::ZERO,
            unanswered: None,
            acts_until: Duration::ZERO,
            next: Duration::ZERO,
            stopping: false,
        }
    }

    /// It may act strictly before this time, and nobody else does. It only ever moves on by a
    /// renewal that was answered.
    pub fn acts_until(&self) -> Duration {
        self.acts_until
    }

    /// Whether it may act now.
    pub fn may_act(&self, now: Duration) -> bool {
        now < self.acts_until
    }

    /// Who else holds the Lease, as last seen.
    pub fn other_holder(&self) -> Option<&str> {
        self.sight
            .as_ref()
            .filter(|sight| self.names_another(&sight.record))
            .map(|sight| sight.record.holder.as_str())
    }

    /// It has stopped acting, and what it sent has ended: lets go of the Lease, if it has it.
    pub fn stop(&mut self, now: Duration) {
        (self.stopping, self.acts_until, self.next) = (true, Duration::ZERO, now);
    }

    /// What to do now; a request must be sent after this call, and its outcome given to
    /// [`Participant::answered`]. `wall` is for the record's times only.
    pub fn step(&mut self, now: Duration, wall: Timestamp) -> Step {
        if self.asked.is_some() {
            // The one that asked has given up without saying so.
            self.answered(Answer::Unanswered, now);
            if self.stopping {
                self.next = now;
            }
        }
        if now < self.next {
            return self.rest(now);
        }
        self.sent = now;
        if self.stale {
            let may_stand =
                self.unanswered.is_some() || self.sight.as_ref().is_some_and(|sight| sight.ours);
            return if self.stopping && !may_stand { Step::End } else { Step::Look };
        }
        let Some(sight) = &self.sight else {
            return if self.stopping { Step::End } else { Step::Create(self.vacant()) };
        };
        let wanted = if self.is_ours(sight, now) {
            if self.stopping {
                self.let_go(&sight.record, wall)
            } else {
                self.held(&sight.record, wall)
            }
        } else if self.stopping {
            return Step::End;
        } else if sight.record.is_let_go()
            || self.outlived(&sight.record)
            || now >= sight.since + self.timing.lease
        {
            self.held(&sight.record, wall)
        } else {
            (self.stale, self.next) =
                (true, (now + self.timing.look).min(sight.since + self.timing.lease));
            return self.rest(now);
        };
        self.asked = Some(wanted.clone());
        Step::Replace(wanted)
    }

    /// Takes what came of the last step, at the time when the answer was read or given up.
    pub fn answered(&mut self, answer: Answer, now: Duration) {
        let asked = self.asked.take();
        match (answer, asked) {
            (Answer::Lease(record), Some(asked)) => {
                let ours = asked.holder == self.identity.process;
                self.sight = Some(Sight { record, since: now, ours });
                self.unanswered = None;
                if ours && !self.stopping {
                    // Not since the answer: who saw the write may count from before that.
                    self.acts_until = self.sent + self.timing.deadline;
                    self.next = self.sent + self.timing.retry;
                }
            }
            (Answer::Lease(record), None) => self.see(record, now),
            (Answer::Absent, _) => (self.sight, self.unanswered, self.stale) = (None, None, false),
            (failed, asked) => {
                if let (Answer::Unanswered, Some(asked)) = (failed, asked) {
                    self.unanswered = Some((asked, self.sent));
                }
                (self.stale, self.next) = (true, now.max(self.sent + self.timing.retry));
            }
        }
    }

    fn see(&mut self, record: Record, now: Duration) {
        self.stale = false;
        if self.sight.as_ref().is_some_and(|sight| sight.record == record) {
            return;
        }
        let mut ours = false;
        if let Some((asked, sent)) = &self.unanswered
            && asked.version != record.version
        {
            // Done after all, or never: its version is gone. A record as old as a term proves
            // nothing, it may have been restored.
            let done = Record {
                version: record.version.clone(),
                written_by_holder: record.written_by_holder,
                ..asked.clone()
            };
            ours = done == record
                && record.holder == self.identity.process
                && now < *sent + self.timing.deadline;
            self.unanswered = None;
        }
        if self.names_another(&record) {
            self.acts_until = Duration::ZERO;
        }
        self.sight = Some(Sight { record, since: now, ours });
    }

    /// As long as we act nobody else does, so what we then see may be written over: it names nobody
    /// else, or we would act no longer. It is ours with its answer lost, or somebody erased it.
    fn is_ours(&self, sight: &Sight, now: Duration) -> bool {
        sight.ours || self.may_act(now)
    }

    /// Its holder is dead, and it has had no holder since.
    fn outlived(&self, record: &Record) -> bool {
        record.written_by_holder && self.identity.succeeds(&record.holder)
    }

    fn names_another(&self, record: &Record) -> bool {
        !record.holder.is_empty() && record.holder != self.identity.process
    }

    /// Rests, but not beyond the end of the term: that is to be noticed in time.
    fn rest(&self, now: Duration) -> Step {
        Step::Rest(if self.may_act(now) { self.next.min(self.acts_until) } else { self.next })
    }

    /// A new Lease belongs to no replica: if there was one, its holder may still act. It is taken
    /// like any other, once it was seen for long enough.
    fn vacant(&self) -> Record {
        Record { seconds: Some(self.seconds()), ..Record::default() }
    }

    fn held(&self, seen: &Record, wall: Timestamp) -> Record {
        let wall = Some(microseconds(wall));
        let stays = seen.holder == self.identity.process;
        Record {
            version: seen.version.clone(),
            holder: self.identity.process.clone(),
            seconds: Some(self.seconds()),
            acquired: if stays { seen.acquired } else { wall },
            renewed: wall,
            transitions: if stays {
                seen.transitions
            } else {
                seen.transitions.max(0).saturating_add(1)
            },
            written_by_holder: true,
        }
    }

    fn let_go(&self, seen: &Record, wall: Timestamp) -> Record {
        Record {
            holder: String::new(),
            seconds: Some(LET_GO),
            renewed: Some(microseconds(wall)),
            ..seen.clone()
        }
    }

    /// More than one, which would say that it was let go.
    fn seconds(&self) -> i32 {
        i32::try_from(self.timing.lease.as_secs()).unwrap_or(i32::MAX).max(LET_GO + 1)
    }
}

/// `time` as Kubernetes keeps it in a Lease.
fn microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

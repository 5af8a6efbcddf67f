//! The requests to the pods of a workload that come of one decision.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    api::AppGate,
    core::{
        conversation::{Call, Conversation, Errand, Visit},
        notice::Event,
        observed::Uid,
        subject::Subject,
    },
    marks::About,
};

/// The requests to the pods of a workload that come of one decision, and what is remembered of its
/// pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Talk {
    /// What is remembered.
    pub conversation: Conversation,
    /// The requests to make now.
    pub calls: Vec<Call>,
    /// The pods are being asked about a change.
    pub asks: bool,
    /// The pods that take no new work, or shall not.
    pub draining: BTreeSet<Uid>,
    /// When to look again.
    pub wake: Option<Timestamp>,
    /// What happened.
    pub notices: Vec<(Event, String)>,
}

impl Talk {
    /// No request yet.
    pub fn of(remembered: Option<Box<Conversation>>) -> Self {
        let conversation = remembered.map(|one| *one).unwrap_or_default();
        Self { conversation, ..Self::default() }
    }

    /// Asks pods something, unless they are being asked.
    pub fn call(
        &mut self,
        subject: &Subject,
        errand: Errand,
        about: Option<About>,
        gate: &AppGate,
        visits: Vec<Visit>,
    ) {
        if self.conversation.calling.insert(errand) {
            self.calls.push(Call {
                workload: subject.workload.id.clone(),
                uid: subject.workload.uid.clone(),
                policy: subject.ruling.policy().uid.clone(),
                about,
                errand,
                gate: gate.clone(),
                visits,
            });
        }
    }

    /// The answers so far stand, although nothing can be decided now.
    pub fn go_on(&mut self) {
        self.asks = true;
        self.draining.extend(self.conversation.prepared.keys().cloned());
    }

    /// Looks again at this time, or earlier.
    pub fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }
}

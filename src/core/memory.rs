//! What is remembered of a workload from one decision to the next, and what became of the last
//! requests for it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::HoldStatus,
    core::{
        additions::Additions,
        conversation::Conversation,
        gates::blocker::Closed,
        hold::state::Hold,
        observed::{Template, TemplateDigest, Workload},
        report::{Report, Verdict},
        writers::Writers,
    },
    marks::{About, ChangeId},
};

/// What is remembered of a workload from one decision to the next. Losing it changes no outcome: it
/// spares events and waits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Since when what is desired differs from the target.
    pub differs_since: Option<Timestamp>,
    /// It had a record when last seen.
    pub had_record: bool,
    /// Which manager took the record away, how often, and when last.
    pub reverted: Option<(String, u32, Timestamp)>,
    /// Where it stood, and why.
    pub last: Option<Verdict>,
    /// What was shown of a change that waits.
    pub shown: Option<HoldStatus>,
    /// Since when it carries marks although no policy selects it.
    pub stray_since: Option<Timestamp>,
    /// Its template when it was last seen.
    pub template: Option<SeenTemplate>,
    /// When its template, or config that it reads, was last seen to change.
    pub changed_at: Option<Timestamp>,
    /// When it was last seen without the marks by which its changes are held. What changed before
    /// was not to be held.
    pub unmarked_at: Option<Timestamp>,
    /// The hold that was last seen.
    pub hold: Option<ChangeId>,
    /// A user scaled while fewer replicas waited: the id of the hold, and what the mark said that
    /// is to say so.
    pub scaled: Option<(ChangeId, String)>,
    /// Of the hold at hand: its template is the same as before it.
    pub hold_of_nothing: bool,
    /// When a held template was changed again in nothing but annotations, within the last hour, and
    /// in which.
    pub volatile: Vec<Restamp>,
    /// Who changed its template lately.
    pub writers: Writers,
    /// Its policy only observes, and its template changed: without that it would have been held.
    pub would_hold: bool,
    /// When admission was last asked again to restore what a release left.
    pub judged_again: Option<Timestamp>,
    /// It could be stopped for an offline upgrade.
    pub agrees: bool,
    /// The snapshots that it needs before its data changes in an offline upgrade are ready.
    pub saved: bool,
    /// When it was last told that its maintenance lasts.
    pub reminded_at: Option<Timestamp>,
    /// The gate that keeps a change waiting, and since when.
    pub gate: Option<(Closed, Timestamp)>,
    /// Who approved the change that waits, but may not: they made it.
    pub own_approval: Option<String>,
    /// Since when what it runs cannot start again.
    pub broken_since: Option<Timestamp>,
    /// It was reported that what it runs cannot start again.
    pub broken_told: bool,
    /// It was reported that its policy went with the CRD.
    pub lost_told: bool,
    /// Of what others' admission changed in our writes, what was told.
    pub additions_told: Vec<String>,
    /// What its pods answered; none of most workloads, whose pods nobody asks. So it is kept apart.
    pub app: Option<Box<Conversation>>,
    /// Pods that its controller has not created.
    pub lack: Option<Lack>,
    /// Where it was at rest, and is until something happens.
    pub rest: Option<Rest>,
}

impl Memory {
    /// What its pods are being asked about.
    pub fn asked_about(&self) -> Option<&About> {
        self.app.as_ref()?.about.as_ref()
    }
}

/// Pods that a controller has not created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Since when they are missing.
    pub since: Timestamp,
    /// When its events were last looked for.
    pub looked: Option<Timestamp>,
    /// Why it cannot create them, as its events have it.
    pub why: Option<Box<str>>,
}

/// A change of nothing but a held template's annotations.
#[derive(Debug, Clone, PartialEq)]
pub struct Restamp {
    /// When.
    pub at: Timestamp,
    /// Which annotations.
    pub keys: Vec<Box<str>>,
    /// The user of the write, and the field manager if it is known.
    pub writer: String,
}

/// A pod template that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenTemplate {
    /// All of it but our config-hash.
    pub digest: TemplateDigest,
    /// All of it but its annotations.
    pub body: TemplateDigest,
    /// Its annotations.
    pub annotations: Arc<[(Box<str>, TemplateDigest)]>,
    /// Its images.
    pub images: Arc<[(Box<str>, TemplateDigest)]>,
    /// The workload's generation.
    pub generation: i64,
}

impl SeenTemplate {
    /// What is remembered of a workload's template.
    pub fn of(workload: &Workload) -> Self {
        let Template { digest, body, annotations, images, .. } = &workload.template;
        let (annotations, images) = (annotations.clone(), images.clone());
        Self { digest: *digest, body: *body, annotations, images, generation: workload.generation }
    }
}

/// What the executor is doing about a workload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Activity {
    /// A request is under way, or was accepted and is not yet seen in the watch.
    pub in_flight: bool,
    /// That request begins a rollout.
    pub begins: bool,
    /// The last request failed.
    pub trouble: Option<Trouble>,
    /// What others' admission changed in our writes.
    pub additions: Additions,
}

/// A request that failed and will be made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// Refused by the API server (admission, RBAC, quota), as against unanswered.
    pub refused: bool,
    /// Another admission policy changed the template in it: it is accepted with a hold.
    pub needs_hold: bool,
    /// The answer, in a sentence.
    pub message: String,
    /// Not to be tried again before this.
    pub retry_at: Timestamp,
}

/// When the template of a workload was last seen to change. One that is held when it is first seen
/// has just changed, for all we know.
pub fn template_changed_at(
    workload: &Workload,
    memory: &Memory,
    now: Timestamp,
) -> Option<Timestamp> {
    let changed = match &memory.template {
        Some(seen) => seen.digest != workload.template.digest,
        None => Hold::on(workload).is_some(),
    };
    if changed { Some(now) } else { memory.changed_at }
}

/// That a workload is at rest: nothing changes before something happens, or a time comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rest {
    /// What is reported of it.
    pub report: Arc<Report>,
    /// When it is to be judged again, whatever happens.
    pub wake: Option<Timestamp>,
    /// Of one that is not up to date, but waits for something.
    pub(in crate::core) waiting: Option<Waiting>,
}

/// When a workload that waits for something was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) struct Waiting {
    /// When something of its policy had changed last.
    pub last_change: Option<Timestamp>,
    /// When it was judged.
    pub judged: Timestamp,
}

//! What became of the last rollout that we let through, compared with what is seen now.

use jiff::Timestamp;

pub use crate::marks::outcome::{Ended, Followed, Outcome};
use crate::{
    api::ChangeCause,
    core::{
        digest::Key,
        observed::{Pod, Workload},
        whole_second,
    },
};

/// What a workload restarts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Previous {
    /// With nothing.
    Nothing,
    /// With the step before, which is not done.
    NotDone,
    /// With the step before, which has rolled this out last.
    Done(Followed),
}

impl Outcome {
    /// What the annotation on a workload says.
    pub fn on(workload: &Workload) -> &Self {
        workload.marks.outcome()
    }

    /// The same with a rollout that begins.
    #[must_use]
    pub fn begun(&self, change: String, now: Timestamp) -> Self {
        Self {
            done: self.done.clone(),
            done_at: self.done_at,
            left: true,
            change: Some(change.into()),
            template: None,
            generation: None,
            ended: Ended::UnderWay,
            at: Some(whole_second(now)),
            approved_by: None,
            bypassed_by: None,
            followed: self.followed.clone(),
            migrated: self.migrated.clone(),
        }
    }

    /// Whether a workload of the step before was rolled out since this one followed it. One that it
    /// did not know is not missed.
    pub fn has_missed(&self, previous: &Followed) -> bool {
        let followed = self.followed.iter().flatten();
        followed
            .into_iter()
            .any(|(uid, rollout)| previous.get(uid).is_some_and(|newest| newest != rollout))
    }

    /// Whether pods of what was rolled out last are missing, on their way out, or replaced by
    /// others.
    pub fn has_moved(&self, workload: &Workload, pods: &[&Pod]) -> bool {
        let Some(done) = self.done.as_deref() else { return false };
        let stay = pods.iter().filter(|pod| !pod.is_leaving() && pod.is_of(Some(done)));
        stay.count() < pods.len().max(workload.rollout.wanted as usize)
    }

    /// Whether the pods at hand are those that ran when a rollout was last done, or when the next
    /// one began: whatever began since has replaced none of them.
    pub fn has_replaced_none(&self, workload: &Workload, pods: &[&Pod]) -> bool {
        let since = self.done_at.max(self.begun_at());
        !self.has_moved(workload, pods) && pods.iter().all(|pod| Some(pod.created) <= since)
    }

    /// Takes note of what was rolled out in the step before, as known or, with `all`, as followed.
    pub fn follow(&mut self, previous: &Previous, all: bool) {
        match previous {
            Previous::Nothing => self.followed = None,
            Previous::Done(newest) if all || !self.has_missed(newest) => {
                self.followed = Some(newest.clone())
            }
            Previous::Done(_) | Previous::NotDone => {}
        }
    }

    /// What others' admission made of the template in the write that let it through is the change
    /// from now on.
    pub fn settle(&mut self, workload: &Workload, key: &Key) {
        if self.generation != Some(workload.generation) {
            return;
        }
        let now = Some(template_change(workload, key).into());
        let known = if self.template.is_some() { &mut self.template } else { &mut self.change };
        if *known != now {
            (*known, self.generation) = (now, None);
        }
    }

    /// What the rollout that began last was for.
    pub fn cause(&self, workload: &Workload) -> ChangeCause {
        if self.change.as_deref() == workload.template.config_hash.as_deref() {
            ChangeCause::Config
        } else {
            ChangeCause::Template
        }
    }

    /// Whether the template at hand is the one that we let through.
    pub fn is_of(&self, workload: &Workload, key: &Key) -> bool {
        let Some(change) = self.change.as_deref() else { return false };
        Some(change) == workload.template.config_hash.as_deref()
            || *change == *template_change(workload, key)
            || self.generation == Some(workload.generation)
    }

    /// As [`Outcome::is_of`], and nothing but the config came with a change of config: its
    /// config-hash stays in every template after it.
    pub fn let_through(&self, workload: &Workload, key: &Key) -> bool {
        self.is_of(workload, key)
            && self.template.as_deref().is_none_or(|template| {
                *template == *template_change(workload, key)
                    || self.generation == Some(workload.generation)
            })
    }
}

/// Names the template of a workload without telling anything of it.
pub fn template_change(workload: &Workload, key: &Key) -> String {
    let digest = key
        .sum("template")
        .field(workload.uid.as_bytes())
        .field(&workload.template.digest.0)
        .digest();
    format!("t-{}", digest.to_string().chars().take(16).collect::<String>())
}

//! What became of the last rollout that we let through, and which revision was last rolled out: the
//! annotation `lockkeeper.dev/rollout`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    api::ChangeCause,
    core::{
        digest::Key,
        hold::authors::in_words,
        observed::{Pod, Workload},
        whole_second,
    },
};

/// The annotation; what cannot be read is as if it said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The revision label's value of the pods of the last rollout that was done, no matter who
    /// began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
    /// When that was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
    /// Since then another revision began, and pods moved: the one that was done is not done any
    /// longer, also when it comes back, before all its pods run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// The change that we let through last: its config-hash, or what [`template_change`] makes of
    /// its template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// Of a change of config, the template that it came with, as [`template_change`] names it:
    /// config-hash stays in the template afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The generation of the write that let it through: the template of that generation is the
    /// change, whatever others' admission made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// What became of it.
    #[serde(skip_serializing_if = "Ended::is_open")]
    pub ended: Ended,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Who approved that change, if somebody had to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Whose bypass let it through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypassed_by: Option<String>,
    /// Of a workload that restarts with the step before it: by their uids, the rollouts of that
    /// step's workloads that it has followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
}

/// Rollouts of other workloads, by the beginning of the workload's uid: the revision, and when it
/// was done.
pub type Followed = BTreeMap<String, String>;

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

/// What became of a rollout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// Nothing yet.
    #[default]
    UnderWay,
    /// All pods are of its template and available.
    Done,
    /// No progress within the deadline. It may still be done.
    Failed,
}

impl Ended {
    fn is_open(&self) -> bool {
        *self == Self::UnderWay
    }
}

impl Outcome {
    /// What the annotation on a workload says.
    pub fn on(workload: &Workload) -> Self {
        workload.marks.rollout.as_deref().map(Self::parse).unwrap_or_default()
    }

    /// What a text says; what cannot be read says nothing.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// When the rollout under way began, or last went a step further.
    pub fn begun_at(&self) -> Option<Timestamp> {
        self.at.filter(|_| self.ended == Ended::UnderWay)
    }

    /// The annotation's text.
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same with a rollout that begins.
    #[must_use]
    pub fn begun(&self, change: String, now: Timestamp) -> Self {
        Self {
            done: self.done.clone(),
            done_at: self.done_at,
            left: true,
            change: Some(change),
            template: None,
            generation: None,
            ended: Ended::UnderWay,
            at: Some(whole_second(now)),
            approved_by: None,
            bypassed_by: None,
            followed: self.followed.clone(),
        }
    }

    /// Who let the change through that began last, in words; empty if nobody had to.
    pub fn consent(&self) -> String {
        match (&self.bypassed_by, &self.approved_by) {
            (Some(by), _) => format!("released past its gates by {}", in_words(by)),
            (None, Some(by)) => format!("approved by {}", in_words(by)),
            (None, None) => String::new(),
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
        let stays =
            |pod: &&&Pod| pod.terminating.is_none() && pod.revision.as_deref() == Some(done);
        pods.iter().filter(stays).count() < pods.len().max(workload.rollout.wanted as usize)
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
        let now = Some(template_change(workload, key));
        let known = if self.template.is_some() { &mut self.template } else { &mut self.change };
        if *known != now {
            (*known, self.generation) = (now, None);
        }
    }

    /// What the rollout that began last was for.
    pub fn cause(&self, workload: &Workload) -> ChangeCause {
        if self.change == workload.template.config_hash {
            ChangeCause::Config
        } else {
            ChangeCause::Template
        }
    }

    /// Whether the template at hand is the one that we let through.
    pub fn is_of(&self, workload: &Workload, key: &Key) -> bool {
        let Some(change) = &self.change else { return false };
        Some(change) == workload.template.config_hash.as_ref()
            || *change == template_change(workload, key)
            || self.generation == Some(workload.generation)
    }

    /// As [`Outcome::is_of`], and nothing but the config came with a change of config: its
    /// config-hash stays in every template after it.
    pub fn let_through(&self, workload: &Workload, key: &Key) -> bool {
        let same = |template: &String| {
            *template == template_change(workload, key)
                || self.generation == Some(workload.generation)
        };
        self.is_of(workload, key) && self.template.as_ref().is_none_or(same)
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

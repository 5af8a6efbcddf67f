//! What is to be written on a workload.

use std::collections::BTreeMap;

use crate::{
    core::{
        observed::Workload,
        request::{FieldEdit, Has, Patch, Purpose},
    },
    marks::MarkSet,
};

/// What is to be written on a workload, all in one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    /// The annotations that it is to carry, or not to.
    pub annotations: BTreeMap<&'static str, Option<String>>,
    /// What is done to the label of what is governed, which names its judge.
    pub governed: Option<FieldEdit>,
    /// What is done to the template's config-hash.
    pub config_hash: Option<FieldEdit>,
    /// What for; none: to take note of something.
    pub purpose: Option<Purpose>,
}

impl Edits {
    /// Sets an annotation.
    pub fn set(&mut self, mark: &'static str, value: impl Into<String>) {
        self.annotations.insert(mark, Some(value.into()));
    }

    /// Removes an annotation.
    pub fn clear(&mut self, mark: &'static str) {
        self.annotations.insert(mark, None);
    }

    /// Leaves an annotation as it is.
    pub fn leave(&mut self, mark: &'static str) {
        self.annotations.remove(mark);
    }

    /// What an annotation is to say; none: it is left as it is.
    pub fn wanted(&self, mark: &'static str) -> Option<Option<&str>> {
        self.annotations.get(mark).map(Option::as_deref)
    }

    /// These and then those: where both say something, the later ones count.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        self.annotations.extend(later.annotations);
        Self {
            annotations: self.annotations,
            governed: later.governed.or(self.governed),
            config_hash: later.config_hash.or(self.config_hash),
            purpose: later.purpose.or(self.purpose),
        }
    }

    /// Without what is so already on the workload.
    #[must_use]
    pub fn that_differ(mut self, workload: &Workload) -> Self {
        self.annotations.retain(|mark, wanted| match wanted {
            Some(value) => workload.marks.text(mark).as_deref() != Some(value),
            None => workload.marks.stands(mark),
        });
        self
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.governed.is_none() && self.config_hash.is_none()
    }

    /// The request.
    pub fn patch(self, workload: &Workload) -> Patch {
        Patch {
            workload: workload.id.clone(),
            uid: workload.uid.clone(),
            resource_version: workload.resource_version,
            generation: workload.generation,
            annotations: self.annotations.into_iter().collect(),
            governed: self.governed,
            config_hash: self.config_hash,
            has: Has {
                annotations: workload.has_annotations,
                labels: workload.has_labels,
                template_annotations: workload.template.has_annotations,
            },
            purpose: self.purpose.unwrap_or(Purpose::Record),
        }
    }
}

//! What other admission policies and webhooks changed in our writes.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::core::{later, some_of};

/// Whose a template change is that another policy or webhook makes in a write of ours. Admission
/// writes the same.
pub const AUTHOR: &str = "an admission policy or webhook";

/// Maximum number of fields that are named.
const NAMED: usize = 5;
/// A template that is changed so often in our own writes, within [`WINDOW`] of each other, is
/// changed by each of them.
const TIMES: u32 = 3;
pub(in crate::core) const WINDOW: Duration = Duration::from_secs(3600);

/// Why self-restraint refused a write of ours: another admission policy changed these fields in
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restrained {
    /// They say what a workload runs, or what else our account may not change.
    Forbidden(String),
    /// The template would change, and pods would roll past their gates. With a hold it is accepted.
    WithoutHold(String),
}

impl Restrained {
    /// Reads the API server's message.
    pub fn parse(message: &str) -> Option<Self> {
        let (_, why) = message.split_once("Lockkeeper restrains itself: ")?;
        let (before, fields) = why.split_once("its account may not change ")?;
        let fields: Vec<_> = fields.split(", ").map(str::trim).collect();
        let fields = some_of(&fields, NAMED);
        Some(if before.contains("without a hold") {
            Self::WithoutHold(fields)
        } else {
            Self::Forbidden(fields)
        })
    }
}

/// The fields that a warning of the API server names: others changed them in our write, and that
/// was accepted.
pub fn added(warning: &str) -> Vec<String> {
    let fields = warning
        .split_once("changed by another admission policy or webhook: ")
        .map(|(_, fields)| fields);
    fields
        .into_iter()
        .flat_map(|fields| fields.split(", "))
        .map(|field| field.trim().to_owned())
        .collect()
}

/// What others changed in our writes of one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Additions {
    /// How often, by field.
    pub fields: BTreeMap<String, u32>,
    /// When last.
    pub last: Option<Timestamp>,
}

impl Additions {
    /// Takes note of one write.
    pub fn note(&mut self, fields: Vec<String>, now: Timestamp) {
        if fields.is_empty() {
            return;
        }
        if self.last.is_some_and(|last| later(last, WINDOW) < now) {
            self.fields.values_mut().for_each(|times| *times = 0);
        }
        self.last = Some(now);
        for field in fields {
            *self.fields.entry(field).or_default() += 1;
        }
    }

    /// Whether our writes change the template again and again.
    pub(super) fn stamp_templates(&self, now: Timestamp) -> bool {
        let often = self
            .fields
            .iter()
            .any(|(field, times)| field.starts_with("spec.template.") && *times >= TIMES);
        often && self.last.is_some_and(|last| later(last, WINDOW) > now)
    }

    /// The fields that were not told yet; from now on they were.
    pub fn untold(&self, told: &mut Vec<String>) -> Vec<String> {
        let new = self.fields.keys().filter(|field| !told.contains(field));
        let new: Vec<_> = new.cloned().collect();
        told.extend(new.iter().cloned());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{notice::Regarding, words};

    const DENIED: &str = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'lockkeeper-self-restraint-workloads' with binding \
                          'lockkeeper-self-restraint-workloads' denied request: Lockkeeper restrains itself: ";

    #[test]
    fn a_refusal_names_the_field_and_not_our_policy() {
        let forbidden = Restrained::parse(&format!(
            "{DENIED}its account may not change spec.template.spec.containers[app].image"
        ))
        .unwrap();
        assert_eq!(
            forbidden,
            Restrained::Forbidden("spec.template.spec.containers[app].image".to_owned())
        );
        assert!(
            words::restrained(&forbidden).starts_with("another admission policy or webhook changes spec.template.spec.containers[app].image in")
        );
        let held = Restrained::parse(&format!(
            "{DENIED}without a hold its account may not change spec.template.metadata.labels[team]"
        ));
        assert_eq!(
            held,
            Some(Restrained::WithoutHold("spec.template.metadata.labels[team]".to_owned()))
        );
        assert_eq!(Restrained::parse("exceeded quota"), None);
    }

    #[test]
    fn an_addition_is_told_once_by_its_field() {
        let now = "2026-11-20T10:00:00Z".parse().unwrap();
        let warning = "Validation failed for ValidatingAdmissionPolicy 'change-is-held' with binding 'change-is-held': changed by another \
                       admission policy or webhook: metadata.labels[a], spec.template.spec.tolerations";
        let (mut additions, mut told) = (Additions::default(), Vec::new());
        let regarding = Regarding::Workload(crate::core::observed::WorkloadId {
            kind: crate::api::WorkloadKind::Deployment,
            name: "web".into(),
        });
        additions.note(added(warning), now);
        let message = words::changed_by_others(&additions.untold(&mut told), &regarding);
        assert!(
            message.contains("changed metadata.labels[a], spec.template.spec.tolerations in Lockkeeper's write of Deployment/web"),
            "{message}"
        );
        additions.note(added(warning), now);
        assert_eq!(additions.untold(&mut told), Vec::<String>::new());
        assert!(!additions.stamp_templates(now));
        additions.note(added(warning), now);
        assert!(additions.stamp_templates(now));
        assert!(!additions.stamp_templates(later(now, WINDOW * 2)));
        assert_eq!(added("stored, but held by Lockkeeper"), Vec::<String>::new());
    }
}

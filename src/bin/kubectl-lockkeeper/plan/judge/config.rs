//! What changes of the config that workloads read.

use std::{borrow::Cow, collections::BTreeSet};

use lockkeeper::{
    api::{ChangeCause, ConfigSpec, Mode, OnChange},
    core::{
        config::{
            change::{self, Comparison},
            desired::resolve,
            record::Record,
            references,
        },
        governs::Ruling,
        hold::governance::other_reloader,
        observed::{ConfigEntry, Namespace, Reference, UserHold, Workload, WorkloadId},
        rollout::limits,
    },
};

use super::{Judge, some};
use crate::plan::outcome::{Line, Outcome, Wait};

impl<'a> Judge<'a> {
    /// What changed of the config that a workload reads.
    pub(super) fn compare(
        &self,
        before: &Workload,
        after: &Workload,
        ruling: Option<&Ruling>,
    ) -> Option<Comparison> {
        // Of a held one, what its pods read counts; that is what it read before.
        if other_reloader(self.now.after, after).is_some() {
            return None;
        }
        let asked = ruling.and_then(|ruling| ruling.spec().config.as_ref());
        let (config, group) = match asked {
            Some(config) => (
                Cow::Borrowed(config),
                ruling
                    .and_then(|ruling| self.groups.get(ruling.policy().name.as_str()))
                    .map_or(&[][..], Vec::as_slice),
            ),
            None => (Cow::Owned(ConfigSpec::default()), &[][..]),
        };
        let references =
            references::effective(&before.template.references, &config, group, self.now.after);
        let known: Vec<_> =
            references.into_iter().filter(|reference| self.knows(reference)).collect();
        let desired = |namespace: &Namespace| -> Vec<_> {
            let resolved = known.iter().map(|reference| {
                (reference.clone(), resolve(reference, namespace, self.now.key, self.now.now))
            });
            resolved.collect()
        };
        let record =
            Record::adopt(&desired(self.now.before), after.template.config_hash.clone(), |_| true);
        let mut running = after.clone();
        running.template.references = before.template.references.clone();
        Some(change::compare(&record, &desired(self.now.after), &running, self.pods(after), None))
    }

    /// A change of config alone.
    pub(super) fn config(
        &self,
        workload: &Workload,
        ruling: Option<&Ruling<'a>>,
        found: &Comparison,
        line: &mut Line,
    ) {
        line.changed.clone_from(&found.changed);
        let asked = ruling.and_then(|ruling| Some((ruling, ruling.spec().config.as_ref()?)));
        let Some((ruling, config)) = asked else {
            line.outcome = Outcome::NotRolled;
            line.because.push(match ruling {
                Some(ruling) => format!("Its policy {} has no spec.config: its pods keep the old config until they restart.", ruling.policy().name),
                None => "No policy rolls it for config: its pods keep the old config until they restart.".to_owned(),
            });
            return;
        };
        if !found.missing.is_empty() {
            line.outcome = Outcome::ConfigHold;
            line.waits_for.push(Wait {
                gate: "config",
                message: format!("{}: new pods could not start", found.missing.join(", ")),
            });
            return;
        }
        line.waits_for = self.waits(workload, ruling, (&[ChangeCause::Config], None));
        let times =
            limits::within_window(workload.marks.rollouts.get(), &config.limit, self.now.now);
        if let Some(next) = limits::next_allowed(&times, &config.limit) {
            let message = format!(
                "{} config rollouts within {}, as many as its policy allows; the next is possible at {next}",
                times.len(),
                config.limit.window
            );
            line.waits_for.push(Wait { gate: "limit", message });
        }
        line.outcome = match (ruling.spec().mode, config.on_change) {
            (Mode::Observe, _) | (_, OnChange::Report) => Outcome::Report,
            _ if matches!(workload.rollout.held, Some(UserHold::Paused | UserHold::OnDelete)) => {
                Outcome::WaitsForUser
            }
            _ if line.waits_for.is_empty() => Outcome::ConfigRoll,
            _ => Outcome::ConfigHold,
        };
        line.because.push(match line.outcome {
            Outcome::Report => format!("Its policy {} only reports it.", ruling.policy().name),
            Outcome::WaitsForUser => "Its manifest holds its pods (paused, or OnDelete): new pods start with the new config.".to_owned(),
            _ => format!("One rollout, when nothing has changed for {}.", config.settle),
        });
    }

    /// ConfigMaps and Secrets whose changes no workload would notice.
    pub(super) fn unread(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (id, entry) in &self.now.after.config {
            let changed = changed_keys(self.now.before.config.get(id), entry);
            if changed.is_empty() || !self.now.looked_at.contains(id) {
                continue;
            }
            let reads = |reference: &Reference| {
                reference.names(id) && changed.iter().any(|key| reference.reads(key))
            };
            let included = |workload: &WorkloadId| {
                let ruling = self.after.ruling(workload);
                let config = ruling.as_ref().and_then(|ruling| ruling.spec().config.as_ref());
                config.is_some_and(|config| {
                    references::effective(&[], config, &[], self.now.after).iter().any(reads)
                })
            };
            let mut workloads = self.now.after.workloads.values();
            if workloads.any(|workload| {
                workload.template.references.iter().any(reads) || included(&workload.id)
            }) && !entry.ignored
            {
                continue;
            }
            let mut line = self.line(
                format!("{}/{}", id.kind.to_string().to_lowercase(), id.name),
                Outcome::Unchanged,
            );
            let keys: Vec<_> = changed.iter().map(ToString::to_string).collect();
            line.because.push(match entry.ignored {
                true => format!(
                    "Its change ({}) rolls nothing, because it is marked to be ignored.",
                    some(&keys)
                ),
                false => format!("No workload reads what changes in it ({}).", some(&keys)),
            });
            lines.push(line);
        }
        lines
    }

    pub(super) fn knows(&self, reference: &Reference) -> bool {
        reference.is_glob() || self.now.looked_at.iter().any(|id| reference.names(id))
    }
}

/// The keys in which two contents differ.
fn changed_keys<'a>(before: Option<&'a ConfigEntry>, after: &'a ConfigEntry) -> BTreeSet<&'a str> {
    let pairs = |entry: Option<&'a ConfigEntry>| -> BTreeSet<_> {
        entry
            .and_then(ConfigEntry::content)
            .into_iter()
            .flat_map(|content| content.iter())
            .map(|(key, digest)| (&**key, *digest))
            .collect()
    };
    pairs(before).symmetric_difference(&pairs(Some(after))).map(|(key, _)| *key).collect()
}

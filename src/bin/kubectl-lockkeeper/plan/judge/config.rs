//! What changes of the config that workloads read.

use std::collections::BTreeSet;

use lockkeeper::{
    api::{Phase, Reason},
    core::{
        config::references,
        governs::Ruling,
        observed::{ConfigEntry, Reference, Workload, WorkloadId},
    },
};

use super::{Judge, some};
use crate::plan::outcome::{Line, Outcome, Wait};

impl Judge<'_> {
    /// A change of config alone.
    pub(super) fn config(
        &self,
        workload: &Workload,
        ruling: Option<&Ruling>,
        changed: &[String],
        line: &mut Line,
    ) {
        line.changed = changed.to_vec();
        let asked = ruling.and_then(|ruling| Some((ruling, ruling.spec().config.as_ref()?)));
        let verdict = self.forecast.after(&workload.id);
        let (Some((ruling, config)), Some(verdict)) = (asked, verdict) else {
            line.outcome = Outcome::NotRolled;
            line.because.push(match ruling {
                Some(ruling) => format!("Its policy {} has no spec.config: its pods keep the old config until they restart.", ruling.policy().name),
                None => "No policy rolls it for config: its pods keep the old config until they restart.".to_owned(),
            });
            return;
        };
        let found = &verdict.found;
        line.waits_for = self.waits(workload);
        let own = match found.reason() {
            Reason::ConfigMissing => Some("config"),
            Reason::LimitReached => Some("limit"),
            _ => None,
        };
        let message = found.report.verdict.message.clone();
        line.waits_for.extend(own.map(|gate| Wait { gate, message }));
        let (outcome, because) = match (found.phase(), found.reason()) {
            (Phase::WouldRoll | Phase::WouldHold, _) => (
                Outcome::Report,
                format!("Its policy {} only reports it.", ruling.policy().name),
            ),
            (Phase::WaitsForUser, _) => (
                Outcome::WaitsForUser,
                "Its manifest holds its pods (paused, or OnDelete): new pods start with the new config."
                    .to_owned(),
            ),
            // A rollout is under way.
            (_, Reason::CoveredByRollout) => (Outcome::ConfigHold, format!("{}.", found.report.verdict.message)),
            (_, Reason::ConfigMissing) => (Outcome::ConfigHold, String::new()),
            _ => {
                let rolls = found.roll.is_some() && line.waits_for.is_empty();
                let outcome = if rolls { Outcome::ConfigRoll } else { Outcome::ConfigHold };
                let when =
                    format!("One rollout, when nothing has changed for {}.", config.settle);
                (outcome, when)
            }
        };
        line.outcome = outcome;
        line.because.extend(Some(because).filter(|because| !because.is_empty()));
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

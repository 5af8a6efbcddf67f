//! What would come of an apply: the difference between what the operator decides about the
//! namespace as it is, and as it would be.

mod config;
mod risks;
mod template;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use lockkeeper::{
    api::{ConditionReason, WorkloadKind},
    core::{
        self,
        digest::Key,
        governs::{Governance, Ruling, governance},
        hold::{governance, state::Hold},
        observed::{
            ConfigId, Namespace, Pod, Reference, UserHold, Workload, WorkloadId, storage::Storage,
        },
        request::Release,
    },
};

use super::{
    forecast::{Fate, Forecast},
    orphans::{Orphans, of_stateful_set},
    outcome::{Line, Outcome, Plan, Risk},
};
use crate::{
    cluster::lower,
    revisions::{Difference, named_changes},
};

/// Maximum number of names in a sentence.
const NAMED: usize = 5;

/// A namespace as it is, and as it would be.
pub struct Situation<'a> {
    /// As it is.
    pub before: &'a Namespace,
    /// As it would be once everything is applied.
    pub after: &'a Namespace,
    /// The storage of the cluster.
    pub storage: &'a Storage,
    /// The workloads that the files have, and how their templates would differ.
    pub workloads: &'a BTreeMap<WorkloadId, Touched>,
    /// The policies that the files have.
    pub policies: &'a BTreeSet<String>,
    /// The ConfigMaps and Secrets that were looked at. What others hold does not change by it, or
    /// nobody can say.
    pub looked_at: &'a BTreeSet<ConfigId>,
    /// Why template changes are not held; none if they are, or nobody can say.
    pub gap: Option<&'a str>,
    /// By which contents are compared.
    pub key: &'a Key,
    /// Now.
    pub now: Timestamp,
}

impl Situation<'_> {
    /// Whether what a reference names was looked at.
    pub fn knows(&self, reference: &Reference) -> bool {
        reference.is_glob() || self.looked_at.iter().any(|id| reference.names(id))
    }
}

/// A workload that the files have.
#[derive(Debug, Default)]
pub struct Touched {
    /// Where its template would differ.
    pub differences: Vec<Difference>,
    /// The API server has said what it would make of it.
    pub by_server: bool,
    /// What a Deployment that is not there yet takes over.
    pub orphans: Orphans,
}

/// Judges a namespace.
pub fn judge(situation: &Situation) -> Plan {
    let judge = Judge::new(situation);
    let mut plan = Plan::default();
    for name in situation.policies {
        plan.objects.push(judge.policy(name, &mut plan.risks));
    }
    for (id, workload) in &situation.after.workloads {
        plan.objects.push(match situation.before.workloads.get(id) {
            Some(before) => judge.existing(before, workload, &mut plan.risks),
            None => judge.created(workload, &mut plan.risks),
        });
    }
    judge.restarts(&mut plan.objects);
    plan.objects.extend(judge.unread());
    plan.risks.extend(judge.volumes());
    plan
}

struct Judge<'a> {
    now: &'a Situation<'a>,
    before: Governance<'a>,
    after: Governance<'a>,
    forecast: Forecast,
    pods: HashMap<&'a str, Vec<&'a Pod>>,
}

impl<'a> Judge<'a> {
    fn new(now: &'a Situation<'a>) -> Self {
        let (before, after) = (governance(now.before), governance(now.after));
        let (forecast, pods) = (Forecast::new(now), now.before.pods_by_workload());
        Self { now, before, after, forecast, pods }
    }

    fn line(&self, object: String, outcome: Outcome) -> Line {
        let namespace = self.now.after.name.to_string();
        Line {
            namespace,
            object,
            outcome,
            policy: None,
            changed: Vec::new(),
            waits_for: Vec::new(),
            because: Vec::new(),
        }
    }

    fn risk(&self, reason: &str, message: String) -> Risk {
        Risk { namespace: self.now.after.name.to_string(), reason: reason.to_owned(), message }
    }

    fn pods(&self, workload: &Workload) -> &[&'a Pod] {
        self.pods.get(&*workload.uid).map_or(&[], Vec::as_slice)
    }

    /// A workload that is not there yet.
    fn created(&self, workload: &Workload, risks: &mut Vec<Risk>) -> Line {
        let mut line = self.line(lower(&workload.id), Outcome::Create);
        line.because.push(match workload.rollout.wanted {
            _ if !workload.id.kind.can_be_held() => {
                "Its pods start at once: a new workload is not held.".to_owned()
            }
            0 => "It has no pods.".to_owned(),
            pods => format!(
                "{} at once: a new workload is not held.",
                count(pods as usize, "pod starts", "pods start")
            ),
        });
        line.because.extend(self.takes_over(workload));
        let ruling = self.after.ruling(&workload.id);
        line.policy = ruling.as_ref().map(|ruling| ruling.policy().name.clone());
        line.because.push(match &ruling {
            None => self.ungoverned(workload, "later changes"),
            Some(ruling) => format!(
                "From then on policy {} governs it{}.",
                ruling.policy().name,
                self.later(workload, ruling)
            ),
        });
        self.missing(workload, ruling.as_ref(), risks);
        line
    }

    /// What becomes of pods that are there already, and that a new workload takes for its own.
    fn takes_over(&self, workload: &Workload) -> Option<String> {
        let (orphans, of) = match workload.id.kind {
            WorkloadKind::Deployment => {
                (self.now.workloads.get(&workload.id)?.orphans, "Deployment")
            }
            WorkloadKind::StatefulSet => {
                (of_stateful_set(self.now.before, &workload.id), "StatefulSet of this name")
            }
            WorkloadKind::DaemonSet => return None,
        };
        let (them, those) = match orphans.pods {
            0 => return None,
            1 => ("it", "it if it is"),
            _ => ("them", "those that are"),
        };
        let left = format!(
            "{} left by another {of}: it takes {them} over",
            count(orphans.pods, "pod was", "pods were")
        );
        let paused = workload.rollout.held == Some(UserHold::Paused);
        Some(match orphans.differ && !paused {
            true => format!(
                "{left}, and ends without asking {those} not of this template (HoldMissed)."
            ),
            false => format!("{left}."),
        })
    }

    /// What a policy means for the changes of a workload to come.
    fn later(&self, workload: &Workload, ruling: &Ruling) -> String {
        match (ruling.spec().needs_holds(), governance::holdable(workload)) {
            (true, true) => ", and holds its template changes".to_owned(),
            (true, false) => {
                format!(", but cannot hold its template changes: {}", unholdable(workload))
            }
            (false, _) if ruling.observes() => ", which only observes".to_owned(),
            (false, _) => ", and holds no template change".to_owned(),
        }
    }

    /// Why no policy governs a workload, and what becomes of its changes then.
    fn ungoverned(&self, workload: &Workload, changes: &str) -> String {
        match self.after.why_left_out(&workload.id) {
            Some(why) => {
                format!("No policy governs it ({why}), so {changes} roll out immediately.")
            }
            None => {
                format!("No policy of the namespace selects it, so {changes} roll out immediately.")
            }
        }
    }

    /// A workload that is there.
    fn existing(&self, before: &Workload, after: &Workload, risks: &mut Vec<Risk>) -> Line {
        let mut line = self.line(lower(&after.id), Outcome::Unchanged);
        let ruling = self.after.ruling(&after.id);
        line.policy = ruling.as_ref().map(|ruling| ruling.policy().name.clone());
        let fate = self.forecast.fate(&after.id);
        let changes = fate != Fate::Same;
        let empty = Touched::default();
        let touched = self.now.workloads.get(&after.id).unwrap_or(&empty);
        if changes {
            line.changed = named_changes(&touched.differences);
            self.volatile(after, &touched.differences, risks);
        }
        self.newly_missing(before, after, ruling.as_ref(), risks);
        let held = Hold::on(before);
        let verdict = self.forecast.after(&after.id);
        let releases = verdict.and_then(|verdict| verdict.found.releases());
        match (fate, releases) {
            (Fate::Reverted, _) | (Fate::Held, Some(Release::Reverted | Release::Unchanged)) => {
                self.reverts(before, after, &mut line);
            }
            (Fate::Held, _) => {
                self.held(before, after, (ruling.as_ref(), touched), &mut line);
            }
            (Fate::Rolls, _) => self.rolls(before, after, ruling.as_ref(), &mut line),
            (Fate::Same, _) => {
                if let Some(hold) = &held {
                    self.still_held(before, hold, ruling.as_ref(), &mut line);
                }
            }
        }
        match self.forecast.changed_config(after, ruling.as_ref()) {
            [] if !changes && before.rollout.wanted != after.rollout.wanted => {
                line.outcome = Outcome::Scale;
                line.because.push(format!(
                    "From {} to {}.",
                    before.rollout.wanted,
                    count(after.rollout.wanted as usize, "pod", "pods")
                ));
            }
            [] => {}
            config if changes || held.is_some() => {
                if line.outcome == Outcome::Unchanged {
                    line.outcome = Outcome::ConfigHold;
                }
                line.because.push(format!(
                    "Config that it reads changes too ({}), and is part of the same rollout.",
                    config.join(", ")
                ));
            }
            config => self.config(after, ruling.as_ref(), config, &mut line),
        }
        let stays = held.is_some() && !changes && line.outcome != Outcome::Roll;
        self.standing(after, stays, &mut line);
        line
    }

    /// Whose a workload would be, where that changes. `stays`: a held change of it stays held all
    /// the same.
    fn standing(&self, workload: &Workload, stays: bool, line: &mut Line) {
        let name = |governance: &Governance| {
            governance
                .ruling(&workload.id)
                .map(|ruling| (ruling.policy().name.clone(), ruling.spec().needs_holds()))
        };
        let (outcome, message) = match (name(&self.before), name(&self.after)) {
            (None, Some((policy, _))) => {
                let later = self
                    .after
                    .ruling(&workload.id)
                    .map_or(String::new(), |ruling| self.later(workload, &ruling));
                (
                    Outcome::Governed,
                    format!(
                        "Policy {policy} begins to govern it{later}. That alone rolls nothing."
                    ),
                )
            }
            (Some((policy, _)), None) if stays => {
                (Outcome::Unchanged, format!("Policy {policy} no longer governs it."))
            }
            (Some((policy, true)), Some((new, false))) if stays && policy == new => (
                Outcome::Unchanged,
                format!("Policy {policy} no longer holds template changes where none is held."),
            ),
            (Some((policy, _)), None) => (
                Outcome::LetGo,
                format!(
                    "Policy {policy} no longer governs it: nothing holds or rolls it from then on."
                ),
            ),
            (Some((old, _)), Some((new, _))) if old != new => {
                (Outcome::Governed, format!("Policy {new} takes it over from {old}."))
            }
            (Some((policy, true)), Some((_, false))) => {
                (Outcome::LetGo, format!("Policy {policy} no longer holds its template changes."))
            }
            (Some((policy, false)), Some((_, true))) => (
                Outcome::Governed,
                format!("Policy {policy} holds its template changes from then on."),
            ),
            _ => return,
        };
        if line.outcome == Outcome::Unchanged {
            line.outcome = outcome;
        }
        if line.outcome != Outcome::Roll || outcome != Outcome::Governed {
            line.because.push(message);
        }
    }

    /// A policy that the files have.
    fn policy(&self, name: &str, risks: &mut Vec<Risk>) -> Line {
        let mut line = self.line(format!("upgradepolicy/{name}"), Outcome::Unchanged);
        let (old, new) = (self.now.before.policies.get(name), self.now.after.policies.get(name));
        let Some(new) = new else { return line };
        if old.is_some_and(|old| old.spec == new.spec) {
            return line;
        }
        line.outcome = if old.is_some() { Outcome::Policy } else { Outcome::Create };
        if let Err(why) = &new.spec {
            risks.push(self.risk(
                ConditionReason::InvalidSpec.into(),
                format!(
                    "upgradepolicy/{name} could not be used: {why}. It would freeze the workloads that it governs now, and govern no others"
                ),
            ));
            return line;
        }
        let of = |governance: &Governance<'a>| -> BTreeSet<&'a WorkloadId> {
            let all = governance.standings.iter().filter(|(_, standing)| {
                standing.ruling().is_some_and(|ruling| ruling.policy().name == name)
            });
            all.map(|(id, _)| *id).collect()
        };
        let (old, new) = (of(&self.before), of(&self.after));
        line.because.push(match new.len() {
            0 => "It would govern no workload that exists.".to_owned(),
            all => format!("It would govern {}.", count(all, "workload", "workloads")),
        });
        let names =
            |ids: Vec<&&WorkloadId>| some(&ids.into_iter().map(|id| lower(id)).collect::<Vec<_>>());
        let (more, less): (Vec<_>, Vec<_>) =
            (new.difference(&old).collect(), old.difference(&new).collect());
        if !more.is_empty() {
            line.because.push(format!("Newly governed: {}.", names(more)));
        }
        if !less.is_empty() {
            line.because.push(format!("No longer governed: {}.", names(less)));
        }
        line
    }
}

fn unholdable(workload: &Workload) -> &'static str {
    match workload.id.kind.can_be_held() {
        false => "a DaemonSet cannot be held",
        true => "with the update strategy OnDelete, any eviction starts the newest template",
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn some(names: &[String]) -> String {
    core::some_of(&names.iter().map(String::as_str).collect::<Vec<_>>(), NAMED)
}

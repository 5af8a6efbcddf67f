//! A changed pod template: held, rolled at once, or reverted.

use std::sync::Arc;

use lockkeeper::{
    api::{ChangeCause, WhenUngoverned},
    core::{
        governs::Ruling,
        hold::{
            governance,
            state::{Hold, declared_replicas},
        },
        observed::{UserHold, Workload},
        rollout::revisions::Revisions,
    },
};

use super::{Judge, Touched, count, unholdable};
use crate::plan::outcome::{Line, Outcome};

impl<'a> Judge<'a> {
    /// Whether the template is the one again that the pods run.
    pub(super) fn goes_back(&self, after: &Workload) -> bool {
        let mut settled = after.clone();
        // As it will be once its controller has seen it.
        settled.rollout.observed = true;
        settled.rollout.revision = None;
        Arc::make_mut(&mut settled.marks).config = None;
        let sets = self.now.before.sets_by_deployment().remove(&*after.uid).unwrap_or_default();
        let revisions = Revisions::of(self.now.before, &settled, &sets, None);
        after.rollout.wanted > 0 && revisions.revert().is_some()
    }

    /// A changed template.
    pub(super) fn template(
        &self,
        before: &Workload,
        after: &Workload,
        (ruling, touched): (Option<&Ruling<'a>>, &Touched),
        line: &mut Line,
    ) {
        let old = Hold::on(before);
        let new = Hold::on(after).filter(|new| old.as_ref() != Some(new));
        let at_zero = before.marks.hold_at_zero.get().is_some();
        let marked = governance::is_marked(before)
            && governance::holdable(after)
            && (before.rollout.wanted > 0 || at_zero);
        let holds = match touched.by_server {
            true => new.is_some(),
            false => marked && self.now.gap.is_none(),
        };
        if let Some(old) = old.filter(|_| holds) {
            line.because.push(format!(
                "It replaces the held change {}, whose approvals no longer count.",
                old.id
            ));
        }
        let pods = self.pods(after).len();
        if !holds {
            line.outcome = Outcome::Roll;
            line.because.push(self.not_held(before, after, ruling));
            match after.rollout.held {
                Some(UserHold::Paused) => {
                    line.outcome = Outcome::WaitsForUser;
                    line.because.push("Its manifest declares paused: true, so nothing rolls until kubectl rollout resume.".to_owned());
                }
                Some(UserHold::OnDelete) => {
                    line.outcome = Outcome::WaitsForUser;
                    line.because
                        .push("Its pods are replaced when they are deleted (OnDelete).".to_owned());
                }
                Some(UserHold::Partition(below)) => {
                    line.because.push(format!(
                        "Its partition keeps the {below} lowest ordinals on their revision."
                    ));
                }
                _ if pods > 0 => {
                    line.because.push(format!("{} replaced.", count(pods, "pod is", "pods are")))
                }
                _ => {}
            }
            return;
        }
        line.outcome = Outcome::Hold;
        match ruling {
            Some(ruling) if ruling.spec().needs_holds() => {
                line.waits_for = self.waits(after, ruling, (&[ChangeCause::Template], new.as_ref()));
                let stay = match pods {
                    1 => "Its pod keeps running".to_owned(),
                    pods => format!("Its {pods} pods keep running"),
                };
                let then = if line.waits_for.is_empty() { ", for a moment: no gate that can be checked now is closed" } else { "" };
                // A dry run by the server has the number that runs, and notes the one that waits.
                let fewer = declared_replicas(after)
                    .or_else(|| Some(after.rollout.wanted).filter(|wanted| !touched.by_server && *wanted < before.rollout.wanted));
                line.because.push(match fewer {
                    Some(fewer) => format!(
                        "Its replicas stay at {} until then{then}, and go to {fewer} with the release.",
                        before.rollout.wanted
                    ),
                    None => format!("{stay} until then{then}."),
                });
            }
            Some(ruling) if ruling.observes() => line.because.push(match Hold::on(before) {
                Some(_) => stays_held(ruling),
                None => format!("{} Where the policy is applied first, it may roll out immediately instead.", stays_held(ruling)),
            }),
            _ => match governance::when_ungoverned(before) {
                WhenUngoverned::Release => {
                    line.outcome = Outcome::Roll;
                    line.because.push("It is held for a moment, and released: with these files no policy holds it any longer.".to_owned());
                }
                WhenUngoverned::Keep => line.because.push(
                    "With these files no policy holds it any longer. Its earlier policy has whenUngoverned: Keep, so it stays held until a bypass (verb bypass) \
                     releases it."
                        .to_owned(),
                ),
            },
        }
    }

    /// Why a changed template is not held.
    pub(super) fn not_held(
        &self,
        before: &Workload,
        after: &Workload,
        ruling: Option<&Ruling>,
    ) -> String {
        let Some(ruling) = ruling else { return self.ungoverned(after, "its changes") };
        let policy = &ruling.policy().name;
        match () {
            () if ruling.observes() => self.observed(after, ruling),
            () if !ruling.spec().needs_holds() => {
                format!("Its policy {policy} has no gates for template changes.")
            }
            () if !governance::holdable(after) => {
                format!("Its policy {policy} has gates, but {}.", unholdable(after))
            }
            () if before.rollout.wanted == 0 && !ruling.spec().waits_without_pods() => {
                "It has no pods, so there is nobody to ask.".to_owned()
            }
            () if before.rollout.wanted == 0 && after.id.kind.has_controller_revisions() => {
                format!(
                    "Policy {policy} has gates, but a StatefulSet without replicas cannot be held: it starts the new template when it is scaled up (HoldMissed)."
                )
            }
            () if before.rollout.wanted == 0 => format!(
                "Policy {policy} has gates, but without replicas it is not held: it starts the new template when it is scaled up (HoldMissed)."
            ),
            () if !governance::is_marked(before) => format!(
                "Policy {policy} holds it only after the operator has marked it. Apply the policy first, wait for its condition HoldsEnforced, and then apply \
                 the rest."
            ),
            () => format!(
                "Policy {policy} should hold it, but template changes are not held at present{}.",
                self.now.gap.map_or(String::new(), |gap| format!(": {gap}"))
            ),
        }
    }

    /// What a policy that only observes would do about a changed template.
    fn observed(&self, after: &Workload, ruling: &Ruling) -> String {
        let first = format!("Its policy {} only observes (mode: Observe).", ruling.policy().name);
        if !ruling.spec().would_hold() || !governance::holdable(after) {
            return first;
        }
        match self.waits(after, ruling, (&[ChangeCause::Template], None)).as_slice() {
            [] => format!(
                "{first} With mode: Enforce it would be held for a moment: no gate that can be checked now is closed."
            ),
            waits => {
                let gates: Vec<_> = waits.iter().map(ToString::to_string).collect();
                format!(
                    "{first} With mode: Enforce it would be held, and wait for {}.",
                    gates.join("; ")
                )
            }
        }
    }

    /// A change that is held already, and is not changed again.
    pub(super) fn still_held(
        &self,
        before: &Workload,
        hold: &Hold,
        ruling: Option<&Ruling<'a>>,
        line: &mut Line,
    ) {
        let before_say = self.before.ruling(&before.id);
        let observes = |ruling: &Ruling| ruling.observes();
        // A policy that observes holds nothing new, and releases nothing.
        let keeps = |ruling: &Option<&Ruling>| {
            ruling.is_some_and(|ruling| ruling.spec().needs_holds() || observes(ruling))
        };
        if keeps(&before_say.as_ref()) && !keeps(&ruling) {
            match governance::when_ungoverned(before) {
                WhenUngoverned::Release => {
                    line.outcome = Outcome::Roll;
                    line.because.push(format!("Its held change {} is released: no policy holds it any longer (whenUngoverned: Release).", hold.id));
                }
                WhenUngoverned::Keep => line.because.push(format!(
                    "Its held change {} stays held although no policy holds it any longer (whenUngoverned: Keep), until a user with the verb bypass releases it.",
                    hold.id
                )),
            }
            return;
        }
        let (Some(before_say), Some(ruling)) = (&before_say, ruling) else { return };
        if observes(ruling) {
            if !observes(before_say) {
                line.because.push(format!(
                    "Its change {} is held already. {}",
                    hold.id,
                    stays_held(ruling)
                ));
            }
            return;
        }
        let waits = |ruling: &Ruling<'a>| {
            self.waits(before, ruling, (&[ChangeCause::Template], Some(hold)))
        };
        let (old, new) = (waits(before_say), waits(ruling));
        if (observes(before_say) || !old.is_empty()) && new.is_empty() {
            line.outcome = Outcome::Roll;
            line.because.push(format!(
                "Its held change {} is released: no gate is closed any longer.",
                hold.id
            ));
        }
    }
}

/// What becomes of a held change under a policy that only observes.
fn stays_held(ruling: &Ruling) -> String {
    format!(
        "It stays held: policy {} would only observe (mode: Observe), which asks no gate and releases nothing.",
        ruling.policy().name
    )
}

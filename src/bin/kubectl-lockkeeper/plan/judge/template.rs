//! A changed pod template: held, rolled at once, or reverted.

use std::collections::BTreeSet;

use lockkeeper::{
    api::{Reason, WhenUngoverned},
    core::{
        governs::Ruling,
        hold::{
            governance,
            state::{Hold, declared_replicas},
        },
        observed::{UserHold, Workload},
        request::Release,
    },
};

use super::{Judge, Touched, count, unholdable};
use crate::plan::{
    forecast::unheld::{self, Unheld},
    outcome::{Line, Outcome, Wait},
};

impl Judge<'_> {
    /// A template that is the one again that the pods run.
    pub(super) fn reverts(&self, before: &Workload, after: &Workload, line: &mut Line) {
        line.outcome = Outcome::Withdraw;
        let revisions: BTreeSet<_> =
            self.pods(after).iter().map(|pod| pod.revision.as_deref()).collect();
        let (number, runs) =
            (declared_replicas(after).unwrap_or(after.rollout.wanted), before.rollout.wanted);
        let ends = match () {
            () if revisions.len() > 1 => "pods that are already newer terminate",
            () if number < runs => "no pod is replaced",
            () => "no pod terminates",
        };
        line.because.push(match Hold::on(before) {
            Some(hold) => format!(
                "The held change {} is reverted: this is the template that its pods run, and {ends}.",
                hold.id
            ),
            None => format!("This is the template that was rolled out before: {ends}."),
        });
        if number != runs {
            line.because.push(format!("Its replicas go from {runs} to {number} with it."));
        }
    }

    /// A changed template that is not held.
    pub(super) fn rolls(
        &self,
        before: &Workload,
        after: &Workload,
        ruling: Option<&Ruling>,
        line: &mut Line,
    ) {
        line.outcome = Outcome::Roll;
        line.because.push(self.not_held(before, after, ruling));
        match (after.rollout.held, self.pods(after).len()) {
            (Some(UserHold::Paused), _) => {
                line.outcome = Outcome::WaitsForUser;
                line.because.push("Its manifest declares paused: true, so nothing rolls until kubectl rollout resume.".to_owned());
            }
            (Some(UserHold::OnDelete), _) => {
                line.outcome = Outcome::WaitsForUser;
                line.because
                    .push("Its pods are replaced when they are deleted (OnDelete).".to_owned());
            }
            (Some(UserHold::Partition(below)), _) => {
                line.because.push(format!(
                    "Its partition keeps the {below} lowest ordinals on their revision."
                ));
            }
            (None, 0) => {}
            (None, pods) => {
                line.because.push(format!("{} replaced.", count(pods, "pod is", "pods are")));
            }
        }
    }

    /// A changed template that is held.
    pub(super) fn held(
        &self,
        before: &Workload,
        after: &Workload,
        (ruling, touched): (Option<&Ruling>, &Touched),
        line: &mut Line,
    ) {
        line.outcome = Outcome::Hold;
        if let Some(old) = Hold::on(before) {
            line.because.push(format!(
                "It replaces the held change {}, whose approvals no longer count.",
                old.id
            ));
        }
        let verdict = self.forecast.after(&after.id);
        let reason = verdict.map(|verdict| verdict.found.reason());
        match (verdict.and_then(|verdict| verdict.found.releases()), reason, ruling) {
            (Some(Release::Ungoverned), ..) => {
                line.outcome = Outcome::Roll;
                line.because.push("It is held for a moment, and released: with these files no policy holds it any longer.".to_owned());
            }
            (_, Some(Reason::KeptUngoverned), _) | (_, _, None) => line.because.push(
                "With these files no policy holds it any longer. Its earlier policy has whenUngoverned: Keep, so it stays held until a bypass (verb bypass) \
                 releases it."
                    .to_owned(),
            ),
            (_, Some(Reason::ObserveMode), Some(ruling)) => {
                line.because.push(match Hold::on(before) {
                    Some(_) => stays_held(ruling),
                    None => format!("{} Where the policy is applied first, it may roll out immediately instead.", stays_held(ruling)),
                });
            }
            (_, _, Some(_)) => self.waits_held(before, after, touched, line),
        }
    }

    /// A changed template that waits for gates.
    fn waits_held(&self, before: &Workload, after: &Workload, touched: &Touched, line: &mut Line) {
        line.waits_for = self.waits(after);
        let stay = match self.pods(after).len() {
            1 => "Its pod keeps running".to_owned(),
            pods => format!("Its {pods} pods keep running"),
        };
        let then = for_a_moment(&line.waits_for);
        // A dry run by the server has the number that runs, and notes the one that waits.
        let fewer = declared_replicas(after).or_else(|| {
            Some(after.rollout.wanted)
                .filter(|wanted| !touched.by_server && *wanted < before.rollout.wanted)
        });
        line.because.push(match fewer {
            Some(fewer) => format!(
                "Its replicas stay at {} until then{then}, and go to {fewer} with the release.",
                before.rollout.wanted
            ),
            None => format!("{stay} until then{then}."),
        });
    }

    /// Why a changed template is not held.
    fn not_held(&self, before: &Workload, after: &Workload, ruling: Option<&Ruling>) -> String {
        let policy = ruling.map_or("", |ruling| ruling.policy().name.as_str());
        match unheld::why(ruling.copied(), before, after) {
            Unheld::Ungoverned => self.ungoverned(after, "its changes"),
            Unheld::Observed { would_hold } => self.observed(after, ruling, would_hold),
            Unheld::NoGates => format!("Its policy {policy} has no gates for template changes."),
            Unheld::Unholdable => {
                format!("Its policy {policy} has gates, but {}.", unholdable(after))
            }
            Unheld::NobodyToAsk => "It has no pods, so there is nobody to ask.".to_owned(),
            Unheld::AtZero if after.id.kind.has_controller_revisions() => {
                format!(
                    "Policy {policy} has gates, but a StatefulSet without replicas cannot be held: it starts the new template when it is scaled up (HoldMissed)."
                )
            }
            Unheld::AtZero => format!(
                "Policy {policy} has gates, but without replicas it is not held: it starts the new template when it is scaled up (HoldMissed)."
            ),
            Unheld::NotMarked => format!(
                "Policy {policy} holds it only after the operator has marked it. Apply the policy first, wait for its condition HoldsEnforced, and then apply \
                 the rest."
            ),
            Unheld::NotEnforced => format!(
                "Policy {policy} should hold it, but template changes are not held at present{}.",
                self.now.gap.map_or(String::new(), |gap| format!(": {gap}"))
            ),
        }
    }

    /// What a policy that only observes would do about a changed template.
    fn observed(&self, after: &Workload, ruling: Option<&Ruling>, would_hold: bool) -> String {
        let policy = ruling.map_or("", |ruling| ruling.policy().name.as_str());
        let first = format!("Its policy {policy} only observes (mode: Observe).");
        if !would_hold {
            return first;
        }
        match self.waits(after).as_slice() {
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
        ruling: Option<&Ruling>,
        line: &mut Line,
    ) {
        let (was, will) = (self.forecast.before(&before.id), self.forecast.after(&before.id));
        let released = was.is_some_and(|was| was.found.releases().is_some());
        let was = was.map(|was| was.found.reason());
        let Some(will) = will.filter(|_| !released).map(|will| &will.found) else { return };
        match (will.releases(), will.reason()) {
            (Some(Release::Ungoverned), _) => {
                line.outcome = Outcome::Roll;
                line.because.push(format!("Its held change {} is released: no policy holds it any longer (whenUngoverned: Release).", hold.id));
            }
            (Some(Release::GatesOpen), _) => {
                line.outcome = Outcome::Roll;
                line.because.push(format!(
                    "Its held change {} is released: no gate is closed any longer.",
                    hold.id
                ));
            }
            (Some(release), _) => {
                line.outcome = Outcome::Roll;
                line.because.push(format!("Its held change {} is released: {release}.", hold.id));
            }
            (None, Reason::ObserveMode) if was != Some(Reason::ObserveMode) => {
                let stays = ruling.map_or(String::new(), stays_held);
                line.because.push(format!("Its change {} is held already. {stays}", hold.id));
            }
            (None, Reason::KeptUngoverned) if was != Some(Reason::KeptUngoverned) => {
                self.stays_kept(before, hold, line);
            }
            (None, _) if ruling.is_none() && self.before.ruling(&before.id).is_some() => {
                self.stays_kept(before, hold, line);
            }
            (None, _) => {}
        }
    }

    fn stays_kept(&self, before: &Workload, hold: &Hold, line: &mut Line) {
        if governance::when_ungoverned(before) == WhenUngoverned::Keep {
            line.because.push(format!(
                "Its held change {} stays held although no policy holds it any longer (whenUngoverned: Keep), until a user with the verb bypass releases it.",
                hold.id
            ));
        }
    }
}

/// That nothing that can be asked now keeps a held change.
fn for_a_moment(waits: &[Wait]) -> &'static str {
    if waits.is_empty() { ", for a moment: no gate that can be checked now is closed" } else { "" }
}

/// What becomes of a held change under a policy that only observes.
fn stays_held(ruling: &Ruling) -> String {
    format!(
        "It stays held: policy {} would only observe (mode: Observe), which asks no gate and releases nothing.",
        ruling.policy().name
    )
}

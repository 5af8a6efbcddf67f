//! What becomes of a workload that no policy governs: it is let go of.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::{DEFAULT_DEADLINE, WhenUngoverned},
    core::{
        gates::app::prepare,
        hold::{
            governance::{self, GovernanceMark},
            judges::Judges,
            marking, release,
            state::Hold,
            words,
        },
        later, maintenance,
        memory::{Activity, Memory},
        notice::Event,
        observed::{Namespace, Pod, Uid, Workload},
        plan::held,
        planned::Plan,
        request::{Confirm, Release},
        rollout::{revisions::Revisions, turn},
    },
    marks::{InMaintenance, maintenance::Stage},
};

/// A workload that carries our marks is released when no policy has selected it for this long.
const STRAY_AFTER: Duration = Duration::from_secs(60);

/// A workload that no policy governs, and what is known of it.
pub struct Ungoverned<'a> {
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// The workload.
    pub workload: &'a Workload,
    /// No policy selects it, perhaps only for a moment, while a policy is replaced.
    pub stray: bool,
    /// Its pods, those being deleted included.
    pub pods: &'a [&'a Pod],
    /// What its pods were made from.
    pub revisions: Revisions<'a>,
    /// What the executor is doing about it.
    pub activity: &'a Activity,
    /// What is remembered of it.
    pub memory: &'a Memory,
    /// The uid of our CRD, while it stands.
    pub definition: Option<&'a str>,
    /// Admission is in place.
    pub enforced: bool,
    /// Who judges writes.
    pub judges: Judges,
    /// Now.
    pub now: Timestamp,
}

/// Whether anything of ours is on a workload, or on its pods.
pub fn is_left(workload: &Workload, memory: &Memory) -> bool {
    governance::is_ours(workload) || memory.app.as_ref().is_some_and(|app| !app.prepared.is_empty())
}

impl Ungoverned<'_> {
    /// Takes off what is left of ours, and lets its pods take work again; none if nothing is left.
    pub fn assess(self) -> Option<Plan> {
        if !is_left(self.workload, self.memory) {
            return None;
        }
        let (namespace, workload, now) = (self.namespace, self.workload, self.now);
        let mut plan = Plan::new(self.memory.clone(), &[]);
        if governance::is_ours(workload) {
            plan = self.let_go(plan);
        }
        plan.talk.conversation.turn_to(None);
        let policy: Uid = "".into();
        let whose = (&workload.id, &workload.uid, &policy);
        prepare::withdraw(namespace, whose, now, &mut plan.talk);
        plan.hear_talk();
        plan.memory.app = std::mem::take(&mut plan.talk.conversation).kept();
        plan.edits = std::mem::take(&mut plan.edits).that_differ(workload);
        Some(plan)
    }

    fn let_go(self, mut plan: Plan) -> Plan {
        let Self { namespace, workload, pods, stray, revisions, activity, memory, .. } = self;
        let Self { definition, enforced, judges, now, .. } = self;
        plan.memory.had_record = false;
        let since = memory.stray_since.unwrap_or(now);
        plan.memory.stray_since = stray.then_some(since);
        let due = if stray { later(since, STRAY_AFTER) } else { now };
        let retry = activity.trouble.as_ref().map_or(now, |trouble| trouble.retry_at);
        let due = due.max(retry);
        plan.wake = (due > now).then_some(due);
        if maintenance::of(workload).is_some()
            && !maintenance::wanted::ends_without_policy(workload)
        {
            // Without a policy it ends only by a user's word, and its hold stays.
            plan.memory.stray_since = None;
            return plan;
        }
        let hold = Hold::on(workload);
        let mark = GovernanceMark::on(workload);
        let keep = governance::holds_back(workload)
            && governance::when_ungoverned(workload) == WhenUngoverned::Keep;
        let recorded = mark.map(|mark| &*mark.definition).filter(|uid| !uid.is_empty());
        // With another CRD nobody decided that the policy goes.
        let lost =
            stray && recorded.is_some() && definition.is_some_and(|uid| recorded != Some(uid));
        let maintained = maintenance::of(workload);
        // As policies have it that say nothing else.
        let gives_up_at = maintenance::gives_up_at(workload, pods, DEFAULT_DEADLINE);
        // Without replicas its controller no longer knows what ran.
        let at_zero = maintained.is_some_and(|mark| mark.rests() || mark.at_zero);
        let free = hold.is_some() && !at_zero && !activity.in_flight && retry <= now;
        if let Some(revert) = revisions.revert().filter(|_| free) {
            return held::let_go(&revert, plan);
        } else if due > now || activity.in_flight {
            // It is looked at again.
        } else if let Some(mark) = maintained.filter(|_| !workload.deleting)
            && (mark.at_zero || !maintenance::is_over(workload, gives_up_at <= now))
        {
            // It ends in the same order as with a policy.
            if gives_up_at > now {
                plan.wake_at(gives_up_at);
            }
            let stays = (keep || lost).then_some(namespace);
            return match enforced {
                true => end_maintenance((workload, pods, &revisions), mark, (hold, stays), plan),
                false => plan,
            };
        } else if lost && governance::holds_back(workload) {
            // It stays held, perhaps for long, so its judge must be one that is there.
            plan.edits.governed = marking::hand_over(workload, judges);
            if !memory.lost_told {
                let held = hold.as_ref().map(|hold| &hold.id);
                let id = held.or_else(|| turn::change_id(workload));
                let id = id.map(ToString::to_string).unwrap_or_default();
                plan.tell(Event::PolicyLost, words::policy_lost(namespace, &workload.id, &id));
                plan.memory.lost_told = true;
            }
        } else {
            let confirm = stray.then(|| Confirm {
                definition: if lost { definition } else { recorded }.map(str::to_owned),
                labels: workload.labels.clone(),
            });
            let off = marking::take_off(workload, keep.then_some(judges), confirm);
            plan.write(off.edits);
            let released = off.released.into_iter();
            released.for_each(|message| plan.tell(Event::UpgradeReleased, message));
        }
        plan
    }
}

/// The next step to the end of a maintenance. What is held goes along, unless it is to stay held: then
/// the workload stays stopped, until a policy selects it again or the change is taken back.
fn end_maintenance(
    (workload, pods, revisions): (&Workload, &[&Pod], &Revisions),
    mark: &InMaintenance,
    (hold, stays): (Option<Hold>, Option<&Namespace>),
    mut plan: Plan,
) -> Plan {
    let Some(step) = maintenance::way_back(workload, pods, mark, hold.is_some()) else {
        return plan;
    };
    let starts = mark.stage == Stage::Stop && step.stage == Stage::Start;
    let release = match (hold.filter(|_| starts), stays) {
        (Some(_), _) if maintenance::is_back(revisions, mark) => {
            Some(release::released(Release::Unchanged))
        }
        (Some(hold), Some(namespace)) => {
            if !std::mem::replace(&mut plan.memory.lost_told, true) {
                let message = maintenance::words::stays_stopped(namespace, &workload.id, &hold);
                plan.tell(Event::PolicyLost, message);
            }
            return plan;
        }
        (Some(hold), None) => {
            plan.tell(Event::UpgradeReleased, maintenance::words::goes_along(&hold));
            Some(release::released(Release::Ungoverned))
        }
        (None, _) => None,
    };
    plan.write(maintenance::with_mark(workload, &step, release.unwrap_or_default()));
    plan
}

//! No rollout deadlocks on a volume or mounts it twice, and no data is lost or forgotten.
//!
//! [`usage`] says who uses which claim, [`exclusive`] what that means for rollouts, [`protection`] keeps the data of claims whatever is
//! deleted, and [`leftover`] finds it again. The volume is the shield: a reclaim policy of Retain survives everything, also an operator
//! that is down.

pub mod exclusive;
pub mod leftover;
pub mod protection;
pub mod provenance;
pub mod strategy;
pub mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use self::{exclusive::Exclusive, protection::Scene, usage::Governed};
use super::{
    decision::{Event, Notice, StorageObject, StoragePatch, Subject},
    gates::Closed,
    governs::{Governance, Standing, governance},
    hold::enforced::Enforcement,
    storage::{Claim, Storage},
    world::{Activity, Namespace, Policy, Uid, WorkloadId},
};
use crate::api::{Reason, VolumeCounts};

/// Where kept data stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A pod uses it, or is to.
    InUse,
    /// Somebody refers to it who runs no pod now, or did until a moment ago.
    Idle,
    /// Nobody refers to its claim.
    Orphaned,
    /// Its claim is gone.
    Released,
    /// The claim of that name has a younger volume.
    Shadowed,
    /// The volume of the claim is gone.
    Lost,
    /// Its claim is being deleted while pods use it.
    Terminating,
}

/// How much there is in each state, and its bytes.
pub type States = BTreeMap<State, (u64, u64)>;

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::InUse, Self::Idle, Self::Orphaned, Self::Released, Self::Shadowed, Self::Lost, Self::Terminating];

    /// As metrics and the plugin name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "InUse",
            Self::Idle => "Idle",
            Self::Orphaned => "Orphaned",
            Self::Released => "Released",
            Self::Shadowed => "Shadowed",
            Self::Lost => "Lost",
            Self::Terminating => "Terminating",
        }
    }
}

/// Data that is kept, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it stands.
    pub state: State,
    /// Its claim, while there is one.
    pub claim: Option<String>,
    /// Its volume, as far as it is known.
    pub volume: Option<String>,
}

/// Why data or a rollout is in danger, in words; the most urgent first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Danger {
    /// A claim is being deleted while pods use it.
    ClaimTerminatingInUse(String),
    /// A claim has another volume than the one with its data.
    VolumeShadowed(String),
    /// The volume of a claim is gone.
    VolumeLost(String),
    /// A volume could not be written to.
    ProtectionFailing(String),
    /// Several pods are to use a claim that one pod or node may hold.
    ExclusiveClaimShared(String),
    /// A rollout would deadlock, and the policy only reports that.
    ExclusiveClaim(String),
    /// Admission does not make the strategy Recreate.
    StrategyNotChanged(String),
    /// A claim waits whose volume does not fit it.
    VolumeDoesNotFit(String),
    /// Several volumes hold the data of a claim.
    SeveralVolumes(String),
    /// The platform has not agreed to Deny.
    DenyNotAllowed(String),
    /// Another manager declares what keeps a claim otherwise.
    ShieldIncomplete(String),
}

impl Danger {
    /// The reason of the condition, and what it says.
    pub fn say(&self) -> (&'static str, &str) {
        match self {
            Self::ClaimTerminatingInUse(why) => ("ClaimTerminatingInUse", why),
            Self::VolumeShadowed(why) => ("VolumeShadowed", why),
            Self::VolumeLost(why) => ("VolumeLost", why),
            Self::ProtectionFailing(why) => ("ProtectionFailing", why),
            Self::ExclusiveClaimShared(why) => ("ExclusiveClaimShared", why),
            Self::ExclusiveClaim(why) => ("ExclusiveClaim", why),
            Self::StrategyNotChanged(why) => ("StrategyNotChanged", why),
            Self::VolumeDoesNotFit(why) => ("VolumeDoesNotFit", why),
            Self::SeveralVolumes(why) => ("SeveralVolumes", why),
            Self::DenyNotAllowed(why) => ("DenyNotAllowed", why),
            Self::ShieldIncomplete(why) => ("ShieldIncomplete", why),
        }
    }
}

/// What a policy's status says of volumes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The counts.
    pub counts: VolumeCounts,
    /// What is in danger.
    pub dangers: BTreeSet<Danger>,
    /// What is worth knowing.
    pub notes: BTreeSet<String>,
}

/// What is to be done about the storage of a namespace, and what is to be said of it.
#[derive(Debug, Default)]
pub struct Judged {
    /// What is to be written, with what its success means; one request an object.
    pub patches: Vec<(StoragePatch, Option<Notice>)>,
    /// By the name of a policy.
    pub of_policies: BTreeMap<String, Summary>,
    /// By workload.
    pub of_workloads: BTreeMap<WorkloadId, OfWorkload>,
    /// How much there is in each state, and its bytes.
    pub states: States,
    /// The same one by one. A volume that is shadowed is nothing else.
    pub kept: Vec<Kept>,
    /// What stands that is told once.
    pub standing: Vec<Notice>,
    /// When to look again.
    pub wake: Option<Timestamp>,
    notes: BTreeSet<String>,
    /// By claim, why what would end its pods waits.
    in_danger: BTreeMap<String, Closed>,
}

/// What volumes mean for a workload.
#[derive(Debug, Clone, Default)]
pub struct OfWorkload {
    /// What its exclusive claims mean for its rollouts.
    pub exclusive: Exclusive,
    /// Why nothing may end its pods now; whether that holds without gates too.
    pub danger: Option<Closed>,
}

impl Judged {
    fn patch(&mut self, patch: StoragePatch, notice: Option<Notice>) {
        if patch.is_empty() {
            return;
        }
        // What two rules want of one object goes in one request.
        match self.patches.iter_mut().find(|(known, _)| known.object == patch.object) {
            Some((known, told)) => {
                known.labels.extend(patch.labels);
                known.annotations.extend(patch.annotations);
                known.reclaim_policy = patch.reclaim_policy.or(known.reclaim_policy.take());
                known.claim_uid = patch.claim_uid.or(known.claim_uid.take());
                known.owners = patch.owners.or(known.owners.take());
                *told = notice.or(told.take());
            }
            None => self.patches.push((patch, notice)),
        }
    }

    fn danger(&mut self, policy: &str, danger: Danger) {
        self.of_policies.entry(policy.to_owned()).or_default().dangers.insert(danger);
    }

    fn note_all(&mut self, note: String) {
        self.notes.insert(note);
    }

    fn count(&mut self, policy: &str, kept: Kept, bytes: u64) {
        let state = kept.state;
        match self.kept.iter_mut().find(|known| state == State::Shadowed && known.claim.is_none() && known.volume == kept.volume) {
            Some(known) => known.state = state,
            None => self.kept.push(kept),
        }
        let (count, total) = self.states.entry(state).or_default();
        (*count, *total) = (*count + 1, *total + bytes);
        let counts = &mut self.of_policies.entry(policy.to_owned()).or_default().counts;
        match state {
            State::InUse | State::Terminating => counts.protected += 1,
            State::Idle => (counts.protected, counts.idle) = (counts.protected + 1, counts.idle + 1),
            State::Orphaned | State::Released => {
                (counts.orphaned, counts.orphaned_bytes) = (counts.orphaned + 1, counts.orphaned_bytes + bytes);
            }
            State::Shadowed => counts.shadowed += 1,
            State::Lost => counts.lost += 1,
        }
    }

    fn shadowed(&mut self, policy: &str, governed: Option<Governed>, claim: &Claim, message: String) {
        self.danger(policy, Danger::VolumeShadowed(message.clone()));
        let closed = Closed { reason: Reason::VolumeShadowed, message: message.clone(), ask_again: None };
        self.in_danger.insert(claim.name.clone(), closed);
        self.standing.push(of_claim(claim, governed, Event::VolumeShadowed, message));
    }

    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }
}

/// What the storage of a namespace is judged by.
pub struct Surroundings<'a> {
    /// The storage of the cluster.
    pub storage: &'a Storage,
    /// What is known of the admission policies.
    pub enforcement: &'a Enforcement,
    /// What the executor is doing, by the object's uid.
    pub activities: &'a HashMap<Uid, Activity>,
    /// Now.
    pub now: Timestamp,
}

/// Where the data that is kept of a namespace stands, whoever governs it.
pub fn states(namespace: &Namespace, storage: &Storage, now: Timestamp) -> Vec<Kept> {
    let around = Surroundings { storage, enforcement: &Enforcement::default(), activities: &HashMap::new(), now };
    judge(namespace, &governance(namespace), &around).kept
}

/// Judges the storage of a namespace.
pub fn judge(namespace: &Namespace, governance: &Governance, around: &Surroundings) -> Judged {
    let mut judged = Judged::default();
    let object = around.storage.namespaces.get(&*namespace.name);
    let scene = Scene {
        namespace,
        object,
        refuses_deletion: around.enforcement.deletion_gap().is_none(),
        puts_shields: around.enforcement.claims_gap().is_none(),
        now: around.now,
    };
    let usages = usage::of_namespace(namespace, governance);
    for used in usages.values() {
        let claim = used.claim;
        let volume = claim.volume.as_deref().and_then(|name| around.storage.volume(name));
        let volume = volume.filter(|volume| volume.is_of(&namespace.name, claim));
        protection::judge(&scene, used, volume, &mut judged);
        if let Some(state) = protection::state(&scene, used, volume, &mut judged) {
            stand(&scene, used, volume.map_or(claim.requested, |volume| volume.capacity), state, &mut judged);
        }
    }
    protection::judge_namespace(&scene, &usages, &mut judged);
    leftover::judge(&scene, around.storage, &usages, &mut judged);
    let pods = namespace.pods_by_workload();
    for (id, standing) in &governance.standings {
        let (Standing::Governed(policy, spec), Some(workload)) = (standing, namespace.workloads.get(*id)) else { continue };
        if usage::of_spec(spec).is_none() {
            continue;
        }
        let own = pods.get(&*workload.uid).map_or(&[][..], Vec::as_slice);
        let exclusive = exclusive::judge(namespace, around.storage, &usages, (workload, spec), own);
        let of_policy = judged.of_policies.entry(policy.name.clone()).or_default();
        of_policy.dangers.extend(exclusive.dangers.iter().cloned());
        of_policy.notes.extend(exclusive.notes.iter().cloned());
        let mut used = usages.iter().filter(|(_, usage)| usage.workloads.iter().any(|user| user.id == **id));
        let danger = used.find_map(|(claim, _)| judged.in_danger.get(*claim)).cloned();
        let danger = danger.filter(|closed| closed.reason == Reason::ClaimTerminating || spec.needs_holds());
        judged.of_workloads.insert((*id).clone(), OfWorkload { exclusive, danger });
    }
    heed_activities(&usages, around, &mut judged);
    judged
}

fn stand(scene: &Scene, used: &usage::Usage, bytes: u64, mut state: State, judged: &mut Judged) {
    let claim = used.claim;
    let policy = used.governed.map(|governed| governed.policy.name.clone());
    let known = || provenance::Provenance::parse(claim.marks.get(crate::api::marks::PROVENANCE)?).map(|known| known.policy);
    let policy = policy.or_else(known).unwrap_or_default();
    if claim.deleting && !used.pods.is_empty() {
        state = State::Terminating;
        let pods: Vec<_> = used.pods.iter().map(|pod| &*pod.name).collect();
        let message = format!(
            "claim {} is being deleted, which cannot be taken back, and goes when its pods are gone ({}). Its volume {} is kept. Nothing of ours \
             ends these pods; save the data while they run",
            claim.name,
            some_of(&pods, 3),
            claim.volume.as_deref().unwrap_or("(none)")
        );
        judged.danger(&policy, Danger::ClaimTerminatingInUse(message.clone()));
        let closed = Closed { reason: Reason::ClaimTerminating, message: message.clone(), ask_again: None };
        judged.in_danger.insert(claim.name.clone(), closed);
        judged.standing.push(of_claim(claim, used.governed, Event::ClaimTerminatingInUse, message));
    } else if state == State::Lost {
        let message = format!(
            "claim {} has lost its volume {}: its pods cannot start. Restore the volume from a back-up, or delete the claim",
            claim.name,
            claim.volume.as_deref().unwrap_or("(none)")
        );
        judged.danger(&policy, Danger::VolumeLost(message));
    } else if state == State::Orphaned {
        let message = format!(
            "nothing refers to claim {} any more; its data is kept until somebody deletes it: kubectl lockkeeper volumes -n {}",
            claim.name, scene.namespace.name
        );
        judged.standing.push(of_claim(claim, used.governed, Event::VolumeOrphaned, message));
    }
    judged.count(&policy, Kept { state, claim: Some(claim.name.clone()), volume: claim.volume.clone() }, bytes);
}

/// One request an object at a time, and after a failure only when its pause is over.
fn heed_activities(usages: &BTreeMap<&str, usage::Usage>, around: &Surroundings, judged: &mut Judged) {
    let mut patches = std::mem::take(&mut judged.patches);
    patches.retain(|(patch, _)| {
        let Some(activity) = around.activities.get(&patch.uid) else { return true };
        let Some(trouble) = &activity.trouble else { return !activity.in_flight };
        let message = format!(
            "{} could not be written to: {}. It is tried again, at least every 5 minutes",
            Subject::Storage(patch.object.clone()),
            trouble.message
        );
        let concerned: BTreeSet<_> =
            usages.values().filter_map(|usage| usage.governed).map(|governed| governed.policy.name.clone()).collect();
        concerned.iter().for_each(|policy| judged.danger(policy, Danger::ProtectionFailing(message.clone())));
        if trouble.retry_at > around.now {
            judged.wake_at(trouble.retry_at);
        }
        !activity.in_flight && trouble.retry_at <= around.now
    });
    judged.patches = patches;
}

impl Judged {
    /// What the status of a policy says of volumes.
    pub fn summary(&self, policy: &Policy) -> Summary {
        let mut summary = self.of_policies.get(&policy.name).cloned().unwrap_or_default();
        summary.notes.extend(self.notes.iter().cloned());
        summary
    }
}

/// A notice on a claim, where its author looks, and on the policy that governs it.
fn of_claim(claim: &Claim, governed: Option<Governed>, event: Event, message: String) -> Notice {
    let subject = Subject::Storage(StorageObject::Claim(claim.name.clone()));
    let policy = governed.map(|governed| (governed.policy.name.clone(), governed.policy.uid.clone()));
    Notice { subject, uid: claim.uid.clone(), policy, event, message }
}

/// The first of some names, and how many more there are.
pub fn some_of(names: &[&str], most: usize) -> String {
    let first = names.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

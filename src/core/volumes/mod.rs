//! No rollout deadlocks on a volume or mounts it twice, and no data is lost or forgotten.
//!
//! [`usage`] says who uses which claim, [`exclusive`] what that means for rollouts, [`protection`]
//! keeps the data of claims whatever is deleted, and [`leftover`] and [`lost`] find it again. The
//! volume is the shield: a reclaim policy of Retain survives everything, also an operator that is
//! down.

pub mod exclusive;
pub mod leftover;
pub mod lost;
pub mod protection;
pub mod provenance;
mod sharing;
pub mod strategy;
pub mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use strum::{EnumDiscriminants, IntoStaticStr, VariantArray};

use self::{exclusive::Exclusive, protection::Scene, usage::Governed};
use crate::api::{Reason, VolumeCounts};
use crate::core::{
    decision::{Event, Notice, StorageObject, StoragePatch, Subject},
    gates::Closed,
    governs::{Governance, Standing, governance},
    hold::enforced::Enforcement,
    memory::Activity,
    observed::{
        Namespace, Policy, Uid, WorkloadId,
        storage::{Claim, Storage, Volume},
    },
    rollout::progress,
    unread,
};

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
    pub const ALL: [Self; 7] = [
        Self::InUse,
        Self::Idle,
        Self::Orphaned,
        Self::Released,
        Self::Shadowed,
        Self::Lost,
        Self::Terminating,
    ];

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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumDiscriminants)]
#[strum_discriminants(
    name(DangerReason),
    derive(IntoStaticStr, VariantArray),
    doc = "In one word, what is in danger."
)]
pub enum Danger {
    /// A claim is being deleted while pods use it.
    ClaimTerminatingInUse(String),
    /// A claim has another volume than the one with its data.
    VolumeShadowed(String),
    /// The volume of a claim is gone.
    VolumeLost(String),
    /// A volume with kept data is being deleted.
    VolumeTerminating(String),
    /// A volume could not be written to.
    ProtectionFailing(String),
    /// An object of storage cannot be read.
    UnreadableObject(String),
    /// Several pods are to use a claim that one pod or node may hold.
    ExclusiveClaimShared(String),
    /// A rollout would deadlock, or two pods would write to one volume, and the policy only reports
    /// that.
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
    /// Another manager makes a Deployment the owner of a claim again and again.
    ClaimOwned(String),
}

impl Danger {
    /// What it says.
    pub fn message(&self) -> &str {
        match self {
            Self::ClaimTerminatingInUse(why)
            | Self::VolumeShadowed(why)
            | Self::VolumeLost(why)
            | Self::VolumeTerminating(why)
            | Self::ProtectionFailing(why)
            | Self::UnreadableObject(why)
            | Self::ExclusiveClaimShared(why)
            | Self::ExclusiveClaim(why)
            | Self::StrategyNotChanged(why)
            | Self::VolumeDoesNotFit(why)
            | Self::SeveralVolumes(why)
            | Self::DenyNotAllowed(why)
            | Self::ShieldIncomplete(why)
            | Self::ClaimOwned(why) => why,
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

impl Summary {
    fn count(&mut self, state: State, bytes: u64) {
        let counts = &mut self.counts;
        match state {
            State::InUse | State::Terminating => counts.protected += 1,
            State::Idle => {
                (counts.protected, counts.idle) = (counts.protected + 1, counts.idle + 1)
            }
            State::Orphaned | State::Released => {
                (counts.orphaned, counts.orphaned_bytes) =
                    (counts.orphaned + 1, counts.orphaned_bytes.saturating_add(bytes));
            }
            State::Shadowed => counts.shadowed += 1,
            State::Lost => counts.lost += 1,
        }
    }
}

/// What is to be done about the storage of a namespace, and what is to be said of it.
#[derive(Debug, Default)]
pub struct Judged {
    /// What is to be written, with what its success means; one request an object.
    pub patches: BTreeMap<StorageObject, (StoragePatch, Option<Notice>)>,
    /// By the name of a policy.
    pub of_policies: BTreeMap<String, Summary>,
    /// By workload.
    pub of_workloads: BTreeMap<WorkloadId, OfWorkload>,
    /// How much there is in each state, and its bytes, by the policy that had it kept.
    pub states: BTreeMap<String, States>,
    /// The same one by one.
    pub kept: Vec<Kept>,
    /// What stands that is told once.
    pub standing: Vec<Notice>,
    /// When to look again.
    pub wake: Option<Timestamp>,
    notes: BTreeSet<String>,
    /// The policies of the namespace that see to volumes.
    seers: BTreeSet<String>,
    /// By claim, why what would end its pods waits.
    in_danger: BTreeMap<String, Closed>,
}

/// What volumes mean for a workload.
#[derive(Debug, Clone, Default)]
pub struct OfWorkload {
    /// What its exclusive claims mean for its rollouts.
    pub exclusive: Exclusive,
    /// Why nothing of ours may end its pods now.
    pub danger: Option<Closed>,
}

impl Judged {
    fn patch(&mut self, patch: StoragePatch, notice: Option<Notice>) {
        if patch.is_empty() {
            return;
        }
        // What two rules want of one object goes in one request.
        match self.patches.get_mut(&patch.object) {
            Some((known, told)) => {
                known.labels.extend(patch.labels);
                known.annotations.extend(patch.annotations);
                known.reclaim_policy = patch.reclaim_policy.or(known.reclaim_policy.take());
                known.claim_uid = patch.claim_uid.or(known.claim_uid.take());
                known.owners = patch.owners.or(known.owners.take());
                *told = notice.or(told.take());
            }
            None => drop(self.patches.insert(patch.object.clone(), (patch, notice))),
        }
    }

    /// The policies that report what one of this name had retained: itself, or, if it is gone or no
    /// longer sees to volumes, all that do.
    fn tellers(&self, policy: &str) -> Vec<String> {
        match self.seers.contains(policy) {
            true => vec![policy.to_owned()],
            false => self.seers.iter().cloned().collect(),
        }
    }

    fn danger(&mut self, policy: &str, danger: Danger) {
        for teller in self.tellers(policy) {
            self.of_policies.entry(teller).or_default().dangers.insert(danger.clone());
        }
    }

    fn note_all(&mut self, note: String) {
        self.notes.insert(note);
    }

    fn count(&mut self, policy: &str, kept: Kept, bytes: u64) {
        let state = kept.state;
        self.kept.push(kept);
        let (count, total) =
            self.states.entry(policy.to_owned()).or_default().entry(state).or_default();
        (*count, *total) = (*count + 1, total.saturating_add(bytes));
        for teller in self.tellers(policy) {
            self.of_policies.entry(teller).or_default().count(state, bytes);
        }
    }

    fn shadowed(
        &mut self,
        policy: &str,
        governed: Option<Governed>,
        claim: &Claim,
        message: String,
    ) {
        self.danger(policy, Danger::VolumeShadowed(message.clone()));
        let closed =
            Closed { reason: Reason::VolumeShadowed, message: message.clone(), ask_again: None };
        // That it is going is the more urgent.
        self.in_danger.entry(claim.name.clone()).or_insert(closed);
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

/// Where the data that is kept of a namespace stands, no matter which policy governs it.
pub fn states(namespace: &Namespace, storage: &Storage, now: Timestamp) -> Vec<Kept> {
    let around = Surroundings {
        storage,
        enforcement: &Enforcement::default(),
        activities: &HashMap::new(),
        now,
    };
    judge(namespace, &governance(namespace), &around).kept
}

/// Judges the storage of a namespace.
pub fn judge(namespace: &Namespace, governance: &Governance, around: &Surroundings) -> Judged {
    let sees = |policy: &&Policy| policy.spec.as_ref().is_ok_and(|spec| spec.volumes.is_some());
    let seers =
        namespace.policies.values().filter(sees).map(|policy| policy.name.clone()).collect();
    let mut judged = Judged { seers, ..Judged::default() };
    let object = around.storage.namespaces.get(&*namespace.name);
    let scene = Scene {
        namespace,
        object,
        deletion_gap: around.enforcement.deletion_gap(),
        claims_gap: around.enforcement.claims_gap(),
        now: around.now,
    };
    let usages = usage::of_namespace(namespace, governance, around.storage);
    for used in usages.values() {
        let claim = used.claim;
        let volume = claim.volume.as_deref().and_then(|name| around.storage.volume(name));
        let volume = volume.filter(|volume| volume.is_of(&namespace.name, claim));
        protection::judge(&scene, used, volume, &mut judged);
        if let Some(state) = protection::state(&scene, used, volume, &mut judged) {
            stand((&scene, around.storage), used, volume, state, &mut judged);
        }
        if let Some(governed) = used.governed
            && let Some(danger) = lost::waits_in_vain(&scene, around.storage, claim)
        {
            judged.danger(&governed.policy.name, danger);
        }
    }
    protection::judge_namespace(&scene, &usages, &mut judged);
    protection::judge_admission(&scene, &mut judged);
    leftover::judge(&scene, around.storage, &usages, &mut judged);
    if !judged.seers.is_empty() {
        judge_workloads(namespace, governance, (&usages, around.storage), &mut judged);
    }
    heed_unread(namespace, around.storage, &mut judged);
    heed_activities(around, &mut judged);
    judged
}

/// What the volumes mean for the workloads whose policies see to them.
fn judge_workloads(
    namespace: &Namespace,
    governance: &Governance,
    (usages, storage): (&BTreeMap<&str, usage::Usage>, &Storage),
    judged: &mut Judged,
) {
    let (pods, newest) = (namespace.pods_by_workload(), namespace.newest_replica_sets());
    for (id, standing) in &governance.standings {
        let (Standing::Governed(policy, spec), Some(workload)) =
            (standing, namespace.workloads.get(*id))
        else {
            continue;
        };
        let Some(of_volumes) = &spec.volumes else { continue };
        let own = pods.get(&*workload.uid).map_or(&[][..], Vec::as_slice);
        let (_, current) = progress::seen(workload, newest.get(&*workload.uid).copied(), &[]);
        let exclusive =
            exclusive::judge(namespace, storage, usages, (workload, spec), (own, current));
        let of_policy = judged.of_policies.entry(policy.name.clone()).or_default();
        of_policy.dangers.extend(exclusive.dangers.iter().cloned());
        of_policy.notes.extend(exclusive.notes.iter().cloned());
        of_policy.notes.extend(Governed { policy, spec: of_volumes, workload }.consent());
        let uses = |claim: &&String| {
            usages
                .get(claim.as_str())
                .is_some_and(|usage| usage.workloads.iter().any(|user| user.id == **id))
        };
        let of_its_own =
            judged.in_danger.iter().filter(|(claim, _)| uses(claim)).map(|(_, closed)| closed);
        let counts =
            |closed: &&Closed| closed.reason == Reason::ClaimTerminating || spec.needs_holds();
        let danger = of_its_own
            .filter(counts)
            .max_by_key(|closed| closed.reason == Reason::ClaimTerminating)
            .cloned();
        judged.of_workloads.insert((*id).clone(), OfWorkload { exclusive, danger });
    }
}

fn stand(
    (scene, storage): (&Scene, &Storage),
    used: &usage::Usage,
    volume: Option<&Volume>,
    mut state: State,
    judged: &mut Judged,
) {
    let claim = used.claim;
    let bytes = volume.map_or(claim.requested, |volume| volume.capacity);
    let policy = used.governed.map(|governed| governed.policy.name.clone());
    let known = || {
        provenance::Provenance::parse(claim.marks.get(crate::api::marks::PROVENANCE)?)
            .map(|known| known.policy)
    };
    let policy = policy.or_else(known).unwrap_or_default();
    if claim.deleting && !used.pods.is_empty() {
        state = State::Terminating;
        let pods: Vec<_> = used.pods.iter().map(|pod| &*pod.name).collect();
        let message = format!(
            "claim {} is being deleted, and this cannot be undone: it disappears when its pods terminate ({}). Its volume {} is kept. Lockkeeper does not terminate these pods. Save the data while they run",
            claim.name,
            some_of(&pods, 3),
            claim.volume.as_deref().unwrap_or("(none)")
        );
        judged.danger(&policy, Danger::ClaimTerminatingInUse(message.clone()));
        let closed =
            Closed { reason: Reason::ClaimTerminating, message: message.clone(), ask_again: None };
        judged.in_danger.insert(claim.name.clone(), closed);
        judged.standing.push(of_claim(claim, used.governed, Event::ClaimTerminatingInUse, message));
    } else if state == State::Lost {
        judged.danger(&policy, Danger::VolumeLost(lost::message(scene, storage, claim)));
    } else if state == State::Orphaned {
        let message = format!(
            "nothing uses claim {}; its data is kept until somebody deletes it: kubectl lockkeeper volumes -n {}",
            claim.name, scene.namespace.name
        );
        judged.standing.push(of_claim(claim, used.governed, Event::VolumeOrphaned, message));
    }
    if let Some(volume) = volume.filter(|volume| volume.deleting) {
        judged.danger(&policy, leftover::going(volume, &claim.name));
    }
    judged.count(
        &policy,
        Kept { state, claim: Some(claim.name.clone()), volume: claim.volume.clone() },
        bytes,
    );
}

/// While something cannot be read, nothing is written to it, no data loses its protection, and none
/// is called orphaned.
fn heed_unread(namespace: &Namespace, storage: &Storage, judged: &mut Judged) {
    let all = || {
        namespace
            .unread
            .values()
            .chain(storage.unread.values().filter(|one| one.concerns_storage_of(&namespace.name)))
    };
    if all().next().is_none() {
        return;
    }
    let is_unread = |uid: &Uid| all().any(|one| one.uid == *uid);
    let unprotects = |notice: &Option<Notice>| {
        notice.as_ref().is_some_and(|notice| notice.event == Event::VolumeUnprotected)
    };
    judged.patches.retain(|_, (patch, notice)| !is_unread(&patch.uid) && !unprotects(notice));
    judged.standing.retain(|notice| notice.event != Event::VolumeOrphaned);
    for one in unread::of_storage(namespace, storage) {
        judged.danger(
            "",
            Danger::UnreadableObject(format!(
                "{one}. What is known of the volumes here may be incomplete"
            )),
        );
    }
}

/// One request an object at a time, and after a failure only when its pause is over.
fn heed_activities(around: &Surroundings, judged: &mut Judged) {
    let mut patches = std::mem::take(&mut judged.patches);
    let (mut troubled, mut first) = (0, None);
    patches.retain(|_, (patch, _)| {
        let Some(activity) = around.activities.get(&patch.uid) else { return true };
        let Some(trouble) = &activity.trouble else { return !activity.in_flight };
        troubled += 1;
        first.get_or_insert_with(|| (patch.object.clone(), trouble.message.clone()));
        if trouble.retry_at > around.now {
            judged.wake_at(trouble.retry_at);
        }
        !activity.in_flight && trouble.retry_at <= around.now
    });
    judged.patches = patches;
    if let Some((object, why)) = first {
        let subject = Subject::Storage(object);
        let others =
            if troubled > 1 { format!(" and {} more", troubled - 1) } else { String::new() };
        let message = format!(
            "{subject}{others} could not be written: {why}. Lockkeeper tries again, at least every 5 minutes"
        );
        judged.danger("", Danger::ProtectionFailing(message));
    }
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
    let policy =
        governed.map(|governed| (governed.policy.name.clone(), governed.policy.uid.clone()));
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

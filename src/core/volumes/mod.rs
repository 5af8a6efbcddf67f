//! No rollout deadlocks on a volume or mounts it twice, and no data is lost or forgotten.
//!
//! [`usage`] says who uses which claim, [`exclusive`] what that means for rollouts, [`protection`]
//! keeps the data of claims whatever is deleted, and [`find_again`] and [`lost`] find it again.
//! [`conversion`] gives a volume to a claim of another name. The
//! volume is the shield: a reclaim policy of Retain survives everything, also an operator that is
//! down.

pub mod conversion;
pub mod exclusive;
pub mod find_again;
pub mod finding;
pub mod leftover;
pub mod lost;
pub mod protection;
pub mod scene;
mod sharing;
pub mod strategy;
pub mod usage;
mod words;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::{
    core::{
        gates::blocker::Blocker,
        governs::{Governance, Standing, governance},
        hold::enforced::Enforcement,
        memory::Activity,
        notice::{Event, Notice},
        observed::{
            Namespace, Policy, Uid, Unread,
            storage::{Claim, State, Storage, Volume},
        },
        rollout::progress,
        unread,
        volumes::{
            conversion::stage::Conversion,
            finding::{Danger, Judged, Kept, OfWorkload, of_claim},
            scene::Scene,
            usage::Governed,
        },
    },
    marks::StorageMarks,
};

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

/// A conversion, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The claim that had the volume.
    pub from: String,
    /// The claim that it is for.
    pub to: String,
    /// The volume.
    pub volume: String,
    /// The one of the two claims that it is for now.
    pub holder: String,
    /// How far it is, in one word.
    pub stage: &'static str,
    /// The same in a sentence, with what comes next.
    pub message: String,
}

/// The conversions of a namespace.
pub fn conversions(namespace: &Namespace, storage: &Storage) -> Vec<Told> {
    let scene = scene(namespace, storage, &Enforcement::default(), Timestamp::default());
    let usages = usage::of_namespace(namespace, &governance(namespace), storage);
    let all = conversion::stage::all(&scene, storage, &usages);
    all.iter().map(|one| Told::of(one, &namespace.name)).collect()
}

impl Told {
    fn of(one: &Conversion, namespace: &str) -> Self {
        Self {
            from: one.pair.from.to_string(),
            to: one.pair.to.to_string(),
            volume: one.volume.name.clone(),
            holder: one.volume.claim.as_ref().map(|of| of.name.clone()).unwrap_or_default(),
            stage: one.word(),
            message: one.message(namespace),
        }
    }
}

/// Why the volume of a claim cannot go to another one, as far as the cluster's own objects show.
pub fn why_not_converted(
    namespace: &Namespace,
    storage: &Storage,
    claim: &str,
    becomes: &str,
) -> Option<String> {
    let mut asked = namespace.clone();
    let mut marks = StorageMarks::clone(&asked.claims.get(claim)?.marks);
    marks.becomes = Some(becomes.into());
    asked.claims.get_mut(claim)?.marks = marks.into();
    let scene = scene(&asked, storage, &Enforcement::default(), Timestamp::default());
    let usages = usage::of_namespace(&asked, &governance(&asked), storage);
    let usage = usages.get(claim)?;
    let volume = usage.claim.volume.as_deref().and_then(|name| storage.volume(name));
    conversion::why_not(&scene, storage, (usage, volume), becomes)
}

fn scene<'a>(
    namespace: &'a Namespace,
    storage: &'a Storage,
    enforcement: &Enforcement,
    now: Timestamp,
) -> Scene<'a> {
    Scene {
        namespace,
        object: storage.namespaces.get(&*namespace.name),
        deletion_gap: enforcement.deletion_gap(),
        claims_gap: enforcement.claims_gap(),
        conversion_gap: enforcement.conversion_gap(),
        unread: unread_of(namespace, storage).next().is_some(),
        now,
    }
}

/// Whether anything that keeps data, or is to, is in a namespace.
pub fn concern(namespace: &Namespace, storage: &Storage) -> bool {
    namespace.policies.values().any(sees)
        || namespace.claims.values().any(Claim::is_kept)
        || storage.namespaces.get(&*namespace.name).is_some_and(|object| object.reserves)
        || storage.of_namespace(&namespace.name).any(|volume| volume.retained)
}

/// Whether a policy looks at volumes.
fn sees(policy: &Policy) -> bool {
    policy.spec.as_ref().is_ok_and(|spec| spec.volumes.is_some())
}

/// Judges the storage of a namespace. Whose its workloads are counts only where
/// [that concerns it](concern).
pub fn judge(namespace: &Namespace, governance: &Governance, around: &Surroundings) -> Judged {
    let seers = namespace.policies.values().filter(|policy| sees(policy));
    let seers = seers.map(|policy| policy.name.clone()).collect();
    let mut judged = Judged { seers, ..Judged::default() };
    let scene = scene(namespace, around.storage, around.enforcement, around.now);
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
    conversion::judge(&scene, around.storage, &usages, &mut judged);
    protection::judge_admission(&scene, &mut judged);
    find_again::judge(&scene, around.storage, &usages, &mut judged);
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
            judged.in_danger.iter().filter(|(claim, _)| uses(claim)).map(|(_, danger)| danger);
        let goes = |danger: &&Blocker| matches!(danger, Blocker::ClaimTerminating(_));
        let counts = |danger: &&Blocker| goes(danger) || spec.needs_holds();
        let danger = of_its_own.filter(counts).max_by_key(goes).cloned();
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
    let known = || claim.marks.provenance.get().map(|known| known.policy.clone());
    let policy = policy.or_else(known).unwrap_or_default();
    if claim.deleting && !used.pods.is_empty() {
        state = State::Terminating;
        let message = words::claim_goes(scene, used, volume);
        judged.danger(&policy, Danger::ClaimTerminatingInUse(message.clone()));
        let terminating = Blocker::ClaimTerminating(message.clone());
        judged.in_danger.insert(claim.name.clone(), terminating);
        judged.standing.push(of_claim(claim, used.governed, Event::ClaimTerminatingInUse, message));
    } else if state == State::Lost && lost::is_converted(scene, storage, claim) {
        // Its volume was handed over, and comes back when it is wanted. Its data counts where it is.
        return;
    } else if state == State::Lost {
        judged.danger(&policy, Danger::VolumeLost(lost::message(scene, storage, claim)));
    } else if state == State::Orphaned {
        let message = words::orphaned(scene, claim);
        judged.standing.push(of_claim(claim, used.governed, Event::VolumeOrphaned, message));
    }
    if let Some(volume) = volume.filter(|volume| volume.deleting) {
        judged.danger(&policy, Danger::VolumeTerminating(words::going(volume, &claim.name)));
    }
    judged.count(
        &policy,
        Kept { state, claim: Some(claim.name.clone()), volume: claim.volume.clone() },
        bytes,
    );
}

/// What cannot be read of a namespace and of its storage.
fn unread_of<'a>(
    namespace: &'a Namespace,
    storage: &'a Storage,
) -> impl Iterator<Item = &'a Unread> {
    let of_storage = storage.unread.values();
    let of_storage = of_storage.filter(|one| one.concerns_storage_of(&namespace.name));
    namespace.unread.values().chain(of_storage)
}

/// While something cannot be read, nothing is written to it, no data loses its protection, and none
/// is called orphaned.
fn heed_unread(namespace: &Namespace, storage: &Storage, judged: &mut Judged) {
    if unread_of(namespace, storage).next().is_none() {
        return;
    }
    let is_unread = |uid: &Uid| unread_of(namespace, storage).any(|one| one.uid == *uid);
    let unprotects = |notice: &Option<Notice>| {
        notice.as_ref().is_some_and(|notice| notice.event == Event::VolumeUnprotected)
    };
    judged.patches.retain(|_, (patch, notice)| !is_unread(&patch.uid) && !unprotects(notice));
    judged.standing.retain(|notice| notice.event != Event::VolumeOrphaned);
    for one in unread::of_storage(namespace, storage) {
        judged.danger("", Danger::UnreadableObject(words::incomplete(one)));
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
        let message = words::not_written(object, troubled, &why);
        judged.danger("", Danger::ProtectionFailing(message));
    }
}

//! How far a conversion is.

use std::collections::BTreeMap;

use crate::{
    core::{
        observed::{
            Pod, Workload, WorkloadId,
            storage::{Claim, ClaimReference, Storage, Volume},
        },
        volumes::{
            find_again::misfit,
            finding::Misfit,
            protection::RETAIN,
            scene::Scene,
            usage::{Usage, refers},
        },
    },
    marks::ClaimPair,
};

/// A volume that may be given to two claims.
pub struct Conversion<'a> {
    /// The volume.
    pub volume: &'a Volume,
    /// The two claims.
    pub pair: &'a ClaimPair,
    /// How far it is.
    pub stage: Stage<'a>,
}

/// How far a conversion is.
pub enum Stage<'a> {
    /// The two names are being reserved.
    Reserving,
    /// This claim has the volume, and nothing wants the other one.
    Rests(&'a str),
    /// This claim gets the volume, but not yet.
    Waits(&'a Claim, Obstacle<'a>),
    /// This claim gets the volume now.
    HandsOver(&'a Claim),
    /// The claim that had the volume was created again, and gets it.
    Frees,
    /// This claim has another volume.
    Conflict(&'a Claim),
    /// A user ended it, and it ends when these no longer refer to this claim, which would get an
    /// empty volume. If there are none, something cannot be read that may refer to it.
    EndWaits(&'a str, Vec<&'a WorkloadId>),
    /// A user ended it: this claim keeps the volume.
    Ends {
        /// The claim that keeps it.
        holder: &'a str,
        /// The other one.
        other: Option<&'a Claim>,
    },
}

/// Why a volume is not handed over yet.
pub enum Obstacle<'a> {
    /// Workloads want pods on the claim that has it.
    Wanted(Vec<&'a WorkloadId>),
    /// Pods use the claim that has it.
    Pods(Vec<&'a Pod>),
    /// The claim asks for access modes that the volume does not have.
    Misfit(Misfit),
    /// The volume is being deleted.
    VolumeGoes,
    /// The volume would not outlive its claim.
    NotKept,
    /// Something cannot be read that may use it.
    Unread,
}

/// Why the volume of a claim cannot go to the claim that a user names.
pub enum Refusal<'a> {
    /// What is named is no name of a claim.
    NoName,
    /// Names cannot be reserved, or volumes not handed over, in this installation.
    Gap(&'a str),
    /// The claim has no volume.
    NoVolume,
    /// The volume is being deleted.
    VolumeGoes(&'a str),
    /// Several pods may use the volume at the same time.
    SharedVolume(&'a str),
    /// A workload runs several pods on the claim.
    SeveralPods(&'a WorkloadId, u32),
    /// Two workloads use the claim.
    SeveralWorkloads(&'a WorkloadId, &'a WorkloadId),
    /// A CronJob uses the claim.
    CronJob(&'a str),
    /// The name is reserved for this other volume.
    Reserved(&'a str),
    /// A claim of that name has another volume, or none.
    Exists(&'a str),
    /// This other claim is to become the same one.
    AskedTwice(&'a str),
    /// Another conversion of the same volume is not over.
    Under(&'a ClaimPair),
}

/// The conversions of a namespace.
pub fn all<'a>(
    scene: &Scene<'a>,
    storage: &'a Storage,
    usages: &BTreeMap<&'a str, Usage<'a>>,
) -> Vec<Conversion<'a>> {
    let volumes = storage.of_namespace(&scene.namespace.name);
    volumes.filter_map(|volume| Conversion::of(scene, volume, usages)).collect()
}

impl<'a> Conversion<'a> {
    fn of(
        scene: &Scene<'a>,
        volume: &'a Volume,
        usages: &BTreeMap<&'a str, Usage<'a>>,
    ) -> Option<Self> {
        let (pair, of) = scene.conversion_of(volume)?;
        let stage = stage(scene, (volume, pair, of), usages)?;
        Some(Self { volume, pair, stage })
    }
}

fn stage<'a>(
    scene: &Scene<'a>,
    (volume, pair, of): (&'a Volume, &'a ClaimPair, &'a ClaimReference),
    usages: &BTreeMap<&'a str, Usage<'a>>,
) -> Option<Stage<'a>> {
    let has = usages.get(of.name.as_str());
    let (other_name, holder) = (pair.other(&of.name)?, of.name.as_str());
    let other = usages.get(other_name).filter(|usage| !usage.claim.deleting);
    let bound = has.filter(|usage| volume.is_of(&scene.namespace.name, usage.claim));
    if bound.is_some_and(|usage| usage.claim.marks.becomes.as_deref() == Some(holder)) {
        let users = users(scene, other_name);
        return Some(match users.is_empty() && !scene.unread {
            true => Stage::Ends { holder, other: other.map(|usage| usage.claim) },
            false => Stage::EndWaits(other_name, users),
        });
    }
    let reserved = pair.names().map(|name| scene.object?.reserved(name));
    if reserved.iter().any(|of| *of != Some(&volume.name)) {
        return Some(Stage::Reserving);
    }
    if let Some(usage) = other.filter(|usage| !usage.claim.names(volume)) {
        return Some(Stage::Conflict(usage.claim));
    }
    // One of the name of the claim that had it, which is gone.
    let again = has.filter(|usage| {
        bound.is_none() && !usage.claim.deleting && usage.claim.names(volume) && usage.in_use()
    });
    let next = other.filter(|usage| usage.in_use());
    Some(match (next, again) {
        (None, Some(_)) if of.uid.is_some() && !scene.unread => Stage::Frees,
        (None, _) => Stage::Rests(holder),
        (Some(_), _) if of.uid.is_none() && again.is_some() => Stage::Rests(holder),
        (Some(next), _) => match obstacle(scene, volume, holder, next.claim) {
            Some(why) => Stage::Waits(next.claim, why),
            None => Stage::HandsOver(next.claim),
        },
    })
}

/// Why a volume is not handed over yet from a claim to the other one.
fn obstacle<'a>(
    scene: &Scene<'a>,
    volume: &Volume,
    from: &str,
    to: &Claim,
) -> Option<Obstacle<'a>> {
    if volume.deleting {
        return Some(Obstacle::VolumeGoes);
    }
    if volume.reclaim_policy != RETAIN {
        return Some(Obstacle::NotKept);
    }
    let wanted = users_that_want(scene, from);
    if !wanted.is_empty() {
        return Some(Obstacle::Wanted(wanted));
    }
    let pods = pods(scene, from);
    if !pods.is_empty() {
        return Some(Obstacle::Pods(pods));
    }
    // The binder gives a smaller volume to the claim that it names.
    if let Some(why @ Misfit::Modes { .. }) = misfit(to, volume) {
        return Some(Obstacle::Misfit(why));
    }
    scene.unread.then_some(Obstacle::Unread)
}

fn workloads<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a Workload> {
    scene.namespace.workloads.values().filter(|workload| !workload.deleting)
}

/// The workloads that refer to a claim of this name, whether there is one or not.
fn users<'a>(scene: &Scene<'a>, claim: &str) -> Vec<&'a WorkloadId> {
    let users = workloads(scene).filter(|workload| refers(workload, claim).is_some());
    users.map(|workload| &workload.id).collect()
}

fn users_that_want<'a>(scene: &Scene<'a>, claim: &str) -> Vec<&'a WorkloadId> {
    let users = workloads(scene).filter(|workload| refers(workload, claim) == Some(true));
    users.map(|workload| &workload.id).collect()
}

/// The pods that use a claim. One that has finished counts while it is being deleted: its node
/// still has the volume mounted.
fn pods<'a>(scene: &Scene<'a>, claim: &str) -> Vec<&'a Pod> {
    let running = scene.namespace.pods.values();
    let running = running.filter(|pod| !pod.finished || pod.terminating.is_some());
    running.filter(|pod| pod.claims.named.iter().any(|name| name == claim)).collect()
}

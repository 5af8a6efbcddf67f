//! Volumes whose claim is gone: they are found again, or it is said why not. Nothing is ever deleted.

use std::collections::BTreeMap;

use super::{
    Danger, Judged, Kept, State,
    protection::{Scene, is_left},
    provenance::Provenance,
    usage::Usage,
};
use crate::{
    api::{Readopt, marks},
    core::{
        decision::{Event, Notice, StorageObject, StoragePatch, Subject},
        storage::{Claim, Storage, Volume, VolumePhase},
    },
};

/// A volume whose claim is gone.
struct Leftover<'a> {
    volume: &'a Volume,
    provenance: Provenance,
}

/// Judges what is left of the claims of a namespace.
pub fn judge(scene: &Scene, storage: &Storage, usages: &BTreeMap<&str, Usage>, judged: &mut Judged) {
    let name = &*scene.namespace.name;
    let left = storage.of_namespace(name).filter(|volume| is_left(volume)).filter_map(|volume| {
        let provenance = volume.provenance().filter(|provenance| provenance.namespace == name)?;
        Some(Leftover { volume, provenance })
    });
    let mut by_claim: BTreeMap<String, Vec<Leftover>> = BTreeMap::new();
    let mut of_others = 0;
    for one in left {
        judged.count(&one.provenance.policy, kept(&one, State::Released), one.volume.capacity);
        judged.standing.push(left_behind(scene, &one));
        if is_ours(scene, &one) {
            by_claim.entry(one.provenance.claim.clone()).or_default().push(one);
        } else {
            of_others += 1;
            lock(&one, judged);
        }
    }
    if of_others > 0 {
        judged.note_all(format!(
            "{of_others} volumes of an earlier namespace {name} are kept, and not found again by themselves, because this one may belong to \
             somebody else: kubectl lockkeeper volumes -n {name} lists them"
        ));
    }
    for (claim, candidates) in by_claim {
        let usage = usages.get(claim.as_str());
        match usage.map(|usage| usage.claim).filter(|claim| claim.bound || claim.lost) {
            // It goes, and the volume that somebody chose for the next one of its name is free before that comes.
            Some(going) if going.deleting && candidates.iter().any(|one| is_chosen(scene, one)) => {
                find_again(scene, &claim, &candidates, None, judged);
            }
            Some(bound) => shadowed(scene, storage, bound, &candidates, usage, judged),
            None => find_again(scene, &claim, &candidates, usage.map(|usage| usage.claim), judged),
        }
    }
}

/// That a volume is kept although its claim is gone.
fn left_behind(scene: &Scene, one: &Leftover) -> Notice {
    let Provenance { claim, policy, workload, .. } = &one.provenance;
    let policy = scene.namespace.policies.get(policy).map(|policy| (policy.name.clone(), policy.uid.clone()));
    let message = format!(
        "claim {}/{claim} of {workload} is gone; its data is kept on volume {}: kubectl lockkeeper volumes -n {}",
        scene.namespace.name, one.volume.name, scene.namespace.name
    );
    let subject = Subject::Storage(StorageObject::Volume(one.volume.name.clone()));
    Notice { subject, uid: one.volume.uid.clone(), policy, event: Event::VolumeOrphaned, message }
}

/// Whether a volume comes from this very namespace, or somebody with the right to gives it that one's, or all of an earlier one's.
fn is_ours(scene: &Scene, one: &Leftover) -> bool {
    let Some(object) = scene.object.filter(|object| !object.deleting) else { return false };
    let uid = &one.provenance.namespace_uid;
    **uid == *object.uid || object.marks.get(marks::READOPT) == Some(uid) || is_chosen(scene, one)
}

/// Whether somebody who may write volumes says that this namespace gets it.
fn is_chosen(scene: &Scene, one: &Leftover) -> bool {
    scene.object.is_some_and(|object| one.volume.marks.get(marks::READOPT).is_some_and(|uid| **uid == *object.uid))
}

fn kept(one: &Leftover, state: State) -> Kept {
    Kept { state, claim: None, volume: Some(one.volume.name.clone()) }
}

/// The claim of that name has another volume.
fn shadowed(scene: &Scene, storage: &Storage, claim: &Claim, candidates: &[Leftover], usage: Option<&Usage>, judged: &mut Judged) {
    let has = claim.volume.as_deref().and_then(|name| storage.volume(name));
    // What was there before it holds the data; what is younger is what somebody has put aside.
    let older = |one: &&Leftover| has.is_none_or(|has| one.volume.created < has.created);
    candidates.iter().for_each(|one| lock(one, judged));
    let Some(old) = candidates.iter().filter(older).max_by_key(|one| one.volume.phase_since) else { return };
    judged.count(&old.provenance.policy, kept(old, State::Shadowed), old.volume.capacity);
    let message = format!(
        "claim {} is bound to volume {}, but its data of before is on volume {}{}. To put that right: kubectl lockkeeper volumes readopt -n {} {}. \
         If the older data is not wanted: kubectl lockkeeper volumes unprotect {}",
        claim.name,
        claim.volume.as_deref().unwrap_or("(none)"),
        old.volume.name,
        misfit(claim, old.volume).map_or_else(String::new, |why| format!(", which {why}")),
        scene.namespace.name,
        old.volume.name,
        old.volume.name,
    );
    let policy =
        usage.and_then(|usage| usage.governed).map_or_else(|| old.provenance.policy.clone(), |governed| governed.policy.name.clone());
    judged.shadowed(&policy, usage.and_then(|usage| usage.governed), claim, message);
}

/// There is no claim of that name, or it has no volume yet.
fn find_again(scene: &Scene, name: &str, candidates: &[Leftover], claim: Option<&Claim>, judged: &mut Judged) {
    let mut wanted: Vec<_> = candidates.iter().filter(|one| is_chosen(scene, one)).collect();
    if wanted.is_empty() {
        wanted = candidates.iter().filter(|one| one.provenance.readopt == Readopt::SameNamespace).collect();
    }
    if let [one] = *wanted {
        if let Some(why) = claim.and_then(|claim| misfit(claim, one.volume)) {
            let message = format!(
                "claim {name} waits, and volume {} with its data {why}. Ask for what fits, or: kubectl lockkeeper volumes readopt -n {} {}",
                one.volume.name, scene.namespace.name, one.volume.name
            );
            judged.danger(&one.provenance.policy, Danger::VolumeDoesNotFit(message));
        }
        if one.volume.phase == VolumePhase::Released {
            free(one, judged);
        }
        return;
    }
    wanted.iter().for_each(|one| lock(one, judged));
    if let Some(first) = wanted.first() {
        let names: Vec<_> = wanted.iter().map(|one| one.volume.name.as_str()).collect();
        let message = format!(
            "several volumes hold data of claim {name}: {}; none is found again by itself. Say which: kubectl lockkeeper volumes readopt -n {} VOLUME",
            names.join(", "),
            scene.namespace.name
        );
        judged.danger(&first.provenance.policy, Danger::SeveralVolumes(message));
    }
}

/// Why a volume would not be bound to a claim.
pub fn misfit(claim: &Claim, volume: &Volume) -> Option<String> {
    match () {
        () if volume.capacity < claim.requested => {
            Some(format!("has {} bytes, less than the {} that the claim asks for", volume.capacity, claim.requested))
        }
        () if volume.class != claim.class => {
            Some(format!("is of storage class {:?}, and the claim asks for {:?}", volume.class, claim.class))
        }
        () => None,
    }
}

/// The next claim of that name gets it.
fn free(one: &Leftover, judged: &mut Judged) {
    if one
        .volume
        .claim
        .as_ref()
        .is_some_and(|claim| claim.uid.is_some() && claim.namespace == one.provenance.namespace && claim.name == one.provenance.claim)
    {
        let mut patch = StoragePatch::new(StorageObject::Volume(one.volume.name.clone()), &one.volume.uid, one.volume.resource_version);
        patch.claim_uid = Some(None);
        judged.patch(patch, None);
    }
}

/// No claim gets it: its namespace is going or gone, and the next one of that name may be somebody else's.
fn lock(one: &Leftover, judged: &mut Judged) {
    if one.volume.claim.as_ref().is_some_and(|claim| claim.uid.is_none()) {
        let mut patch = StoragePatch::new(StorageObject::Volume(one.volume.name.clone()), &one.volume.uid, one.volume.resource_version);
        patch.claim_uid = Some(Some(one.provenance.claim_uid.clone()));
        judged.patch(patch, None);
    }
}

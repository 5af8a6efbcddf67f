//! Volumes whose claim is gone: they are readopted, or the reason why not is reported. Nothing is
//! ever deleted.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    api::{Readopt, marks},
    core::{
        notice::{Event, Notice, Regarding, StorageObject},
        observed::storage::{Claim, ClaimReference, State, Storage, Volume, VolumePhase},
        request::{FieldEdit, StoragePatch},
        volumes::{
            finding::{Danger, Judged, Misfit},
            leftover::{Leftover, count_released, is_chosen, is_ours, kept, lock, waits},
            lost,
            scene::Scene,
            usage::Usage,
            words,
        },
    },
    marks::{Mark, Provenance, StorageMarks, values::True},
};

/// Judges what is left of the claims of a namespace.
pub fn judge(
    scene: &Scene,
    storage: &Storage,
    usages: &BTreeMap<&str, Usage>,
    judged: &mut Judged,
) {
    let name = &*scene.namespace.name;
    let named: BTreeSet<_> = usages
        .values()
        .filter(|usage| usage.claim.bound)
        .filter_map(|usage| usage.claim.volume.as_deref())
        .collect();
    // What a claim names as its own is no leftover, whichever of the two was seen first.
    let left = storage.of_namespace(name).filter(|volume| !named.contains(volume.name.as_str()));
    // Nor is what goes to a claim of another name.
    let (converted, left): (Vec<_>, Vec<_>) = left
        .filter_map(|volume| Leftover::of(scene, volume))
        .partition(|one| scene.conversion_of(one.volume).is_some());
    for one in &converted {
        let of = scene.conversion_of(one.volume).map(|(_, of)| of);
        if of.is_some_and(|of| !usages.contains_key(of.name.as_str())) {
            count_released(one, judged);
        }
    }
    let mut by_claim: BTreeMap<String, Vec<Leftover>> = BTreeMap::new();
    let mut of_others = 0;
    for one in left {
        if one.volume.marks.unprotect.as_deref() == Some(one.volume.name.as_str()) {
            give_up(&one, judged);
            continue;
        }
        if one.volume.deleting {
            let going = words::going(one.volume, &one.provenance.claim);
            judged.danger(&one.provenance.policy, Danger::VolumeTerminating(going));
        }
        judged.standing.push(left_behind(scene, &one));
        if is_ours(scene, &one) {
            by_claim.entry(one.provenance.claim.clone()).or_default().push(one);
        } else {
            of_others += 1;
            count_released(&one, judged);
            lock(&one, judged);
        }
    }
    for volume in
        storage.of_namespace(name).filter(|volume| volume.retained && volume.claim.is_none())
    {
        if let Some(provenance) = volume.provenance().filter(|_| {
            volume.phase == VolumePhase::Available && !named.contains(volume.name.as_str())
        }) {
            let provenance = Arc::clone(provenance);
            without_claim(scene, &Leftover { volume, provenance }, judged);
        }
    }
    if of_others > 0 {
        judged.note_all(words::of_earlier_namespace(name, of_others));
    }
    for (claim, candidates) in by_claim {
        let usage = usages.get(claim.as_str());
        match usage.map(|usage| usage.claim).filter(|claim| claim.bound || claim.lost) {
            // It goes, and the volume that a user chose for the next one of its name is free
            // before that comes.
            Some(going) if going.deleting && candidates.iter().any(|one| is_chosen(scene, one)) => {
                find_again(scene, &claim, &candidates, None, judged);
            }
            Some(lost) if lost.lost && candidates.iter().any(|one| lost::is_named(lost, one)) => {
                lost::give_back(scene, lost, &candidates, usage, judged);
            }
            Some(bound) => shadowed(scene, storage, bound, &candidates, usage, judged),
            None => find_again(scene, &claim, &candidates, usage.map(|usage| usage.claim), judged),
        }
    }
}

/// A user who may write volumes marks the data as not wanted. The volume stays as it is; only
/// we say nothing of it any more.
fn give_up(one: &Leftover, judged: &mut Judged) {
    let volume = one.volume;
    let mut patch = StoragePatch::new(
        StorageObject::Volume(volume.name.clone()),
        &volume.uid,
        volume.resource_version,
    );
    patch.label(true, marks::RETAINED, false);
    patch.write(&volume.marks, &StorageMarks::default());
    // What is not wanted is not readopted.
    let uid = &one.provenance.claim_uid;
    patch.claim_uid = (waits(one) && !uid.is_empty()).then(|| FieldEdit::Set(uid.clone()));
    judged.patch(patch, None);
}

/// A user removed the claimRef of a volume by hand: it is free for every claim, and its data may
/// go to another one.
fn without_claim(scene: &Scene, one: &Leftover, judged: &mut Judged) {
    count_released(one, judged);
    let Provenance { claim, policy, .. } = &*one.provenance;
    let (volume, namespace) = (&one.volume.name, &scene.namespace.name);
    let message = words::free_for_all(volume, namespace, claim);
    let regarding = Regarding::Storage(StorageObject::Volume(volume.clone()));
    let of = scene
        .namespace
        .policies
        .get(policy)
        .map(|policy| (policy.name.clone(), policy.uid.clone()));
    judged.standing.push(Notice {
        regarding,
        uid: one.volume.uid.clone(),
        policy: of,
        event: Event::VolumeOrphaned,
        message: message.clone(),
    });
    for teller in judged.tellers(policy) {
        judged.of_policies.entry(teller).or_default().notes.insert(message.clone());
    }
}

/// That a volume is kept although its claim is gone.
fn left_behind(scene: &Scene, one: &Leftover) -> Notice {
    let policy = scene
        .namespace
        .policies
        .get(&one.provenance.policy)
        .map(|policy| (policy.name.clone(), policy.uid.clone()));
    let message = words::left_behind(scene, one.volume, &one.provenance);
    let regarding = Regarding::Storage(StorageObject::Volume(one.volume.name.clone()));
    Notice { regarding, uid: one.volume.uid.clone(), policy, event: Event::VolumeOrphaned, message }
}

/// The claim of that name has another volume, or has lost it.
fn shadowed(
    scene: &Scene,
    storage: &Storage,
    claim: &Claim,
    candidates: &[Leftover],
    usage: Option<&Usage>,
    judged: &mut Judged,
) {
    let has = claim.volume.as_deref().filter(|_| !claim.lost).and_then(|name| storage.volume(name));
    // What was there before it holds the data; what is younger was put aside.
    // Times are in whole seconds. Of two volumes of one second, that of the earlier claim is older,
    // unless the claim of today is younger than both: then a user gave it its volume.
    // A user may have put data aside in favor of a snapshot, however old it is.
    let older = |one: &&Leftover| {
        !one.provenance.put_aside
            && has.is_none_or(|has| match one.volume.created.cmp(&has.created) {
                Ordering::Equal => claim.created <= has.created,
                order => order == Ordering::Less,
            })
    };
    let old = candidates.iter().filter(older).max_by_key(|one| one.volume.phase_since);
    for one in candidates {
        lock(one, judged);
        let state = if old.is_some_and(|old| old.volume.name == one.volume.name) {
            State::Shadowed
        } else {
            State::Released
        };
        judged.count(&one.provenance.policy, kept(one, state), one.volume.capacity);
    }
    let Some(old) = old else { return };
    let message = words::shadowed(scene, claim, old.volume, misfit(claim, old.volume).as_ref());
    let policy = usage
        .and_then(|usage| usage.governed)
        .map_or_else(|| old.provenance.policy.clone(), |governed| governed.policy.name.clone());
    judged.shadowed(&policy, usage.and_then(|usage| usage.governed), claim, message);
}

/// There is no claim of that name, or it has no volume yet.
fn find_again(
    scene: &Scene,
    name: &str,
    candidates: &[Leftover],
    claim: Option<&Claim>,
    judged: &mut Judged,
) {
    candidates.iter().for_each(|one| count_released(one, judged));
    let mut wanted: Vec<_> = candidates.iter().filter(|one| is_chosen(scene, one)).collect();
    if wanted.is_empty() {
        wanted = candidates
            .iter()
            .filter(|one| one.provenance.readopt == Readopt::SameNamespace)
            .collect();
    }
    wanted.retain(|one| !one.volume.deleting);
    if let [one] = *wanted {
        // The binder takes the first that it finds: no other may wait.
        let others: Vec<_> = candidates
            .iter()
            .filter(|other| other.volume.name != one.volume.name && waits(other))
            .collect();
        others.iter().for_each(|other| lock(other, judged));
        if let Some(why) = claim.and_then(|claim| misfit(claim, one.volume)) {
            let message = words::does_not_fit(scene, name, one.volume, &why);
            judged.danger(&one.provenance.policy, Danger::VolumeDoesNotFit(message));
        }
        // One that is just being given to the claim has its uid before it has another phase.
        let is_given = claim.is_some_and(|claim| one.volume.is_of(&scene.namespace.name, claim));
        if one.volume.phase == VolumePhase::Released && !is_given && others.is_empty() {
            free(one, judged);
        }
        return;
    }
    wanted.iter().for_each(|one| lock(one, judged));
    if let Some(first) = wanted.first() {
        let names: Vec<_> = wanted.iter().map(|one| one.volume.name.as_str()).collect();
        let message = words::several_volumes(scene, name, &names);
        judged.danger(&first.provenance.policy, Danger::SeveralVolumes(message));
    }
}

/// Why a volume that waits for a claim would not be bound to it. Its class does not matter then.
pub fn misfit(claim: &Claim, volume: &Volume) -> Option<Misfit> {
    match () {
        () if volume.capacity < claim.requested => {
            Some(Misfit::TooSmall { has: volume.capacity, asked: claim.requested })
        }
        () if !claim.modes.iter().all(|mode| volume.modes.contains(mode)) => {
            Some(Misfit::Modes { has: volume.modes.clone(), asked: claim.modes.clone() })
        }
        () => None,
    }
}

/// The next claim of that name gets it. Whose uid it bears need not be known: a claim may have come
/// and gone while nobody looked.
fn free(one: &Leftover, judged: &mut Judged) {
    let Provenance { namespace, claim, .. } = &*one.provenance;
    let of_gone =
        |of: &ClaimReference| of.namespace == *namespace && of.name == *claim && of.uid.is_some();
    if one.volume.claim.as_ref().is_some_and(of_gone) {
        let mut patch = StoragePatch::new(
            StorageObject::Volume(one.volume.name.clone()),
            &one.volume.uid,
            one.volume.resource_version,
        );
        patch.claim_uid = Some(FieldEdit::Remove);
        let freed = Mark::Known(True);
        let wanted = StorageMarks { freed, ..StorageMarks::clone(&one.volume.marks) };
        patch.write(&one.volume.marks, &wanted);
        judged.patch(patch, None);
    }
}

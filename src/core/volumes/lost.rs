//! Claims that name a volume which is not theirs. A claim that is created again from an export
//! carries the binding of the earlier claim: its volume names another uid, so that Kubernetes calls
//! the claim Lost, although the data is there.

use crate::{
    api::Readopt,
    core::{
        notice::{Event, StorageObject},
        observed::storage::{Claim, Storage},
        request::{FieldEdit, StoragePatch},
        volumes::{
            finding::{Danger, Judged, Lost, Other, of_claim},
            leftover::{Leftover, count_released, is_chosen, is_ours, lock},
            scene::Scene,
            usage::Usage,
            words,
        },
    },
    marks::{Mark, Provenance, StorageMarks, values::True},
};

/// Whether a volume that is left is given back to the claim that names it.
fn returns(scene: &Scene, claim: &Claim, one: &Leftover) -> bool {
    let wanted = is_chosen(scene, one) || one.provenance.readopt == Readopt::SameNamespace;
    wanted
        && is_ours(scene, one)
        && one.provenance.claim == claim.name
        && !claim.deleting
        && !one.volume.deleting
}

/// A Lost claim names one of the volumes that are left of the claims of its name: it gets that one,
/// and no other.
pub(super) fn give_back(
    scene: &Scene,
    claim: &Claim,
    candidates: &[Leftover],
    usage: Option<&Usage>,
    judged: &mut Judged,
) {
    for one in candidates {
        count_released(one, judged);
        match is_named(claim, one) {
            true if returns(scene, claim, one) => bind(claim, one, usage, judged),
            _ => lock(one, judged),
        }
    }
}

/// Whether a claim names this volume.
pub(super) fn is_named(claim: &Claim, one: &Leftover) -> bool {
    claim.volume.as_ref() == Some(&one.volume.name)
}

/// Kubernetes binds a claim whose binding is complete only to a volume with its very uid.
/// Self-restraint allows us to write the uid of the claim in the provenance, into a volume that has
/// none: so the old one goes first, and the new one is noted.
fn bind(claim: &Claim, one: &Leftover, usage: Option<&Usage>, judged: &mut Judged) {
    let volume = one.volume;
    let Some(reference) = &volume.claim else { return };
    let mut patch = StoragePatch::new(
        StorageObject::Volume(volume.name.clone()),
        &volume.uid,
        volume.resource_version,
    );
    let noted = one.provenance.claim_uid == *claim.uid;
    let mut wanted = StorageMarks::clone(&volume.marks);
    match &reference.uid {
        Some(uid) if **uid == *claim.uid => return,
        None if noted => {
            patch.claim_uid = Some(FieldEdit::Set(claim.uid.to_string()));
            wanted.freed = Mark::Absent;
            patch.write(&volume.marks, &wanted);
            let message = words::has_again(&claim.name, &volume.name);
            let governed = usage.and_then(|usage| usage.governed);
            return judged
                .patch(patch, Some(of_claim(claim, governed, Event::VolumeReadopted, message)));
        }
        Some(_) => {
            patch.claim_uid = Some(FieldEdit::Remove);
            wanted.freed = Mark::Known(True);
        }
        None => {}
    }
    let claim_uid = claim.uid.to_string();
    let provenance = Provenance { claim_uid, ..Provenance::clone(&one.provenance) };
    wanted.provenance = Mark::Known(provenance.into());
    patch.write(&volume.marks, &wanted);
    judged.patch(patch, None);
}

/// Why a claim is Lost, and what to do.
pub(super) fn message(scene: &Scene, storage: &Storage, claim: &Claim) -> String {
    words::lost(scene, claim, &why(scene, storage, claim))
}

fn why<'a>(scene: &Scene, storage: &'a Storage, claim: &Claim) -> Lost<'a> {
    let Some(volume) = claim.volume.as_deref().and_then(|volume| storage.volume(volume)) else {
        return Lost::Gone;
    };
    if let Some(whose) = another(scene, storage, claim) {
        return Lost::Taken(volume, whose);
    }
    let is_its_own =
        volume.claim.as_ref().is_none_or(|reference| reference.uid.as_deref() == Some(&*claim.uid));
    match Leftover::of(scene, volume) {
        _ if is_its_own => Lost::Found(volume),
        Some(one) if returns(scene, claim, &one) => Lost::GivenBack(volume),
        Some(one) => Lost::Kept { volume, is_ours: is_ours(scene, &one) },
        None => Lost::Foreign(volume),
    }
}

/// Whether the volume that a claim names may be handed over to it, or was handed over from it.
pub(super) fn is_converted(scene: &Scene, storage: &Storage, claim: &Claim) -> bool {
    let volume = claim.volume.as_deref().and_then(|name| storage.volume(name));
    let conversion = volume.and_then(|volume| scene.conversion_of(volume));
    conversion.is_some_and(|(pair, _)| pair.other(&claim.name).is_some())
}

/// A claim waits for a volume that it will not get.
pub(super) fn waits_in_vain(scene: &Scene, storage: &Storage, claim: &Claim) -> Option<Danger> {
    let named =
        claim.volume.as_deref().filter(|_| !claim.bound && !claim.lost && !claim.deleting)?;
    if is_converted(scene, storage, claim) {
        return None;
    }
    let message = match (storage.volume(named), another(scene, storage, claim)) {
        (None, _) => words::waits_for_none(claim, named),
        (Some(_), Some(whose)) => words::waits_for_anothers(claim, named, &whose),
        (Some(_), None) => return None,
    };
    Some(Danger::VolumeDoesNotFit(message))
}

/// The claim of another name that the volume which a claim names belongs to.
fn another<'a>(scene: &Scene, storage: &'a Storage, claim: &Claim) -> Option<Other<'a>> {
    let of = storage.volume(claim.volume.as_deref()?)?.claim.as_ref()?;
    match *of.namespace == *scene.namespace.name {
        true => (of.name != claim.name).then_some(Other::Claim(&of.name)),
        false => Some(Other::Elsewhere),
    }
}

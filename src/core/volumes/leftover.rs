//! A volume whose claim is gone, or has another one.

use std::sync::Arc;

use crate::{
    api::{Readopt, policy::default_orphaned_after},
    core::{
        notice::StorageObject,
        observed::storage::{State, Volume},
        request::{FieldEdit, StoragePatch},
        volumes::{
            finding::{Judged, Kept},
            protection::is_left,
            scene::Scene,
        },
    },
    marks::{Mark, Provenance, StorageMarks},
};

/// A volume whose claim is gone.
pub(super) struct Leftover<'a> {
    /// It.
    pub volume: &'a Volume,
    /// Whose data it holds.
    pub provenance: Arc<Provenance>,
}

impl<'a> Leftover<'a> {
    /// What is left of a claim of this namespace, or of an earlier one of its name; none if the
    /// volume is no such thing.
    pub fn of(scene: &Scene, volume: &'a Volume) -> Option<Self> {
        let provenance = volume.provenance().cloned().or_else(|| Some(Arc::new(unknown(volume)?)));
        let provenance = provenance.filter(|_| is_left(volume))?;
        (provenance.namespace == *scene.namespace.name).then_some(Self { volume, provenance })
    }
}

/// Whether a volume comes from this very namespace, or a user with the right to gives it that
/// one's, or all of an earlier one's.
pub(super) fn is_ours(scene: &Scene, one: &Leftover) -> bool {
    let Some(object) = scene.object.filter(|object| !object.deleting) else { return false };
    let uid = &one.provenance.namespace_uid;
    **uid == *object.uid
        || object.marks.readopt.as_deref() == Some(uid.as_str())
        || is_chosen(scene, one)
}

/// Whether a user who may write volumes gives it to this namespace.
pub(super) fn is_chosen(scene: &Scene, one: &Leftover) -> bool {
    scene.object.is_some_and(|object| {
        one.volume.marks.readopt.as_deref().is_some_and(|uid| *uid == *object.uid)
    })
}

pub(super) fn kept(one: &Leftover, state: State) -> Kept {
    Kept { state, claim: None, volume: Some(one.volume.name.clone()) }
}

/// Counts a volume as released.
pub(super) fn count_released(one: &Leftover, judged: &mut Judged) {
    judged.count(&one.provenance.policy, kept(one, State::Released), one.volume.capacity);
}

/// No claim gets it: its namespace is going or gone, and the next one of that name may be somebody
/// else's. What others made free is theirs.
pub(super) fn lock(one: &Leftover, judged: &mut Judged) {
    if waits(one) && one.volume.marks.freed.stands() && !one.provenance.claim_uid.is_empty() {
        let mut patch = StoragePatch::new(
            StorageObject::Volume(one.volume.name.clone()),
            &one.volume.uid,
            one.volume.resource_version,
        );
        patch.claim_uid = Some(FieldEdit::Set(one.provenance.claim_uid.clone()));
        let freed = Mark::Absent;
        let wanted = StorageMarks { freed, ..StorageMarks::clone(&one.volume.marks) };
        patch.write(&one.volume.marks, &wanted);
        judged.patch(patch, None);
    }
}

/// Of a volume whose provenance cannot be read: what its claimRef says. It is found again by nobody
/// but who chooses it.
fn unknown(volume: &Volume) -> Option<Provenance> {
    let claim = volume.claim.as_ref()?;
    Some(Provenance {
        namespace: claim.namespace.clone(),
        namespace_uid: String::new(),
        claim: claim.name.clone(),
        claim_uid: claim.uid.clone().unwrap_or_default(),
        volume: volume.name.clone(),
        workload: String::new(),
        policy: String::new(),
        orphaned_after: default_orphaned_after(),
        readopt: Readopt::Never,
        put_aside: false,
    })
}

pub(super) fn waits(one: &Leftover) -> bool {
    one.volume.claim.as_ref().is_some_and(|claim| claim.uid.is_none())
}

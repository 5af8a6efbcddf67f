//! What keeps the data of claims: the volume's reclaim policy, labels that admission acts on, and
//! how that is given up.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::{
    api::{ConditionReason, Protection, Readopt, marks, policy::default_orphaned_after},
    core::{
        notice::{Event, StorageObject},
        observed::storage::{Claim, Shield, State, Volume, VolumePhase},
        request::StoragePatch,
        volumes::{
            finding::{Danger, Judged, Lack, of_claim},
            scene::Scene,
            usage::{Governed, Usage, of_spec},
            words,
        },
    },
    marks::{
        Mark, Provenance, StorageMarks, Text,
        storage::{ReclaimPolicy, Uids},
    },
};

/// The reclaim policy under which a volume outlives its claim.
pub const RETAIN: &str = "Retain";

/// The protection of a claim. `volume` is the one that it is bound to.
pub fn judge(scene: &Scene, usage: &Usage, volume: Option<&Volume>, judged: &mut Judged) {
    let claim = usage.claim;
    let converts = converts(claim, volume);
    let wanted = usage.governed.map_or(Protection::None, |governed| governed.protection(claim));
    let was_converted = wanted == Protection::None && was_converted(volume);
    if !converts && (gives_up(claim) || lets_go(usage) || was_converted) {
        return give_up(usage, volume, judged);
    }
    let retained = claim.retained || volume.is_some_and(|volume| volume.retained);
    if wanted == Protection::None && !retained && !converts {
        return;
    }
    let only_converts = converts && wanted == Protection::None;
    let provenance = provenance(scene, usage, volume, only_converts);
    if let (Some(volume), Some(provenance)) = (volume, &provenance) {
        retain_volume(usage, volume, provenance, judged);
    }
    let mut patch = StoragePatch::new(
        StorageObject::Claim(claim.name.clone()),
        &claim.uid,
        claim.resource_version,
    );
    let mut wanted_marks = StorageMarks::clone(&claim.marks);
    // Until its volume is known there is nothing to keep, and nothing to say of it.
    if volume.is_some() {
        patch.label(claim.retained, marks::RETAINED, true);
        if !claim.retained {
            // Not trusted: admission did not guard this annotation yet.
            wanted_marks.orphaned_since = Mark::Absent;
        }
        if let Some(provenance) = provenance {
            wanted_marks.provenance = Mark::Known(provenance);
        }
    }
    let deny = denies(scene, usage, wanted, judged);
    patch.label(claim.protected, marks::PROTECTED, deny && volume.is_some());
    let of_deployment = |owner: &&OwnerReference| {
        owner.kind == "Deployment" && owner.api_version.starts_with("apps/")
    };
    let known = claim.marks.disowned.get();
    let (back, new): (Vec<_>, Vec<_>) = claim
        .owners
        .iter()
        .filter(of_deployment)
        .partition(|owner| known.is_some_and(|known| known.include(&owner.uid)));
    if let ([], [_, ..]) = (back.as_slice(), new.as_slice()) {
        patch.owners =
            Some(claim.owners.iter().filter(|owner| !of_deployment(owner)).cloned().collect());
        let uids = known.into_iter().flat_map(|known| known.0.iter().cloned());
        let uids = uids.chain(new.iter().map(|owner| owner.uid.as_str().into()));
        wanted_marks.disowned = Mark::Known(Uids(uids.collect()));
    } else if let (Some(owner), Some(governed)) = (back.first(), usage.governed) {
        let message = words::owned(claim, &owner.name);
        judged.danger(&governed.policy.name, Danger::ClaimOwned(message));
    }
    wanted_marks.allow_deletion_until = permit(&claim.marks, scene.now, judged);
    patch.write(&claim.marks, &wanted_marks);
    if claim.retained
        && let Some(governed) = usage.governed
    {
        shields(scene, claim, governed, judged);
    }
    judged.patch(patch, None);
}

/// Whether a user with the right to has given the data up.
pub fn gives_up(claim: &Claim) -> bool {
    claim.volume.is_some() && claim.marks.unprotect.as_deref() == claim.volume.as_deref()
}

/// Whether its StatefulSet scales away the pod of a claim, and declared beforehand that the data
/// goes with it.
fn lets_go(usage: &Usage) -> bool {
    usage.governed.is_some_and(|governed| governed.lets_go(usage.claim))
}

/// Whether the volume of a claim is handed over to a claim of another name, or is to be. Until that
/// is over its data is kept, whatever its policy and its other marks ask for.
fn converts(claim: &Claim, volume: Option<&Volume>) -> bool {
    let becomes_another =
        claim.marks.becomes.as_deref().is_some_and(|becomes| *becomes != *claim.name);
    volume.is_some_and(|volume| becomes_another || volume.conversion().is_some())
}

/// Whether a volume was kept for nothing but a conversion.
fn was_converted(volume: Option<&Volume>) -> bool {
    volume.and_then(Volume::provenance).is_some_and(|of| of.policy.is_empty())
}

/// First the volume, then the claim: whose data it is must not be forgotten half-way.
pub(super) fn give_up(usage: &Usage, volume: Option<&Volume>, judged: &mut Judged) {
    let claim = usage.claim;
    // One that is released is never set back.
    if let Some(volume) =
        volume.filter(|volume| volume.retained && volume.phase == VolumePhase::Bound)
    {
        let mut patch = StoragePatch::new(
            StorageObject::Volume(volume.name.clone()),
            &volume.uid,
            volume.resource_version,
        );
        patch.label(true, marks::RETAINED, false);
        let without = StorageMarks {
            provenance: Mark::Absent,
            original_reclaim_policy: Mark::Absent,
            ..StorageMarks::clone(&volume.marks)
        };
        patch.write(&volume.marks, &without);
        let original = volume.marks.original_reclaim_policy.get().map(|policy| policy.as_str());
        let original = original.filter(|original| *original != volume.reclaim_policy);
        patch.reclaim_policy = original.map(str::to_owned);
        let now = original.unwrap_or(&volume.reclaim_policy);
        let why = match usage.governed {
            _ if gives_up(claim) => words::GivenUp::ByUser,
            Some(governed) if lets_go(usage) => words::GivenUp::Scaled(&governed.workload.id),
            _ => words::GivenUp::Converted,
        };
        let message = words::unprotected(claim, volume, &why, now);
        return judged.patch(
            patch,
            Some(of_claim(claim, usage.governed, Event::VolumeUnprotected, message)),
        );
    }
    let mut patch = StoragePatch::new(
        StorageObject::Claim(claim.name.clone()),
        &claim.uid,
        claim.resource_version,
    );
    patch.label(claim.retained, marks::RETAINED, false);
    patch.label(claim.protected, marks::PROTECTED, false);
    // That it was given up still stands.
    let unprotect = claim.marks.unprotect.clone();
    patch.write(&claim.marks, &StorageMarks { unprotect, ..StorageMarks::default() });
    if claim.retained {
        for (key, value) in marks::SHIELDS {
            if claim
                .shields
                .get(key)
                .is_some_and(|shield| shield.value == value && shield.manager.is_none())
            {
                patch.annotations.insert(key, None);
            }
        }
    }
    judged.patch(patch, None);
}

/// Whose data it is. Without a governing policy, what was known of the one before. What is kept for
/// a conversion only is no policy's.
fn provenance(
    scene: &Scene,
    usage: &Usage,
    volume: Option<&Volume>,
    only_converts: bool,
) -> Option<Arc<Provenance>> {
    let (claim, volume) = (usage.claim, volume?);
    let known = volume.provenance().or(claim.marks.provenance.get());
    let user = usage.workloads.first();
    let (workload, policy, orphaned_after, readopt) = match usage.governed {
        _ if only_converts && known.is_none() => {
            let user = user.map(|workload| workload.id.to_string()).unwrap_or_default();
            (user, String::new(), default_orphaned_after(), Readopt::Never)
        }
        Some(Governed { policy, spec, workload }) if !only_converts => (
            workload.id.to_string(),
            policy.name.clone(),
            spec.orphaned_after.clone(),
            spec.readopt,
        ),
        _ => {
            let Provenance { workload, policy, orphaned_after, readopt, .. } = &**known?;
            (workload.clone(), policy.clone(), orphaned_after.clone(), *readopt)
        }
    };
    Some(Arc::new(Provenance {
        namespace: scene.namespace.name.to_string(),
        namespace_uid: scene.object?.uid.to_string(),
        claim: claim.name.clone(),
        claim_uid: claim.uid.to_string(),
        volume: volume.name.clone(),
        workload,
        policy,
        orphaned_after,
        readopt,
        put_aside: false,
    }))
}

fn retain_volume(
    usage: &Usage,
    volume: &Volume,
    provenance: &Arc<Provenance>,
    judged: &mut Judged,
) {
    let mut patch = StoragePatch::new(
        StorageObject::Volume(volume.name.clone()),
        &volume.uid,
        volume.resource_version,
    );
    patch.label(volume.retained, marks::RETAINED, true);
    if volume.reclaim_policy != RETAIN {
        patch.reclaim_policy = Some(RETAIN.to_owned());
    }
    let noted = volume.marks.original_reclaim_policy.get().filter(|_| volume.retained);
    let original = noted.map_or(volume.reclaim_policy.as_str(), |policy| policy.as_str());
    let wanted = StorageMarks {
        provenance: Mark::Known(Arc::clone(provenance)),
        original_reclaim_policy: ReclaimPolicy::parse(original).into(),
        readopt: None,
        freed: Mark::Absent,
        ..StorageMarks::clone(&volume.marks)
    };
    patch.write(&volume.marks, &wanted);
    let before = volume.provenance();
    let name = &usage.claim.name;
    let notice = match before {
        None => Some((Event::VolumeProtected, words::protected(name, volume, original))),
        Some(before) if before.claim_uid != provenance.claim_uid => {
            Some((Event::VolumeReadopted, words::has_again(name, &volume.name)))
        }
        // The field is the shield, so it is set again however often another manager changes it;
        // each time is told.
        Some(_) if volume.retained && volume.reclaim_policy != RETAIN => {
            Some((Event::VolumeProtected, words::protected_again(name, volume)))
        }
        Some(_) => None,
    };
    judged.patch(
        patch,
        notice.map(|(event, message)| of_claim(usage.claim, usage.governed, event, message)),
    );
}

/// Whether the deletion of a claim is to be refused. Where no policy says anything about it, what
/// was said stands as long as the platform agrees.
fn denies(scene: &Scene, usage: &Usage, wanted: Protection, judged: &mut Judged) -> bool {
    let allowed = scene.object.is_some_and(|object| object.allows_deny);
    match usage.governed {
        None => usage.claim.protected && allowed,
        Some(_) if wanted != Protection::Deny => false,
        Some(governed) => {
            let why_not = match (allowed, &scene.deletion_gap) {
                (true, None) => return true,
                (false, _) => words::deny_not_allowed(),
                (true, Some(gap)) => gap.message.clone(),
            };
            judged.danger(&governed.policy.name, Danger::DenyNotAllowed(why_not));
            false
        }
    }
}

/// A permit that has expired or cannot be read is cleared.
fn permit(stands: &StorageMarks, now: Timestamp, judged: &mut Judged) -> Mark<Timestamp> {
    let until = stands.allow_deletion_until.get().copied().filter(|until| *until > now);
    if let Some(until) = until {
        judged.wake_at(until);
    }
    until.into()
}

/// An admission policy or binding that is missing or was changed is reported before it does harm.
/// Where the API is not served at all, each claim says what to put into its chart.
pub fn judge_admission(scene: &Scene, judged: &mut Judged) {
    let Some(gap) =
        scene.claims_gap.as_ref().filter(|gap| gap.reason != ConditionReason::AdmissionUnavailable)
    else {
        return;
    };
    for policy in scene.namespace.policies.values() {
        let volumes = policy.spec.as_ref().ok().and_then(of_spec);
        if volumes.is_some_and(|volumes| volumes.protection != Some(Protection::None)) {
            judged.danger(&policy.name, Danger::ShieldIncomplete(gap.message.clone()));
        }
    }
}

/// A shield that another manager declares otherwise is left as it is.
fn shields(scene: &Scene, claim: &Claim, governed: Governed, judged: &mut Judged) {
    for (key, wanted) in marks::SHIELDS {
        let missing = match claim.shields.get(key) {
            Some(shield) if keeps(key, shield, wanted) => continue,
            Some(shield) => Lack::Declared(shield),
            None => match &scene.claims_gap {
                None => Lack::NotWritten,
                Some(gap) if gap.reason == ConditionReason::AdmissionUnavailable => {
                    Lack::NoAdmission
                }
                // Reported once, for all claims.
                Some(_) => continue,
            },
        };
        let message = words::shield_incomplete(claim, &missing, (key, wanted));
        judged.danger(&governed.policy.name, Danger::ShieldIncomplete(message));
    }
}

fn keeps(key: &str, shield: &Shield, wanted: &str) -> bool {
    let has = |option: &str| shield.value.split(',').any(|one| one.trim() == option);
    if key.starts_with("argocd") {
        wanted.split(',').all(has)
    } else {
        shield.value.eq_ignore_ascii_case(wanted)
    }
}

/// The protection of the namespace itself, which is that of its claims.
pub fn judge_namespace(scene: &Scene, claims: &BTreeMap<&str, Usage>, judged: &mut Judged) {
    let Some(object) = scene.object.filter(|object| !object.deleting) else { return };
    let protected: Vec<_> = claims
        .values()
        .map(|usage| usage.claim)
        .filter(|claim| claim.protected && !gives_up(claim))
        .collect();
    let without_permit: Vec<_> = protected
        .iter()
        .filter(|claim| !claim.marks.permits_deletion(scene.now))
        .map(|claim| claim.name.as_str())
        .collect();
    let mut patch = StoragePatch::new(
        StorageObject::Namespace(object.name.clone()),
        &object.uid,
        object.resource_version,
    );
    let is = !protected.is_empty() && object.allows_deny;
    patch.label(object.protected, marks::PROTECTED, is);
    let named =
        (is && !without_permit.is_empty()).then(|| crate::core::some_of(&without_permit, 20));
    let protected_claims = named.map(Into::into);
    let wanted = StorageMarks {
        protected_claims,
        allow_deletion_until: permit(&object.marks, scene.now, judged),
        ..StorageMarks::clone(&object.marks)
    };
    patch.write(&object.marks, &wanted);
    judged.patch(patch, None);
}

/// Where a claim whose data is kept stands.
pub fn state(
    scene: &Scene,
    usage: &Usage,
    volume: Option<&Volume>,
    judged: &mut Judged,
) -> Option<State> {
    let claim = usage.claim;
    if !claim.retained && !volume.is_some_and(|volume| volume.retained) {
        // One that was created again with the binding of an earlier claim never had our label.
        return (claim.lost && usage.governed.is_some()).then_some(State::Lost);
    }
    // What stood there before our label is not trusted.
    if usage.is_referred_to() {
        if claim.marks.orphaned_since.stands() && claim.retained && !claim.deleting {
            let mut patch = StoragePatch::new(
                StorageObject::Claim(claim.name.clone()),
                &claim.uid,
                claim.resource_version,
            );
            patch.write(&claim.marks, &orphaned(claim, Mark::Absent));
            judged.patch(patch, None);
        }
        return Some(match () {
            () if claim.lost => State::Lost,
            () if usage.in_use() => State::InUse,
            () => State::Idle,
        });
    }
    if claim.lost {
        return Some(State::Lost);
    }
    let provenance = volume.and_then(Volume::provenance).or(claim.marks.provenance.get());
    let orphaned_after = provenance
        .map_or_else(default_orphaned_after, |provenance| provenance.orphaned_after.clone());
    let since = match claim.marks.orphaned_since.get().filter(|_| claim.retained) {
        Some(since) => *since,
        None => {
            let now = crate::core::whole_second(scene.now);
            if !claim.deleting {
                let mut patch = StoragePatch::new(
                    StorageObject::Claim(claim.name.clone()),
                    &claim.uid,
                    claim.resource_version,
                );
                patch.write(&claim.marks, &orphaned(claim, Mark::Known(now)));
                judged.patch(patch, None);
            }
            now
        }
    };
    let due = crate::core::later(since, orphaned_after.length());
    if due > scene.now {
        judged.wake_at(due);
        return Some(State::Idle);
    }
    Some(State::Orphaned)
}

fn orphaned(claim: &Claim, since: Mark<Timestamp>) -> StorageMarks {
    StorageMarks { orphaned_since: since, ..StorageMarks::clone(&claim.marks) }
}

/// Whether a volume waits for the next claim of its name, or for a user who wants its data.
pub fn is_left(volume: &Volume) -> bool {
    let waits = volume.phase == VolumePhase::Available
        && volume.claim.as_ref().is_some_and(|claim| claim.uid.is_none());
    volume.retained
        && (waits || matches!(volume.phase, VolumePhase::Released | VolumePhase::Failed))
}

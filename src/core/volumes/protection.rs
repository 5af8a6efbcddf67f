//! What keeps the data of claims: the volume's reclaim policy, labels that admission acts on, and
//! how that is given up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::{
    api::{ConditionReason, Protection, marks, policy::default_orphaned_after},
    core::{
        notice::{Event, StorageObject},
        observed::{
            provenance::Provenance,
            storage::{Claim, Shield, State, Volume, VolumePhase},
        },
        request::StoragePatch,
        volumes::{
            finding::{Danger, Judged, of_claim},
            scene::Scene,
            usage::{Governed, Usage, of_spec},
        },
    },
};

/// The reclaim policy under which a volume outlives its claim.
pub const RETAIN: &str = "Retain";

/// The protection of a claim. `volume` is the one that it is bound to.
pub fn judge(scene: &Scene, usage: &Usage, volume: Option<&Volume>, judged: &mut Judged) {
    let claim = usage.claim;
    if gives_up(claim) || lets_go(usage) {
        return give_up(usage, volume, judged);
    }
    let wanted = usage.governed.map_or(Protection::None, |governed| governed.protection(claim));
    let retained = claim.retained || volume.is_some_and(|volume| volume.retained);
    if wanted == Protection::None && !retained {
        return;
    }
    let provenance = provenance(scene, usage, volume);
    if let (Some(volume), Some(provenance)) = (volume, &provenance) {
        retain_volume(usage, volume, provenance, judged);
    }
    let mut patch = StoragePatch::new(
        StorageObject::Claim(claim.name.clone()),
        &claim.uid,
        claim.resource_version,
    );
    // Until its volume is known there is nothing to keep, and nothing to say of it.
    if volume.is_some() {
        patch.label(claim.retained, marks::RETAINED, true);
        if !claim.retained {
            // Not trusted: admission did not guard this annotation yet.
            patch.annotate(&claim.marks, marks::ORPHANED_SINCE, None);
        }
        if let Some(provenance) = provenance {
            patch.annotate(&claim.marks, marks::PROVENANCE, Some(provenance.write()));
        }
    }
    let deny = denies(scene, usage, wanted, judged);
    patch.label(claim.protected, marks::PROTECTED, deny && volume.is_some());
    let of_deployment = |owner: &&OwnerReference| {
        owner.kind == "Deployment" && owner.api_version.starts_with("apps/")
    };
    let known = claim.marks.get(marks::DISOWNED).map_or("", String::as_str);
    let (back, new): (Vec<_>, Vec<_>) = claim
        .owners
        .iter()
        .filter(of_deployment)
        .partition(|owner| known.split(' ').any(|uid| uid == owner.uid));
    if let ([], [_, ..]) = (back.as_slice(), new.as_slice()) {
        patch.owners =
            Some(claim.owners.iter().filter(|owner| !of_deployment(owner)).cloned().collect());
        let uids = known
            .split_whitespace()
            .chain(new.iter().map(|owner| owner.uid.as_str()))
            .collect::<Vec<_>>()
            .join(" ");
        patch.annotate(&claim.marks, marks::DISOWNED, Some(uids));
    } else if let (Some(owner), Some(governed)) = (back.first(), usage.governed) {
        let message = format!(
            "claim {}: another manager keeps making Deployment {} its owner, so that the claim is deleted with it. Its volume is kept. Configure \
             that manager not to set owner references on the claim",
            claim.name, owner.name
        );
        judged.danger(&governed.policy.name, Danger::ClaimOwned(message));
    }
    clear_permit(&claim.marks, &mut patch, scene.now, judged);
    if claim.retained
        && let Some(governed) = usage.governed
    {
        shields(scene, claim, governed, judged);
    }
    judged.patch(patch, None);
}

/// Whether a user with the right to has given the data up.
pub fn gives_up(claim: &Claim) -> bool {
    claim.volume.is_some() && claim.marks.get(marks::UNPROTECT) == claim.volume.as_ref()
}

/// Whether its StatefulSet scales away the pod of a claim, and declared beforehand that the data
/// goes with it.
fn lets_go(usage: &Usage) -> bool {
    usage.governed.is_some_and(|governed| governed.lets_go(usage.claim))
}

/// First the volume, then the claim: whose data it is must not be forgotten half-way.
fn give_up(usage: &Usage, volume: Option<&Volume>, judged: &mut Judged) {
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
        patch.annotate(&volume.marks, marks::PROVENANCE, None);
        patch.annotate(&volume.marks, marks::ORIGINAL_RECLAIM_POLICY, None);
        let original = volume
            .marks
            .get(marks::ORIGINAL_RECLAIM_POLICY)
            .filter(|original| **original != volume.reclaim_policy);
        patch.reclaim_policy = original.cloned();
        let now = original.unwrap_or(&volume.reclaim_policy);
        let why = match usage.governed {
            Some(governed) if !gives_up(claim) => {
                format!("{} scales its pod away (whenScaled: Delete)", governed.workload.id)
            }
            _ => format!("somebody gave it up ({})", marks::UNPROTECT),
        };
        let message = format!(
            "the data of claim {} is no longer kept, because {why}: the reclaim policy of volume {} is {now} again",
            claim.name, volume.name
        );
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
    for mark in
        [marks::PROVENANCE, marks::ORPHANED_SINCE, marks::ALLOW_DELETION_UNTIL, marks::DISOWNED]
    {
        patch.annotate(&claim.marks, mark, None);
    }
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

/// Whose data it is. Without a governing policy, what was known of the one before.
fn provenance(scene: &Scene, usage: &Usage, volume: Option<&Volume>) -> Option<Provenance> {
    let (claim, volume) = (usage.claim, volume?);
    let known =
        volume.provenance().or_else(|| Provenance::parse(claim.marks.get(marks::PROVENANCE)?));
    let (workload, policy, orphaned_after, readopt) = match usage.governed {
        Some(Governed { policy, spec, workload }) => (
            workload.id.to_string(),
            policy.name.clone(),
            spec.orphaned_after.clone(),
            spec.readopt,
        ),
        None => known
            .map(|known| (known.workload, known.policy, known.orphaned_after, known.readopt))?,
    };
    Some(Provenance {
        namespace: scene.namespace.name.to_string(),
        namespace_uid: scene.object?.uid.to_string(),
        claim: claim.name.clone(),
        claim_uid: claim.uid.to_string(),
        volume: volume.name.clone(),
        workload,
        policy,
        orphaned_after,
        readopt,
    })
}

fn retain_volume(usage: &Usage, volume: &Volume, provenance: &Provenance, judged: &mut Judged) {
    let mut patch = StoragePatch::new(
        StorageObject::Volume(volume.name.clone()),
        &volume.uid,
        volume.resource_version,
    );
    patch.label(volume.retained, marks::RETAINED, true);
    patch.annotate(&volume.marks, marks::PROVENANCE, Some(provenance.write()));
    patch.annotate(&volume.marks, marks::READOPT, None);
    patch.annotate(&volume.marks, marks::FREED, None);
    if volume.reclaim_policy != RETAIN {
        patch.reclaim_policy = Some(RETAIN.to_owned());
    }
    let original = volume
        .marks
        .get(marks::ORIGINAL_RECLAIM_POLICY)
        .filter(|_| volume.retained)
        .unwrap_or(&volume.reclaim_policy);
    patch.annotate(&volume.marks, marks::ORIGINAL_RECLAIM_POLICY, Some(original.clone()));
    let before = volume.provenance();
    let name = &usage.claim.name;
    let notice = match before {
        None => {
            let message = format!(
                "the data of claim {name} is kept, whatever is deleted: the reclaim policy of volume {} is Retain (it was {original})",
                volume.name
            );
            Some((Event::VolumeProtected, message))
        }
        Some(before) if before.claim_uid != provenance.claim_uid => Some((
            Event::VolumeReadopted,
            format!(
                "claim {name} has volume {} again, with the data of the earlier claim of that name",
                volume.name
            ),
        )),
        // The field is the shield, so it is set again however often another manager changes it;
        // each time is told.
        Some(_) if volume.retained && volume.reclaim_policy != RETAIN => Some((
            Event::VolumeProtected,
            format!(
                "another manager set the reclaim policy of volume {} to {}; it is Retain again, so that the data of claim {name} is kept. Declare \
                 persistentVolumeReclaimPolicy: Retain where that manager reads it",
                volume.name, volume.reclaim_policy
            ),
        )),
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
                (false, _) => format!(
                    "the namespace does not have the label {}: \"true\", with which the platform allows Deny. Until then, \
                     spec.volumes.protection: Deny does the same as Retain",
                    marks::ALLOW_DENY
                ),
                (true, Some(gap)) => gap.message.clone(),
            };
            judged.danger(&governed.policy.name, Danger::DenyNotAllowed(why_not));
            false
        }
    }
}

/// A permit that has expired or cannot be read is cleared.
fn clear_permit(
    stand: &BTreeMap<String, String>,
    patch: &mut StoragePatch,
    now: Timestamp,
    judged: &mut Judged,
) {
    let Some(permit) = stand.get(marks::ALLOW_DELETION_UNTIL) else { return };
    match permit.parse::<Timestamp>() {
        Ok(until) if until > now => judged.wake_at(until),
        _ => patch.annotate(stand, marks::ALLOW_DELETION_UNTIL, None),
    }
}

/// Whether a claim or namespace may be deleted now.
fn is_permitted(stand: &BTreeMap<String, String>, now: Timestamp) -> bool {
    stand
        .get(marks::ALLOW_DELETION_UNTIL)
        .and_then(|until| until.parse::<Timestamp>().ok())
        .is_some_and(|until| until > now)
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
            Some(shield) => format!(
                "{} declares {key}: {}",
                shield.manager.as_deref().unwrap_or("another manager"),
                shield.value
            ),
            None => match &scene.claims_gap {
                None => format!(
                    "the annotation {key} is missing; admission adds it with the next write to the claim"
                ),
                Some(gap) if gap.reason == ConditionReason::AdmissionUnavailable => {
                    format!(
                        "the annotation {key} is missing, and this API server has no MutatingAdmissionPolicy that adds it"
                    )
                }
                // Reported once, for all claims.
                Some(_) => continue,
            },
        };
        let message = format!(
            "claim {}: {missing}. Its volume is kept. Put into the chart: {key}: {wanted}",
            claim.name
        );
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
        .filter(|claim| !is_permitted(&claim.marks, scene.now))
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
    patch.annotate(&object.marks, marks::PROTECTED_CLAIMS, named);
    clear_permit(&object.marks, &mut patch, scene.now, judged);
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
    let known = claim.marks.get(marks::ORPHANED_SINCE).filter(|_| claim.retained);
    if usage.is_referred_to() {
        if known.is_some() && !claim.deleting {
            let mut patch = StoragePatch::new(
                StorageObject::Claim(claim.name.clone()),
                &claim.uid,
                claim.resource_version,
            );
            patch.annotate(&claim.marks, marks::ORPHANED_SINCE, None);
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
    let provenance = volume
        .and_then(Volume::provenance)
        .or_else(|| Provenance::parse(claim.marks.get(marks::PROVENANCE)?));
    let orphaned_after =
        provenance.map_or_else(default_orphaned_after, |provenance| provenance.orphaned_after);
    let since = match known.and_then(|since| since.parse::<Timestamp>().ok()) {
        Some(since) => since,
        None => {
            let now = crate::core::whole_second(scene.now);
            if !claim.deleting {
                let mut patch = StoragePatch::new(
                    StorageObject::Claim(claim.name.clone()),
                    &claim.uid,
                    claim.resource_version,
                );
                patch.annotate(&claim.marks, marks::ORPHANED_SINCE, Some(now.to_string()));
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

/// Whether a volume waits for the next claim of its name, or for a user who wants its data.
pub fn is_left(volume: &Volume) -> bool {
    let waits = volume.phase == VolumePhase::Available
        && volume.claim.as_ref().is_some_and(|claim| claim.uid.is_none());
    volume.retained
        && (waits || matches!(volume.phase, VolumePhase::Released | VolumePhase::Failed))
}

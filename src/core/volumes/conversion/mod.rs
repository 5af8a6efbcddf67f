//! The volume of one claim goes to a claim of another name, as when a Deployment becomes a
//! StatefulSet, and back. Nothing is deleted, and nothing is copied.
//!
//! A user says on a claim which one it becomes. The volume is kept first, whatever is deleted. Then
//! both names are reserved: a claim that is created with one of them names this volume, so that it
//! waits, and gets no other. The volume goes to the one that a workload wants a pod for, as soon as
//! nothing uses the other. So it goes back by itself when the change is rolled back. It stays so until
//! a user says on the claim that has the volume that it keeps it.

pub mod stage;
mod words;

use std::{collections::BTreeMap, sync::Arc};

use self::stage::{Conversion, Obstacle, Refusal, Stage};
use super::{
    finding::{Danger, Judged, of_claim},
    protection::{RETAIN, give_up},
    scene::Scene,
    usage::Usage,
};
use crate::{
    api::marks,
    core::{
        notice::{Event, StorageObject},
        observed::storage::{Claim, Storage, Volume},
        request::{FieldEdit, HandOver, StoragePatch},
    },
    marks::{ClaimPair, Mark, Provenance, StorageMarks, conversion::is_name},
};

type Usages<'a> = BTreeMap<&'a str, Usage<'a>>;

/// Judges the conversions of a namespace: those that stand, and those that are asked for.
pub fn judge(scene: &Scene, storage: &Storage, usages: &Usages, judged: &mut Judged) {
    let standing = stage::all(scene, storage, usages);
    let mut judge = Judge { scene, storage, usages, judged };
    judge.reserve();
    standing.iter().for_each(|conversion| judge.go_on(conversion));
    usages.values().for_each(|usage| judge.ask(usage));
}

struct Judge<'a> {
    scene: &'a Scene<'a>,
    storage: &'a Storage,
    usages: &'a Usages<'a>,
    judged: &'a mut Judged,
}

impl Judge<'_> {
    /// The names of all conversions of the namespace are reserved, and no others.
    fn reserve(&mut self) {
        let scene = self.scene;
        let Some(object) = scene.object.filter(|object| !object.deleting) else { return };
        // What cannot be read may be the volume of one that stands.
        let stands = object.marks.reserved_claims.get().filter(|_| scene.unread);
        let mut wanted = stands.cloned().unwrap_or_default();
        let mut new = None;
        for volume in self.storage.of_namespace(&scene.namespace.name) {
            let Some((pair, _)) = scene.conversion_of(volume) else { continue };
            for name in pair.names() {
                wanted.0.insert(name.into(), volume.name.as_str().into());
            }
            if pair.names().iter().any(|name| object.reserved(name) != Some(&volume.name)) {
                new = new.or(Some((pair, volume)));
            }
        }
        let mut patch = StoragePatch::new(
            StorageObject::Namespace(object.name.clone()),
            &object.uid,
            object.resource_version,
        );
        let any = !wanted.0.is_empty();
        patch.label(object.reserves, marks::RESERVES_CLAIMS, any);
        let reserved_claims = Some(wanted).filter(|_| any).into();
        let with = StorageMarks { reserved_claims, ..StorageMarks::clone(&object.marks) };
        patch.write(&object.marks, &with);
        let notice = new.and_then(|(pair, volume)| {
            let usage = pair.names().into_iter().find_map(|name| self.usages.get(name))?;
            let message = words::reserved(pair, volume);
            Some(of_claim(usage.claim, usage.governed, Event::ClaimReserved, message))
        });
        self.judged.patch(patch, notice);
    }

    /// The next step of a conversion, and its message.
    fn go_on(&mut self, conversion: &Conversion) {
        let usages = self.usages;
        let Conversion { volume, pair, stage } = conversion;
        match stage {
            Stage::HandsOver(claim) => match &self.scene.conversion_gap {
                Some(gap) => self.refuse(claim, &Refusal::Gap(gap)),
                None => self.hand_over(volume, claim),
            },
            Stage::Frees => {
                let mut patch = write(volume);
                patch.claim_uid = Some(FieldEdit::Remove);
                self.judged.patch(patch, None);
            }
            // The marks of the other claim go first: afterwards nobody knows whose it was.
            Stage::Ends { holder, other } => match other.and_then(|other| usages.get(&*other.name))
            {
                Some(other) if other.claim.is_kept() && other.claim.names(volume) => {
                    give_up(other, None, self.judged)
                }
                _ => self.end(volume, pair, holder),
            },
            Stage::Waits(_, Obstacle::NotKept) => {
                let mut patch = write(volume);
                patch.reclaim_policy = Some(RETAIN.to_owned());
                self.judged.patch(patch, None);
            }
            Stage::Conflict(claim) => {
                self.refuse(claim, &Refusal::Exists(&claim.name));
            }
            Stage::Reserving | Stage::Rests(_) | Stage::Waits(..) | Stage::EndWaits(..) => {}
        }
        if !matches!(stage, Stage::Conflict(_)) {
            self.judged.note_all(conversion.message(&self.scene.namespace.name));
        }
    }

    /// One request does it: the volume belongs to one claim before, and to the other one after.
    fn hand_over(&mut self, volume: &Volume, claim: &Claim) {
        let usage = self.usages.get(&*claim.name);
        let mut patch = write(volume);
        let from = volume.claim.as_ref().map(|of| of.name.clone()).unwrap_or_default();
        patch.hand_over = Some(HandOver { from, to: claim.name.clone(), uid: claim.uid.clone() });
        let workload = usage.and_then(|usage| usage.workloads.first());
        let provenance = volume.provenance().map(|known| {
            let workload =
                workload.map_or_else(|| known.workload.clone(), |one| one.id.to_string());
            let (name, uid) = (claim.name.clone(), claim.uid.to_string());
            let known = Provenance::clone(known);
            Arc::new(Provenance { claim: name, claim_uid: uid, workload, ..known })
        });
        let wanted = StorageMarks {
            provenance: provenance.into(),
            freed: Mark::Absent,
            ..StorageMarks::clone(&volume.marks)
        };
        patch.write(&volume.marks, &wanted);
        let message = words::handed_over(volume, claim);
        let governed = usage.and_then(|usage| usage.governed);
        let notice = of_claim(claim, governed, Event::VolumeHandedOver, message);
        self.judged.patch(patch, Some(notice));
    }

    /// The volume stays with the claim that has it. The names go with the next decision.
    fn end(&mut self, volume: &Volume, pair: &ClaimPair, holder: &str) {
        let mut patch = write(volume);
        let conversion = Mark::Absent;
        patch.write(
            &volume.marks,
            &StorageMarks { conversion, ..StorageMarks::clone(&volume.marks) },
        );
        let notice = self.usages.get(holder).map(|usage| {
            let message = words::ended(volume, pair, &usage.claim.name);
            of_claim(usage.claim, usage.governed, Event::ConversionEnded, message)
        });
        self.judged.patch(patch, notice);
    }

    /// Heeds what a user says on a claim.
    fn ask(&mut self, usage: &Usage) {
        let claim = usage.claim;
        let Some(becomes) = claim.marks.becomes.as_deref().filter(|_| !claim.deleting) else {
            return;
        };
        let volume = claim.volume.as_deref().and_then(|name| self.storage.volume(name));
        let known =
            volume.and_then(Volume::conversion).filter(|pair| pair.other(&claim.name).is_some());
        if *becomes == *claim.name {
            // The conversion is over, and the word is used up.
            if known.is_none() {
                let mut patch = StoragePatch::new(
                    StorageObject::Claim(claim.name.clone()),
                    &claim.uid,
                    claim.resource_version,
                );
                let without = StorageMarks { becomes: None, ..StorageMarks::clone(&claim.marks) };
                patch.write(&claim.marks, &without);
                self.judged.patch(patch, None);
            }
            return;
        }
        if let Some(pair) = known {
            if pair.other(&claim.name) != Some(becomes) {
                self.refuse(claim, &Refusal::Under(pair));
            }
            return;
        }
        let volume = volume.filter(|volume| volume.is_of(&self.scene.namespace.name, claim));
        match refusal(self.scene, self.storage, (usage, volume), becomes) {
            Some(why) => self.refuse(claim, &why),
            None => {
                // The data is kept before anything else.
                if let Some(volume) =
                    volume.filter(|one| one.retained && one.reclaim_policy == RETAIN)
                {
                    let pair = ClaimPair { from: claim.name.as_str().into(), to: becomes.into() };
                    let conversion = Mark::Known(pair);
                    let mut patch = write(volume);
                    let with = StorageMarks { conversion, ..StorageMarks::clone(&volume.marks) };
                    patch.write(&volume.marks, &with);
                    self.judged.patch(patch, None);
                }
            }
        }
    }

    /// That it cannot be done, where its author looks.
    fn refuse(&mut self, claim: &Claim, why: &Refusal) {
        let message = words::refused(claim, why);
        let governed = self.usages.get(&*claim.name).and_then(|usage| usage.governed);
        let policy = governed.map(|governed| governed.policy.name.clone()).unwrap_or_default();
        self.judged.danger(&policy, Danger::ConversionRefused(message.clone()));
        self.judged.standing.push(of_claim(claim, governed, Event::ConversionRefused, message));
    }
}

/// Why the volume of a claim cannot go to the claim that a user names, in words.
pub fn why_not(
    scene: &Scene,
    storage: &Storage,
    (usage, volume): (&Usage, Option<&Volume>),
    becomes: &str,
) -> Option<String> {
    let volume = volume.filter(|volume| volume.is_of(&scene.namespace.name, usage.claim));
    let why = refusal(scene, storage, (usage, volume), becomes)?;
    Some(words::refused(usage.claim, &why))
}

/// Why the volume of a claim cannot go to the claim that a user names; none if it can.
fn refusal<'a>(
    scene: &'a Scene,
    storage: &'a Storage,
    (usage, volume): (&'a Usage<'a>, Option<&'a Volume>),
    becomes: &'a str,
) -> Option<Refusal<'a>> {
    let claim = usage.claim;
    if !is_name(becomes) {
        return Some(Refusal::NoName);
    }
    if let Some(gap) = &scene.conversion_gap {
        return Some(Refusal::Gap(gap));
    }
    let Some(volume) = volume else { return Some(Refusal::NoVolume) };
    if volume.deleting {
        return Some(Refusal::VolumeGoes(&volume.name));
    }
    if volume.modes.iter().any(|mode| mode.ends_with("Many")) {
        return Some(Refusal::SharedVolume(&volume.name));
    }
    let mut by_name = usage.workloads.iter().filter(|one| one.claims.named.contains(&claim.name));
    if let Some(one) = by_name.find(|one| one.rollout.wanted > 1) {
        return Some(Refusal::SeveralPods(&one.id, one.rollout.wanted));
    }
    if let Some(job) = usage.cron_jobs.first() {
        return Some(Refusal::CronJob(&job.name));
    }
    if let [first, second, ..] = *usage.workloads {
        return Some(Refusal::SeveralWorkloads(&first.id, &second.id));
    }
    let other = storage.of_namespace(&scene.namespace.name).find(|other| {
        let pair = scene.conversion_of(other).map(|(pair, _)| pair);
        other.name != volume.name && pair.is_some_and(|pair| pair.other(becomes).is_some())
    });
    if let Some(other) = other {
        return Some(Refusal::Reserved(&other.name));
    }
    let mut others = scene.namespace.claims.values().filter(|other| {
        ![claim.name.as_str(), becomes].contains(&other.name.as_str()) && !other.deleting
    });
    // A claim that is Lost has no volume to give.
    let twice = others.find(|one| !one.lost && one.marks.becomes.as_deref() == Some(becomes));
    if let Some(other) = twice {
        return Some(Refusal::AskedTwice(&other.name));
    }
    let there = scene.namespace.claims.get(becomes)?;
    (there.volume.as_deref() != Some(&volume.name)).then_some(Refusal::Exists(&there.name))
}

fn write(volume: &Volume) -> StoragePatch {
    let object = StorageObject::Volume(volume.name.clone());
    StoragePatch::new(object, &volume.uid, volume.resource_version)
}

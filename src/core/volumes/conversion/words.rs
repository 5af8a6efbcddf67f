//! What is told of conversions, in words.

use std::fmt;

use super::stage::{Conversion, Obstacle, Refusal, Stage};
use crate::{
    core::{
        observed::{
            WorkloadId,
            storage::{Claim, Volume},
        },
        some_of,
    },
    marks::ClaimPair,
};

/// That the names are reserved.
pub fn reserved(pair: &ClaimPair, volume: &Volume) -> String {
    format!(
        "the claim names {} and {} are reserved for volume {}: a claim that is created with one of them gets this volume and no other",
        pair.from, pair.to, volume.name
    )
}

/// That a volume was given to a claim.
pub fn handed_over(volume: &Volume, claim: &Claim) -> String {
    let from = volume.claim.as_ref().map_or("", |of| &of.name);
    format!(
        "volume {} was handed over from claim {from} to claim {}, with its data",
        volume.name, claim.name
    )
}

/// That a conversion is over.
pub fn ended(volume: &Volume, pair: &ClaimPair, holder: &str) -> String {
    format!(
        "the conversion between claims {} and {} is over: claim {holder} keeps volume {}, and the names are no longer reserved",
        pair.from, pair.to, volume.name
    )
}

/// Why it cannot be done, and what to do.
pub fn refused(claim: &Claim, why: &Refusal) -> String {
    let becomes = claim.marks.becomes.as_deref().unwrap_or_default();
    match why {
        Refusal::Exists(name) if *name == claim.name => format!(
            "claim {name} has another volume than the one that its name is reserved for. Its workload may have created it before the reservation. Scale \
             the workload to 0, delete this claim if its data is not needed, and scale the workload up again"
        ),
        _ => format!("claim {} cannot become {becomes}: {why}", claim.name),
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("this is no name of a claim"),
            Self::Gap(why) => f.write_str(why),
            Self::NoVolume => f.write_str("it has no volume. Wait until it is bound"),
            Self::VolumeGoes(volume) => write!(f, "its volume {volume} is being deleted"),
            Self::SharedVolume(volume) => write!(
                f,
                "several pods may use its volume {volume} at the same time (ReadWriteMany or ReadOnlyMany), and pods of a StatefulSet have a volume \
                 each. Name the claim in the pod template of the StatefulSet, without volumeClaimTemplates"
            ),
            Self::SeveralPods(workload, pods) => write!(
                f,
                "{workload} runs {pods} pods on it, and pods of a StatefulSet have a volume each. Scale it to 1 first; the other pods need copies of the \
                 data (with pv-migrate, for example)"
            ),
            Self::SeveralWorkloads(first, second) => write!(
                f,
                "{first} and {second} use it, and the volume goes to one claim only. Delete one of them, or give it a claim of its own"
            ),
            Self::CronJob(name) => write!(
                f,
                "CronJob/{name} uses it, and would find no volume. Delete the CronJob, and create it again with the new name afterwards"
            ),
            Self::Reserved(volume) => write!(
                f,
                "that name is reserved for volume {volume}. Choose another name, or end the other conversion first"
            ),
            Self::Exists(name) => write!(
                f,
                "claim {name} exists already, and has another volume. If its data is not needed, delete it with its workload"
            ),
            Self::AskedTwice(other) => write!(
                f,
                "claim {other} is to become the same one. Choose another name for one of the two"
            ),
            Self::Under(pair) => write!(
                f,
                "its volume is in a conversion between {} and {}. End that first: kubectl lockkeeper convert finish",
                pair.from, pair.to
            ),
        }
    }
}

impl Conversion<'_> {
    /// How far it is, and what comes next.
    pub fn message(&self, namespace: &str) -> String {
        let (pair, volume) = (self.pair, &self.volume.name);
        let what = format!("conversion of claim {} to {} (volume {volume}): ", pair.from, pair.to);
        what + &match &self.stage {
            Stage::Reserving => "the names of the claims are being reserved".to_owned(),
            Stage::Rests(holder) if **holder == *pair.from => format!(
                "prepared. Deploy the workload that uses {}; its claim gets the volume when nothing uses {holder}. To take this back: kubectl \
                 lockkeeper convert abort -n {namespace} {holder}",
                pair.to
            ),
            Stage::Rests(holder) => format!(
                "claim {holder} has the volume. It goes back when {} is deployed again and nothing uses {holder}. If that is no longer needed: kubectl \
                 lockkeeper convert finish -n {namespace} {holder}",
                pair.from
            ),
            Stage::Waits(claim, why) => format!("claim {} waits for the volume: {why}", claim.name),
            Stage::HandsOver(claim) => format!("claim {} gets the volume now", claim.name),
            Stage::Frees => {
                "the claim that had the volume was created again, and gets it now".to_owned()
            }
            Stage::Conflict(claim) => format!("claim {} has another volume", claim.name),
            Stage::EndWaits(_, users) if users.is_empty() => {
                "it ends when everything can be read. Until then \
                 the names stay reserved"
                    .to_owned()
            }
            Stage::EndWaits(claim, users) => format!(
                "it ends when {} is deleted, which would get an empty volume for claim {claim}",
                names(users)
            ),
            Stage::Ends { holder, .. } => format!("it ends, and claim {holder} keeps the volume"),
        }
    }

    /// Its stage in one word.
    pub fn word(&self) -> &'static str {
        match &self.stage {
            Stage::Reserving => "Reserving",
            Stage::Rests(holder) if **holder == *self.pair.from => "Prepared",
            Stage::Rests(_) => "Done",
            Stage::Waits(..) => "Waiting",
            Stage::HandsOver(_) | Stage::Frees => "HandingOver",
            Stage::Conflict(_) => "Conflict",
            Stage::EndWaits(..) | Stage::Ends { .. } => "Ending",
        }
    }
}

impl fmt::Display for Obstacle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wanted(users) => {
                write!(f, "{} still uses it. Delete it, or scale it to 0", names(users))
            }
            Self::Pods(pods) => {
                let names: Vec<_> = pods.iter().map(|pod| &*pod.name).collect();
                write!(f, "pods that have it are not gone yet ({})", some_of(&names, 3))
            }
            Self::Misfit(why) => write!(
                f,
                "the volume {why}. Delete the claim, and change what it asks for in the StatefulSet"
            ),
            Self::VolumeGoes => f.write_str("the volume is being deleted"),
            Self::NotKept => f.write_str("its reclaim policy is to be Retain first"),
            Self::Unread => f.write_str(
                "something cannot be read that may use it. The condition VolumesSafe names it",
            ),
        }
    }
}

fn names(users: &[&WorkloadId]) -> String {
    let names: Vec<_> = users.iter().map(|id| id.to_string()).collect();
    some_of(&names.iter().map(String::as_str).collect::<Vec<_>>(), 3)
}

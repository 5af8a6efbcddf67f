//! What was found of the storage of a namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use strum::{EnumDiscriminants, IntoStaticStr, VariantArray};

use crate::{
    api::VolumeCounts,
    core::{
        gates::blocker::Blocker,
        notice::{Event, Notice, Regarding, StorageObject},
        observed::{
            Policy, Workload, WorkloadId,
            storage::{Access, Claim, Shield, State, States, Volume},
        },
        request::StoragePatch,
        volumes::usage::{Governed, Usage},
    },
};

/// Data that is kept, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it stands.
    pub state: State,
    /// Its claim, while there is one.
    pub claim: Option<String>,
    /// Its volume, as far as it is known.
    pub volume: Option<String>,
}

/// Why data or a rollout is in danger, in words; the most urgent first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumDiscriminants)]
#[strum_discriminants(
    name(DangerReason),
    derive(IntoStaticStr, VariantArray),
    doc = "In one word, what is in danger."
)]
pub enum Danger {
    /// A claim is being deleted while pods use it.
    ClaimTerminatingInUse(String),
    /// A claim has another volume than the one with its data.
    VolumeShadowed(String),
    /// The volume of a claim is gone.
    VolumeLost(String),
    /// A volume with kept data is being deleted.
    VolumeTerminating(String),
    /// A volume could not be written to.
    ProtectionFailing(String),
    /// An object of storage cannot be read.
    UnreadableObject(String),
    /// Several pods are to use a claim that one pod or node may hold.
    ExclusiveClaimShared(String),
    /// A rollout would deadlock, or two pods would write to one volume, and the policy only reports
    /// that.
    ExclusiveClaim(String),
    /// Admission does not make the strategy Recreate.
    StrategyNotChanged(String),
    /// A claim waits whose volume does not fit it.
    VolumeDoesNotFit(String),
    /// Several volumes hold the data of a claim.
    SeveralVolumes(String),
    /// The volume of a claim is to go to a claim of another name, and cannot.
    ConversionRefused(String),
    /// The platform has not agreed to Deny.
    DenyNotAllowed(String),
    /// Another manager declares what keeps a claim otherwise.
    ShieldIncomplete(String),
    /// Another manager makes a Deployment the owner of a claim again and again.
    ClaimOwned(String),
}

impl Danger {
    /// What it says.
    pub fn message(&self) -> &str {
        match self {
            Self::ClaimTerminatingInUse(why)
            | Self::VolumeShadowed(why)
            | Self::VolumeLost(why)
            | Self::VolumeTerminating(why)
            | Self::ProtectionFailing(why)
            | Self::UnreadableObject(why)
            | Self::ExclusiveClaimShared(why)
            | Self::ExclusiveClaim(why)
            | Self::StrategyNotChanged(why)
            | Self::VolumeDoesNotFit(why)
            | Self::SeveralVolumes(why)
            | Self::ConversionRefused(why)
            | Self::DenyNotAllowed(why)
            | Self::ShieldIncomplete(why)
            | Self::ClaimOwned(why) => why,
        }
    }
}

/// What a policy's status says of volumes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The counts.
    pub counts: VolumeCounts,
    /// What is in danger.
    pub dangers: BTreeSet<Danger>,
    /// What is worth knowing.
    pub notes: BTreeSet<String>,
}

impl Summary {
    pub(super) fn count(&mut self, state: State, bytes: u64) {
        let counts = &mut self.counts;
        match state {
            State::InUse | State::Terminating => counts.protected += 1,
            State::Idle => {
                (counts.protected, counts.idle) = (counts.protected + 1, counts.idle + 1)
            }
            State::Orphaned | State::Released => {
                (counts.orphaned, counts.orphaned_bytes) =
                    (counts.orphaned + 1, counts.orphaned_bytes.saturating_add(bytes));
            }
            State::Shadowed => counts.shadowed += 1,
            State::Lost => counts.lost += 1,
        }
    }
}

/// What is to be done about the storage of a namespace, and what is to be reported.
#[derive(Debug, Default)]
pub struct Judged {
    /// What is to be written, with what its success means; one request an object.
    pub patches: BTreeMap<StorageObject, (StoragePatch, Option<Notice>)>,
    /// By the name of a policy.
    pub of_policies: BTreeMap<String, Summary>,
    /// By workload.
    pub of_workloads: BTreeMap<WorkloadId, OfWorkload>,
    /// How much there is in each state, and its bytes, by the policy that had it kept.
    pub states: BTreeMap<String, States>,
    /// The same one by one.
    pub kept: Vec<Kept>,
    /// What stands that is told once.
    pub standing: Vec<Notice>,
    /// When to look again.
    pub wake: Option<Timestamp>,
    pub(super) notes: BTreeSet<String>,
    /// The policies of the namespace that see to volumes.
    pub(super) seers: BTreeSet<String>,
    /// By claim, why what would end its pods waits.
    pub(super) in_danger: BTreeMap<String, Blocker>,
}

/// What volumes mean for a workload.
#[derive(Debug, Clone, Default)]
pub struct OfWorkload {
    /// What its exclusive claims mean for its rollouts.
    pub exclusive: Exclusive,
    /// Why nothing of ours may end its pods now.
    pub danger: Option<Blocker>,
}

impl Judged {
    pub(super) fn patch(&mut self, patch: StoragePatch, notice: Option<Notice>) {
        if patch.is_empty() {
            return;
        }
        // What two rules want of one object goes in one request.
        match self.patches.get_mut(&patch.object) {
            Some((known, told)) => {
                known.labels.extend(patch.labels);
                known.annotations.extend(patch.annotations);
                known.reclaim_policy = patch.reclaim_policy.or(known.reclaim_policy.take());
                known.claim_uid = patch.claim_uid.or(known.claim_uid.take());
                known.hand_over = patch.hand_over.or(known.hand_over.take());
                known.owners = patch.owners.or(known.owners.take());
                *told = notice.or(told.take());
            }
            None => drop(self.patches.insert(patch.object.clone(), (patch, notice))),
        }
    }

    /// The policies that report what one of this name had retained: itself, or, if it is gone or no
    /// longer sees to volumes, all that do.
    pub(super) fn tellers(&self, policy: &str) -> Vec<String> {
        match self.seers.contains(policy) {
            true => vec![policy.to_owned()],
            false => self.seers.iter().cloned().collect(),
        }
    }

    pub(super) fn danger(&mut self, policy: &str, danger: Danger) {
        for teller in self.tellers(policy) {
            self.of_policies.entry(teller).or_default().dangers.insert(danger.clone());
        }
    }

    pub(super) fn note_all(&mut self, note: String) {
        self.notes.insert(note);
    }

    pub(super) fn count(&mut self, policy: &str, kept: Kept, bytes: u64) {
        let state = kept.state;
        self.kept.push(kept);
        let (count, total) =
            self.states.entry(policy.to_owned()).or_default().entry(state).or_default();
        (*count, *total) = (*count + 1, total.saturating_add(bytes));
        for teller in self.tellers(policy) {
            self.of_policies.entry(teller).or_default().count(state, bytes);
        }
    }

    pub(super) fn shadowed(
        &mut self,
        policy: &str,
        governed: Option<Governed>,
        claim: &Claim,
        message: String,
    ) {
        self.danger(policy, Danger::VolumeShadowed(message.clone()));
        // That it is going is the more urgent.
        let shadowed = Blocker::VolumeShadowed(message.clone());
        self.in_danger.entry(claim.name.clone()).or_insert(shadowed);
        self.standing.push(of_claim(claim, governed, Event::VolumeShadowed, message));
    }

    pub(super) fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }
}

impl Judged {
    /// What the status of a policy says of volumes.
    pub fn summary(&self, policy: &Policy) -> Summary {
        let mut summary = self.of_policies.get(&policy.name).cloned().unwrap_or_default();
        summary.notes.extend(self.notes.iter().cloned());
        summary
    }
}

/// A notice on a claim, where its author looks, and on the policy that governs it.
pub(in crate::core) fn of_claim(
    claim: &Claim,
    governed: Option<Governed>,
    event: Event,
    message: String,
) -> Notice {
    let regarding = Regarding::Storage(StorageObject::Claim(claim.name.clone()));
    let policy =
        governed.map(|governed| (governed.policy.name.clone(), governed.policy.uid.clone()));
    Notice { regarding, uid: claim.uid.clone(), policy, event, message }
}

/// What the claims of a workload mean for its rollouts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exclusive {
    /// Admission shall make its strategy Recreate: why.
    pub recreate: Option<String>,
    /// Something of the storage cannot be read, so that its claims may need Recreate although
    /// nothing here says so.
    pub uncertain: bool,
    /// Its rollout is stuck on a volume.
    pub stuck: Option<Stuck>,
    /// What is reported of it.
    pub dangers: Vec<Danger>,
    /// What is worth knowing, and no danger.
    pub notes: Vec<String>,
}

/// A new pod waits for a volume that another has.
#[derive(Debug, Clone, PartialEq)]
pub struct Stuck {
    /// Which, in words.
    pub why: String,
    /// Another pod than those that the rollout ends has it.
    pub stranger: Option<String>,
}

/// Why a volume does not fit a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// It is smaller than the claim asks for, in bytes.
    TooSmall {
        /// What it has.
        has: u64,
        /// What the claim asks for.
        asked: u64,
    },
    /// It lacks an access mode that the claim asks for.
    Modes {
        /// What it has.
        has: Arc<[String]>,
        /// What the claim asks for.
        asked: Arc<[String]>,
    },
}

/// Why a claim is Lost.
pub(super) enum Lost<'a> {
    /// Its volume does not exist.
    Gone,
    /// Its volume belongs to another claim.
    Taken(&'a Volume, Other<'a>),
    /// Its volume is there, and is its own.
    Found(&'a Volume),
    /// Its volume keeps the data of an earlier claim of its name, and is being given to it.
    GivenBack(&'a Volume),
    /// Its volume keeps the data of an earlier claim of its name.
    Kept {
        /// The volume.
        volume: &'a Volume,
        /// Whether that claim was in this namespace, and not in an earlier one of its name.
        is_ours: bool,
    },
    /// Its volume names an earlier claim of its name, and is not kept.
    Foreign(&'a Volume),
}

/// The claim that a volume belongs to.
pub(super) enum Other<'a> {
    /// One of the same namespace.
    Claim(&'a str),
    /// One of another namespace, whose name does not matter.
    Elsewhere,
}

/// Why a claim does not carry what keeps other tools from deleting it.
pub(super) enum Lack<'a> {
    /// Another manager declares another value.
    Declared(&'a Shield),
    /// Admission adds it with the next write to the claim.
    NotWritten,
    /// The API server cannot add it.
    NoAdmission,
}

/// What makes a rollout go on that is stuck on a volume.
pub(super) enum Cure<'a> {
    /// The end of a pod that the rollout does not end.
    Stranger {
        /// The pod.
        pod: &'a str,
        /// Its namespace.
        namespace: &'a str,
    },
    /// Another strategy, which a policy that observes does not set.
    Observed,
    /// The end of its own old pods, which is under way.
    OldPodsFirst,
    /// Another strategy, which the policy does not ask for.
    Declare,
}

/// A claim that not every pod may use.
pub(super) struct ExclusiveClaim<'a> {
    /// It, and who uses it.
    pub usage: &'a Usage<'a>,
    pub volume: Option<&'a Volume>,
    /// How many may have it.
    pub access: Access,
    /// The node that all pods that use it run on.
    pub node: Option<&'a str>,
    /// It is attached to a node before its pods start.
    pub attaches: bool,
}

impl ExclusiveClaim<'_> {
    /// Two pods of a rollout would block each other.
    pub fn deadlocks(&self) -> bool {
        self.access == Access::OnePod || (self.attaches && self.node.is_none())
    }

    /// Two pods of a rollout would both write to it.
    pub fn has_two_writers(&self, workload: &Workload) -> bool {
        !self.deadlocks() && !workload.claims.read_only.contains(&self.usage.claim.name)
    }

    /// The access mode that limits it.
    pub fn mode(&self) -> &'static str {
        if self.access == Access::OnePod { "ReadWriteOncePod" } else { "ReadWriteOnce" }
    }
}

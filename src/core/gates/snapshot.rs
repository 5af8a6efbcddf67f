//! A snapshot of each volume that the pods use is ready before any of them ends. Asked last, so that
//! nothing is taken for a change that would wait all the same, and the snapshots are young.
//!
//! What was taken counts for one change of one claim only. Nothing of it is remembered: the names and
//! labels of the snapshots say it.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use wildmatch::WildMatch;

use crate::{
    api::{ChangeCause, SnapshotGate, SnapshotStage, UpgradePolicySpec},
    core::{
        gates::{
            blocker::{Blocker, GateName, Impossible, Unfinished},
            change::Change,
            gate::{Answer, Gate, Needs, applies_to},
            words::SNAPSHOTS,
        },
        later,
        observed::{
            Workload,
            snapshots::{Served, Snapshot, SnapshotContent, TakenFor},
            storage::{Claim, Volume, VolumeSource},
        },
        request::{SnapshotRequest, SnapshotStep},
        subject::Subject,
        volumes::usage::claims_of,
    },
    marks::{ChangeId, Upgrade},
};

/// The gate.
pub const GATE: Gate = Gate {
    name: GateName::Snapshot,
    needs: Needs::Snapshots(SNAPSHOTS),
    is_set,
    applies: |subject, change| applies_to(subject, change) && !change.has_begun(),
    ask,
};

/// The most characters of a claim's name in that of a snapshot, which may have 253.
const NAME_LIMIT: usize = 180;
/// As many bytes of a digest tell the snapshots of two claims of one name apart.
const TAG: usize = 3;
/// The clock of the API server, by which a snapshot was created, may be so much behind ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);

fn is_set(spec: &UpgradePolicySpec) -> bool {
    gate_of(spec).is_some()
}

fn gate_of(spec: &UpgradePolicySpec) -> Option<&SnapshotGate> {
    spec.gates.as_ref()?.snapshot.as_ref()
}

/// Open when all are ready. Takes those that are missing, if all of them can be taken. Those of an
/// offline upgrade are taken by [`before_migration`]: here it is only asked whether they can be.
fn ask(subject: &Subject, change: &Change) -> Answer {
    let last = subject.workload.marks.rollout.get();
    let last = last.filter(|_| change.id.as_ref().is_some_and(|id| !id.is_of_template()));
    let moment = last.and_then(|last| last.at).map(|at| at.to_string()).unwrap_or_default();
    let taken = Moment { id: change.id.as_ref(), since: change.since, moment };
    taken_at(subject, &taken, !change.goes_offline(subject))
}

/// Open when a snapshot of each claim was taken after the pods of an offline upgrade were stopped.
/// `since`: when that began.
pub fn before_migration(subject: &Subject, id: &ChangeId, since: Timestamp) -> Answer {
    let taken = Moment { id: Some(id), since, moment: since.to_string() };
    taken_at(subject, &taken, true)
}

/// Whether snapshots are needed before the data of an offline upgrade changes. Once its migration
/// has begun, there is nothing left to save.
pub fn is_needed(spec: &UpgradePolicySpec, upgrade: &Upgrade) -> bool {
    let gates = spec.gates.as_ref().filter(|gates| gates.snapshot.is_some());
    !upgrade.migrating
        && gates.is_some_and(|gates| gates.applies_to.contains(&ChangeCause::Template))
}

/// What a snapshot is taken for.
struct Moment<'a> {
    /// The change; none before it has an id.
    id: Option<&'a ChangeId>,
    /// An older snapshot does not count.
    since: Timestamp,
    /// Tells it from that of the same change at another time. The same config may be changed to again
    /// after another rollout.
    moment: String,
}

/// `takes`: those that are missing are taken now. Otherwise it is open if they can be.
fn taken_at(subject: &Subject, moment: &Moment, takes: bool) -> Answer {
    let Some(gate) = gate_of(subject.ruling.spec()) else { return Answer::open() };
    let of_template = &subject.workload.claims;
    if of_template.named.is_empty() && of_template.templates.is_empty() {
        return Answer::open();
    }
    let served = subject.around.storage.snapshots.served;
    // Without the feature, claims may not be seen either.
    if served == Served::SwitchedOff {
        return closed(Unfinished::Impossible(Impossible::SwitchedOff));
    }
    let claims: Vec<_> = claims(subject, gate).collect();
    match served {
        // Without data there is nothing to lose.
        _ if claims.is_empty() => return Answer::open(),
        Served::Unknown => return closed(Unfinished::Unlisted),
        Served::No => return closed(Unfinished::Impossible(Impossible::NotServed)),
        Served::Yes | Served::SwitchedOff => {}
    }
    let Some(id) = moment.id else { return closed(Unfinished::ToCome(names(&claims))) };
    let sources: Result<Vec<_>, _> =
        claims.iter().map(|claim| source(subject, gate, claim)).collect();
    let sources = match sources {
        Ok(sources) => sources,
        Err(why) => return closed(Unfinished::Impossible(why)),
    };
    if !takes {
        return Answer::open();
    }
    let mut requests = Vec::new();
    let mut pending: Option<Unfinished> = None;
    for (claim, class) in claims.iter().zip(sources) {
        let name = snapshot_name((id, &moment.moment), subject.workload, claim);
        let one = OfClaim { subject, gate, since: moment.since, id, claim, name: &name };
        match one.state() {
            State::Ready => {}
            State::Missing => requests.push(one.take(class)),
            State::NotKept(name, content) => requests.push(one.keep(name, content)),
            State::Pending(why) => pending = Some(worse(pending, why)),
        }
    }
    if pending.is_none() && !requests.is_empty() {
        pending = Some(Unfinished::Begun(names(&claims)));
    }
    // After a failure, one is made again when its pause is over.
    requests.retain(|request: &SnapshotRequest| {
        let activity = subject.around.activities.get(&request.slot());
        let Some(trouble) = activity.and_then(|activity| activity.trouble.as_ref()) else {
            return true;
        };
        let (name, why, again) = (request.name.clone(), trouble.message.clone(), trouble.retry_at);
        pending = Some(worse(pending.take(), Unfinished::Refused { name, why, again }));
        again <= subject.now()
    });
    Answer { blocker: pending.map(Blocker::Snapshot), snapshots: requests, ..Answer::open() }
}

fn closed(why: Unfinished) -> Answer {
    Answer::closed(Blocker::Snapshot(why))
}

/// What failed is told before what is under way.
fn worse(known: Option<Unfinished>, new: Unfinished) -> Unfinished {
    match known {
        Some(known) if known.has_failed() || !new.has_failed() => known,
        _ => new,
    }
}

fn names(claims: &[&Claim]) -> Vec<String> {
    claims.iter().map(|claim| claim.name.clone()).collect()
}

/// The claims with data that pods of the workload use, or would if there were some.
fn claims<'a>(subject: &'a Subject, gate: &'a SnapshotGate) -> impl Iterator<Item = &'a Claim> {
    let namespace = subject.namespace();
    let used = claims_of(namespace, subject.workload, subject.pods);
    // Those of one without replicas have data too.
    let stopped = subject.workload.rollout.wanted == 0;
    let of_pods = used.into_iter().filter(move |(_, wanted)| *wanted || stopped);
    of_pods
        .filter_map(|(name, _)| namespace.claims.get(name))
        .filter(|claim| claim.bound || claim.lost)
        .filter(|claim| !gate.exclude.iter().any(|one| WildMatch::new(one).matches(&claim.name)))
}

/// The class by which the snapshot of a claim is taken, or why none can be.
fn source(subject: &Subject, gate: &SnapshotGate, claim: &Claim) -> Result<String, Impossible> {
    let storage = subject.around.storage;
    let name = claim.volume.as_deref().unwrap_or_default();
    let volume = storage.volume(name).filter(|volume| is_of(volume, subject, claim));
    let Some(volume) = volume else { return Err(Impossible::NoVolume(claim.name.clone())) };
    let VolumeSource::Csi(driver) = &volume.source else {
        return Err(Impossible::NoDriver { claim: claim.name.clone(), volume: name.to_owned() });
    };
    let classes = &storage.snapshots.classes;
    if let Some(class) = &gate.class {
        return match classes.get(class) {
            Some(known) if known.driver == *driver => Ok(class.clone()),
            Some(known) => Err(Impossible::OtherDriver {
                class: class.clone(),
                of: known.driver.clone(),
                claim: claim.name.clone(),
                driver: driver.clone(),
            }),
            None => Err(Impossible::NoClass(class.clone())),
        };
    }
    let mut defaults = classes
        .iter()
        .filter(|(_, one)| one.is_default && one.driver == *driver)
        .map(|(name, _)| name);
    match (defaults.next(), defaults.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => {
            let of_driver = classes.iter().filter(|(_, one)| one.driver == *driver);
            let there = of_driver.map(|(name, _)| name.clone()).collect();
            Err(Impossible::NoDefault { driver: driver.clone(), there })
        }
        (Some(first), Some(second)) => Err(Impossible::Defaults {
            driver: driver.clone(),
            classes: [first.clone(), second.clone()],
        }),
    }
}

fn is_of(volume: &Volume, subject: &Subject, claim: &Claim) -> bool {
    volume.is_of(&subject.namespace().name, claim)
}

/// The name of the snapshot of a claim before a change. One that was begun is found by it again; a
/// later claim or workload of the same name has others.
fn snapshot_name((id, moment): (&ChangeId, &str), workload: &Workload, claim: &Claim) -> String {
    let mut sum = Sha256::new();
    for part in [&id.to_string(), &*workload.uid, &*claim.uid, moment] {
        sum.update(part);
        sum.update([0]);
    }
    let tag: String = sum.finalize().iter().take(TAG).map(|byte| format!("{byte:02x}")).collect();
    let claim: String = claim.name.chars().take(NAME_LIMIT).collect();
    format!("pre-{}-{}-{tag}", label(id), claim.trim_end_matches(['-', '.']))
}

/// An id as it may stand in a label and in a name.
fn label(id: &ChangeId) -> String {
    let text = id.to_string().to_ascii_lowercase();
    let plain: String = text
        .chars()
        .take(40)
        .map(|one| if one.is_ascii_alphanumeric() { one } else { '-' })
        .collect();
    plain.trim_matches('-').to_owned()
}

/// The snapshot of one claim.
struct OfClaim<'a> {
    subject: &'a Subject<'a>,
    gate: &'a SnapshotGate,
    since: Timestamp,
    id: &'a ChangeId,
    claim: &'a Claim,
    name: &'a str,
}

/// How far a snapshot is.
enum State<'a> {
    /// As far as it has to be.
    Ready,
    /// There is none.
    Missing,
    /// Its content would go with it.
    NotKept(&'a str, &'a SnapshotContent),
    /// It is not, for this reason.
    Pending(Unfinished),
}

impl<'a> OfClaim<'a> {
    fn taken_for(&self) -> TakenFor {
        TakenFor {
            change: label(self.id),
            workload: self.subject.workload.uid.to_string(),
            claim: self.claim.uid.to_string(),
        }
    }

    fn state(&self) -> State<'a> {
        let Some(snapshot) = self.subject.namespace().snapshots.get(self.name) else {
            return State::Missing;
        };
        if !self.counts(snapshot) {
            return State::Pending(Unfinished::Foreign(self.name.to_owned()));
        }
        if snapshot.deleting {
            return State::Pending(Unfinished::Deleted(self.name.to_owned()));
        }
        let content = snapshot.content.as_ref().and_then(|name| self.content(name, snapshot));
        if let Some((name, content)) = content.filter(|(_, content)| !content.retained) {
            return State::NotKept(name, content);
        }
        let far_enough = match self.gate.wait_for {
            SnapshotStage::ReadyToUse => snapshot.ready,
            SnapshotStage::Cut => snapshot.cut || snapshot.ready,
        };
        if far_enough && content.is_some() {
            return State::Ready;
        }
        let of_content = content.and_then(|(_, content)| content.error.clone());
        State::Pending(self.pending(snapshot, snapshot.error.clone().or(of_content)))
    }

    /// Whether it is of this very claim, and was taken for this very change.
    fn counts(&self, snapshot: &Snapshot) -> bool {
        snapshot.claim.as_deref() == Some(self.claim.name.as_str())
            && snapshot.taken_for.as_ref() == Some(&self.taken_for())
            && later(snapshot.created, CLOCKS_DIFFER) >= self.since
    }

    fn content(&self, name: &str, snapshot: &Snapshot) -> Option<(&'a str, &'a SnapshotContent)> {
        let (name, content) = self.subject.around.storage.snapshots.contents.get_key_value(name)?;
        (content.snapshot_uid == *snapshot.uid).then_some((name.as_str(), content))
    }

    fn pending(&self, snapshot: &Snapshot, error: Option<String>) -> Unfinished {
        let name = self.name.to_owned();
        let until = later(snapshot.created, self.gate.timeout.length());
        match error {
            Some(why) => Unfinished::Failed { name, claim: self.claim.name.clone(), why },
            None if until <= self.subject.now() => {
                let timeout = self.gate.timeout.clone();
                Unfinished::TimedOut { name, claim: self.claim.name.clone(), timeout }
            }
            None => Unfinished::Waits { name, claim: self.claim.name.clone(), until },
        }
    }

    fn take(&self, class: String) -> SnapshotRequest {
        let step = SnapshotStep::Take {
            claim: self.claim.name.clone(),
            class,
            taken_for: self.taken_for(),
        };
        self.request(step)
    }

    fn keep(&self, content: &str, seen: &SnapshotContent) -> SnapshotRequest {
        let (uid, resource_version) = (seen.uid.clone(), seen.resource_version);
        self.request(SnapshotStep::Keep { content: content.to_owned(), uid, resource_version })
    }

    fn request(&self, step: SnapshotStep) -> SnapshotRequest {
        SnapshotRequest {
            name: self.name.to_owned(),
            claim_uid: self.claim.uid.clone(),
            workload: self.subject.workload.id.clone(),
            workload_uid: self.subject.workload.uid.clone(),
            step,
        }
    }
}

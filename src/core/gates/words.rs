//! The sentences that tell why a gate keeps a change waiting, and what would open it.

use std::fmt::Display;

use crate::{
    api::marks,
    core::{
        clock,
        gates::blocker::{
            App, Approval, Blocker, Impossible, Invalid, No, Tallied, Turn, Unfinished, Unprepared,
            Unsettled,
        },
        hold::authors::in_words,
        observed::{Namespace, WorkloadId},
    },
    marks::ChangeId,
};

/// What a change waits for that waits for snapshots.
pub const SNAPSHOTS: &str = "until snapshots of its volumes are ready";

/// The change that a blocker keeps waiting, for the commands that release it.
#[derive(Clone, Copy)]
pub struct Waiting<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The workload.
    pub workload: &'a WorkloadId,
    /// The change; none before it has an id.
    pub id: Option<&'a ChangeId>,
}

/// What a person can do about a blocker.
enum Cure {
    /// This approves the change.
    Approve(String),
    /// The approval that stands is to be removed first, and then given by somebody else.
    ApproveAgain {
        /// Removes it.
        remove: String,
        /// Gives it.
        approve: String,
    },
    /// This releases the change past its gates.
    Bypass(String),
}

impl Waiting<'_> {
    fn command(&self, mark: &str) -> String {
        let id = self.id.map(ToString::to_string).unwrap_or_default();
        command(self.namespace, self.workload, mark, id)
    }

    /// Why the change waits, and the command that a person can run about it.
    pub fn why(&self, blocker: &Blocker) -> String {
        let sentence = sentence(blocker);
        match self.cure(blocker) {
            None => sentence,
            Some(Cure::Approve(approve)) => format!("{sentence}: {approve}"),
            Some(Cure::ApproveAgain { remove, approve }) => {
                format!(
                    "{sentence}. The same annotation again changes nothing, so first remove this approval: {remove}; then: {approve}"
                )
            }
            Some(Cure::Bypass(bypass)) => format!("{sentence}. Or, with the verb bypass: {bypass}"),
        }
    }

    /// The command that a person can run about it.
    pub fn cure_command(&self, blocker: &Blocker) -> Option<String> {
        Some(match self.cure(blocker)? {
            Cure::Approve(command) | Cure::Bypass(command) => command,
            // When it is removed, the next one is told.
            Cure::ApproveAgain { remove, .. } => remove,
        })
    }

    fn cure(&self, blocker: &Blocker) -> Option<Cure> {
        match blocker {
            Blocker::Frozen | Blocker::PolicyUnreadable | Blocker::DataMigrated(_) => {
                Some(Cure::Bypass(self.command(marks::BYPASS)))
            }
            Blocker::Approval(approval) => match approval {
                Approval::NotRecorded => None,
                Approval::Missing | Approval::MissingFromOther(_) => {
                    Some(Cure::Approve(self.command(marks::APPROVE)))
                }
                Approval::ByAuthor { .. } => {
                    let approve = self.command(marks::APPROVE);
                    let id = self.id.map(ToString::to_string).unwrap_or_default();
                    let remove = approve.replace(&format!("={id} --overwrite"), "-");
                    Some(Cure::ApproveAgain { remove, approve })
                }
                Approval::TooManyAuthors(_) => Some(Cure::Bypass(self.command(marks::BYPASS))),
            },
            Blocker::Quiet { .. }
            | Blocker::Window { .. }
            | Blocker::ClaimTerminating(_)
            | Blocker::VolumeShadowed(_)
            | Blocker::Turn(_)
            | Blocker::App(_)
            | Blocker::Snapshot(_) => None,
        }
    }
}

/// The command that approves or bypasses a change.
pub fn command(
    namespace: &Namespace,
    workload: &WorkloadId,
    mark: &str,
    id: impl Display,
) -> String {
    let workload = workload.to_string().to_lowercase();
    format!("kubectl annotate -n {} {workload} {mark}={id} --overwrite", namespace.name)
}

/// Why a change waits.
pub fn sentence(blocker: &Blocker) -> String {
    match blocker {
        Blocker::Quiet { until } => {
            format!("waiting until nothing else changes; continues at {}", clock(*until))
        }
        Blocker::Frozen => {
            "its policy has mode: Freeze, so only a revert is released until the mode is Enforce again"
                .to_owned()
        }
        Blocker::PolicyUnreadable => {
            "the spec of its policy is invalid, so only a revert is released: see the policy's condition Ready"
                .to_owned()
        }
        Blocker::Window { why, .. } => why.clone(),
        Blocker::Approval(approval) => of_approval(approval),
        Blocker::ClaimTerminating(message) | Blocker::VolumeShadowed(message) => message.clone(),
        Blocker::DataMigrated(revision) => format!(
            "it goes back to revision {revision}, and the data was migrated since that revision ran. Stop the workload (kubectl lockkeeper maintenance start --stop), restore its data, \
             and let the change through; or apply the newer version again"
        ),
        Blocker::Turn(turn) => of_turn(turn),
        Blocker::App(app) => of_app(app),
        Blocker::Snapshot(why) => of_snapshot(why),
    }
}

fn of_approval(approval: &Approval) -> String {
    match approval {
        Approval::NotRecorded => {
            "it needs an approval, and admission records none now, so neither an approval nor a bypass counts: the condition HoldsEnforced of \
             its policy says why. Fix that, or remove spec.gates.approval from the policy"
                .to_owned()
        }
        Approval::Missing => "not approved yet".to_owned(),
        Approval::MissingFromOther(Some(authors)) => {
            format!("not approved yet; a user other than {authors} can approve it")
        }
        Approval::MissingFromOther(None) => {
            "not approved yet (the author of a config change is not known, so any user with the verb approve can approve it)"
                .to_owned()
        }
        Approval::ByAuthor { approver, authors } => {
            let whose = match authors.names().len() {
                1 => "who made the change".to_owned(),
                _ => format!("who is one of those who made the change ({authors})"),
            };
            let approver = in_words(approver);
            format!("approved by {approver}, {whose}. Another user must approve it")
        }
        Approval::TooManyAuthors(authors) => format!(
            "too many users made this change to record all of them ({authors}), so no approval can count as another user's. Revert it"
        ),
    }
}

fn of_turn(turn: &Turn) -> String {
    match turn {
        Turn::OthersFailed(others) => format!(
            "the rollout of {} has failed, so no other begins until that is fixed (rollout.onFailure: Pause)",
            names(others)
        ),
        Turn::StepWaits { step, workload, why } => {
            format!("it waits for step {step:?}: {workload} is not done ({})", of_unsettled(*why))
        }
        Turn::Unreadable(unread) => format!(
            "{unread}. Until it can be read, nobody knows whether it belongs to this policy and is done"
        ),
        Turn::MaxConcurrent(others) => format!(
            "{} workloads are rolling, as many as rollout.maxConcurrent allows: {}",
            others.len(),
            names(others)
        ),
    }
}

fn names(workloads: &[WorkloadId]) -> String {
    workloads.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn of_unsettled(why: Unsettled) -> String {
    match why {
        Unsettled::Begins => "its rollout is about to begin".to_owned(),
        Unsettled::Unrecorded => "its completion is being recorded".to_owned(),
        Unsettled::Stands(phase, reason) => format!("{phase}, {}", reason.as_str()),
    }
}

fn of_app(app: &App) -> String {
    match app {
        App::Paused => {
            "its manifest says paused: true, so its pods are asked when that is removed".to_owned()
        }
        App::Invalid(invalid) => of_invalid(invalid),
        App::Unseen(_) => "not all of its pods are seen yet".to_owned(),
        App::Asking => "asking its pods whether they may be terminated".to_owned(),
        App::No { named, others, tally } => {
            let named: Vec<_> = named.iter().map(says_no).collect();
            let others = match others {
                0 => String::new(),
                others => format!(", and {others} more say no"),
            };
            format!("{}{others}; {}", named.join(", "), of_tally(tally))
        }
        App::NotAsked { pod, why, tally } => {
            format!("{pod} cannot be asked: {why}; {}", of_tally(tally))
        }
        App::Silent { pod, why, others, tally, url } => {
            let others = match others {
                0 => String::new(),
                1 => ", and from 1 more pod".to_owned(),
                others => format!(", and from {others} more pods"),
            };
            format!(
                "no usable answer from {pod}: {why}{others}; {} at {url} (whenUnreachable: Hold)",
                of_tally(tally)
            )
        }
        App::Missing { status, url, period } => format!(
            "its pods do not have the endpoint: each answers {status} at {url}. Add the endpoint to the app, or set gates.app.whenMissing: Open; \
             asked again every {period}"
        ),
        App::Unheard { unheard, pods } => {
            format!("asking {unheard} of {pods} pods whether they may be ended")
        }
        App::TooFew { few, pods, successes, period } => format!(
            "{few} of {pods} pods have not answered yes {successes} times in a row yet; asked again every {period}"
        ),
        App::NobodyLeft { until, broken_after } => format!(
            "no pod is Ready and none answers; if this continues until {}, the change is released (brokenAfter: {broken_after})",
            clock(*until)
        ),
        App::Prepare(prepare) => of_prepare(prepare),
    }
}

/// What is wrong with the annotation that sets the app gate for a workload, and what to write.
pub fn of_invalid(invalid: &Invalid) -> String {
    let what = match invalid {
        Invalid::NoValue(part) => format!("{part:?} has no value"),
        Invalid::PortZero => "port 0 is none".to_owned(),
        Invalid::Path(path) => {
            format!("path {path:?} does not begin with / or has characters that must be encoded")
        }
        Invalid::Unknown(key) => {
            format!("{key:?} is none of port, path and scheme (HTTP or HTTPS)")
        }
    };
    format!("annotation {}: {what}; write for example port=8081,path=/upgradeable", marks::APP_GATE)
}

/// That a pod does not know the path that others know.
pub fn differs_from_others(status: u16) -> String {
    format!("it answers {status}, other pods do not")
}

fn of_snapshot(why: &Unfinished) -> String {
    match why {
        Unfinished::Unlisted => {
            "the snapshots of the namespace are being read (gates.snapshot)".to_owned()
        }
        Unfinished::ToCome(claims) => format!(
            "a snapshot of each of its claims is taken first, and has to be ready (gates.snapshot): {}",
            claims.join(", ")
        ),
        Unfinished::Begun(claims) => {
            format!("taking a snapshot of each of its claims: {}", claims.join(", "))
        }
        Unfinished::Waits { name, claim, until } => format!(
            "waiting for VolumeSnapshot {name} of claim {claim}; it has failed if it is not ready at {}",
            clock(*until)
        ),
        Unfinished::TimedOut { name, claim, timeout } => format!(
            "VolumeSnapshot {name} of claim {claim} is not ready after {timeout} (snapshot.timeout), so the change still waits. It goes on when \
             the snapshot is ready. Look at the snapshot controller and the CSI driver: kubectl describe volumesnapshot {name}"
        ),
        Unfinished::Failed { name, claim, why } => format!(
            "VolumeSnapshot {name} of claim {claim} failed: {why}. Fix that. If its controller does not try again by itself, delete the \
             VolumeSnapshot, and another one is taken"
        ),
        Unfinished::Refused { name, why, .. } => {
            format!("VolumeSnapshot {name} cannot be written: {why}. It is tried again")
        }
        Unfinished::Foreign(name) => format!(
            "VolumeSnapshot {name} exists, and was not taken for this change, so it does not count. Delete it, and the right one is taken"
        ),
        Unfinished::Deleted(name) => {
            format!("VolumeSnapshot {name} is being deleted. Another one is taken when it is gone")
        }
        Unfinished::Impossible(why) => of_impossible(why),
    }
}

fn of_impossible(why: &Impossible) -> String {
    match why {
        Impossible::SwitchedOff => "this installation takes no snapshots. Set features.snapshots and features.volumes of the chart to true, or \
             remove gates.snapshot from the policy"
            .to_owned(),
        Impossible::NotServed => "the cluster has no VolumeSnapshots. Install the CustomResourceDefinitions and the snapshot controller of \
             external-snapshotter, or remove gates.snapshot from the policy"
            .to_owned(),
        Impossible::NoVolume(claim) => format!(
            "claim {claim} has no volume of which a snapshot could be taken. If its data is not needed, name it in snapshot.exclude"
        ),
        Impossible::NoDriver { claim, volume } => format!(
            "volume {volume} of claim {claim} is of no CSI driver, and only these take snapshots. Name the claim in snapshot.exclude, and save \
             its data in another way"
        ),
        Impossible::NoClass(class) => format!(
            "there is no VolumeSnapshotClass {class}. Create it, or name another one in snapshot.class"
        ),
        Impossible::OtherDriver { class, of, claim, driver } => format!(
            "VolumeSnapshotClass {class} is for driver {of}, and the volume of claim {claim} is of driver {driver}. Remove snapshot.class, so that \
             each volume has the default class of its driver"
        ),
        Impossible::NoDefault { driver, there } if there.is_empty() => format!(
            "there is no VolumeSnapshotClass for driver {driver}. Create one, if the driver takes snapshots; otherwise name its claims in \
             snapshot.exclude"
        ),
        Impossible::NoDefault { driver, there } => format!(
            "no VolumeSnapshotClass of driver {driver} is its default one, and it has {}. Name one in snapshot.class, or annotate it with \
             snapshot.storage.kubernetes.io/is-default-class=true",
            there.join(", ")
        ),
        Impossible::Defaults { driver, classes: [first, second] } => format!(
            "driver {driver} has two default VolumeSnapshotClasses, {first} and {second}. Name one in snapshot.class"
        ),
    }
}

fn says_no(No { pod, words, since }: &No) -> String {
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    format!("{pod} has answered no since {}{words}", clock(*since))
}

fn of_tally(Tallied { yes, pods, period }: &Tallied) -> String {
    format!("{yes} of {pods} pods say yes; asked again every {period}")
}

/// That pods were not idle in time, as the event tells it and then the gate.
pub(in crate::core) fn of_prepare(prepare: &Unprepared) -> String {
    match prepare {
        Unprepared::Asking => "asking its pods to take no new work".to_owned(),
        Unprepared::TimedOut { timeout, until } => format!(
            "its pods were not idle within {timeout} (prepare.timeout); they may take work until {}",
            clock(*until)
        ),
        Unprepared::Respite { timeout, until } => format!(
            "its pods were asked to take no new work for {timeout}, and were not idle in that time; they may work until {}, then it is tried again",
            clock(*until)
        ),
        Unprepared::Refused { pod, why, path } => format!(
            "{pod} does not stop taking new work (POST {path}): {why}; it is asked again every {} s (whenUnreachable: Hold)",
            Unprepared::RETRY_EVERY.as_secs()
        ),
    }
}

//! What is told of claims and volumes, in words.

use std::fmt;

use crate::{
    api::{Readopt, marks},
    core::{
        notice::{Regarding, StorageObject},
        observed::{
            Pod, Unread, Workload, WorkloadId,
            storage::{Access, Claim, Volume},
        },
        some_of,
        volumes::{
            finding::{Cure, ExclusiveClaim, Lack, Lost, Misfit, Other},
            scene::Scene,
            usage::{Governed, Usage},
        },
    },
    marks::Provenance,
};

/// That a claim is being deleted while pods use it.
pub fn claim_goes(scene: &Scene, used: &Usage, volume: Option<&Volume>) -> String {
    let pods: Vec<_> = used.pods.iter().map(|pod| &*pod.name).collect();
    format!(
        "claim {} is being deleted, and this cannot be undone: it disappears when its pods terminate ({}). Lockkeeper does not terminate these pods. {}ave the data while they run",
        used.claim.name,
        some_of(&pods, 3),
        what_stays(scene, volume).map_or_else(|| "S".to_owned(), |stays| stays + ". To be sure, s")
    )
}

/// What is left of the data when a claim is gone; none if nothing is known of it.
fn what_stays(scene: &Scene, volume: Option<&Volume>) -> Option<String> {
    let volume = volume.filter(|volume| volume.retained)?;
    let (name, namespace) = (&volume.name, &scene.namespace.name);
    let returns = volume.provenance().is_some_and(|known| known.readopt == Readopt::SameNamespace)
        && scene.object.is_some_and(|object| !object.deleting);
    Some(match returns {
        true => format!("Volume {name} keeps the data, and the next claim of this name gets it"),
        false => format!(
            "Volume {name} keeps the data. To give it to a claim: kubectl lockkeeper volumes readopt -n {namespace} {name}"
        ),
    })
}

/// That nothing uses a claim whose data is kept.
pub fn orphaned(scene: &Scene, claim: &Claim) -> String {
    format!(
        "nothing uses claim {}; its data is kept until somebody deletes it: kubectl lockkeeper volumes -n {}",
        claim.name, scene.namespace.name
    )
}

/// That an object of storage cannot be read.
pub fn incomplete(one: &Unread) -> String {
    format!("{one}. What is known of the volumes here may be incomplete")
}

/// That several objects could not be written, the first of them this one.
pub fn not_written(first: StorageObject, troubled: usize, why: &str) -> String {
    let regarding = Regarding::Storage(first);
    let others = if troubled > 1 { format!(" and {} more", troubled - 1) } else { String::new() };
    format!(
        "{regarding}{others} could not be written: {why}. Lockkeeper tries again, at least every 5 minutes"
    )
}

impl Governed<'_> {
    /// What of the data is not kept, or is kept although the StatefulSet says otherwise.
    pub fn consent(&self) -> Option<String> {
        let (claims, id) = (&self.workload.claims, &self.workload.id);
        if self.spec.protection.is_some() || claims.templates.is_empty() {
            return None;
        }
        match (claims.go_with_set, claims.go_with_pod) {
            (true, true) => Some(format!(
                "{id}: the data of its claims is not kept, because its persistentVolumeClaimRetentionPolicy deletes them with it and with each pod \
                 that it scales away. To keep the data: spec.volumes.protection: Retain"
            )),
            (false, true) => Some(format!(
                "{id}: the data of a pod that it scales away is not kept (whenScaled: Delete); that of its other pods is. To keep all of it: \
                 spec.volumes.protection: Retain"
            )),
            (true, false) => Some(format!(
                "{id}: its claims are deleted with it (whenDeleted: Delete), but their volumes are kept until somebody deletes them. To keep \
                 nothing: spec.volumes.protection: None"
            )),
            (false, false) => None,
        }
    }
}

// What keeps the data of claims.

/// That the data of a claim is kept. `original` is the reclaim policy that its volume had.
pub fn protected(claim: &str, volume: &Volume, original: &str) -> String {
    format!(
        "the data of claim {claim} is kept, whatever is deleted: the reclaim policy of volume {} is Retain (it was {original})",
        volume.name
    )
}

/// That another manager changed the reclaim policy of a volume.
pub fn protected_again(claim: &str, volume: &Volume) -> String {
    format!(
        "another manager set the reclaim policy of volume {} to {}; it is Retain again, so that the data of claim {claim} is kept. Declare \
         persistentVolumeReclaimPolicy: Retain where that manager reads it",
        volume.name, volume.reclaim_policy
    )
}

/// Why the data of a claim is no longer kept.
pub enum GivenUp<'a> {
    /// A user gave it up.
    ByUser,
    /// This workload scaled its pod away.
    Scaled(&'a WorkloadId),
    /// It was kept for a conversion, which is over.
    Converted,
}

/// That the data of a claim is no longer kept. `now` is the reclaim policy that its volume gets.
pub fn unprotected(claim: &Claim, volume: &Volume, why: &GivenUp, now: &str) -> String {
    let why = match why {
        GivenUp::Scaled(workload) => {
            format!("{workload} scales its pod away (whenScaled: Delete)")
        }
        GivenUp::ByUser => format!("somebody gave it up ({})", marks::UNPROTECT),
        GivenUp::Converted => "it was kept for a conversion, which is over".to_owned(),
    };
    format!(
        "the data of claim {} is no longer kept, because {why}: the reclaim policy of volume {} is {now} again",
        claim.name, volume.name
    )
}

/// That a Deployment owns a claim again and again.
pub fn owned(claim: &Claim, deployment: &str) -> String {
    format!(
        "claim {}: another manager keeps making Deployment {deployment} its owner, so that the claim is deleted with it. Its volume is kept. Configure \
         that manager not to set owner references on the claim",
        claim.name
    )
}

/// That the platform has not agreed to Deny.
pub fn deny_not_allowed() -> String {
    format!(
        "the namespace does not have the label {}: \"true\", with which the platform allows Deny. Until then, \
         spec.volumes.protection: Deny does the same as Retain",
        marks::ALLOW_DENY
    )
}

/// That a claim does not carry an annotation that keeps other tools from deleting it.
pub fn shield_incomplete(claim: &Claim, why: &Lack, (key, wanted): (&str, &str)) -> String {
    let missing = match why {
        Lack::Declared(shield) => format!(
            "{} declares {key}: {}",
            shield.manager.as_deref().unwrap_or("another manager"),
            shield.value
        ),
        Lack::NotWritten => format!(
            "the annotation {key} is missing; admission adds it with the next write to the claim"
        ),
        Lack::NoAdmission => format!(
            "the annotation {key} is missing, and this API server has no MutatingAdmissionPolicy that adds it"
        ),
    };
    format!(
        "claim {}: {missing}. Its volume is kept. Put into the chart: {key}: {wanted}",
        claim.name
    )
}

// What is left of claims that are gone.

/// That a volume is being deleted.
pub fn going(volume: &Volume, claim: &str) -> String {
    format!(
        "volume {} of claim {claim} is being deleted. The PersistentVolume goes with its claim, and its driver decides whether the data goes too. \
         Save the data now",
        volume.name
    )
}

/// That a volume is kept although its claim is gone.
pub fn left_behind(scene: &Scene, volume: &Volume, of: &Provenance) -> String {
    let (claim, workload) = (&of.claim, &of.workload);
    format!(
        "claim {}/{claim}{} is gone; its data is kept on volume {}: kubectl lockkeeper volumes -n {}",
        scene.namespace.name,
        if workload.is_empty() { String::new() } else { format!(" of {workload}") },
        volume.name,
        scene.namespace.name
    )
}

/// That volumes of an earlier namespace of this name are kept.
pub fn of_earlier_namespace(name: &str, volumes: usize) -> String {
    format!(
        "volumes of an earlier namespace {name} are kept: {volumes}. No claim gets them automatically, because somebody else may own the \
         current namespace. kubectl lockkeeper volumes -n {name} lists them, with the command that gives them back"
    )
}

/// That any claim may get a volume.
pub fn free_for_all(volume: &str, namespace: &str, claim: &str) -> String {
    format!(
        "volume {volume} with the data of claim {claim} has no spec.claimRef, so that any claim that fits may get it. To keep it for claim {claim}: \
         kubectl patch pv {volume} --type=merge -p '{{\"spec\":{{\"claimRef\":{{\"namespace\":\"{namespace}\",\"name\":\"{claim}\"}}}}}}'"
    )
}

/// That a claim has another volume than `old`, which has its data.
pub fn shadowed(scene: &Scene, claim: &Claim, old: &Volume, misfit: Option<&Misfit>) -> String {
    format!(
        "claim {} {} volume {}, but its earlier data is on volume {}{}. To give it that volume: kubectl lockkeeper volumes readopt -n {} {}. \
         If the earlier data is not wanted: kubectl lockkeeper volumes unprotect {}",
        claim.name,
        if claim.lost { "has lost" } else { "is bound to" },
        claim.volume.as_deref().unwrap_or("(none)"),
        old.name,
        misfit.map_or_else(String::new, |why| format!(", which {why}")),
        scene.namespace.name,
        old.name,
        old.name,
    )
}

/// That a claim waits whose data is on a volume that does not fit it.
pub fn does_not_fit(scene: &Scene, claim: &str, volume: &Volume, why: &Misfit) -> String {
    format!(
        "claim {claim} waits, but volume {} with its data {why}. Change the claim to what the volume has, or run: kubectl lockkeeper volumes readopt -n {} {}",
        volume.name, scene.namespace.name, volume.name
    )
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { has, asked } => {
                write!(f, "has {has} bytes, less than the {asked} that the claim asks for")
            }
            Self::Modes { has, asked } => write!(
                f,
                "has the access modes {}, and the claim asks for {}",
                has.join(", "),
                asked.join(", ")
            ),
        }
    }
}

/// That several volumes hold the data of a claim.
pub fn several_volumes(scene: &Scene, claim: &str, volumes: &[&str]) -> String {
    format!(
        "several volumes hold data of claim {claim}: {}. None is given to the next claim. Choose one: kubectl lockkeeper volumes readopt -n {} VOLUME",
        volumes.join(", "),
        scene.namespace.name
    )
}

/// That a claim has its data again.
pub fn has_again(claim: &str, volume: &str) -> String {
    format!(
        "claim {claim} has volume {volume} again, with the data of the earlier claim of that name"
    )
}

/// Why a claim is Lost, and what to do.
pub fn lost(scene: &Scene, claim: &Claim, why: &Lost) -> String {
    let name = &claim.name;
    match why {
        Lost::Gone => format!(
            "claim {name} has lost its volume {}, which does not exist: its pods cannot start. Restore the volume from a backup, or delete the claim",
            claim.volume.as_deref().unwrap_or("(none)")
        ),
        Lost::Taken(Volume { name: of, .. }, whose) => format!(
            "claim {name} is Lost, because its volume {of} belongs to {whose}: its pods cannot start. {}",
            without_binding(name)
        ),
        Lost::Found(Volume { name: of, .. }) => format!(
            "claim {name} is Lost, and its volume {of} is there: Kubernetes binds them again within a minute"
        ),
        Lost::GivenBack(Volume { name: of, .. }) => format!(
            "claim {name} was created again with the binding of an earlier claim, and is Lost. Its data on volume {of} is being given back to it"
        ),
        Lost::Kept { volume: Volume { name: of, .. }, is_ours } => format!(
            "claim {name} is Lost, because its volume {of} keeps the data of an earlier claim of that name{}. To give it back: kubectl lockkeeper \
             volumes readopt -n {} {of}",
            if *is_ours { "" } else { ", from an earlier namespace of this name" },
            scene.namespace.name
        ),
        Lost::Foreign(Volume { name: of, .. }) => format!(
            "claim {name} is Lost, because its volume {of} names an earlier claim of that name. Lockkeeper does not keep this volume. If it has the \
             data of the claim: kubectl patch pv {of} --type=merge -p '{{\"spec\":{{\"claimRef\":{{\"uid\":\"{}\"}}}}}}'",
            claim.uid
        ),
    }
}

impl fmt::Display for Other<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(name) => write!(f, "claim {name}"),
            Self::Elsewhere => f.write_str("a claim in another namespace"),
        }
    }
}

/// That a claim waits for a volume that does not exist.
pub fn waits_for_none(claim: &Claim, volume: &str) -> String {
    format!(
        "claim {} waits for volume {volume}, which does not exist: its pods cannot start. Restore the volume, or delete the claim and create \
         it again without spec.volumeName",
        claim.name
    )
}

/// That a claim waits for a volume of another claim.
pub fn waits_for_anothers(claim: &Claim, volume: &str, whose: &Other) -> String {
    format!(
        "claim {} waits for volume {volume}, which belongs to {whose}: its pods cannot start. {}",
        claim.name,
        without_binding(&claim.name)
    )
}

fn without_binding(claim: &str) -> String {
    format!(
        "Delete claim {claim}, and create it again without spec.volumeName and without the annotations pv.kubernetes.io/*"
    )
}

// Claims that only one pod, or the pods of one node, may hold.

impl ExclusiveClaim<'_> {
    /// Why two pods on it are a danger to each other.
    pub fn reason(&self) -> String {
        let (name, mode) = (&self.usage.claim.name, self.mode());
        match (self.deadlocks(), self.node) {
            (true, _) if self.access == Access::OnePod => {
                format!("claim {name} is {mode}, so that only one pod can use it at a time")
            }
            (true, _) => format!(
                "claim {name} is {mode}, so that only pods on one node can use it at a time"
            ),
            (false, Some(node)) => format!(
                "the volume of claim {name} ({mode}) is on node {node}, where the old and the new pod could write to it at the same time"
            ),
            (false, None) => format!(
                "the volume of claim {name} ({mode}) is not attached to nodes, so that the old and the new pod could write to it at the same time"
            ),
        }
    }
}

/// What may come of the next rollout of a workload, where nothing of ours prevents it.
pub fn dangerous_rollout(claim: &ExclusiveClaim, workload: &Workload, reports: bool) -> String {
    let so = match (claim.deadlocks(), claim.has_two_writers(workload)) {
        (true, _) => "a rollout would deadlock",
        (false, true) => "a rollout may damage the data",
        (false, false) => "the policy says exclusiveClaims: Recreate",
    };
    let cure = match reports {
        true => "Declare strategy.type: Recreate, or set spec.volumes.exclusiveClaims: WhenUnsafe",
        false => {
            "With mode: Enforce its strategy would become Recreate. Until then, declare strategy.type: Recreate"
        }
    };
    format!("{}: {}: {so}. {cure}", workload.id, claim.reason())
}

/// That admission does not make its strategy Recreate.
pub fn strategy_not_changed(workload: &Workload) -> String {
    format!(
        "{}: its strategy should be Recreate, and admission does not change it, because the admission policy lockkeeper-deployments is missing \
         or was changed. Install Lockkeeper's chart again: helm upgrade lockkeeper",
        workload.id
    )
}

/// That its policy wants another strategy only where a rollout deadlocks.
pub fn strategy_stays(claim: &ExclusiveClaim, workload: &Workload) -> String {
    format!(
        "{}: {}. Its strategy stays as it is, because the policy says exclusiveClaims: WhenDeadlock; WhenUnsafe prevents this",
        workload.id,
        claim.reason()
    )
}

/// How many pods of a workload are to use a claim. `most` is what an autoscaler may ask for.
fn several_pods(claim: &ExclusiveClaim, workload: &Workload, most: Option<u32>) -> String {
    let name = &claim.usage.claim.name;
    match most {
        Some(most) if most > 1 => {
            format!("{} uses claim {name}, and an autoscaler may give it {most} pods", workload.id)
        }
        _ => format!("{} runs {} pods on claim {name}", workload.id, workload.rollout.wanted),
    }
}

/// That several pods of one workload are to use a claim, and cannot.
pub fn shared_by_pods(claim: &ExclusiveClaim, workload: &Workload, most: Option<u32>) -> String {
    format!(
        "{}, but the claim is {}: {} cannot start. Use a ReadWriteMany claim, one replica, or a StatefulSet with volumeClaimTemplates",
        several_pods(claim, workload, most),
        claim.mode(),
        if claim.access == Access::OnePod { "a second pod" } else { "pods on other nodes" }
    )
}

/// That several pods of one workload are to use a claim, and nothing prevents it.
pub fn written_by_pods(claim: &ExclusiveClaim, workload: &Workload, most: Option<u32>) -> String {
    let place = claim
        .node
        .map_or_else(|| "is not attached to nodes".to_owned(), |node| format!("is on node {node}"));
    format!(
        "{}. The claim is {}, and its volume {place}, where the pods could write to it at the same time. Use one replica, a StatefulSet with \
         volumeClaimTemplates, or a ReadWriteMany claim, or mount the claim read-only",
        several_pods(claim, workload, most),
        claim.mode()
    )
}

/// That several workloads, jobs or pods use a claim: the last of them, and those before.
/// `same_names`: the templates of several StatefulSets make claims of this name.
pub fn used_by_several(
    (first, last): (&str, &str),
    claim: &ExclusiveClaim,
    same_names: bool,
) -> String {
    let together = !claim.deadlocks();
    let so = match claim.access {
        Access::OnePod => "only one of their pods can run at a time",
        _ if together => "their pods may write to the volume at the same time",
        _ => "their pods can run only on one node, and wait for the volume on any other",
    };
    let cure = match () {
        () if same_names => {
            "Their volumeClaimTemplates make claims of the same name: rename a template or a StatefulSet"
        }
        () if together => {
            "Give each a claim of its own, or mount the claim read-only in all but one"
        }
        () => "Use a ReadWriteMany claim, or give each a claim of its own",
    };
    format!(
        "{first} and {last} use claim {}, which is {}: {so}. {cure}",
        claim.usage.claim.name,
        claim.mode()
    )
}

/// That the scheduler finds no node for a pod while another pod holds the claim.
pub fn not_scheduled(claim: &ExclusiveClaim, (waiting, holder): (&Pod, &Pod), why: &str) -> String {
    format!(
        "pod {} cannot be scheduled while pod {}{} holds claim {} (ReadWriteOncePod): {why}",
        waiting.name,
        holder.name,
        on_node(holder),
        claim.usage.claim.name
    )
}

/// That a pod waits for a volume that a pod on another node holds.
pub fn on_another_node(claim: &ExclusiveClaim, between: (&Pod, &Pod)) -> String {
    format!(
        "{} (ReadWriteOnce is for one node; its events say Waiting for detach, before Kubernetes 1.37 Multi-Attach error)",
        waits_for(claim, between)
    )
}

/// That a pod waits for a volume that only one pod may hold.
pub fn for_one_pod(claim: &ExclusiveClaim, between: (&Pod, &Pod)) -> String {
    format!("{} (ReadWriteOncePod is for one pod)", waits_for(claim, between))
}

fn waits_for(claim: &ExclusiveClaim, (waiting, holder): (&Pod, &Pod)) -> String {
    let volume =
        claim.volume.map_or(claim.usage.claim.name.as_str(), |volume| volume.name.as_str());
    format!(
        "pod {}{} waits for volume {volume}, which pod {}{} holds",
        waiting.name,
        on_node(waiting),
        holder.name,
        on_node(holder)
    )
}

fn on_node(pod: &Pod) -> String {
    pod.claims.node.as_deref().map_or(String::new(), |node| format!(" on {node}"))
}

impl fmt::Display for Cure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stranger { pod, namespace } => {
                return write!(
                    f,
                    "The rollout continues when pod {pod}, which has another owner, is gone: kubectl delete pod -n {namespace} {pod}"
                );
            }
            Self::Observed => "spec.mode is Observe, so declare strategy.type: Recreate",
            Self::OldPodsFirst => {
                "Its old pods are terminated first, so that the rollout can continue"
            }
            Self::Declare => {
                "Declare strategy.type: Recreate, or set spec.volumes.exclusiveClaims: WhenUnsafe"
            }
        })
    }
}

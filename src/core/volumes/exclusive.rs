//! Claims that only one pod, or the pods of one node, may hold: a rollout that starts a new pod
//! beside the old one waits for the volume while the old pod waits for the new one, indefinitely;
//! or, where nothing checks, both write.

use std::collections::BTreeMap;

use crate::{
    api::{ExclusiveClaims, Mode, UpgradePolicySpec},
    core::{
        observed::{
            Namespace, Pod, Workload,
            storage::{Access, Storage},
        },
        unread,
        volumes::{
            finding::{Danger, Exclusive, ExclusiveClaim, Stuck},
            sharing::users,
            usage::{Usage, claims_of},
            words,
        },
    },
};

/// Judges a workload that a policy governs.
pub fn judge(
    namespace: &Namespace,
    storage: &Storage,
    usages: &BTreeMap<&str, Usage>,
    (workload, spec): (&Workload, &UpgradePolicySpec),
    (pods, current): (&[&Pod], Option<&str>),
) -> Exclusive {
    let mut found = Exclusive::default();
    let Some(volumes) = &spec.volumes else { return found };
    if volumes.exclusive_claims == ExclusiveClaims::Ignore || workload.deleting {
        return found;
    }
    let claim = |name: &str| exclusive(namespace, storage, usages.get(name)?);
    let claims: Vec<_> = workload.claims.named.iter().filter_map(|name| claim(name)).collect();
    let most = namespace
        .autoscalers
        .values()
        .filter(|(target, _)| *target == workload.id)
        .map(|(_, most)| *most)
        .max();
    let several = workload.rollout.wanted > 1 || most.is_some_and(|most| most > 1);
    let made = claims_of(namespace, workload, &[]).into_iter().map(|(name, _)| name);
    let made = made
        .filter(|name| !workload.claims.named.iter().any(|named| named == name))
        .filter_map(claim)
        .collect::<Vec<_>>();
    found.dangers.extend(claims.iter().chain(&made).filter_map(|claim| users(namespace, claim)));
    found.dangers.extend(
        claims.iter().filter(|_| several).filter_map(|claim| shared_by_pods(claim, workload, most)),
    );
    // Where a volume attaches, not all of them start.
    let written =
        claims.iter().filter(|claim| several && !claim.attaches && claim.has_two_writers(workload));
    let written = written.map(|claim| words::written_by_pods(claim, workload, most));
    match volumes.exclusive_claims {
        ExclusiveClaims::WhenDeadlock => found.notes.extend(written),
        _ => found.dangers.extend(written.map(Danger::ExclusiveClaimShared)),
    }
    if !workload.id.kind.capabilities().surges || several {
        return found;
    }
    found.stuck = claims.iter().find_map(|claim| stuck(claim, pods, current));
    let marked = workload.marks.volume_access.stands();
    let recreates = workload.claims.recreates && !marked;
    let deadlocks = claims.iter().find(|claim| claim.deadlocks());
    let two_writers = claims.iter().find(|claim| claim.has_two_writers(workload));
    let wanted = match volumes.exclusive_claims {
        ExclusiveClaims::WhenUnsafe | ExclusiveClaims::Report => deadlocks.or(two_writers),
        ExclusiveClaims::WhenDeadlock => deadlocks,
        ExclusiveClaims::Recreate => claims.first(),
        ExclusiveClaims::Ignore => None,
    };
    let reports = volumes.exclusive_claims == ExclusiveClaims::Report;
    if let Some(claim) = wanted.filter(|_| !recreates) {
        // A policy that observes carries nothing out, so that the danger stays.
        if !workload.claims.recreates && (reports || spec.mode == Mode::Observe) {
            let danger = words::dangerous_rollout(claim, workload, reports);
            found.dangers.push(Danger::ExclusiveClaim(danger));
        }
        found.recreate = (!reports).then(|| claim.reason());
    }
    found.uncertain = !reports
        && !workload.claims.named.is_empty()
        && unread::of_storage(namespace, storage).next().is_some();
    if marked && !workload.claims.recreates && found.recreate.is_some() {
        found.dangers.push(Danger::StrategyNotChanged(words::strategy_not_changed(workload)));
    }
    if found.recreate.is_none()
        && volumes.exclusive_claims == ExclusiveClaims::WhenDeadlock
        && !workload.claims.recreates
    {
        let noted = claims.iter().filter(|claim| claim.has_two_writers(workload));
        found.notes.extend(noted.map(|claim| words::strategy_stays(claim, workload)));
    }
    found
}

fn exclusive<'a>(
    namespace: &Namespace,
    storage: &'a Storage,
    usage: &'a Usage<'a>,
) -> Option<ExclusiveClaim<'a>> {
    let volume = usage.claim.volume.as_deref().and_then(|name| storage.volume(name));
    let volume = volume.filter(|volume| volume.is_of(&namespace.name, usage.claim));
    // The volume's own modes decide, not the claim's.
    let access = volume.map_or(usage.claim.access, |volume| volume.access);
    // A node that the template names may be another one with the next template: that is no pin.
    let node = volume.and_then(|volume| volume.node.as_deref());
    let attaches = volume.is_none_or(|volume| storage.attaches(volume));
    (access != Access::ManyNodes).then_some(ExclusiveClaim {
        usage,
        volume,
        access,
        node,
        attaches,
    })
}

/// An exclusive claim that several pods of one workload are to use, and cannot.
fn shared_by_pods(
    claim: &ExclusiveClaim,
    workload: &Workload,
    most: Option<u32>,
) -> Option<Danger> {
    (claim.access == Access::OnePod || claim.attaches)
        .then(|| Danger::ExclusiveClaimShared(words::shared_by_pods(claim, workload, most)))
}

/// A new pod waits for a volume that an old one has, and the old one for the new one.
fn stuck(claim: &ExclusiveClaim, pods: &[&Pod], current: Option<&str>) -> Option<Stuck> {
    let uses = |pod: &&&Pod| {
        pod.claims.named.contains(&claim.usage.claim.name) && pod.terminating.is_none()
    };
    let waiting = pods
        .iter()
        .filter(uses)
        .find(|pod| !pod.reach.running && pod.revision.as_deref() == current)?;
    let own = |pod: &Pod| pods.iter().any(|one| one.uid == pod.uid);
    let holders = claim.usage.pods.iter().filter(|pod| pod.reach.running && pod.uid != waiting.uid);
    let stays = |pod: &&&Pod| {
        !own(pod) && claim.access == Access::OneNode && pod.claims.node == waiting.claims.node
    };
    let holders: Vec<_> = holders.filter(|pod| !stays(pod)).collect();
    // One of ours that goes already ends by itself.
    let holder = holders
        .iter()
        .find(|pod| own(pod) && pod.revision != waiting.revision && pod.terminating.is_none());
    let stranger = holders.iter().find(|pod| !own(pod));
    let holder = holder.or(stranger)?;
    let between = (*waiting, **holder);
    let why = match (claim.access, &waiting.claims.unschedulable) {
        (Access::OnePod, Some(why)) if why.contains("ReadWriteOncePod") => {
            words::not_scheduled(claim, between, why)
        }
        (Access::OneNode, _)
            if claim.attaches
                && waiting.claims.node.is_some()
                && waiting.claims.node != holder.claims.node =>
        {
            words::on_another_node(claim, between)
        }
        (Access::OnePod, None) if waiting.claims.node.is_some() => {
            words::for_one_pod(claim, between)
        }
        _ => return None,
    };
    Some(Stuck { why, stranger: stranger.map(|pod| pod.name.to_string()) })
}

//! Gives all volumes of an earlier namespace to the one of the same name that is there now.

use std::{collections::BTreeMap, process::ExitCode};

use lockkeeper::{
    api::{Readopt, marks},
    core::{
        observed::storage::{Claim, Volume, VolumePhase},
        volumes::{find_again::misfit, protection::is_left},
    },
    marks::Provenance,
    shell::clock,
};
use serde_json::json;

use super::{
    PAUSE, TIMED_OUT, claim,
    objects::Place,
    readopt::Manner,
    seen::{Seen, namespace_view, volume_view},
    size,
};
use crate::{
    cluster::{Cluster, Failure},
    confirm::confirm,
};

/// A volume of the earlier namespace.
struct Leftover<'a> {
    volume: &'a Volume,
    provenance: &'a Provenance,
}

/// Asks for them, and waits until they are free.
pub async fn run(cluster: &Cluster, uid: &str, manner: &Manner) -> Result<ExitCode, Failure> {
    let name = cluster.namespace.as_str();
    let place = Place::namespace(name);
    let raw = place.get(cluster).await?;
    let raw = raw.ok_or_else(|| {
        Failure::No(format!(
            "there is no namespace {name}; create it first: kubectl create namespace {name}"
        ))
    })?;
    let namespace = namespace_view(&raw)?;
    if namespace.deleting {
        return Err(Failure::No(format!(
            "namespace {name} is being deleted; wait until it is gone, create it again, and repeat the command"
        )));
    }
    if *namespace.uid == *uid {
        return Err(Failure::No(format!(
            "{uid} is the uid that namespace {name} has now: its volumes are found again without this command"
        )));
    }
    let seen = Seen::read(cluster, Some(name)).await?;
    let left = leftovers(&seen, name);
    let wanted: Vec<_> = left.iter().filter(|one| one.provenance.namespace_uid == uid).collect();
    if wanted.is_empty() {
        return Err(none_of(name, uid, &left, &seen.unseen));
    }
    let what = format!("let namespace {name} have the volumes of the earlier one");
    let patch = json!({"metadata": {"uid": &*namespace.uid, "annotations": {marks::READOPT: uid}}});
    let another = || {
        Failure::No(format!(
            "cannot {what}: it was deleted and created again. Nothing was changed; look again, and repeat the command"
        ))
    };
    place.merge(cluster, &what, &patch, true).await?.ok_or_else(another)?;
    let claims = seen.worlds.get(name).map(|world| &world.claims);
    let (expected, lines) = outlook(&wanted, |name| claims.and_then(|claims| claims.get(name)));
    lines.iter().for_each(|line| println!("{line}"));
    let consequence = match namespace.marks.readopt.as_deref().filter(|other| *other != uid) {
        Some(other) => {
            format!(
                "Namespace {name} would get this data, and no longer that of {other}. Somebody else may own this namespace now"
            )
        }
        None => format!(
            "Namespace {name} would get this data. Somebody else may own this namespace now"
        ),
    };
    confirm(name, &place.to_string(), &consequence, manner.yes)?;
    place.merge(cluster, &what, &patch, false).await?.ok_or_else(another)?;
    let until = clock::moment() + manner.timeout;
    for (claim, volume) in expected {
        loop {
            let now = Place::volume(&volume).get(cluster).await?.ok_or(Failure::Gone)?;
            let now = volume_view(now)?;
            if now.view.phase == VolumePhase::Bound {
                println!("claim {claim} has volume {volume}");
                break;
            }
            if now.view.claim.as_ref().is_some_and(|claim| claim.uid.is_none()) {
                let place = Place::claim(name, &claim);
                if manner.create_claim && place.get(cluster).await?.is_none() {
                    place
                        .create(
                            cluster,
                            &format!("make {place}"),
                            claim::for_volume(name, &claim, &now),
                            false,
                        )
                        .await?;
                }
                println!(
                    "volume {volume} waits for {} {claim}",
                    if manner.create_claim { "claim" } else { "the next claim" }
                );
                break;
            }
            if clock::moment() >= until {
                eprintln!(
                    "The operator has not freed volume {volume} within {}s: is it running? (kubectl get pods -n lockkeeper-system) It will as soon as it \
                     does; repeat the command to follow it",
                    manner.timeout.as_secs()
                );
                return Ok(ExitCode::from(TIMED_OUT));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    if !manner.create_claim {
        println!("Install the charts again: each claim gets the volume of its name.");
    }
    Ok(ExitCode::SUCCESS)
}

fn leftovers<'a>(seen: &'a Seen, namespace: &str) -> Vec<Leftover<'a>> {
    let of = |volume: &'a Volume| {
        let provenance = volume.provenance().filter(|of| of.namespace == namespace)?;
        Some(Leftover { volume, provenance })
    };
    seen.storage.volumes().filter(|volume| is_left(volume)).filter_map(of).collect()
}

fn none_of(name: &str, uid: &str, left: &[Leftover], unseen: &[String]) -> Failure {
    let mut uids: BTreeMap<&str, usize> = BTreeMap::new();
    left.iter().for_each(|one| *uids.entry(&one.provenance.namespace_uid).or_default() += 1);
    let known: Vec<_> = uids.into_iter().map(|(uid, count)| format!("{uid} ({count})")).collect();
    let there_are = match known.as_slice() {
        [] => "none of any earlier one either".to_owned(),
        known => format!("there are of: {}", known.join(", ")),
    };
    let unseen: String = unseen.iter().map(|line| format!(". {line}")).collect();
    Failure::No(format!(
        "no volume is left of a namespace {name} with uid {uid}; {there_are}{unseen}"
    ))
}

/// Which volumes become free, with their claims' names; and a line for each that says so, or why
/// not.
fn outlook<'a>(
    wanted: &[&Leftover],
    claim: impl Fn(&str) -> Option<&'a Claim>,
) -> (Vec<(String, String)>, Vec<String>) {
    let mut by_claim: BTreeMap<&str, Vec<&Leftover>> = BTreeMap::new();
    wanted.iter().for_each(|one| by_claim.entry(&one.provenance.claim).or_default().push(one));
    let (mut expected, mut lines) = (Vec::new(), Vec::new());
    for (name, candidates) in by_claim {
        let candidates_by_themselves = candidates
            .iter()
            .filter(|one| one.provenance.readopt == Readopt::SameNamespace)
            .count();
        for one in candidates {
            let there = claim(name);
            let volume = &one.volume.name;
            let by_hand =
                || format!("give it back alone: kubectl lockkeeper volumes readopt {volume}");
            let outcome = match there {
                Some(bound)
                    if bound.volume.as_ref().is_some_and(|has| has != volume)
                        && (bound.bound || bound.lost) =>
                {
                    format!(
                        "not yet, because claim {name} has volume {} now; {}",
                        bound.volume.as_deref().unwrap_or_default(),
                        by_hand()
                    )
                }
                _ if one.provenance.readopt == Readopt::Never => {
                    format!(
                        "not automatically, because its policy said readopt: Never; {}",
                        by_hand()
                    )
                }
                _ if candidates_by_themselves > 1 => {
                    format!(
                        "not automatically, because several volumes hold data of claim {name}; {}",
                        by_hand()
                    )
                }
                there => {
                    expected.push((name.to_owned(), volume.clone()));
                    match there.and_then(|claim| misfit(claim, one.volume)) {
                        Some(why) => format!(
                            "for claim {name}, which waits for a volume and cannot have this one: the volume {why}"
                        ),
                        None => format!("for claim {name}"),
                    }
                }
            };
            lines.push(format!(
                "volume {volume} ({}, {}): {outcome}",
                size(one.volume.capacity),
                one.provenance.workload
            ));
        }
    }
    (expected, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::seen::{claim_view, volume_view};

    fn volume(name: &str, claim: &str, readopt: &str) -> Volume {
        let provenance = json!({
            "namespace": "shop", "namespaceUid": "1", "claim": claim, "claimUid": "2", "volume": name, "workload": "Deployment/web", "policy": "p",
            "orphanedAfter": "10m", "readopt": readopt
        });
        let metadata = json!({"name": name, "labels": {marks::RETAINED: "true"}, "annotations": {marks::PROVENANCE: provenance.to_string()}});
        volume_view(json!({"metadata": metadata, "spec": {"capacity": {"storage": "1Gi"}}, "status": {"phase": "Released"}})).unwrap().view
    }

    #[test]
    fn what_becomes_of_each_volume_is_said_before() {
        let volumes = [
            volume("pv-a", "free", "SameNamespace"),
            volume("pv-b", "twice", "SameNamespace"),
            volume("pv-c", "twice", "SameNamespace"),
            volume("pv-d", "never", "Never"),
            volume("pv-e", "taken", "SameNamespace"),
            volume("pv-f", "twice-but-one-aside", "SameNamespace"),
            volume("pv-g", "twice-but-one-aside", "Never"),
        ];
        let left: Vec<_> = volumes
            .iter()
            .map(|volume| Leftover { volume, provenance: volume.provenance().unwrap() })
            .collect();
        let taken =
            claim_view(&json!({"metadata": {"name": "taken"}, "spec": {"volumeName": "pv-y"}, "status": {"phase": "Bound"}})).unwrap();
        let (expected, lines) =
            outlook(&left.iter().collect::<Vec<_>>(), |name| (name == "taken").then_some(&taken));
        let names: Vec<_> =
            expected.iter().map(|(claim, volume)| (claim.as_str(), volume.as_str())).collect();
        assert_eq!(names, [("free", "pv-a"), ("twice-but-one-aside", "pv-f")]);
        assert_eq!(lines.len(), 7);
        let line = |volume: &str| lines.iter().find(|line| line.contains(volume)).unwrap();
        assert!(line("pv-b").contains("several volumes"));
        assert!(line("pv-d").contains("readopt: Never"));
        assert!(line("volume pv-e").contains("has volume pv-y now"));
    }
}

//! Gives the protection of data up.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use lockkeeper::{
    api::marks,
    core::{
        observed::storage::{Volume, VolumePhase},
        volumes::protection::gives_up,
    },
    marks::{
        MarkSet, StorageMarks,
        registry::{self, On},
    },
    shell::clock,
};
use serde_json::{Value, json};

use super::{
    PAUSE, TIMED_OUT,
    objects::Place,
    seen::{claim_view, origin, volume_view},
    size,
};
use crate::{
    cluster::{Cluster, Failure},
    confirm::confirm,
};

/// Gives up that of a claim, or of a volume whose claim is gone.
pub async fn run(
    cluster: &Cluster,
    name: &str,
    yes: bool,
    timeout: Duration,
) -> Result<ExitCode, Failure> {
    match find(cluster, name).await? {
        Found::Claim(namespace, claim) => of_claim(cluster, &namespace, claim, yes, timeout).await,
        Found::Volume(volume) => of_released(cluster, volume, yes).await,
    }
}

/// What a name stands for.
enum Found {
    Claim(String, Value),
    Volume(Value),
}

async fn find(cluster: &Cluster, name: &str) -> Result<Found, Failure> {
    let (kind, name) = name.rsplit_once('/').unwrap_or(("", name));
    let (claims, volumes) = match kind {
        "" => (true, true),
        "pvc" | "claim" | "persistentvolumeclaim" => (true, false),
        "pv" | "volume" | "persistentvolume" => (false, true),
        _ => {
            return Err(Failure::No(format!(
                "{kind}/{name}: write pvc/{name} for a claim, or pv/{name} for a volume"
            )));
        }
    };
    let claim =
        if claims { Place::claim(&cluster.namespace, name).get(cluster).await? } else { None };
    // Who may not read volumes means a claim.
    let (volume, unread) =
        match if volumes { Place::volume(name).get(cluster).await } else { Ok(None) } {
            Ok(volume) => (volume, String::new()),
            Err(error) => (None, format!(", and {error}")),
        };
    match (claim, volume) {
        (Some(_), Some(_)) => Err(Failure::No(format!(
            "there is a claim {name} in namespace {} and a volume {name}: write pvc/{name} or pv/{name}",
            cluster.namespace
        ))),
        (Some(claim), None) => Ok(Found::Claim(cluster.namespace.clone(), claim)),
        (None, Some(volume)) => of_bound(cluster, volume).await,
        (None, None) => Err(Failure::No(format!(
            "there is no {} {name} in namespace {}{unread}; kubectl lockkeeper volumes lists what is kept",
            match (claims, volumes) {
                (false, _) => "volume",
                (_, true) if unread.is_empty() => "claim or volume",
                _ => "claim",
            },
            cluster.namespace,
        ))),
    }
}

/// Of a volume that is bound, its claim is meant.
async fn of_bound(cluster: &Cluster, volume: Value) -> Result<Found, Failure> {
    let seen = volume_view(volume)?;
    if seen.view.phase == VolumePhase::Bound
        && let Some(of) = &seen.view.claim
        && let Some(claim) = Place::claim(&of.namespace, &of.name).get(cluster).await?
        && claim["metadata"]["uid"].as_str() == of.uid.as_deref()
    {
        eprintln!(
            "Volume {} is bound to claim {} in namespace {}, so that is meant.",
            seen.view.name, of.name, of.namespace
        );
        return Ok(Found::Claim(of.namespace.clone(), claim));
    }
    Ok(Found::Volume(seen.raw))
}

async fn of_claim(
    cluster: &Cluster,
    namespace: &str,
    raw: Value,
    yes: bool,
    timeout: Duration,
) -> Result<ExitCode, Failure> {
    let claim = claim_view(&raw)?;
    let place = Place::claim(namespace, &claim.name);
    let Some(volume_name) = claim.volume.clone() else {
        return Err(Failure::No(format!("{place} has no volume yet, so nothing is kept")));
    };
    // Who may give up the protection of a claim need not be able to read volumes.
    let volume = Place::volume(&volume_name)
        .get(cluster)
        .await
        .unwrap_or_default()
        .map(volume_view)
        .transpose()?
        .map(|seen| seen.view);
    if !claim.retained && !volume.as_ref().is_some_and(|volume| volume.retained) {
        return Err(Failure::No(match gives_up(&claim) {
            true => format!(
                "{place} is no longer protected: it has the annotation {}",
                marks::UNPROTECT
            ),
            false => format!("{place} is not kept by Lockkeeper, so there is nothing to unprotect"),
        }));
    }
    let what = format!("unprotect {place}");
    let patch =
        json!({"metadata": {"uid": &*claim.uid, "annotations": {marks::UNPROTECT: volume_name}}});
    let refused = || {
        Failure::No(format!(
            "cannot {what}: it was deleted and created again. Nothing was changed; look again, and repeat the command"
        ))
    };
    // Who may not is told before being asked.
    place.merge(cluster, &what, &patch, true).await?.ok_or_else(refused)?;
    confirm(
        &claim.name,
        &place.to_string(),
        &consequence(&place, &volume_name, volume.as_ref()),
        yes,
    )?;
    place.merge(cluster, &what, &patch, false).await?.ok_or_else(refused)?;
    let until = clock::moment() + timeout;
    loop {
        let now = Place::volume(&volume_name)
            .get(cluster)
            .await
            .unwrap_or_default()
            .map(volume_view)
            .transpose()?
            .map(|seen| seen.view);
        let still = place
            .get(cluster)
            .await?
            .filter(|object| object["metadata"]["uid"] == *claim.uid)
            .map(|raw| claim_view(&raw))
            .transpose()?;
        if !now.as_ref().is_some_and(|volume| volume.retained)
            && !still.is_some_and(|claim| claim.retained)
        {
            let policy = now.map_or_else(String::new, |volume| {
                format!(": the reclaim policy of volume {volume_name} is {}", volume.reclaim_policy)
            });
            println!("The data of {place} is no longer kept{policy}.");
            println!("To delete it: kubectl delete pvc -n {namespace} {}", claim.name);
            println!(
                "To protect it again: kubectl annotate pvc -n {namespace} {} {}-",
                claim.name,
                marks::UNPROTECT
            );
            return Ok(ExitCode::SUCCESS);
        }
        if clock::moment() >= until {
            eprintln!(
                "The operator has not done this within {}s: is it running? (kubectl get pods -n lockkeeper-system) It does this as soon as it runs; \
                 until then the data of {place} is kept. To cancel: kubectl annotate pvc -n {namespace} {} {}-",
                timeout.as_secs(),
                claim.name,
                marks::UNPROTECT
            );
            return Ok(ExitCode::from(TIMED_OUT));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn consequence(place: &Place, volume_name: &str, volume: Option<&Volume>) -> String {
    let original = volume
        .and_then(|volume| volume.marks.original_reclaim_policy.get())
        .map(|policy| policy.as_str());
    let then = match original {
        Some("Retain") => "stays Retain, as it was before Lockkeeper: when the claim is deleted, you delete the volume yourself".to_owned(),
        Some(policy) => format!("becomes {policy} again: when somebody deletes the claim, its data is deleted too"),
        None => "becomes what it was before Lockkeeper; if that is Delete, the data is deleted with the claim".to_owned(),
    };
    format!(
        "The data of {place} would no longer be kept: the reclaim policy of its volume {volume_name} {then}"
    )
}

async fn of_released(cluster: &Cluster, raw: Value, yes: bool) -> Result<ExitCode, Failure> {
    let mut raw = raw;
    let mut agreed = yes;
    for _ in 0..5 {
        let seen = volume_view(raw)?.view;
        let place = Place::volume(&seen.name);
        if !seen.retained {
            return Err(Failure::No(format!(
                "{place} is not kept by Lockkeeper, so there is nothing to unprotect"
            )));
        }
        if seen.phase == VolumePhase::Bound {
            return Err(Failure::No(format!(
                "{place} is bound, and its claim cannot be read: unprotect that claim"
            )));
        }
        let whose = origin(&seen).map_or_else(String::new, |(namespace, claim)| {
            format!(" of claim {claim} in namespace {namespace}")
        });
        let what = format!("unprotect {place}");
        let patch = forget(&seen);
        if place.merge(cluster, &what, &patch, true).await?.is_some() {
            let consequence = format!(
                "Lockkeeper would forget that {place} ({}) holds the data{whose}: the volume is no longer listed, and no claim gets it. Its reclaim policy \
                 stays {}, so nothing is deleted",
                size(seen.capacity),
                seen.reclaim_policy
            );
            confirm(&seen.name, &place.to_string(), &consequence, agreed)?;
            agreed = true;
            if let Some(written) = place.merge(cluster, &what, &patch, false).await? {
                println!("Lockkeeper no longer lists {place}; its data{whose} is still there.");
                println!(
                    "To delete the data, which cannot be taken back: kubectl patch pv {} -p '{{\"spec\":{{\"persistentVolumeReclaimPolicy\":\"Delete\"}}}}'",
                    seen.name
                );
                println!(
                    "To delete only the object, and leave the data on its storage: kubectl delete pv {}",
                    seen.name
                );
                debug_assert!(!StorageMarks::of(&written).provenance.stands());
                return Ok(ExitCode::SUCCESS);
            }
        }
        raw = place.get(cluster).await?.ok_or(Failure::Gone)?;
    }
    Err(Failure::No(
        "the volume is changed by another writer all the time. Nothing was changed; repeat the command"
            .to_owned(),
    ))
}

/// Takes what is ours off. If it waits for the next claim of its name, it no longer does: nobody
/// wants that data.
fn forget(volume: &Volume) -> Value {
    let mut patch = json!({"metadata": {
        "uid": &*volume.uid, "resourceVersion": volume.resource_version.to_string(), "labels": {marks::RETAINED: null},
        "annotations": registry::annotations_of(On::Volume).map(|key| (key, Value::Null)).collect::<BTreeMap<_, _>>(),
    }});
    if volume.claim.as_ref().is_some_and(|claim| claim.uid.is_none())
        && let Some(provenance) = volume.provenance()
    {
        patch["spec"]["claimRef"]["uid"] = json!(provenance.claim_uid);
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(claim: Value) -> Volume {
        let provenance = json!({
            "namespace": "shop", "namespaceUid": "1", "claim": "data", "claimUid": "2", "volume": "pv-a", "workload": "Deployment/web", "policy": "p",
            "orphanedAfter": "10m", "readopt": "SameNamespace"
        });
        let annotations = json!({marks::PROVENANCE: provenance.to_string(), marks::ORIGINAL_RECLAIM_POLICY: "Delete"});
        let metadata = json!({"name": "pv-a", "uid": "9", "resourceVersion": "77", "labels": {marks::RETAINED: "true"}, "annotations": annotations});
        volume_view(json!({"metadata": metadata, "spec": {"claimRef": claim}})).unwrap().view
    }

    #[test]
    fn a_volume_that_is_forgotten_waits_for_no_claim() {
        let tied = forget(&volume(json!({"namespace": "shop", "name": "data", "uid": "2"})));
        assert_eq!(tied["metadata"]["resourceVersion"], "77");
        assert_eq!(tied["metadata"]["labels"], json!({marks::RETAINED: null}));
        assert_eq!(tied["spec"], Value::Null);
        let free = forget(&volume(json!({"namespace": "shop", "name": "data"})));
        assert_eq!(free["spec"], json!({"claimRef": {"uid": "2"}}));
    }

    #[test]
    fn what_becomes_of_the_data_is_said() {
        let place = Place::claim("shop", "data");
        let volume = volume(json!({}));
        assert!(
            consequence(&place, "pv-a", Some(&volume))
                .contains("becomes Delete again: when somebody deletes the claim")
        );
        assert!(consequence(&place, "pv-a", None).contains("if that is Delete"));
    }
}

//! Data that a user put aside in favor of other data: it is kept, and no claim gets it again.

use std::time::Instant;

use lockkeeper::{
    api::{Readopt, marks},
    core::observed::storage::VolumePhase,
    marks::Provenance,
    shell::clock,
};
use serde_json::json;

use super::{PAUSE, objects::Place, seen::volume_view};
use crate::cluster::{Cluster, Failure};

/// Puts a volume aside in favor of another one, or of a snapshot, as soon as it is not bound; whether
/// no claim gets it now. The next claim of its name may be there already.
pub async fn put(
    cluster: &Cluster,
    volume: &str,
    chosen: &str,
    until: Instant,
) -> Result<bool, Failure> {
    let place = Place::volume(volume);
    loop {
        let Some(seen) = place.get(cluster).await?.map(volume_view).transpose()? else {
            return Ok(true);
        };
        let view = seen.view;
        if view.phase != VolumePhase::Bound {
            let is_free = view.claim.as_ref().is_some_and(|claim| claim.uid.is_none());
            let Some(provenance) = view.provenance() else {
                return match is_free {
                    false => Ok(true),
                    true => Err(Failure::No(format!(
                        "{place} waits for a claim of that name (spec.claimRef without uid), and would be bound to the next one. Remove spec.claimRef or the volume, and repeat the command"
                    ))),
                };
            };
            if provenance.put_aside && !is_free {
                return Ok(true);
            }
            let provenance = Provenance {
                readopt: Readopt::Never,
                put_aside: true,
                ..Provenance::clone(provenance)
            };
            let mut patch = json!({"metadata": {
                "uid": &*view.uid, "resourceVersion": view.resource_version.to_string(),
                "annotations": {marks::PROVENANCE: provenance.to_string(), marks::FREED: null},
            }});
            if is_free {
                patch["spec"]["claimRef"]["uid"] = json!(provenance.claim_uid);
            }
            let what = format!("put {place} aside for {chosen}");
            place.merge(cluster, &what, &patch, false).await?;
        }
        if clock::moment() >= until {
            return Ok(false);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

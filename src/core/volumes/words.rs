//! What is told of claims and volumes, in words.

use crate::{
    api::Readopt,
    core::{
        observed::storage::Volume,
        some_of,
        volumes::{scene::Scene, usage::Usage},
    },
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

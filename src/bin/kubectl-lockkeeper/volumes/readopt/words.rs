//! What is printed before anything is done.

use lockkeeper::{
    core::{
        observed::storage::{Claim, VolumePhase},
        volumes::find_again::misfit,
    },
    marks::Provenance,
};

use super::stage::Seen;
use crate::volumes::size;

/// Whose data a volume holds, and whether it is still the same namespace.
pub fn whose(seen: &Seen) -> String {
    let Provenance { claim, workload, policy, namespace, namespace_uid, .. } = &*seen.provenance;
    let volume = &seen.volume.view;
    let since = volume
        .phase_since
        .filter(|_| volume.phase == VolumePhase::Released)
        .map_or_else(String::new, |since| format!(", released {since}"));
    let another = match **namespace_uid == *seen.namespace.uid {
        true => String::new(),
        false => format!(
            "\nThat namespace is gone. The current namespace {namespace} was created later (uid {}, earlier {namespace_uid}), perhaps by somebody else, \
             who would get the data.",
            seen.namespace.uid
        ),
    };
    format!(
        "Volume {} ({}{since}) holds the data of claim {claim} in namespace {namespace}, used by {workload} under policy {policy}.{another}",
        volume.name,
        size(volume.capacity)
    )
}

/// What is done to a claim that has another volume, and to its pods.
pub fn plan(seen: &Seen, claim: &Claim, pods: &[String]) -> String {
    let mut lines = match claim.volume.as_deref().filter(|younger| *younger != seen.name()) {
        Some(younger) => vec![
            format!(
                "{} has volume {younger} now. To give it {} again:",
                seen.claim_place(),
                seen.name()
            ),
            format!(
                "- volume {younger} is kept, reclaim policy Retain; what was written to it since is not on {}",
                seen.name()
            ),
        ],
        None => vec![format!(
            "{} waits for a volume. To give it volume {}:",
            seen.claim_place(),
            seen.name()
        )],
    };
    lines.push(format!(
        "- claim {} is deleted, and created again with its labels and annotations for volume {}",
        claim.name,
        seen.name()
    ));
    if let Some(why) = misfit(claim, &seen.volume.view) {
        lines.push(format!("- the volume {why}: the new claim asks for what the volume has"));
    }
    match pods {
        [] => lines.push("- no running pod uses it now".to_owned()),
        pods => lines.push(format!(
            "- these pods are terminated and start again: {}. No gate is asked. To terminate them at a time of your choice, scale their workloads to 0 first",
            pods.join(", ")
        )),
    }
    lines.join("\n")
}

/// Why nothing is done to a pod that would not come back.
pub fn bare(pod: &str, claim: &str) -> String {
    format!(
        "pod {pod} uses claim {claim} and belongs to no controller, so it would not start again: delete it yourself, and repeat the command"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::volumes::readopt::stage::tests::{seen, tied};

    #[test]
    fn a_namespace_that_was_created_again_is_reported() {
        let text = whose(&seen(tied(), json!({}), None));
        assert!(
            text.contains("claim data in namespace shop, used by Deployment/web under policy p"),
            "{text}"
        );
        assert!(text.contains("created later (uid n2, earlier n)"), "{text}");
    }

    #[test]
    fn the_plan_names_the_volumes_and_the_pods() {
        let claim = json!({"metadata": {"uid": "c"}, "spec": {"volumeName": "pv-b", "resources": {"requests": {"storage": "2Gi"}}}, "status": {"phase": "Bound"}});
        let seen = seen(tied(), json!({}), Some(claim));
        let text =
            plan(&seen, &seen.claim.as_ref().unwrap().1, &["web-1 (Deployment/web)".to_owned()]);
        for part in [
            "volume pv-b is kept",
            "created again",
            "for volume pv-a",
            "less than",
            "web-1 (Deployment/web)",
            "No gate is asked",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}

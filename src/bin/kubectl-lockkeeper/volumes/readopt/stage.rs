//! What is there, and how far the way back is.

use std::sync::Arc;

use lockkeeper::{
    api::marks,
    core::{
        observed::storage::{Claim, NamespaceObject},
        volumes::{find_again::misfit, protection::RETAIN},
    },
    marks::{Provenance, SavedClaim},
};
use serde_json::Value;

use crate::{
    cluster::{Cluster, Failure},
    volumes::{
        claim,
        objects::Place,
        seen::{View, claim_view, namespace_view, volume_view},
    },
};

/// What is there.
pub struct Seen {
    /// The volume that is to be given back.
    pub volume: View,
    /// Whose data it holds.
    pub provenance: Arc<Provenance>,
    /// The namespace of that claim, as it is today.
    pub namespace: NamespaceObject,
    /// The claim that has the name today: as it is, and what we read of it.
    pub claim: Option<(Value, Claim)>,
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Stage {
    /// The claim has the volume.
    Done,
    /// The claim has it, and is being deleted.
    GoingWithIt,
    /// The claim has another volume, or asks for what this one has not.
    Replaced,
    /// A claim that has another volume is being deleted.
    Going,
    /// It is gone, and is to be created again.
    Gone,
    /// A claim waits for a volume.
    Waiting,
    /// A claim waits for a certain other volume.
    WaitsForAnother(String),
    /// There is no claim.
    NoClaim,
}

impl Seen {
    /// Reads it, or says why nothing can be given back. `named` is the namespace that the user
    /// named.
    pub async fn read(cluster: &Cluster, named: Option<&str>, name: &str) -> Result<Self, Failure> {
        let name = name.strip_prefix("pv/").unwrap_or(name);
        let look = "kubectl lockkeeper volumes -A lists what is kept";
        let raw = Place::volume(name).get(cluster).await?;
        let volume = volume_view(
            raw.ok_or_else(|| Failure::No(format!("there is no volume {name}; {look}")))?,
        )?;
        let Some(provenance) = volume.view.provenance().cloned() else {
            return Err(Failure::No(match volume.view.retained {
                true => format!(
                    "volume {name} does not say whose data it holds (annotation {})",
                    marks::PROVENANCE
                ),
                false => format!(
                    "volume {name} is not kept by Lockkeeper, so it has nothing to give back; {look}"
                ),
            }));
        };
        let of = &provenance.namespace;
        if let Some(named) = named.filter(|named| named != of) {
            return Err(Failure::No(format!(
                "volume {name} holds data of claim {} in namespace {of}, and is given back there only, not in {named}",
                provenance.claim
            )));
        }
        let namespace =
            Place::namespace(of).get(cluster).await?.map(|raw| namespace_view(&raw)).transpose()?;
        let namespace = namespace.ok_or_else(|| {
            Failure::No(format!(
                "namespace {of} is gone. Create it first, with the rights and quotas that it had: kubectl create namespace {of}; then repeat"
            ))
        })?;
        if namespace.deleting {
            return Err(Failure::No(format!(
                "namespace {of} is being deleted; wait until it is gone, create it again, and repeat the command"
            )));
        }
        let raw = Place::claim(of, &provenance.claim).get(cluster).await?;
        let claim = raw.map(|raw| claim_view(&raw).map(|view| (raw, view))).transpose()?;
        Ok(Self { volume, provenance, namespace, claim })
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        let volume = &self.volume.view;
        match self.claim.as_ref().map(|(_, claim)| claim) {
            Some(claim) if volume.is_of(&self.provenance.namespace, claim) => {
                match (claim.deleting, claim.bound) {
                    (true, _) => Stage::GoingWithIt,
                    (false, true) => Stage::Done,
                    (false, false) => Stage::Waiting,
                }
            }
            Some(claim) if claim.deleting => Stage::Going,
            Some(claim) if claim.bound || claim.lost => Stage::Replaced,
            Some(claim) => match &claim.volume {
                Some(other) if *other != volume.name => Stage::WaitsForAnother(other.clone()),
                // It has nothing to lose, and would wait indefinitely.
                _ if misfit(claim, volume).is_some() => Stage::Replaced,
                _ => Stage::Waiting,
            },
            None if self.saved().is_some() => Stage::Gone,
            None => Stage::NoClaim,
        }
    }

    /// What is to be kept on the volume while this claim, as it is and as we read it, is created
    /// again.
    pub fn to_save(&self, raw: &Value, claim: &Claim) -> SavedClaim {
        SavedClaim {
            of: self.provenance.claim_uid.clone(),
            replaces: claim.uid.to_string(),
            // A Lost claim may name this very volume.
            younger: claim.volume.clone().filter(|younger| *younger != self.volume.view.name),
            claim: claim::again(raw, claim, &self.volume),
        }
    }

    /// What is on the volume of a claim to be created again, unless it is of another life.
    pub fn saved(&self) -> Option<&SavedClaim> {
        let saved = self.volume.view.marks.readopt_claim.get()?;
        (saved.of == self.provenance.claim_uid).then_some(&**saved)
    }

    /// Whether any claim of the name may have it.
    pub fn is_free(&self) -> bool {
        self.volume.view.claim.as_ref().is_some_and(|claim| claim.uid.is_none())
    }

    /// Whether it is asked for, and nothing can happen to the data in the meantime.
    pub fn is_asked_for(&self) -> bool {
        self.volume.view.marks.readopt.as_deref().is_some_and(|uid| *uid == *self.namespace.uid)
            && self.volume.view.reclaim_policy == RETAIN
    }

    /// The volume's name.
    pub fn name(&self) -> &str {
        &self.volume.view.name
    }

    /// Where the claim is, or will be.
    pub fn claim_place(&self) -> Place {
        Place::claim(&self.namespace.name, &self.provenance.claim)
    }
}

#[cfg(test)]
pub mod tests {
    use lockkeeper::marks::Text;
    use serde_json::json;

    use super::*;

    fn provenance() -> Arc<Provenance> {
        let text = json!({
            "namespace": "shop", "namespaceUid": "n", "claim": "data", "claimUid": "old", "volume": "pv-a", "workload": "Deployment/web", "policy": "p",
            "orphanedAfter": "10m", "readopt": "SameNamespace"
        });
        Text::parse(&text.to_string()).unwrap()
    }

    pub fn seen(claim_ref: Value, annotations: Value, claim: Option<Value>) -> Seen {
        let provenance = provenance();
        let mut noted = json!({marks::PROVENANCE: provenance.to_string()});
        noted.as_object_mut().unwrap().extend(annotations.as_object().unwrap().clone());
        let volume = json!({
            "metadata": {"name": "pv-a", "uid": "v", "labels": {marks::RETAINED: "true"}, "annotations": noted},
            "spec": {"claimRef": claim_ref, "persistentVolumeReclaimPolicy": "Retain", "capacity": {"storage": "1Gi"}}, "status": {"phase": "Released"}
        });
        let claim = claim.map(|mut raw| {
            raw["metadata"]["name"] = json!("data");
            let view = claim_view(&raw).unwrap();
            (raw, view)
        });
        let namespace =
            namespace_view(&json!({"metadata": {"name": "shop", "uid": "n2"}})).unwrap();
        Seen { volume: volume_view(volume).unwrap(), provenance, namespace, claim }
    }

    pub fn tied() -> Value {
        json!({"namespace": "shop", "name": "data", "uid": "old"})
    }

    #[test]
    fn each_step_follows_from_what_is_there() {
        let saved = |of: &str| json!({marks::READOPT_CLAIM: json!(SavedClaim { of: of.into(), replaces: "c".into(), younger: None, claim: json!({}) }).to_string()});
        let claim = |spec: Value, phase: &str| {
            Some(json!({"metadata": {"uid": "c"}, "spec": spec, "status": {"phase": phase}}))
        };
        let going = || {
            Some(
                json!({"metadata": {"uid": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"volumeName": "pv-b"}, "status": {"phase": "Bound"}}),
            )
        };
        let (to_it, to_other) = (json!({"volumeName": "pv-a"}), json!({"volumeName": "pv-b"}));
        let ours = || json!({"namespace": "shop", "name": "data", "uid": "c"});
        for (claim_ref, annotations, claim, expected) in [
            (tied(), json!({}), None, Stage::NoClaim),
            (tied(), saved("old"), None, Stage::Gone),
            // Of an earlier time: the volume had another claim since.
            (tied(), saved("older"), None, Stage::NoClaim),
            (tied(), json!({marks::READOPT_CLAIM: "garbage"}), None, Stage::NoClaim),
            (tied(), json!({}), claim(json!({}), "Pending"), Stage::Waiting),
            (tied(), json!({}), claim(to_it.clone(), "Pending"), Stage::Waiting),
            (
                tied(),
                json!({}),
                claim(json!({"resources": {"requests": {"storage": "2Gi"}}}), "Pending"),
                Stage::Replaced,
            ),
            (
                tied(),
                json!({}),
                claim(to_other.clone(), "Pending"),
                Stage::WaitsForAnother("pv-b".into()),
            ),
            (tied(), json!({}), claim(to_other.clone(), "Bound"), Stage::Replaced),
            (tied(), json!({}), claim(to_other, "Lost"), Stage::Replaced),
            (tied(), json!({}), going(), Stage::Going),
            (ours(), json!({}), claim(to_it.clone(), "Pending"), Stage::Waiting),
            (ours(), saved("old"), claim(to_it, "Bound"), Stage::Done),
            (ours(), json!({}), going(), Stage::GoingWithIt),
        ] {
            let seen = seen(claim_ref, annotations, claim);
            assert_eq!(seen.stage(), expected, "{:?}", seen.claim);
        }
    }
}

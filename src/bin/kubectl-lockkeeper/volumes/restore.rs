//! Creates a claim again from a snapshot. What is in its volume is kept in that volume. Each step
//! follows from what is there, so a run that was interrupted goes on by doing it again.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use lockkeeper::{
    core::volumes::protection::{RETAIN, gives_up},
    shell::{clock, views::storage::bytes},
};
use serde_json::{Value, json};

use super::{
    PAUSE, TIMED_OUT, aside, claim,
    objects::{Place, pods_on, released_of},
    readopt::with_permit,
    seen::{View, claim_view, volume_view},
    size,
};
use crate::{
    cluster::{Cluster, Failure},
    confirm::confirm,
};

/// How it is done.
pub struct Manner {
    /// The snapshot.
    pub from: String,
    /// Also if the claim was created from it before.
    pub again: bool,
    /// Do not ask.
    pub yes: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// Does it.
pub async fn run(cluster: &Cluster, name: &str, manner: &Manner) -> Result<ExitCode, Failure> {
    let until = clock::moment() + manner.timeout;
    let restore = Restore { cluster, manner, place: Place::claim(&cluster.namespace, name), until };
    let snapshot = restore.usable().await?;
    let there = restore.place.get(cluster).await?;
    if let Some(made) = there.as_ref().filter(|claim| restore.is_made_of(claim) && !manner.again) {
        let at = text(&made["metadata"]["creationTimestamp"]);
        println!(
            "{} was created from VolumeSnapshot {} at {at}. To do that once more, add --again",
            restore.place, manner.from
        );
        return Ok(ExitCode::SUCCESS);
    }
    restore.nobody_uses_it(there.as_ref()).await?;
    let (old, manifest) = match &there {
        Some(claim) => restore.of_claim(claim, &snapshot).await?,
        None => restore.of_volume(&snapshot).await?,
    };
    restore.try_out(there.as_ref(), &manifest).await?;
    let taken = text(&snapshot["status"]["creationTime"]);
    let what = format!(
        "{} would be created again from VolumeSnapshot {}, which was taken at {taken}. What was written since is then not in the claim; volume {} keeps it",
        restore.place, manner.from, old.view.name
    );
    confirm(name, &restore.place.to_string(), &what, manner.yes)?;
    if let Some(claim) = &there {
        restore.nobody_uses_it(there.as_ref()).await?;
        restore.keep(&old).await?;
        if !restore.delete(claim).await? {
            return Ok(restore.late("the claim is being deleted"));
        }
    }
    // Those of earlier claims of the name, too: any of them could become the volume of the new one.
    let chosen = format!("VolumeSnapshot {}", manner.from);
    let mut earlier = vec![old.view.name.clone()];
    earlier.extend(restore.released().await?.into_iter().map(|one| one.view.name));
    for volume in earlier {
        if !aside::put(cluster, &volume, &chosen, until).await? {
            return Ok(restore.late(&format!("volume {volume} is not released yet")));
        }
    }
    restore.create(manifest, &old).await
}

struct Restore<'a> {
    cluster: &'a Cluster,
    manner: &'a Manner,
    place: Place,
    until: Instant,
}

impl Restore<'_> {
    /// The snapshot, if a claim can be created from it.
    async fn usable(&self) -> Result<Value, Failure> {
        let place = Place::snapshot(&self.cluster.namespace, &self.manner.from);
        let Some(snapshot) = place.get(self.cluster).await? else {
            return Err(Failure::No(format!(
                "there is no {place}; kubectl get volumesnapshots -n {} lists those that are there",
                self.cluster.namespace
            )));
        };
        if let Some(of) = snapshot["spec"]["source"]["persistentVolumeClaimName"].as_str()
            && of != self.place.name
        {
            return Err(Failure::No(format!(
                "{place} is of claim {of}, not of {}",
                self.place.name
            )));
        }
        if !snapshot["metadata"]["deletionTimestamp"].is_null() {
            return Err(Failure::No(format!("{place} is being deleted. Nothing was changed")));
        }
        if snapshot["status"]["readyToUse"] != true {
            let why = snapshot["status"]["error"]["message"].as_str();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            return Err(Failure::No(format!(
                "{place} is not ready to use{why}. Nothing was changed; kubectl describe volumesnapshot -n {} {}",
                self.cluster.namespace, self.manner.from
            )));
        }
        Ok(snapshot)
    }

    fn is_made_of(&self, claim: &Value) -> bool {
        let source = &claim["spec"]["dataSource"];
        claim["metadata"]["deletionTimestamp"].is_null()
            && source["kind"] == "VolumeSnapshot"
            && source["name"] == self.manner.from
    }

    async fn nobody_uses_it(&self, claim: Option<&Value>) -> Result<(), Failure> {
        let pods = pods_on(self.cluster, &self.cluster.namespace, &self.place.name).await?;
        let Some(pod) = pods.first() else { return Ok(()) };
        let going = claim.is_some_and(|claim| !claim["metadata"]["deletionTimestamp"].is_null());
        let stands = match going {
            true => "The claim is being deleted, and disappears with the pods",
            false => "The claim is as it was",
        };
        Err(Failure::No(format!(
            "pod {} uses {}. {stands}. Stop its workload first, as with kubectl lockkeeper maintenance start -n {} statefulset/NAME --stop, \
             and repeat the command when its pods are gone",
            text(&pod["metadata"]["name"]),
            self.place,
            self.cluster.namespace
        )))
    }

    /// Whether the API server would delete the claim, and create the new one: under another name,
    /// because the claim is still there.
    async fn try_out(&self, claim: Option<&Value>, manifest: &Value) -> Result<(), Failure> {
        if let Some(claim) = claim {
            let (what, uid) = (format!("delete {}", self.place), text(&claim["metadata"]["uid"]));
            let tried = self.place.delete(self.cluster, &what, &uid, true).await;
            tried.map_err(|error| with_permit(error, &self.place))?;
        }
        let mut other = manifest.clone();
        let name = format!("{}-restored", self.place.name.get(..240).unwrap_or(&self.place.name));
        other["metadata"]["name"] = json!(name);
        let what = format!("create {} from the snapshot", self.place);
        let place = Place::claim(&self.cluster.namespace, &name);
        place.create(self.cluster, &what, other, true).await.map(drop)
    }

    /// The volume of the claim, and the claim as it is created again.
    async fn of_claim(&self, raw: &Value, snapshot: &Value) -> Result<(View, Value), Failure> {
        let view = claim_view(raw)?;
        let Some(volume) = &view.volume else {
            return Err(Failure::No(format!(
                "{} has no volume. Delete the claim, and repeat the command",
                self.place
            )));
        };
        let Some(old) = Place::volume(volume).get(self.cluster).await? else {
            return Err(Failure::No(format!(
                "{} has lost its volume {volume}. Delete the claim, and create it with the snapshot as its spec.dataSource",
                self.place
            )));
        };
        let old = volume_view(old)?;
        if gives_up(&view) && old.view.retained {
            return Err(Failure::No(format!(
                "the protection of {} is being given up, so its volume could be deleted with it. Repeat the command when kubectl lockkeeper volumes no longer lists it",
                self.place
            )));
        }
        let manifest = from_snapshot(claim::again(raw, &view, &old), &old, snapshot);
        Ok((old, manifest))
    }

    /// An interrupted run has deleted the claim: the volume that it had, and a claim like it.
    async fn of_volume(&self, snapshot: &Value) -> Result<(View, Value), Failure> {
        let namespace = &self.cluster.namespace;
        let Some(old) = self.released().await?.pop() else {
            return Err(Failure::No(format!(
                "there is no {}, and no volume that was bound to it. Create the claim with the snapshot as its spec.dataSource",
                self.place
            )));
        };
        let manifest = claim::for_volume(namespace, &self.place.name, &old);
        let manifest = from_snapshot(manifest, &old, snapshot);
        Ok((old, manifest))
    }

    /// The volumes that claims of this name had in this namespace, the last one at the end. Those of an
    /// earlier namespace go to no claim by themselves.
    async fn released(&self) -> Result<Vec<View>, Failure> {
        let namespace = &self.cluster.namespace;
        let object = Place::namespace(namespace).get(self.cluster).await?.unwrap_or_default();
        let mut all = released_of(self.cluster, namespace, &self.place.name).await?;
        all.sort_by_key(|volume| text(&volume["status"]["lastPhaseTransitionTime"]));
        let all: Result<Vec<View>, Failure> = all.into_iter().map(volume_view).collect();
        let mut all = all?;
        all.retain(|one| {
            let of = one.view.provenance();
            of.is_none_or(|of| of.namespace_uid == text(&object["metadata"]["uid"]))
        });
        Ok(all)
    }

    /// Sees that the volume survives its claim.
    async fn keep(&self, old: &View) -> Result<(), Failure> {
        let volume = &old.view;
        if volume.reclaim_policy == RETAIN {
            return Ok(());
        }
        let place = Place::volume(&volume.name);
        let patch = json!({
            "metadata": {"uid": &*volume.uid, "resourceVersion": volume.resource_version.to_string()},
            "spec": {"persistentVolumeReclaimPolicy": RETAIN}
        });
        let kept = place.merge(self.cluster, &format!("keep {place}"), &patch, false).await?;
        kept.map(drop).ok_or_else(|| {
            Failure::No(format!(
                "{place} was changed in the meantime. Nothing is lost; repeat the command"
            ))
        })
    }

    /// Deletes the claim; whether it is gone in time.
    async fn delete(&self, claim: &Value) -> Result<bool, Failure> {
        let (what, uid) = (format!("delete {}", self.place), text(&claim["metadata"]["uid"]));
        let deleted = self.place.delete(self.cluster, &what, &uid, false).await;
        deleted.map_err(|error| with_permit(error, &self.place))?;
        while clock::moment() < self.until {
            match self.place.get(self.cluster).await? {
                Some(claim) if claim["metadata"]["uid"] == uid => tokio::time::sleep(PAUSE).await,
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn create(&self, manifest: Value, old: &View) -> Result<ExitCode, Failure> {
        let wanted = size(bytes(&manifest["spec"]["resources"]["requests"]["storage"]));
        let made = self
            .place
            .create(self.cluster, &format!("create {}", self.place), manifest, false)
            .await?;
        let there = match made {
            Some(made) => Some(made),
            None => self.place.get(self.cluster).await?,
        };
        if there.is_none() {
            return Err(Failure::No(format!(
                "{} could not be created, because of a conflict. Nothing is lost; repeat the command",
                self.place
            )));
        }
        if !there.as_ref().is_some_and(|claim| self.is_made_of(claim)) {
            return Err(Failure::No(format!(
                "{} was created by somebody else in the meantime, and not from the snapshot. Its workload must not run: stop it, and repeat the command",
                self.place
            )));
        }
        self.place.disown(self.cluster).await?;
        let (place, name) = (&self.place, &old.view.name);
        println!("{place} ({wanted}) was created from VolumeSnapshot {}.", self.manner.from);
        println!("Volume {name} is kept, with what was in the claim until now.");
        println!(
            "Start the workload again, as with kubectl lockkeeper maintenance end -n {} statefulset/NAME",
            self.cluster.namespace
        );
        Ok(ExitCode::SUCCESS)
    }

    fn late(&self, what: &str) -> ExitCode {
        eprintln!(
            "Not done within {}s: {what}. Nothing is lost; repeat the command to continue",
            self.manner.timeout.as_secs()
        );
        ExitCode::from(TIMED_OUT)
    }
}

/// A claim gets its data from the snapshot, and is at least as large as that.
fn from_snapshot(mut claim: Value, old: &View, snapshot: &Value) -> Value {
    let restore_size = &snapshot["status"]["restoreSize"];
    let spec = &mut claim["spec"];
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("volumeName");
        spec.remove("dataSourceRef");
    }
    spec["dataSource"] = json!({
        "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot["metadata"]["name"],
    });
    let requests = &mut spec["resources"]["requests"];
    let needed = match restore_size.is_null() {
        true => &old.raw["spec"]["capacity"]["storage"],
        false => restore_size,
    };
    if bytes(&requests["storage"]) < bytes(needed) {
        requests["storage"] = needed.clone();
    }
    claim
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> View {
        let spec = json!({"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast"});
        volume_view(json!({"metadata": {"name": "pv-old", "uid": "1"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_claim_from_a_snapshot_is_large_enough_and_names_no_volume() {
        for (restore_size, expected) in
            [(json!("3Gi"), "3Gi"), (json!("512Mi"), "1Gi"), (Value::Null, "2Gi")]
        {
            let claim = json!({"spec": {"volumeName": "pv-old", "storageClassName": "fast", "dataSourceRef": {"kind": "other"},
                "resources": {"requests": {"storage": "1Gi"}}}});
            let snapshot =
                json!({"metadata": {"name": "pre-7"}, "status": {"restoreSize": restore_size}});
            let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "pre-7"});
            let made = from_snapshot(claim, &volume(), &snapshot);
            let spec = json!({"storageClassName": "fast", "resources": {"requests": {"storage": expected}}, "dataSource": source});
            assert_eq!(made, json!({"spec": spec}));
        }
    }
}

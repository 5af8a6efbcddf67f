//! Gives a volume with earlier data back to the claim of its name. Each step follows from what is
//! there, so a run that was interrupted goes on by doing it again.

mod stage;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::{Duration, Instant},
};

use lockkeeper::{
    api::marks,
    core::{
        observed::storage::{Claim, VolumePhase},
        volumes::protection::{RETAIN, gives_up},
    },
    marks::{MarkSet, Provenance, SavedClaim, StorageMarks},
    shell::clock,
};
use serde_json::{Value, json};

use self::{
    stage::{Seen, Stage},
    words::{bare, plan, whose},
};
use super::{
    PAUSE, TIMED_OUT, aside, claim,
    objects::{Place, pods_on},
    seen::volume_view,
};
use crate::{
    cluster::{Cluster, Failure},
    confirm::confirm,
};

/// While a claim is on its way, its pods may not stand still for an operator that is down: after
/// this the plugin frees the volume itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// The younger volume is put aside within this time, or stays as it is.
const ASIDE: Duration = Duration::from_secs(10);

/// How it is done.
pub struct Manner {
    /// Where there is no claim, create one.
    pub create_claim: bool,
    /// Do not ask.
    pub yes: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// Does it, step by step. `named` is the namespace that the user named.
pub async fn run(
    cluster: &Cluster,
    named: Option<&str>,
    volume: &str,
    manner: &Manner,
) -> Result<ExitCode, Failure> {
    let until = clock::moment() + manner.timeout;
    let mut way = Way {
        cluster,
        manner,
        agreed: false,
        replaced: None,
        ended: BTreeSet::new(),
        asked: None,
        told: String::new(),
    };
    loop {
        let seen = Seen::read(cluster, named, volume).await?;
        if let Some(code) = way.step(&seen).await? {
            return Ok(code);
        }
        if clock::moment() >= until {
            eprintln!(
                "Not done within {}s: {}. Nothing is lost; repeat the command to continue",
                manner.timeout.as_secs(),
                way.told
            );
            return Ok(ExitCode::from(TIMED_OUT));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What was done so far in this run.
struct Way<'a> {
    cluster: &'a Cluster,
    manner: &'a Manner,
    /// It is meant.
    agreed: bool,
    /// The uid of the claim whose deletion was asked for.
    replaced: Option<String>,
    /// The uids of the pods that were told to end.
    ended: BTreeSet<String>,
    /// Since when the operator is waited for.
    asked: Option<Instant>,
    /// What is waited for.
    told: String,
}

impl Way<'_> {
    /// Does the next step; the exit code, if it was the last one.
    async fn step(&mut self, seen: &Seen) -> Result<Option<ExitCode>, Failure> {
        let stage = seen.stage();
        if stage != Stage::Done && seen.volume.view.phase == VolumePhase::Bound && !seen.is_free() {
            // The binder is half-way, or its claim went a moment ago.
            self.say("the volume is bound, and its claim does not show it yet");
            return match stage {
                Stage::GoingWithIt => Err(Failure::No(format!(
                    "{} is being deleted, and has volume {}; wait until it is gone, and repeat",
                    seen.claim_place(),
                    seen.name()
                ))),
                _ => Ok(None),
            };
        }
        match stage {
            Stage::Done => return self.finish(seen).await.map(Some),
            Stage::GoingWithIt => self.say("its claim is being deleted"),
            Stage::WaitsForAnother(other) => {
                return Err(Failure::No(format!(
                    "{} asks for volume {other} by name, and no other is given to it. Delete the claim, or remove spec.volumeName from its manifest, \
                     and repeat the command",
                    seen.claim_place()
                )));
            }
            Stage::Replaced => self.replace(seen).await?,
            Stage::Going => self.see_it_go(seen).await?,
            Stage::Gone => self.create_again(seen).await?,
            Stage::Waiting => self.wait_for_the_binder(seen).await?,
            Stage::NoClaim => return self.leave_to_the_next_claim(seen).await,
        }
        Ok(None)
    }

    /// The claim has a younger volume: that is kept, and the claim goes.
    async fn replace(&mut self, seen: &Seen) -> Result<(), Failure> {
        let Some((raw, claim)) = &seen.claim else { return Ok(()) };
        let (place, name) = (seen.claim_place(), seen.name());
        let younger = claim.volume.as_deref().unwrap_or("(none)");
        if self.replaced.as_ref().is_some_and(|uid| **uid != *claim.uid) {
            return Err(Failure::No(format!(
                "{place} was created again by somebody else, and has volume {younger}, not {name}. Both volumes are kept. Scale down the workload that creates the claim, and repeat the command"
            )));
        }
        let what = format!("create {place} again for volume {name}");
        let gone = || {
            Failure::No(format!(
                "cannot {what}: it was deleted and created again. Nothing was changed; look again, and repeat the command"
            ))
        };
        // Deny says so before anything is touched.
        place
            .delete(self.cluster, &what, &claim.uid, true)
            .await
            .map_err(|error| with_permit(error, &place))?
            .ok_or_else(gone)?;
        self.agree_to_replace(seen).await?;
        if !self.keep_younger(seen, claim).await? {
            return Ok(());
        }
        if self.ask(seen, Some(&seen.to_save(raw, claim))).await? {
            place
                .delete(self.cluster, &what, &claim.uid, false)
                .await
                .map_err(|error| with_permit(error, &place))?;
            self.replaced = Some(claim.uid.to_string());
            self.say(&format!("claim {} is being deleted", claim.name));
        }
        Ok(())
    }

    /// Sees that the younger volume survives its claim; whether it does.
    async fn keep_younger(&self, seen: &Seen, claim: &Claim) -> Result<bool, Failure> {
        let Some(name) = claim.volume.as_deref() else { return Ok(true) };
        let place = Place::volume(name);
        let Some(volume) = place.get(self.cluster).await?.map(volume_view).transpose()? else {
            return Ok(true);
        };
        let volume = volume.view;
        // What a user gave up is not labelled again, or the operator would give it up again.
        let wanted = !gives_up(claim);
        if volume.reclaim_policy == RETAIN && (volume.retained || !wanted) {
            return Ok(true);
        }
        let mut patch = json!({
            "metadata": {"uid": &*volume.uid, "resourceVersion": volume.resource_version.to_string()},
            "spec": {"persistentVolumeReclaimPolicy": RETAIN}
        });
        if wanted && !volume.retained {
            let provenance = Provenance {
                namespace_uid: seen.namespace.uid.to_string(),
                claim_uid: claim.uid.to_string(),
                volume: name.to_owned(),
                ..Provenance::clone(&seen.provenance)
            };
            patch["metadata"]["labels"] = json!({marks::RETAINED: "true"});
            patch["metadata"]["annotations"] = json!({marks::PROVENANCE: provenance.to_string(), marks::ORIGINAL_RECLAIM_POLICY: volume.reclaim_policy});
        }
        // The next look says whether it is so.
        place.merge(self.cluster, &format!("keep {place}"), &patch, false).await?;
        Ok(false)
    }

    /// The claim is on its way out: the volume is freed, then the pods that keep the claim end.
    async fn see_it_go(&mut self, seen: &Seen) -> Result<(), Failure> {
        let Some((raw, claim)) = &seen.claim else { return Ok(()) };
        self.agree_to_replace(seen).await?;
        if seen.saved().is_none_or(|saved| saved.replaces != *claim.uid) || !seen.is_asked_for() {
            if self.keep_younger(seen, claim).await? {
                self.ask(seen, Some(&seen.to_save(raw, claim))).await?;
            }
            return Ok(());
        }
        self.replaced = Some(claim.uid.to_string());
        // First free the volume, then end the pods: a claim that is created as soon as the old one
        // is gone gets this volume.
        if !self.free(seen, true).await? {
            return Ok(());
        }
        for pod in pods_on(self.cluster, &seen.namespace.name, &claim.name).await? {
            let (name, uid) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]));
            // What no node was given keeps no claim, and starts with the new one.
            if pod["spec"]["nodeName"].is_null()
                || !pod["metadata"]["deletionTimestamp"].is_null()
                || !self.ended.insert(uid.clone())
            {
                continue;
            }
            if controller(&pod).is_none() {
                return Err(Failure::No(bare(&name, &claim.name)));
            }
            let place = Place::pod(&seen.namespace.name, &name);
            place.delete(self.cluster, &format!("end {place}"), &uid, false).await?;
            println!("Pod {name} is being terminated.");
        }
        self.say(&format!(
            "claim {} is being deleted, and disappears when its pods terminate",
            claim.name
        ));
        Ok(())
    }

    /// The claim is gone; it is created again.
    async fn create_again(&mut self, seen: &Seen) -> Result<(), Failure> {
        let Some(saved) = seen.saved() else { return Ok(()) };
        let place = seen.claim_place();
        self.agree(
            seen,
            &format!(
                "{place} was already deleted for this. It would be created again with volume {}",
                seen.name()
            ),
        )?;
        if !seen.is_asked_for() {
            return self.ask(seen, None).await.map(drop);
        }
        if self.free(seen, true).await? {
            self.create(&place, saved.claim.clone()).await?;
        }
        Ok(())
    }

    async fn create(&mut self, place: &Place, claim: Value) -> Result<(), Failure> {
        // If another client was faster, the next look shows what it made.
        place.create(self.cluster, &format!("create {place}"), claim, false).await?;
        self.say(&format!("{place} waits for its volume"));
        Ok(())
    }

    /// There is a claim without a volume.
    async fn wait_for_the_binder(&mut self, seen: &Seen) -> Result<(), Failure> {
        self.agree(seen, &format!("{} waits for a volume, and would get it", seen.claim_place()))?;
        if !seen.is_asked_for() {
            return self.ask(seen, None).await.map(drop);
        }
        let ours = seen.saved().is_some();
        if !self.free(seen, ours).await? {
            return Ok(());
        }
        self.say(&format!("the volume is free, and {} is not bound to it yet", seen.claim_place()));
        Ok(())
    }

    /// There is no claim: the next one gets it.
    async fn leave_to_the_next_claim(&mut self, seen: &Seen) -> Result<Option<ExitCode>, Failure> {
        let (place, name) = (seen.claim_place(), seen.name());
        let then = if self.manner.create_claim {
            "would be created, and get it"
        } else {
            "would get it, no matter who creates it"
        };
        self.agree(
            seen,
            &format!("{} {place} {then}", if self.manner.create_claim { "A" } else { "The next" }),
        )?;
        if !seen.is_asked_for() {
            self.ask(seen, None).await?;
            return Ok(None);
        }
        if !self.free(seen, false).await? {
            return Ok(None);
        }
        if self.manner.create_claim {
            self.create(
                &place,
                claim::for_volume(&seen.namespace.name, &seen.provenance.claim, &seen.volume),
            )
            .await?;
            return Ok(None);
        }
        println!("Volume {name} waits for the next {place}.");
        println!(
            "Install the chart again, or create the workload. If nothing creates such a claim: kubectl lockkeeper volumes readopt {name} --create-claim"
        );
        Ok(Some(ExitCode::SUCCESS))
    }

    /// The claim has the volume.
    async fn finish(&mut self, seen: &Seen) -> Result<ExitCode, Failure> {
        let (place, name) = (seen.claim_place(), seen.name());
        // The operator may have noted the new claim by now, which makes a manifest that was kept
        // history.
        let ours = &seen.volume.view.marks;
        let saved = ours.readopt_claim.get();
        if let Some(younger) = saved.and_then(|saved| saved.younger.as_deref()) {
            let until = clock::moment() + ASIDE;
            aside::put(self.cluster, younger, &format!("volume {name}"), until).await?;
        }
        if saved.is_some() || ours.readopt.is_some() {
            let patch = json!({"metadata": {
                "uid": &*seen.volume.view.uid, "annotations": {marks::READOPT: null, marks::READOPT_CLAIM: null},
            }});
            Place::volume(name)
                .merge(self.cluster, &format!("tidy up volume {name}"), &patch, false)
                .await?;
        }
        place.disown(self.cluster).await?;
        println!("{place} has volume {name} again, with its earlier data.");
        if let Some(younger) = saved.and_then(|saved| saved.younger.as_deref()) {
            println!(
                "Volume {younger} is kept too, with what was written to it since. If that data is not wanted: kubectl lockkeeper volumes unprotect pv/{younger}"
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Notes on the volume that it is wanted, and the claim to be made for it; whether it was still
    /// what was seen.
    async fn ask(&mut self, seen: &Seen, saved: Option<&SavedClaim>) -> Result<bool, Failure> {
        let volume = &seen.volume.view;
        let wanted = StorageMarks {
            readopt: Some((&*seen.namespace.uid).into()),
            readopt_claim: saved.cloned().map(Box::new).into(),
            ..StorageMarks::default()
        };
        let patch = json!({
            "metadata": {"uid": &*volume.uid, "resourceVersion": volume.resource_version.to_string(),
                "annotations": wanted.write().into_iter().collect::<BTreeMap<_, _>>()},
            "spec": {"persistentVolumeReclaimPolicy": RETAIN}
        });
        let place = Place::volume(&volume.name);
        Ok(place.merge(self.cluster, &format!("give {place} back"), &patch, false).await?.is_some())
    }

    /// Whether the volume may go to the next claim of its name. The operator sees to that; where
    /// pods stand still for it, the plugin does after a while.
    async fn free(&mut self, seen: &Seen, by_itself: bool) -> Result<bool, Failure> {
        if seen.is_free() || seen.volume.view.phase == VolumePhase::Bound {
            return Ok(true);
        }
        let since = *self.asked.get_or_insert_with(clock::moment);
        self.say("the operator has not freed the volume for it yet (is it running? kubectl get pods -n lockkeeper-system)");
        let Some(of) = seen
            .volume
            .view
            .claim
            .as_ref()
            .filter(|_| by_itself && clock::moment() >= since + PATIENCE)
        else {
            return Ok(false);
        };
        let of_gone_claim = of.uid.as_ref() == Some(&seen.provenance.claim_uid);
        if of.namespace != seen.provenance.namespace
            || of.name != seen.provenance.claim
            || !of_gone_claim
        {
            return Err(Failure::No(format!(
                "volume {} is reserved for another claim {} in namespace {}, by spec.claimRef. If that is wrong, remove spec.claimRef and repeat the command",
                seen.name(),
                of.name,
                of.namespace
            )));
        }
        let volume = &seen.volume.view;
        let patch = json!({
            "metadata": {"uid": &*volume.uid, "resourceVersion": volume.resource_version.to_string()},
            "spec": {"claimRef": {"uid": null, "resourceVersion": null}}
        });
        let place = Place::volume(&volume.name);
        place.merge(self.cluster, &format!("free {place}"), &patch, false).await?;
        Ok(false)
    }

    /// Says what it means, and asks, once.
    fn agree(&mut self, seen: &Seen, what: &str) -> Result<(), Failure> {
        if self.agreed {
            return Ok(());
        }
        println!("{}", whose(seen));
        if self.manner.yes {
            println!("{what}.");
        }
        confirm(seen.name(), &format!("volume {}", seen.name()), what, self.manner.yes)?;
        self.agreed = true;
        Ok(())
    }

    async fn agree_to_replace(&mut self, seen: &Seen) -> Result<(), Failure> {
        let Some((_, claim)) = seen.claim.as_ref().filter(|_| !self.agreed) else { return Ok(()) };
        let pods = pods_on(self.cluster, &seen.namespace.name, &claim.name).await?;
        let mut ending = Vec::new();
        for pod in &pods {
            let name = text(&pod["metadata"]["name"]);
            if pod["spec"]["nodeName"].is_null() {
                continue;
            }
            match self.workload(&seen.namespace.name, pod).await? {
                Some(workload) => ending.push(format!("{name} ({workload})")),
                None => return Err(Failure::No(bare(&name, &claim.name))),
            }
        }
        let plan = plan(seen, claim, &ending);
        self.agree(seen, &plan)
    }

    /// What a pod belongs to, and would come back by.
    async fn workload(&self, namespace: &str, pod: &Value) -> Result<Option<String>, Failure> {
        let Some((kind, name)) = controller(pod) else { return Ok(None) };
        if kind == "ReplicaSet"
            && let Some(set) = Place::replica_set(namespace, &name).get(self.cluster).await?
            && let Some((kind, name)) = controller(&set)
        {
            return Ok(Some(format!("{kind}/{name}")));
        }
        Ok(Some(format!("{kind}/{name}")))
    }

    fn say(&mut self, what: &str) {
        if self.told != what {
            what.clone_into(&mut self.told);
            eprintln!("{what}");
        }
    }
}

/// Adds to a refusal of deletion what to do then.
pub fn with_permit(error: Failure, place: &Place) -> Failure {
    match error {
        Failure::Api { what, why } if why.contains(marks::ALLOW_DELETION_UNTIL) => Failure::Api {
            what,
            why: format!("{why}. Nothing was changed; with that permit on {place}, repeat it"),
        },
        error => error,
    }
}

fn controller(object: &Value) -> Option<(String, String)> {
    let mut owners = object["metadata"]["ownerReferences"].as_array()?.iter();
    let owner = owners.find(|owner| owner["controller"] == true)?;
    Some((text(&owner["kind"]), text(&owner["name"])))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

//! Gives a volume with the data of before back to the claim of its name. Each step follows from what is there, so whoever was interrupted goes on
//! by doing it again.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    time::{Duration, Instant},
};

use lockkeeper::{
    api::{Readopt, marks},
    core::{
        storage::{Claim, NamespaceObject, Volume, VolumePhase},
        volumes::{leftover::misfit, protection::gives_up, provenance::Provenance},
    },
    shell::clock,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    PAUSE, TIMED_OUT, claim,
    objects::{Place, pods_on},
    seen::{View, claim_view, namespace_view, volume_view},
    size,
};
use crate::{
    cluster::{Cluster, Failure},
    confirm::confirm,
};

const RETAIN: &str = "Retain";
/// While a claim is on its way, its pods may not stand still for an operator that is down: after this the plugin frees the volume itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How it is done.
pub struct Manner {
    /// Where there is no claim, make one.
    pub create_claim: bool,
    /// Do not ask.
    pub yes: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// What is kept on the volume while its claim is made anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    /// The uid of the claim whose data the volume holds: once it is another one, this is history.
    of: String,
    /// The uid of the claim that goes.
    replaces: String,
    /// The volume which that one has.
    #[serde(default)]
    younger: Option<String>,
    /// The claim to be made.
    claim: Value,
}

/// What is there.
struct Seen {
    volume: View,
    provenance: Provenance,
    namespace: NamespaceObject,
    claim: Option<(Value, Claim)>,
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The claim has the volume.
    Done,
    /// The claim has it, and is being deleted.
    GoingWithIt,
    /// The claim has another volume, or asks for what this one has not.
    Replaced,
    /// A claim that has another volume is being deleted.
    Going,
    /// It is gone, and is to be made anew.
    Gone,
    /// A claim waits for a volume.
    Waiting,
    /// A claim waits for a certain other volume.
    WaitsForAnother(String),
    /// There is no claim.
    NoClaim,
}

/// Does it, step by step. `named` is the namespace that the user named.
pub async fn run(cluster: &Cluster, named: Option<&str>, volume: &str, manner: &Manner) -> Result<ExitCode, Failure> {
    let until = clock::moment() + manner.timeout;
    let mut way = Way { cluster, manner, agreed: false, replaced: None, ended: BTreeSet::new(), asked: None, told: String::new() };
    loop {
        let seen = Seen::read(cluster, named, volume).await?;
        if let Some(code) = way.step(&seen).await? {
            return Ok(code);
        }
        if clock::moment() >= until {
            eprintln!("Not done within {}s: {}. Nothing is lost; repeat the command to go on", manner.timeout.as_secs(), way.told);
            return Ok(ExitCode::from(TIMED_OUT));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Seen {
    async fn read(cluster: &Cluster, named: Option<&str>, name: &str) -> Result<Self, Failure> {
        let name = name.strip_prefix("pv/").unwrap_or(name);
        let look = "kubectl lockkeeper volumes -A lists what is kept";
        let raw = Place::volume(name).get(cluster).await?;
        let volume = volume_view(raw.ok_or_else(|| Failure::No(format!("there is no volume {name}; {look}")))?)?;
        let Some(provenance) = volume.view.provenance() else {
            return Err(Failure::No(match volume.view.retained {
                true => format!("volume {name} does not say whose data it holds (annotation {})", marks::PROVENANCE),
                false => format!("volume {name} is not kept by Lockkeeper, so it has nothing to give back; {look}"),
            }));
        };
        let of = &provenance.namespace;
        if let Some(named) = named.filter(|named| named != of) {
            return Err(Failure::No(format!(
                "volume {name} holds data of claim {} in namespace {of}, and is given back there only, not in {named}",
                provenance.claim
            )));
        }
        let namespace = Place::namespace(of).get(cluster).await?.map(|raw| namespace_view(&raw)).transpose()?;
        let namespace = namespace.ok_or_else(|| {
            Failure::No(format!(
                "namespace {of} is gone. Make it first, with the rights and quotas that it had: kubectl create namespace {of}; then repeat"
            ))
        })?;
        if namespace.deleting {
            return Err(Failure::No(format!("namespace {of} is being deleted; wait until it is gone, make it anew, and repeat")));
        }
        let raw = Place::claim(of, &provenance.claim).get(cluster).await?;
        let claim = raw.map(|raw| claim_view(&raw).map(|view| (raw, view))).transpose()?;
        Ok(Self { volume, provenance, namespace, claim })
    }

    fn stage(&self) -> Stage {
        let saved = self.saved().is_some();
        stage(self.claim.as_ref().map(|(_, claim)| claim), &self.volume.view, &self.provenance, saved)
    }

    /// What is on the volume of a claim to be made anew, unless it is of another life.
    fn saved(&self) -> Option<Saved> {
        let saved: Saved = serde_json::from_str(self.volume.view.marks.get(marks::READOPT_CLAIM)?).ok()?;
        (saved.of == self.provenance.claim_uid).then_some(saved)
    }

    fn is_free(&self) -> bool {
        self.volume.view.claim.as_ref().is_some_and(|claim| claim.uid.is_none())
    }

    /// Whether it is asked for, and nothing can happen to the data meanwhile.
    fn is_asked_for(&self) -> bool {
        self.volume.view.marks.get(marks::READOPT).is_some_and(|uid| **uid == *self.namespace.uid)
            && self.volume.view.reclaim_policy == RETAIN
    }

    fn name(&self) -> &str {
        &self.volume.view.name
    }

    fn claim_place(&self) -> Place {
        Place::claim(&self.namespace.name, &self.provenance.claim)
    }
}

fn stage(claim: Option<&Claim>, volume: &Volume, provenance: &Provenance, saved: bool) -> Stage {
    match claim {
        Some(claim) if volume.is_of(&provenance.namespace, claim) => match (claim.deleting, claim.bound) {
            (true, _) => Stage::GoingWithIt,
            (false, true) => Stage::Done,
            (false, false) => Stage::Waiting,
        },
        Some(claim) if claim.deleting => Stage::Going,
        Some(claim) if claim.bound || claim.lost => Stage::Replaced,
        Some(claim) => match &claim.volume {
            Some(other) if *other != volume.name => Stage::WaitsForAnother(other.clone()),
            // It has nothing to lose, and would wait for ever.
            _ if misfit(claim, volume).is_some() => Stage::Replaced,
            _ => Stage::Waiting,
        },
        None if saved => Stage::Gone,
        None => Stage::NoClaim,
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
                    "{} asks for volume {other} by name, and no other is given to it. Delete it, or take spec.volumeName out of what declares it, and \
                     repeat",
                    seen.claim_place()
                )));
            }
            Stage::Replaced => self.replace(seen).await?,
            Stage::Going => self.see_it_go(seen).await?,
            Stage::Gone => self.make_anew(seen).await?,
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
                "{place} was made anew by somebody else and has volume {younger}, not {name}. Both are kept. Scale down what makes the claim, and repeat"
            )));
        }
        let what = format!("make {place} anew for volume {name}");
        let gone = || Failure::No(format!("cannot {what}: it is another one by now. Nothing was changed; look again and repeat"));
        // Deny says so before anything is touched.
        place.delete(self.cluster, &what, &claim.uid, true).await.map_err(|error| with_permit(error, &place))?.ok_or_else(gone)?;
        self.agree_to_replace(seen).await?;
        if !self.keep_younger(seen, claim).await? {
            return Ok(());
        }
        let saved = Saved {
            of: seen.provenance.claim_uid.clone(),
            replaces: claim.uid.to_string(),
            younger: claim.volume.clone(),
            claim: claim::anew(raw, claim, &seen.volume),
        };
        if self.ask(seen, Some(&saved)).await? {
            place.delete(self.cluster, &what, &claim.uid, false).await.map_err(|error| with_permit(error, &place))?;
            self.replaced = Some(claim.uid.to_string());
            self.say(&format!("claim {} is being deleted", claim.name));
        }
        Ok(())
    }

    /// Sees that the younger volume survives its claim; whether it does.
    async fn keep_younger(&self, seen: &Seen, claim: &Claim) -> Result<bool, Failure> {
        let Some(name) = claim.volume.as_deref() else { return Ok(true) };
        let place = Place::volume(name);
        let Some(volume) = place.get(self.cluster).await?.map(volume_view).transpose()? else { return Ok(true) };
        let volume = volume.view;
        // What somebody gave up is not labelled again, or the operator would give it up again.
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
                ..seen.provenance.clone()
            };
            patch["metadata"]["labels"] = json!({marks::RETAINED: "true"});
            patch["metadata"]["annotations"] =
                json!({marks::PROVENANCE: provenance.write(), marks::ORIGINAL_RECLAIM_POLICY: volume.reclaim_policy});
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
                let saved = Saved {
                    of: seen.provenance.claim_uid.clone(),
                    replaces: claim.uid.to_string(),
                    younger: claim.volume.clone(),
                    claim: claim::anew(raw, claim, &seen.volume),
                };
                self.ask(seen, Some(&saved)).await?;
            }
            return Ok(());
        }
        self.replaced = Some(claim.uid.to_string());
        // First free, then the pods: whoever makes the claim anew as soon as it is gone gets this volume.
        if !self.free(seen, true).await? {
            return Ok(());
        }
        for pod in pods_on(self.cluster, &seen.namespace.name, &claim.name).await? {
            let (name, uid) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]));
            // What no node was given keeps no claim, and starts with the new one.
            if pod["spec"]["nodeName"].is_null() || !pod["metadata"]["deletionTimestamp"].is_null() || !self.ended.insert(uid.clone()) {
                continue;
            }
            if controller(&pod).is_none() {
                return Err(Failure::No(bare(&name, &claim.name)));
            }
            let place = Place::pod(&seen.namespace.name, &name);
            place.delete(self.cluster, &format!("end {place}"), &uid, false).await?;
            println!("Pod {name} ends.");
        }
        self.say(&format!("claim {} is being deleted, and goes when its pods are gone", claim.name));
        Ok(())
    }

    /// The claim is gone; it is made anew.
    async fn make_anew(&mut self, seen: &Seen) -> Result<(), Failure> {
        let Some(saved) = seen.saved() else { return Ok(()) };
        let place = seen.claim_place();
        self.agree(seen, &format!("{place} was deleted for it before; it would be made anew with volume {}", seen.name()))?;
        if !seen.is_asked_for() {
            return self.ask(seen, None).await.map(drop);
        }
        if self.free(seen, true).await? {
            self.create(&place, saved.claim).await?;
        }
        Ok(())
    }

    async fn create(&mut self, place: &Place, claim: Value) -> Result<(), Failure> {
        // Should somebody have been faster, the next look says what they made.
        place.create(self.cluster, &format!("make {place}"), claim).await?;
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
        let then = if self.manner.create_claim { "would be made, and get it" } else { "would get it, whoever makes it" };
        self.agree(seen, &format!("{} {place} {then}", if self.manner.create_claim { "A" } else { "The next" }))?;
        if !seen.is_asked_for() {
            self.ask(seen, None).await?;
            return Ok(None);
        }
        if !self.free(seen, false).await? {
            return Ok(None);
        }
        if self.manner.create_claim {
            self.create(&place, claim::for_volume(&seen.namespace.name, &seen.provenance.claim, &seen.volume)).await?;
            return Ok(None);
        }
        println!("Volume {name} waits for the next {place}.");
        println!(
            "Install the chart again, or create the workload. If nothing makes such a claim: kubectl lockkeeper volumes readopt {name} --create-claim"
        );
        Ok(Some(ExitCode::SUCCESS))
    }

    /// The claim has the volume.
    async fn finish(&mut self, seen: &Seen) -> Result<ExitCode, Failure> {
        let (place, name) = (seen.claim_place(), seen.name());
        // The operator may have noted the new claim by now, which makes a manifest that was kept history.
        let saved: Option<Saved> = seen.volume.view.marks.get(marks::READOPT_CLAIM).and_then(|text| serde_json::from_str(text).ok());
        if let Some(younger) = saved.as_ref().and_then(|saved| saved.younger.as_deref()) {
            self.put_aside(younger, name).await?;
        }
        if saved.is_some() || seen.volume.view.marks.contains_key(marks::READOPT) {
            let patch = json!({"metadata": {
                "uid": &*seen.volume.view.uid, "annotations": {marks::READOPT: null, marks::READOPT_CLAIM: null},
            }});
            Place::volume(name).merge(self.cluster, &format!("tidy up volume {name}"), &patch, false).await?;
        }
        place.disown(self.cluster).await?;
        println!("{place} has volume {name}, with the data of before.");
        if let Some(younger) = saved.and_then(|saved| saved.younger) {
            println!(
                "Volume {younger} is kept too, with what was written since. If that is not wanted: kubectl lockkeeper volumes unprotect pv/{younger}"
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The next claim of that name gets the chosen volume again, not the one that was put aside for it.
    async fn put_aside(&self, younger: &str, chosen: &str) -> Result<(), Failure> {
        let place = Place::volume(younger);
        for _ in 0..20 {
            let Some(volume) = place.get(self.cluster).await?.map(volume_view).transpose()? else { return Ok(()) };
            let Some(provenance) = volume.view.provenance() else { return Ok(()) };
            if provenance.readopt == Readopt::Never {
                return Ok(());
            }
            if volume.view.phase != VolumePhase::Bound {
                let provenance = Provenance { readopt: Readopt::Never, ..provenance };
                let patch = json!({"metadata": {
                    "uid": &*volume.view.uid, "resourceVersion": volume.view.resource_version.to_string(),
                    "annotations": {marks::PROVENANCE: provenance.write()},
                }});
                if place.merge(self.cluster, &format!("put {place} aside for volume {chosen}"), &patch, false).await?.is_some() {
                    return Ok(());
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Notes on the volume that it is wanted, and the claim to be made for it; whether it was still what was seen.
    async fn ask(&mut self, seen: &Seen, saved: Option<&Saved>) -> Result<bool, Failure> {
        let volume = &seen.volume.view;
        let mut patch = json!({
            "metadata": {"uid": &*volume.uid, "resourceVersion": volume.resource_version.to_string(),
                "annotations": {marks::READOPT: &*seen.namespace.uid}},
            "spec": {"persistentVolumeReclaimPolicy": RETAIN}
        });
        if let Some(saved) = saved {
            patch["metadata"]["annotations"][marks::READOPT_CLAIM] = json!(json!(saved).to_string());
        }
        let place = Place::volume(&volume.name);
        Ok(place.merge(self.cluster, &format!("give {place} back"), &patch, false).await?.is_some())
    }

    /// Whether the volume may go to the next claim of its name. The operator sees to that; where pods stand still for it, the plugin does after a
    /// while.
    async fn free(&mut self, seen: &Seen, by_itself: bool) -> Result<bool, Failure> {
        if seen.is_free() || seen.volume.view.phase == VolumePhase::Bound {
            return Ok(true);
        }
        let since = *self.asked.get_or_insert_with(clock::moment);
        self.say("the operator has not freed the volume for it yet (is it running? kubectl get pods -n lockkeeper-system)");
        let Some(of) = seen.volume.view.claim.as_ref().filter(|_| by_itself && clock::moment() >= since + PATIENCE) else {
            return Ok(false);
        };
        let of_gone_claim = of.uid.as_ref() == Some(&seen.provenance.claim_uid);
        if of.namespace != seen.provenance.namespace || of.name != seen.provenance.claim || !of_gone_claim {
            return Err(Failure::No(format!(
                "volume {} is reserved for another claim {} in namespace {}, by spec.claimRef; take that away if it is wrong, and repeat",
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

/// Whose data a volume holds, and whether it is still the same namespace.
fn whose(seen: &Seen) -> String {
    let Provenance { claim, workload, policy, namespace, namespace_uid, .. } = &seen.provenance;
    let volume = &seen.volume.view;
    let since = volume
        .phase_since
        .filter(|_| volume.phase == VolumePhase::Released)
        .map_or_else(String::new, |since| format!(", released {since}"));
    let anew = match **namespace_uid == *seen.namespace.uid {
        true => String::new(),
        false => format!(
            "\nThat namespace is gone: the {namespace} of today was made anew (uid {}, then {namespace_uid}), perhaps by somebody else, who would get \
             the data.",
            seen.namespace.uid
        ),
    };
    format!(
        "Volume {} ({}{since}) holds the data of claim {claim} in namespace {namespace}, used by {workload} under policy {policy}.{anew}",
        volume.name,
        size(volume.capacity)
    )
}

fn plan(seen: &Seen, claim: &Claim, pods: &[String]) -> String {
    let mut lines = match claim.volume.as_deref().filter(|younger| *younger != seen.name()) {
        Some(younger) => vec![
            format!("{} has volume {younger} now. To give it {} again:", seen.claim_place(), seen.name()),
            format!("- volume {younger} is kept, reclaim policy Retain; what was written to it since is not on {}", seen.name()),
        ],
        None => vec![format!("{} waits. To give it volume {}:", seen.claim_place(), seen.name())],
    };
    lines.push(format!("- claim {} is deleted, and made anew with its labels and annotations for volume {}", claim.name, seen.name()));
    if let Some(why) = misfit(claim, &seen.volume.view) {
        lines.push(format!("- the volume {why}: the claim made anew asks for what it has"));
    }
    match pods {
        [] => lines.push("- no running pod uses it now".to_owned()),
        pods => lines.push(format!(
            "- these pods end and start again: {}. No gate is asked about that; to end them in your own time, scale their workloads to 0 first",
            pods.join(", ")
        )),
    }
    lines.join("\n")
}

fn bare(pod: &str, claim: &str) -> String {
    format!("pod {pod} uses claim {claim} and belongs to no controller, so it would not come back: delete it yourself, and repeat")
}

/// Adds to a refusal of deletion what to do then.
fn with_permit(error: Failure, place: &Place) -> Failure {
    match error {
        Failure::Api { what, why } if why.contains(marks::ALLOW_DELETION_UNTIL) => {
            Failure::Api { what, why: format!("{why}. Nothing was changed; with that permit on {place}, repeat it") }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance() -> Provenance {
        let text = json!({
            "namespace": "shop", "namespaceUid": "n", "claim": "data", "claimUid": "old", "volume": "pv-a", "workload": "Deployment/web", "policy": "p",
            "orphanedAfter": "10m", "readopt": "SameNamespace"
        });
        Provenance::parse(&text.to_string()).unwrap()
    }

    fn seen(claim_ref: Value, annotations: Value, claim: Option<Value>) -> Seen {
        let provenance = provenance();
        let mut noted = json!({marks::PROVENANCE: provenance.write()});
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
        let namespace = namespace_view(&json!({"metadata": {"name": "shop", "uid": "n2"}})).unwrap();
        Seen { volume: volume_view(volume).unwrap(), provenance, namespace, claim }
    }

    fn tied() -> Value {
        json!({"namespace": "shop", "name": "data", "uid": "old"})
    }

    #[test]
    fn each_step_follows_from_what_is_there() {
        let saved = |of: &str| json!({marks::READOPT_CLAIM: json!(Saved { of: of.into(), replaces: "c".into(), younger: None, claim: json!({}) }).to_string()});
        let claim = |spec: Value, phase: &str| Some(json!({"metadata": {"uid": "c"}, "spec": spec, "status": {"phase": phase}}));
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
            (tied(), json!({}), claim(json!({"resources": {"requests": {"storage": "2Gi"}}}), "Pending"), Stage::Replaced),
            (tied(), json!({}), claim(to_other.clone(), "Pending"), Stage::WaitsForAnother("pv-b".into())),
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

    #[test]
    fn a_namespace_made_anew_is_said_to_be_so() {
        let text = whose(&seen(tied(), json!({}), None));
        assert!(text.contains("claim data in namespace shop, used by Deployment/web under policy p"), "{text}");
        assert!(text.contains("made anew (uid n2, then n)"), "{text}");
    }

    #[test]
    fn the_plan_names_the_volumes_and_the_pods() {
        let claim = json!({"metadata": {"uid": "c"}, "spec": {"volumeName": "pv-b", "resources": {"requests": {"storage": "2Gi"}}}, "status": {"phase": "Bound"}});
        let seen = seen(tied(), json!({}), Some(claim));
        let text = plan(&seen, &seen.claim.as_ref().unwrap().1, &["web-1 (Deployment/web)".to_owned()]);
        for part in ["volume pv-b is kept", "made anew", "for volume pv-a", "less than", "web-1 (Deployment/web)", "No gate is asked"] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}

//! Volumes from outside: whose data there is, who writes to it, and what must never become of it.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::{
    api::marks,
    marks::{Provenance, Text},
};
use model::{
    controllers,
    server::{Account, NAMESPACE, Server},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, DEV, pods_of},
    consent::{belongs, runs},
    scenes::{At, claim_name, manifest},
    truth::{Known, hold, mark},
};

const CLAIM: &str = "PersistentVolumeClaim";
const VOLUME: &str = "PersistentVolume";
const NODES: [&str; 2] = ["node-a", "node-b"];
const OWNER: Account =
    Account { user: "owner", manager: "kubectl-annotate", verbs: &["unprotect"] };

/// Claims that are in no template of a StatefulSet: name, class and mode. What they are of, the
/// seed says.
fn claims(seed: u64) -> [(&'static str, &'static str, &'static str); 2] {
    let class = ["disk", "disk", "disk", "share", "local"][usize::try_from(seed % 5).unwrap()];
    [("data", class, "ReadWriteOnce"), ("single", "disk", "ReadWriteOncePod")]
}

pub fn spec_of_claim(class: &str, mode: &str) -> Value {
    json!({"accessModes": [mode], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}})
}

/// Nodes, classes and claims, before there is any workload.
pub fn set_up(server: &mut Server, seed: u64) {
    let labels =
        if seed.is_multiple_of(2) { json!({marks::ALLOW_DENY: "true"}) } else { json!({}) };
    server
        .create(DEV, "Namespace", json!({"metadata": {"name": NAMESPACE, "labels": labels}}))
        .unwrap();
    for node in NODES {
        server.create(DEV, "Node", json!({"metadata": {"name": node}})).unwrap();
    }
    for (class, attaches, mode) in [
        ("disk", true, "Immediate"),
        ("share", false, "Immediate"),
        ("local", false, "WaitForFirstConsumer"),
    ] {
        server
            .create(
                DEV,
                "CSIDriver",
                json!({"metadata": {"name": class}, "spec": {"attachRequired": attaches}}),
            )
            .unwrap();
        let of_class = json!({"metadata": {"name": class}, "provisioner": class, "reclaimPolicy": "Delete", "volumeBindingMode": mode});
        server.create(DEV, "StorageClass", of_class).unwrap();
    }
    create_claims(server, seed);
}

fn create_claims(server: &mut Server, seed: u64) -> Vec<&'static str> {
    let mut created = Vec::new();
    for (name, class, mode) in claims(seed) {
        let claim = json!({"metadata": {"name": name}, "spec": spec_of_claim(class, mode)});
        if server.create(DEV, CLAIM, claim).is_ok() {
            created.push(name);
        }
    }
    created
}

/// What is kept of what was seen.
#[derive(Default)]
pub struct Kept {
    /// Data that is retained, by its volume.
    retained: BTreeSet<String>,
    /// Volumes whose owner has given their data up.
    given_up: BTreeSet<String>,
    /// Deployments that are recreated, and how many templates their pods ran when last looked at.
    recreated: BTreeMap<&'static str, usize>,
    /// How often a rollout that was stuck was let go on.
    pub unblocked: usize,
    /// How often data was found again.
    pub found_again: usize,
    /// Claims as they were exported before they were deleted, with their binding.
    exports: Vec<Value>,
}

/// A claim as a tool exports it, to create it again.
fn export(claim: &Value) -> Value {
    let mut exported = json!({"metadata": claim["metadata"], "spec": claim["spec"]});
    let metadata = exported["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
    exported
}

fn is_retained(object: &Value) -> bool {
    object["metadata"]["labels"][marks::RETAINED] == "true"
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn nodes_of(server: &Server, claim: &str) -> BTreeSet<String> {
    let pods = server.list("Pod");
    let runs_on = |pod: &Value| {
        pod["status"]["phase"] == "Running" && controllers::claims(pod).any(|one| one == claim)
    };
    pods.iter()
        .filter(|pod| runs_on(pod))
        .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned))
        .collect()
}

impl Kept {
    /// Looks at everything after a move.
    pub fn check(&mut self, server: &Server, workloads: &'static [At]) -> Result<(), String> {
        let volumes = server.list(VOLUME);
        for volume in &volumes {
            let of = name(volume).to_owned();
            match is_retained(volume) {
                true => drop(self.retained.insert(of)),
                false if self.retained.contains(&of) && !self.given_up.contains(&of) => {
                    return Err(format!(
                        "P12: {of} is no longer retained, and nobody gave its data up"
                    ));
                }
                false => drop(self.retained.remove(&of)),
            }
        }
        if let Some(lost) = self
            .retained
            .iter()
            .find(|volume| !self.given_up.contains(*volume) && server.get("Disk", volume).is_none())
        {
            return Err(format!("P12: the data of {lost} is gone, which was retained"));
        }
        for volume in volumes.iter().filter(|volume| volume["spec"]["csi"]["driver"] == "disk") {
            let Some(claim) = volume["spec"]["claimRef"]["name"].as_str() else { continue };
            let nodes = nodes_of(server, claim);
            if nodes.len() > 1 {
                return Err(format!("P13: pods on {nodes:?} write to {}", name(volume)));
            }
        }
        for &(kind, of) in workloads {
            // Held amid a rollout, each ReplicaSet keeps the pods that it had.
            let recreated = |object: &Value| {
                kind == "Deployment"
                    && mark(object, "volume-access").is_some()
                    && hold(object).is_none()
            };
            let Some(object) = server.get(kind, of).filter(|object| recreated(object)) else {
                self.recreated.remove(of);
                continue;
            };
            let all = server.list("Pod");
            let running =
                all.iter().filter(|pod| belongs(pod, of) && pod["status"]["phase"] == "Running");
            let templates = running.map(|pod| runs(pod)).collect::<BTreeSet<_>>().len();
            if object["spec"]["strategy"]["type"] != "Recreate" {
                return Err(format!(
                    "P13: {of} is to be recreated, and its strategy is {}",
                    object["spec"]["strategy"]
                ));
            }
            if self
                .recreated
                .insert(of, templates)
                .is_some_and(|before| before < templates && templates > 1)
            {
                return Err(format!(
                    "P13: {of} is recreated, and an old and a new pod run beside each other"
                ));
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// What happens to nodes, claims and workloads.
    pub fn storage_move(&mut self) {
        match self.chance.below(16) {
            0..=3 => {
                let controller = *self.chance.of(&controllers::ALL);
                for _ in 0..=self.chance.below(3) {
                    controllers::work(&mut self.server, controller);
                }
            }
            4..=6 => {
                let (node, cordoned) = (*self.chance.of(&NODES), self.chance.below(3) == 0);
                self.cordon(node, cordoned);
            }
            7..=9 => self.evict(),
            10 => {
                let all = self.server.list(CLAIM);
                let Some(claim) = (!all.is_empty()).then(|| self.chance.of(&all).clone()) else {
                    return;
                };
                self.say(|| format!("dev deletes claim {}", name(&claim)));
                self.kept.exports.push(export(&claim));
                let result = self.server.delete_by(DEV, CLAIM, name(&claim));
                self.say(|| format!("    {result:?}"));
            }
            11 if !self.kept.exports.is_empty() => {
                let exported = self.chance.of(&self.kept.exports).clone();
                let result = self.server.create(DEV, CLAIM, exported.clone()).map(|_| ());
                self.say(|| {
                    format!(
                        "dev creates claim {} again from an export with volume {}: {result:?}",
                        name(&exported),
                        exported["spec"]["volumeName"]
                    )
                });
            }
            11..=12 => {
                let created = create_claims(&mut self.server, self.seed);
                self.say(|| format!("dev creates claims {created:?}"));
            }
            13 => {
                let at = *self.chance.of(self.scene.workloads());
                self.delete_workload(at);
            }
            14 => self.create_workloads(),
            _ => {
                let all = self.server.list(CLAIM);
                let Some(claim) = (!all.is_empty() && self.chance.below(3) == 0)
                    .then(|| self.chance.of(&all).clone())
                else {
                    return;
                };
                let Some(volume) = claim["spec"]["volumeName"].as_str() else { return };
                self.say(|| {
                    format!("the owner gives up the data of claim {} on {volume}", name(&claim))
                });
                let give_up = |claim: &mut Value| {
                    claim["metadata"]["annotations"][marks::UNPROTECT] = json!(volume)
                };
                if self.server.update(OWNER, CLAIM, name(&claim), give_up).is_ok() {
                    self.kept.given_up.insert(volume.to_owned());
                }
            }
        }
    }

    fn cordon(&mut self, node: &str, cordoned: bool) {
        self.say(|| format!("{node} takes {} pods", if cordoned { "no" } else { "new" }));
        self.server
            .update(DEV, "Node", node, |node| node["spec"]["unschedulable"] = json!(cordoned))
            .unwrap();
    }

    fn delete_workload(&mut self, at @ (kind, of): At) {
        self.say(|| format!("dev deletes {kind}/{of}"));
        self.server.delete(kind, of);
        self.consent.forget(of);
        self.truth.known.insert(at, Known { team: Some("a".to_owned()), ..Known::default() });
    }

    fn create_workloads(&mut self) {
        for &(kind, of) in self.scene.workloads() {
            if self.server.create(DEV, kind, manifest(self.scene, of, "v0")).is_ok() {
                self.say(|| format!("dev creates {kind}/{of}"));
            }
        }
    }

    /// The volumes that hold the data of a claim that is not there.
    fn left_of(&self, claim: &str) -> Vec<String> {
        let uid = self.server.get("Namespace", NAMESPACE).unwrap()["metadata"]["uid"].clone();
        let is_of = |volume: &Value| {
            let provenance = volume["metadata"]["annotations"][marks::PROVENANCE]
                .as_str()
                .and_then(Provenance::parse);
            is_retained(volume)
                && volume["status"]["phase"] != "Bound"
                && provenance.is_some_and(|of| of.claim == claim && uid == *of.namespace_uid)
        };
        self.server
            .list(VOLUME)
            .iter()
            .filter(|volume| is_of(volume))
            .map(|volume| name(volume).to_owned())
            .collect()
    }

    /// Everything that was deleted is made again, and may run: the data is found again, or it is
    /// said that it was not.
    pub fn restore(&mut self) -> Result<(), String> {
        NODES.iter().for_each(|node| self.cordon(node, false));
        self.settle()?;
        // What is being deleted goes when its pods do.
        for claim in self
            .server
            .list(CLAIM)
            .iter()
            .filter(|claim| !claim["metadata"]["deletionTimestamp"].is_null())
        {
            let all = self.server.list("Pod");
            let users = all.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
            for pod in users.filter(|pod| controllers::claims(pod).any(|one| one == name(claim))) {
                self.evict_pod(pod);
            }
        }
        self.settle()?;
        self.give_lost_claims_up()?;
        let candidates = claims(self.seed).map(|(claim, ..)| {
            let left = self.server.get(CLAIM, claim).is_none().then(|| self.left_of(claim));
            (claim, left.filter(|left| left.len() == 1).map(|mut left| left.remove(0)))
        });
        let readopts = |volume: &str| {
            let volume = self.server.get(VOLUME, volume).unwrap();
            volume["metadata"]["annotations"][marks::PROVENANCE]
                .as_str()
                .is_some_and(|text| text.contains("SameNamespace"))
        };
        let candidates =
            candidates.map(|(claim, left)| (claim, left.filter(|volume| readopts(volume))));
        self.create_workloads();
        let created = create_claims(&mut self.server, self.seed);
        self.say(|| format!("dev creates claims {created:?}, of which there is {candidates:?}"));
        self.settle()?;
        for (claim, left) in candidates {
            let Some(left) = left else { continue };
            let has = self.server.get(CLAIM, claim).unwrap()["spec"]["volumeName"].clone();
            if has != *left {
                return Err(format!(
                    "P12: the data of claim {claim} is on {left}, and it has {has}"
                ));
            }
            self.kept.found_again += 1;
        }
        self.is_said()?;
        // Older data that is not wanted is put aside; what it holds stays.
        for volume in
            self.server.list(VOLUME).iter().filter(|volume| volume["status"]["phase"] != "Bound")
        {
            self.say(|| format!("the platform deletes the object {}", name(volume)));
            self.server.delete(VOLUME, name(volume));
        }
        self.settle()
    }

    /// A claim that was created again with its binding has its volume, if that is kept. What stays
    /// Lost is deleted.
    fn give_lost_claims_up(&mut self) -> Result<(), String> {
        let lost =
            self.server.list(CLAIM).into_iter().filter(|claim| claim["status"]["phase"] == "Lost");
        for claim in lost.collect::<Vec<_>>() {
            let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
            let kept = self.left_of(name(&claim)).iter().any(|left| left == volume);
            let noted = self
                .server
                .get(VOLUME, volume)
                .map(|volume| volume["metadata"]["annotations"][marks::PROVENANCE].to_string());
            if kept && noted.is_some_and(|noted| noted.contains("SameNamespace")) {
                return Err(format!(
                    "P12: claim {} is Lost, and its data is kept on {volume}",
                    name(&claim)
                ));
            }
            self.say(|| format!("dev deletes claim {}, which is Lost", name(&claim)));
            self.server
                .delete_by(DEV, CLAIM, name(&claim))
                .map_err(|error| format!("{error:?}"))?;
        }
        self.settle()
    }

    /// A claim that has not got its older data: that is said.
    fn is_said(&self) -> Result<(), String> {
        if self
            .server
            .get("UpgradePolicy", "shop")
            .is_none_or(|policy| policy["spec"]["volumes"].is_null())
        {
            return Ok(());
        }
        let said =
            self.operator.conditions.iter().find(|condition| condition.type_ == "VolumesSafe");
        for claim in self.server.list(CLAIM) {
            let has = claim["spec"]["volumeName"]
                .as_str()
                .and_then(|volume| self.server.get(VOLUME, volume));
            let made = has.map(|volume| {
                volume["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned()
            });
            for left in self.left_of(name(&claim)) {
                let volume = self.server.get(VOLUME, &left).unwrap();
                let older = made.as_deref().is_some_and(|made| {
                    volume["metadata"]["creationTimestamp"].as_str() < Some(made)
                });
                if older
                    && !said.is_some_and(|said| {
                        said.status == "False" && said.message.contains(name(&claim))
                    })
                {
                    return Err(format!(
                        "P12: {left} has the older data of claim {}, and nobody says so: {said:?}",
                        name(&claim)
                    ));
                }
            }
        }
        Ok(())
    }

    /// The policy keeps two pods of a rollout from one claim, whatever its volume.
    fn wants_one_writer(&self) -> bool {
        let policy = self.server.get("UpgradePolicy", "shop");
        policy.is_some_and(|policy| {
            let (volumes, mode) = (&policy["spec"]["volumes"], &policy["spec"]["mode"]);
            volumes.is_object()
                && mode != "Observe"
                && matches!(
                    volumes["exclusiveClaims"].as_str(),
                    None | Some("WhenUnsafe" | "Recreate")
                )
        })
    }

    /// In the end all pods run, and all data is kept.
    pub fn all_run(&self) -> Result<(), String> {
        for &(kind, of) in self.scene.workloads() {
            let object = self.server.get(kind, of).unwrap();
            let pods = pods_of(&self.server, of);
            let waiting: Vec<_> = pods
                .iter()
                .filter(|pod| pod["status"]["phase"] != "Running")
                .map(|pod| name(pod))
                .collect();
            if !waiting.is_empty() || object["spec"]["replicas"] != pods.len() {
                return Err(format!(
                    "P13: of {kind}/{of} {waiting:?} wait, {} are there",
                    pods.len()
                ));
            }
            if kind == "Deployment"
                && mark(&object, "volume-access").is_none()
                && object["spec"]["strategy"]["type"] != "RollingUpdate"
            {
                return Err(format!(
                    "P10: the strategy of {of} is not as it was declared: {}",
                    object["spec"]["strategy"]
                ));
            }
            if kind == "Deployment"
                && self.wants_one_writer()
                && object["spec"]["strategy"]["type"] != "Recreate"
            {
                return Err(format!(
                    "P13: the strategy of {of} is {}, and two pods could use its claim",
                    object["spec"]["strategy"]
                ));
            }
            for claim in pods.iter().flat_map(|pod| controllers::claims(pod)) {
                let claim = self.server.get(CLAIM, claim).unwrap();
                let volume =
                    self.server.get(VOLUME, claim["spec"]["volumeName"].as_str().unwrap()).unwrap();
                let given_up = self.kept.given_up.contains(name(&volume)) && !is_retained(&volume);
                let kept = is_retained(&volume)
                    && is_retained(&claim)
                    && volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
                if !kept && !given_up {
                    return Err(format!(
                        "P12: the data of claim {} on {} is not kept",
                        name(&claim),
                        name(&volume)
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Gives a workload of the scene its claims.
pub fn mount(kind: &str, of: &str, manifest: &mut Value) {
    let spec = &mut manifest["spec"];
    if kind == "StatefulSet" {
        spec["volumeClaimTemplates"] =
            json!([{"metadata": {"name": "data"}, "spec": spec_of_claim("disk", "ReadWriteOnce")}]);
        return;
    }
    spec["replicas"] = json!(1);
    spec["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim_name(of)}}]);
}

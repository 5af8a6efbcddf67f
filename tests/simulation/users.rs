//! What users do: they change, approve, bypass, scale, pause, and write what is ours.

use model::server::{Account, Failure};
use serde_json::{Value, json};

use crate::{
    cluster::{APPROVER, Cluster, DEV, ON_CALL},
    scenes::{At, Scene, manifest, policy, put_image},
    truth::{hold, image, mark, stands, waiting},
};

impl Cluster {
    pub fn user(&mut self) -> Result<(), String> {
        let at @ (kind, name) = *self.chance.of(self.scene.workloads());
        let Some(object) = self.server.get(kind, name) else { return Ok(()) };
        let what = match self.scene {
            Scene::Approvals => self.chance.below(23),
            // Changes, reverts and approvals.
            Scene::FourEyes => *self.chance.of(&[0, 0, 0, 0, 5, 9, 9, 9, 9, 11, 11, 22]),
            // Fewer edits that only people make who wait for nobody.
            _ => *self
                .chance
                .of(&[0, 0, 0, 0, 0, 5, 5, 7, 8, 13, 15, 16, 17, 18, 19, 20, 21, 21, 22, 22]),
        };
        match what {
            0..=4 => {
                self.images += 1;
                let breaks = self.scene.asks() && self.chance.below(6) == 0;
                let to = format!("{}{}", if breaks { "broken" } else { "v" }, self.images);
                // Who may approve may also change.
                let who = match self.scene {
                    Scene::Approvals => *self.chance.of(&[DEV, DEV, APPROVER]),
                    Scene::FourEyes => *self.chance.of(&[DEV, APPROVER]),
                    _ => DEV,
                };
                self.set_image_as(who, at, &to);
            }
            5..=6 => {
                if let Some(to) = self.known(kind, name).settled.clone() {
                    self.set_image(at, &to);
                }
            }
            7 => {
                let to = format!("v{}", self.chance.below(u64::from(self.images) + 1));
                self.set_image(at, &to);
            }
            8 => {
                let replicas = self.chance.below(match (self.scene, kind) {
                    (Scene::Volumes, "Deployment") => 2,
                    _ => 4,
                });
                self.say(|| format!("dev scales {name} to {replicas}"));
                if object["spec"]["replicas"].as_u64().unwrap() > replicas {
                    self.known(kind, name).scaled = true;
                }
                let _ = self.write(DEV, at, |object| object["spec"]["replicas"] = json!(replicas));
            }
            9..=10 => self.approve(at),
            // Somebody else, so that not everybody is an author.
            11 => self.approve_as(ON_CALL, at),
            12 => {
                // Without the right to: refused, unless it does nothing.
                let id = hold(&object).unwrap_or("1").to_owned();
                let what = *self.chance.of(&["approve", "bypass"]);
                let approvals = self.known(kind, name).approvals.clone();
                let result = self.annotate(DEV, at, what, &id);
                let after = self.server.get(kind, name).unwrap();
                let new = mark(&object, "approve") != mark(&after, "approve")
                    && mark(&after, "approve").is_some();
                let let_through = hold(&object).is_some() && hold(&after).is_none();
                let governed = object["metadata"]["labels"]["lockkeeper.dev/governed"].is_string();
                if result.is_ok() && governed && (new || let_through) {
                    return Err(format!("P16: dev, who may not, could {what} {kind}/{name}"));
                }
                self.known(kind, name).approvals = approvals;
            }
            13 => {
                if let Some(id) =
                    hold(&object).or_else(|| mark(&object, "pending-config")).map(str::to_owned)
                {
                    let _ = self.annotate(ON_CALL, at, "bypass", &id);
                }
            }
            14 => {
                // A stale id: stripped.
                let id = self.chance.below(30).to_string();
                if hold(&object) != Some(&id) {
                    let what = *self.chance.of(&["approve", "bypass"]);
                    let _ = self.annotate(ON_CALL, at, what, &id);
                }
            }
            15 => {
                let declared = if kind == "Deployment" {
                    i64::try_from(self.chance.below(2)).unwrap()
                } else {
                    i64::try_from(self.chance.below(3)).unwrap()
                };
                self.declare(at, &object, declared);
            }
            16 => {
                self.say(|| format!("dev replaces {name} by a manifest"));
                let mut manifest = manifest(self.scene, name, &image(&object));
                // A chart says the number that it said before, whatever runs.
                let said = waiting(&object)
                    .filter(|_| self.chance.below(2) == 0)
                    .map(|replicas| json!(replicas));
                manifest["spec"]["replicas"] =
                    said.unwrap_or_else(|| object["spec"]["replicas"].clone());
                manifest["metadata"]["labels"]["managed"] =
                    object["metadata"]["labels"]["managed"].clone();
                let before = object.clone();
                let result = self.server.replace(DEV, kind, manifest);
                self.note(kind, name, &before, result.is_ok());
                if stands(kind, &before) != 0 && result.is_ok() {
                    self.known(kind, name).declared = 0;
                }
            }
            17 => {
                let spec = policy(self.chance.of(&self.scene.policies()))["spec"].clone();
                self.say(|| format!("dev edits the policy: {spec}"));
                let _ = self
                    .server
                    .update(DEV, "UpgradePolicy", "shop", |policy| policy["spec"] = spec);
            }
            18 => match self.server.get("UpgradePolicy", "shop") {
                Some(_) if self.chance.below(3) == 0 => {
                    self.say(|| "dev deletes the policy".to_owned());
                    self.server.delete("UpgradePolicy", "shop");
                }
                Some(_) => {}
                None => {
                    self.say(|| "dev creates the policy".to_owned());
                    drop(self.server.create(
                        DEV,
                        "UpgradePolicy",
                        policy(&self.scene.policies()[0]),
                    ));
                }
            },
            19 => {
                let managed = *self.chance.of(&["yes", "yes", "no"]);
                self.say(|| format!("dev labels {name} managed={managed}"));
                let _ = self.write(DEV, at, |object| {
                    object["metadata"]["labels"]["managed"] = json!(managed)
                });
            }
            20 => {
                let forged = *self.chance.of(&[
                    "hold",
                    "hold-since",
                    "config",
                    "governance",
                    "rollout",
                    "pending-config",
                    "declared-paused",
                    "declared-partition",
                    "declared-update-strategy",
                    "declared-replicas",
                    "approved-by",
                    "hold-changes",
                    "bypassed-by",
                ]);
                let value = *self.chance.of(&["", "{", "7 by dev", "true", "1", "c-00000000"]);
                self.say(|| format!("dev forges {forged}={value:?} on {name}"));
                let _ = self.write(DEV, at, |object| {
                    object["metadata"]["annotations"][format!("lockkeeper.dev/{forged}")] =
                        json!(value)
                });
            }
            22 => {
                self.images += 1;
                let to = *self.chance.of(&[self.images, self.images, self.images - 1]);
                let replicas = self.chance.below(if self.scene == Scene::Volumes { 2 } else { 4 });
                self.deploy(at, &format!("v{to}"), replicas);
            }
            _ => {
                let value = self.chance.below(3).to_string();
                self.say(|| format!("dev writes config {value}"));
                let _ = self
                    .server
                    .update(DEV, "ConfigMap", "app", |config| config["data"]["key"] = json!(value));
            }
        }
        Ok(())
    }

    pub fn set_image(&mut self, at: At, to: &str) {
        self.set_image_as(DEV, at, to);
    }

    pub fn set_image_as(&mut self, who: Account, at: At, to: &str) {
        let (was, marked) = self.held_if_marked(at, to);
        self.say(|| format!("{} sets the image of {} to {to}", who.user, at.1));
        let _ = self.write(who, at, |object| put_image(&mut object["spec"]["template"], to));
        self.must_hold(at, &was, marked);
    }

    /// Another image and another number of pods, in one write.
    pub fn deploy(&mut self, at: At, to: &str, replicas: u64) {
        let (was, marked) = self.held_if_marked(at, to);
        let before = self
            .server
            .get(at.0, at.1)
            .and_then(|object| object["spec"]["replicas"].as_u64())
            .unwrap_or_default();
        self.say(|| {
            format!("dev sets the image of {} to {to}, and its replicas to {replicas}", at.1)
        });
        if before > replicas && !marked {
            self.known(at.0, at.1).scaled = true;
        }
        let _ = self.write(DEV, at, |object| {
            put_image(&mut object["spec"]["template"], to);
            object["spec"]["replicas"] = json!(replicas);
        });
        self.must_hold(at, &was, marked);
        let object = self.server.get(at.0, at.1).unwrap();
        if marked && before > replicas && object["spec"]["replicas"] != before {
            self.violation = Some(format!(
                "P6: {} was scaled from {before} to {replicas} by a write that is held",
                at.1
            ));
        }
    }

    pub fn annotate(
        &mut self,
        account: Account,
        at: At,
        what: &str,
        value: &str,
    ) -> Result<(), Failure> {
        self.say(|| format!("{} writes {what}={value} on {}", account.user, at.1));
        let (before, held_image) = {
            let object = self.server.get(at.0, at.1).unwrap();
            (object.clone(), image(&object))
        };
        let result = self.write(account, at, |object| {
            object["metadata"]["annotations"][format!("lockkeeper.dev/{what}")] = json!(value)
        });
        let after = self.server.get(at.0, at.1).unwrap();
        if result.is_ok()
            && what == "approve"
            && mark(&after, "approve") == Some(value)
            && account.verbs.contains(&"approve")
        {
            let known = self.known(at.0, at.1);
            known.approvals.insert((value.to_owned(), held_image));
            // What stands already is not set again.
            if mark(&before, "approve") != Some(value) {
                let own = known.authors.contains(account.user);
                match own {
                    true => known.own_approvals.insert(value.to_owned()),
                    false => known.own_approvals.remove(value),
                };
                self.seen.approved_by_authors += usize::from(own);
            }
        }
        if result.is_ok() && what == "bypass" && hold(&before).is_some() && hold(&after).is_none() {
            self.seen.bypassed += 1;
        }
        result
    }

    pub fn approve(&mut self, at: At) {
        self.approve_as(APPROVER, at);
    }

    pub fn approve_as(&mut self, who: Account, at: At) {
        let object = self.server.get(at.0, at.1).unwrap();
        let Some(id) = hold(&object).or_else(|| mark(&object, "pending-config")).map(str::to_owned)
        else {
            return;
        };
        let _ = self.annotate(who, at, "approve", &id);
    }

    /// A user writes `paused` or the partition.
    pub fn declare(&mut self, at @ (kind, name): At, object: &Value, declared: i64) {
        self.say(|| format!("dev sets paused or partition of {name} to {declared}"));
        let result = self.write(DEV, at, |object| match kind {
            "Deployment" => object["spec"]["paused"] = json!(declared == 1),
            _ => {
                object["spec"]["updateStrategy"] =
                    json!({"type": "RollingUpdate", "rollingUpdate": {"partition": declared}})
            }
        });
        // What is what it was says nothing: of `paused: true` on a held one nobody can tell who
        // wants it.
        if result.is_ok() && declared != stands(kind, object) {
            self.known(kind, name).declared = declared;
        }
    }
}

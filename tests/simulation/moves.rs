//! What can happen, chosen by a seed.

use std::time::Duration;

use model::{
    admission::Twin,
    controllers,
    server::{Account, Failure, Server},
};
use serde_json::{Value, json};

use crate::{
    operator::{Fault, KINDS, Operator},
    truth::{Truth, hold, image, mark, pods, server_settled},
};

pub const WORKLOADS: [(&str, &str); 2] = [("Deployment", "web"), ("StatefulSet", "db")];

const DEV: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };
const APPROVER: Account = Account { user: "approver", manager: "kubectl-annotate", verbs: &["approve"] };
const ON_CALL: Account = Account { user: "oncall", manager: "kubectl-annotate", verbs: &["approve", "bypass"] };

/// How often what happened.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub holds: usize,
    pub approved: usize,
    pub reverted: usize,
    pub bypassed: usize,
    pub ungoverned: usize,
    pub refused: usize,
    pub conflicts: usize,
    pub crashes: usize,
    pub rollouts: usize,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.holds += other.holds;
        self.approved += other.approved;
        self.reverted += other.reverted;
        self.bypassed += other.bypassed;
        self.ungoverned += other.ungoverned;
        self.refused += other.refused;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.rollouts += other.rollouts;
    }
}

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// A cluster with two workloads, a policy and the operator.
pub struct Cluster {
    pub server: Server,
    pub operator: Operator,
    pub truth: Truth,
    pub seen: Seen,
    chance: Chance,
    images: u32,
    fault: Option<Fault>,
    violation: Option<String>,
    aloud: bool,
}

pub fn manifest(name: &str, image: &str) -> Value {
    let labels = json!({"app": name, "managed": "yes"});
    let container = json!({"name": "app", "image": image, "envFrom": [{"configMapRef": {"name": "app"}}]});
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
    json!({"metadata": {"name": name, "labels": labels, "annotations": {"team": "a"}}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}})
}

pub fn policy(gates: &Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"managed": "yes"}}, "config": {"settle": "1s", "settleLimit": "5s"}});
    for (key, value) in gates.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "shop"}, "spec": spec})
}

impl Cluster {
    /// Two workloads that run, and a policy that wants approvals; adopted.
    pub fn new(seed: u64, twin: Twin, fault: Option<Fault>, aloud: bool) -> Self {
        let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
        server.twin = Some(twin);
        server.create(DEV, "ConfigMap", json!({"metadata": {"name": "app"}, "data": {"key": "0"}})).unwrap();
        server.create(DEV, "UpgradePolicy", policy(&json!({"gates": {"approval": "Required"}}))).unwrap();
        for (kind, name) in WORKLOADS {
            server.create(DEV, kind, manifest(name, "v0")).unwrap();
        }
        controllers::settle(&mut server);
        server.advance(Duration::from_secs(5));
        let operator = Operator::start(&server, fault);
        let mut cluster = Self {
            server,
            operator,
            truth: Truth::default(),
            seen: Seen::default(),
            chance: Chance(seed),
            images: 0,
            fault,
            violation: None,
            aloud,
        };
        for (kind, name) in WORKLOADS {
            let known = cluster.truth.known.entry((kind, name)).or_default();
            known.team = Some("a".to_owned());
        }
        cluster
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            println!("{} {}", self.server.now().strftime("%H:%M:%S%.f"), what());
        }
    }

    fn known(&mut self, kind: &'static str, name: &'static str) -> &mut crate::truth::Known {
        self.truth.known.get_mut(&(kind, name)).unwrap()
    }

    pub fn check(&mut self) -> Result<(), String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        for (kind, name) in WORKLOADS {
            self.truth.check(&self.server, kind, name)?;
        }
        Ok(())
    }

    /// A write by somebody: what they mean by it is noted if it is accepted.
    pub fn write(
        &mut self,
        account: Account,
        (kind, name): (&'static str, &'static str),
        change: impl FnOnce(&mut Value),
    ) -> Result<(), Failure> {
        let before = self.server.get(kind, name).ok_or(Failure::NotFound)?;
        let result = self.server.update(account, kind, name, change);
        self.note(kind, name, &before, result.is_ok());
        result.map(drop)
    }

    fn note(&mut self, kind: &'static str, name: &'static str, before: &Value, accepted: bool) {
        if !accepted {
            self.seen.refused += 1;
            return;
        }
        let after = self.server.get(kind, name).unwrap();
        self.known(kind, name).team = after["metadata"]["annotations"]["team"].as_str().map(str::to_owned);
        if hold(before).is_none() && hold(&after).is_some() {
            self.seen.holds += 1;
            self.known(kind, name).before = Some(image(before));
        }
    }

    pub fn set_image(&mut self, at: (&'static str, &'static str), to: &str) {
        let (was, marked) = self.held_if_marked(at, to);
        self.say(|| format!("dev sets the image of {} to {to}", at.1));
        let _ = self.write(DEV, at, |object| object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(to));
        self.must_hold(at, &was, marked);
    }

    fn held_if_marked(&self, (kind, name): (&'static str, &'static str), to: &str) -> (String, bool) {
        let object = self.server.get(kind, name).unwrap();
        let marked = mark(&object, "hold-changes") == Some("true") && object["metadata"]["labels"]["lockkeeper.dev/governed"].is_string();
        (image(&object), (marked && object["spec"]["replicas"] != 0 || hold(&object).is_some()) && image(&object) != to)
    }

    fn must_hold(&mut self, (kind, name): (&'static str, &'static str), was: &str, marked: bool) {
        let object = self.server.get(kind, name).unwrap();
        if marked && hold(&object).is_none() {
            self.violation = Some(format!("P6: {kind}/{name} was changed from {was} and is not held"));
        }
    }

    pub fn annotate(&mut self, account: Account, at: (&'static str, &'static str), what: &str, value: &str) -> Result<(), Failure> {
        self.say(|| format!("{} writes {what}={value} on {}", account.user, at.1));
        let (before, held_image) = {
            let object = self.server.get(at.0, at.1).unwrap();
            (object.clone(), image(&object))
        };
        let result = self.write(account, at, |object| object["metadata"]["annotations"][format!("lockkeeper.dev/{what}")] = json!(value));
        let after = self.server.get(at.0, at.1).unwrap();
        if result.is_ok() && what == "approve" && mark(&after, "approve") == Some(value) && account.verbs.contains(&"approve") {
            self.known(at.0, at.1).approvals.insert((value.to_owned(), held_image));
        }
        if result.is_ok() && what == "bypass" && hold(&before).is_some() && hold(&after).is_none() {
            self.seen.bypassed += 1;
        }
        result
    }

    pub fn approve(&mut self, at: (&'static str, &'static str)) {
        let object = self.server.get(at.0, at.1).unwrap();
        let Some(id) = hold(&object).or_else(|| mark(&object, "pending-config")).map(str::to_owned) else { return };
        let _ = self.annotate(APPROVER, at, "approve", &id);
    }

    fn user(&mut self) -> Result<(), String> {
        let at @ (kind, name) = *self.chance.of(&WORKLOADS);
        let Some(object) = self.server.get(kind, name) else { return Ok(()) };
        match self.chance.below(22) {
            0..=4 => {
                self.images += 1;
                let to = format!("v{}", self.images);
                self.set_image(at, &to);
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
                let replicas = self.chance.below(4);
                self.say(|| format!("dev scales {name} to {replicas}"));
                if object["spec"]["replicas"].as_u64().unwrap() > replicas {
                    self.known(kind, name).scaled = true;
                }
                let _ = self.write(DEV, at, |object| object["spec"]["replicas"] = json!(replicas));
            }
            9..=11 => self.approve(at),
            12 => {
                // Without the right to: refused, unless it does nothing.
                let id = hold(&object).unwrap_or("1").to_owned();
                let what = *self.chance.of(&["approve", "bypass"]);
                let approvals = self.known(kind, name).approvals.clone();
                let result = self.annotate(DEV, at, what, &id);
                let after = self.server.get(kind, name).unwrap();
                let new = mark(&object, "approve") != mark(&after, "approve") && mark(&after, "approve").is_some();
                let let_through = hold(&object).is_some() && hold(&after).is_none();
                let governed = object["metadata"]["labels"]["lockkeeper.dev/governed"].is_string();
                if result.is_ok() && governed && (new || let_through) {
                    return Err(format!("P16: dev, who may not, could {what} {kind}/{name}"));
                }
                self.known(kind, name).approvals = approvals;
            }
            13 => {
                if let Some(id) = hold(&object).or_else(|| mark(&object, "pending-config")).map(str::to_owned) {
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
                let now = crate::truth::stands(kind, &object);
                let declared = if kind == "Deployment" {
                    i64::try_from(self.chance.below(2)).unwrap()
                } else {
                    i64::try_from(self.chance.below(3)).unwrap()
                };
                self.say(|| format!("dev sets paused or partition of {name} to {declared}"));
                let result = self.write(DEV, at, |object| match kind {
                    "Deployment" => object["spec"]["paused"] = json!(declared == 1),
                    _ => object["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": declared}}),
                });
                // What is what it was says nothing: of `paused: true` on a held one nobody can tell who wants it.
                if result.is_ok() && declared != now {
                    self.known(kind, name).declared = declared;
                }
            }
            16 => {
                self.say(|| format!("dev replaces {name} by a manifest"));
                let mut manifest = manifest(name, &image(&object));
                manifest["spec"]["replicas"] = object["spec"]["replicas"].clone();
                manifest["metadata"]["labels"]["managed"] = object["metadata"]["labels"]["managed"].clone();
                let before = object.clone();
                let result = self.server.replace(DEV, kind, manifest);
                self.note(kind, name, &before, result.is_ok());
                if crate::truth::stands(kind, &before) != 0 && result.is_ok() {
                    self.known(kind, name).declared = 0;
                }
            }
            17 => {
                let gates = [
                    json!({"gates": {"approval": "Required"}}),
                    json!({"gates": {"approval": "Required", "appliesTo": ["Template"]}}),
                    json!({"mode": "Freeze"}),
                    json!({"mode": "Observe", "gates": {"approval": "Required"}}),
                    json!({}),
                    json!({"gates": {"approval": "Required"}, "whenUngoverned": "Keep"}),
                    json!({"selector": {"matchLabels": {"managed": "no"}}, "gates": {"approval": "Required"}}),
                    json!({"gates": {"approval": "Required", "windows": [{"schedule": "0 2 * * *", "duration": "1h", "timeZone": "Nowhere"}]}}),
                ];
                let spec = policy(self.chance.of(&gates))["spec"].clone();
                self.say(|| format!("dev edits the policy: {spec}"));
                let _ = self.server.update(DEV, "UpgradePolicy", "shop", |policy| policy["spec"] = spec);
            }
            18 => match self.server.get("UpgradePolicy", "shop") {
                Some(_) if self.chance.below(3) == 0 => {
                    self.say(|| "dev deletes the policy".to_owned());
                    self.server.delete("UpgradePolicy", "shop");
                }
                Some(_) => {}
                None => {
                    self.say(|| "dev creates the policy".to_owned());
                    drop(self.server.create(DEV, "UpgradePolicy", policy(&json!({"gates": {"approval": "Required"}}))));
                }
            },
            19 => {
                let managed = *self.chance.of(&["yes", "yes", "no"]);
                self.say(|| format!("dev labels {name} managed={managed}"));
                let _ = self.write(DEV, at, |object| object["metadata"]["labels"]["managed"] = json!(managed));
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
                    "approved-by",
                    "hold-changes",
                    "bypassed-by",
                ]);
                let value = *self.chance.of(&["", "{", "7 by dev", "true", "1", "c-00000000"]);
                self.say(|| format!("dev forges {forged}={value:?} on {name}"));
                let _ = self.write(DEV, at, |object| object["metadata"]["annotations"][format!("lockkeeper.dev/{forged}")] = json!(value));
            }
            _ => {
                let value = self.chance.below(3).to_string();
                self.say(|| format!("dev writes config {value}"));
                let _ = self.server.update(DEV, "ConfigMap", "app", |config| config["data"]["key"] = json!(value));
            }
        }
        Ok(())
    }

    fn evict(&mut self) {
        let at @ (kind, name) = *self.chance.of(&WORKLOADS);
        let uids: Vec<_> = pods(&self.server, name).into_keys().collect();
        if uids.is_empty() {
            return;
        }
        let uid = self.chance.of(&uids).clone();
        let pod = self.server.list("Pod").into_iter().find(|pod| pod["metadata"]["uid"] == *uid).unwrap();
        self.say(|| format!("a pod of {name} is evicted"));
        self.known(at.0, at.1).excused.insert(uid);
        let _ = kind;
        self.server.delete("Pod", pod["metadata"]["name"].as_str().unwrap());
    }

    /// Sends one request of the operator, and sees whether what it lets through may pass.
    pub fn send(&mut self, index: usize) -> Result<(), String> {
        let patch = &self.operator.outbox[index];
        let Some(&at @ (kind, name)) = WORKLOADS.iter().find(|(_, name)| *name == patch.workload.name) else { return Ok(()) };
        let before = self.server.get(kind, name).unwrap();
        let unseen = ["UpgradePolicy", kind].into_iter().any(|kind| {
            let cursor = self.operator.cursor(kind);
            self.server.log().iter().rev().take_while(|event| event.version > cursor).any(|event| event.kind == kind)
        });
        let (patch, result) = self.operator.send(&mut self.server, index);
        self.say(|| format!("the operator {} {name}: {:?} {}", Operator::purpose(&patch), result.as_ref().err(), patch.json()));
        match result {
            Ok(()) => {}
            Err(Failure::Invalid(_)) => {
                self.seen.conflicts += 1;
                return Ok(());
            }
            Err(failure) => return Err(format!("the operator's patch of {kind}/{name} is refused: {failure:?}")),
        }
        if patch.config_hash.is_some() {
            self.seen.rollouts += 1;
        }
        let after = self.server.get(kind, name).unwrap();
        let Some(id) = hold(&before).filter(|_| hold(&after).is_none()) else { return Ok(()) };
        let held = image(&before);
        if self.truth.known[&at].approvals.contains(&(id.to_owned(), held.clone())) {
            self.seen.approved += 1;
            return Ok(());
        }
        if self.truth.may_pass(&self.server, kind, name, &before) {
            self.seen.reverted += 1;
            return Ok(());
        }
        // What the operator could not have seen yet, it could not heed; it acted on a policy that was there a moment ago.
        if !self.must_wait(&before) || (unseen && self.fault.is_none()) {
            self.seen.ungoverned += 1;
            return Ok(());
        }
        Err(format!("P7, P16: {kind}/{name} was let through ({:?}) with {held}, id {id}, which nobody approved", patch.purpose))
    }

    /// Whether the policy, as it is now, wants this workload's changes held until somebody approves.
    fn must_wait(&self, object: &Value) -> bool {
        let Some(policy) = self.server.get("UpgradePolicy", "shop") else { return false };
        let spec = &policy["spec"];
        let selects = spec["selector"]["matchLabels"]["managed"] == object["metadata"]["labels"]["managed"];
        let holds = spec["mode"] != "Observe" && (spec["mode"] == "Freeze" || spec["gates"]["approval"] == "Required");
        selects && holds
    }

    fn move_on(&mut self) -> Result<(), String> {
        match self.chance.below(100) {
            0..=17 => self.user()?,
            18..=20 => self.evict(),
            21..=45 => {
                for _ in 0..=self.chance.below(3) {
                    controllers::step(&mut self.server);
                }
            }
            46..=66 => {
                let (kind, ..) = *self.chance.of(&KINDS);
                for _ in 0..=self.chance.below(6) {
                    self.operator.deliver(&self.server, kind);
                }
            }
            67..=79 => drop(self.operator.decide(self.server.now())),
            80..=91 if !self.operator.outbox.is_empty() => {
                let index = self.chance.below(self.operator.outbox.len() as u64);
                self.send(usize::try_from(index).unwrap())?;
            }
            92..=93 => {
                self.say(|| "the operator is killed, and starts again".to_owned());
                self.seen.crashes += 1;
                self.operator = Operator::start(&self.server, self.fault);
            }
            _ => {
                let time = *self.chance.of(&[100, 700, 1500, 4000, 70_000]);
                self.server.advance(Duration::from_millis(time));
            }
        }
        self.check()
    }

    /// Lets everything come to rest, with nobody doing anything.
    pub fn come_to_rest(&mut self) -> Result<(), String> {
        for round in 0..400 {
            self.operator.deliver_all(&self.server);
            let mut busy = self.operator.decide(self.server.now());
            while !self.operator.outbox.is_empty() {
                self.send(0)?;
                self.check()?;
                busy = true;
            }
            busy |= controllers::step(&mut self.server);
            self.check()?;
            if !busy {
                // Quiet times, and the minute for which a stray is looked at.
                if round > 350 {
                    return Ok(());
                }
                self.server.advance(Duration::from_secs(2));
            }
            if !busy && round > 80 {
                return Ok(());
            }
        }
        Err("P14: it never comes to rest".to_owned())
    }

    /// What must be so at rest.
    pub fn at_rest(&mut self) -> Result<(), String> {
        for at @ (kind, name) in WORKLOADS {
            let Some(object) = self.server.get(kind, name) else { continue };
            let Some(id) = hold(&object).map(str::to_owned) else {
                // One that cannot be read governs only what it governed before.
                let policy = self.server.get("UpgradePolicy", "shop").filter(|policy| policy["spec"]["gates"]["windows"].is_null());
                if policy.is_some() && self.must_wait(&object) && mark(&object, "hold-changes") != Some("true") {
                    return Err(format!("P6: {kind}/{name} does not carry the mark by which it is held"));
                }
                continue;
            };
            if server_settled(&self.server, kind, &object) == Some(image(&object)) {
                return Err(format!("P9: {kind}/{name} was put back to {}, and is still held", image(&object)));
            }
            let approved = self.truth.known[&at].approvals.contains(&(id.clone(), image(&object)));
            let policy = self.server.get("UpgradePolicy", "shop");
            let plain = policy.is_some_and(|policy| {
                policy["spec"]["gates"]["approval"] == "Required"
                    && policy["spec"]["mode"].is_null()
                    && policy["spec"]["gates"]["windows"].is_null()
            });
            if approved && plain && self.must_wait(&object) && mark(&object, "approve").is_some() {
                return Err(format!("{kind}/{name} is approved (id {id}), and still held"));
            }
        }
        Ok(())
    }
}

/// So many moves, chosen by a seed; then everything comes to rest.
pub fn run(seed: u64, moves: usize, twin: Twin, fault: Option<Fault>, aloud: bool) -> Result<Seen, String> {
    let mut cluster = Cluster::new(seed, twin, fault, aloud);
    for number in 0..moves {
        cluster.move_on().map_err(|violation| format!("after move {number}: {violation}"))?;
    }
    cluster.come_to_rest().map_err(|violation| format!("coming to rest: {violation}"))?;
    cluster.at_rest().map_err(|violation| format!("at rest: {violation}"))?;
    Ok(cluster.seen)
}

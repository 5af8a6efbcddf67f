//! What can happen, chosen by a seed.

use std::{collections::BTreeSet, time::Duration};

use model::{
    admission::Twin,
    controllers,
    server::{Account, Failure, Server},
};
use serde_json::{Value, json};

use crate::{
    apps::{Apps, Mood},
    consent::{Consent, judge},
    operator::{Fault, KINDS, Operator},
    scenes::{At, Scene, is_broken, manifest, policy, put_image},
    truth::{Truth, hold, image, mark, pods, server_settled},
};
use lockkeeper::core::{
    decision::{Patch, Purpose, Release},
    gates::{answer::Answer, conversation::Errand},
};

const DEV: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };
const APPROVER: Account = Account { user: "approver", manager: "kubectl-annotate", verbs: &["approve"] };
const ON_CALL: Account = Account { user: "oncall", manager: "kubectl-annotate", verbs: &["approve", "bypass"] };

/// When nothing is written for so long, nothing will be: longer than any lease, any work, and what a stray is left alone for.
const REST: Duration = Duration::from_secs(100);
const LONGEST_NAP: Duration = Duration::from_secs(5);

fn image_of_pod(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

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
    /// Pods that said no when they were asked.
    pub noes: usize,
    /// Pods that took no new work.
    pub drained: usize,
    /// Changes let through because the pods agreed.
    pub agreed: usize,
    /// Pods that went one by one.
    pub steps: usize,
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
        self.noes += other.noes;
        self.drained += other.drained;
        self.agreed += other.agreed;
        self.steps += other.steps;
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
    pub apps: Apps,
    consent: Consent,
    scene: Scene,
    pub seen: Seen,
    chance: Chance,
    images: u32,
    fault: Option<Fault>,
    violation: Option<String>,
    aloud: bool,
    told: u64,
}

impl Cluster {
    /// Workloads that run, and the first policy of the scene; not adopted yet.
    pub fn new(scene: Scene, seed: u64, twin: Twin, fault: Option<Fault>, aloud: bool) -> Self {
        let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
        server.twin = Some(twin);
        server.create(DEV, "ConfigMap", json!({"metadata": {"name": "app"}, "data": {"key": "0"}})).unwrap();
        server.create(DEV, "UpgradePolicy", policy(&scene.policies()[0])).unwrap();
        for &(kind, name) in scene.workloads() {
            server.create(DEV, kind, manifest(name, "v0")).unwrap();
        }
        controllers::settle(&mut server);
        server.advance(Duration::from_secs(5));
        let operator = Operator::start(&server, fault);
        let mut cluster = Self {
            server,
            operator,
            truth: Truth::default(),
            apps: Apps::default(),
            consent: Consent::default(),
            scene,
            seen: Seen::default(),
            chance: Chance(seed),
            images: 0,
            fault,
            violation: None,
            aloud,
            told: 0,
        };
        for &(kind, name) in scene.workloads() {
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

    /// Tells what the controllers did since it was last told.
    fn tell(&mut self) {
        for event in self.server.events_since(self.told) {
            let (object, name) = (&event.object, event.object["metadata"]["name"].as_str().unwrap_or_default());
            match event.kind.as_str() {
                "Pod" if event.deleted => self.say(|| format!("    pod {name} is gone")),
                "Pod" if !object["metadata"]["deletionTimestamp"].is_null() => self.say(|| format!("    pod {name} goes")),
                "Pod" if object["status"]["phase"] == "Pending" => {
                    self.say(|| format!("    pod {name} is made of {}", image_of_pod(object)))
                }
                "ReplicaSet" => {
                    self.say(|| format!("    {name} is to have {}, has {}", object["spec"]["replicas"], object["status"]["replicas"]))
                }
                _ => {}
            }
        }
        self.told = self.server.version();
    }

    fn known(&mut self, kind: &'static str, name: &'static str) -> &mut crate::truth::Known {
        self.truth.known.get_mut(&(kind, name)).unwrap()
    }

    pub fn check(&mut self) -> Result<(), String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        if self.aloud {
            self.tell();
        }
        self.consent.lapsed(&self.apps, self.server.now());
        for &(kind, name) in self.scene.workloads() {
            self.truth.check(&self.server, kind, name)?;
            let evicted = &self.truth.known[&(kind, name)].evicted;
            self.consent.check(&self.server, (kind, name), evicted, &self.apps)?;
        }
        Ok(())
    }

    /// The operator decides, and what it decides is looked at.
    pub fn decide(&mut self) -> bool {
        let (now, known) = (self.server.now(), self.operator.outbox.len());
        let new = self.operator.decide(now);
        let of = |patch: &Patch| (patch.uid.clone(), judge(&self.operator, &self.apps, patch, now));
        let judged: Vec<_> = self.operator.outbox[known..].iter().map(of).collect();
        self.operator.judged.extend(judged);
        new
    }

    /// A write by somebody: what they mean by it is noted if it is accepted.
    pub fn write(&mut self, account: Account, (kind, name): At, change: impl FnOnce(&mut Value)) -> Result<(), Failure> {
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
        // What somebody writes and admission does not hold goes by their decision: a bypass, a change of what is not governed, a partition
        // of their own that is lowered. That a change of what is governed is held is looked at elsewhere.
        if hold(&after).is_none() && mark(&after, "partition").is_none() {
            self.consent.let_go(&self.server, (kind, name), &BTreeSet::new());
        }
        if after["spec"]["replicas"].as_u64() < before["spec"]["replicas"].as_u64() {
            self.consent.scaled.insert(name);
        }
        if hold(before).is_none() && hold(&after).is_some() {
            self.seen.holds += 1;
            self.known(kind, name).before = Some(image(before));
        }
    }

    pub fn set_image(&mut self, at: At, to: &str) {
        let (was, marked) = self.held_if_marked(at, to);
        self.say(|| format!("dev sets the image of {} to {to}", at.1));
        let _ = self.write(DEV, at, |object| put_image(&mut object["spec"]["template"], to));
        self.must_hold(at, &was, marked);
    }

    fn held_if_marked(&self, (kind, name): At, to: &str) -> (String, bool) {
        let object = self.server.get(kind, name).unwrap();
        let marked = mark(&object, "hold-changes") == Some("true") && object["metadata"]["labels"]["lockkeeper.dev/governed"].is_string();
        (image(&object), (marked && object["spec"]["replicas"] != 0 || hold(&object).is_some()) && image(&object) != to)
    }

    fn must_hold(&mut self, (kind, name): At, was: &str, marked: bool) {
        let object = self.server.get(kind, name).unwrap();
        if marked && hold(&object).is_none() {
            self.violation = Some(format!("P6: {kind}/{name} was changed from {was} and is not held"));
        }
    }

    pub fn annotate(&mut self, account: Account, at: At, what: &str, value: &str) -> Result<(), Failure> {
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

    pub fn approve(&mut self, at: At) {
        let object = self.server.get(at.0, at.1).unwrap();
        let Some(id) = hold(&object).or_else(|| mark(&object, "pending-config")).map(str::to_owned) else { return };
        let _ = self.annotate(APPROVER, at, "approve", &id);
    }

    fn user(&mut self) -> Result<(), String> {
        let at @ (kind, name) = *self.chance.of(self.scene.workloads());
        let Some(object) = self.server.get(kind, name) else { return Ok(()) };
        let what = match self.scene.asks() {
            // Fewer edits that only people make who wait for nobody.
            true => *self.chance.of(&[0, 0, 0, 0, 0, 5, 5, 7, 8, 13, 15, 16, 17, 18, 19, 20, 21, 21]),
            false => self.chance.below(22),
        };
        match what {
            0..=4 => {
                self.images += 1;
                let breaks = self.scene.asks() && self.chance.below(6) == 0;
                let to = format!("{}{}", if breaks { "broken" } else { "v" }, self.images);
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
                let spec = policy(self.chance.of(&self.scene.policies()))["spec"].clone();
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
                    drop(self.server.create(DEV, "UpgradePolicy", policy(&self.scene.policies()[0])));
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
        let at @ (kind, name) = *self.chance.of(self.scene.workloads());
        let uids: Vec<_> = pods(&self.server, name).into_keys().collect();
        if uids.is_empty() {
            return;
        }
        let uid = self.chance.of(&uids).clone();
        let pod = self.server.list("Pod").into_iter().find(|pod| pod["metadata"]["uid"] == *uid).unwrap();
        self.say(|| format!("a pod of {name} is evicted"));
        self.known(at.0, at.1).evicted.insert(uid.clone());
        self.known(at.0, at.1).excused.insert(uid);
        let _ = kind;
        self.server.delete("Pod", pod["metadata"]["name"].as_str().unwrap());
    }

    /// Sends one request of the operator, and sees whether what it lets through may pass.
    pub fn send(&mut self, index: usize) -> Result<(), String> {
        let patch = &self.operator.outbox[index];
        let Some(&at @ (kind, name)) = self.scene.workloads().iter().find(|(_, name)| *name == patch.workload.name) else { return Ok(()) };
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
        if patch.purpose == Purpose::Step {
            self.seen.steps += 1;
        }
        let after = self.server.get(kind, name).unwrap();
        let judgement = self.operator.judged.remove(&patch.uid).unwrap_or_default();
        if let Some(wrong) = judgement.wrong {
            return Err(format!("P8: {kind}/{name}: {wrong} ({:?})", patch.purpose));
        }
        if hold(&after).is_none() && (hold(&before).is_some() || before["spec"] != after["spec"]) {
            self.consent.let_go(&self.server, at, &judgement.drained);
            self.seen.agreed += usize::from(self.scene.asks() && patch.purpose == Purpose::Release(Release::GatesOpen));
        }
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
        if self.scene.asks() {
            match self.chance.below(20) {
                0..=7 => {
                    self.app_move();
                    return self.check();
                }
                8..=11 => return self.calm(),
                _ => {}
            }
        }
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
            67..=79 => drop(self.decide()),
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
                self.pass(Duration::from_millis(time));
            }
        }
        self.check()
    }

    /// For a while nothing is late or lost.
    fn calm(&mut self) -> Result<(), String> {
        let (rounds, nap) = (self.chance.below(8) + 1, *self.chance.of(&[200, 1000, 2500]));
        for _ in 0..rounds {
            self.round()?;
            self.pass(Duration::from_millis(nap));
        }
        Ok(())
    }

    /// Everybody does what is to be done. Returns whether anything was written.
    fn round(&mut self) -> Result<bool, String> {
        self.operator.deliver_all(&self.server);
        let mut busy = self.decide();
        while !self.operator.outbox.is_empty() {
            self.send(0)?;
            self.check()?;
            busy = true;
        }
        while !self.operator.talks.is_empty() {
            self.talk(0, [false; 2]);
        }
        busy |= controllers::step(&mut self.server);
        self.check()?;
        Ok(busy)
    }

    /// Time passes: what has no answer by then gets none.
    fn pass(&mut self, time: Duration) {
        self.server.advance(time);
        let now = self.server.now();
        for talk in &mut self.operator.talks {
            if talk.begun + talk.call.gate.timeout.length() <= now {
                let late = talk.answers.iter_mut().filter(|answer| answer.is_none());
                late.for_each(|answer| *answer = Some(Answer::Hangs("no answer in time".to_owned())));
            }
        }
    }

    /// What happens to the apps, and between them and the operator.
    fn app_move(&mut self) {
        let now = self.server.now();
        let all = self.server.list("Pod");
        let pods: Vec<_> = all.iter().filter_map(|pod| pod["metadata"]["uid"].as_str()).collect();
        match self.chance.below(12) {
            0..=1 if !pods.is_empty() => {
                let (pod, time) = (*self.chance.of(&pods), self.chance.below(60) + 1);
                let takes = self.apps.work(pod, now, Duration::from_secs(time));
                self.say(|| format!("work for {time} s arrives at {pod}{}", if takes { "" } else { ", which takes none" }));
            }
            2 if !pods.is_empty() => {
                let (pod, mood) = (*self.chance.of(&pods), *self.chance.of(&[Mood::Speaks, Mood::Speaks, Mood::Silent, Mood::Foreign]));
                self.apps.of(pod).mood = mood;
                self.say(|| format!("{pod}: {mood:?}"));
            }
            3 if !all.is_empty() => {
                let pod = self.chance.of(&all).clone();
                self.fall_ill(&pod);
            }
            _ if !self.operator.talks.is_empty() => {
                let index = usize::try_from(self.chance.below(self.operator.talks.len() as u64)).unwrap();
                let lost = [self.chance.below(12), self.chance.below(12)].map(|chance| chance == 0);
                self.talk(index, lost);
            }
            _ => drop(self.decide()),
        }
    }

    /// A pod is not Ready any more, or again.
    fn fall_ill(&mut self, pod: &Value) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let now = self.server.second();
        let is_ready = pod["status"]["conditions"][0]["status"] == "True";
        let is = if is_ready { "False" } else { "True" };
        if pod["status"]["phase"] != "Running" || is_broken(image_of_pod(pod)) {
            return;
        }
        self.say(|| format!("{name} is Ready: {is}"));
        self.server
            .control("Pod", name, |pod| pod["status"]["conditions"][0] = json!({"type": "Ready", "status": is, "lastTransitionTime": now}));
    }

    /// A call goes one pod further, or is heard when all have been visited. The request, or the answer, may be lost.
    fn talk(&mut self, index: usize, [request_lost, answer_lost]: [bool; 2]) {
        let talk = &mut self.operator.talks[index];
        let Some(next) = talk.answers.iter().position(Option::is_none) else {
            let what = format!("{:?} of {} about {:?}", talk.call.errand, talk.call.workload, talk.call.change);
            self.operator.hear(index, self.server.now());
            return self.say(|| format!("the operator hears the end of {what}"));
        };
        let (visit, errand) = (talk.call.visits[next].clone(), talk.call.errand);
        let mut answer = match request_lost {
            true => Answer::Hangs("the request is lost".to_owned()),
            false => self.apps.visit(&self.server, (errand, &talk.call.gate, &visit)),
        };
        if answer_lost {
            answer = Answer::Hangs("the answer is lost".to_owned());
        }
        self.seen.noes += usize::from(matches!(answer, Answer::No(_)));
        self.seen.drained += usize::from(errand == Errand::Prepare && answer == Answer::Yes);
        talk.answers[next] = Some(answer.clone());
        self.say(|| format!("{errand:?} to {} ({}): {answer:?}", visit.name, visit.pod));
    }

    /// Lets everything come to rest, with nobody doing anything.
    pub fn come_to_rest(&mut self) -> Result<(), String> {
        if self.scene.asks() {
            return self.settle();
        }
        for round in 0..400 {
            self.operator.deliver_all(&self.server);
            let mut busy = self.decide();
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

    /// The same where pods are asked: everybody is well and answers, and work comes to an end.
    fn settle(&mut self) -> Result<(), String> {
        self.apps.mend();
        let mut quiet_since = self.server.now();
        for _ in 0..3000 {
            let busy = self.round()?;
            let now = self.server.now();
            if busy {
                quiet_since = now;
                continue;
            }
            if quiet_since + REST <= now {
                return Ok(());
            }
            let wake = self
                .operator
                .wake
                .filter(|wake| *wake > now)
                .map_or(LONGEST_NAP, |wake| Duration::try_from(wake.duration_since(now)).unwrap_or(LONGEST_NAP));
            self.pass(wake.clamp(Duration::from_millis(100), LONGEST_NAP));
        }
        Err("P14: it never comes to rest".to_owned())
    }

    /// What must be so at rest.
    pub fn at_rest(&mut self) -> Result<(), String> {
        for &at @ (kind, name) in self.scene.workloads() {
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
pub fn run(scene: Scene, seed: u64, moves: usize, twin: Twin, fault: Option<Fault>, aloud: bool) -> Result<Seen, String> {
    let mut cluster = Cluster::new(scene, seed, twin, fault, aloud);
    for number in 0..moves {
        cluster.move_on().map_err(|violation| format!("after move {number}: {violation}"))?;
    }
    cluster.come_to_rest().map_err(|violation| format!("coming to rest: {violation}"))?;
    cluster.at_rest().map_err(|violation| format!("at rest: {violation}"))?;
    Ok(cluster.seen)
}

//! What can happen, chosen by a seed.

use std::time::Duration;

use lockkeeper::core::conversation::{Errand, answer::Answer};
use model::{
    admission::Twin,
    controllers,
    server::{Account, Failure},
};
use serde_json::{Value, json};

use crate::{
    apps::Mood,
    cluster::{APPROVER, Cluster, DEV, ON_CALL, Seen},
    operator::{Fault, KINDS, NOT_LEADING, WITHOUT_STORAGE},
    scenes::{At, Scene, image_of_pod, is_broken, manifest, policy, put_image},
    truth::{hold, image, mark, pods, stands, waiting},
};

impl Cluster {
    pub fn move_on(&mut self) -> Result<(), String> {
        if self.standby.is_some() && self.chance.below(2) == 0 {
            self.take_turns();
        }
        if self.scene.asks() {
            match self.chance.below(20) {
                0..=6 if self.scene == Scene::Volumes && self.chance.below(2) == 0 => {
                    self.storage_move();
                    return self.check();
                }
                0..=2 if self.standby.is_some() => {
                    let lost = [self.chance.below(8) == 0, self.chance.below(8) == 0];
                    self.elect(lost);
                    return self.check();
                }
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
                // Looked at after each: what a ReplicaSet has too many may be gone after the next.
                for _ in 0..=self.chance.below(3) {
                    controllers::step(&mut self.server);
                    self.check()?;
                }
            }
            46..=66 => {
                let kinds = if self.scene == Scene::Volumes {
                    &KINDS[..]
                } else {
                    &KINDS[..WITHOUT_STORAGE]
                };
                let (kind, ..) = *self.chance.of(kinds);
                for _ in 0..=self.chance.below(6) {
                    self.operator.deliver(&self.server, kind);
                }
            }
            67..=79 => drop(self.decide()),
            80..=91 if !self.operator.stores.is_empty() && self.chance.below(2) == 0 => {
                let index = self.chance.below(self.operator.stores.len() as u64);
                self.store(usize::try_from(index).unwrap())?;
            }
            80..=91 if !self.operator.outbox.is_empty() => {
                let index = self.chance.below(self.operator.outbox.len() as u64);
                self.send(usize::try_from(index).unwrap())?;
            }
            92..=93 => {
                self.say(|| "the operator is killed, and starts again".to_owned());
                self.seen.crashes += 1;
                self.restart();
            }
            _ => {
                let time = *self.chance.of(&[100, 700, 1500, 4000, 70_000]);
                self.pass(Duration::from_millis(time));
            }
        }
        self.check()
    }

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

    fn set_image_as(&mut self, who: Account, at: At, to: &str) {
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

    fn approve_as(&mut self, who: Account, at: At) {
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

    pub fn evict(&mut self) {
        let (_, name) = *self.chance.of(self.scene.workloads());
        let uids: Vec<_> = pods(&self.server, name).into_keys().collect();
        if uids.is_empty() {
            return;
        }
        let uid = self.chance.of(&uids).clone();
        let pod =
            self.server.list("Pod").into_iter().find(|pod| pod["metadata"]["uid"] == *uid).unwrap();
        self.evict_pod(&pod);
    }

    pub fn evict_pod(&mut self, pod: &Value) {
        let (name, uid) =
            (pod["metadata"]["name"].as_str().unwrap(), pod["metadata"]["uid"].as_str().unwrap());
        self.say(|| format!("{name} is evicted"));
        let at = self
            .scene
            .workloads()
            .iter()
            .find(|(_, workload)| pod["metadata"]["labels"]["app"] == *workload);
        if let Some((kind, workload)) = at {
            let known = self.known(kind, workload);
            known.evicted.insert(uid.to_owned());
            known.excused.insert(uid.to_owned());
        }
        self.server.delete("Pod", name);
    }

    /// For a while nothing is late or lost.
    pub fn calm(&mut self) -> Result<(), String> {
        let (rounds, nap) = (self.chance.below(8) + 1, *self.chance.of(&[200, 1000, 2500]));
        for _ in 0..rounds {
            self.round()?;
            self.pass(Duration::from_millis(nap));
        }
        Ok(())
    }

    /// Everybody does what is to be done. Returns whether anything was written.
    pub fn round(&mut self) -> Result<bool, String> {
        if self.standby.is_some() {
            // The one that leads, if one does, comes last and so stays.
            for _ in 0..2 {
                self.take_turns();
                self.elect([false; 2]);
                self.operator.deliver_all(&self.server);
                self.decide();
            }
            let now = self.server.now();
            if self.standby.as_ref().is_some_and(|standby| standby.may_act(now)) {
                self.take_turns();
            }
        }
        self.operator.deliver_all(&self.server);
        let mut busy = !self.operator.may_act(self.server.now());
        loop {
            self.decide();
            while !self.operator.outbox.is_empty() {
                self.send(0)?;
                self.check()?;
                busy = true;
            }
            while !self.operator.stores.is_empty() {
                self.store(0)?;
                self.check()?;
                busy = true;
            }
            // What is heard is decided on at once.
            if self.operator.talks.is_empty() {
                break;
            }
            while !self.operator.talks.is_empty() {
                self.talk(0, [false; 2]);
            }
        }
        busy |= controllers::step(&mut self.server);
        self.check()?;
        Ok(busy)
    }

    /// Time passes: what has no answer by then gets none.
    pub fn pass(&mut self, time: Duration) {
        self.server.advance(time);
        let now = self.server.now();
        let all = self
            .operator
            .talks
            .iter_mut()
            .chain(self.standby.iter_mut().flat_map(|standby| &mut standby.talks));
        for talk in all {
            if talk.begun + talk.call.gate.timeout.length() <= now {
                let late = talk
                    .call
                    .visits
                    .iter()
                    .zip(&mut talk.answers)
                    .filter(|(_, answer)| answer.is_none());
                for (visit, answer) in late {
                    *answer = Some(Answer::Hangs("no answer in time".to_owned()));
                    if talk.call.errand == Errand::Prepare {
                        self.apps.of(&visit.pod).prepared_at = now;
                    }
                }
            }
        }
    }

    /// What happens to the apps, and between them and the operator.
    pub fn app_move(&mut self) {
        let now = self.server.now();
        let all = self.server.list("Pod");
        let pods: Vec<_> = all.iter().filter_map(|pod| pod["metadata"]["uid"].as_str()).collect();
        match self.chance.below(12) {
            0..=1 if !pods.is_empty() => {
                let (pod, time) = (*self.chance.of(&pods), self.chance.below(60) + 1);
                let takes = self.apps.work(pod, now, Duration::from_secs(time));
                self.say(|| {
                    format!(
                        "work for {time} s arrives at {pod}{}",
                        if takes { "" } else { ", which takes none" }
                    )
                });
            }
            2 if !pods.is_empty() => {
                let (pod, mood) = (
                    *self.chance.of(&pods),
                    *self.chance.of(&[Mood::Speaks, Mood::Speaks, Mood::Silent, Mood::Foreign]),
                );
                self.apps.of(pod).mood = mood;
                self.say(|| format!("{pod}: {mood:?}"));
            }
            3 if !all.is_empty() => {
                let pod = self.chance.of(&all).clone();
                self.fall_ill(&pod);
            }
            _ if !self.operator.talks.is_empty() => {
                let index =
                    usize::try_from(self.chance.below(self.operator.talks.len() as u64)).unwrap();
                let lost = [self.chance.below(12), self.chance.below(12)].map(|chance| chance == 0);
                self.talk(index, lost);
            }
            _ => drop(self.decide()),
        }
    }

    /// A pod is not Ready any more, or again.
    pub fn fall_ill(&mut self, pod: &Value) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let now = self.server.second();
        let is_ready = pod["status"]["conditions"][0]["status"] == "True";
        let is = if is_ready { "False" } else { "True" };
        if pod["status"]["phase"] != "Running" || is_broken(image_of_pod(pod)) {
            return;
        }
        self.say(|| format!("{name} is Ready: {is}"));
        self.server.control("Pod", name, |pod| {
            pod["status"]["conditions"][0] =
                json!({"type": "Ready", "status": is, "lastTransitionTime": now})
        });
    }

    /// A call goes one pod further, or is heard when all have been visited. The request, or the
    /// answer, may be lost.
    pub fn talk(&mut self, index: usize, [request_lost, answer_lost]: [bool; 2]) {
        let now = self.server.now();
        let leads = self.operator.may_act(now);
        let talk = &mut self.operator.talks[index];
        let Some(next) = talk.answers.iter().position(Option::is_none) else {
            let what = format!(
                "{:?} of {} about {:?}",
                talk.call.errand, talk.call.workload, talk.call.change
            );
            self.operator.hear(index, now);
            return self.say(|| format!("the operator hears the end of {what}"));
        };
        let (visit, errand) = (talk.call.visits[next].clone(), talk.call.errand);
        let feigned = match self.fault {
            Some(Fault::KeepsDrained) => errand == Errand::Withdraw,
            Some(Fault::NeverRenews) => {
                errand == Errand::Prepare && self.apps.is_prepared(&visit.pod, now)
            }
            _ => false,
        };
        let mut answer = match (feigned, request_lost) {
            (true, _) => Answer::Yes,
            (_, true) => Answer::Hangs("the request is lost".to_owned()),
            _ if !leads => Answer::Unusable(NOT_LEADING.to_owned()),
            _ => self.apps.visit(&self.server, (errand, &talk.call.gate, &visit)),
        };
        if errand == Errand::Prepare && !feigned {
            self.apps.of(&visit.pod).prepared_at = now;
        }
        if answer_lost && !feigned {
            answer = Answer::Hangs("the answer is lost".to_owned());
        }
        self.seen.noes += usize::from(matches!(answer, Answer::No(_)));
        self.seen.drained += usize::from(errand == Errand::Prepare && answer == Answer::Yes);
        talk.answers[next] = Some(answer.clone());
        self.say(|| format!("{errand:?} to {} ({}): {answer:?}", visit.name, visit.pod));
    }

    /// The operator looks after its Lease, if there are several. A request or its answer may be
    /// lost.
    pub fn elect(&mut self, lost: [bool; 2]) {
        let now = self.server.now();
        let Some(candidate) = &mut self.operator.candidate else { return };
        let term = candidate.term;
        candidate.run(&mut self.lease, now, lost);
        let (begins, name) = (candidate.term > term, candidate.name.clone());
        self.seen.terms += u64::from(begins);
        if begins {
            self.say(|| format!("{name} begins to lead"));
        }
    }

    pub fn live(&mut self, moves: usize) -> Result<(), String> {
        for number in 0..moves {
            self.move_on().map_err(|violation| format!("after move {number}: {violation}"))?;
        }
        self.come_to_rest().map_err(|violation| format!("coming to rest: {violation}"))?;
        self.at_rest().map_err(|violation| format!("at rest: {violation}"))?;
        match self.scene.asks() {
            true => self.end_well().map_err(|violation| format!("in the end: {violation}")),
            false => Ok(()),
        }
    }
}

/// So many moves, chosen by a seed; then everything comes to rest.
pub fn run(
    scene: Scene,
    seed: u64,
    moves: usize,
    twin: Twin,
    fault: Option<Fault>,
    aloud: bool,
) -> Result<Seen, String> {
    let mut cluster = Cluster::new(scene, seed, twin, fault, aloud);
    let result = cluster.live(moves);
    for one in cluster.operator.attention.iter().filter(|_| aloud) {
        println!(
            "status: {}/{} {:?} ({:?}): {}",
            one.kind, one.name, one.phase, one.reason, one.message
        );
    }
    let (unblocked, found_again) = (cluster.kept.unblocked, cluster.kept.found_again);
    result.map(|()| Seen {
        followed: cluster.order.followed,
        unblocked,
        found_again,
        ..cluster.seen
    })
}

//! A cluster: its server, its apps, its operators, and what is known of them from outside.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lockkeeper::core::{
    conversation::Errand,
    request::{Patch, Purpose, Release},
};
use model::{
    admission::Twin,
    controllers,
    server::{Account, Failure, Server},
};
use serde_json::{Value, json};

use crate::{
    apps::Apps,
    consent::{Consent, governing, judge, text},
    election::{Candidate, Lease},
    fault::Fault,
    moves::Chance,
    operator::{NOT_LEADING, Operator},
    order::{self, Order},
    scenes::{At, Scene, image_of_pod, manifest, policy},
    seen::Seen,
    truth::{Known, Truth, hold, image, mark, waiting},
    volumes::{self, Kept},
};

pub const DEV: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };

pub const APPROVER: Account =
    Account { user: "approver", manager: "kubectl-annotate", verbs: &["approve"] };
pub const ON_CALL: Account =
    Account { user: "oncall", manager: "kubectl-annotate", verbs: &["approve", "bypass"] };

/// A pod that is to be ended is asked every 20 s to take no new work.
const RENEWED_WITHIN: Duration = Duration::from_secs(25);

/// Whether a workload is noted as governed by this very policy.
fn is_recorded(policy: &Value, object: &Value) -> bool {
    let mark = mark(object, "governance")
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .unwrap_or_default();
    mark["uid"] == policy["metadata"]["uid"]
}

/// The pods of a workload that are not going.
pub fn pods_of(server: &Server, name: &str) -> Vec<Arc<Value>> {
    let is = |pod: &Arc<Value>| {
        pod["metadata"]["labels"]["app"] == name && pod["metadata"]["deletionTimestamp"].is_null()
    };
    server.list("Pod").into_iter().filter(is).collect()
}

/// A cluster with two workloads, a policy and the operator.
pub struct Cluster {
    pub server: Server,
    /// The one whose turn it is.
    pub operator: Operator,
    /// The other one, if there are two.
    pub standby: Option<Operator>,
    pub lease: Lease,
    pub candidates: u64,
    pub truth: Truth,
    pub apps: Apps,
    pub consent: Consent,
    pub order: Order,
    pub kept: Kept,
    pub seed: u64,
    pub scene: Scene,
    pub seen: Seen,
    pub chance: Chance,
    pub images: u32,
    pub fault: Option<Fault>,
    pub violation: Option<String>,
    pub aloud: bool,
    pub told: u64,
    pub checked: u64,
}

impl Cluster {
    /// Workloads that run, and the first policy of the scene; not adopted yet.
    pub fn new(scene: Scene, seed: u64, twin: Twin, fault: Option<Fault>, aloud: bool) -> Self {
        let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
        server.twin = Some(twin);
        server
            .create(DEV, "ConfigMap", json!({"metadata": {"name": "app"}, "data": {"key": "0"}}))
            .unwrap();
        server.create(DEV, "UpgradePolicy", policy(&scene.policies()[0])).unwrap();
        if scene == Scene::Volumes {
            volumes::set_up(&mut server, seed);
        }
        for &(kind, name) in scene.workloads() {
            server.create(DEV, kind, manifest(scene, name, "v0")).unwrap();
        }
        controllers::settle(&mut server);
        server.advance(Duration::from_secs(5));
        let operator = Operator::start(&server, fault);
        let standby = (scene == Scene::Replicas).then(|| Operator::start(&server, fault));
        let mut cluster = Self {
            server,
            operator,
            standby,
            lease: Lease::default(),
            candidates: 0,
            truth: Truth::default(),
            apps: Apps::default(),
            consent: Consent::default(),
            order: Order::default(),
            kept: Kept::default(),
            seed,
            scene,
            seen: Seen::default(),
            chance: Chance(seed),
            images: 0,
            fault,
            violation: None,
            aloud,
            told: 0,
            checked: 0,
        };
        if cluster.standby.is_some() {
            cluster.restart();
            cluster.take_turns();
            cluster.restart();
        }
        for &(kind, name) in scene.workloads() {
            let known = cluster.truth.known.entry((kind, name)).or_default();
            known.team = Some("a".to_owned());
        }
        cluster
    }

    /// The operator whose turn it is is killed, and another one starts in its place.
    pub fn restart(&mut self) {
        self.operator = Operator::start(&self.server, self.fault);
        if self.standby.is_some() {
            self.candidates += 1;
            self.operator.candidate =
                Some(Candidate::new(format!("operator {}", self.candidates), self.server.now()));
        }
    }

    /// It is the other operator's turn, if there is another one.
    pub fn take_turns(&mut self) {
        if let Some(standby) = &mut self.standby {
            std::mem::swap(&mut self.operator, standby);
        }
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            println!("{} {}", self.server.now().strftime("%H:%M:%S%.f"), what());
        }
    }

    /// Tells what the controllers did since it was last told.
    pub fn tell(&mut self) {
        for event in self.server.events_since(self.told) {
            let (object, name) =
                (&event.object, event.object["metadata"]["name"].as_str().unwrap_or_default());
            match event.kind.as_str() {
                "Pod" if event.deleted => self.say(|| format!("    pod {name} is gone")),
                "Pod" if !object["metadata"]["deletionTimestamp"].is_null() => {
                    self.say(|| format!("    pod {name} goes"))
                }
                "Pod" if object["status"]["phase"] == "Pending" => {
                    self.say(|| format!("    pod {name} is made of {}", image_of_pod(object)))
                }
                "ReplicaSet" => self.say(|| {
                    format!(
                        "    {name} is to have {}, has {}",
                        object["spec"]["replicas"], object["status"]["replicas"]
                    )
                }),
                _ => {}
            }
        }
        self.told = self.server.version();
    }

    pub fn known(&mut self, kind: &'static str, name: &'static str) -> &mut Known {
        self.truth.known.get_mut(&(kind, name)).unwrap()
    }

    pub fn check(&mut self) -> Result<(), String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        if self.aloud {
            self.tell();
        }
        let now = self.server.now();
        if self.standby.as_ref().is_some_and(|standby| standby.may_act(now))
            && self.operator.may_act(now)
        {
            return Err("two operators lead".to_owned());
        }
        self.consent.lapsed(&self.apps, now);
        if std::mem::replace(&mut self.checked, self.server.version()) == self.server.version() {
            return Ok(());
        }
        for &(kind, name) in self.scene.workloads() {
            self.truth.check(&self.server, kind, name)?;
            let evicted = &self.truth.known[&(kind, name)].evicted;
            self.consent.check(&self.server, (kind, name), evicted, &self.apps)?;
            self.order.check(&self.server, (kind, name), self.scene.workloads());
        }
        if self.scene == Scene::Volumes {
            self.kept.check(&self.server, self.scene.workloads())?;
        }
        self.apps.start(&self.server);
        Ok(())
    }

    /// The operator decides, and what it decides is looked at.
    pub fn decide(&mut self) -> bool {
        let (now, known, told) =
            (self.server.now(), self.operator.outbox.len(), self.operator.told.len());
        let new = self.operator.decide(now);
        let of = |patch: &Patch| {
            let at = self.scene.workloads().iter().find(|(_, name)| *name == patch.workload.name);
            let walks = at.and_then(|at| self.truth.known[at].walks.as_deref());
            let mut judgement = judge(&self.operator, &self.apps, patch, walks, now);
            let out_of_order =
                || order::judge(&self.operator, &self.apps, self.scene.workloads(), patch, now);
            judgement.wrong = judgement.wrong.or_else(out_of_order);
            (patch.uid.clone(), judgement)
        };
        let judged: Vec<_> = self.operator.outbox[known..].iter().map(of).collect();
        self.operator.judged.extend(judged);
        if self.violation.is_none() {
            self.violation = self.neglected().or_else(|| {
                order::too_early(&self.server, &self.operator, self.scene.workloads(), told)
            });
        }
        new
    }

    /// A pod that takes no new work until it is ended must be asked again in time. The operator has
    /// just decided, and says nothing to it.
    pub fn neglected(&self) -> Option<String> {
        let (now, shown) = (self.server.now(), &self.operator.shown);
        for (name, pod) in self.consent.drained() {
            let uid = pod["metadata"]["uid"].as_str()?;
            let due = self.apps.prepared_at(uid, now).is_some_and(|at| at + RENEWED_WITHIN < now);
            let talks = || {
                self.operator.talks.iter().any(|talk| {
                    talk.call.workload.name == name && talk.call.errand != Errand::Verify
                })
            };
            // What the watches have shown: that it was let through and the controller has begun,
            // and that the pod is there.
            let is_seen = |kind| {
                let object = shown.get(&(kind, name.to_owned()))?;
                let observed =
                    object["status"]["observedGeneration"] == object["metadata"]["generation"];
                let prepares = governing(shown, object)?.gates?.app?.prepare.is_some();
                Some(hold(object).is_none() && observed && prepares)
            };
            let there = shown
                .get(&("Pod", pod["metadata"]["name"].as_str()?.to_owned()))
                .is_some_and(|shown| shown["metadata"] == pod["metadata"]);
            if due
                && there
                && !talks()
                && ["Deployment", "StatefulSet"].into_iter().any(|kind| is_seen(kind) == Some(true))
            {
                return Some(format!(
                    "P8: {} is to be ended, and is not asked again to take no new work",
                    pod["metadata"]["name"]
                ));
            }
        }
        None
    }

    /// A write by somebody: what they mean by it is noted if it is accepted.
    pub fn write(
        &mut self,
        account: Account,
        (kind, name): At,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), Failure> {
        let before = self.server.get(kind, name).ok_or(Failure::NotFound)?;
        let result = self.server.update(account, kind, name, change);
        self.note(kind, name, &before, result.is_ok());
        let after = self.server.get(kind, name).ok_or(Failure::NotFound)?;
        self.truth.wrote(account.user, (kind, name), &before, &after);
        result.map(drop)
    }

    pub fn note(&mut self, kind: &'static str, name: &'static str, before: &Value, accepted: bool) {
        if !accepted {
            self.seen.refused += 1;
            return;
        }
        let after = self.server.get(kind, name).unwrap();
        self.known(kind, name).team =
            after["metadata"]["annotations"]["team"].as_str().map(str::to_owned);
        // What somebody writes and admission does not hold goes by their decision: a bypass, a
        // change of what is not governed, a partition of their own that is lowered. That a change
        // of what is governed is held is looked at elsewhere.
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

    pub fn held_if_marked(&self, (kind, name): At, to: &str) -> (String, bool) {
        let object = self.server.get(kind, name).unwrap();
        let marked = mark(&object, "hold-changes") == Some("true")
            && object["metadata"]["labels"]["lockkeeper.dev/governed"].is_string();
        (
            image(&object),
            (marked && object["spec"]["replicas"] != 0 || hold(&object).is_some())
                && image(&object) != to,
        )
    }

    pub fn must_hold(&mut self, (kind, name): At, was: &str, marked: bool) {
        let object = self.server.get(kind, name).unwrap();
        if marked && hold(&object).is_none() {
            self.violation =
                Some(format!("P6: {kind}/{name} was changed from {was} and is not held"));
        }
    }

    /// Sends one request of the operator, and sees whether what it lets through may pass.
    pub fn send(&mut self, index: usize) -> Result<(), String> {
        let patch = &self.operator.outbox[index];
        let Some(&at @ (kind, name)) =
            self.scene.workloads().iter().find(|(_, name)| *name == patch.workload.name)
        else {
            return Ok(());
        };
        // One that was deleted in the meantime belongs to no policy any more.
        let before = self.server.get(kind, name).unwrap_or_default();
        let unseen = ["UpgradePolicy", kind].into_iter().any(|kind| {
            let cursor = self.operator.cursor(kind);
            self.server
                .log()
                .iter()
                .rev()
                .take_while(|event| event.version > cursor)
                .any(|event| event.kind == kind)
        });
        let (patch, result) = self.operator.send(&mut self.server, index);
        self.say(|| {
            format!(
                "the operator {} {name}: {:?} {}",
                Operator::purpose(&patch),
                result.as_ref().err(),
                patch.json()
            )
        });
        match result {
            Ok(()) => {}
            Err(Failure::Invalid(_) | Failure::NotFound) => {
                self.seen.conflicts += 1;
                return Ok(());
            }
            Err(Failure::Forbidden(why)) if why == NOT_LEADING => return Ok(()),
            Err(failure) => {
                return Err(format!(
                    "the operator's patch of {kind}/{name} is refused: {failure:?}"
                ));
            }
        }
        if patch.config_hash.is_some() {
            self.seen.rollouts += 1;
        }
        if patch.purpose == Purpose::Step {
            self.seen.steps += 1;
        }
        self.kept.unblocked += usize::from(patch.purpose == Purpose::Unblock);
        let after = self.server.get(kind, name).unwrap();
        let judgement = self.operator.judged.remove(&patch.uid).unwrap_or_default();
        // Nor can it heed a policy that changes while its request is on the way.
        let newer = self
            .server
            .log()
            .iter()
            .rev()
            .take_while(|event| event.version > judgement.policies_seen);
        let unseen = unseen || newer.into_iter().any(|event| event.kind == "UpgradePolicy");
        if let Some(wrong) = judgement.wrong {
            return Err(format!("P8: {kind}/{name}: {wrong} ({:?})", patch.purpose));
        }
        self.order.accepted(at, &patch)?;
        if mark(&after, "partition").is_some() && hold(&after).is_none() {
            let (walks, rolls) = (hold(&before).map(str::to_owned), patch.config_hash.is_some());
            let known = self.known(kind, name);
            known.walks = walks.or(known.walks.take().filter(|_| !rolls));
        }
        if mark(&before, "config").is_none() && mark(&after, "config").is_some() {
            // What it finds it takes for what the pods run.
            let pods = pods_of(&self.server, name);
            let config = self.server.get("ConfigMap", "app").unwrap()["data"]["key"].clone();
            self.apps.adopt(pods.iter().map(|pod| text(pod, "uid")), &config);
        }
        if hold(&after).is_none() && (hold(&before).is_some() || before["spec"] != after["spec"]) {
            self.consent.let_go(&self.server, at, &judgement.drained);
            self.seen.agreed += usize::from(
                self.scene.asks() && patch.purpose == Purpose::Release(Release::GatesOpen),
            );
        }
        let Some(id) = hold(&before).filter(|_| hold(&after).is_none()) else { return Ok(()) };
        if let Some(declared) =
            waiting(&before).filter(|declared| after["spec"]["replicas"] != *declared)
        {
            return Err(format!(
                "P10: {kind}/{name} was let through, and has {} replicas, not the {declared} asked for",
                after["spec"]["replicas"]
            ));
        }
        let held = image(&before);
        let known = &self.truth.known[&at];
        let policy = self.server.get("UpgradePolicy", "shop");
        let from_other = policy
            .is_some_and(|policy| policy["spec"]["gates"]["approval"] == "RequiredFromOther")
            && !unseen;
        if from_other
            && self.must_wait(&before)
            && known.own_approvals.contains(id)
            && !self.truth.may_pass(&self.server, kind, name, &before)
        {
            return Err(format!(
                "P16: {kind}/{name} was let through with {held}, id {id}, which only one of its authors approved"
            ));
        }
        if known.approvals.contains(&(id.to_owned(), held.clone())) {
            self.seen.approved += 1;
            return Ok(());
        }
        if self.truth.may_pass(&self.server, kind, name, &before) {
            self.seen.reverted += 1;
            return Ok(());
        }
        if !unseen && self.observed(&before) {
            return Err(format!(
                "{kind}/{name} was let through ({:?}) by a policy that only observes",
                patch.purpose
            ));
        }
        // What the operator could not have seen yet, it could not heed; it acted on a policy that
        // was there a moment ago.
        if !self.must_wait(&before) || (unseen && self.fault.is_none()) {
            self.seen.ungoverned += 1;
            return Ok(());
        }
        Err(format!(
            "P7, P16: {kind}/{name} was let through ({:?}) with {held}, id {id}, which nobody approved",
            patch.purpose
        ))
    }

    /// Sends one request of the operator about storage.
    pub fn store(&mut self, index: usize) -> Result<(), String> {
        let (patch, result) = self.operator.store(&mut self.server, index);
        self.say(|| {
            format!(
                "the operator writes {:?}: {:?} {}",
                patch.object,
                result.as_ref().err(),
                patch.json()
            )
        });
        match result {
            Ok(()) => self.seen.stored += 1,
            Err(Failure::Conflict | Failure::NotFound) => self.seen.conflicts += 1,
            Err(Failure::Forbidden(why)) if why == NOT_LEADING => {}
            Err(failure) => {
                return Err(format!(
                    "the operator's patch of {:?} is refused: {failure:?}",
                    patch.object
                ));
            }
        }
        Ok(())
    }

    /// Whether the policy, as it is now, only observes this workload.
    fn observed(&self, object: &Value) -> bool {
        let Some(policy) = self.server.get("UpgradePolicy", "shop") else { return false };
        let spec = &policy["spec"];
        spec["selector"]["matchLabels"]["managed"] == object["metadata"]["labels"]["managed"]
            && spec["mode"] == "Observe"
            && is_recorded(&policy, object)
    }

    /// Whether the policy, as it is now, wants this workload's changes held until somebody
    /// approves.
    pub fn must_wait(&self, object: &Value) -> bool {
        let Some(policy) = self.server.get("UpgradePolicy", "shop") else { return false };
        let spec = &policy["spec"];
        let selects =
            spec["selector"]["matchLabels"]["managed"] == object["metadata"]["labels"]["managed"];
        let holds = spec["mode"] != "Observe"
            && (spec["mode"] == "Freeze" || spec["gates"]["approval"].is_string());
        // One that cannot be read governs only what it governed before.
        selects && holds && (spec["gates"]["windows"].is_null() || is_recorded(&policy, object))
    }
}

//! Everything comes to rest: what must be so then.

use std::{sync::Arc, time::Duration};

use model::controllers;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, DEV, pods_of},
    consent::{runs, text},
    scenes::{Scene, image_of_pod, is_broken, policy},
    truth::{hold, image, mark, server_settled},
};

/// When nothing is written for so long, nothing will be: longer than any lease, any work, and what
/// a stray is left alone for.
const REST: Duration = Duration::from_secs(100);
const LONGEST_NAP: Duration = Duration::from_secs(20);
/// So soon after the last reason is gone no pod is kept from work any more: it is told at once, and
/// again after 5 s.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(15);

impl Cluster {
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
    pub fn settle(&mut self) -> Result<(), String> {
        self.apps.fix();
        for pod in self
            .server
            .list("Pod")
            .iter()
            .filter(|pod| pod["status"]["conditions"][0]["status"] == "False")
        {
            self.fall_ill(pod);
        }
        let mut quiet_since = self.server.now();
        for _ in 0..3000 {
            let busy = self.round()?;
            let now = self.server.now();
            if busy {
                quiet_since = now;
                if self.operator.may_act(now) {
                    continue;
                }
            }
            if quiet_since + REST <= now {
                return Ok(());
            }
            if quiet_since + WITHDRAWN_WITHIN <= now {
                self.nobody_is_kept_from_work()?;
            }
            // A Lease wants to be renewed.
            let longest = if self.standby.is_some() { LONGEST_NAP / 4 } else { LONGEST_NAP };
            let wake = self
                .operator
                .wake
                .filter(|wake| *wake > now)
                .and_then(|wake| Duration::try_from(wake.duration_since(now)).ok());
            self.pass(wake.unwrap_or(longest).clamp(Duration::from_millis(100), longest));
        }
        Err("P14: it never comes to rest".to_owned())
    }

    /// Nobody takes no new work without a change that is held or rolled.
    pub fn nobody_is_kept_from_work(&self) -> Result<(), String> {
        for &(kind, name) in self.scene.workloads() {
            let Some(object) = self.server.get(kind, name) else { continue };
            let pods = pods_of(&self.server, name);
            let under_way = pods.iter().any(|pod| runs(pod) != runs(&object["spec"]["template"]));
            let waits = self
                .server
                .get("UpgradePolicy", "shop")
                .is_some_and(|policy| policy["spec"]["mode"].is_null());
            let waits = waits
                && (hold(&object).is_some()
                    || mark(&object, "pending-config").is_some()
                    || under_way);
            let ours = |pod: &&Arc<Value>| self.operator.drained.contains(text(pod, "uid"));
            let drained = |pod: &&Arc<Value>| {
                ours(pod) && self.apps.is_prepared(text(pod, "uid"), self.server.now())
            };
            if let Some(pod) = pods.iter().find(drained).filter(|_| !waits) {
                return Err(format!(
                    "P8: {} is kept from work, and nothing waits for it",
                    pod["metadata"]["name"]
                ));
            }
        }
        Ok(())
    }

    /// Users fix what is broken, and let everything pass: then everything passes. After that
    /// nothing happens any more, also when the operator starts again.
    pub fn end_well(&mut self) -> Result<(), String> {
        let plain = self.chance.below(self.scene.plain() as u64);
        let policy = policy(&self.scene.policies()[usize::try_from(plain).unwrap()]);
        self.say(|| format!("in the end the policy is {}", policy["spec"]));
        if self
            .server
            .update(DEV, "UpgradePolicy", "shop", |one| one["spec"] = policy["spec"].clone())
            .is_err()
        {
            self.server.create(DEV, "UpgradePolicy", policy).unwrap();
        }
        if self.scene == Scene::Volumes {
            self.restore()?;
        }
        for &at in self.scene.workloads() {
            let object = self.server.get(at.0, at.1).unwrap();
            self.declare(at, &object, 0);
            let _ = self
                .write(DEV, at, |object| object["metadata"]["labels"]["managed"] = json!("yes"));
            if is_broken(&image(&object)) {
                self.set_image(at, "cure");
            }
        }
        self.settle()?;
        // The controller of a StatefulSet does not replace a broken pod of a withdrawn revision:
        // somebody has to (kubernetes#67250).
        for &(kind, name) in self.scene.workloads() {
            for pod in pods_of(&self.server, name)
                .iter()
                .filter(|pod| kind == "StatefulSet" && is_broken(image_of_pod(pod)))
            {
                self.say(|| format!("dev deletes {}", pod["metadata"]["name"]));
                self.known(kind, name)
                    .evicted
                    .insert(pod["metadata"]["uid"].as_str().unwrap().to_owned());
                self.server.delete("Pod", pod["metadata"]["name"].as_str().unwrap());
            }
        }
        self.settle()?;
        for &(kind, name) in self.scene.workloads() {
            let object = self.server.get(kind, name).unwrap();
            if let Some(id) = hold(&object) {
                return Err(format!(
                    "P9: everything may pass, and {kind}/{name} is still held, id {id}"
                ));
            }
            let old = |pod: &&Arc<Value>| runs(pod) != runs(&object["spec"]["template"]);
            if let Some(pod) = pods_of(&self.server, name).iter().find(old) {
                return Err(format!(
                    "P9: everything may pass, and {} is still old",
                    pod["metadata"]["name"]
                ));
            }
        }
        match self.scene {
            Scene::Steps => self.step_by_step()?,
            Scene::Volumes => self.all_run()?,
            _ => {}
        }
        self.say(|| "the operator starts again, and nothing more is to be done".to_owned());
        let version = self.server.version();
        self.restart();
        self.take_turns();
        self.restart();
        self.settle()?;
        match self.server.version() == version {
            true => Ok(()),
            false => Err("P1, P14: after a start of the operator something is written".to_owned()),
        }
    }

    /// A step is rolled out, and each that restarts with the one before it follows once, also if
    /// the operator is killed in the meantime.
    pub fn step_by_step(&mut self) -> Result<(), String> {
        let policy = policy(&self.scene.policies()[0]);
        self.server
            .update(DEV, "UpgradePolicy", "shop", |one| one["spec"] = policy["spec"].clone())
            .unwrap();
        self.settle()?;
        self.order.rest();
        let followed = self.order.followed;
        self.set_image(("StatefulSet", "db"), "last");
        for _ in 0..self.chance.below(40) {
            self.round()?;
            self.pass(Duration::from_millis(700));
        }
        self.say(|| "the operator is killed amid the steps".to_owned());
        self.restart();
        self.settle()?;
        match self.order.followed - followed {
            2 => Ok(()),
            times => Err(format!("{times} workloads were rolled as the step before was, not 2")),
        }
    }

    /// What must be so at rest.
    pub fn at_rest(&mut self) -> Result<(), String> {
        for &at @ (kind, name) in self.scene.workloads() {
            let Some(object) = self.server.get(kind, name) else { continue };
            let Some(id) = hold(&object).map(str::to_owned) else {
                // One that cannot be read governs only what it governed before.
                let policy = self
                    .server
                    .get("UpgradePolicy", "shop")
                    .filter(|policy| policy["spec"]["gates"]["windows"].is_null());
                if policy.is_some()
                    && self.must_wait(&object)
                    && mark(&object, "hold-changes") != Some("true")
                {
                    return Err(format!(
                        "P6: {kind}/{name} does not carry the mark by which it is held"
                    ));
                }
                continue;
            };
            if server_settled(&self.server, kind, &object) == Some(image(&object)) {
                return Err(format!(
                    "P9: {kind}/{name} was reverted to {}, and is still held",
                    image(&object)
                ));
            }
            let approved = self.truth.known[&at].approvals.contains(&(id.clone(), image(&object)));
            let policy = self.server.get("UpgradePolicy", "shop");
            let plain = policy.is_some_and(|policy| {
                let others = policy["spec"]["gates"]["approval"] == "RequiredFromOther"
                    && !self.truth.known[&at].own_approvals.contains(&id);
                (others || policy["spec"]["gates"]["approval"] == "Required")
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

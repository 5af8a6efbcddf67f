//! The apps in the pods: they get work at random, and speak the upgrade protocol, or do not.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use lockkeeper::{
    api::AppGate,
    core::conversation::{
        Errand, Visit,
        answer::{self, Answer},
    },
};
use model::server::Server;
use serde_json::{Value, json};

use crate::scenes::{image_of_pod, is_broken};

/// How long an app keeps to taking no new work, as the request says.
const LEASE: Duration = Duration::from_secs(60);

/// How an app behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// As the protocol asks.
    #[default]
    Speaks,
    /// It does not answer.
    Silent,
    /// It does not know the protocol.
    Foreign,
}

/// The app of one pod.
#[derive(Debug, Clone)]
pub struct App {
    /// Until when it has work.
    pub busy_until: Timestamp,
    /// When it was last asked to take no new work, also in vain.
    pub prepared_at: Timestamp,
    /// Until when it takes none.
    pub prepared_until: Timestamp,
    pub mood: Mood,
    /// The content of the ConfigMap when it started.
    config: Option<Value>,
}

/// All apps, by the pod's uid. Nobody but the pods and their callers knows them.
#[derive(Default)]
pub struct Apps(BTreeMap<String, App>);

impl Apps {
    pub fn of(&mut self, pod: &str) -> &mut App {
        let never = Timestamp::MIN;
        let idle = App {
            busy_until: never,
            prepared_at: never,
            prepared_until: never,
            mood: Mood::Speaks,
            config: None,
        };
        self.0.entry(pod.to_owned()).or_insert(idle)
    }

    pub fn is_busy(&self, pod: &str, now: Timestamp) -> bool {
        self.0.get(pod).is_some_and(|app| app.busy_until > now)
    }

    pub fn is_prepared(&self, pod: &str, now: Timestamp) -> bool {
        self.0.get(pod).is_some_and(|app| app.prepared_until > now)
    }

    /// The config that a pod started with.
    pub fn config(&self, pod: &str) -> Option<&Value> {
        self.0.get(pod)?.config.as_ref()
    }

    /// Pods that run by now have read their config.
    pub fn start(&mut self, server: &Server) {
        let config = server.get("ConfigMap", "app").map(|config| config["data"]["key"].clone());
        for pod in server.list("Pod").iter().filter(|pod| pod["status"]["phase"] == "Running") {
            let app = self.of(pod["metadata"]["uid"].as_str().unwrap_or_default());
            app.config = app.config.take().or_else(|| config.clone());
        }
    }

    /// Somebody decided that these pods run the config that they should.
    pub fn adopt<'a>(&mut self, pods: impl Iterator<Item = &'a str>, config: &Value) {
        pods.for_each(|pod| self.of(pod).config = Some(config.clone()));
    }

    /// When a pod was last asked to take no new work, if it still keeps to it.
    pub fn prepared_at(&self, pod: &str, now: Timestamp) -> Option<Timestamp> {
        self.0.get(pod).filter(|app| app.prepared_until > now).map(|app| app.prepared_at)
    }

    /// Work arrives. One that is prepared sends it elsewhere.
    pub fn work(&mut self, pod: &str, now: Timestamp, time: Duration) -> bool {
        let app = self.of(pod);
        let takes = app.prepared_until <= now;
        if takes {
            app.busy_until = app.busy_until.max(now + time);
        }
        takes
    }

    /// Everybody is well again.
    pub fn fix(&mut self) {
        self.0.values_mut().for_each(|app| app.mood = Mood::Speaks);
    }

    /// A request reaches the address of a pod.
    pub fn visit(
        &mut self,
        server: &Server,
        (errand, gate, visit): (Errand, &AppGate, &Visit),
    ) -> Answer {
        let now = server.now();
        let address = visit.address.ip().to_string();
        let pods = server.list("Pod");
        let there = pods
            .iter()
            .find(|pod| pod["status"]["podIP"] == *address && visit.address.port() == 8080);
        let runs = |pod: &&std::sync::Arc<Value>| {
            pod["status"]["phase"] == "Running" && !is_broken(image_of_pod(pod))
        };
        let Some(uid) = there.filter(runs).and_then(|pod| pod["metadata"]["uid"].as_str()) else {
            return Answer::Unusable("connection refused".to_owned());
        };
        let app = self.of(uid);
        match app.mood {
            Mood::Silent => return Answer::Hangs("no answer".to_owned()),
            Mood::Foreign => return Answer::Missing(404),
            Mood::Speaks => {}
        }
        match errand {
            Errand::Prepare => app.prepared_until = now + LEASE,
            Errand::Withdraw => app.prepared_until = Timestamp::MIN,
            Errand::Ask | Errand::Verify => {
                let body =
                    json!({"isUpgradeable": app.busy_until <= now, "reason": "a job is running"});
                return answer::read(&gate.open_when, 200, body.to_string().as_bytes());
            }
        }
        Answer::Yes
    }
}

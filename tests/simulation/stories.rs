//! Golden stories: what people do, and what the operator then says and does, in words. They are
//! read by people: `LOCKKEEPER_STORIES=write cargo test --test simulation stories` writes them.

mod around;

use std::{collections::BTreeMap, path::Path, time::Duration};

use lockkeeper::api::marks;
use model::{admission::Twin, server::Account};
use serde_json::json;

use crate::{
    cluster::{APPROVER, Cluster, ON_CALL, pods_of},
    scenes::{At, Scene, claim_name, policy},
    truth::{hold, image, mark, pods},
};

const DEV: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };
const WEB: At = ("Deployment", "web");
const DB: At = ("StatefulSet", "db");

/// Somebody does something, the operator works until nothing is left to do, and what a user would
/// see is told.
struct Story {
    cluster: Cluster,
    /// The workloads that it is about.
    about: &'static [At],
    /// The kinds of other objects that it is about.
    and: &'static [&'static str],
    told: usize,
    /// By policy, its conditions as they were last told.
    conditions: BTreeMap<String, BTreeMap<String, String>>,
    text: String,
}

impl Story {
    /// About web, whose changes wait for an approval.
    fn new() -> Self {
        Self::of(Scene::Approvals, &[WEB])
    }

    /// Under the first policy of a scene.
    fn of(scene: Scene, about: &'static [At]) -> Self {
        let cluster = Cluster::new(scene, 0, Twin::default(), None, false);
        let (and, conditions, text) = (&[][..], BTreeMap::new(), String::new());
        let mut story = Self { cluster, about, and, told: 0, conditions, text };
        story.begin();
        story
    }

    /// What was so far is no part of it.
    fn begin(&mut self) {
        self.rest();
        self.told = self.cluster.operator.told.len();
        self.tell_conditions();
        self.text.clear();
    }

    /// It is about objects of these kinds too.
    fn and(mut self, kinds: &'static [&'static str]) -> Self {
        self.and = kinds;
        self.begin();
        self
    }

    /// Under this policy, which stands for a while before anything happens.
    fn under(mut self, gates: &serde_json::Value) -> Self {
        edit_policy(&mut self.cluster, gates);
        self.begin();
        self
    }

    fn then(mut self, what: &str, act: impl FnOnce(&mut Cluster)) -> Self {
        act(&mut self.cluster);
        self.rest();
        self.text += &format!("{what}\n");
        self.tell_events();
        for &at in self.about {
            self.tell_workload(at);
        }
        if self.and.contains(&"PersistentVolumeClaim") {
            self.tell_volumes();
        }
        if self.and.contains(&"UpgradePolicy") {
            self.tell_attention();
            self.tell_conditions();
        }
        self
    }

    fn tell_events(&mut self) {
        // One that has just started has told nothing yet.
        let told = self.told.min(self.cluster.operator.told.len());
        for (object, event, message) in &self.cluster.operator.told[told..] {
            let (kind, name) = object.split_once('/').unwrap();
            let who = match self.about.iter().find(|at| **at == (kind, name)) {
                Some(_) if self.about.len() > 1 => format!("{name}: "),
                Some(_) => String::new(),
                None if self.and.contains(&kind) => format!("{object}: "),
                None => continue,
            };
            self.text += &format!("    {who}{}: {message}\n", event.reason());
        }
        self.told = self.cluster.operator.told.len();
    }

    fn tell_workload(&mut self, (kind, name): At) {
        let Some(object) = self.cluster.server.get(kind, name) else {
            self.text += &format!("  {name} is gone\n");
            return;
        };
        let running: Vec<_> = pods(&self.cluster.server, name).into_values().collect();
        let held = hold(&object).map_or_else(|| "free".to_owned(), |id| format!("held, id {id}"));
        self.text += &format!(
            "  {name} asks for {}, runs {}, is {held}\n",
            image(&object),
            running.join(" ")
        );
    }

    /// The volumes of the claims that Deployments name.
    fn tell_volumes(&mut self) {
        let claims: Vec<_> = self.about.iter().map(|(_, name)| claim_name(name)).collect();
        for volume in self.cluster.server.list("PersistentVolume") {
            let claim = volume["spec"]["claimRef"]["name"].as_str().unwrap_or_default();
            if !claims.contains(&claim) {
                continue;
            }
            let kept = match volume["metadata"]["labels"][marks::RETAINED] == "true" {
                true => "kept",
                false => "not kept",
            };
            let (name, phase) = (&volume["metadata"]["name"], &volume["status"]["phase"]);
            let (name, phase) = (name.as_str().unwrap(), phase.as_str().unwrap_or_default());
            self.text += &format!("  volume {name} is {phase} for claim {claim}, {kept}\n");
        }
    }

    /// What the status of policies says of the workloads.
    fn tell_attention(&mut self) {
        for one in &self.cluster.operator.attention {
            let kind = one.kind.to_string();
            if self.about.contains(&(kind.as_str(), one.name.as_str())) {
                let (phase, reason) = (one.phase, one.reason.as_str());
                self.text += &format!("  {} is {phase:?}, {reason}: {}\n", one.name, one.message);
            }
        }
    }

    /// What has changed of the conditions of policies.
    fn tell_conditions(&mut self) {
        let now = &self.cluster.operator.conditions_of;
        for (policy, conditions) in now {
            let before = self.conditions.entry(policy.clone()).or_default();
            for one in conditions {
                let says = format!("{} {}: {}", one.status, one.reason, one.message);
                if before.insert(one.type_.clone(), says.clone()).as_ref() != Some(&says) {
                    self.text += &format!("  policy {policy}: {} is {says}\n", one.type_);
                }
            }
        }
    }

    fn rest(&mut self) {
        for _ in 0..60 {
            self.cluster.round().unwrap();
            self.cluster.pass(Duration::from_millis(500));
        }
    }

    fn is(self, name: &str) {
        // The time of day depends on how many steps the model takes; it is no part of the story.
        let digits = |word: &str| {
            word.len() == 8 && word.chars().all(|letter| letter.is_ascii_digit() || letter == ':')
        };
        let untimed = |line: &str| {
            line.split(' ')
                .map(|word| if digits(word) { "TIME" } else { word })
                .collect::<Vec<_>>()
                .join(" ")
        };
        let text: Vec<_> = self.text.lines().map(untimed).collect();
        let text = text.join("\n");
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/simulation/stories/{name}.txt"));
        if std::env::var("LOCKKEEPER_STORIES").as_deref() == Ok("write") {
            std::fs::write(&file, format!("{text}\n")).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(text, expected.trim_matches('\n'), "the story is\n\n{text}\n");
    }
}

fn edit_policy(cluster: &mut Cluster, gates: &serde_json::Value) {
    let spec = policy(gates)["spec"].clone();
    cluster.server.update(DEV, "UpgradePolicy", "shop", |policy| policy["spec"] = spec).unwrap();
}

fn write_config(cluster: &mut Cluster, value: &str) {
    cluster
        .server
        .update(DEV, "ConfigMap", "app", |config| config["data"]["key"] = json!(value))
        .unwrap();
}

/// Each pod of web has work for so many seconds.
fn work(cluster: &mut Cluster, seconds: u64) {
    let now = cluster.server.now();
    for pod in pods_of(&cluster.server, "web") {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        cluster.apps.work(uid, now, Duration::from_secs(seconds));
    }
}

/// The id of what waits: a held template, or config.
fn id(cluster: &Cluster, (kind, name): At) -> String {
    let object = cluster.server.get(kind, name).unwrap();
    hold(&object).or_else(|| mark(&object, "pending-config")).unwrap().to_owned()
}

#[test]
fn a_change_waits_for_its_approval() {
    Story::new()
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .is("a_change_waits_for_its_approval");
}

#[test]
fn a_change_that_is_changed_again_is_another_one() {
    Story::new()
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("dev sets v2", |cluster| cluster.set_image(WEB, "v2"))
        .then("dev puts v0 back", |cluster| cluster.set_image(WEB, "v0"))
        .is("a_change_that_is_changed_again_is_another_one");
}

#[test]
fn a_freeze_lets_nothing_through_but_the_way_back() {
    Story::new()
        .then("the policy freezes", |cluster| edit_policy(cluster, &json!({"mode": "Freeze"})))
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .then("dev puts v0 back", |cluster| cluster.set_image(WEB, "v0"))
        .is("a_freeze_lets_nothing_through_but_the_way_back");
}

#[test]
fn config_alone_waits_too_and_goes_along_with_a_template() {
    Story::new()
        .then("config changes", |cluster| write_config(cluster, "1"))
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .is("config_alone_waits_too_and_goes_along_with_a_template");
}

#[test]
fn a_policy_that_goes_lets_go_of_what_it_holds() {
    Story::new()
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the policy is deleted", |cluster| cluster.server.delete("UpgradePolicy", "shop"))
        .then("a minute passes", |cluster| cluster.server.advance(Duration::from_secs(60)))
        .is("a_policy_that_goes_lets_go_of_what_it_holds");
}

#[test]
fn a_hold_of_nothing_is_released_at_once() {
    // A re-sync brings a tag, the mutating policies hold it, and a webhook that runs after them
    // makes the pinned digest of it that was there before.
    let resync = |cluster: &mut Cluster| {
        cluster.server.control("Deployment", "web", |web| {
            let generation = web["metadata"]["generation"].as_i64().unwrap() + 1;
            web["metadata"]["generation"] = json!(generation);
            web["metadata"]["annotations"]["lockkeeper.dev/hold"] =
                json!(format!("{generation} by gitops"));
            web["metadata"]["annotations"]["lockkeeper.dev/declared-paused"] = json!("false");
            web["spec"]["paused"] = json!(true);
        });
    };
    Story::new()
        .then("a re-sync that changes nothing in the end", resync)
        .then("and another", resync)
        .is("a_hold_of_nothing_is_released_at_once");
}

#[test]
fn a_change_waits_for_its_window() {
    let windows = json!({"gates": {"windows": [{"schedule": "0 10 * * *", "duration": "1h"}]}});
    Story::new()
        .under(&windows)
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("it is ten o'clock", |cluster| cluster.pass(Duration::from_secs(3600)))
        .is("a_change_waits_for_its_window");
}

#[test]
fn on_call_bypasses_a_freeze() {
    Story::new()
        .under(&json!({"mode": "Freeze"}))
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("on-call bypasses", |cluster| {
            let id = id(cluster, WEB);
            cluster.annotate(ON_CALL, WEB, "bypass", &id).unwrap();
        })
        .is("on_call_bypasses_a_freeze");
}

#[test]
fn config_that_changes_is_rolled_out_once() {
    Story::new()
        .under(&json!({}))
        .then("config changes twice", |cluster| {
            write_config(cluster, "1");
            cluster.round().unwrap();
            write_config(cluster, "2");
        })
        .is("config_that_changes_is_rolled_out_once");
}

#[test]
fn config_that_changes_and_changes_back_rolls_nothing() {
    Story::new()
        .under(&json!({}))
        .then("config changes, and changes back", |cluster| {
            write_config(cluster, "1");
            cluster.round().unwrap();
            write_config(cluster, "0");
        })
        .is("config_that_changes_and_changes_back_rolls_nothing");
}

#[test]
fn a_change_waits_until_the_app_says_yes() {
    Story::of(Scene::Asked, &[WEB])
        .then("web works, and dev sets v1", |cluster| {
            work(cluster, 60);
            cluster.set_image(WEB, "v1");
        })
        .then("its work is done", |cluster| cluster.pass(Duration::from_secs(60)))
        .is("a_change_waits_until_the_app_says_yes");
}

#[test]
fn a_set_is_upgraded_pod_by_pod() {
    Story::of(Scene::Walks, &[DB])
        .then("db-0 works, and dev sets v1", |cluster| {
            let now = cluster.server.now();
            let pods = pods_of(&cluster.server, "db");
            let uid = pods[0]["metadata"]["uid"].as_str().unwrap().to_owned();
            cluster.apps.work(&uid, now, Duration::from_secs(60));
            cluster.set_image(DB, "v1");
        })
        .then("its work is done", |cluster| cluster.pass(Duration::from_secs(60)))
        .is("a_set_is_upgraded_pod_by_pod");
}

#[test]
fn a_step_that_fails_keeps_the_next_one_waiting() {
    let step = |tier: &str| json!({"name": tier, "selector": {"matchLabels": {"tier": tier}}});
    let steps = json!([step("data"), step("logic"), step("front")]);
    Story::of(Scene::Steps, &[DB, WEB])
        .under(&json!({"rollout": {"deadline": "60s", "steps": steps}}))
        .then("dev sets broken1 on db, and v1 on web", |cluster| {
            cluster.set_image(DB, "broken1");
            cluster.set_image(WEB, "v1");
        })
        .then("two minutes pass", |cluster| cluster.pass(Duration::from_secs(120)))
        .then("dev puts v0 back on db", |cluster| cluster.set_image(DB, "v0"))
        .is("a_step_that_fails_keeps_the_next_one_waiting");
}

#[test]
fn a_policy_that_observes_tells_what_it_would_hold() {
    Story::new()
        .under(&json!({"mode": "Observe", "gates": {"approval": "Required"}}))
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .is("a_policy_that_observes_tells_what_it_would_hold");
}

#[test]
fn an_operator_that_restarts_holds_what_was_held() {
    Story::new()
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the operator restarts", Cluster::restart)
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .is("an_operator_that_restarts_holds_what_was_held");
}

#[test]
fn a_workload_whose_labels_change_stays_held() {
    Story::new()
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("dev labels it so that the policy no longer selects it", |cluster| {
            cluster
                .write(DEV, WEB, |web| web["metadata"]["labels"]["managed"] = json!("no"))
                .unwrap();
        })
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .is("a_workload_whose_labels_change_stays_held");
}

#[test]
fn two_who_undo_each_other_are_named() {
    Story::new()
        .then("dev sets v1, and the approver v0, again and again", |cluster| {
            for _ in 0..4 {
                for (who, image) in [(DEV, "v1"), (APPROVER, "v0")] {
                    cluster.set_image_as(who, WEB, image);
                    for _ in 0..4 {
                        cluster.round().unwrap();
                        cluster.pass(Duration::from_secs(1));
                    }
                }
            }
        })
        .is("two_who_undo_each_other_are_named");
}

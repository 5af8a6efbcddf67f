//! Golden stories: what people do, and what the operator then says and does, in words.

use std::time::Duration;

use model::{admission::Twin, controllers, server::Account};
use serde_json::json;

use crate::{
    cluster::Cluster,
    scenes::{At, Scene, policy},
    truth::{hold, image, pods},
};

const DEV: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };
const WEB: At = ("Deployment", "web");

/// Somebody does something, the operator works until nothing is left to do, and what a user would
/// see is told.
struct Story {
    cluster: Cluster,
    told: usize,
    text: String,
}

impl Story {
    fn new() -> Self {
        let mut story = Self {
            cluster: Cluster::new(Scene::Approvals, 0, Twin::default(), None, false),
            told: 0,
            text: String::new(),
        };
        story.rest();
        story.told = story.cluster.operator.told.len();
        story
    }

    fn then(mut self, what: &str, act: impl FnOnce(&mut Cluster)) -> Self {
        act(&mut self.cluster);
        self.rest();
        self.text += &format!("{what}\n");
        for (workload, event, message) in &self.cluster.operator.told[self.told..] {
            if workload == "Deployment/web" {
                self.text += &format!("    {}: {message}\n", event.reason());
            }
        }
        self.told = self.cluster.operator.told.len();
        let web = self.cluster.server.get(WEB.0, WEB.1).unwrap();
        let running: Vec<_> = pods(&self.cluster.server, "web").into_values().collect();
        let held = hold(&web).map_or_else(|| "free".to_owned(), |id| format!("held, id {id}"));
        self.text +=
            &format!("  web asks for {}, runs {}, is {held}\n", image(&web), running.join(" "));
        self
    }

    fn rest(&mut self) {
        for _ in 0..60 {
            self.cluster.operator.deliver_all(&self.cluster.server);
            self.cluster.decide();
            while !self.cluster.operator.outbox.is_empty() {
                self.cluster.send(0).unwrap();
            }
            controllers::step(&mut self.cluster.server);
            self.cluster.check().unwrap();
            self.cluster.server.advance(Duration::from_millis(500));
        }
    }

    fn is(self, expected: &str) {
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
        assert_eq!(
            text.join("\n"),
            expected.trim_matches('\n'),
            "the story is\n\n{}\n",
            text.join("\n")
        );
    }
}

fn edit_policy(cluster: &mut Cluster, gates: &serde_json::Value) {
    let spec = policy(gates)["spec"].clone();
    cluster.server.update(DEV, "UpgradePolicy", "shop", |policy| policy["spec"] = spec).unwrap();
}

#[test]
fn a_change_waits_for_its_approval() {
    Story::new()
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .is(include_str!("stories/a_change_waits_for_its_approval.txt"));
}

#[test]
fn a_change_that_is_changed_again_is_another_one() {
    Story::new()
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("dev sets v2", |cluster| cluster.set_image(WEB, "v2"))
        .then("dev puts v0 back", |cluster| cluster.set_image(WEB, "v0"))
        .is(include_str!("stories/a_change_that_is_changed_again_is_another_one.txt"));
}

#[test]
fn a_freeze_lets_nothing_through_but_the_way_back() {
    Story::new()
        .then("the policy freezes", |cluster| edit_policy(cluster, &json!({"mode": "Freeze"})))
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .then("dev puts v0 back", |cluster| cluster.set_image(WEB, "v0"))
        .is(include_str!("stories/a_freeze_lets_nothing_through_but_the_way_back.txt"));
}

#[test]
fn config_alone_waits_too_and_goes_along_with_a_template() {
    let write = |value: &'static str| {
        move |cluster: &mut Cluster| {
            cluster
                .server
                .update(DEV, "ConfigMap", "app", |config| config["data"]["key"] = json!(value))
                .unwrap();
        }
    };
    Story::new()
        .then("config changes", write("1"))
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the approver approves", |cluster| cluster.approve(WEB))
        .is(include_str!("stories/config_alone_waits_too_and_goes_along_with_a_template.txt"));
}

#[test]
fn a_policy_that_goes_lets_go_of_what_it_holds() {
    Story::new()
        .then("dev sets v1", |cluster| cluster.set_image(WEB, "v1"))
        .then("the policy is deleted", |cluster| cluster.server.delete("UpgradePolicy", "shop"))
        .then("a minute passes", |cluster| cluster.server.advance(Duration::from_secs(60)))
        .is(include_str!("stories/a_policy_that_goes_lets_go_of_what_it_holds.txt"));
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
        .is(include_str!("stories/a_hold_of_nothing_is_released_at_once.txt"));
}

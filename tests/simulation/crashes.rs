//! The operator is killed after every single effect that it has: the end is the same.

use std::{collections::BTreeSet, time::Duration};

use model::{admission::Twin, controllers, server::Account};
use serde_json::json;

use crate::{
    cluster::Cluster,
    operator::Operator,
    scenes::{At, Scene, policy},
    truth::{hold, image, pods, stands},
};

const DEV: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };

/// What a user would see at the end of a workload: its image, paused or partition, whether it is
/// held, what its pods run, how many revisions it had, and which of our marks it carries.
type End = Vec<(String, i64, bool, Vec<String>, usize, BTreeSet<String>)>;

fn end(cluster: &Cluster) -> End {
    let of = |&(kind, name): &At| {
        let object = cluster.server.get(kind, name).unwrap();
        let revisions = cluster.server.list(if kind == "Deployment" {
            "ReplicaSet"
        } else {
            "ControllerRevision"
        });
        let revisions = revisions
            .iter()
            .filter(|one| one["metadata"]["ownerReferences"][0]["name"] == name)
            .count();
        let annotations = object["metadata"]["annotations"].as_object().unwrap();
        let marks =
            annotations.keys().filter(|key| key.starts_with("lockkeeper.dev/")).cloned().collect();
        let mut images: Vec<_> = pods(&cluster.server, name).into_values().collect();
        images.sort();
        (image(&object), stands(kind, &object), hold(&object).is_some(), images, revisions, marks)
    };
    Scene::Approvals.workloads().iter().map(of).collect()
}

/// The operator works until nothing is left to do; it is killed after so many of its effects.
fn work(cluster: &mut Cluster, effects: &mut usize, killed_after: Option<usize>) {
    let mut kill = |cluster: &mut Cluster| {
        *effects += 1;
        if killed_after == Some(*effects) {
            cluster.operator = Operator::start(&cluster.server, None);
        }
    };
    let mut idle = 0;
    while idle < 45 {
        cluster.operator.deliver_all(&cluster.server);
        let mut busy = cluster.decide();
        if busy {
            kill(cluster);
        }
        while !cluster.operator.outbox.is_empty() {
            cluster.send(0).unwrap();
            cluster.check().unwrap();
            kill(cluster);
            busy = true;
        }
        busy |= controllers::step(&mut cluster.server);
        cluster.check().unwrap();
        if busy {
            idle = 0;
        } else {
            idle += 1;
            cluster.server.advance(Duration::from_secs(2));
        }
    }
}

/// What a scenario does, one thing after the other; in between the operator works.
type Script = &'static [fn(&mut Cluster)];

fn spec(cluster: &mut Cluster, gates: &serde_json::Value) {
    let spec = policy(gates)["spec"].clone();
    cluster.server.update(DEV, "UpgradePolicy", "shop", |policy| policy["spec"] = spec).unwrap();
}

fn change(cluster: &mut Cluster) {
    Scene::Approvals.workloads().iter().for_each(|&at| cluster.set_image(at, "v1"));
}

fn approve(cluster: &mut Cluster) {
    Scene::Approvals.workloads().iter().for_each(|&at| cluster.approve(at));
}

fn config(cluster: &mut Cluster) {
    cluster
        .server
        .update(DEV, "ConfigMap", "app", |config| config["data"]["key"] = json!("new"))
        .unwrap();
}

const SCENARIOS: [(&str, Script); 6] = [
    ("changed and approved", &[change, approve]),
    (
        "changed and reverted",
        &[change, |cluster| {
            Scene::Approvals.workloads().iter().for_each(|&at| cluster.set_image(at, "v0"))
        }],
    ),
    ("changed, config along, approved", &[change, config, approve]),
    ("config alone, approved", &[config, approve]),
    (
        "changed, and its policy deleted",
        &[change, |cluster| cluster.server.delete("UpgradePolicy", "shop")],
    ),
    ("changed, and the gates removed", &[change, |cluster| spec(cluster, &json!({}))]),
];

fn play(script: Script, killed_after: Option<usize>) -> (End, usize) {
    let mut cluster = Cluster::new(Scene::Approvals, 0, Twin::default(), None, false);
    let mut effects = 0;
    work(&mut cluster, &mut effects, killed_after);
    for act in script {
        act(&mut cluster);
        work(&mut cluster, &mut effects, killed_after);
    }
    (end(&cluster), effects)
}

#[test]
fn killed_after_any_effect_the_end_is_the_same() {
    for (name, script) in SCENARIOS {
        let (whole, effects) = play(script, None);
        assert!(effects >= 4, "{name}: {effects} effects");
        for killed_after in 1..=effects {
            let (with_a_crash, _) = play(script, Some(killed_after));
            assert_eq!(
                with_a_crash, whole,
                "{name}, killed after effect {killed_after} of {effects}"
            );
        }
    }
}

#[test]
fn the_scenarios_end_as_they_should() {
    let (approved, _) = play(SCENARIOS[0].1, None);
    assert!(
        approved.iter().all(|(image, stands, held, pods, revisions, _)| image == "v1"
            && *stands == 0
            && !held
            && *pods == ["v1", "v1"]
            && *revisions == 2),
        "{approved:?}"
    );
    let (reverted, _) = play(SCENARIOS[1].1, None);
    assert!(
        reverted
            .iter()
            .all(|(image, _, held, pods, ..)| image == "v0" && !held && *pods == ["v0", "v0"]),
        "{reverted:?}"
    );
    let (along, _) = play(SCENARIOS[2].1, None);
    // A StatefulSet has a revision of the held template too.
    assert!(
        along.iter().zip([2, 3]).all(|((_, _, held, pods, revisions, _), expected)| !held
            && *pods == ["v1", "v1"]
            && *revisions == expected),
        "one rollout for both: {along:?}"
    );
    let (ungoverned, _) = play(SCENARIOS[4].1, None);
    assert!(
        ungoverned
            .iter()
            .all(|(_, _, held, pods, _, marks)| !held && *pods == ["v1", "v1"] && marks.is_empty()),
        "{ungoverned:?}"
    );
}

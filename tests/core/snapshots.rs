//! The snapshot gate: what it takes, what counts, and what it says.

use lockkeeper::{
    api::{Reason, WorkloadKind},
    core::{
        memory::{Activity, Trouble},
        observed::snapshots::{Served, SnapshotClass},
        request::{Purpose, SnapshotRequest, SnapshotStep},
    },
    shell::{
        streams,
        views::{
            Watched, Wire,
            snapshots::{SnapshotContents, VolumeSnapshots},
        },
    },
};
use serde_json::{Value, json};

use crate::{
    holds::{hold, is_held},
    maintenance,
    world::{World, held::mark, volumes::uses},
};

fn view<K: Watched>(raw: Value) -> K::View {
    streams::object(serde_json::from_value::<Wire<K>>(raw).unwrap()).view
}

impl World {
    fn class(&mut self, name: &str, driver: &str, is_default: bool) {
        let class = SnapshotClass { driver: driver.into(), is_default };
        self.storage.snapshots.classes.insert(name.into(), class);
    }

    /// What is asked for now.
    fn asked(&mut self) -> Vec<SnapshotRequest> {
        self.decide().snapshots
    }

    /// The API server and the snapshot controller do what is asked: the names of what was taken.
    fn take(&mut self) -> Vec<String> {
        let asked = self.asked();
        let taken = asked.into_iter().filter_map(|request| self.carry_out(request)).collect();
        self.act();
        taken
    }

    /// They do this: the name, if it is taken.
    pub fn carry_out(&mut self, request: SnapshotRequest) -> Option<String> {
        match &request.step {
            SnapshotStep::Take { .. } => {
                let mut raw = request.json();
                raw["metadata"]["uid"] = json!(format!("uid-{}", request.name));
                raw["metadata"]["creationTimestamp"] = json!(self.now);
                raw["status"] = json!({"readyToUse": false});
                self.snapshot(raw);
                Some(request.name)
            }
            SnapshotStep::Keep { content, .. } => {
                self.storage.snapshots.contents.get_mut(content).unwrap().retained = true;
                None
            }
        }
    }

    fn snapshot(&mut self, raw: Value) {
        let snapshot = view::<VolumeSnapshots>(raw);
        self.namespace.snapshots.insert(snapshot.name.clone(), snapshot);
    }

    /// The driver has cut it, and the operator sees it.
    fn cut(&mut self, name: &str, ready: bool) {
        self.driver_cuts(name, ready);
        self.act();
    }

    /// The driver has cut it.
    pub fn driver_cuts(&mut self, name: &str, ready: bool) {
        let content = json!({
            "metadata": {"name": format!("content-{name}"), "uid": "content", "resourceVersion": "7"},
            "spec": {"deletionPolicy": "Delete", "volumeSnapshotRef": {"namespace": "shop", "uid": format!("uid-{name}")}}
        });
        let content = view::<SnapshotContents>(content);
        self.storage.snapshots.contents.insert(format!("content-{name}"), content);
        let snapshot = self.namespace.snapshots.get_mut(name).unwrap();
        snapshot.content = Some(format!("content-{name}"));
        (snapshot.cut, snapshot.ready) = (true, ready);
    }

    /// The cluster takes snapshots of the volumes here.
    pub fn serves_snapshots(&mut self) {
        self.storage.snapshots.served = Served::Yes;
        self.class("disks", "disks", true);
    }

    fn why(&mut self) -> (Reason, String) {
        self.act();
        let one = self.attention().expect("it waits");
        (one.reason, one.message.clone())
    }

    fn only(&self) -> String {
        let names: Vec<_> = self.namespace.snapshots.keys().cloned().collect();
        let [name] = &names[..] else { panic!("{names:?}") };
        name.clone()
    }
}

/// A Deployment with one claim, whose changed template waits for a snapshot.
fn waiting(gate: Value) -> World {
    let mut world = governed(gate);
    hold(&mut world, "v2", None);
    world
}

fn governed(gate: Value) -> World {
    let mut world = World::new().with_policy(json!({"gates": {"snapshot": gate}}));
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    world.serves_snapshots();
    world.act();
    world.later(60).act();
    world
}

#[test]
fn p26_a_change_goes_when_a_snapshot_of_this_claim_for_this_change_is_ready_and_kept() {
    let mut world = waiting(json!({}));
    let (reason, message) = world.why();
    assert_eq!(reason, Reason::TakingSnapshots);
    assert!(message.contains("a snapshot of each of its claims: data"), "{message}");
    let [asked] = &world.asked()[..] else { panic!("one snapshot") };
    let object = asked.json();
    assert_eq!(object["spec"]["source"]["persistentVolumeClaimName"], "data");
    assert_eq!(object["spec"]["volumeSnapshotClassName"], "disks");
    assert_eq!(object["metadata"]["labels"]["lockkeeper.dev/claim-uid"], *asked.claim_uid);

    let name = world.take().pop().unwrap();
    let held = mark(&world, "web", "hold").unwrap();
    let (id, _) = held.split_once(' ').unwrap();
    assert!(name.starts_with(&format!("pre-{id}-data-")), "{name}");
    assert_eq!(world.take(), Vec::<String>::new(), "it is taken once");
    assert!(world.why().1.contains(&format!("waiting for VolumeSnapshot {name} of claim data")));
    world.cut(&name, true);
    assert!(is_held(&world), "its content would go with it");
    let [keep] = &world.asked()[..] else { panic!("its content is kept") };
    let retain = json!({"deletionPolicy": "Retain"});
    assert_eq!(keep.json()["spec"], retain);
    assert_eq!(keep.json()["metadata"]["resourceVersion"], "7");
    world.take();
    assert!(!is_held(&world));
    assert_eq!(world.asked(), []);
}

#[test]
fn p26_an_older_snapshot_does_not_count_nor_one_of_a_claim_that_was_created_again() {
    let mut world = waiting(json!({}));
    let first = world.take().pop().unwrap();
    world.cut(&first, true);
    // A further change, before the first one is released.
    hold(&mut world, "v3", None);
    assert!(is_held(&world));
    let second = world.take().pop().unwrap();
    assert_ne!(first, second);
    // The claim is another one of the same name, and its volume is.
    world.lose_claim_and_volume("data");
    world.claim("data", "ReadWriteOnce");
    world.cut(&second, true);
    assert!(is_held(&world));
    let third = world.take().pop().unwrap();
    assert!(third != second, "{third}");
}

/// A snapshot under the name that ours would have, of another claim or by another hand.
#[test]
fn p26_a_snapshot_that_was_not_taken_for_the_change_does_not_open_the_gate() {
    let ours = waiting(json!({})).asked().pop().unwrap();
    let foreign = [
        json!({"metadata": {"labels": null}}),
        json!({"metadata": {"labels": {"lockkeeper.dev/change": "1"}}}),
        json!({"metadata": {"labels": {"lockkeeper.dev/claim-uid": "other"}}}),
        json!({"spec": {"source": {"persistentVolumeClaimName": "other"}}}),
        json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}),
    ];
    for change in foreign {
        let mut world = waiting(json!({}));
        let mut raw = ours.json();
        raw["metadata"]["uid"] = json!(format!("uid-{}", ours.name));
        raw["metadata"]["creationTimestamp"] = json!(world.now);
        json_patch::merge(&mut raw, &change);
        world.snapshot(raw);
        world.cut(&ours.name, true);
        let (reason, message) = world.why();
        assert_eq!(reason, Reason::SnapshotFailed, "{change}");
        assert!(message.contains("was not taken for this change") && message.contains("Delete it"));
        assert!(is_held(&world) && world.asked().is_empty());
    }
}

#[test]
fn p26_a_snapshot_that_is_late_or_fails_keeps_the_gate_closed_and_is_told() {
    let mut world = waiting(json!({"timeout": "10m"}));
    let name = world.take().pop().unwrap();
    world.later(601);
    let (reason, message) = world.why();
    assert_eq!(reason, Reason::SnapshotFailed);
    assert!(message.contains("not ready after 10m") && message.contains(&name), "{message}");
    world.namespace.snapshots.get_mut(&name).unwrap().error = Some("the disk is busy".into());
    assert!(world.why().1.contains("failed: the disk is busy. Fix that"));
    assert!(is_held(&world) && world.asked().is_empty(), "no second one is taken");
    // Its controller tries again by itself.
    world.namespace.snapshots.get_mut(&name).unwrap().error = None;
    world.cut(&name, true);
    world.take();
    assert!(!is_held(&world));
}

#[test]
fn what_is_cut_is_enough_where_the_policy_says_so() {
    for (stage, goes) in [("Cut", true), ("ReadyToUse", false)] {
        let mut world = waiting(json!({"waitFor": stage}));
        let name = world.take().pop().unwrap();
        world.cut(&name, false);
        world.take();
        assert_eq!(is_held(&world), !goes, "{stage}");
    }
}

#[test]
fn p26_what_is_missing_is_said_and_nothing_is_taken() {
    type Break = fn(&mut World);
    let cases: [(Value, Break, &str); 9] = [
        (
            json!({}),
            |w| w.storage.snapshots.served = Served::No,
            "Install the CustomResourceDefinitions",
        ),
        (json!({}), |w| w.storage.snapshots.served = Served::SwitchedOff, "features.snapshots"),
        (
            json!({}),
            |w| w.storage.snapshots.classes.clear(),
            "no VolumeSnapshotClass for driver disks",
        ),
        (json!({}), |w| w.class("disks", "disks", false), "is its default one, and it has disks"),
        (
            json!({}),
            |w| w.class("more", "disks", true),
            "has two default VolumeSnapshotClasses, disks and more",
        ),
        (json!({"class": "none"}), |_| {}, "there is no VolumeSnapshotClass none"),
        (json!({"class": "tapes"}), |w| w.class("tapes", "tapes", false), "is for driver tapes"),
        (
            json!({}),
            |w| w.storage_of("pv-data", json!({"csi": null, "hostPath": {"path": "/"}})),
            "is of no CSI driver",
        ),
        (
            json!({}),
            |w| w.storage_of("pv-data", json!({"claimRef": {"uid": "other"}})),
            "has no volume",
        ),
    ];
    for (gate, break_it, says) in cases {
        let mut world = waiting(gate);
        break_it(&mut world);
        let (reason, message) = world.why();
        assert_eq!(reason, Reason::SnapshotImpossible, "{says}");
        assert!(message.contains(says), "{message}");
        assert!(reason.waits_for_person() && is_held(&world) && world.asked().is_empty());
    }
}

#[test]
fn a_snapshot_that_the_api_server_refuses_is_told_with_its_words() {
    let mut world = waiting(json!({}));
    let slot = world.asked().pop().unwrap().slot();
    let message = "exceeded quota: snapshots".to_owned();
    let retry_at = world.now + std::time::Duration::from_secs(2);
    let trouble = Trouble { refused: true, needs_hold: false, message, retry_at };
    let activity = Activity { trouble: Some(trouble), ..Activity::default() };
    world.activities.insert(slot, activity);
    let (reason, message) = world.why();
    assert_eq!(reason, Reason::SnapshotFailed);
    assert!(message.contains("cannot be written: exceeded quota: snapshots"), "{message}");
    assert_eq!(world.asked(), []);
    world.later(2);
    assert_eq!(world.asked().len(), 1, "it is tried again");
}

/// Of each pod's claim, and of none that the policy leaves out or that no pod uses.
#[test]
fn a_snapshot_is_taken_of_each_claim_that_pods_use_but_for_those_left_out() {
    let mut world =
        World::new().with_policy(json!({"gates": {"snapshot": {"exclude": ["cache-*"]}}}));
    for claim in ["data-web-0", "data-web-1", "data-web-2", "cache-web-0"] {
        world.claim(claim, "ReadWriteOnce");
    }
    let spec = json!({"containers": [{"name": "app", "image": "v1"}]});
    world.workload(WorkloadKind::StatefulSet, "web", 2, spec);
    world.edit("web", |web| {
        let template = |name: &str| json!({"metadata": {"name": name}});
        web["spec"]["volumeClaimTemplates"] = json!([template("data"), template("cache")]);
    });
    world.observe("web");
    world.serves_snapshots();
    world.act();
    world.later(60).act();
    hold(&mut world, "v2", None);
    let taken = world.take();
    let of = |claim: &str| taken.iter().filter(|name| name.contains(claim)).count();
    assert_eq!((of("data-web-0"), of("data-web-1"), taken.len()), (1, 1, 2), "{taken:?}");
    // One is ready and the other is not.
    world.cut(&taken[0], true);
    world.take();
    assert!(is_held(&world));
    world.cut(&taken[1], true);
    world.take();
    assert!(!is_held(&world));
}

#[test]
fn a_workload_without_data_waits_for_no_snapshot() {
    let mut world = World::new().with_policy(json!({"gates": {"snapshot": {}}}));
    let spec = json!({"containers": [{"name": "app", "image": "v1"}]});
    world.workload(WorkloadKind::Deployment, "web", 1, spec);
    world.storage.snapshots.served = Served::SwitchedOff;
    world.act();
    world.later(60).act();
    hold(&mut world, "v2", None);
    assert!(!is_held(&world));
}

/// The operator that starts again finds what was taken by its name.
#[test]
fn p26_an_operator_that_starts_again_takes_no_second_snapshot() {
    let mut world = waiting(json!({}));
    world.take();
    world.restart_operator();
    world.act();
    world.later(60).act();
    let name = world.only();
    assert_eq!(world.take(), Vec::<String>::new());
    world.cut(&name, true);
    world.take();
    assert!(!is_held(&world));
}

#[test]
fn a_revert_needs_no_snapshot() {
    let mut world = waiting(json!({}));
    hold(&mut world, "v1", None);
    world.edit("web", |web| {
        let containers = &mut web["spec"]["template"]["spec"]["containers"][0];
        containers.as_object_mut().unwrap().remove("image");
    });
    let id = world.id("web");
    world.observe_again(&id);
    world.act();
    assert!(!is_held(&world));
    assert!(world.namespace.snapshots.is_empty());
}

/// What sleeps has the new template, and so would what starts afterwards.
#[test]
fn p26_a_change_that_is_held_when_a_maintenance_begins_waits_for_its_snapshot_too() {
    let mut world = governed(json!({}));
    maintenance::write(&mut world, "ann", |web| {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    });
    maintenance::annotate(&mut world, "maintenance", "Stop");
    world.act();
    world.later(3).act();
    assert_eq!(world.why().0, Reason::TakingSnapshots);
    let name = world.take().pop().unwrap();
    assert!(is_held(&world) && maintenance::stage(&world).is_empty());
    world.cut(&name, true);
    world.storage.snapshots.contents.values_mut().for_each(|content| content.retained = true);
    let patches = world.decide().patches;
    assert!(patches.iter().any(|patch| patch.purpose == Purpose::Maintain), "{patches:?}");
}

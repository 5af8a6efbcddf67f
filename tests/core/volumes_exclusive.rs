//! Claims that only one pod, or the pods of one node, may hold: rollouts that would deadlock or
//! write twice.

use lockkeeper::{
    api::{Phase, Reason, WorkloadKind},
    core::{
        conversation::answer::Answer,
        notice::{Event, StorageObject},
    },
};
use serde_json::{Value, json};

use crate::world::{
    World,
    volumes::{shop, uses, volume, waiting},
};

#[test]
fn p13_what_would_deadlock_gets_recreate_and_what_cannot_is_left_alone() {
    let one_node = json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]}]}}}});
    let folder = json!({"spec": {"csi": null, "hostPath": {}}});
    let rows = [
        ("one node", "ReadWriteOnce", json!({}), json!({}), true),
        ("one pod", "ReadWriteOncePod", json!({}), json!({}), true),
        ("shared", "ReadWriteMany", json!({}), json!({}), false),
        ("pinned: two writers", "ReadWriteOnce", json!({}), one_node.clone(), true),
        (
            "pinned, and the app bears it",
            "ReadWriteOnce",
            json!({"exclusiveClaims": "WhenDeadlock"}),
            one_node.clone(),
            false,
        ),
        (
            "one node, and the app bears two writers",
            "ReadWriteOnce",
            json!({"exclusiveClaims": "WhenDeadlock"}),
            json!({}),
            true,
        ),
        ("one pod, pinned", "ReadWriteOncePod", json!({}), one_node, true),
        ("by a folder of the node", "ReadWriteOnce", json!({}), folder.clone(), true),
        (
            "by a folder of the node, and the app bears it",
            "ReadWriteOnce",
            json!({"exclusiveClaims": "WhenDeadlock"}),
            folder,
            false,
        ),
        (
            "the volume's modes count",
            "ReadWriteOnce",
            json!({}),
            json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}}),
            false,
        ),
        ("reported", "ReadWriteOnce", json!({"exclusiveClaims": "Report"}), json!({}), false),
        ("ignored", "ReadWriteOnce", json!({"exclusiveClaims": "Ignore"}), json!({}), false),
        (
            "always",
            "ReadWriteOnce",
            json!({"exclusiveClaims": "Recreate"}),
            json!({"spec": {"csi": null, "hostPath": {}}}),
            true,
        ),
    ];
    for (name, mode, spec, volume, expected) in rows {
        let mut world = shop(mode, spec);
        world.change(&StorageObject::Volume("pv-data".into()), volume);
        world.act();
        assert_eq!(world.marked_exclusive("web"), expected, "{name}");
        assert_eq!(world.told_of(Event::StrategyChanged).len(), usize::from(expected), "{name}");
    }
}

/// Who only reads harms nobody; but a volume that is attached to another node deadlocks all the
/// same.
#[test]
fn p13_a_claim_that_is_mounted_read_only_everywhere_has_no_two_writers() {
    let folder = json!({"spec": {"csi": null, "hostPath": {}}});
    let mount =
        |read_only: bool| json!([{"name": "data", "mountPath": "/data", "readOnly": read_only}]);
    let rows = [
        (
            "mounted read-only",
            json!({"containers": [{"name": "app", "volumeMounts": mount(true)}]}),
            false,
            folder.clone(),
            false,
        ),
        (
            "one mount writes",
            json!({"containers": [{"name": "app", "volumeMounts": mount(true)}], "initContainers": [{"name": "first", "volumeMounts": mount(false)}]}),
            false,
            folder.clone(),
            true,
        ),
        (
            "the whole volume is read-only",
            json!({"containers": [{"name": "app", "volumeMounts": mount(false)}]}),
            true,
            folder.clone(),
            false,
        ),
        (
            "as a device",
            json!({"containers": [{"name": "app", "volumeDevices": [{"name": "data", "devicePath": "/dev/x"}]}]}),
            false,
            folder,
            true,
        ),
        (
            "attached",
            json!({"containers": [{"name": "app", "volumeMounts": mount(true)}]}),
            false,
            json!({}),
            true,
        ),
    ];
    for (name, mut spec, read_only, change, expected) in rows {
        let mut world = World::new();
        world.policy("shop", json!({"volumes": {}}));
        world.claim("data", "ReadWriteOnce");
        world.change(&StorageObject::Volume("pv-data".into()), change);
        spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": read_only}}]);
        world.workload(WorkloadKind::Deployment, "web", 1, spec);
        world.act();
        assert_eq!(world.marked_exclusive("web"), expected, "{name}");
    }
}

/// The attach controller refuses it a second node.
#[test]
fn p13_an_iscsi_volume_is_attached() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.change(&volume("pv-data"), json!({"spec": {"csi": null, "iscsi": {"targetPortal": "10.0.0.1", "iqn": "iqn", "lun": 0}}}));
    world.act();
    assert!(world.marked_exclusive("web"));
}

#[test]
fn what_recreate_cannot_fix_is_reported_with_what_to_do() {
    let mut world = shop("ReadWriteOnce", json!({"exclusiveClaims": "Report"}));
    assert_eq!(world.volumes_safe().1, "ExclusiveClaim");
    let mut world = shop("ReadWriteOnce", json!({}));
    world.edit("web", |web| web["spec"]["replicas"] = json!(3));
    world.finish("web");
    let (status, reason, message) = world.volumes_safe();
    assert_eq!((&*status, &*reason), ("False", "ExclusiveClaimShared"));
    assert!(
        message.contains("Deployment/web runs 3 pods on claim data")
            && message.contains("ReadWriteMany"),
        "{message}"
    );
    let mut world = shop("ReadWriteOnce", json!({}));
    world.namespace.autoscalers.insert("hpa".into(), (world.id("web"), 5));
    assert!(world.volumes_safe().2.contains("an autoscaler may give it 5 pods"));
    let mut world = shop("ReadWriteOnce", json!({}));
    world.workload(WorkloadKind::StatefulSet, "other", 1, uses("data"));
    assert!(world.volumes_safe().2.contains("Deployment/web and StatefulSet/other use claim data"));
}

/// A Deployment with one replica whose new pod waits on node-2 for the volume that the old pod
/// holds.
fn stuck() -> World {
    let mut world = World::new();
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world
}

#[test]
fn p13_a_policy_that_observes_says_what_frees_a_stuck_rollout_and_writes_nothing() {
    let mut world = stuck();
    world.policy("shop", json!({"mode": "Observe", "volumes": {}}));
    world.act();
    let entry = world.attention().unwrap();
    assert_eq!(entry.reason, Reason::StuckOnVolume, "{entry:?}");
    assert!(
        entry.message.contains("spec.mode is Observe, so declare strategy.type: Recreate"),
        "{entry:?}"
    );
    assert!(!world.marked_exclusive("web"));
}

#[test]
fn p13_a_rollout_that_is_stuck_already_says_so_and_is_freed_when_its_pods_agree() {
    for gates in [Value::Null, json!({"app": {}})] {
        let mut world = stuck();
        world.policy("shop", json!({"volumes": {}, "gates": gates}));
        world.act();
        let entry = world.attention().unwrap();
        assert_eq!(
            (entry.phase, entry.reason),
            (Phase::Rolling, Reason::StuckOnVolume),
            "{entry:?}"
        );
        assert!(
            entry.message.contains("on node-2 waits for volume pv-data")
                && entry.message.contains("Waiting for detach")
                && entry.message.contains("Multi-Attach"),
            "{entry:?}"
        );
        assert_eq!(world.marked_exclusive("web"), gates.is_null(), "{entry:?}");
        if !gates.is_null() {
            assert!(entry.message.contains("has answered no"), "{entry:?}");
            world.answers.clear();
            world.later(10);
            world.act();
            assert!(world.marked_exclusive("web"), "the pods agree");
        }
    }
}

/// Recreate would end the pod that serves, and help nobody.
#[test]
fn a_pod_that_cannot_be_scheduled_for_want_of_cpu_is_not_stuck_on_its_volume() {
    let mut world = World::new();
    world.claim("data", "ReadWriteOncePod");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    let pod = world.namespace.pods.get_mut(&new).unwrap();
    pod.claims.node = None;
    pod.claims.unschedulable = Some("0/3 nodes are available: 3 Insufficient cpu.".into());
    world.policy("shop", json!({"volumes": {}}));
    world.act();
    assert!(
        !world.marked_exclusive("web"),
        "the pod that serves is ended: {:?}",
        world.attention()
    );
}

/// A back-up's pod holds the volume: it is named, and nothing is ended.
#[test]
fn ending_the_old_pods_does_not_help_when_somebody_else_holds_the_volume() {
    let mut world = World::new();
    world.policy("shop", json!({"volumes": {}}));
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    world.act();
    let mut backup = world.pods("web")[0].clone();
    (backup.uid, backup.name, backup.controller, backup.revision) =
        ("backup".into(), "backup".into(), None, None);
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    // Recreate: the old pod is gone.
    world.namespace.pods.retain(|uid, _| *uid == new);
    world.namespace.pods.insert("backup".into(), backup);
    world.observe("web");
    world.act();
    let entry = world.attention().unwrap();
    assert_eq!(entry.reason, Reason::StuckOnVolume, "{entry:?}");
    assert!(!entry.message.contains("Its old pods are ended first"), "{}", entry.message);
}

/// Freeze and windows are asked before anything of ours that ends pods.
#[test]
fn a_stuck_rollout_is_not_freed_in_a_freeze() {
    let mut world = World::new();
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    world.policy("shop", json!({"mode": "Freeze", "volumes": {}}));
    world.act();
    assert!(!world.marked_exclusive("web"), "{:?}", world.attention());
}

/// On resume the strategy would be Recreate, and the old pod, which says no, be ended at once.
#[test]
fn p8_a_rollout_that_is_paused_in_its_middle_gets_no_mark_unasked() {
    let mut world = World::new();
    world.claim("data", "ReadWriteOnce");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    let new = waiting(&mut world);
    world.namespace.pods.get_mut(&new).unwrap().claims.node = Some("node-2".into());
    world.edit("web", |web| web["spec"]["paused"] = json!(true));
    world.observe("web");
    world.answers.insert("web-1".into(), Answer::No("busy".into()));
    world.policy("shop", json!({"volumes": {}, "gates": {"app": {}}}));
    world.act();
    assert!(!world.marked_exclusive("web"), "{:?}", world.attention());
}

/// The rest of the rollout would be RollingUpdate: the new pod starts while the old one still
/// writes.
#[test]
fn the_mark_is_not_taken_off_in_the_middle_of_a_rollout() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    assert!(world.marked_exclusive("web"));
    let _ = waiting(&mut world);
    world.namespace.autoscalers.insert("hpa".into(), (world.id("web"), 2));
    world.act();
    assert!(world.marked_exclusive("web"));
}

/// The mark is no reason for itself.
#[test]
fn the_declared_strategy_comes_back_when_the_policy_no_longer_asks_for_recreate() {
    let mut world = shop("ReadWriteOnce", json!({"exclusiveClaims": "Recreate"}));
    world.change(&volume("pv-data"), json!({"spec": {"csi": null, "hostPath": {}}}));
    world.act();
    assert!(world.marked_exclusive("web"));
    world.policy("shop", json!({"volumes": {"exclusiveClaims": "WhenDeadlock"}}));
    world.act();
    assert!(!world.marked_exclusive("web"));
}

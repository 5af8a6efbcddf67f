//! Objects that cannot be read: what was known of them stands, nothing is decided on it, and no
//! value of a Secret is told.

use std::collections::BTreeSet;

use lockkeeper::{
    api::{ConditionReason, ConfigKind, Phase, Reason, WorkloadKind},
    core::{
        digest::Key,
        hold::enforced::Enforcement,
        judge::Release,
        observed::{Concerns, ConfigId, Unread, WorkloadId},
        reach::Reach,
        unread,
    },
    shell::{
        digest,
        index::{Effects, Index, Indexed},
        streams::{self, Object, Step},
        views::{
            ConfigMaps, Deployments, MutatingBindings, MutatingPolicies, Pods, Policies,
            ReplicaSets, Secrets, ValidatingBindings, ValidatingPolicies, Watched, Wire,
            lenient::Lenient,
            storage::{Claims, Namespaces, Volumes},
        },
    },
};
use serde_json::{Value, json};

use crate::world::{World, at, volumes::shop};

/// What the API server writes for `9999-12-31T23:59:59-12:00`.
const TOO_LATE: &str = "10000-01-01T11:59:59Z";

fn object<K: Watched>(raw: &Value) -> Object<K> {
    let text = raw.to_string();
    streams::lenient::<K>(serde_json::from_str::<Lenient<Wire<K>>>(&text).unwrap()).unwrap()
}

fn index() -> Index {
    let key = digest::set_key(Key::new(&[7; 32]));
    Index::new(
        key,
        "lockkeeper-system".into(),
        Reach::default(),
        Enforcement::new(&Release::new("lockkeeper-system", "")),
    )
}

fn watch<K: Indexed>(index: &mut Index, step: Step<K>) -> Effects {
    index.apply(None, step, at(0))
}

fn list<K: Indexed>(index: &mut Index, objects: &[Value]) {
    watch::<K>(index, Step::Restarted);
    for raw in objects {
        watch::<K>(index, Step::Listed(object::<K>(raw)));
    }
    watch::<K>(index, Step::Complete);
}

fn named(name: &str, rest: Value) -> Value {
    let mut object = json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "5",
        "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "kubectl", "time": "2026-01-01T00:00:00Z"}]}});
    json_patch::merge(&mut object, &rest);
    object
}

fn broken(object: &Value) -> Value {
    let mut broken = object.clone();
    broken["metadata"]["resourceVersion"] = json!("6");
    broken["metadata"]["managedFields"][0]["time"] = json!(TOO_LATE);
    broken
}

/// Lists an object, makes it unreadable and readable again, and deletes it while it is unreadable;
/// `known` says whether the index knows it.
fn lives<K: Indexed>(raw: &Value, known: impl Fn(&Index) -> bool) {
    let kind = K::KIND;
    let mut index = index();
    list::<K>(&mut index, std::slice::from_ref(raw));
    assert!(known(&index), "{kind}: listed");

    assert!(
        watch::<K>(&mut index, Step::Applied(object::<K>(&broken(raw)))).unread_changed,
        "{kind}"
    );
    assert!(known(&index), "{kind}: what was known stands");
    let one = index.unread().next().unwrap();
    assert_eq!(
        (one.kind, &*one.name, &*one.uid),
        (kind, raw["metadata"]["name"].as_str().unwrap(), raw["metadata"]["uid"].as_str().unwrap())
    );
    assert!(one.flaw.starts_with("metadata.managedFields[0].time is"), "{kind}: {}", one.flaw);

    list::<K>(&mut index, &[broken(raw)]);
    assert!(known(&index), "{kind}: it counts as listed");
    assert_eq!(index.unread().count(), 1, "{kind}");
    let again = watch::<K>(&mut index, Step::Applied(object::<K>(&broken(raw))));
    assert!(!again.unread_changed, "{kind}: it is the same");

    watch::<K>(&mut index, Step::Applied(object::<K>(raw)));
    assert_eq!(index.unread().count(), 0, "{kind}: readable again");
    assert!(known(&index), "{kind}");

    watch::<K>(&mut index, Step::Applied(object::<K>(&broken(raw))));
    watch::<K>(&mut index, Step::Deleted(object::<K>(&broken(raw))));
    assert!(!known(&index), "{kind}: deleted");
    assert_eq!(index.unread().count(), 0, "{kind}");

    // Unreadable from the beginning: it is listed, and never known.
    let mut index = self::index();
    list::<K>(&mut index, &[broken(raw)]);
    assert_eq!(index.unread().count(), 1, "{kind}");
    if kind != "UpgradePolicy" {
        assert!(!known(&index), "{kind}: never known");
    }
    list::<K>(&mut index, &[]);
    assert_eq!(index.unread().count(), 0, "{kind}: gone without a watch that saw it");
}

#[test]
fn what_was_known_stands_until_the_object_is_deleted() {
    let shop = |index: &Index| index.namespace("shop").cloned().unwrap_or_default();
    let config = |kind: ConfigKind, index: &Index| {
        let id = ConfigId { kind, name: "one".into() };
        shop(index).config.get(&id).is_some_and(|entry| entry.content().is_some())
    };
    lives::<ConfigMaps>(&named("one", json!({"data": {"key": "value"}})), |index| {
        config(ConfigKind::ConfigMap, index)
    });
    lives::<Secrets>(&named("one", json!({"data": {"key": "dmFsdWU="}})), |index| {
        config(ConfigKind::Secret, index)
    });
    lives::<Deployments>(&named("web", json!({"spec": {"template": {}}})), |index| {
        !shop(index).workloads.is_empty()
    });
    lives::<Pods>(&named("web-1", json!({})), |index| !shop(index).pods.is_empty());
    lives::<Policies>(&named("shop", json!({"spec": {"selector": {}}})), |index| {
        !shop(index).policies.is_empty()
    });
    let retained = json!({"metadata": {"labels": {"lockkeeper.dev/retained": "true"}}});
    lives::<Claims>(&named("data", retained), |index| index.with_interest().contains("shop"));
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid-web", "controller": true}]);
    lives::<ReplicaSets>(
        &named("web-1", json!({"metadata": {"ownerReferences": owner}})),
        |index| !shop(index).replica_sets.is_empty(),
    );
    let of_cluster = |name| named(name, json!({"metadata": {"namespace": null}}));
    lives::<Volumes>(&of_cluster("pv"), |index| index.storage().volume("pv").is_some());
    lives::<Namespaces>(&of_cluster("shop"), |index| {
        index.storage().namespaces.contains_key("shop")
    });
}

#[test]
fn an_object_of_the_same_name_that_cannot_be_read_is_not_the_one_that_was_known() {
    let mut index = index();
    let web = named("web", json!({"spec": {"template": {}}}));
    list::<Deployments>(&mut index, std::slice::from_ref(&web));
    let mut another = broken(&web);
    another["metadata"]["uid"] = json!("uid-another");
    list::<Deployments>(&mut index, &[another]);
    assert!(index.namespace("shop").unwrap().workloads.is_empty());
    assert_eq!(index.unread().count(), 1);
}

#[test]
fn a_policy_that_cannot_be_read_is_not_acted_on() {
    let mut index = index();
    let policy = named("shop", json!({"spec": {"selector": {}}}));
    list::<Policies>(&mut index, std::slice::from_ref(&policy));
    let spec = |index: &Index| index.namespace("shop").unwrap().policies["shop"].spec.clone();
    assert!(spec(&index).is_ok());
    watch::<Policies>(&mut index, Step::Applied(object::<Policies>(&broken(&policy))));
    let why = spec(&index).unwrap_err();
    assert!(why.contains("metadata.managedFields[0].time"), "{why}");
    watch::<Policies>(&mut index, Step::Applied(object::<Policies>(&policy)));
    assert!(spec(&index).is_ok());
    // Unreadable from the beginning.
    let mut index = self::index();
    list::<Policies>(&mut index, &[broken(&policy)]);
    assert!(spec(&index).is_err());
}

/// The admission policies and bindings of the chart, of one kind.
fn installed<K: Watched>() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockkeeper/admission");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let documents: Vec<Value> = files
        .flat_map(|file| {
            file.split("\n---\n")
                .map(|one| serde_saphyr::from_str(one).unwrap())
                .collect::<Vec<Value>>()
        })
        .collect();
    let of_kind = documents.into_iter().filter(|one| one["kind"] == K::KIND);
    of_kind
        .map(|one| {
            named(
                one["metadata"]["name"].as_str().unwrap(),
                json!({"metadata": {"namespace": null}, "spec": one["spec"]}),
            )
        })
        .collect()
}

#[test]
fn holds_are_not_called_enforced_by_an_admission_policy_that_cannot_be_read() {
    let mut index = index();
    list::<MutatingPolicies>(&mut index, &installed::<MutatingPolicies>());
    list::<MutatingBindings>(&mut index, &installed::<MutatingBindings>());
    list::<ValidatingPolicies>(&mut index, &installed::<ValidatingPolicies>());
    list::<ValidatingBindings>(&mut index, &installed::<ValidatingBindings>());
    assert_eq!(index.enforcement().gap(), None);

    let one = &installed::<MutatingPolicies>()[0];
    watch::<MutatingPolicies>(&mut index, Step::Applied(object::<MutatingPolicies>(&broken(one))));
    let stranger = named("another", json!({"metadata": {"namespace": null}}));
    watch::<MutatingPolicies>(
        &mut index,
        Step::Applied(object::<MutatingPolicies>(&broken(&stranger))),
    );
    assert_eq!(
        index.unread().map(|one| &*one.name).collect::<Vec<_>>(),
        [one["metadata"]["name"].as_str().unwrap()],
        "those of others are passed over"
    );
    let gaps = [
        index.enforcement().gap(),
        index.enforcement().claims_gap(),
        index.enforcement().deletion_gap(),
    ];
    let found: Vec<_> = gaps.into_iter().flatten().map(|gap| gap.reason).collect();
    assert_eq!(found, [ConditionReason::AdmissionPolicyUnreadable]);

    watch::<MutatingPolicies>(&mut index, Step::Applied(object::<MutatingPolicies>(one)));
    assert_eq!((index.unread().count(), index.enforcement().gap()), (0, None));
}

/// Of the data of a Secret not even the key is told.
#[test]
fn no_value_is_told() {
    for (raw, expected) in [
        (
            named("one", json!({"data": {"password": 424242}})),
            "its data is not as Lockkeeper expects it",
        ),
        (
            broken(&named("one", json!({}))),
            "metadata.managedFields[0].time is a time outside of the years that Lockkeeper can read (0000 to 9999)",
        ),
        (
            named("one", json!({"metadata": {"annotations": {"a": 424242}}})),
            "metadata.annotations.a is a number that Lockkeeper cannot use there",
        ),
    ] {
        let flaw = object::<Secrets>(&raw).flaw.unwrap().sentence;
        assert_eq!(flaw, expected);
        let one = Unread {
            api_version: "v1".into(),
            kind: "Secret",
            namespace: "shop".into(),
            name: "one".into(),
            uid: "uid-one".into(),
            flaw,
            concerns: Concerns::Nobody,
        };
        let notice = one.notice();
        assert!(
            !notice.message.contains("424242") && !notice.message.contains("password"),
            "{}",
            notice.message
        );
    }
    // Elsewhere the time is quoted.
    let flaw = object::<Pods>(&broken(&named("one", json!({})))).flaw.unwrap().sentence;
    assert!(flaw.contains(TOO_LATE), "{flaw}");
}

#[test]
fn an_object_without_what_identifies_it_is_none() {
    for field in ["name", "uid", "resourceVersion"] {
        let mut raw = broken(&named("one", json!({})));
        raw["metadata"][field] = json!(7);
        let read: Lenient<Wire<Pods>> = serde_json::from_value(raw).unwrap();
        assert!(streams::lenient(read).is_none(), "{field}");
    }
}

#[test]
fn each_is_told_once_while_it_stands() {
    let one = |name: &str, flaw: &str| Unread {
        api_version: "v1".into(),
        kind: "Pod",
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}").into(),
        flaw: flaw.into(),
        concerns: Concerns::Nobody,
    };
    let mut told = BTreeSet::new();
    let mut tell = |all: &[Unread]| unread::news(all.iter(), &mut told).len();
    assert_eq!(tell(&[one("a", "this"), one("b", "this")]), 2);
    assert_eq!(tell(&[one("a", "this"), one("b", "this")]), 0);
    assert_eq!(tell(&[one("a", "that"), one("b", "this")]), 1, "something else is wrong with it");
    assert_eq!(tell(&[one("b", "this")]), 0);
    assert_eq!(tell(&[one("a", "that")]), 1, "it was readable in between");
}

pub fn unreadable(world: &mut World, kind: &'static str, name: &str, concerns: Concerns) {
    let one = Unread {
        api_version: "v1".into(),
        kind,
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}").into(),
        flaw: "a time".into(),
        concerns,
    };
    world.namespace.unread.insert((kind, "shop".to_owned(), name.to_owned()), one);
}

/// A Deployment `web` that reads ConfigMap `app`, and one that reads nothing.
fn world() -> World {
    let mut world = World::new().with_policy(json!({"config": {"settle": "0s"}}));
    world.config_map("app", &[("key", "old")]);
    world.deployment(
        "web",
        json!({"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "app"}}]}]}),
    );
    world.deployment("other", json!({"containers": [{"name": "app"}]}));
    world.act();
    world.later(60).act();
    world
}

fn reasons(world: &mut World) -> Vec<(String, Phase, Reason)> {
    let decision = world.decide();
    decision.statuses[0]
        .1
        .attention
        .iter()
        .map(|one| (one.name.clone(), one.phase, one.reason))
        .collect()
}

/// While something that belongs to a workload cannot be read, or that it reads, it is left as it
/// is; and only it.
#[test]
fn a_workload_is_left_alone_while_something_of_it_cannot_be_read() {
    let web = WorkloadId { kind: WorkloadKind::Deployment, name: "web".into() };
    let cases = [
        ("Deployment", "web", Concerns::Workload(web)),
        ("Pod", "web-x", Concerns::ControlledBy("uid-web".into())),
        (
            "ConfigMap",
            "app",
            Concerns::Readers(ConfigId { kind: ConfigKind::ConfigMap, name: "app".into() }),
        ),
    ];
    for (kind, name, concerns) in cases {
        let mut world = world();
        unreadable(&mut world, kind, name, concerns);
        world.config_map("app", &[("key", "new")]);
        world.later(60);
        let decision = world.decide();
        assert!(decision.patches.is_empty(), "{kind}: {:?}", decision.patches);
        assert_eq!(
            reasons(&mut world),
            [("web".to_owned(), Phase::Waiting, Reason::UnreadableObject)],
            "{kind}"
        );
        let message = &decision.statuses[0].1.attention[0].message;
        assert!(message.starts_with(&format!("{kind}/{name} cannot be read: a time")), "{message}");

        world.namespace.unread.clear();
        let rolled =
            world.decide().patches.iter().filter(|patch| patch.config_hash.is_some()).count();
        assert_eq!(rolled, 1, "{kind}: readable again");
    }
}

/// The pods of a Deployment belong to its ReplicaSet, which may be as unreadable as they are.
#[test]
fn pods_of_a_replica_set_that_cannot_be_read_are_those_of_its_deployment() {
    let mut world = world();
    unreadable(&mut world, "Pod", "web-x", Concerns::ControlledBy("uid-set".into()));
    assert_eq!(reasons(&mut world), []);
    unreadable(&mut world, "ReplicaSet", "set", Concerns::ControlledBy("uid-web".into()));
    let web = world.namespace.workloads.values().find(|one| one.id.name == "web").unwrap();
    assert_eq!(unread::of_workload(&world.namespace, web).map(|one| &*one.name), Some("web-x"));
}

/// What was never known may be anybody's: a policy says that it may have left it out.
#[test]
fn a_workload_that_was_never_known_is_told_as_left_out() {
    let mut world = world();
    let cart = WorkloadId { kind: WorkloadKind::StatefulSet, name: "cart".into() };
    unreadable(&mut world, "StatefulSet", "cart", Concerns::Workload(cart));
    let decision = world.decide();
    let governing =
        decision.statuses[0].1.conditions.iter().find(|one| one.type_ == "Governing").unwrap();
    assert_eq!((&*governing.status, &*governing.reason), ("False", "LeftOut"));
    assert!(
        governing.message.contains("StatefulSet/cart cannot be read: a time"),
        "{}",
        governing.message
    );
}

/// A ConfigMap that was never known is not one that is missing.
#[test]
fn a_config_map_that_was_never_known_is_not_missing() {
    let mut world = World::new().with_policy(json!({"config": {"settle": "0s"}}));
    world.deployment(
        "web",
        json!({"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "app"}}]}]}),
    );
    unreadable(
        &mut world,
        "ConfigMap",
        "app",
        Concerns::Readers(ConfigId { kind: ConfigKind::ConfigMap, name: "app".into() }),
    );
    world.later(60);
    let decision = world.decide();
    assert!(decision.patches.is_empty(), "{:?}", decision.patches);
    assert_eq!(reasons(&mut world), [("web".to_owned(), Phase::Waiting, Reason::UnreadableObject)]);
}

/// A claim that was never known may be one that only one pod can use: nothing is taken back that
/// its rollouts need.
#[test]
fn a_strategy_stays_recreate_while_something_of_the_storage_cannot_be_read() {
    for (kind, name, of_cluster) in
        [("PersistentVolumeClaim", "data", false), ("PersistentVolume", "pv-data", true)]
    {
        let mut world = shop("ReadWriteOnce", json!({}));
        world.act();
        assert!(world.marked_exclusive("web"));
        let claim = world.namespace.claims.remove("data").unwrap();
        unreadable(&mut world, kind, name, Concerns::Storage(BTreeSet::from(["shop".to_owned()])));
        if of_cluster {
            world.storage.unread = std::mem::take(&mut world.namespace.unread);
        }
        world.restart_operator();
        world.later(60).act();
        assert!(world.marked_exclusive("web"), "{kind}");

        // Where the policy asks for nothing, that does not matter.
        let before = world.namespace.policies["shop"].clone();
        world.policy("shop", json!({"volumes": {"exclusiveClaims": "Ignore"}}));
        assert!(
            world
                .decide()
                .patches
                .iter()
                .any(|patch| patch.annotations.contains(&("lockkeeper.dev/volume-access", None))),
            "{kind}"
        );
        world.namespace.policies.insert("shop".to_owned(), before);

        world.namespace.claims.insert("data".to_owned(), claim);
        (world.namespace.unread, world.storage.unread) = Default::default();
        world.act();
        assert!(world.marked_exclusive("web"), "{kind}: readable again");
        // And one that is known to be gone needs nothing.
        world.namespace.claims.clear();
        world.act();
        assert!(!world.marked_exclusive("web"), "{kind}");
    }
}

/// A workload that was never known may be in any step, and rolling: what waits for others waits for
/// it.
#[test]
fn what_goes_in_order_waits_for_a_workload_that_was_never_known() {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    let steps = json!({"steps": [step("web"), step("other")]});
    let (stateful_set, daemon_set) =
        (("StatefulSet", WorkloadKind::StatefulSet), ("DaemonSet", WorkloadKind::DaemonSet));
    let cases: [(_, _, &[&str], &[&str]); 4] = [
        (&steps, stateful_set, &["web"], &["other"]),
        (&json!({"maxConcurrent": 2}), stateful_set, &[], &["other", "web"]),
        (&json!({"deadline": "5m"}), stateful_set, &["other", "web"], &[]),
        // The policy does not select this kind.
        (&steps, daemon_set, &["other", "web"], &[]),
    ];
    for (rollout, (kind, of_kind), go, wait) in cases {
        let kinds = json!(["Deployment", "StatefulSet"]);
        let mut world = World::new()
            .with_policy(json!({"kinds": kinds, "config": {"settle": "0s"}, "rollout": rollout}));
        world.config_map("app", &[("key", "old")]);
        for name in ["web", "other"] {
            world.deployment(name, json!({"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "app"}}]}]}));
        }
        world.act();
        world.later(60).act();
        unreadable(
            &mut world,
            kind,
            "db",
            Concerns::Workload(WorkloadId { kind: of_kind, name: "db".into() }),
        );
        world.config_map("app", &[("key", "new")]);
        assert_eq!(rolled(&mut world), go, "{rollout} {kind}");
        let waiting: Vec<_> = wait
            .iter()
            .map(|name| ((*name).to_owned(), Phase::Waiting, Reason::UnreadableObject))
            .collect();
        assert_eq!(reasons(&mut world), waiting, "{rollout} {kind}");
        world.namespace.unread.clear();
        assert_eq!(rolled(&mut world), wait, "{rollout} {kind}: readable again");
    }
}

/// What rolls, one after the other, in the order of the names.
fn rolled(world: &mut World) -> Vec<String> {
    let mut rolled = Vec::new();
    for _ in 0..3 {
        for name in world.later(60).act() {
            world.finish(&name);
            rolled.push(name);
        }
    }
    rolled.sort();
    rolled
}

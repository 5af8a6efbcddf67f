//! The index: what lists and deletions leave in it.

use lockkeeper::{
    core::{digest::Key, hold::enforced::Enforcement, reach::Reach},
    shell::{
        digest,
        index::{Effects, Index, Indexed},
        streams::{Object, Place, Step, WATCHES, object},
        views::{
            Canaries, ConfigMaps, Deployments, Pods, Policies, ReplicaSets, Rollouts, StatefulSets,
            storage::{Autoscalers, Claims, CronJobs, Drivers, Namespaces, Volumes},
        },
    },
};
use serde_json::{Value, json};

use crate::world::at;

fn index() -> Index {
    let key = digest::set_key(Key::new(&[7; 32]));
    Index::new(key, "lockkeeper-system".into(), Reach::default(), Enforcement::default())
}

fn named<K: Indexed>(name: &str, rest: &Value) -> Object<K> {
    let mut raw = json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "5"}});
    json_patch::merge(&mut raw, rest);
    object(serde_json::from_value(raw).unwrap())
}

fn show<K: Indexed>(index: &mut Index, step: Step<K>) -> Effects {
    index.apply(None, step, at(0))
}

fn list<K: Indexed>(index: &mut Index, objects: Vec<Object<K>>) -> Effects {
    show::<K>(index, Step::Restarted);
    for object in objects {
        show(index, Step::Listed(object));
    }
    show::<K>(index, Step::Complete)
}

fn job() -> Object<CronJobs> {
    named(
        "backup",
        &json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}}}}}),
    )
}

/// A list of a kind says nothing of the other kinds that are kept in the same place.
#[test]
fn a_list_drops_only_what_is_of_its_kind() {
    let mut index = index();
    list::<Deployments>(&mut index, vec![named("web", &json!({}))]);
    list::<StatefulSets>(&mut index, vec![named("db", &json!({}))]);
    let target = json!({"spec": {"workloadRef": {"kind": "Deployment", "name": "web"},
        "targetRef": {"kind": "Deployment", "name": "web"}}});
    list::<Rollouts>(&mut index, vec![named("web", &target)]);
    list::<Canaries>(&mut index, vec![named("web", &target)]);
    let known = |index: &Index| {
        let shop = index.namespace("shop").unwrap();
        let workloads: Vec<_> = shop.workloads.keys().map(ToString::to_string).collect();
        let delegates: Vec<_> = shop.delegates.keys().map(|(kind, _)| kind.clone()).collect();
        (workloads.join(" "), delegates.join(" "))
    };
    assert_eq!(known(&index), ("Deployment/web StatefulSet/db".into(), "Canary Rollout".into()));

    let effects = list::<StatefulSets>(&mut index, vec![]);
    assert_eq!(effects.gone, ["uid-db".into()]);
    list::<Canaries>(&mut index, vec![]);
    assert_eq!(known(&index), ("Deployment/web".into(), "Rollout".into()));
}

/// A Canary acts on no StatefulSet, whatever it names.
#[test]
fn a_canary_of_a_stateful_set_is_left_out_of_account() {
    let mut index = index();
    list::<StatefulSets>(&mut index, vec![named("db", &json!({}))]);
    let target = json!({"spec": {"targetRef": {"kind": "StatefulSet", "name": "db"}}});
    list::<Canaries>(&mut index, vec![named("db", &target)]);
    assert!(index.namespace("shop").unwrap().delegates.is_empty());
}

/// Its watch lists them once: they would never be known again.
#[test]
fn a_namespace_keeps_its_cron_jobs_when_its_last_claim_goes() {
    let mut index = index();
    let scaler = json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
    list::<CronJobs>(&mut index, vec![job()]);
    list::<Autoscalers>(&mut index, vec![named("web", &scaler)]);
    list::<Claims>(&mut index, vec![named("data", &json!({}))]);
    show::<Claims>(&mut index, Step::Deleted(named("data", &json!({}))));
    let shop = index.namespace("shop").unwrap();
    assert!(shop.claims.is_empty());
    assert_eq!((shop.cron_jobs.len(), shop.autoscalers.len()), (1, 1));

    show::<CronJobs>(&mut index, Step::Deleted(job()));
    show::<Autoscalers>(&mut index, Step::Deleted(named("web", &scaler)));
    assert!(index.namespace("shop").is_none(), "nothing is known of it any longer");
}

/// What of a CronJob matters does not change when it runs.
#[test]
fn a_cron_job_is_news_only_when_it_changes() {
    let mut index = index();
    list::<CronJobs>(&mut index, vec![job()]);
    index.take_news();
    show::<CronJobs>(&mut index, Step::Applied(job()));
    assert!(index.take_news().is_empty());
    show::<CronJobs>(
        &mut index,
        Step::Applied(named("backup", &json!({"spec": {"suspend": true}}))),
    );
    assert!(index.take_news().contains_key("shop"));
}

/// Without a driver, its volumes are taken to be attached.
#[test]
fn a_driver_that_goes_concerns_every_namespace() {
    let mut index = index();
    let unattached = || {
        named(
            "nfs.csi",
            &json!({"metadata": {"namespace": null}, "spec": {"attachRequired": false}}),
        )
    };
    list::<Claims>(&mut index, vec![named("data", &json!({}))]);
    list::<Drivers>(&mut index, vec![unattached()]);
    index.take_news();
    show::<Drivers>(&mut index, Step::Deleted(unattached()));
    assert_eq!(index.take_news().into_keys().collect::<Vec<_>>(), ["shop"]);
}

/// What was written to them is waited for no longer.
#[test]
fn objects_that_a_list_no_longer_names_are_gone() {
    let mut index = index();
    let of_cluster = json!({"metadata": {"namespace": null}});
    list::<Claims>(&mut index, vec![named("data", &json!({}))]);
    list::<Volumes>(&mut index, vec![named("pv", &of_cluster)]);
    assert_eq!(list::<Claims>(&mut index, vec![]).gone, ["uid-data".into()]);
    assert_eq!(list::<Volumes>(&mut index, vec![]).gone, ["uid-pv".into()]);
}

/// One that was deleted and created again while its watch was lost is another one.
#[test]
fn an_object_that_a_list_names_with_another_uid_is_gone() {
    let mut index = index();
    let of_cluster = json!({"metadata": {"namespace": null}});
    let again = |rest: &Value| {
        let mut rest = rest.clone();
        json_patch::merge(&mut rest, &json!({"metadata": {"uid": "again"}}));
        rest
    };
    list::<Claims>(&mut index, vec![named("data", &json!({}))]);
    list::<Volumes>(&mut index, vec![named("pv", &of_cluster)]);
    show::<Claims>(&mut index, Step::Restarted);
    let claims = show::<Claims>(&mut index, Step::Listed(named("data", &again(&json!({})))));
    assert_eq!(claims.gone, ["uid-data".into()]);
    show::<Volumes>(&mut index, Step::Restarted);
    let volumes = show::<Volumes>(&mut index, Step::Listed(named("pv", &again(&of_cluster))));
    assert_eq!(volumes.gone, ["uid-pv".into()]);
}

#[test]
fn a_namespace_that_is_of_no_interest_any_longer_loses_what_only_its_own_watches_tell() {
    let mut index = index();
    let mut effects = Effects::default();
    index.apply::<Pods>(Some("shop"), Step::Restarted, at(0));
    index.apply(Some("shop"), Step::Listed(named::<Pods>("web-1", &json!({}))), at(0));
    index.apply::<Pods>(Some("shop"), Step::Complete, at(0));
    list::<Deployments>(&mut index, vec![named("web", &json!({}))]);
    index.forget::<Pods>("shop", at(0), &mut effects);
    let shop = index.namespace("shop").unwrap();
    assert_eq!((shop.pods.len(), shop.workloads.len()), (0, 1));
}

/// Its claims are gone, and with them the reason why it may not be deleted: somebody has to take the
/// mark off.
#[test]
fn a_namespace_is_known_as_long_as_it_bears_a_mark_of_ours() {
    let mut index = index();
    let own = |protected: &str| {
        let labels = json!({"lockkeeper.dev/protected": protected});
        named::<Namespaces>("shop", &json!({"metadata": {"namespace": null, "labels": labels}}))
    };
    list::<Namespaces>(&mut index, vec![own("true")]);
    list::<Claims>(&mut index, vec![named("data", &json!({}))]);
    show::<Claims>(&mut index, Step::Deleted(named("data", &json!({}))));
    assert!(index.namespace("shop").is_some(), "after its last claim");

    show::<Namespaces>(&mut index, Step::Applied(own("false")));
    assert!(index.namespace("shop").is_none(), "nothing is left to do");
    show::<Namespaces>(&mut index, Step::Applied(own("true")));
    assert!(index.namespace("shop").is_some(), "an operator that starts finds it so");
    show::<Namespaces>(&mut index, Step::Deleted(own("true")));
    assert!(index.namespace("shop").is_none());
}

/// What was written to its status is forgotten.
#[test]
fn a_policy_that_is_gone_or_another_one_is_told() {
    let mut index = index();
    let policy = |uid: &str| {
        let spec = json!({"selector": {}});
        named::<Policies>("shop", &json!({"metadata": {"uid": uid}, "spec": spec}))
    };
    list::<Policies>(&mut index, vec![policy("first")]);
    let replaced = show::<Policies>(&mut index, Step::Applied(policy("second")));
    assert_eq!((replaced.gone, replaced.interest_changed), (vec!["first".into()], false));
    let unlisted = list::<Policies>(&mut index, vec![]);
    assert_eq!((unlisted.gone, unlisted.interest_changed), (vec!["second".into()], true));
    list::<Policies>(&mut index, vec![policy("third")]);
    let deleted = show::<Policies>(&mut index, Step::Deleted(policy("third")));
    assert_eq!(deleted.gone, ["third".into()]);
}

/// A Deployment whose pods read this ConfigMap, if it exists.
fn reader(config: &str) -> Object<Deployments> {
    let from = json!([{"configMapRef": {"name": config, "optional": true}}]);
    named(
        "web",
        &json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "envFrom": from}]}}}}),
    )
}

fn config_of(index: &Index) -> Vec<String> {
    let shop = index.namespace("shop");
    shop.into_iter().flat_map(|shop| shop.config.keys()).map(|id| id.name.to_string()).collect()
}

fn delete_config(index: &mut Index, name: &str) {
    let config = || named::<ConfigMaps>(name, &json!({"data": {"key": "value"}}));
    show::<ConfigMaps>(index, Step::Applied(config()));
    show::<ConfigMaps>(index, Step::Deleted(config()));
}

#[test]
fn config_that_is_deleted_is_remembered_while_something_reads_it() {
    let mut index = index();
    list::<Deployments>(&mut index, vec![reader("app")]);
    delete_config(&mut index, "app");
    delete_config(&mut index, "job-1");
    index.forget_deleted_config(at(599));
    assert_eq!(config_of(&index), ["app", "job-1"], "its reader may be on its way");
    index.forget_deleted_config(at(700));
    assert_eq!(config_of(&index), ["app", "job-1"], "not looked through all the time");
    index.forget_deleted_config(at(1200));
    assert_eq!(config_of(&index), ["app"]);

    show::<Deployments>(&mut index, Step::Deleted(reader("app")));
    index.forget_deleted_config(at(1800));
    assert!(index.namespace("shop").is_none(), "nothing is left of the namespace");
}

#[test]
fn nothing_is_forgotten_while_a_policy_cannot_be_read() {
    let mut index = index();
    let policy = |spec: Value| named::<Policies>("shop", &json!({"spec": spec}));
    let windows = json!([{"schedule": "0 2 * * *", "duration": "1h"},
        {"schedule": "0 2 * * *", "duration": "1h", "type": "Deny"}]);
    let never = policy(json!({"selector": {}, "gates": {"windows": windows}}));
    list::<Policies>(&mut index, vec![never]);
    let spec = &index.namespace("shop").unwrap().policies["shop"].spec;
    assert!(spec.is_err(), "{spec:?}");
    delete_config(&mut index, "app");
    index.forget_deleted_config(at(600));
    assert_eq!(config_of(&index), ["app"]);

    list::<Policies>(&mut index, vec![policy(json!({"selector": {}}))]);
    index.forget_deleted_config(at(1200));
    assert!(config_of(&index).is_empty());
}

/// What jobs make and delete does not make room for itself at the cost of what pods read.
#[test]
fn of_too_many_deletions_those_that_something_reads_are_remembered() {
    let mut index = index();
    list::<Deployments>(&mut index, vec![reader("app")]);
    delete_config(&mut index, "app");
    for job in 0..500 {
        delete_config(&mut index, &format!("job-{job:03}"));
    }
    let known = config_of(&index);
    assert!(known.contains(&"app".to_owned()) && known.len() <= 200, "{}", known.len());
    assert!(known.contains(&"job-499".to_owned()), "the newest: {known:?}");
}

/// A ReplicaSet that was released belongs to no Deployment.
#[test]
fn a_replica_set_without_an_owner_is_forgotten() {
    let mut index = index();
    let owners = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid-web", "controller": true}]);
    let set = |owners: &Value| {
        let labels = json!({"pod-template-hash": "1"});
        let annotations = json!({"deployment.kubernetes.io/revision": "1"});
        let metadata =
            json!({"labels": labels, "annotations": annotations, "ownerReferences": owners});
        named::<ReplicaSets>("web-1", &json!({"metadata": metadata}))
    };
    list::<Deployments>(&mut index, vec![reader("app")]);
    list::<ReplicaSets>(&mut index, vec![set(&owners)]);
    assert_eq!(index.namespace("shop").unwrap().replica_sets.len(), 1);
    show::<ReplicaSets>(&mut index, Step::Applied(set(&json!([]))));
    assert!(index.namespace("shop").unwrap().replica_sets.is_empty());
}

/// What is asked of the API server: one selector too few reads a cluster's whole history of Helm,
/// one too many misses objects without a word.
#[test]
fn each_watch_selects_what_it_is_about() {
    let selected = |namespace: Option<&str>| -> Vec<_> {
        let selects = |watch: &&lockkeeper::shell::streams::Watch| {
            let config = watch.config(namespace);
            assert_eq!(config.label_selector, None, "{}", watch.plural);
            assert!(config.page_size.is_some_and(|size| size > 0), "{}", watch.plural);
            config.field_selector.map(|fields| (watch.plural, fields))
        };
        WATCHES.iter().filter_map(|watch| selects(&watch)).collect()
    };
    let everywhere = [
        ("customresourcedefinitions", "metadata.name=upgradepolicies.lockkeeper.dev".to_owned()),
        ("mutatingwebhookconfigurations", "metadata.name=zz-lockkeeper".to_owned()),
        ("secrets", "type!=helm.sh/release.v1".to_owned()),
    ];
    assert_eq!(selected(None), everywhere);
    let of_one = [&everywhere[..], &[("namespaces", "metadata.name=shop".to_owned())]].concat();
    assert_eq!(selected(Some("shop")), of_one);

    let cluster: Vec<_> = WATCHES
        .iter()
        .filter(|watch| watch.path(Some("shop")).is_none())
        .map(|watch| (watch.plural, watch.place))
        .collect();
    assert_eq!(
        cluster,
        [("namespaces", Place::Namespaces)],
        "the others run in a namespace's path"
    );
}

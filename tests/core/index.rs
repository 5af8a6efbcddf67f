//! The index: what lists and deletions leave in it.

use lockkeeper::{
    core::{digest::Key, hold::enforced::Enforcement, reach::Reach},
    shell::{
        digest,
        index::{Effects, Index, Indexed},
        streams::{Object, Step, object},
        views::{
            Canaries, Deployments, Pods, Rollouts, StatefulSets,
            storage::{Autoscalers, Claims, CronJobs, Drivers, Volumes},
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

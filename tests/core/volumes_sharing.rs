//! Several who use one claim that only one pod, or the pods of one node, may hold.

use std::sync::Arc;

use lockkeeper::{
    api::WorkloadKind,
    core::observed::{
        Pod,
        storage::{CronJob, States},
    },
};
use serde_json::{Value, json};

use crate::world::{
    World,
    volumes::{shop, uses, volume},
};

fn cron_job(name: &str, suspended: bool, reads: bool) -> CronJob {
    let claims: Arc<[String]> = ["data".to_owned()].into();
    let read_only = if reads { claims.clone() } else { Arc::default() };
    CronJob { name: name.into(), claims, read_only, suspended }
}

/// A pod on the claim that no workload controls.
fn pod_of(world: &mut World, name: &str, owner: Option<&str>) {
    let mut pod: Pod = world.pods("web")[0].clone();
    (pod.uid, pod.name, pod.controller) =
        (name.into(), name.into(), owner.map(|owner| format!("uid-{owner}").into()));
    pod.claims.owner = owner.map(Into::into);
    world.namespace.pods.insert(pod.uid.clone(), pod);
}

fn not_attached(world: &mut World) {
    world.change(&volume("pv-data"), json!({"spec": {"csi": null, "nfs": {}}}));
}

#[test]
fn workloads_that_share_an_exclusive_claim_are_named_once() {
    type Case = fn(&mut World);
    let rows: [(&str, Case, Option<&str>); 12] = [
        ("nobody else", |_| {}, None),
        (
            "a CronJob that only reads",
            |world| {
                drop(world.namespace.cron_jobs.insert("1".into(), cron_job("backup", false, true)))
            },
            Some("CronJob/backup and Deployment/web use claim data, which is ReadWriteOnce"),
        ),
        (
            "a suspended CronJob",
            |world| {
                drop(world.namespace.cron_jobs.insert("1".into(), cron_job("backup", true, false)))
            },
            None,
        ),
        (
            "a Job",
            |world| pod_of(world, "migrate-x", Some("Job/migrate")),
            Some("Deployment/web and Job/migrate use claim data"),
        ),
        (
            "a Job of a CronJob",
            |world| {
                world.namespace.cron_jobs.insert("1".into(), cron_job("backup", false, false));
                pod_of(world, "backup-1-x", Some("Job/backup-1"));
            },
            Some("CronJob/backup and Deployment/web use claim data"),
        ),
        (
            "a bare pod",
            |world| pod_of(world, "debug", None),
            Some("Deployment/web and Pod/debug use claim data"),
        ),
        (
            "a ReplicaSet without a Deployment",
            |world| pod_of(world, "old-x", Some("ReplicaSet/old")),
            Some("Deployment/web and ReplicaSet/old use claim data"),
        ),
        (
            "a StatefulSet whose template makes a claim of that name",
            |world| {
                world.claim("data-db-0", "ReadWriteOnce");
                world.workload(WorkloadKind::StatefulSet, "db", 1, json!({"containers": []}));
                world.edit("db", |db| {
                    db["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}])
                });
                world.workload(WorkloadKind::Deployment, "shell", 1, uses("data-db-0"));
            },
            Some("Deployment/shell and StatefulSet/db use claim data-db-0"),
        ),
        (
            "two sets whose claims have the same name",
            |world| {
                world.claim("data-main-db-0", "ReadWriteOnce");
                for (set, template) in [("db", "data-main"), ("main-db", "data")] {
                    world.workload(WorkloadKind::StatefulSet, set, 1, json!({"containers": []}));
                    world.edit(set, |db| {
                        db["spec"]["volumeClaimTemplates"] =
                            json!([{"metadata": {"name": template}}])
                    });
                }
            },
            Some(
                "StatefulSet/db and StatefulSet/main-db use claim data-main-db-0, which is ReadWriteOnce: their pods can run only on one node, and wait for the volume on any other. Their volumeClaimTemplates",
            ),
        ),
        (
            "three",
            |world| {
                pod_of(world, "debug", None);
                world.workload(WorkloadKind::Deployment, "api", 1, uses("data"));
            },
            Some("Deployment/api, Deployment/web and Pod/debug use claim data"),
        ),
        (
            "not attached, and the CronJob only reads",
            |world| {
                not_attached(world);
                world.namespace.cron_jobs.insert("1".into(), cron_job("backup", false, true));
            },
            None,
        ),
        (
            "not attached, and the CronJob writes",
            |world| {
                not_attached(world);
                world.namespace.cron_jobs.insert("1".into(), cron_job("backup", false, false));
            },
            Some("their pods may write to the volume at the same time"),
        ),
    ];
    for (name, case, expected) in rows {
        let mut world = shop("ReadWriteOnce", json!({}));
        case(&mut world);
        let (_, reason, message) = world.volumes_safe();
        let Some(expected) = expected else {
            assert_eq!(reason, "NoDanger", "{name}: {message}");
            continue;
        };
        assert_eq!(reason, "ExclusiveClaimShared", "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
        assert_eq!(
            message.matches("which is ReadWriteOnce").count(),
            1,
            "{name}: said once: {message}"
        );
    }
}

#[test]
fn kept_data_is_counted_by_the_policy_that_has_it_kept() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    let volumes = world.decide().volumes;
    let counts = |states: States| {
        states.into_iter().map(|(state, (count, _))| (state.as_str(), count)).collect::<Vec<_>>()
    };
    let counted: Vec<_> =
        volumes.into_iter().map(|(policy, states)| (policy, counts(states))).collect();
    assert_eq!(counted, [("shop".to_owned(), vec![("InUse", 1)])]);
}

#[test]
fn several_replicas_that_nothing_keeps_from_writing_to_one_volume_are_reported() {
    let read_only = |world: &mut World| {
        let mount = json!([{"name": "data", "mountPath": "/data", "readOnly": true}]);
        world.edit("web", |web| {
            web["spec"]["template"]["spec"]["containers"] =
                json!([{"name": "app", "volumeMounts": mount}])
        });
    };
    let on_node = |world: &mut World| {
        let term = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]});
        let affinity = json!({"required": {"nodeSelectorTerms": [term]}});
        world.change(
            &volume("pv-data"),
            json!({"spec": {"csi": null, "local": {"path": "/disk"}, "nodeAffinity": affinity}}),
        );
    };
    let scale = |world: &mut World, replicas: u32| {
        world.edit("web", |web| web["spec"]["replicas"] = json!(replicas));
        world.finish("web");
    };
    type Case<'a> = &'a dyn Fn(&mut World);
    let rows: [(&str, Value, Case, Option<&str>); 9] = [
        ("one replica", json!({}), &not_attached, None),
        (
            "two",
            json!({}),
            &|world| (not_attached(world), scale(world, 2)).1,
            Some(
                "Deployment/web runs 2 pods on claim data. The claim is ReadWriteOnce, and its volume is not attached to nodes",
            ),
        ),
        (
            "two on one node",
            json!({}),
            &|world| (on_node(world), scale(world, 2)).1,
            Some("its volume is on node node-1, where the pods could write"),
        ),
        (
            "only reported",
            json!({"exclusiveClaims": "Report"}),
            &|world| (not_attached(world), scale(world, 2)).1,
            Some("Use one replica"),
        ),
        (
            "two that only read",
            json!({}),
            &|world| (not_attached(world), read_only(world), scale(world, 2)).2,
            None,
        ),
        (
            "an autoscaler",
            json!({}),
            &|world| {
                not_attached(world);
                world.namespace.autoscalers.insert("hpa".into(), (world.id("web"), 5));
            },
            Some("an autoscaler may give it 5 pods. The claim is ReadWriteOnce"),
        ),
        (
            "the app bears it",
            json!({"exclusiveClaims": "WhenDeadlock"}),
            &|world| (not_attached(world), scale(world, 2)).1,
            None,
        ),
        (
            "nobody asks",
            json!({"exclusiveClaims": "Ignore"}),
            &|world| (not_attached(world), scale(world, 2)).1,
            None,
        ),
        (
            "attached: the second does not start",
            json!({}),
            &|world| scale(world, 2),
            Some("pods on other nodes cannot start"),
        ),
    ];
    for (name, spec, case, expected) in rows {
        let mut world = shop("ReadWriteOnce", spec.clone());
        case(&mut world);
        let (status, reason, message) = world.volumes_safe();
        match expected {
            Some(part) => {
                assert_eq!(
                    (&*status, &*reason),
                    ("False", "ExclusiveClaimShared"),
                    "{name}: {message}"
                );
                assert!(message.contains(part), "{name}: {message}");
                assert_eq!(
                    message.matches("on claim data").count()
                        + message.matches("uses claim data").count(),
                    1,
                    "{name}: {message}"
                );
            }
            None => assert_eq!(reason, "NoDanger", "{name}: {message}"),
        }
        let noted = message.contains("could write to it at the same time");
        assert!(
            expected.is_some() || noted == (spec["exclusiveClaims"] == "WhenDeadlock"),
            "{name}: {message}"
        );
    }
}

#[test]
fn a_claim_for_one_pod_that_two_use_says_that_only_one_can_run() {
    let mut world = shop("ReadWriteOncePod", json!({}));
    world.namespace.cron_jobs.insert("1".into(), cron_job("backup", false, false));
    let (_, _, message) = world.volumes_safe();
    assert!(
        message.contains("which is ReadWriteOncePod: only one of their pods can run at a time"),
        "{message}"
    );
}

/// What a manifest says of a CronJob is read as it is of a workload.
#[test]
fn a_cron_job_is_read_with_what_it_may_write() {
    use lockkeeper::shell::views::{Watched, Wire, storage::CronJobs};
    let read = |suspend: Value, read_only: bool| {
        let pod = json!({
            "containers": [{"name": "b", "volumeMounts": [{"name": "d", "mountPath": "/data", "readOnly": read_only}]}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
        });
        let raw = json!({"metadata": {"name": "backup"}, "spec": {"suspend": suspend, "jobTemplate": {"spec": {"template": {"spec": pod}}}}});
        let wire: Wire<CronJobs> = serde_json::from_value(raw).unwrap();
        CronJobs::view(&wire.metadata, wire.body)
    };
    assert_eq!(read(Value::Null, true), cron_job("backup", false, true));
    assert_eq!(read(json!(true), false), cron_job("backup", true, false));
}

/// A pod of before that has finished, and that nothing but a finalizer keeps, does not keep a held
/// workload from its strategy.
#[test]
fn a_finished_pod_keeps_no_held_workload_from_the_strategy_recreate() {
    for finished in [true, false] {
        let mut world = shop("ReadWriteOnce", json!({"exclusiveClaims": "Report"}));
        world.act();
        let mut old: Pod = world.pods("web")[0].clone();
        (old.uid, old.name, old.revision) = ("old".into(), "old".into(), Some("before".into()));
        (old.terminating, old.finished) = (Some(world.now), finished);
        world.namespace.pods.insert(old.uid.clone(), old);
        world.policy("shop", json!({"mode": "Freeze", "volumes": {}}));
        world.edit("web", |web| {
            let id = web["metadata"]["generation"].as_i64().unwrap() + 1;
            web["metadata"]["annotations"]["lockkeeper.dev/hold"] = json!(format!("{id} by dev"));
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        let id = world.id("web");
        world.observe_again(&id);
        world.act();
        assert_eq!(world.marked_exclusive("web"), finished);
    }
}

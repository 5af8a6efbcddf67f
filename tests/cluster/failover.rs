//! Two replicas: one acts, the other stands by with warm stores.

use jiff::{SignedDuration, Timestamp};
use local_cluster::shared;
use serde_json::{Value, json};

use crate::support::{
    Shop, address_of, env, eventually, holder, http_get, kubectl, leader, operator_alone, replicas,
};

/// Who acts, and who stands by.
async fn pair() -> (String, String) {
    let both = || async {
        let leader = leader();
        replicas().into_iter().partition::<Vec<_>, _>(|pod| *pod == leader)
    };
    let settled = |both: &(Vec<String>, Vec<String>)| match (both.0.as_slice(), both.1.as_slice()) {
        ([leader], [other]) => is_leader(leader) && is_ready(other),
        _ => false,
    };
    let (mut leader, mut other) = eventually("one acts and one is ready to", both, settled).await;
    (leader.remove(0), other.remove(0))
}

fn is_ready(pod: &str) -> bool {
    http_get(&address_of(pod), "/readyz").as_deref() == Some("ready\n")
}

fn is_leader(pod: &str) -> bool {
    http_get(&address_of(pod), "/metrics")
        .is_some_and(|text| text.lines().any(|line| line == "lockkeeper_leader 1"))
}

/// A container that starts so late before a Lease ends may find it taken.
const LATE: SignedDuration = SignedDuration::from_secs(6);

fn lease() -> Value {
    let lease = kubectl(&["get", "lease", "lockkeeper", "-n", "lockkeeper-system", "-o", "json"]);
    serde_json::from_str(&lease).unwrap()
}

fn time(lease: &Value, field: &str) -> Timestamp {
    lease["spec"][field].as_str().unwrap().parse().unwrap()
}

fn seconds(lease: &Value) -> SignedDuration {
    SignedDuration::from_secs(lease["spec"]["leaseDurationSeconds"].as_i64().unwrap())
}

/// Waits until another replica than this acts: as a rule the one that stood by, but a new one may
/// be faster on a busy machine.
async fn another_acts(pod: &str) {
    eventually("another acts", || async { leader() }, |leader| !leader.is_empty() && leader != pod)
        .await;
}

#[tokio::test]
async fn p1_and_p4_who_fails_over_rolls_nothing_and_applies_once_what_changed_in_between_exclusively()
 {
    let alone = operator_alone();
    let shop = Shop::open("failover").await;
    shop.policy(json!({"config": {"settle": "200ms"}, "gates": {"appliesTo": ["Template"], "approval": "Required"}})).await;
    let names = ["changed", "held", "unchanged"];
    for name in names {
        shop.config_map(name, &[("key", "old")]).await;
        shop.workload("Deployment", name, 2, json!({"env": env("KEY", name, "key")})).await;
    }
    shop.workload("StatefulSet", "database", 2, json!({"env": env("KEY", "changed", "key")})).await;
    shop.adopted().await;
    shop.marked("Deployment", "held").await;
    shop.kubectl(&["set", "image", "deployment/held", "app=other:v2"]);
    shop.waits("Deployment", "held", "ApprovalRequired").await;
    shop.a_second_passes().await;
    let held_is_as_it_was = || async {
        shop.is_held("Deployment", "held").await;
        assert!(
            shop.images("held").await.iter().all(|image| image != "other:v2"),
            "nobody approved it"
        );
    };

    // Lost with its pod, and config changes before another acts.
    let (first, second) = pair().await;
    assert!(!is_leader(&second), "one acts");
    let process = shared().container("lockkeeper-system", &second, "lockkeeper");
    let frozen = process.as_ref().map(|process| process.freeze().unwrap());
    alone.lose_one(&first);
    shop.write("changed", "key", "new").await;
    assert_ne!(leader(), second, "nobody acted when it was written");
    drop(frozen);
    another_acts(&first).await;
    for name in ["changed", "database"] {
        shop.rolled(name, 1).await;
        shop.all_read(name, "KEY", "new").await;
    }
    held_is_as_it_was().await;

    // Told to stop, with a change on its way.
    let (second, _) = pair().await;
    shop.write("changed", "key", "newer").await;
    alone.stop_one(&second);
    another_acts(&second).await;
    for name in ["changed", "database"] {
        shop.rolled(name, 2).await;
        shop.all_read(name, "KEY", "newer").await;
    }
    held_is_as_it_was().await;

    // Its process is killed in the middle of a rollout, and of a release.
    let (third, _) = pair().await;
    let id = shop.is_held("Deployment", "held").await;
    let generation =
        || async { shop.get("Deployment", "changed").await["metadata"]["generation"].clone() };
    let before = generation().await;
    shop.write("changed", "key", "newest").await;
    eventually("it is being rolled", generation, |now| *now != before).await;
    shop.annotate("Deployment", "held", "approve", &id);
    let (killed, before) = (holder(), lease());
    alone.kill_one(&third);
    let another_process = |now: &String| !now.is_empty() && *now != killed;
    eventually("another process leads", || async { holder() }, another_process).await;
    if leader() != third {
        // Its container starts again and takes its own Lease back. The other waits for its end, and
        // takes it only where the machine is too slow to start the container before that.
        let now = lease();
        let ended = time(&before, "renewTime") + seconds(&before);
        assert!(time(&now, "acquireTime") >= ended, "the other did not wait: {before} {now}");
        let pod = kubectl(&["get", "pod", &third, "-n", "lockkeeper-system", "-o", "json"]);
        let pod: Value = serde_json::from_str(&pod).unwrap();
        let started =
            pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].clone();
        let late = |started: &str| started.parse::<Timestamp>().unwrap() + LATE > ended;
        assert!(started.as_str().is_none_or(late), "it had the time to take it back: {pod}");
    }
    for name in ["changed", "database"] {
        shop.rolled(name, 3).await;
        shop.all_read(name, "KEY", "newest").await;
    }
    shop.all_run("Deployment", "held", "other:v2", 2).await;
    shop.is_free("Deployment", "held").await;

    shop.operator_has_acted().await;
    let (held, unchanged) = (shop.rollouts("held").await, shop.rollouts("unchanged").await);
    assert_eq!((held, unchanged), (1, 0), "what was approved, once, and nothing else");
    for name in ["changed", "database"] {
        assert_eq!(shop.rollouts(name).await, 3, "{name}: each change once");
    }
    shop.up_to_date().await;
}

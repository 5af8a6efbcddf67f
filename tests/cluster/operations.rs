//! What happens to the cluster as a whole: docs/operations.md says what becomes of each, and this
//! shows it. There is always a workload that is held, one whose config waits, and one that rolls by
//! itself.

use kube::api::{Patch, PatchParams};
use local_cluster::shared;
use serde_json::{Value, json};

use crate::support::{
    HOLDABLE, Shop, address_of, env, eventually, holder, http_get, kubectl, kubectl_with, mark,
    named, operator_alone, replicas, written,
};

/// The workload that waits for nothing.
const FREE: &str = "free";
/// The one whose config waits.
const PENDING: &str = "pending";

/// Whether the replica at this address acts; none if it does not answer.
fn leads(address: &str) -> Option<bool> {
    let metrics = http_get(address, "/metrics")?;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix("lockkeeper_leader "))
        .map(|value| value == "1")
}

/// Waits until one of the operator's pods acts; its name and its address.
async fn acting() -> (String, String) {
    let with_address = |pod: String| {
        Some(pod.clone()).zip(Some(address_of(&pod)).filter(|address| !address.is_empty()))
    };
    let acting = || async {
        replicas()
            .into_iter()
            .filter_map(with_address)
            .find(|(_, address)| leads(address) == Some(true))
    };
    eventually("a replica acts", acting, Option::is_some).await.unwrap()
}

/// The same once it no longer writes: what was under way when a replica is frozen would be told of
/// afterwards.
async fn written_at_rest(shop: &Shop, address: &str) -> Vec<String> {
    shop.operator_has_acted().await;
    let mut before = written(address);
    let later = || async {
        shop.a_second_passes().await;
        written(address)
    };
    let same = |now: &Vec<String>| std::mem::replace(&mut before, now.clone()) == *now;
    eventually("two equal readings", later, same).await
}

/// A node on which nothing is started until this is dropped.
struct Cordoned(&'static str);

impl Cordoned {
    fn new(node: &'static str) -> Self {
        kubectl(&["cordon", node]);
        Self(node)
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        kubectl(&["uncordon", self.0]);
    }
}

/// A namespace with work under way.
struct Scene {
    shop: Shop,
    /// The pods of what waits, as they were.
    before: Vec<Vec<(String, String, String)>>,
}

impl Scene {
    async fn set(name: &str) -> Self {
        let shop = Shop::open(name).await;
        let of = |operator: &str| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": [FREE, "sentinel"]}]});
        let quiet = json!({"settle": "300ms", "settleLimit": "5s"});
        shop.policy(json!({"selector": of("NotIn"), "kinds": HOLDABLE, "config": quiet, "gates": {"approval": "Required"}})).await;
        let spec = json!({"selector": of("In"), "config": quiet});
        shop.create(json!({"kind": "UpgradePolicy", "metadata": {"name": FREE}, "spec": spec}))
            .await;
        for name in [FREE, PENDING] {
            shop.config_map(name, &[("key", "old")]).await;
            shop.deployment(name, json!({"env": env("KEY", name, "key")})).await;
        }
        for kind in HOLDABLE {
            shop.apply(&shop.manifest(kind, &named("held", kind), "v1"));
            shop.apply(&shop.manifest(kind, &named("next", kind), "v1"));
        }
        for kind in HOLDABLE {
            shop.marked(kind, &named("held", kind)).await;
            shop.marked(kind, &named("next", kind)).await;
        }
        shop.adopted().await;
        shop.write(PENDING, "key", "new").await;
        for kind in HOLDABLE {
            shop.kubectl(&["set", "image", kind, &named("held", kind), "app=other:v2"]);
            shop.waits(kind, &named("held", kind), "ApprovalRequired").await;
        }
        shop.stands(PENDING, "Waiting", "ApprovalRequired").await;
        let mut scene = Self { shop, before: Vec::new() };
        scene.before = scene.pods().await;
        scene
    }

    async fn pods(&self) -> Vec<Vec<(String, String, String)>> {
        let mut pods = vec![self.shop.pods(PENDING).await];
        for kind in HOLDABLE {
            pods.push(self.shop.pods(&named("held", kind)).await);
        }
        pods
    }

    /// What waits, waits, and none of its pods has gone.
    async fn stands(&self) {
        for kind in HOLDABLE {
            self.shop.is_held(kind, &named("held", kind)).await;
        }
        assert_eq!(self.pods().await, self.before);
    }

    /// The first change of a template that is accepted now is stored held, in the very answer to
    /// it.
    async fn holds_the_first_write(&self) {
        let container = json!({"name": "app", "image": "other:v2"});
        let patch =
            Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [container]}}}}));
        for kind in HOLDABLE {
            let (api, name) = (self.shop.api(kind), named("next", kind));
            let (name, parameters) = (name.as_str(), PatchParams::default());
            let write = || async { api.patch(name, &parameters, &patch).await.ok() };
            let stored = eventually("a write is accepted", write, Option::is_some).await;
            let stored = serde_json::to_value(stored).unwrap();
            assert!(mark(&stored, "hold").is_some(), "the first write is not held: {stored:#}");
        }
    }

    /// Everything that waits is approved, and rolls out once.
    async fn ends_well(&self) {
        let shop = &self.shop;
        let id = mark(&shop.get("Deployment", PENDING).await, "pending-config").unwrap();
        shop.annotate("Deployment", PENDING, "approve", &id);
        for kind in HOLDABLE {
            shop.approve(kind, &named("held", kind), "other:v2").await;
        }
        shop.rolled(PENDING, 1).await;
        shop.all_read(PENDING, "KEY", "new").await;
        for kind in HOLDABLE {
            let name = &named("held", kind);
            // As a user counts them: the manifest's revision and the one that was approved.
            assert_eq!(shop.rollouts(name).await, 1, "{name}");
        }
    }
}

#[tokio::test]
async fn p1_p2_p6_the_api_server_is_gone_the_controllers_are_gone_and_etcd_hangs_exclusively() {
    let alone = operator_alone();
    let scene = Scene::set("control-plane").await;
    let shop = &scene.shop;
    let (_, address) = acting().await;

    // Away until the old leader acts no longer.
    let Some(outage) = shared().outage(&["kube-apiserver", "kube-controller-manager"]).unwrap()
    else {
        return;
    };
    eventually("it leads no longer", || async { leads(&address) }, |leads| *leads == Some(false))
        .await;
    drop(outage);
    scene.holds_the_first_write().await;
    shop.write(FREE, "key", "new").await;
    shop.rolled(FREE, 1).await;
    shop.all_read(FREE, "KEY", "new").await;
    for kind in HOLDABLE {
        shop.waits(kind, &named("next", kind), "ApprovalRequired").await;
    }
    scene.stands().await;

    // Writes take seconds each, then none succeeds until it leads no longer; what is written until
    // then is written once.
    let etcd = shared().control_plane("etcd").unwrap();
    let (_, address) = acting().await;
    let writer = std::thread::spawn({
        let namespace = shop.name.clone();
        move || {
            let newest = r#"{"data": {"key": "newest"}}"#;
            let patch = ["patch", "configmap", FREE, "--type=merge", "-p", newest, "-n"];
            // It may end with an error, and be stored all the same or not.
            while !kubectl_with(&[&patch[..], &[&namespace]].concat(), "").success {}
        }
    });
    for _ in 0..3 {
        let frozen = etcd.freeze().unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        drop(frozen);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    let frozen = etcd.freeze().unwrap();
    eventually("it leads no longer", || async { leads(&address) }, |leads| *leads == Some(false))
        .await;
    drop(frozen);
    writer.join().unwrap();
    acting().await;
    shop.rolled(FREE, 2).await;
    shop.all_read(FREE, "KEY", "newest").await;
    scene.stands().await;
    scene.ends_well().await;
    shop.operator_has_acted().await;
    assert_eq!(shop.rollouts(FREE).await, 2);
    drop(alone);
}

#[tokio::test]
async fn p1_p6_the_operators_namespace_is_deleted_with_workloads_held_exclusively() {
    let alone = operator_alone();
    let scene = Scene::set("own-namespace").await;
    let shop = &scene.shop;
    let record = async |name: &str| mark(&shop.get("Deployment", name).await, "config");
    let before = [record(FREE).await, record(PENDING).await];
    kubectl(&["delete", "namespace", "lockkeeper-system", "--timeout=300s"]);

    // Nobody is there; what is held stays so, what changes is held, and an approval is recorded.
    scene.stands().await;
    scene.holds_the_first_write().await;
    let name = &named("held", "Deployment");
    let id = shop.is_held("Deployment", name).await;
    shop.annotate("Deployment", name, "approve", &id);
    assert_eq!(mark(&shop.get("Deployment", name).await, "approved-by").as_deref(), Some("admin"));
    shop.write(FREE, "key", "unseen").await;
    scene.stands().await;

    // The same command installs it again: the release is gone with the namespace, and what it left
    // in the cluster is taken over.
    alone.set(&[]);
    shop.all_run("Deployment", name, "other:v2", 2).await;
    shop.waits("StatefulSet", &named("held", "StatefulSet"), "ApprovalRequired").await;
    // The key of the digests was lost: config is taken as it is, which is said, and nothing rolls.
    let unverified = |status: &Value| status["conditions"].to_string().contains("nverified");
    for policy in ["shop", FREE] {
        let status = || async { shop.get("UpgradePolicy", policy).await["status"].clone() };
        eventually("it is said what nobody can know", status, unverified).await;
    }
    // What changes before that is taken as it is too.
    for (name, before) in [FREE, PENDING].into_iter().zip(&before) {
        let again = |now: &Option<String>| now.is_some() && now != before;
        eventually(&format!("{name} is adopted again"), || record(name), again).await;
    }
    assert_eq!((shop.rollouts(FREE).await, shop.rollouts(PENDING).await), (0, 0));
    // Everything is as it was.
    shop.write(FREE, "key", "new").await;
    shop.rolled(FREE, 1).await;
    shop.approve("StatefulSet", &named("held", "StatefulSet"), "other:v2").await;
}

#[tokio::test]
async fn p1_p4_a_leader_that_was_frozen_acts_no_longer_and_a_drained_node_takes_nothing_along_exclusively()
 {
    let alone = operator_alone();
    let scene = Scene::set("frozen").await;
    let shop = &scene.shop;
    // Both on one node.
    let other_node = Cordoned::new("node-2");
    alone.stop();
    alone.start();
    drop(other_node);

    // The leader is frozen for so long that another takes over and does what is to be done.
    let (pod, address) = acting().await;
    let Some(process) = shared().container("lockkeeper-system", &pod, "lockkeeper") else { return };
    let before = written_at_rest(shop, &address).await;
    let frozen = process.freeze().unwrap();
    shop.write(FREE, "key", "new").await;
    shop.rolled(FREE, 1).await;
    shop.all_read(FREE, "KEY", "new").await;
    drop(frozen);
    // It looks first, and finds that another leads.
    eventually("it no longer acts", || async { leads(&address) }, |leads| *leads == Some(false))
        .await;
    let another = holder();
    let wrote = || async { written(&address) };
    let wrote = eventually("it answers", wrote, |wrote| !wrote.is_empty()).await;
    assert_eq!(wrote, before, "the frozen replica wrote something");
    shop.write(FREE, "key", "newer").await;
    shop.rolled(FREE, 2).await;
    shop.operator_has_acted().await;
    // On a machine that is too slow for the other to renew its Lease, it may lead again by now.
    let now = written(&address);
    assert!(now == before || holder() != another, "the frozen replica wrote something: {now:?}");
    scene.stands().await;

    // The node on which both run is drained: they come back on the other one.
    let _drained = Cordoned("node-1");
    let drain = [
        "drain",
        "node-1",
        "--pod-selector=app.kubernetes.io/name=lockkeeper",
        "--delete-emptydir-data",
        "--force",
    ];
    kubectl(&[&drain[..], &["--ignore-daemonsets", "--timeout=180s"]].concat());
    scene.stands().await;
    scene.holds_the_first_write().await;
    shop.write(FREE, "key", "newest").await;
    acting().await;
    shop.rolled(FREE, 3).await;
    scene.ends_well().await;
}

#[tokio::test]
async fn p1_p4_p5_an_operator_without_memory_dies_again_and_again_and_everything_is_done_once_exclusively()
 {
    let alone = operator_alone();
    // So that a rollout of many has a middle.
    alone.set(&["settings.maxConfigRollouts=2"]);
    let scene = Scene::set("memory").await;
    let shop = &scene.shop;
    let many: Vec<_> = (0..8).map(|number| format!("many-{number}")).collect();
    let spec = json!({"selector": {"matchLabels": {"tier": "many"}}, "config": {"settle": "300ms"}, "priority": 1});
    shop.create(json!({"kind": "UpgradePolicy", "metadata": {"name": "many"}, "spec": spec})).await;
    for name in &many {
        let pod = json!({"containers": [{"name": "app", "image": "other", "env": env("KEY", FREE, "key")}]});
        let labels = json!({"app": name, "tier": "many"});
        let template = json!({"metadata": {"labels": labels}, "spec": pod});
        let spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template});
        shop.create(json!({"kind": "Deployment", "metadata": {"name": name, "labels": labels}, "spec": spec})).await;
    }
    let known = || async {
        let mut known = 0;
        for name in &many {
            known += usize::from(mark(&shop.get("Deployment", name).await, "config").is_some());
        }
        known
    };
    eventually("all are adopted", known, |known| *known == many.len()).await;
    for name in &many {
        shop.done("Deployment", name).await;
    }
    shop.a_second_passes().await;

    let kill = || async {
        let (pod, _) = acting().await;
        shared()
            .container("lockkeeper-system", &pod, "lockkeeper")
            .map(|process| process.kill().unwrap())
    };
    shop.write(FREE, "key", "new").await;
    let rolled = || async {
        let mut sum = 0;
        for name in &many {
            sum += shop.rollouts(name).await;
        }
        sum
    };
    eventually("some are rolled", rolled, |sum| *sum >= 1).await;
    // In the middle of the rollouts, and of a release.
    if kill().await.is_none() {
        return;
    }
    let set = &named("held", "StatefulSet");
    let id = shop.is_held("StatefulSet", set).await;
    acting().await;
    shop.annotate("StatefulSet", set, "approve", &id);
    kill().await;
    shop.all_run("StatefulSet", set, "other:v2", 2).await;
    for name in many.iter().map(String::as_str).chain([FREE]) {
        shop.rolled(name, 1).await;
    }

    // With too little to start at all nothing takes the place of what runs.
    acting().await;
    let before = replicas();
    kubectl(&[
        "set",
        "resources",
        "deployment/lockkeeper",
        "-n",
        "lockkeeper-system",
        "--limits=memory=2Mi",
        "--requests=memory=1Mi",
    ]);
    let dies = "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}";
    let reasons = || async { kubectl(&["get", "pods", "-n", "lockkeeper-system", "-o", dies]) };
    eventually("the new one dies", reasons, |reasons| reasons.contains("CrashLoopBackOff")).await;
    let (pod, _) = acting().await;
    assert!(before.contains(&pod), "an old one goes on: {pod} of {before:?}");
    kubectl(&["rollout", "undo", "deployment/lockkeeper", "-n", "lockkeeper-system"]);
    alone.ready();
    scene.shop.waits("Deployment", &named("held", "Deployment"), "ApprovalRequired").await;
    for name in many.iter().map(String::as_str).chain([FREE]) {
        assert_eq!(shop.rollouts(name).await, 1, "{name}");
    }
}

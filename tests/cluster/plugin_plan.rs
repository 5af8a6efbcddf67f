//! `kubectl lockkeeper plan`: what it says would come of an apply, and that the apply then does
//! just that.

use local_cluster::shared;
use serde_json::{Value, json};

use crate::{
    support::plugin::{Person, Ran, ran},
    support::{HOLDABLE, Shop, env, eventually, operator},
};

/// Plans these objects, as they come from `helm template` or kustomize, with more flags.
fn plan(shop: &Shop, objects: &[Value], flags: &[&str]) -> Ran {
    ran(shop, &shared().kubeconfig, &[&["plan", "-f", "-"], flags].concat(), &documents(objects))
}

fn documents(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

/// The same as data: what it says of each object, and what is at risk.
fn planned(shop: &Shop, objects: &[Value]) -> Value {
    let ran = plan(shop, objects, &["-o", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

fn line(plan: &Value, object: &str) -> Value {
    let mut lines = plan["objects"].as_array().unwrap().iter();
    lines
        .find(|line| line["object"] == object)
        .unwrap_or_else(|| panic!("{object} is not in {plan:#}"))
        .clone()
}

#[track_caller]
fn outcome(plan: &Value, object: &str, expected: &str) -> Value {
    let line = line(plan, object);
    assert_eq!(line["outcome"], expected, "{plan:#}");
    line
}

#[track_caller]
fn risk(plan: &Value, reason: &str, part: &str) {
    let mut risks = plan["risks"].as_array().unwrap().iter();
    let found = risks
        .any(|risk| risk["reason"] == reason && risk["message"].as_str().unwrap().contains(part));
    assert!(found, "{reason}: {part:?} is not in {plan:#}");
}

pub fn has(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    for part in parts {
        assert!(
            ran.out.contains(part) || ran.err.contains(part),
            "{part:?} is not in:\n{}{}",
            ran.out,
            ran.err
        );
    }
}

fn place(kind: &str, name: &str) -> String {
    format!("{}/{name}", kind.to_lowercase())
}

#[tokio::test]
async fn the_plugin_plans_what_would_be_held_and_an_apply_is() {
    let _operator = operator();
    let shop = Shop::gated("plan-held").await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        let place = &place(kind, name);
        let manifest = |tag: &str, variables: &[&str]| {
            let mut manifest = shop.manifest(kind, name, tag);
            let variables: Vec<_> = variables
                .iter()
                .map(|name| json!({"name": name, "value": "not-to-be-shown"}))
                .collect();
            manifest["spec"]["template"]["spec"]["containers"][0]["env"] = json!(variables);
            manifest
        };
        shop.apply(&manifest("v1", &["A", "B"]));
        shop.marked(kind, name).await;
        let before = (shop.get(kind, name).await["spec"].clone(), shop.pods(name).await);

        // As it is: defaults are no changes, and what the files leave out is no deletion.
        has(
            &plan(&shop, &[manifest("v1", &["A", "B"])], &["--exit-code"]),
            0,
            &["Nothing would happen"],
        );
        let ran = plan(&shop, &[manifest("v2", &["A"])], &["--exit-code"]);
        let says = [
            &format!("{place} would be held (policy shop)"),
            "containers[app].image: other:v1 -> other:v2",
            "containers[app].env[B].name: removed",
            "waits for approval: a user with the verb approve has to approve it",
            "2 pods keep running until then",
        ];
        has(&ran, 10, &says);
        assert!(!ran.out.contains("not-to-be-shown"), "{}", ran.out);
        assert_eq!(
            plan(&shop, &[manifest("v2", &["A"])], &[]).code,
            Some(0),
            "without --exit-code"
        );
        assert_eq!(
            (shop.get(kind, name).await["spec"].clone(), shop.pods(name).await),
            before,
            "a plan changes nothing"
        );

        // It is as was said; and what is there then is planned again.
        shop.apply(&manifest("v2", &["A"]));
        let id = shop.is_held(kind, name).await;
        has(
            &plan(&shop, &[manifest("v2", &["A"])], &["--exit-code"]),
            0,
            &["Nothing would happen"],
        );
        has(
            &plan(&shop, &[manifest("v3", &["A"])], &[]),
            0,
            &[&format!("replaces the held change {id}"), "other:v1 -> other:v3"],
        );
        has(
            &plan(&shop, &[manifest("v1", &["A", "B"])], &[]),
            0,
            &[&format!("held change {id} is reverted"), "no pod terminates"],
        );
    }
}

#[tokio::test]
async fn the_plugin_plans_what_a_new_workload_takes_over_and_ends_without_asking() {
    let _operator = operator();
    let shop = Shop::gated("plan-orphans").await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.apply(&shop.manifest(kind, name, "v1"));
        shop.all_run(kind, name, "other:v1", 2).await;
        shop.a_second_passes().await;
        shop.kubectl(&["delete", &kind.to_lowercase(), name, "--cascade=orphan"]);
        let mut next = shop.manifest(kind, name, "v2");
        next["spec"]["template"]["metadata"]["annotations"] =
            json!({"lockkeeper.dev/test-ready": "never"});
        let because = |manifest: &Value| {
            outcome(&planned(&shop, std::slice::from_ref(manifest)), &place(kind, name), "Create")["because"].to_string()
        };
        let told = because(&next);
        assert!(told.contains("it takes them over, and ends without asking those that are not of this template (HoldMissed)"), "{told}");
        if kind == "Deployment" {
            let told = because(&shop.manifest(kind, name, "v1"));
            assert!(told.contains("left by another Deployment: it takes them over."), "{told}");
        }
        // And so it is.
        shop.apply(&next);
        let missed = shop.event(name, "HoldMissed").await;
        assert!(missed.starts_with("CreatedOverPods: "), "{missed}");
    }
}

#[tokio::test]
async fn the_plugin_plans_what_helm_renders() {
    let _operator = operator();
    let shop = Shop::gated("plan-helm").await;
    let chart = format!("{}/tests/cluster/app", env!("CARGO_MANIFEST_DIR"));
    let rendered = |tag: &str| {
        let said = shop.run(
            "helm",
            &[
                "template",
                "web",
                &chart,
                "--set",
                "kind=Deployment",
                "--set",
                &format!("tag={tag}"),
            ],
            None,
        );
        assert!(said.success, "{}", said.text);
        said.text
    };
    shop.helm_upgrade("web", &["kind=Deployment", "tag=v1"]);
    shop.marked("Deployment", "web").await;
    let plan =
        |text: &str| ran(&shop, &shared().kubeconfig, &["plan", "-f", "-", "--exit-code"], text);
    has(&plan(&rendered("v1")), 0, &["Nothing would happen"]);
    has(
        &plan(&rendered("v2")),
        10,
        &["deployment/web would be held (policy shop)", "other:v1 -> other:v2"],
    );

    // From files and folders too.
    let folder = std::env::temp_dir().join(&shop.name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("web.yaml"), rendered("v2")).unwrap();
    for path in [folder.clone(), folder.join("web.yaml")] {
        let path = path.to_str().unwrap();
        has(
            &ran(&shop, &shared().kubeconfig, &["plan", "-f", path], ""),
            0,
            &["deployment/web would be held"],
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
    has(&plan("replicas: 2"), 1, &["is no Kubernetes object"]);
    has(&plan(""), 1, &["no Kubernetes objects"]);
}

#[tokio::test]
async fn the_plugin_plans_changes_of_config_by_the_keys_that_are_read() {
    let _operator = operator();
    let shop = Shop::open("plan-config").await;
    shop.policy(json!({"selector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["alone"]}]}, "config": {"settle": "300ms"}})).await;
    shop.config_map("app", &[("read", "old"), ("other", "old")]).await;
    shop.secret("keys", &[("token", "old-secret")]).await;
    let secret =
        json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}]);
    for (name, variables) in
        [("web", env("V", "app", "read")), ("alone", env("V", "app", "read")), ("vault", secret)]
    {
        shop.deployment(name, json!({"image": "other:v1", "env": variables})).await;
    }
    for name in ["web", "vault"] {
        eventually(
            "it is adopted",
            || shop.get("Deployment", name),
            |object| crate::support::mark(object, "config").is_some(),
        )
        .await;
        shop.done("Deployment", name).await;
    }
    shop.a_second_passes().await;
    let config_map = |read: &str, other: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"read": read, "other": other}});
    let found = planned(&shop, &[config_map("old", "new")]);
    for name in ["web", "alone", "vault"] {
        outcome(&found, &format!("deployment/{name}"), "Unchanged");
    }
    has(
        &plan(&shop, &[config_map("old", "new")], &["--exit-code"]),
        0,
        &["No workload reads what changes in it (other)", "Nothing would happen"],
    );

    let found = planned(&shop, &[config_map("new", "old")]);
    assert_eq!(
        outcome(&found, "deployment/web", "ConfigRoll")["changed"],
        json!(["ConfigMap/app[read]"])
    );
    outcome(&found, "deployment/alone", "NotRolled");
    outcome(&found, "deployment/vault", "Unchanged");
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"token": "new-secret"}});
    let ran = plan(&shop, &[keys], &["--exit-code"]);
    has(&ran, 10, &["deployment/vault would roll for its config", "Secret/keys[token]"]);
    assert!(!ran.out.contains("new-secret") && !ran.out.contains("bmV3LXNlY3JldA"), "{}", ran.out);

    // A refusal may quote what it refuses.
    let wrong = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"token": 424_242}});
    let found = planned(&shop, &[wrong]);
    outcome(&found, "secret/keys", "Refused");
    assert!(!found.to_string().contains("424242"), "{found:#}");

    // The apply does what was said.
    shop.apply(&config_map("new", "old"));
    shop.rolled("web", 1).await;
    assert_eq!((shop.rollouts("alone").await, shop.rollouts("vault").await), (0, 0));
}

#[tokio::test]
async fn the_plugin_plans_a_change_of_the_policy_itself() {
    let _operator = operator();
    let shop = Shop::open("plan-policy").await;
    shop.apply(&shop.manifest("Deployment", "web", "v1"));
    shop.apply(&shop.manifest("StatefulSet", "db", "v1"));
    let policy = |spec: Value| json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy", "metadata": {"name": "shop"}, "spec": spec});
    let gated = policy(json!({"selector": {}, "gates": {"approval": "Required"}}));

    let found = planned(
        &shop,
        &[
            gated.clone(),
            shop.manifest("Deployment", "web", "v2"),
            shop.manifest("Deployment", "new", "v1"),
        ],
    );
    outcome(&found, "upgradepolicy/shop", "Create");
    let roll = outcome(&found, "deployment/web", "Roll");
    assert!(roll["because"].to_string().contains("Apply the policy first"), "{roll:#}");
    outcome(&found, "statefulset/db", "Governed");
    outcome(&found, "deployment/new", "Create");

    shop.apply(&gated);
    shop.marked("Deployment", "web").await;
    shop.marked("StatefulSet", "db").await;
    shop.kubectl(&["set", "image", "deployment/web", "app=other:v2"]);
    let id = shop.waits("Deployment", "web", "ApprovalRequired").await["hold"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    has(&plan(&shop, std::slice::from_ref(&gated), &["--exit-code"]), 0, &["Nothing would happen"]);

    // Less is asked: what is held is released. Nothing is asked any more: it is released. Fewer are
    // selected: they are let go.
    let freed = format!("Its held change {id} is released");
    let narrow = policy(
        json!({"selector": {"matchLabels": {"app": "web"}}, "gates": {"approval": "Required"}}),
    );
    for (policy, outcomes, says) in [
        (
            policy(json!({"selector": {}, "config": {}})),
            [("deployment/web", "Roll"), ("statefulset/db", "LetGo")],
            freed.as_str(),
        ),
        (
            policy(json!({"selector": {}, "rollout": {"maxConcurrent": 1}})),
            [("deployment/web", "Roll"), ("statefulset/db", "Unchanged")],
            "no gate is closed any longer",
        ),
        (
            narrow,
            [("deployment/web", "Unchanged"), ("statefulset/db", "LetGo")],
            "No longer governed: statefulset/db",
        ),
    ] {
        let found = planned(&shop, std::slice::from_ref(&policy));
        for (object, expected) in outcomes {
            outcome(&found, object, expected);
        }
        assert!(found.to_string().contains(says), "{says}: {found:#}");
    }
    // What the API server refuses is told as it says it.
    let wrong = policy(
        json!({"selector": {}, "gates": {"windows": [{"schedule": "0 2 * * *", "duration": "soon"}]}}),
    );
    let refused = outcome(&planned(&shop, &[wrong]), "upgradepolicy/shop", "Refused");
    assert!(refused["because"].to_string().contains("duration"), "{refused:#}");
    let never = policy(
        json!({"selector": {}, "gates": {"windows": [{"schedule": "0 25 * * *", "duration": "1h"}]}}),
    );
    risk(&planned(&shop, &[never]), "InvalidSpec", "hour");
}

#[tokio::test]
async fn the_plugin_plans_what_would_be_at_risk() {
    let _operator = operator();
    let shop = Shop::gated("plan-risks").await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let mut files = shop.manifest("Deployment", "files", "v1");
    files["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let found = planned(&shop, &[claim.clone(), files.clone()]);
    risk(&found, "ExclusiveClaimShared", "runs 2 pods on claim data");
    files["spec"]["replicas"] = json!(1);
    risk(
        &planned(&shop, &[claim.clone(), files.clone()]),
        "ExclusiveClaim",
        "a rollout would deadlock",
    );
    files["spec"]["strategy"] = json!({"type": "Recreate"});
    assert_eq!(planned(&shop, &[claim, files])["risks"], json!([]));

    let mut reader = shop.manifest("Deployment", "reader", "v1");
    reader["spec"]["template"]["spec"]["containers"][0]["env"] = env("V", "nowhere", "key");
    risk(&planned(&shop, &[reader.clone()]), "ConfigMissing", "ConfigMap/nowhere does not exist");
    let there = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nowhere"}, "data": {"key": "x"}});
    assert_eq!(planned(&shop, &[reader, there])["risks"], json!([]));

    shop.guarded("Deployment", "web").await;
    let mut volatile = shop.manifest("Deployment", "web", "v1");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    volatile["spec"]["template"]["metadata"]["annotations"] =
        json!({"rendered-at": now.to_string()});
    let found = planned(&shop, &[volatile]);
    outcome(&found, "deployment/web", "Hold");
    risk(
        &found,
        "VolatileTemplate",
        "annotations.rendered-at is the time of the render, and it differs in nothing else",
    );

    let deny = json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy", "metadata": {"name": "deny"},
        "spec": {"selector": {}, "priority": 1, "volumes": {"protection": "Deny"}}});
    shop.create(json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "db"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}}))
        .await;
    let mut db = shop.manifest("Deployment", "db", "v1");
    db["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "db"}}]);
    let namespace = |labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shop.name, "labels": labels}});
    risk(&planned(&shop, &[deny.clone(), db.clone()]), "DenyNotAllowed", "allow-deny");
    let allowed =
        planned(&shop, &[deny, db, namespace(json!({"lockkeeper.dev/allow-deny": "true"}))]);
    assert!(!allowed["risks"].to_string().contains("DenyNotAllowed"), "{allowed:#}");

    let mut broken = shop.manifest("Deployment", "web", "v2");
    broken["spec"]["selector"]["matchLabels"] = json!({"app": "another"});
    let refused = outcome(&planned(&shop, &[broken]), "deployment/web", "Refused");
    assert!(refused["because"].to_string().contains("The API server says"), "{refused:#}");
}

#[tokio::test]
async fn the_plugin_plans_in_which_order_workloads_go() {
    let _operator = operator();
    let shop = Shop::open("plan-steps").await;
    let step = |name: &str, more: Value| {
        let mut step = json!({"name": name, "selector": {"matchLabels": {"app": name}}});
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let steps = json!([
        step("db", json!({})),
        step("api", json!({"restartWith": "Previous"})),
        step("web", json!({}))
    ]);
    shop.policy(
        json!({"kinds": HOLDABLE, "config": {"settle": "300ms"}, "rollout": {"steps": steps}}),
    )
    .await;
    for name in ["db", "api", "web"] {
        shop.apply(&shop.manifest("Deployment", name, "v1"));
    }
    for name in ["db", "api", "web"] {
        shop.marked("Deployment", name).await;
    }
    let found = planned(
        &shop,
        &[shop.manifest("Deployment", "db", "v2"), shop.manifest("Deployment", "web", "v2")],
    );
    assert_eq!(
        outcome(&found, "deployment/db", "Hold")["waitsFor"],
        Value::Null,
        "its turn is first"
    );
    let api = outcome(&found, "deployment/api", "ConfigHold");
    assert!(api["because"].to_string().contains("restarts with the step before it"), "{api:#}");
    let web = outcome(&found, "deployment/web", "Hold");
    assert!(
        web["waitsFor"][0]["message"]
            .as_str()
            .unwrap()
            .contains("waits for step \"db\": Deployment/db is not done"),
        "{web:#}"
    );
    outcome(
        &planned(&shop, &[shop.manifest("Deployment", "web", "v2")]),
        "deployment/api",
        "Unchanged",
    );

    // It goes as was said.
    shop.apply(&shop.manifest("Deployment", "db", "v2"));
    shop.all_run("Deployment", "db", "other:v2", 2).await;
    shop.rolled("api", 1).await;
}

#[tokio::test]
async fn the_plugin_plans_for_somebody_who_may_only_view() {
    let _operator = operator();
    let shop = Shop::gated("plan-view").await;
    let viewer = Person::with(&shop, "viewer", &["view"]);
    shop.config_map("app", &[("key", "old")]).await;
    shop.secret("keys", &[("token", "old")]).await;
    let manifest = |tag: &str| {
        let mut manifest = shop.manifest("Deployment", "web", tag);
        manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}, {"secretRef": {"name": "keys"}}]);
        manifest
    };
    shop.apply(&manifest("v1"));
    shop.marked("Deployment", "web").await;
    let config = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"key": value}});
    let plan = |objects: &[Value]| {
        viewer.ran(&shop, &["plan", "-f", "-", "--exit-code"], &documents(objects))
    };
    let reduced = "The API server cannot judge deployments by a dry run";
    has(&plan(&[manifest("v1")]), 0, &["Nothing would happen", reduced]);
    has(
        &plan(&[manifest("v2")]),
        10,
        &[
            "deployment/web would be held (policy shop)",
            "other:v1 -> other:v2",
            "waits for approval",
            reduced,
        ],
    );
    has(&plan(&[config("old")]), 0, &["Nothing would happen"]);
    has(
        &plan(&[config("new")]),
        10,
        &["deployment/web would roll for its config, later", "ConfigMap/app[key]"],
    );
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"token": "new"}});
    let said = plan(&[keys]);
    has(
        &said,
        10,
        &[
            "You may not read secret/keys: it is not known whether it changes. It is read by deployment/web",
        ],
    );
    has(&said, 10, &["What happens to secret/keys is not known."]);
    has(
        &plan(&[shop.manifest("Deployment", "new", "v1")]),
        10,
        &["deployment/new would be created"],
    );
}

#[tokio::test]
async fn the_plugin_plans_for_a_namespace_that_is_not_there_yet() {
    let _operator = operator();
    let shop = Shop::open("plan-nowhere").await;
    let mut new = shop.manifest("Deployment", "web", "v1");
    new["metadata"]["namespace"] = json!("not-there-yet");
    let policy = json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy",
        "metadata": {"name": "all", "namespace": "not-there-yet"}, "spec": {"selector": {}, "gates": {"approval": "Required"}}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [new, policy]});
    has(
        &plan(&shop, &[list], &["--exit-code"]),
        10,
        &[
            "Namespace not-there-yet",
            "deployment/web would be created (policy all)",
            "upgradepolicy/all would be created",
        ],
    );
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
    has(
        &plan(&shop, &[service], &["--exit-code"]),
        0,
        &["Lockkeeper does not act on any of these kinds: Service"],
    );
}

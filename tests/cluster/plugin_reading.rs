//! What people read by the plugin, with no right but to view.

use local_cluster::shared;
use serde_json::{Value, json};

use crate::{
    support::plugin::{Person, ran},
    support::{HOLDABLE, Shop, eventually, finish_work, named, operator, start_work},
};

fn parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[tokio::test]
async fn the_plugin_explains_what_is_held_to_somebody_who_may_only_view() {
    let _operator = operator();
    let shop = Shop::gated("plugin-view").await;
    let viewer = Person::with(&shop, "viewer", &["view"]);
    let plugin = |arguments: &[&str]| viewer.ran(&shop, arguments, "");
    shop.config_map("app", &[("key", "old")]).await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        let place = &format!("{}/{name}", kind.to_lowercase());
        let mut manifest = shop.manifest(kind, name, "v1");
        manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        shop.apply(&manifest);
        shop.marked(kind, name).await;
        shop.up_to_date_one(name).await;
        let ran = plugin(&["why", place]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let well = [
            "Up to date: 2 of 2 pods run the newest template",
            "Policy shop governs it. A change to its template would be held.",
            "ConfigMap/app: unchanged since its pods started",
        ];
        parts(&ran.out, &well);

        shop.kubectl(&["set", "image", place, "app=other:v2"]);
        let id = shop.waits(kind, name, "ApprovalRequired").await["hold"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let told = || async { plugin(&["why", place]) };
        let ran =
            eventually("the events are there", told, |ran| ran.out.contains("UpgradeHeld")).await;
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "a view is enough");
        let sentences = [
            "A change is held (ApprovalRequired): not approved yet.",
            &format!("Change {id} was made by admin.\nIt has been waiting since 20"),
            "Running pods are unaffected",
            "It continues automatically when this gate opens: approval.",
            "containers[app].image: other:v1 -> other:v2",
            &format!("kubectl lockkeeper approve -n {} {place} {id}", shop.name),
            &format!("kubectl lockkeeper bypass -n {} {place} {id}", shop.name),
            &format!("kubectl lockkeeper undo -n {} {place}", shop.name),
        ];
        parts(&ran.out, &sentences);
        assert!(!ran.out.contains('\u{1b}'), "no colours but on a terminal: {}", ran.out);

        let json: Value = serde_json::from_str(&plugin(&["why", place, "-o", "json"]).out).unwrap();
        assert_eq!(
            (&json["phase"], &json["change"]["id"], &json["change"]["by"]),
            (&json!("Held"), &json!(id), &json!("admin"))
        );
        let approval = json["gates"]
            .as_array()
            .unwrap()
            .iter()
            .find(|gate| gate["name"] == "approval")
            .unwrap();
        assert_eq!(approval["open"], false);
        assert_eq!(json["pods"].as_array().unwrap().len(), 2);
        assert_eq!(json["reads"], json!([{"reference": "ConfigMap/app", "compared": "Same"}]));
        let yaml: Value =
            serde_saphyr::from_str(&plugin(&["why", place, "-o", "yaml"]).out).unwrap();
        assert_eq!(yaml["workload"], json!(place));

        let ran = plugin(&["wait", place]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        parts(
            &ran.err,
            &[
                &format!("{place} is waiting for a person (change {id} by admin since"),
                "Details: kubectl lockkeeper why",
            ],
        );
    }
    let ran = plugin(&["status", "-o", "wide"]);
    assert_eq!(ran.code, Some(0));
    parts(
        &ran.out,
        &[
            "deployment/web-deployment",
            "statefulset/web-statefulset",
            "ApprovalRequired",
            "not approved yet",
        ],
    );
    let yaml: Value = serde_saphyr::from_str(&plugin(&["status", "-o", "yaml"]).out).unwrap();
    assert_eq!(yaml.as_array().unwrap().len(), 2);
    let ran = plugin(&["status", "-l", "app=web-deployment"]);
    parts(&ran.out, &["deployment/web-deployment"]);
    assert!(!ran.out.contains("statefulset"), "{ran:?}");
    assert_eq!(plugin(&["volumes"]).code, Some(0));
    // As for kubectl.
    for words in
        [&["deploy/web-deployment"][..], &["deploy", "web-deployment"], &["web-deployment"]]
    {
        parts(
            &plugin(&[&["why"], words].concat()).out,
            &["deployment/web-deployment in namespace"],
        );
    }
    parts(
        &plugin(&["version"]).out,
        &["kubectl lockkeeper  ", "operator            unknown: ", "API server          v1."],
    );
    // What only the right people may do, they are refused in the server's own words.
    let ran = plugin(&["approve", "deployment/web-deployment"]);
    assert_eq!(ran.code, Some(1));
    parts(&ran.err, &["cannot patch resource"]);
}

#[tokio::test]
async fn the_plugin_says_what_the_pods_say_and_waits_for_them() {
    let _operator = operator();
    let shop = Shop::open("plugin-says").await;
    let gates = json!({"app": {"period": "1s"}});
    shop.policy(json!({"kinds": HOLDABLE, "config": {"settle": "300ms"}, "gates": gates})).await;
    shop.app("Deployment", "web", 1).await;
    let address = shop.reachable("web").await[0].1.clone();
    assert!(start_work(&address, 600.0), "its pod is busy");
    let plugin = |arguments: &[&str]| ran(&shop, &shared().kubeconfig, arguments, "");
    shop.set_image("web", "v2").await;
    shop.waits("Deployment", "web", "AppGateClosed").await;
    let ran = plugin(&["why", "deployment/web"]);
    parts(
        &ran.out,
        &[
            "It continues automatically when this gate opens: app.",
            "answer No since",
            "app       closed",
        ],
    );

    // In CI: a line when something changes, and no code of a terminal.
    let ran = plugin(&["wait", "deployment/web", "--timeout", "10s"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    parts(
        &ran.err,
        &[
            "deployment/web is held (change ",
            " by admin since ",
            "has answered no",
            "not done within",
        ],
    );
    assert!(!ran.err.contains('\u{1b}') && !ran.err.contains('\r'), "{}", ran.err);
    assert!(ran.err.lines().count() < 6, "{}", ran.err);

    let ran = plugin(&["ask", "deployment/web", "--timeout", "5s", "-o", "json"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let asked: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&asked["open"], &asked["pods"][0]["answer"]), (&json!(false), &json!("No")));

    finish_work(&address);
    let ran = plugin(&["ask", "deployment/web", "--timeout", "90s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(plugin(&["wait", "--all", "--timeout", "290s"]).code, Some(0));
    shop.runs("Deployment", "web", "v2", 1).await;
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"rollout": {"deadline": "5s"}}})).await;

    // A rollout that fails.
    let mut broken = shop.app_manifest("Deployment", "web", 1, "v3");
    broken["spec"]["template"]["metadata"]["annotations"] =
        json!({"lockkeeper.dev/test-ready": "never"});
    shop.apply(&broken);
    let ran = plugin(&["wait", "deployment/web", "--timeout", "290s"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    parts(&ran.err, &["deployment/web failed"]);
    shop.stands("web", "Failed", "DeadlineExceeded").await;
    // A pod that starts late moves it once more.
    let why = || async { plugin(&["why", "deployment/web"]).out };
    let failed = |out: &String| {
        out.contains("Its rollout has failed (DeadlineExceeded)") && out.contains("not ready")
    };
    eventually("why says that it failed", why, failed).await;
}

#[tokio::test]
async fn the_plugin_tells_what_a_policy_that_observes_would_do() {
    let _operator = operator();
    let shop = Shop::open("plugin-observe").await;
    let spec = json!({"mode": "Observe", "config": {"settle": "300ms"}, "gates": {"approval": "Required", "appliesTo": ["Template"]}});
    shop.policy(spec).await;
    shop.config_map("app", &[("key", "old")]).await;
    let mut manifest = shop.manifest("Deployment", "web", "v1");
    manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{"configMapRef": {"name": "app"}}]);
    shop.apply(&manifest);
    eventually(
        "its config is known",
        || shop.get("Deployment", "web"),
        |object| crate::support::mark(object, "config").is_some(),
    )
    .await;
    let plugin = |arguments: &[&str]| ran(&shop, &shared().kubeconfig, arguments, "");
    assert_eq!(plugin(&["wait", "web", "--timeout", "290s"]).code, Some(0));
    parts(&plugin(&["status"]).out, &["deployment/web", "shop", "UpToDate"]);
    let would = [
        "Policy shop only observes it (mode: Observe)",
        "With mode: Enforce it would wait for: approval.",
    ];
    parts(&plugin(&["why", "web"]).out, &would);
    let mut newer = manifest.clone();
    newer["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other:v2");
    let planned = ran(&shop, &shared().kubeconfig, &["plan", "-f", "-"], &newer.to_string());
    parts(
        &planned.out,
        &[
            "deployment/web would roll out immediately",
            "With mode: Enforce it would be held, and wait for approval: ",
        ],
    );
    // A template change is told while it rolls.
    shop.apply(&newer);
    let events = || async { plugin(&["why", "web"]).out };
    eventually("the event is there", events, |out| {
        out.contains("WouldHold: the template changed; with mode: Enforce it would be held")
    })
    .await;
    assert_eq!(plugin(&["wait", "web", "--timeout", "290s"]).code, Some(0));
    // Config changes, and its pods keep the old one.
    shop.write("app", "key", "new").await;
    eventually(
        "it would roll",
        || async { plugin(&["status"]).out },
        |out| out.contains("WouldRoll"),
    )
    .await;
    let ran = plugin(&["wait", "--all", "--timeout", "290s"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    parts(&ran.err, &["deployment/web is waiting for a person", "spec.mode is Observe"]);
}

#[tokio::test]
async fn the_plugin_explains_what_nobody_governs() {
    let _operator = operator();
    let shop = Shop::gated("plugin-nobody").await;
    let mut manifest = shop.manifest("Deployment", "web", "v1");
    manifest["metadata"]["annotations"] = json!({"lockkeeper.dev/ignore": "true"});
    shop.apply(&manifest);
    shop.apply(&{
        let mut agent = shop.manifest("DaemonSet", "agent", "v1");
        agent["spec"].as_object_mut().unwrap().remove("replicas");
        agent
    });
    let plugin = |arguments: &[&str]| ran(&shop, &shared().kubeconfig, arguments, "");
    parts(
        &plugin(&["why", "deployment/web"]).out,
        &["No policy governs it: ignored (annotation lockkeeper.dev/ignore"],
    );
    parts(
        &plugin(&["why", "daemonset/agent"]).out,
        &["No policy governs it. A change to its template rolls out immediately"],
    );
    assert_eq!(plugin(&["status", "-o", "json"]).out.trim(), "[]");
    parts(&plugin(&["status"]).err, &["Lockkeeper governs no workload in namespace"]);
}

#[tokio::test]
async fn kubectl_completes_the_commands_of_the_plugin() {
    let _operator = operator();
    let shop = Shop::open("plugin-complete").await;
    shop.apply(&shop.manifest("Deployment", "web", "v1"));
    // As a user installs it: two programs in the PATH.
    let folder = std::env::temp_dir().join(format!("{}-path", shop.name));
    std::fs::create_dir_all(&folder).unwrap();
    let install = |name: &str, content: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(folder.join(name), content).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755))
            .unwrap();
    };
    install(
        "kubectl-lockkeeper",
        &format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_kubectl-lockkeeper")),
    );
    let script = ran(&shop, &shared().kubeconfig, &["completion", "kubectl"], "");
    assert_eq!(script.code, Some(0));
    install("kubectl_complete-lockkeeper", &script.out);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let complete = |words: &[&str]| {
        let mut command = shared().command("kubectl");
        let output = command
            .env("PATH", &path)
            .args(["__complete", "lockkeeper"])
            .args(words)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    parts(&complete(&[""]), &["status\t", "plan\t", "why\t", ":4"]);
    parts(&complete(&["wh"]), &["why\tExplain one workload"]);
    // Names are looked up for two seconds, which a busy machine may not keep to.
    let looked_up = async |words: &[&str], name: String| {
        let what = format!("{name:?} is offered");
        eventually(&what, || async { complete(words) }, |all| all.contains(&name)).await;
    };
    let workload = ["why", "-n", &shop.name, "deployment/"];
    looked_up(&workload, "deployment/web\n".to_owned()).await;
    let namespace = ["why", "-n", &shop.name[..shop.name.len() - 1]];
    looked_up(&namespace, format!("{}\n", shop.name)).await;
    parts(&complete(&["plan", "-f", ""]), &[":0"]);
    assert!(!complete(&["status", "--o"]).contains("__complete"));
    for shell in ["bash", "zsh", "fish"] {
        let script = ran(&shop, &shared().kubeconfig, &["completion", shell], "");
        assert_eq!(script.code, Some(0));
        parts(&script.out, &["kubectl-lockkeeper", "LOCKKEEPER_COMPLETE"]);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn the_plugin_tells_what_waits_and_why_and_waits_itself() {
    let _operator = operator();
    let shop = Shop::gated("plugin").await;
    let plugin = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-lockkeeper"))
            .env("KUBECONFIG", &local_cluster::shared().kubeconfig)
            .args(["-n", &shop.name])
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        )
    };
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let place = format!("{}/{name}", kind.to_lowercase());
        shop.guarded(kind, name).await;
        assert_eq!(plugin(&["wait", &place, "--timeout", "290s"]).0, Some(0));
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        let id = shop.waits(kind, name, "ApprovalRequired").await["hold"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let (code, text) = plugin(&["status"]);
        assert!(
            code == Some(0) && text.contains(&place) && text.contains("ApprovalRequired"),
            "{text}"
        );
        let parts = [
            "made by admin",
            &format!("lockkeeper.dev/approve={id}"),
            "approval",
            "Events",
            "UpgradeHeld",
        ];
        // Events are written in their own time.
        let why = || async { plugin(&["why", &place]).1 };
        eventually("why tells it all", why, |text| parts.iter().all(|part| text.contains(part)))
            .await;
        assert_eq!(plugin(&["wait", &place]).0, Some(3), "it waits for a person");
        shop.annotate(kind, name, "approve", &id);
        assert_eq!(plugin(&["wait", &place, "--timeout", "290s"]).0, Some(0));
        assert_eq!(shop.images(name).await, ["other:v2", "other:v2"]);
    }
    let json: Value = serde_json::from_str(&plugin(&["status", "-o", "json"]).1).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(plugin(&["wait", "--all"]).0, Some(0));
    let (code, text) = plugin(&["why", "deployment/nobody"]);
    assert!(code == Some(1) && text.contains("there is no Deployment/nobody"), "{text}");
    assert!(
        plugin(&["why", "nonsense"])
            .1
            .contains("there is no Deployment, StatefulSet or DaemonSet nonsense")
    );
    assert!(plugin(&["why", "pod/web"]).1.contains("deployment/web, sts/db, web"));
}

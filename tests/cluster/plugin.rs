//! What people do with the plugin: let a change through, take it back, let go what nobody holds any
//! more.

use kube::config::Kubeconfig;
use local_cluster::shared;
use serde_json::{Value, json};

use crate::support::{HOLDABLE, Said, Shop, eventually, kubectl, mark, operator, operator_alone};

/// Runs the plugin as the administrator.
pub fn plugin(shop: &Shop, arguments: &[&str]) -> Said {
    run(shop, &shared().kubeconfig, arguments)
}

fn run(shop: &Shop, kubeconfig: &std::path::Path, arguments: &[&str]) -> Said {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-lockkeeper"));
    let output = command
        .env("KUBECONFIG", kubeconfig)
        .args(["-n", &shop.name])
        .args(arguments)
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Said { success: output.status.success(), text }
}

/// Somebody with the right to edit workloads, and these of the chart's ClusterRoles.
pub struct Person {
    name: &'static str,
    kubeconfig: std::path::PathBuf,
}

/// What a command of the plugin wrote, and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs the plugin with something on its standard input.
pub fn ran(shop: &Shop, kubeconfig: &std::path::Path, arguments: &[&str], input: &str) -> Ran {
    use std::{io::Write, process::Stdio};
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-lockkeeper"));
    command.env("KUBECONFIG", kubeconfig).args(["-n", &shop.name]).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

impl Person {
    pub fn new(shop: &Shop, name: &'static str, roles: &[&str]) -> Self {
        Self::with(shop, name, &[roles, &["admin"]].concat())
    }

    /// Somebody with these ClusterRoles in the namespace, and no other right.
    pub fn with(shop: &Shop, name: &'static str, roles: &[&str]) -> Self {
        for role in roles {
            shop.grant(name, &format!("{name}-{role}"), role);
        }
        let mut config = Kubeconfig::read_from(&shared().kubeconfig).unwrap();
        for user in &mut config.auth_infos {
            user.auth_info.as_mut().unwrap().impersonate = Some(name.to_owned());
        }
        let kubeconfig = std::env::temp_dir().join(format!("{}-{name}.json", shop.name));
        std::fs::write(&kubeconfig, serde_json::to_string(&config).unwrap()).unwrap();
        Self { name, kubeconfig }
    }

    pub fn ran(&self, shop: &Shop, arguments: &[&str], input: &str) -> Ran {
        ran(shop, &self.kubeconfig, arguments, input)
    }

    pub fn plugin(&self, shop: &Shop, arguments: &[&str]) -> Said {
        run(shop, &self.kubeconfig, arguments)
    }

    fn set_image(&self, shop: &Shop, place: &str, tag: &str) {
        shop.kubectl(&[
            "set",
            "image",
            place,
            &format!("app=other:{tag}"),
            &format!("--as={}", self.name),
        ]);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// The command succeeded and said all this.
#[track_caller]
pub fn says(said: &Said, success: bool, parts: &[&str]) {
    assert_eq!(said.success, success, "{}", said.text);
    for part in parts {
        assert!(said.text.contains(part), "{part:?} is not in:\n{}", said.text);
    }
}

/// Both kinds, each with a name and as one writes it for kubectl.
fn both() -> impl Iterator<Item = (&'static str, String, String)> {
    HOLDABLE.iter().map(|kind| {
        let name = format!("web-{}", kind.to_lowercase());
        (*kind, name.clone(), format!("{}/{name}", kind.to_lowercase()))
    })
}

async fn config_hash(shop: &Shop, kind: &str, name: &str) -> Value {
    shop.get(kind, name).await["spec"]["template"]["metadata"]["annotations"]["lockkeeper.dev/config-hash"].clone()
}

#[tokio::test]
async fn p16_the_plugin_approves_all_changes_of_a_namespace() {
    let _operator = operator();
    let shop = Shop::gated("plugin-approve-all").await;
    let approver = Person::new(&shop, "approver", &["lockkeeper-approver"]);
    says(
        &approver.plugin(&shop, &["approve", "--all", "--yes"]),
        true,
        &["No change in namespace"],
    );
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.waits(kind, &name, "ApprovalRequired").await;
    }
    let shown = [
        "deployment/web-deployment",
        "statefulset/web-statefulset",
        "other:v1 -> other:v2",
        "These 2 changes",
        "--yes",
    ];
    says(&approver.plugin(&shop, &["approve", "--all"]), false, &shown);
    let counts = [
        "deployment/web-deployment: Approved",
        "statefulset/web-statefulset: Approved",
        "The approval is recorded for approver",
    ];
    says(&approver.plugin(&shop, &["approve", "--all", "--yes"]), true, &counts);
    for (kind, name, _) in both() {
        shop.all_run(kind, &name, "other:v2", 2).await;
    }
}

#[tokio::test]
async fn p7_p16_the_plugin_approves_the_change_that_waits_and_no_other() {
    let _operator = operator();
    let shop = Shop::gated("plugin-approve").await;
    let (dev, approver) =
        (Person::new(&shop, "dev", &[]), Person::new(&shop, "approver", &["lockkeeper-approver"]));
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        shop.guarded(kind, name).await;
        says(&plugin(&shop, &["approve", place]), false, &["no change of", "nothing to approve"]);
        dev.set_image(&shop, place, "v2");
        let old = shop.is_held(kind, name).await;
        dev.set_image(&shop, place, "v3");
        let id = shop.waits(kind, name, "ApprovalRequired").await["hold"]["id"]
            .as_str()
            .unwrap()
            .to_owned();

        // Neither the one before, nor by somebody without the verb.
        let refused = [
            &format!("change {old} of {place} is not the one that is waiting"),
            &format!("that is {id}, made by dev"),
        ];
        says(
            &approver.plugin(&shop, &["approve", place, &old]),
            false,
            &refused.map(String::as_str),
        );
        says(
            &dev.plugin(&shop, &["approve", place]),
            false,
            &["needs verb approve on upgradepolicies.lockkeeper.dev"],
        );
        assert_eq!(shop.is_held(kind, name).await, id);
        assert!(shop.images(name).await.iter().all(|image| image == "other:v1"));

        // It is shown, approved, and what else it waits for is said.
        shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Freeze"}})).await;
        shop.waits(kind, name, "Frozen").await;
        let said = approver.plugin(&shop, &["approve", place]);
        let shown = [
            &format!("Change {id} of {place} in namespace {}, made by dev", shop.name),
            "containers[app].image: other:v1 -> other:v3",
            "The approval is recorded for approver",
            "freeze",
        ];
        says(&said, true, &shown);
        says(
            &approver.plugin(&shop, &["approve", place, &id]),
            true,
            &["already approved, by approver"],
        );
        shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Enforce"}})).await;
        shop.all_run(kind, name, "other:v3", 2).await;
        shop.is_free(kind, name).await;
    }
    says(&plugin(&shop, &["approve", "daemonset/agent"]), false, &["there is no DaemonSet/agent"]);
}

#[tokio::test]
async fn p16_the_plugin_puts_another_approval_in_place_of_the_authors_own() {
    let _operator = operator();
    let shop = Shop::gated("plugin-four-eyes").await;
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"gates": {"approval": "RequiredFromOther"}}}),
    )
    .await;
    let author = Person::new(&shop, "author", &["lockkeeper-approver"]);
    let other = Person::new(&shop, "other", &["lockkeeper-approver"]);
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        author.set_image(&shop, &place, "v2");
        says(
            &author.plugin(&shop, &["approve", &place]),
            true,
            &["still waiting for approval: approved by author, who made the change"],
        );
        says(
            &other.plugin(&shop, &["approve", &place]),
            true,
            &["The approval is recorded for other"],
        );
        shop.all_run(kind, &name, "other:v2", 2).await;
    }
}

#[tokio::test]
async fn p16_the_plugin_bypasses_every_gate_once_it_is_meant() {
    let _operator = operator();
    let shop = Shop::gated("plugin-bypass").await;
    let approver = Person::new(&shop, "approver", &["lockkeeper-approver"]);
    let on_call = Person::new(&shop, "oncall", &["lockkeeper-on-call"]);
    shop.config_map("app", &[("key", "old")]).await;
    for (kind, name, _) in both() {
        let name = &name;
        let mut manifest = shop.manifest(kind, name, "v1");
        manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        shop.apply(&manifest);
        shop.marked(kind, name).await;
    }
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Freeze"}})).await;
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        shop.kubectl(&["set", "image", place, "app=other:v2"]);
        let id = shop.waits(kind, name, "Frozen").await["hold"]["id"].as_str().unwrap().to_owned();
        says(
            &on_call.plugin(&shop, &["bypass", place]),
            false,
            &["past every gate", "no terminal", "--yes"],
        );
        says(
            &on_call.plugin(&shop, &["bypass", place, "1", "--yes"]),
            false,
            &[&format!("change 1 of {place} is not the one that is waiting")],
        );
        says(
            &approver.plugin(&shop, &["bypass", place, "--yes"]),
            false,
            &["needs verb bypass on upgradepolicies.lockkeeper.dev"],
        );
        assert_eq!(shop.is_held(kind, name).await, id);
        says(
            &on_call.plugin(&shop, &["bypass", place, &id, "--yes"]),
            true,
            &["is released", "The bypass is recorded for oncall", "kubectl lockkeeper wait"],
        );
        assert_eq!(
            mark(&shop.get(kind, name).await, "hold"),
            None,
            "the hold goes in the same write"
        );
        shop.all_run(kind, name, "other:v2", 2).await;
        eventually(
            "it is cleared away",
            || shop.get(kind, name),
            |object| mark(object, "bypassed-by").is_none(),
        )
        .await;
    }
    // The same for a change of config, which has nothing in the workload to be shown but its id.
    shop.a_second_passes().await;
    shop.write("app", "key", "new").await;
    for (kind, name, place) in both() {
        let before = config_hash(&shop, kind, &name).await;
        eventually(
            "the change of config waits",
            || shop.get(kind, &name),
            |object| mark(object, "pending-config").is_some(),
        )
        .await;
        let shown =
            ["(config)", "ConfigMap/app[key]: changed", "The bypass is recorded for oncall"];
        shop.stands(&name, "Waiting", "Frozen").await;
        says(&on_call.plugin(&shop, &["bypass", &place, "--yes"]), true, &shown);
        let rolled = |object: &Value| {
            object["spec"]["template"]["metadata"]["annotations"]["lockkeeper.dev/config-hash"]
                != before
        };
        eventually("the config is rolled", || shop.get(kind, &name), rolled).await;
    }
}

#[tokio::test]
async fn p9_the_plugin_undoes_a_held_change_and_no_pod_ends() {
    let _operator = operator();
    let shop = Shop::open("plugin-withdraw").await;
    let gates = json!({"appliesTo": ["Template"], "approval": "Required"});
    shop.policy(json!({"kinds": HOLDABLE, "config": {"settle": "300ms"}, "gates": gates})).await;
    shop.config_map("app", &[("key", "old")]).await;
    for (kind, name, _) in both() {
        let mut manifest = shop.manifest(kind, &name, "v1");
        manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        shop.apply(&manifest);
        shop.marked(kind, &name).await;
    }
    shop.a_second_passes().await;
    shop.write("app", "key", "new").await;
    for (kind, name, _) in both() {
        shop.rolled(&name, 1).await;
        shop.marked(kind, &name).await;
        shop.up_to_date_one(&name).await;
    }
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Freeze"}})).await;
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        let (before, hash) = (shop.pods(name).await, config_hash(&shop, kind, name).await);
        shop.kubectl(&["set", "image", place, "app=other:v2"]);
        shop.kubectl(&["set", "env", place, "LEVEL=debug"]);
        shop.waits(kind, name, "Frozen").await;
        let said = plugin(&shop, &["undo", place, "--dry-run"]);
        let difference = [
            "-spec.containers[app].image: \"other:v2\"",
            "+spec.containers[app].image: \"other:v1\"",
            "-spec.containers[app].env[LEVEL]",
        ];
        says(&said, true, &difference);
        assert!(
            !said.text.contains("config-hash") && !said.text.contains("pod-template-hash"),
            "{}",
            said.text
        );
        assert!(mark(&shop.get(kind, name).await, "hold").is_some(), "a dry run changes nothing");

        says(&plugin(&shop, &["undo", place]), true, &["is reverted", "kubectl lockkeeper wait"]);
        eventually(
            "the revert is let through",
            || shop.get(kind, name),
            |object| mark(object, "hold").is_none(),
        )
        .await;
        shop.done(kind, name).await;
        shop.is_free(kind, name).await;
        assert_eq!(shop.pods(name).await, before, "{place}: no pod ends");
        assert_eq!(config_hash(&shop, kind, name).await, hash);
        shop.up_to_date_one(name).await;
    }
}

#[tokio::test]
async fn p10_helm_meets_no_conflict_after_an_undo_of_a_held_change() {
    let _operator = operator();
    let shop = Shop::gated("plugin-helm").await;
    for (kind, name, place) in both() {
        let upgrade =
            |tag: &str| shop.helm_upgrade(&name, &[&format!("kind={kind}"), &format!("tag={tag}")]);
        upgrade("v1");
        shop.marked(kind, &name).await;
        let before = shop.pods(&name).await;
        upgrade("v2");
        shop.waits(kind, &name, "ApprovalRequired").await;
        says(&plugin(&shop, &["undo", &place]), true, &["is reverted"]);
        says(&plugin(&shop, &["wait", &place, "--timeout", "290s"]), true, &["done"]);
        shop.is_free(kind, &name).await;
        assert_eq!(shop.pods(&name).await, before);
        upgrade("v3");
        shop.waits(kind, &name, "ApprovalRequired").await;
        says(&plugin(&shop, &["approve", &place]), true, &["other:v1 -> other:v3"]);
        shop.all_run(kind, &name, "other:v3", 2).await;
    }
}

#[tokio::test]
async fn the_plugin_undoes_a_rollout_and_leaves_the_config_as_it_is() {
    let _operator = operator();
    let shop = Shop::governed("plugin-undo").await;
    shop.config_map("app", &[("key", "old")]).await;
    for (kind, name, place) in both() {
        let mut manifest = shop.manifest(kind, &name, "v1");
        manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        shop.apply(&manifest);
        shop.done(kind, &name).await;
        says(
            &plugin(&shop, &["undo", &place]),
            false,
            &["no earlier revision with another template"],
        );
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.all_run(kind, &name, "other:v2", 2).await;
    }
    shop.adopted().await;
    shop.write("app", "key", "new").await;
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        shop.rolled(name, 2).await;
        shop.done(kind, name).await;
        let hash = config_hash(&shop, kind, name).await;
        says(
            &plugin(&shop, &["undo", place, "--to-revision", "9"]),
            false,
            &["no revision 9", "the revisions 1, 2, 3 are kept"],
        );
        says(
            &plugin(&shop, &["undo", place, "--to-revision", "2"]),
            false,
            &["already has the template of revision 2", "its ConfigMap or Secret"],
        );
        // Past the revision that differs in the config alone.
        says(
            &plugin(&shop, &["undo", place]),
            true,
            &["the template of revision 1", "It rolls now"],
        );
        shop.all_run(kind, name, "other:v1", 2).await;
        assert_eq!(config_hash(&shop, kind, name).await, hash);
        shop.up_to_date_one(name).await;
    }
    shop.kubectl(&["rollout", "pause", "deployment/web-deployment"]);
    says(
        &plugin(&shop, &["undo", "deployment/web-deployment"]),
        false,
        &["paused: true", "kubectl rollout resume"],
    );

    // A DaemonSet, as kubectl does.
    let mut agent = shop.manifest("DaemonSet", "agent", "v1");
    agent["spec"].as_object_mut().unwrap().remove("replicas");
    shop.apply(&agent);
    let runs = |image: &'static str| {
        move |images: &Vec<String>| !images.is_empty() && images.iter().all(|one| one == image)
    };
    eventually("v1", || shop.images("agent"), runs("other:v1")).await;
    shop.kubectl(&["set", "image", "daemonset/agent", "app=other:v2"]);
    eventually("v2", || shop.images("agent"), runs("other:v2")).await;
    says(&plugin(&shop, &["undo", "daemonset/agent"]), true, &["It rolls now"]);
    eventually("v1 again", || shop.images("agent"), runs("other:v1")).await;
}

#[tokio::test]
async fn p6_an_undo_of_what_is_rolled_out_is_a_change_and_held() {
    let _operator = operator();
    let shop = Shop::gated("plugin-undo-held").await;
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.approve(kind, &name, "other:v2").await;
        shop.marked(kind, &name).await;
        let before = shop.pods(&name).await;
        says(
            &plugin(&shop, &["undo", &place]),
            true,
            &["held like any other, with the id", "kubectl lockkeeper approve"],
        );
        shop.waits(kind, &name, "ApprovalRequired").await;
        assert_eq!(shop.pods(&name).await, before);
        says(&plugin(&shop, &["approve", &place]), true, &["other:v2 -> other:v1"]);
        shop.all_run(kind, &name, "other:v1", 2).await;
    }
}

#[tokio::test]
async fn p10_the_plugin_releases_what_a_policy_left_behind() {
    let _operator = operator();
    let shop = Shop::open("plugin-release").await;
    shop.policy(
        json!({"kinds": HOLDABLE, "whenUngoverned": "Keep", "gates": {"approval": "Required"}}),
    )
    .await;
    let (dev, on_call) =
        (Person::new(&shop, "dev", &[]), Person::new(&shop, "oncall", &["lockkeeper-on-call"]));
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        says(&plugin(&shop, &["release", &place, "--yes"]), false, &["nothing to release"]);
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.waits(kind, &name, "ApprovalRequired").await;
        for person in [&dev, &on_call] {
            let said = person.plugin(&shop, &["release", &place, "--yes"]);
            says(
                &said,
                false,
                &["held by policy shop", "kubectl lockkeeper approve", "kubectl lockkeeper bypass"],
            );
        }
    }
    shop.delete("UpgradePolicy", "shop").await;
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        shop.patiently(
            "the marks go",
            || shop.get(kind, name),
            |object| mark(object, "hold-changes").is_none(),
        )
        .await;
        shop.is_held(kind, name).await;
        says(
            &on_call.plugin(&shop, &["approve", place]),
            false,
            &["no policy holds it any longer", "kubectl lockkeeper release"],
        );
        says(&dev.plugin(&shop, &["release", place, "--yes"]), false, &["needs verb bypass"]);
        says(&on_call.plugin(&shop, &["release", place]), false, &["No policy holds", "--yes"]);
        says(
            &on_call.plugin(&shop, &["release", place, "--yes"]),
            true,
            &["is released", "other:v1 -> other:v2"],
        );
        shop.all_run(kind, name, "other:v2", 2).await;
        assert_eq!(mark(&shop.get(kind, name).await, "hold"), None);
    }
}

#[tokio::test]
async fn p10_the_plugin_releases_what_an_uninstalled_lockkeeper_left_behind_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("plugin-uninstalled").await;
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.waits(kind, &name, "ApprovalRequired").await;
    }
    operator.stop();
    let ours = "app.kubernetes.io/name=lockkeeper";
    kubectl(&[
        "delete",
        "mutatingadmissionpolicybindings,validatingadmissionpolicybindings",
        "-l",
        ours,
    ]);
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        let gone = || async { plugin(&shop, &["bypass", place]) };
        let said =
            eventually("admission lets go", gone, |said| said.text.contains("not in force")).await;
        says(&said, false, &["Nothing was changed", "kubectl lockkeeper release"]);
        says(
            &plugin(&shop, &["release", place]),
            false,
            &["Its marks would be removed from", "--yes"],
        );
        says(
            &plugin(&shop, &["release", place, "--yes"]),
            true,
            &["nothing holds its template any longer"],
        );
        shop.all_run(kind, name, "other:v2", 2).await;
        let object = shop.get(kind, name).await;
        let texts = [&object["metadata"]["annotations"], &object["metadata"]["labels"]]
            .map(Value::to_string);
        assert!(!texts.concat().contains("lockkeeper.dev/"), "{object:#}");
        shop.is_free(kind, name).await;
    }
    drop(operator);
}

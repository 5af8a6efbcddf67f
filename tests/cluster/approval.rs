//! Who may let a change through, and for which change that counts.

use serde_json::json;

use crate::support::plugin::{Person, says};
use crate::support::{HOLDABLE, Said, Shop, eventually, kubectl, mark, operator};

/// A user with these of the chart's ClusterRoles in the namespace, besides the right to edit
/// workloads; kubectl's flags to be that user.
fn user(shop: &Shop, name: &str, roles: &[&str]) -> String {
    let binding = |role: &str| {
        let plain = name.to_lowercase().replace(|one: char| !one.is_ascii_alphanumeric(), "-");
        shop.grant(name, &format!("a{plain}a-{role}"), role);
    };
    binding("admin");
    roles.iter().for_each(|role| binding(role));
    format!("--as={name}")
}

fn annotate(shop: &Shop, user: &str, kind: &str, name: &str, mark: &str, value: &str) -> Said {
    shop.run(
        "kubectl",
        &["annotate", "--overwrite", kind, name, &format!("lockkeeper.dev/{mark}={value}"), user],
        None,
    )
}

#[tokio::test]
async fn p16_approve_and_bypass_count_only_from_those_who_may_and_only_for_that_change() {
    let _operator = operator();
    let shop = Shop::gated("rights").await;
    let dev = user(&shop, "dev", &[]);
    shop.kubectl(&[
        "create",
        "role",
        "status",
        "--verb=get,patch",
        "--resource=deployments/status,statefulsets/status",
    ]);
    shop.kubectl(&["create", "rolebinding", "dev-status", "--role=status", "--user=dev"]);
    shop.may("dev", "patch", "statefulsets.apps/status");
    let approver = user(&shop, "approver", &["lockkeeper-approver"]);
    let on_call = user(&shop, "oncall", &["lockkeeper-on-call"]);
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.guarded(kind, name).await;
        let image = |tag: &str, user: &str| {
            shop.kubectl(&[
                "set",
                "image",
                &format!("{kind}/{name}"),
                &format!("app=other:{tag}"),
                user,
            ])
        };
        image("v2", &dev);
        let id = shop.is_held(kind, name).await;
        for (mark, verb) in [("approve", "approve"), ("bypass", "bypass")] {
            let said = annotate(&shop, &dev, kind, name, mark, &id);
            assert!(
                !said.success
                    && said
                        .text
                        .contains(&format!("needs verb {verb} on upgradepolicies.lockkeeper.dev")),
                "{}",
                said.text
            );
        }
        let said = annotate(&shop, &approver, kind, name, "bypass", &id);
        assert!(!said.success, "{}", said.text);
        let said = annotate(&shop, &dev, kind, name, "ignore", "true");
        assert!(!said.success && said.text.contains("needs verb bypass"), "{}", said.text);
        // Beside the status no mark is forged either.
        let forged = json!({"metadata": {"annotations": {"lockkeeper.dev/approve": id, "lockkeeper.dev/approved-by": "boss"}}}).to_string();
        for patch in [&*forged, r#"{"metadata":{"annotations":{"lockkeeper.dev/hold":null}}}"#] {
            let said = shop.run(
                "kubectl",
                &["patch", kind, name, "--subresource=status", "--type=merge", "-p", patch, &dev],
                None,
            );
            let refused = format!(
                "write marks on the {kind} itself: a write of its status may not change lockkeeper.dev/"
            );
            assert!(!said.success && said.text.contains(&refused), "{}", said.text);
        }
        shop.waits(kind, name, "ApprovalRequired").await;

        assert!(annotate(&shop, &approver, kind, name, "approve", &id).success);
        shop.all_run(kind, name, "other:v2", 2).await;
        shop.is_free(kind, name).await;

        // Past every gate, also under Freeze; used up by the write that brings it.
        image("v3", &dev);
        let id = shop.is_held(kind, name).await;
        assert!(annotate(&shop, &on_call, kind, name, "bypass", &id).success);
        shop.all_run(kind, name, "other:v3", 2).await;
        assert!(
            shop.event(name, "HoldBypassed").await.contains("oncall released the held change"),
            "who did it"
        );
        eventually(
            "it is cleared away",
            || shop.get(kind, name),
            |object| mark(object, "bypassed-by").is_none(),
        )
        .await;
        shop.is_free(kind, name).await;

        // A bypass that stays in a manifest, which an account with all rights applies again and
        // again, lets nothing else through.
        image("v4", &dev);
        let mut standing = shop.manifest(kind, name, "v5");
        standing["metadata"]["annotations"] =
            json!({"lockkeeper.dev/bypass": id, "lockkeeper.dev/approve": id});
        shop.apply(&standing);
        shop.apply(&standing);
        let now = shop.is_held(kind, name).await;
        assert_ne!(now, id);
        shop.waits(kind, name, "ApprovalRequired").await;
        assert!(shop.images(name).await.iter().all(|image| image == "other:v3"));
    }
}

#[tokio::test]
async fn p16_required_from_other_is_not_the_author() {
    let _operator = operator();
    let shop = Shop::gated("four-eyes").await;
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"gates": {"approval": "RequiredFromOther"}}}),
    )
    .await;
    let author = user(&shop, "author", &["lockkeeper-approver"]);
    let other = user(&shop, "other", &["lockkeeper-approver"]);
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.app(kind, name, 2).await;
        // Its pods are not ready before they are told.
        let container = json!({"name": "app", "image": "lockkeeper.dev/sample-app:v2"});
        let never = json!({"annotations": {"lockkeeper.dev/test-ready": "never"}});
        let patch =
            json!({"spec": {"template": {"metadata": never, "spec": {"containers": [container]}}}})
                .to_string();
        shop.kubectl(&["patch", kind, name, "-p", &patch, &author]);
        let id = shop.is_held(kind, name).await;
        assert!(annotate(&shop, &author, kind, name, "approve", &id).success);
        let said = |object: &serde_json::Value| {
            let attention = object["attention"].as_array().into_iter().flatten();
            attention.filter(|one| one["kind"] == kind).any(|one| {
                one["message"]
                    .as_str()
                    .unwrap_or_default()
                    .contains("approved by author, who made the change")
            })
        };
        eventually("that the author's own does not count is said", || shop.status(), said).await;
        // It stands; the other's must be newly set.
        shop.kubectl(&["annotate", kind, name, "lockkeeper.dev/approve-"]);
        assert!(annotate(&shop, &other, kind, name, "approve", &id).success);

        // Who it was is named while it rolls, in the event, and in the log.
        let rolls = |status: &serde_json::Value| {
            let mut all = status["attention"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|one| one["kind"] == kind);
            all.any(|one| {
                one["phase"] == "Rolling"
                    && one["message"].as_str().unwrap_or_default().ends_with("; approved by other")
            })
        };
        eventually("the approver is in status", || shop.status(), rolls).await;
        let approved = format!("change {id} by author was approved by other");
        let told = |events: &Vec<(String, String)>| {
            events
                .iter()
                .any(|(reason, note)| reason == "UpgradeReleased" && note.ends_with(&approved))
        };
        eventually("the approver is in the event", || shop.events(name), told).await;
        let log = || async {
            kubectl(&[
                "logs",
                "-n",
                "lockkeeper-system",
                "-l",
                "app.kubernetes.io/name=lockkeeper",
                "--tail=-1",
            ])
        };
        let logged = |log: &String| {
            log.lines().any(|line| line.contains(&shop.name) && line.contains(&approved))
        };
        eventually("the approver is in the log", log, logged).await;
        let ready = || async {
            // A pod that is deleted between kubectl's list and its patch is an error; the next look
            // annotates the others.
            shop.run(
                "kubectl",
                &[
                    "annotate",
                    "pods",
                    &format!("--selector=app={name}"),
                    "lockkeeper.dev/test-ready-",
                ],
                None,
            );
            shop.status().await
        };
        let done = |status: &serde_json::Value| {
            !rolls(status) && status["workloads"]["upToDate"] == status["workloads"]["total"]
        };
        eventually("its pods are ready", ready, done).await;
        shop.runs(kind, name, "v2", 2).await;
    }
}

#[tokio::test]
async fn p16_who_changed_it_before_another_writer_is_an_author_too() {
    let _operator = operator();
    let shop = Shop::gated("authors").await;
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"gates": {"approval": "RequiredFromOther"}}}),
    )
    .await;
    let author = user(&shop, "author", &["lockkeeper-approver"]);
    // A name as certificates and directories have them.
    let bot = user(&shop, "R&D <bots>, dev", &[]);
    let other = Person::new(&shop, "other", &["lockkeeper-approver"]);
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.guarded(kind, name).await;
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2", &author]);
        let first = shop.is_held(kind, name).await;
        let stamp =
            json!({"spec": {"template": {"metadata": {"annotations": {"stamped": "by-bot"}}}}})
                .to_string();
        shop.kubectl(&["patch", kind, name, "--type=merge", "-p", &stamp, &bot]);
        let renewed = |object: &serde_json::Value| {
            mark(object, "hold").is_some_and(|hold| !hold.starts_with(&format!("{first} by")))
        };
        eventually("the bot's change is another one", || shop.get(kind, name), renewed).await;
        let id = shop.is_held(kind, name).await;
        assert_eq!(
            mark(&shop.get(kind, name).await, "authors"),
            Some("author R&D%20<bots>,%20dev".to_owned())
        );
        assert!(annotate(&shop, &author, kind, name, "approve", &id).success);
        let said = |object: &serde_json::Value| {
            let attention = object["attention"].as_array().into_iter().flatten();
            attention.filter(|one| one["kind"] == kind && one["hold"]["authors"] == json!(["author", "R&D <bots>, dev"])).any(|one| {
                let message = one["message"].as_str().unwrap_or_default();
                message.contains("approved by author, who is one of those who made the change (author and \"R&D <bots>, dev\")")
            })
        };
        eventually("that an author's own does not count is said", || shop.status(), said).await;
        // The plugin takes the one that does not count off by itself.
        says(
            &other.plugin(&shop, &["approve", &format!("{}/{name}", kind.to_lowercase())]),
            true,
            &["The approval is recorded for other"],
        );
        shop.all_run(kind, name, "other:v2", 2).await;
        assert_eq!(
            mark(&shop.get(kind, name).await, "authors"),
            None,
            "the next change has authors of its own"
        );
    }
}

#[tokio::test]
async fn p16_the_operators_own_account_cannot_change_what_it_has_no_business_with() {
    let _operator = operator();
    let shop = Shop::gated("restraint").await;
    // So that nothing but the policy stands in its way.
    shop.kubectl(&[
        "create",
        "rolebinding",
        "all",
        "--clusterrole=admin",
        "--serviceaccount=lockkeeper-system:lockkeeper",
    ]);
    let account = "system:serviceaccount:lockkeeper-system:lockkeeper";
    shop.may(account, "create", "deployments.apps");
    let account = &format!("--as={account}");
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.guarded(kind, name).await;
        for patch in [
            json!({"spec": {"replicas": 5}}),
            json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
            json!({"spec": {"template": {"spec": {"serviceAccountName": "other"}}}}),
            json!({"metadata": {"labels": {"app": null}}}),
            json!({"metadata": {"finalizers": ["a/b"]}}),
        ] {
            let said = shop.run(
                "kubectl",
                &["patch", kind, name, "--type=merge", "-p", &patch.to_string(), account],
                None,
            );
            assert!(
                !said.success && said.text.contains("Lockkeeper restrains itself"),
                "{patch}: {}",
                said.text
            );
        }
    }
}

/// A token of another service account would give a stolen token of the operator that one's rights.
#[tokio::test]
async fn the_operator_creates_its_own_secrets_and_no_token() {
    let _operator = operator();
    let shop = Shop::gated("secrets").await;
    let account = "--as=system:serviceaccount:lockkeeper-system:lockkeeper";
    // An operator that served the webhook has left it.
    let left = ["delete", "secret", "lockkeeper-webhook-ca", "-n", "lockkeeper-system"];
    shop.kubectl(&[&left[..], &["--ignore-not-found"]].concat());
    for (name, kind, allowed) in [
        ("lockkeeper-webhook-ca", "kubernetes.io/tls", true),
        ("lockkeeper-webhook-ca", "kubernetes.io/service-account-token", false),
        ("other", "kubernetes.io/tls", false),
    ] {
        let note = json!({"kubernetes.io/service-account.name": "default"});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": name, "namespace": "lockkeeper-system", "annotations": note},
            "stringData": {"tls.crt": "a", "tls.key": "b"}});
        let arguments =
            ["create", "--dry-run=server", "-n", "lockkeeper-system", "-f", "-", account];
        let said = shop.run("kubectl", &arguments, Some(&secret));
        assert_eq!(said.success, allowed, "{name} of type {kind}: {}", said.text);
        assert_eq!(said.text.contains("Lockkeeper restrains itself"), !allowed, "{}", said.text);
    }
}

#[tokio::test]
async fn reading_policies_comes_with_view_and_the_verbs_with_no_common_role() {
    let _operator = operator();
    let shop = Shop::gated("roles").await;
    shop.kubectl(&["create", "rolebinding", "viewer", "--clusterrole=view", "--user=viewer"]);
    shop.kubectl(&[
        "create",
        "rolebinding",
        "administrator",
        "--clusterrole=admin",
        "--user=administrator",
    ]);
    let may = |user: &str, verb: &str| {
        let said = shop.run(
            "kubectl",
            &["auth", "can-i", verb, "upgradepolicies.lockkeeper.dev", &format!("--as={user}")],
            None,
        );
        said.text.trim() == "yes"
    };
    eventually(
        "the roles are aggregated",
        || async { may("viewer", "get") && may("administrator", "create") },
        |may| *may,
    )
    .await;
    for (user, verb) in [
        ("viewer", "create"),
        ("viewer", "approve"),
        ("administrator", "approve"),
        ("administrator", "bypass"),
    ] {
        assert!(!may(user, verb), "{user} {verb}");
    }
    assert!(kubectl(&["get", "clusterroles"]).contains("lockkeeper-on-call"));
}

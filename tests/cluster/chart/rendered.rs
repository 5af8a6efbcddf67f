//! What the chart renders, and what the API server says to it. Nothing is installed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CHART, documents, helm, manifest, rendered, run, values};
use crate::support::{Shop, kubectl, operator};

const ALL_VALUES: [&str; 6] =
    ["default", "least", "everything", "webhook", "cert-manager", "rendered"];
/// What Lockkeeper may write Secrets by name for: the certificate of its webhook.
const CERTIFICATE: &str = "lockkeeper-webhook-tls";

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn no_right_is_a_wildcard_and_no_secret_is_written_but_the_key_and_what_the_webhook_shows() {
    let mut rules = 0;
    for name in ALL_VALUES {
        let [flag, file] = values(name);
        let objects = rendered(&[&flag, &file]);
        for role in of_kind(&objects, "ClusterRole").into_iter().chain(of_kind(&objects, "Role")) {
            for rule in role["rules"].as_array().unwrap() {
                rules += 1;
                assert!(!rule.to_string().contains('*'), "{name}: {role:#}");
                assert!(rule["nonResourceURLs"].is_null(), "{name}: {role:#}");
                let (resources, verbs) = (texts(&rule["resources"]), texts(&rule["verbs"]));
                let writes =
                    verbs.iter().any(|verb| ["create", "update", "patch", "delete"].contains(verb));
                let of_role = role["kind"] == "Role";
                let key = of_role && verbs == ["create"];
                let shown = of_role
                    && texts(&rule["resourceNames"]) == [CERTIFICATE]
                    && verbs == ["get", "update"];
                assert!(
                    !(resources.contains(&"secrets") && writes) || key || shown,
                    "{name}: {role:#}"
                );
                assert!(!resources.iter().any(|resource| {
                    ["pods/exec", "pods/attach", "pods/ephemeralcontainers"].contains(resource)
                }));
                assert!(
                    !verbs.iter().any(|verb| ["impersonate", "escalate", "bind"].contains(verb)),
                    "{name}: {role:#}"
                );
            }
        }
    }
    assert!(rules > 30, "{rules} rules were looked at");
}

#[test]
fn an_installation_for_some_namespaces_is_uninstalled_by_rights_in_these() {
    // For a cluster: without one there is no such hook.
    let objects = rendered(&["--dry-run=server", "--set", "watchNamespaces={shop,billing}"]);
    let uninstalls = |object: &&Value| object["metadata"]["name"] == "lockkeeper-uninstall";
    let places: BTreeSet<_> = of_kind(&objects, "Role")
        .into_iter()
        .filter(uninstalls)
        .map(|role| role["metadata"]["namespace"].to_string())
        .collect();
    assert_eq!(places, BTreeSet::from(["\"billing\"".to_owned(), "\"shop\"".to_owned()]));
    assert!(!of_kind(&objects, "ClusterRole").iter().any(uninstalls));
    let job = of_kind(&objects, "Job").into_iter().find(uninstalls).unwrap();
    let arguments = &job["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(texts(arguments).contains(&"--watch-namespaces=shop,billing"), "{arguments}");
}

#[test]
fn common_labels_and_annotations_are_on_every_object() {
    let _operator = operator();
    let [flag, file] = values("everything");
    // Not all hooks are rendered without a cluster, and what this one does not serve is not
    // rendered for it.
    let served = "serviceMonitor.enabled=false,prometheusRule.enabled=false";
    let mut objects = rendered(&[&flag, &file]);
    objects.extend(rendered(&["--dry-run=server", &flag, &file, "--set", served]));
    assert!(objects.len() > 80, "{} objects", objects.len());
    for object in &objects {
        let metadata = &object["metadata"];
        let what = format!("{} {}", object["kind"], metadata["name"]);
        assert_eq!(metadata["labels"]["team"], "platform", "{what}");
        assert_eq!(metadata["annotations"]["example.com/owner"], "platform@example.com", "{what}");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "lockkeeper", "{what}");
    }
    let deployment = of_kind(&objects, "Deployment")[0];
    let pod = &deployment["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["sidecar.istio.io/inject"], "false");
    assert_eq!(pod["spec"]["priorityClassName"], "system-cluster-critical");
    let spread = &pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
    assert_eq!(*spread, deployment["spec"]["selector"]["matchLabels"]);
    // Hooks are no replicas: neither Deployment, Service nor budget may count them.
    let selector = deployment["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let hooks: Vec<_> = of_kind(&objects, "Job")
        .iter()
        .map(|job| &job["spec"]["template"])
        .chain(of_kind(&objects, "Pod"))
        .collect();
    assert!(hooks.len() >= 2, "{hooks:?}");
    for hook in hooks {
        assert!(
            selector.iter().any(|(key, value)| hook["metadata"]["labels"][key] != *value),
            "{hook:#}"
        );
    }
}

#[test]
fn replicas_keep_off_each_others_nodes_unless_told_otherwise() {
    let affinity = |arguments: &[&str]| {
        of_kind(&rendered(arguments), "Deployment")[0]["spec"]["template"]["spec"]["affinity"]
            .clone()
    };
    let soft = affinity(&[]);
    assert!(
        soft["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0].is_object(),
        "{soft:#}"
    );
    let [flag, file] = values("least");
    assert_eq!(affinity(&[&flag, &file]), json!({"nodeAffinity": {}}));
}

#[tokio::test]
async fn the_api_server_accepts_what_every_values_file_renders() {
    let _operator = operator();
    let shop = Shop::open("chart-values").await;
    for name in ALL_VALUES {
        let [flag, file] = values(name);
        let mut objects = rendered(&[
            &flag,
            &file,
            "--set",
            &format!("defaultPolicy.namespaces={{{}}}", shop.name),
        ]);
        let of_prometheus = |object: &Value| object["apiVersion"] == "monitoring.coreos.com/v1";
        let left_out = objects.extract_if(.., |object| of_prometheus(object)).count();
        assert_eq!(left_out, if name == "everything" { 2 } else { 0 }, "{name}");
        // Its account comes with the hook; `helm test` itself is tried elsewhere.
        objects.retain(|object| object["kind"] != "Pod");
        // cert-manager is not installed here.
        objects.retain(|object| object["apiVersion"] != "cert-manager.io/v1");
        let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
        let said = run("kubectl", &apply, &manifest(&objects));
        assert!(said.success, "{name}: {}", said.text);
        assert_eq!(
            said.text.matches("(server dry run)").count(),
            objects.len(),
            "{name}: {}",
            said.text
        );
        assert!(!said.text.contains("Warning"), "{name}: {}", said.text);
    }
}

#[test]
fn a_value_that_is_wrong_is_refused_where_it_stands() {
    for (value, place, sentence) in [
        ("replicas=2", "replicas", "additional properties 'replicas' not allowed"),
        (
            "uninstall.heldWorkloads=Perhaps",
            "/uninstall/heldWorkloads",
            "value must be one of 'Refuse', 'Release', 'Leave'",
        ),
        ("image.digest=sha256:short", "/image/digest", "does not match pattern"),
        (
            "podDisruptionBudget.maxUnavailable=0",
            "/podDisruptionBudget/maxUnavailable",
            "minimum: got 0, want 1",
        ),
        (
            "serviceAccount.name=other",
            "/serviceAccount",
            "additional properties 'name' not allowed",
        ),
        ("serviceMonitor.interval=often", "/serviceMonitor/interval", "does not match pattern"),
        (
            "prometheusRule.alerts.LockkeeperHeld.enabled=true",
            "/prometheusRule/alerts",
            "additional properties 'LockkeeperHeld' not allowed",
        ),
        (
            "networkPolicy.apiServer.ports={0}",
            "/networkPolicy/apiServer/ports/0",
            "minimum: got 0, want 1",
        ),
        (
            "networkPolicy.apiServer.cidrs={somewhere}",
            "/networkPolicy/apiServer/cidrs/0",
            "does not match pattern",
        ),
        (
            "defaultPolicy.namespaces={Shop}",
            "/defaultPolicy/namespaces/0",
            "does not match pattern",
        ),
        ("commonLabels.team=null,commonLabels.floor=2", "/commonLabels/floor", "want string"),
    ] {
        let said = helm(&["template", "lockkeeper", CHART, "--set", value]);
        assert!(
            !said.success && said.text.contains(place) && said.text.contains(sentence),
            "{value}: {}",
            said.text
        );
    }
}

#[tokio::test]
async fn a_second_installation_is_refused_in_a_sentence() {
    let _operator = operator();
    let shop = Shop::open("second").await;
    for release in ["second", "lockkeeper"] {
        let said = helm(&["install", release, CHART, "-n", &shop.name, "--dry-run=server"]);
        let sentence = "Lockkeeper is installed in this cluster already: release lockkeeper in namespace lockkeeper-system";
        assert!(
            !said.success
                && said.text.contains(sentence)
                && said.text.contains("helm upgrade lockkeeper -n lockkeeper-system"),
            "{}",
            said.text
        );
    }
}

#[tokio::test]
async fn the_default_policy_goes_into_named_and_labelled_namespaces() {
    let _operator = operator();
    let (named, labelled, other) = (
        Shop::open("default-named").await,
        Shop::open("default-labelled").await,
        Shop::open("default-other").await,
    );
    let label = format!("example.com/test-{:x}", std::process::id());
    for shop in [&labelled.name, "kube-system"] {
        kubectl(&["label", "namespace", shop, &format!("{label}=yes"), "--overwrite"]);
    }
    kubectl(&["label", "namespace", &other.name, &format!("{label}=no")]);
    let said = helm(&[
        "upgrade",
        "lockkeeper",
        CHART,
        "-n",
        "lockkeeper-system",
        "--dry-run=server",
        "--force-conflicts",
        "--set",
        &format!("defaultPolicy.namespaces={{{},{}}}", named.name, labelled.name),
        "--set",
        &format!("defaultPolicy.namespaceSelector.{}=yes", label.replace('.', "\\.")),
    ]);
    kubectl(&["label", "namespace", "kube-system", &format!("{label}-")]);
    assert!(said.success, "{}", said.text);
    let manifests =
        said.text.split("MANIFEST:").nth(1).and_then(|text| text.split("NOTES:").next()).unwrap();
    let policies: Vec<_> = documents(manifests)
        .into_iter()
        .filter(|object| object["kind"] == "UpgradePolicy")
        .collect();
    let places: BTreeSet<_> = policies
        .iter()
        .map(|policy| policy["metadata"]["namespace"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(places, BTreeSet::from([named.name.clone(), labelled.name.clone()]));
    assert_eq!(policies.len(), 2, "each once");
    assert!(
        policies.iter().all(|policy| policy["metadata"]["name"] == "default"
            && policy["spec"]["config"] == json!({}))
    );
}

#[test]
fn the_manifest_for_kubectl_is_what_the_chart_renders() {
    let committed =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/install.yaml"))
            .unwrap();
    let committed = documents(&committed);
    let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let names = |objects: &[Value]| objects.iter().map(name).collect::<BTreeSet<_>>();
    let of_chart = rendered(&["--no-hooks", "--include-crds"]);
    let mut expected = names(&of_chart);
    expected.insert("\"Namespace\" \"lockkeeper-system\"".to_owned());
    assert_eq!(names(&committed), expected);
    let spec_of = |objects: &[Value], kind: &str| {
        objects.iter().find(|object| object["kind"] == kind).unwrap()["spec"].to_string()
    };
    let of_kubectl = spec_of(&committed, "Deployment");
    assert!(!of_kubectl.contains("helm") && !of_kubectl.contains("Helm"), "{of_kubectl}");
    assert_eq!(
        spec_of(&committed, "PodDisruptionBudget"),
        spec_of(&of_chart, "PodDisruptionBudget")
    );
}

#[test]
fn a_chart_rendered_without_a_cluster_has_holds_by_the_version() {
    let mutating = |arguments: &[&str]| {
        let template = ["template", "lockkeeper", CHART, "-n", "lockkeeper-system"];
        let said = helm(&[&template, arguments].concat());
        assert!(said.success, "{arguments:?}: {}", said.text);
        of_kind(&documents(&said.text), "MutatingAdmissionPolicy").len()
    };
    let all = mutating(&["--kube-version=1.36.0"]);
    assert!(all > 3, "{all} policies");
    assert_eq!(mutating(&["--kube-version=1.37.2"]), all);
    assert_eq!(mutating(&["--kube-version=1.35.4"]), 0);
    assert_eq!(mutating(&["--kube-version=1.35.4", "--set", "holds.by=policies"]), all);
    assert_eq!(mutating(&["--kube-version=1.36.0", "--set", "holds.by=none"]), 0);
    // A cluster that says what it serves, and does not serve this.
    assert_eq!(mutating(&["--kube-version=1.36.0", "--api-versions", "apps/v1/Deployment"]), 0);
    assert_eq!(mutating(&["--kube-version=1.37.2", "--set", "holds.by=webhook"]), 0);
    let said = helm(&["template", "lockkeeper", CHART, "--set", "holds.by=luck"]);
    assert!(!said.success && said.text.contains("holds"), "{}", said.text);
}

/// What the chart renders for a version, without a cluster.
fn for_version(version: &str, arguments: &[&str]) -> Vec<Value> {
    let version = format!("--kube-version={version}");
    let template = ["template", "lockkeeper", CHART, "-n", "lockkeeper-system", &version];
    let said = helm(&[&template, arguments].concat());
    assert!(said.success, "{arguments:?}: {}", said.text);
    documents(&said.text)
}

#[test]
fn where_there_are_no_policies_the_webhook_holds_and_nothing_ungoverned_is_sent_to_it() {
    let old = for_version("1.33.13", &[]);
    let webhooks = of_kind(&old, "MutatingWebhookConfiguration")[0]["webhooks"].clone();
    let mut rows = Vec::new();
    for webhook in webhooks.as_array().unwrap() {
        let text = |field: &str| webhook[field].as_str().unwrap_or_default().to_owned();
        let waits = if text("failurePolicy") == "Ignore" { 2 } else { 5 };
        assert_eq!(
            (webhook["timeoutSeconds"].as_i64(), text("reinvocationPolicy"), text("sideEffects")),
            (Some(waits), "Never".to_owned(), "None".to_owned()),
            "{webhook:#}"
        );
        let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
        assert_eq!(path, format!("/mutate/{}", text("failurePolicy").to_lowercase()));
        assert!(webhook["clientConfig"]["caBundle"].is_null(), "it would be drift");
        let selected = webhook["objectSelector"]["matchExpressions"][0]["key"].as_str();
        let left_out = texts(&webhook["namespaceSelector"]["matchExpressions"][0]["values"]);
        if text("name") == "probe.lockkeeper.dev" {
            // The operator's dry run, and no write of anybody.
            let condition = webhook["matchConditions"][0]["expression"].as_str().unwrap();
            let account = "'system:serviceaccount:lockkeeper-system:lockkeeper' && request.dryRun";
            assert!(condition.contains(account), "{condition}");
            let within = &webhook["namespaceSelector"]["matchExpressions"][0];
            assert_eq!((&within["operator"], left_out), (&json!("In"), vec!["lockkeeper-system"]));
        } else if text("name") == "pods.lockkeeper.dev" {
            assert_eq!(selected, Some("lockkeeper.dev/in-maintenance"), "{webhook:#}");
            assert_eq!(left_out, ["kube-system", "lockkeeper-system"]);
        } else if text("name") == "reserve.lockkeeper.dev" {
            let within = &webhook["namespaceSelector"]["matchExpressions"][0];
            let reserves = json!({"key": "lockkeeper.dev/reserves-claims", "operator": "Exists"});
            assert_eq!(*within, reserves, "{webhook:#}");
        } else if text("failurePolicy") == "Fail" {
            assert_eq!(selected, Some("lockkeeper.dev/governed"), "{webhook:#}");
            assert_eq!(left_out, ["kube-system", "lockkeeper-system"]);
        } else if selected.is_none() {
            let condition = webhook["matchConditions"][0]["expression"].as_str().unwrap();
            assert!(condition.contains("'unprotect'"), "{condition}");
            assert!(!condition.contains("startsWith"), "other keys are no concern: {condition}");
        }
        for rule in webhook["rules"].as_array().unwrap() {
            let operation = texts(&rule["operations"]).join(",");
            let resources = texts(&rule["resources"]);
            assert!(!resources.iter().any(|one| one.contains(['/', '*'])), "{resources:?}");
            rows.push(format!("{} {operation} {}", text("failurePolicy"), resources.join(",")));
        }
    }
    assert_eq!(
        rows,
        [
            "Fail UPDATE deployments,statefulsets",
            "Fail UPDATE leases",
            "Fail CREATE pods",
            "Fail CREATE deployments,statefulsets",
            "Ignore UPDATE persistentvolumeclaims",
            "Ignore UPDATE namespaces",
            "Ignore UPDATE namespaces",
            "Ignore CREATE persistentvolumeclaims",
            "Ignore CREATE namespaces",
            "Fail CREATE persistentvolumeclaims",
        ]
    );
    let validating = |objects: &[Value]| {
        of_kind(objects, "ValidatingAdmissionPolicy")
            .iter()
            .map(|policy| policy["metadata"]["name"].to_string())
            .collect::<BTreeSet<_>>()
    };
    let new = for_version("1.36.3", &[]);
    assert_eq!(validating(&old), validating(&new), "rights and warnings too");
    assert!(of_kind(&new, "MutatingWebhookConfiguration").is_empty());
    let none = for_version("1.33.13", &["--set", "holds.by=none"]);
    assert!(of_kind(&none, "MutatingWebhookConfiguration").is_empty());
}

#[test]
fn the_operator_may_not_write_webhooks_and_the_hook_that_may_has_an_account_of_its_own() {
    let objects = for_version("1.33.13", &[]);
    let grants = |object: &Value| object["rules"].to_string().contains("webhookconfigurations");
    let roles = of_kind(&objects, "ClusterRole").into_iter().chain(of_kind(&objects, "Role"));
    let writers: Vec<_> = roles
        .filter(|role| grants(role) && role["rules"].to_string().contains("patch"))
        .filter(|role| {
            role["rules"].as_array().unwrap().iter().any(|rule| {
                rule["resources"].to_string().contains("webhookconfigurations")
                    && !texts(&rule["verbs"])
                        .iter()
                        .all(|verb| ["get", "list", "watch"].contains(verb))
            })
        })
        .map(|role| (role["metadata"]["name"].clone(), role["rules"][0]["resourceNames"].clone()))
        .collect();
    assert_eq!(writers, [(json!("lockkeeper-webhook-setup"), json!(["zz-lockkeeper"]))]);
    let job = of_kind(&objects, "Job").into_iter();
    let mut job = job.filter(|job| job["metadata"]["name"] == "lockkeeper-webhook-setup");
    let pod = &job.next().unwrap()["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "lockkeeper-webhook-setup");
    assert_eq!(pod["containers"][0]["args"][0], "webhook-setup");
    // With a certificate of somebody else's there is no authority, and no hook.
    for given in [
        &["--set", "webhook.certManager.enabled=true"][..],
        &["--set", "webhook.existingSecret=ours", "--set", "webhook.caBundle=PEM"],
    ] {
        let objects = for_version("1.33.13", given);
        assert!(of_kind(&objects, "Job").is_empty(), "{given:?}");
        let role = of_kind(&objects, "Role").into_iter();
        let role = role.filter(|role| role["metadata"]["name"] == "lockkeeper");
        assert!(role.into_iter().all(|role| !role.to_string().contains("webhook-ca")));
    }
}

#[test]
fn what_says_how_the_webhook_is_reached_belongs_together() {
    for (values, sentence) in [
        ("webhook.existingSecret=ours", "belong together"),
        ("webhook.caBundle=PEM", "belong together"),
        (
            "webhook.existingSecret=ours,webhook.caBundle=PEM,webhook.certManager.enabled=true",
            "exclude each other",
        ),
        ("webhook.url=http://192.0.2.1", "does not match pattern"),
        ("webhook.port=8080", "'not' failed"),
        ("webhook.port=443", "minimum: got 443, want 1,024"),
        ("webhook.hostNetwork=true", "10250 is the kubelet's"),
    ] {
        let old = ["--kube-version=1.33.13", "--set", values];
        let said = helm(&[&["template", "lockkeeper", CHART][..], &old].concat());
        assert!(!said.success && said.text.contains(sentence), "{values}: {}", said.text);
    }
    let by_url = ["--set", "webhook.url=https://192.0.2.1:10250/,webhook.failurePolicy=Ignore"];
    let objects = for_version("1.33.13", &by_url);
    let holds = &of_kind(&objects, "MutatingWebhookConfiguration")[0]["webhooks"][0];
    assert_eq!(
        (&holds["clientConfig"], &holds["failurePolicy"]),
        (&json!({"url": "https://192.0.2.1:10250/mutate/ignore"}), &json!("Ignore"))
    );
    let arguments = of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
        ["args"]
        .clone();
    let names = "--webhook-names=lockkeeper-webhook.lockkeeper-system.svc,192.0.2.1";
    assert!(texts(&arguments).contains(&names), "{arguments}");
}

#[test]
fn cert_manager_names_all_by_which_the_webhook_is_called() {
    let values = "webhook.certManager.enabled=true,webhook.url=https://192.0.2.1:10250";
    let objects = for_version("1.33.13", &["--set", values]);
    let certificates = of_kind(&objects, "Certificate").into_iter();
    let mut leaf = certificates.filter(|one| one["metadata"]["name"] == "lockkeeper-webhook");
    let leaf = &leaf.next().unwrap()["spec"];
    assert_eq!(leaf["dnsNames"], json!(["lockkeeper-webhook.lockkeeper-system.svc"]));
    assert_eq!(leaf["ipAddresses"], json!(["192.0.2.1"]));
}

/// Without Helm nothing runs hooks, and nothing looks up which workloads are left to the webhook.
#[test]
fn what_helm_does_by_itself_can_be_rendered_for_others() {
    let objects = for_version("1.33.13", &["--no-hooks", "--set", "webhook.setup=Job"]);
    let jobs = of_kind(&objects, "Job");
    assert!(jobs.len() == 1 && jobs[0]["metadata"]["annotations"].is_null(), "{jobs:?}");

    let objects = for_version("1.36.3", &["--set", "webhook.keep=true"]);
    let kept = &of_kind(&objects, "MutatingWebhookConfiguration")[0]["webhooks"];
    let names: Vec<_> =
        kept.as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect();
    let own = ["holds.lockkeeper.dev", "probe.lockkeeper.dev"];
    assert_eq!(names, own, "the rest is the policies' alone");
    assert_eq!(of_kind(&objects, "MutatingAdmissionPolicy").len(), 8);

    let objects = for_version("1.36.3", &["--set", "uninstall.hook=always"]);
    let jobs = of_kind(&objects, "Job");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["metadata"]["annotations"]["argocd.argoproj.io/hook"], "PreDelete");
}

//! The rights that the chart grants are those that the operator uses: what it did in the tests
//! before these stands in the audit log of the local cluster. Run by `make test`, after the tests
//! of the cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;

use local_cluster::shared;
use serde_json::Value;

/// `group/resource verb`.
fn granted() -> BTreeSet<String> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockkeeper");
    let output = shared()
        .command("helm")
        .args(["template", "lockkeeper", chart, "-n", "lockkeeper-system"])
        .output()
        .unwrap();
    let rendered = String::from_utf8(output.stdout).unwrap();
    let mut rights = BTreeSet::new();
    for document in rendered.split("\n---") {
        let object: Value = serde_saphyr::from_str(document).unwrap_or_default();
        let ours = object["metadata"]["name"] == "lockkeeper"
            && matches!(object["kind"].as_str(), Some("ClusterRole" | "Role"));
        for rule in object["rules"].as_array().into_iter().flatten().filter(|_| ours) {
            let list = |field: &str| {
                rule[field]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|one| one.as_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            };
            for group in list("apiGroups") {
                for resource in list("resources") {
                    rights.extend(
                        list("verbs").iter().map(|verb| format!("{group}/{resource} {verb}")),
                    );
                }
            }
        }
    }
    rights
}

#[test]
fn each_right_that_is_used_is_granted_and_none_is_granted_unused() {
    let log = shared().kubeconfig.with_file_name("audit.log");
    let Ok(log) = std::fs::read_to_string(&log) else {
        eprintln!(
            "no audit log beside the kubeconfig: this is not the local cluster, nothing to compare"
        );
        return;
    };
    let (mut used, mut refused, mut allowed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        if entry["user"]["username"] != "system:serviceaccount:lockkeeper-system:lockkeeper" {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let reference = &entry["objectRef"];
        let subresource =
            reference["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        let right = format!(
            "{}/{}{subresource} {}",
            text(&reference["apiGroup"]),
            text(&reference["resource"]),
            text(&entry["verb"])
        );
        // An API server that has just started refuses for a moment what it has not read the roles
        // of.
        let forbidden = entry["annotations"]["authorization.k8s.io/decision"] == "forbid";
        if forbidden { &mut refused } else { &mut allowed }.insert(right.clone());
        used.insert(right);
    }
    if !used.contains("lockkeeper.dev/upgradepolicies watch") {
        eprintln!(
            "the operator has done nothing on this cluster yet: run these after the tests of the cluster"
        );
        return;
    }
    let never_allowed: BTreeSet<_> = refused.difference(&allowed).collect();
    assert_eq!(never_allowed, BTreeSet::new(), "asked for without the right");
    let granted = granted();
    assert!(granted.len() > 10, "the chart was read: {granted:?}");
    // Admission asks for the last one only, when a volume is handed over.
    let optional = |right: &String| {
        right.starts_with("argoproj.io/")
            || right.starts_with("flagger.app/")
            || right == "lockkeeper.dev/upgradepolicies convert"
    };
    let unused: BTreeSet<_> = granted.difference(&used).filter(|right| !optional(right)).collect();
    assert_eq!(unused, BTreeSet::new(), "granted and never used");
}

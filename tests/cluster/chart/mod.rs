//! The chart: what it renders, what the API server says to it, and its life from the installation
//! to the end.

mod alerts;
mod life;
mod promql;
mod rendered;

use local_cluster::shared;
use serde_json::Value;

use crate::support::{Said, said_with};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockkeeper");

/// Runs a program against the cluster, with something on its standard input.
fn run(program: &str, arguments: &[&str], input: &str) -> Said {
    let mut command = shared().command(program);
    command.args(arguments);
    said_with(command, input)
}

fn helm(arguments: &[&str]) -> Said {
    run("helm", arguments, "")
}

/// What the chart renders for a cluster that holds templates.
fn rendered(arguments: &[&str]) -> Vec<Value> {
    let holds = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";
    let template = [
        "template",
        "lockkeeper",
        CHART,
        "-n",
        "lockkeeper-system",
        "--kube-version=1.36.0",
        "--api-versions",
        holds,
    ];
    let said = helm(&[&template, arguments].concat());
    assert!(said.success, "{arguments:?}: {}", said.text);
    // Helm tells of CRDs, where it looks at a cluster.
    documents(
        &said
            .text
            .lines()
            .filter(|line| !line.starts_with("level="))
            .collect::<Vec<_>>()
            .join("\n"),
    )
}

fn documents(text: &str) -> Vec<Value> {
    let says = |document: &&str| {
        document.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'))
    };
    let all = text.split("\n---").filter(says);
    all.map(|document| {
        serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"))
    })
    .collect()
}

/// The arguments that name a values file of `ci/`.
fn values(name: &str) -> [String; 2] {
    ["-f".to_owned(), format!("{CHART}/ci/{name}-values.yaml")]
}

fn manifest(objects: &[Value]) -> String {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

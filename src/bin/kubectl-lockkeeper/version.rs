//! The versions of what takes part: this program, the operator, and the API server.

use std::process::ExitCode;

use kube::{
    Api,
    api::{DynamicObject, ListParams},
};
use lockkeeper::{api::WorkloadKind, shell::errors::with_causes};
use serde::Serialize;

use crate::{
    Output,
    cluster::{Cluster, Failure},
    output,
};

/// What the chart labels the operator's Deployment with.
const OPERATOR: &str = "app.kubernetes.io/name=lockkeeper";

/// The versions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client: &'static str,
    operators: Vec<Operator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_unknown: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_unknown: Option<String>,
}

/// An operator that is installed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Operator {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    image: String,
}

/// Prints them. What cannot be read is reported, and is not a failure.
pub async fn run(cluster: Result<Cluster, Failure>, format: Output) -> Result<ExitCode, Failure> {
    let mut versions = Versions {
        client: env!("CARGO_PKG_VERSION"),
        operators: Vec::new(),
        operator_unknown: None,
        server: None,
        server_unknown: None,
    };
    match &cluster {
        Ok(cluster) => read(cluster, &mut versions).await,
        Err(why) => {
            versions.operator_unknown = Some(why.to_string());
            versions.server_unknown = Some(why.to_string());
        }
    }
    match format {
        Output::Table | Output::Wide => output::print(&told(&versions)),
        other => output::data(other, &versions)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(cluster: &Cluster, versions: &mut Versions) {
    match cluster.client.apiserver_version().await {
        Ok(info) => versions.server = Some(info.git_version),
        Err(error) => versions.server_unknown = Some(with_causes(&error)),
    }
    let api: Api<DynamicObject> =
        Api::all_with(cluster.client.clone(), &WorkloadKind::Deployment.resource());
    match api.list(&ListParams::default().labels(OPERATOR)).await {
        Ok(all) => versions.operators = all.items.iter().map(operator).collect(),
        Err(error) => versions.operator_unknown = Some(with_causes(&error)),
    }
}

fn operator(deployment: &DynamicObject) -> Operator {
    let containers = deployment.data["spec"]["template"]["spec"]["containers"].as_array();
    let images =
        containers.into_iter().flatten().filter_map(|container| container["image"].as_str());
    let label = |name: &str| deployment.metadata.labels.as_ref()?.get(name).cloned();
    Operator {
        namespace: deployment.metadata.namespace.clone().unwrap_or_default(),
        version: label("app.kubernetes.io/version"),
        image: images.collect::<Vec<_>>().join(", "),
    }
}

fn told(versions: &Versions) -> String {
    let mut text = format!("kubectl lockkeeper  {}\n", versions.client);
    for one in &versions.operators {
        let version = one.version.as_deref().unwrap_or("unknown version");
        text += &format!(
            "operator            {version} ({}, namespace {})\n",
            one.image, one.namespace
        );
    }
    match &versions.operator_unknown {
        Some(why) => text += &format!("operator            unknown: {why}\n"),
        None if versions.operators.is_empty() => text += "operator            not installed\n",
        None => {}
    }
    let server = versions.server.clone().unwrap_or_else(|| {
        format!("unknown: {}", versions.server_unknown.as_deref().unwrap_or_default())
    });
    text + &format!("API server          {server}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said() {
        let operator = || Operator {
            namespace: "lockkeeper-system".to_owned(),
            version: Some("0.2.0".to_owned()),
            image: "x:0.2.0".to_owned(),
        };
        let versions = |operators, operator_unknown: Option<&str>| Versions {
            client: "0.1.0",
            operators,
            operator_unknown: operator_unknown.map(str::to_owned),
            server: Some("v1.36.0".to_owned()),
            server_unknown: None,
        };
        for (versions, line) in [
            (
                versions(vec![operator()], None),
                "operator            0.2.0 (x:0.2.0, namespace lockkeeper-system)",
            ),
            (versions(Vec::new(), None), "operator            not installed"),
            (versions(Vec::new(), Some("forbidden")), "operator            unknown: forbidden"),
        ] {
            assert_eq!(
                told(&versions),
                format!("kubectl lockkeeper  0.1.0\n{line}\nAPI server          v1.36.0\n")
            );
        }
    }
}

//! Which workload a command is about, as people write it: `deployment/web`, `deployment web`,
//! `deploy/web`, or `web`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use lockkeeper::{api::WorkloadKind, core::observed::WorkloadId};

use crate::{
    cluster::{Cluster, Failure, lower},
    completion,
};

const HOW: &str = "write KIND/NAME, KIND NAME or NAME, with a Deployment, StatefulSet or DaemonSet: deployment/web, sts/db, web";

/// Which workload.
#[derive(Args)]
pub struct WorkloadArgument {
    /// Such as deployment/web, deployment web, or web
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true, add = ArgValueCompleter::new(completion::workloads))]
    words: Vec<String>,
}

/// Which change of which workload.
#[derive(Args)]
pub struct ChangeArguments {
    /// The workload, such as deployment/web, and the id of the change. Another change that is
    /// waiting by then is refused. Without an id, it is the change that is waiting now
    #[arg(value_names = ["KIND/NAME", "ID"], num_args = 1..=3, required = true, id = "words", add = ArgValueCompleter::new(completion::workloads))]
    words: Vec<String>,
}

/// A workload as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// With its kind.
    Workload(WorkloadId),
    /// A name alone.
    Bare(String),
}

impl WorkloadArgument {
    /// The workload.
    pub async fn find(&self, cluster: &Cluster) -> Result<WorkloadId, Failure> {
        find(&self.words, cluster).await
    }
}

impl ChangeArguments {
    /// The workload, and the change's id if one is given.
    pub async fn find(&self, cluster: &Cluster) -> Result<(WorkloadId, Option<String>), Failure> {
        let (named, id) = with_id(&self.words).map_err(Failure::No)?;
        Ok((named.find(cluster).await?, id))
    }
}

/// The workload that the words name.
pub async fn find(words: &[String], cluster: &Cluster) -> Result<WorkloadId, Failure> {
    match with_id(words).map_err(Failure::No)? {
        (named, None) => named.find(cluster).await,
        (_, Some(id)) => Err(Failure::No(format!("{id:?} is one word too many: {HOW}"))),
    }
}

fn with_id(words: &[String]) -> Result<(Named, Option<String>), String> {
    let (named, rest) = match words {
        [word, rest @ ..] if word.contains('/') => (Named::Workload(workload_id(word)?), rest),
        [kind, name, rest @ ..] if kind_of(kind).is_some() => {
            (Named::Workload(workload_id(&format!("{kind}/{name}"))?), rest)
        }
        [name, rest @ ..] => (Named::Bare(name.clone()), rest),
        [] => return Err(HOW.to_owned()),
    };
    match rest {
        [] => Ok((named, None)),
        [id] => Ok((named, Some(id.clone()))),
        _ => Err(HOW.to_owned()),
    }
}

/// Reads `deployment/web` and the like.
fn workload_id(text: &str) -> Result<WorkloadId, String> {
    let (kind, name) = text.split_once('/').ok_or(HOW)?;
    let kind = kind_of(kind)
        .ok_or_else(|| format!("{text:?} names no kind that Lockkeeper governs: {HOW}"))?;
    match name.is_empty() || name.contains('/') {
        true => Err(format!("{text:?} names no workload: {HOW}")),
        false => Ok(WorkloadId { kind, name: name.to_owned() }),
    }
}

/// As kubectl knows it: the kind, its plural, its short name, with or without the group.
fn kind_of(word: &str) -> Option<WorkloadKind> {
    let word = word.to_ascii_lowercase();
    let word = word.split_once('.').map_or(&*word, |(kind, group)| {
        if group == "apps" || group == "v1.apps" { kind } else { "" }
    });
    WorkloadKind::ALL.iter().copied().find(|kind| {
        [kind.as_str().to_lowercase().as_str(), kind.plural(), kind.short_name()].contains(&word)
    })
}

impl Named {
    async fn find(self, cluster: &Cluster) -> Result<WorkloadId, Failure> {
        let name = match self {
            Self::Workload(id) => return Ok(id),
            Self::Bare(name) => name,
        };
        let mut found = Vec::new();
        for &kind in WorkloadKind::ALL {
            let id = WorkloadId { kind, name: name.clone() };
            match cluster.get(&id).await {
                Ok(_) => found.push(id),
                Err(Failure::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Failure::No(format!(
                "there is no Deployment, StatefulSet or DaemonSet {name} in namespace {}",
                cluster.namespace
            ))),
            several => {
                let places: Vec<_> = several.iter().map(lower).collect();
                Err(Failure::No(format!(
                    "{name} is the name of several workloads in namespace {}: {}. Write one of them",
                    cluster.namespace,
                    places.join(", ")
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_written_as_for_kubectl() {
        let web = |kind, id: Option<&str>| {
            Ok((
                Named::Workload(WorkloadId { kind, name: "web".to_owned() }),
                id.map(str::to_owned),
            ))
        };
        let bare = |id: Option<&str>| Ok((Named::Bare("web".to_owned()), id.map(str::to_owned)));
        let (deployment, set, daemon) =
            (WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet);
        for (words, expected) in [
            ("deployment/web", web(deployment, None)),
            ("deployment.apps/web", web(deployment, None)),
            ("deployments.v1.apps/web", web(deployment, None)),
            ("Deployment/web", web(deployment, None)),
            ("deploy web", web(deployment, None)),
            ("deploy/web 7", web(deployment, Some("7"))),
            ("deploy web 7", web(deployment, Some("7"))),
            ("sts/web", web(set, None)),
            ("statefulsets web", web(set, None)),
            ("ds web c-1a2b", web(daemon, Some("c-1a2b"))),
            ("web", bare(None)),
            ("web 7", bare(Some("7"))),
        ] {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            assert_eq!(with_id(&words), expected, "{words:?}");
        }
        for words in [
            "pod/web",
            "deployment/",
            "deployment/web/x",
            "deployment.example.com/web",
            "web 7 8",
            "deployment/web 7 8",
        ] {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            assert!(with_id(&words).is_err(), "{words:?}");
        }
    }
}

//! Shows before an apply what would roll, be held or be put at risk.

mod forecast;
mod judge;
pub mod manifests;
mod merge;
mod orphans;
mod outcome;
mod report;
mod world;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use lockkeeper::{
    core::digest::Key,
    shell::{clock, digest::set_key},
};

use self::{
    judge::Situation,
    manifests::Manifest,
    outcome::{Line, Outcome, Plan},
    world::{Kind, Worlds},
};
use crate::{
    Output,
    cluster::{Cluster, Failure},
    output,
};

/// With `--exit-code`: something would happen, or may.
const HAPPENS: u8 = 10;

/// What is to be looked at, and how it is told.
#[derive(clap::Args)]
pub struct PlanArguments {
    /// A file, a folder, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "FILE", required = true, value_hint = clap::ValueHint::AnyPath)]
    filename: Vec<String>,
    /// Search folders within folders too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// End with exit code 10 if something would happen, or if that is not known
    #[arg(long)]
    exit_code: bool,
    /// How to write it; wide lists also what stays as it is
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// Tells it.
pub async fn run(cluster: &Cluster, arguments: &PlanArguments) -> Result<ExitCode, Failure> {
    let manifests = manifests::read(&arguments.filename, arguments.recursive)?;
    // Contents are compared by digests, under a key of this run alone: nothing of a Secret is kept,
    // shown or to be guessed.
    let key = set_key(Key::new(&rand::random::<[u8; 32]>()));
    let plan = plan(cluster, manifests, key).await?;
    match arguments.output {
        Output::Table | Output::Wide => {
            output::print(&report::text(&plan, arguments.output == Output::Wide));
            plan.notes.iter().for_each(|note| eprintln!("{note}"));
        }
        other => output::data(other, &plan)?,
    }
    let happens = arguments.exit_code && plan.happens();
    Ok(if happens { ExitCode::from(HAPPENS) } else { ExitCode::SUCCESS })
}

async fn plan(cluster: &Cluster, manifests: Vec<Manifest>, key: &Key) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let mut by_namespace: BTreeMap<String, Vec<(Kind, Manifest)>> = BTreeMap::new();
    let (mut namespaces, mut others) = (Vec::new(), BTreeSet::new());
    for mut manifest in manifests {
        let Some(kind) = Kind::of(&manifest.object) else {
            others.insert(manifest.object["kind"].as_str().unwrap_or_default().to_owned());
            continue;
        };
        let Some(name) = manifest.object["metadata"]["name"].as_str() else {
            plan.notes.push(format!(
                "{} has no name (generateName?). Each apply would create another object, so it is omitted.",
                manifest.source
            ));
            continue;
        };
        if kind == Kind::Namespace {
            namespaces.push((name.to_owned(), manifest));
            continue;
        }
        let namespace = manifest.object["metadata"]["namespace"]
            .as_str()
            .unwrap_or(&cluster.namespace)
            .to_owned();
        manifest.object["metadata"]["namespace"] = namespace.as_str().into();
        by_namespace.entry(namespace).or_default().push((kind, manifest));
    }
    if by_namespace.is_empty() {
        let kinds: Vec<_> = others.into_iter().collect();
        plan.notes
            .push(format!("Lockkeeper does not act on any of these kinds: {}.", kinds.join(", ")));
        return Ok(plan);
    }
    for (name, manifests) in by_namespace {
        let of_namespace = namespaces
            .iter()
            .find(|(namespace, _)| *namespace == name)
            .map(|(_, manifest)| &manifest.object);
        let cluster = Cluster { client: cluster.client.clone(), namespace: name.clone() };
        let worlds = Worlds::read(&cluster, manifests, of_namespace, key).await?;
        let situation = Situation {
            before: &worlds.before,
            after: &worlds.after,
            storage: &worlds.storage,
            workloads: &worlds.workloads,
            policies: &worlds.policies,
            looked_at: &worlds.looked_at,
            gap: worlds.gap.as_deref(),
            key,
            now: clock::now(),
        };
        let found = judge::judge(&situation);
        plan.objects.extend(
            found.objects.into_iter().filter(|line| !worlds.refused.contains_key(&line.object)),
        );
        plan.objects.extend(worlds.refused.into_iter().map(|(object, why)| Line {
            namespace: name.clone(),
            object,
            outcome: Outcome::Refused,
            policy: None,
            changed: Vec::new(),
            waits_for: Vec::new(),
            because: vec![why],
        }));
        plan.risks.extend(found.risks);
        plan.notes.extend(worlds.notes);
        plan.unknown.extend(worlds.unknown);
    }
    plan.risks.sort();
    plan.risks.dedup();
    Ok(plan)
}

//! One line for each governed workload.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::Duration,
};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use jiff::Timestamp;
use lockkeeper::{
    api::{Attention, Phase},
    shell::clock,
};
use serde::Serialize;

use crate::{
    Output,
    cluster::{Cluster, Failure, Objects, Seen, lower},
    live::age,
    output,
    watching::{Scope, Watching},
};

/// Changes that come together are written together.
const TOGETHER: Duration = Duration::from_millis(200);

/// Which workloads, and how they are written.
#[derive(clap::Args)]
pub struct StatusArguments {
    /// The workloads of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only workloads with these labels, such as app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// After the list, write each line again when it changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// How to write it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    namespace: String,
    workload: String,
    policy: String,
    phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<Attention>,
}

/// Writes the list.
pub async fn run(cluster: &Cluster, arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let labels = arguments.selector.clone();
    let scope = Scope {
        all_namespaces: arguments.all_namespaces,
        labels,
        only_workloads: true,
        ..Scope::default()
    };
    if !arguments.watch {
        let found = lines(by_namespace(cluster, arguments, cluster.read_workloads(&scope).await?));
        write(cluster, arguments, &found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let watching = Watching::new(cluster, scope);
    tokio::select! {
        ended = watch(cluster, arguments, &watching) => ended.map(|()| ExitCode::SUCCESS),
        never = watching.run() => match never {},
    }
}

/// Writes the list, and then what changes.
async fn watch(
    cluster: &Cluster,
    arguments: &StatusArguments,
    watching: &Watching<'_>,
) -> Result<(), Failure> {
    let mut news = watching.news();
    let mut known: Option<Vec<Line>> = None;
    let mut trouble = None;
    loop {
        match watching.objects() {
            None => {}
            Some(Err(error)) if known.is_none() => return Err(error),
            Some(Err(error)) => {
                let said = Some(format!("{error}; trying again"));
                if trouble != said {
                    said.iter().for_each(|said| eprintln!("{said}"));
                    trouble = said;
                }
            }
            Some(Ok(objects)) => {
                trouble = None;
                let found = lines(by_namespace(cluster, arguments, objects));
                match &known {
                    None => write(cluster, arguments, &found)?,
                    Some(known) => changed(arguments, known, &found)?,
                }
                known = Some(found);
            }
        }
        // The sender lives as long as what is watched.
        if news.changed().await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

fn by_namespace(cluster: &Cluster, arguments: &StatusArguments, objects: Objects) -> Vec<Seen> {
    match arguments.all_namespaces {
        true => Seen::by_namespace(objects),
        false => vec![Seen::new(&cluster.namespace, objects)],
    }
}

fn lines(all: Vec<Seen>) -> Vec<Line> {
    let of = |seen: &Seen| -> Vec<Line> {
        let line = |(workload, policy): (&lockkeeper::core::observed::Workload, String)| {
            let attention = seen.attention(&workload.id).cloned();
            let phase = attention.as_ref().map_or(Phase::UpToDate, |attention| attention.phase);
            Line {
                namespace: seen.world.name.to_string(),
                workload: lower(&workload.id),
                policy,
                phase,
                attention,
            }
        };
        seen.governed().into_iter().map(line).collect()
    };
    all.iter().flat_map(of).collect()
}

fn write(cluster: &Cluster, arguments: &StatusArguments, lines: &[Line]) -> Result<(), Failure> {
    match arguments.output {
        Output::Json | Output::Yaml => output::data(arguments.output, &lines)?,
        Output::Table | Output::Wide if lines.is_empty() => {
            let place = if arguments.all_namespaces {
                "any namespace".to_owned()
            } else {
                format!("namespace {}", cluster.namespace)
            };
            let with = arguments
                .selector
                .as_ref()
                .map_or_else(String::new, |labels| format!(" with the labels {labels}"));
            eprintln!("Lockkeeper governs no workload{with} in {place}.");
        }
        Output::Table | Output::Wide => {
            output::print(&format!("{}\n", table(arguments, lines, clock::now())))
        }
    }
    Ok(())
}

/// Writes the lines that are new or other than before; a table's columns stay as wide as the whole.
fn changed(arguments: &StatusArguments, known: &[Line], lines: &[Line]) -> Result<(), Failure> {
    let before: BTreeMap<_, _> =
        known.iter().map(|line| ((&line.namespace, &line.workload), line)).collect();
    let there: BTreeSet<_> = lines.iter().map(|line| (&line.namespace, &line.workload)).collect();
    for gone in known.iter().filter(|line| !there.contains(&(&line.namespace, &line.workload))) {
        eprintln!(
            "{} in namespace {} is deleted, or no longer governed.",
            gone.workload, gone.namespace
        );
    }
    let is_new = |line: &&Line| {
        before.get(&(&line.namespace, &line.workload)).is_none_or(|before| *before != *line)
    };
    match arguments.output {
        Output::Json | Output::Yaml => {
            lines.iter().filter(is_new).try_for_each(|line| output::data(arguments.output, line))?
        }
        Output::Table | Output::Wide => {
            let rows = table(arguments, lines, clock::now()).to_string();
            // The first row is the header.
            for (row, _) in rows.lines().skip(1).zip(lines).filter(|(_, line)| is_new(line)) {
                output::print(&format!("{row}\n"));
            }
        }
    }
    Ok(())
}

fn table(arguments: &StatusArguments, lines: &[Line], now: Timestamp) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec!["WORKLOAD", "POLICY", "PHASE", "REASON", "ID", "FOR"];
    if arguments.all_namespaces {
        header.insert(0, "NAMESPACE");
    }
    if arguments.output == Output::Wide {
        header.push("MESSAGE");
    }
    table.set_header(header);
    for line in lines {
        let attention = line.attention.as_ref();
        let mut row = vec![
            line.workload.clone(),
            line.policy.clone(),
            line.phase.to_string(),
            attention.map_or_else(String::new, |one| one.reason.as_str().to_owned()),
            attention
                .and_then(|one| one.hold.as_ref())
                .map_or_else(String::new, |hold| hold.id.clone()),
            attention.map_or_else(String::new, |one| age(one.since, now)),
        ];
        if arguments.all_namespaces {
            row.insert(0, line.namespace.clone());
        }
        if arguments.output == Output::Wide {
            row.push(
                attention.map_or_else(String::new, |one| one.message.replace(['\n', '\r'], " ")),
            );
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(namespace: &str, name: &str, phase: Phase) -> Line {
        let (namespace, workload) = (namespace.to_owned(), format!("deployment/{name}"));
        Line { namespace, workload, policy: "shop".to_owned(), phase, attention: None }
    }

    #[test]
    fn a_table_has_a_row_for_each_workload_after_its_header() {
        let arguments = StatusArguments {
            all_namespaces: true,
            selector: None,
            watch: false,
            output: Output::Table,
        };
        let lines = [line("a", "web", Phase::Held), line("b", "a-longer-name", Phase::UpToDate)];
        let text = table(&arguments, &lines, Timestamp::UNIX_EPOCH).to_string();
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 3, "{text}");
        assert!(
            rows[0].starts_with("NAMESPACE")
                && rows[1].contains("deployment/web")
                && rows[2].contains("UpToDate"),
            "{text}"
        );
        assert_eq!(rows[0].find("PHASE"), rows[1].find("Held"), "{text}");
    }
}

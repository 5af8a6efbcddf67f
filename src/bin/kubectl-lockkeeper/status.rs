//! One line for each governed workload.

use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use lockkeeper::api::{Attention, Phase};
use serde::Serialize;

use crate::{
    Output,
    cluster::{Cluster, Failure, Seen, lower},
    output,
};

/// A line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    workload: String,
    policy: String,
    phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<Attention>,
}

/// Writes the list.
pub async fn run(cluster: &Cluster, format: Output) -> Result<ExitCode, Failure> {
    let seen = cluster.read().await?;
    let lines = lines(&seen);
    match format {
        Output::Json | Output::Yaml => output::data(format, &lines)?,
        Output::Table | Output::Wide if lines.is_empty() => {
            eprintln!("No workload in namespace {} is governed by Lockkeeper.", cluster.namespace);
        }
        Output::Table | Output::Wide => output::print(&format!("{}\n", table(&lines, format == Output::Wide))),
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(seen: &Seen) -> Vec<Line> {
    let line = |(workload, policy): (&lockkeeper::core::world::Workload, String)| {
        let attention = seen.attention(&workload.id).cloned();
        let phase = attention.as_ref().map_or(Phase::UpToDate, |attention| attention.phase);
        Line { workload: lower(&workload.id), policy, phase, attention }
    };
    seen.governed().map(line).collect()
}

fn table(lines: &[Line], wide: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec!["WORKLOAD", "POLICY", "PHASE", "REASON", "ID", "SINCE"];
    if wide {
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
            attention.and_then(|one| one.hold.as_ref()).map_or_else(String::new, |hold| hold.id.clone()),
            attention.map_or_else(String::new, |one| one.since.to_string()),
        ];
        if wide {
            row.push(attention.map_or_else(String::new, |one| one.message.clone()));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

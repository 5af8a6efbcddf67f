//! The last changes of workloads, from the record that each of them carries. The operator is not
//! asked.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use jiff::Timestamp;
use kube::{
    Api,
    api::{DynamicObject, ListParams},
};
use lockkeeper::{
    api::{WorkloadKind, marks},
    core::{
        digest::Key,
        history::chain::{self, Fault},
        observed::WorkloadId,
    },
    marks::{
        history::{Entry, History},
        mark::Text,
    },
    shell::{clock, digest, views::lenient::Lenient},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Output,
    cluster::{Cluster, Failure, annotation, failure, lower, readable},
    completion,
    live::length,
    named, output,
};

/// Of which workloads, and how it is written.
#[derive(Args)]
pub struct Arguments {
    /// Such as deployment/web, deployment web, or web. Without it, all workloads of the namespace
    #[arg(value_name = "KIND/NAME", num_args = 0..=2, conflicts_with = "all_namespaces")]
    #[arg(add = ArgValueCompleter::new(completion::workloads))]
    workload: Vec<String>,
    /// The workloads of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only changes that were released since then, such as 90d or 12h
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    since: Option<Duration>,
    /// Check that no entry was altered or cut out. Needs get on the Secret lockkeeper-digest-key
    #[arg(long)]
    verify: bool,
    /// With --verify: the namespace of the operator, where the key is
    #[arg(long, value_name = "NAMESPACE", default_value = "lockkeeper-system")]
    key_namespace: String,
    /// How to write it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// The record of a workload.
struct Record {
    namespace: String,
    workload: WorkloadId,
    uid: String,
    history: Result<History, Fault>,
}

/// A change, for -o json.
#[derive(Serialize)]
struct Line<'a> {
    namespace: &'a str,
    workload: String,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// Writes the changes, or checks them.
pub async fn run(cluster: &Cluster, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let records = read(cluster, arguments).await?;
    if arguments.verify {
        let key = digest::read_key(&cluster.client, &arguments.key_namespace).await;
        let key = key.map_err(|error| {
            let what = format!(
                "cannot verify: the key in Secret {}/{} cannot be read",
                arguments.key_namespace,
                digest::KEY_SECRET
            );
            Failure::Api { what, why: error.to_string() }
        })?;
        return Ok(verify(&records, &key));
    }
    for record in &records {
        if let Err(fault) = &record.history {
            eprintln!("warning: {}: {fault}", place(record));
        }
    }
    let now = clock::now();
    let lines = lines(&records, arguments.since, now);
    match arguments.output {
        Output::Json | Output::Yaml => output::data(arguments.output, &lines)?,
        Output::Table | Output::Wide if lines.is_empty() => {
            eprintln!("No change is recorded.");
        }
        Output::Table | Output::Wide => {
            let wide = arguments.output == Output::Wide;
            let table = table(&lines, arguments.all_namespaces, wide, now);
            output::print(&format!("{table}\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(cluster: &Cluster, arguments: &Arguments) -> Result<Vec<Record>, Failure> {
    if !arguments.workload.is_empty() {
        let id = named::find(&arguments.workload, cluster).await?;
        let object = cluster.get(&id).await?;
        let found = record(id.kind, &object);
        return match found {
            None if arguments.verify => Err(Failure::No(format!(
                "{} has no record to verify: no change of it was released since a policy governs it, or its annotation {} was removed",
                lower(&id),
                marks::HISTORY
            ))),
            found => Ok(found.into_iter().collect()),
        };
    }
    let mut records = Vec::new();
    for &kind in WorkloadKind::ALL {
        let (client, resource) = (cluster.client.clone(), kind.resource());
        let api: Api<Lenient<DynamicObject>> = match arguments.all_namespaces {
            true => Api::all_with(client, &resource),
            false => Api::namespaced_with(client, &cluster.namespace, &resource),
        };
        let all = api.list(&ListParams::default()).await;
        let all = all.map_err(|error| failure(kind.plural(), &error))?;
        let all = readable(kind.plural(), all.items);
        records.extend(all.iter().filter_map(|object| record(kind, &json!(object))));
    }
    records.sort_by_key(|one| (one.namespace.clone(), lower(&one.workload)));
    Ok(records)
}

fn record(kind: WorkloadKind, object: &Value) -> Option<Record> {
    let text = annotation(object, marks::HISTORY)?;
    let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Some(Record {
        namespace: of("namespace"),
        workload: WorkloadId { kind, name: of("name") },
        uid: of("uid"),
        history: History::parse(text).ok_or(Fault::Unreadable),
    })
}

fn place(record: &Record) -> String {
    format!("{} in namespace {}", lower(&record.workload), record.namespace)
}

/// Says of each record whether it is as the operator left it.
fn verify(records: &[Record], key: &Key) -> ExitCode {
    let mut faults = 0_usize;
    for record in records {
        let found = record.history.as_ref().map_err(Fault::clone);
        let found = found.and_then(|history| chain::verify(history, &record.uid, key));
        if let Err(fault) = found {
            faults += 1;
            output::print(&format!("{}: {fault}\n", place(record)));
        }
    }
    let checked = format!("Checked: {}. Altered or cut: {faults}.\n", records.len());
    output::print(&checked);
    if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The changes, the newest of a workload first.
fn lines(records: &[Record], since: Option<Duration>, now: Timestamp) -> Vec<Line<'_>> {
    let from = since.and_then(|since| now.checked_sub(since).ok());
    let mut all = Vec::new();
    for record in records {
        let entries = record.history.iter().flat_map(|history| history.entries.iter().rev());
        let entries = entries.filter(|entry| from.is_none_or(|from| entry.released >= from));
        all.extend(entries.map(|entry| line(record, entry)));
    }
    all
}

fn line<'a>(record: &'a Record, entry: &'a Entry) -> Line<'a> {
    Line { namespace: &record.namespace, workload: lower(&record.workload), entry }
}

fn table(lines: &[Line], with_namespace: bool, wide: bool, now: Timestamp) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header =
        vec!["WORKLOAD", "CHANGE", "KIND", "BY", "APPROVED BY", "HELD FOR", "RELEASED", "OUTCOME"];
    if with_namespace {
        header.insert(0, "NAMESPACE");
    }
    if wide {
        header.extend(["WHY", "CHANGED", "NOTE"]);
    }
    table.set_header(header);
    for Line { namespace, workload, entry } in lines {
        let mut row = vec![
            workload.clone(),
            or_nothing(&entry.id),
            format!("{:?}", entry.kind),
            or_nothing(&by(entry)),
            or_nothing(&consent(entry)),
            entry.held.map_or_else(|| "-".to_owned(), |since| length(since, entry.released)),
            entry.released.to_string(),
            outcome(entry, now),
        ];
        if with_namespace {
            row.insert(0, (*namespace).to_owned());
        }
        if wide {
            row.push(format!("{:?}", entry.why));
            row.push(or_nothing(&entry.summary.join("; ")));
            row.push(or_nothing(entry.note.as_deref().unwrap_or_default()));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

fn or_nothing(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.replace(['\n', '\r'], " ") }
}

fn by(entry: &Entry) -> String {
    let names: Vec<_> = entry.by.iter().map(|name| &**name).collect();
    let more = if entry.by_more { ", ..." } else { "" };
    format!("{}{more}", names.join(", "))
}

fn consent(entry: &Entry) -> String {
    match (&entry.bypassed_by, &entry.approved_by) {
        (Some(by), _) => format!("{by} (bypass)"),
        (None, Some(by)) => by.to_string(),
        (None, None) => String::new(),
    }
}

fn outcome(entry: &Entry, now: Timestamp) -> String {
    match entry.outcome {
        Some(end) => format!("{end:?}"),
        None => format!("under way for {}", length(entry.released, now)),
    }
}

fn period(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 86_400;
    let days = text.strip_suffix('d').filter(|days| days.len() <= 5);
    match days.and_then(|days| days.parse::<u64>().ok()) {
        Some(days) => Ok(Duration::from_secs(days * DAY)),
        None => crate::duration(text).map_err(|why| format!("{why}; days are written as 90d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(entries: Value) -> Record {
        let text = json!({"key": "k", "seal": "", "entries": entries}).to_string();
        let object = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u", "annotations": {marks::HISTORY: text}}});
        record(WorkloadKind::Deployment, &object).unwrap()
    }

    #[test]
    fn a_row_names_author_and_approver_and_the_newest_comes_first() {
        let records = [found(json!([
            {"n": 1, "id": "4", "kind": "Template", "by": ["dev", "bot"], "why": "GatesOpen", "approvedBy": "ann",
             "held": "2026-01-01T00:00:00Z", "released": "2026-01-01T03:12:00Z", "outcome": "Done", "note": "CHG-1"},
            {"n": 2, "id": "6", "kind": "Template", "by": ["dev"], "byMore": true, "why": "Bypassed", "bypassedBy": "boss",
             "released": "2026-02-01T00:00:00Z"},
        ]))];
        let now: Timestamp = "2026-02-01T01:00:00Z".parse().unwrap();
        let all = lines(&records, None, now);
        let text = table(&all, true, true, now).to_string();
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 3, "{text}");
        for part in ["deployment/web", "dev, ...", "boss (bypass)", "under way for 1h"] {
            assert!(rows[1].contains(part), "{part}: {text}");
        }
        for part in ["shop", "dev, bot", "ann", "3h 12m", "Done", "CHG-1", "GatesOpen"] {
            assert!(rows[2].contains(part), "{part}: {text}");
        }
        assert_eq!(lines(&records, period("30d").ok(), now).len(), 1);
        assert_eq!(lines(&records, period("40d").ok(), now).len(), 2);
        assert!(period("soon").is_err_and(|why| why.contains("90d")));
    }

    #[test]
    fn a_record_that_somebody_wrote_over_is_a_fault() {
        let object = json!({"metadata": {"name": "web", "annotations": {marks::HISTORY: "x"}}});
        let one = record(WorkloadKind::Deployment, &object).unwrap();
        assert_eq!(one.history, Err(Fault::Unreadable));
        assert_eq!(verify(&[one], &Key::new(&[1; 32])), ExitCode::FAILURE);
    }
}

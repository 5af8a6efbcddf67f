//! Each list of our labels and annotations says what the registry of `src/marks` says: in the
//! constants, in the admission policies, and in docs/marks.md.

use std::{collections::BTreeSet, fs};

use lockkeeper::{
    api::{
        WorkloadKind,
        marks::{self, PREFIX},
    },
    marks::registry::{self, Guard, On, Place, REGISTRY, Row, Writer},
};

use crate::pages::{in_repository, page};

type Keys = BTreeSet<String>;

fn keys<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Keys {
    rows.into_iter().map(|row| row.key.to_owned()).collect()
}

fn of(admits: impl Fn(&Row) -> bool) -> Keys {
    keys(REGISTRY.iter().filter(|row| admits(row)))
}

/// The list of keys in an admission file that follows these words; each is one time in it.
fn list(file: &str, after: &str) -> Keys {
    let text =
        fs::read_to_string(in_repository(&format!("charts/lockkeeper/admission/{file}"))).unwrap();
    let (_, rest) = text.split_once(after).unwrap_or_else(|| panic!("{file} has no {after}"));
    let (items, _) = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']')).unwrap();
    let listed: Vec<_> = items
        .split(',')
        .map(|item| item.trim().trim_matches('\''))
        .map(|item| format!("{PREFIX}{}", item.strip_prefix(PREFIX).unwrap_or(item)))
        .collect();
    let found: Keys = listed.iter().cloned().collect();
    assert_eq!(found.len(), listed.len(), "{file}: one is listed twice: {listed:?}");
    found
}

fn is_on(row: &Row, kinds: &[On]) -> bool {
    row.on.iter().any(|on| kinds.contains(on))
}

fn is_of_storage(row: &Row) -> bool {
    is_on(row, &[On::Claim, On::Volume, On::Namespace])
}

#[test]
fn every_constant_has_a_row_and_no_other() {
    let source = fs::read_to_string(in_repository("src/api/marks.rs")).unwrap();
    let constants: Keys = source
        .lines()
        .filter(|line| line.starts_with("pub const "))
        .filter_map(|line| line.split('"').nth(1))
        .filter(|value| value.starts_with(PREFIX) && *value != PREFIX)
        .map(str::to_owned)
        .collect();
    assert_eq!(keys(&REGISTRY), constants, "the registry and src/api/marks.rs");
    assert_eq!(REGISTRY.len(), constants.len(), "a row for each");
}

#[test]
fn admission_restores_and_derives_on_a_workload_what_the_registry_says() {
    for (file, kind) in [
        ("deployments.yaml", WorkloadKind::Deployment),
        ("statefulsets.yaml", WorkloadKind::StatefulSet),
    ] {
        let is_derived = |row: &Row| match row.guard {
            Guard::Derived(kinds) => kinds.contains(&kind),
            Guard::DerivedWithVerb(_) => true,
            Guard::None | Guard::Restored | Guard::Verb(_) => false,
        };
        let ours = || registry::of_workloads();
        let derived = keys(ours().filter(|row| is_derived(row)));
        let restored = keys(ours().filter(|row| !is_derived(row)));
        assert_eq!(list(file, "name: state, expression"), derived, "{file}: state");
        assert_eq!(list(file, "name: owned, expression"), restored, "{file}: owned");
    }
    let holds = of(Row::holds_back);
    assert_eq!(list("self-restraint.yaml", "name: derived"), holds, "what holds back");
}

#[test]
fn admission_takes_off_at_creation_what_the_registry_says() {
    let annotations = |row: &Row| row.place == Place::Annotation && row.goes_at_creation;
    let of_workloads = of(|row| annotations(row) && row.is_of_workload());
    let after_the_judge = "value: variables.judge}])";
    assert_eq!(list("created.yaml", after_the_judge), of_workloads, "created.yaml");
    let of_storage = of(|row| annotations(row) && is_of_storage(row));
    let labels = of(|row| row.place == Place::Label && row.goes_at_creation && is_of_storage(row));
    let created = "'lockkeeper.dev/' + k) in variables.nl).map";
    assert_eq!(list("claims.yaml", created), of_storage, "claims.yaml: annotations");
    assert_eq!(list("claims.yaml", "matchConditions:\n  - {name: not-the-operator"), labels);
}

#[test]
fn admission_restores_on_storage_what_the_registry_says() {
    let restored = of(|row| {
        row.place == Place::Annotation && row.guard == Guard::Restored && is_of_storage(row)
    });
    assert_eq!(list("claims.yaml", "name: owned, expression"), restored);
}

#[test]
fn admission_asks_for_a_verb_where_the_registry_says_so() {
    let asks = |row: &Row| matches!(row.guard, Guard::Verb(_) | Guard::DerivedWithVerb(_));
    let of_users = |row: &Row| asks(row) && row.writer == Writer::User;
    let of_workloads = of(|row| of_users(row) && row.is_of_workload());
    assert_eq!(list("rights.yaml", "name: new, expression"), of_workloads, "rights.yaml");
    assert_eq!(list("rights.yaml", "has(object.metadata.annotations)"), of_workloads);
    let of_storage = of(|row| of_users(row) && is_of_storage(row));
    assert_eq!(list("deletion.yaml", "has(object.metadata.annotations) &&"), of_storage);
}

#[test]
fn what_is_taken_off_at_the_end_is_what_the_registry_says() {
    let taken_off = |keep_hold| -> BTreeSet<_> { registry::taken_off(keep_hold).collect() };
    let kept: Vec<_> = taken_off(false).difference(&taken_off(true)).copied().collect();
    assert_eq!(kept, [marks::GOVERNANCE, marks::HOLD_SINCE], "what says whose a hold is");
    let goes = [
        marks::CONFIG,
        marks::ROLLOUT,
        marks::ROLLOUTS,
        marks::PENDING_CONFIG,
        marks::HOLD_CHANGES,
        marks::HOLD_AT_ZERO,
        marks::BYPASSED_BY,
        marks::VOLUME_ACCESS,
        marks::RESERVED,
        marks::MAINTENANCE,
        marks::MAINTENANCE_BY,
        marks::MAINTENANCE_REPLICAS,
        marks::IN_MAINTENANCE,
    ];
    assert_eq!(taken_off(true), goes.into(), "what the operator takes off when it lets go");
    let with_the_hold = [
        marks::HOLD,
        marks::AUTHORS,
        marks::DECLARED_PAUSED,
        marks::DECLARED_PARTITION,
        marks::DECLARED_STRATEGY,
        marks::DECLARED_UPDATE_STRATEGY,
        marks::DECLARED_REPLICAS,
        marks::PARTITION,
        marks::APPROVE,
        marks::APPROVED_BY,
        marks::BYPASS,
    ];
    let remains = [marks::HISTORY];
    let all: BTreeSet<_> =
        taken_off(false).into_iter().chain(with_the_hold).chain(remains).collect();
    assert_eq!(registry::of_workloads().map(|row| row.key).collect::<BTreeSet<_>>(), all);
    let records: Vec<_> = registry::records().collect();
    assert_eq!(records, [marks::CONFIG, marks::ROLLOUT, marks::ROLLOUTS, marks::HISTORY]);
    for user in [marks::IGNORE, marks::APP_GATE, marks::NOTE] {
        assert!(registry::of_workloads().all(|row| row.key != user), "{user} is its user's");
    }
}

/// A row of docs/marks.md: by whom it is, what carries it, its marks with whether each is a label,
/// and what it says of them.
struct Listed {
    writer: Writer,
    on: Vec<On>,
    marks: Vec<(String, Place)>,
    meaning: String,
}

fn listed() -> Vec<Listed> {
    let text = page("docs/marks.md").text;
    let mut writer = None;
    let mut found = Vec::new();
    for line in text.lines() {
        match line {
            "## What you write" => writer = Some(Writer::User),
            "## What admission writes" => writer = Some(Writer::Admission),
            "## What the operator writes" => writer = Some(Writer::Operator),
            _ => {}
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let (&[_, on, marks, meaning, _], Some(writer)) = (&cells[..], writer) else { continue };
        if on == "on" || on.starts_with("---") {
            continue;
        }
        let parts: Vec<_> = marks.split('`').collect();
        let marks = parts.chunks_exact(2).map(|pair| {
            let key = pair[1].split(':').next().unwrap_or_default().to_owned();
            let is_label = pair[0].ends_with("label ");
            (key, if is_label { Place::Label } else { Place::Annotation })
        });
        found.push(Listed {
            writer: if meaning.starts_with("by the plugin") { Writer::Plugin } else { writer },
            on: on.split(", ").map(carrier).collect(),
            marks: marks.collect(),
            meaning: meaning.to_owned(),
        });
    }
    found
}

fn carrier(word: &str) -> On {
    match word {
        "workload" => On::Workload,
        "Deployment" => On::Deployment,
        "StatefulSet" => On::StatefulSet,
        "pod template" => On::Template,
        "claim" => On::Claim,
        "volume" | "released volume" => On::Volume,
        "namespace" => On::Namespace,
        "VolumeSnapshot" => On::Snapshot,
        "ConfigMap" => On::ConfigMap,
        "Secret" => On::Secret,
        "the operator's Deployment" => On::Operator,
        "the operator's Lease" => On::Lease,
        other => panic!("docs/marks.md lists a mark on {other:?}"),
    }
}

#[test]
fn the_page_of_marks_lists_what_the_registry_says() {
    let listed = listed();
    for row in &REGISTRY {
        let of_row: Vec<_> =
            listed.iter().filter(|one| one.marks.iter().any(|(key, _)| key == row.key)).collect();
        let mut on: Vec<_> = of_row.iter().flat_map(|one| one.on.clone()).collect();
        let mut expected = row.on.to_vec();
        on.sort_by_key(|on| format!("{on:?}"));
        expected.sort_by_key(|on| format!("{on:?}"));
        assert_eq!(on, expected, "what carries {}", row.key);
        for one in &of_row {
            assert_eq!(one.writer, row.writer, "who writes {}", row.key);
            let place = one.marks.iter().find(|(key, _)| key == row.key).map(|(_, place)| *place);
            assert_eq!(place, Some(row.place), "label or annotation: {}", row.key);
        }
        if let (Guard::Verb(verb) | Guard::DerivedWithVerb(verb), Writer::User) =
            (row.guard, row.writer)
        {
            let says = |one: &&Listed| one.meaning.contains(&format!("verb `{verb}`"));
            assert!(of_row.iter().any(says), "{} needs the verb {verb}", row.key);
        }
    }
}

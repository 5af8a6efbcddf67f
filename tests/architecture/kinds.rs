//! What a new kind of workload needs and the compiler does not ask for.

use std::{collections::BTreeSet, fs, path::Path};

use lockkeeper::{api::WorkloadKind, shell::streams::WATCHES};

fn chart(path: &str) -> String {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/lockkeeper");
    fs::read_to_string(chart.join(path)).unwrap()
}

/// The chart gives the right to watch and patch it, frees it when Lockkeeper is uninstalled, keeps
/// the operator from changing more of it than marks, and warns of what is not held.
#[test]
fn the_chart_knows_every_kind_of_workload() {
    for path in [
        "templates/_rules.tpl",
        "templates/uninstall.yaml",
        "admission/self-restraint.yaml",
        "admission/warnings.yaml",
    ] {
        let text = chart(path);
        for kind in WorkloadKind::ALL {
            assert!(text.contains(kind.plural()), "{path} does not name {}", kind.plural());
        }
    }
}

/// A policy may name every kind, and the webhook is sent those that can be held.
#[test]
fn the_schema_and_the_webhook_know_every_kind_of_workload() {
    let schema = chart("crds/upgradepolicies.yaml");
    let bound = format!("maxItems: {}", WorkloadKind::ALL.len());
    let kinds = schema.split("\n              kinds:\n").nth(1).unwrap();
    let field = kinds.lines().take_while(|line| line.starts_with("                "));
    assert!(field.map(str::trim).any(|line| line == bound), "the field kinds has not {bound}");
    let webhook = chart("templates/webhook.yaml");
    for kind in WorkloadKind::ALL.iter().filter(|kind| kind.can_be_held()) {
        assert!(webhook.contains(kind.plural()), "webhook.yaml does not name {}", kind.plural());
    }
}

#[test]
fn every_kind_of_workload_is_watched_and_no_kind_twice() {
    let plurals: BTreeSet<_> = WATCHES.iter().map(|watch| watch.plural).collect();
    assert_eq!(plurals.len(), WATCHES.len(), "streams are told apart by the plural alone");
    for kind in WorkloadKind::ALL {
        assert!(plurals.contains(kind.plural()), "{} are not watched", kind.plural());
    }
}

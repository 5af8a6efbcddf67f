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

#[test]
fn every_kind_of_workload_is_watched_and_no_kind_twice() {
    let plurals: BTreeSet<_> = WATCHES.iter().map(|watch| watch.plural).collect();
    assert_eq!(plurals.len(), WATCHES.len(), "streams are told apart by the plural alone");
    for kind in WorkloadKind::ALL {
        assert!(plurals.contains(kind.plural()), "{} are not watched", kind.plural());
    }
}

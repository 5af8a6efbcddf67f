//! The metrics that the operator serves are those that the pages name.

use std::{collections::BTreeSet, fs};

use crate::pages::{in_repository, page, pages};

/// The words of a text that begin as our metrics do.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| ["lockkeeper_", "process_"].iter().any(|prefix| word.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

/// A name without what says of which sample it is.
fn registered(name: &str) -> &str {
    ["_total", "_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

#[test]
fn every_metric_is_in_the_table_and_no_page_names_another() {
    // A counter with labels is served from its first count on; here all are to be known.
    let source = ["metrics", "of_policies", "reviews"].map(|file| {
        fs::read_to_string(in_repository(&format!("src/telemetry/{file}.rs"))).unwrap()
    });
    let source = source.concat();
    let names =
        source.split("registry.register(").skip(1).filter_map(|rest| rest.split('"').nth(1));
    let mut served: BTreeSet<_> = names.map(|name| format!("lockkeeper_{name}")).collect();
    // Those of the process have their names from elsewhere.
    let text = lockkeeper::telemetry::metrics::Metrics::default().text().unwrap();
    let of_process = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| name.starts_with("process_"));
    served.extend(of_process.map(str::to_owned));
    assert!(served.contains("process_resident_memory_bytes"), "{served:?}");
    assert!(served.contains("lockkeeper_workloads") && served.len() > 10, "{served:?}");
    let table: BTreeSet<_> = named(&page("docs/config.md").text)
        .iter()
        .map(|name| registered(name).to_owned())
        .collect();
    let missing: Vec<_> = served.difference(&table).collect();
    assert!(missing.is_empty(), "served, and not in docs/config.md: {missing:?}");
    for page in pages() {
        let unknown: Vec<_> = named(&page.text)
            .into_iter()
            .filter(|name| !served.contains(registered(name)))
            .collect();
        assert!(unknown.is_empty(), "{} names metrics that there are not: {unknown:?}", page.path);
    }
}

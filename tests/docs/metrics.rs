//! The metrics that the operator serves are those that the pages name.

use std::collections::BTreeSet;

use lockkeeper::telemetry::metrics::Metrics;

use crate::pages::{page, pages};

/// The words of a text that begin as our metrics do.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("lockkeeper_")).map(str::to_owned).collect()
}

/// The name that a metric is registered by: samples may end in a unit's suffix.
fn registered(name: &str) -> &str {
    ["_total", "_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[test]
fn every_metric_is_in_the_table_and_no_page_names_another() {
    let text = Metrics::default().text().unwrap();
    let served: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).map(str::to_owned).collect();
    assert!(served.contains("lockkeeper_workloads"), "{text}");
    let table: BTreeSet<_> = named(&page("docs/config.md").text).iter().map(|name| registered(name).to_owned()).collect();
    let missing: Vec<_> = served.difference(&table).collect();
    assert!(missing.is_empty(), "served, and not in docs/config.md: {missing:?}");
    for page in pages() {
        let unknown: Vec<_> = named(&page.text).into_iter().filter(|name| !served.contains(registered(name))).collect();
        assert!(unknown.is_empty(), "{} names metrics that there are not: {unknown:?}", page.path);
    }
}

//! Every word by which status, conditions, events and logs say why has its paragraph on the page
//! about trouble, and no other has one.

use std::collections::BTreeSet;

use lockkeeper::{
    api::{ConditionReason, Phase, Reason, Remark},
    core::{gates::blocker::GateName, notice::Event, volumes::finding::DangerReason},
};
use strum::VariantArray;

use crate::pages::page;

fn words<T: VariantArray + Copy + Into<&'static str>>() -> impl Iterator<Item = &'static str> {
    T::VARIANTS.iter().map(|&word| word.into())
}

#[test]
fn every_reason_in_the_code_has_its_paragraph() {
    let known: BTreeSet<_> = words::<Reason>()
        .chain(words::<Phase>())
        .chain(words::<ConditionReason>())
        .chain(words::<Remark>())
        .chain(words::<Event>())
        .chain(words::<DangerReason>())
        .collect();
    assert!(known.contains("ApprovalRequired") && known.contains("VolumeShadowed"), "{known:?}");
    let page = page("docs/troubleshooting.md");
    let headings = page.headings(3);
    let written: BTreeSet<_> = headings.iter().copied().collect();
    assert_eq!(headings.len(), written.len(), "a word has two paragraphs");
    let missing: Vec<_> = known.difference(&written).collect();
    let unknown: Vec<_> = written.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without a paragraph: {missing:?}; with one, but not in the code: {unknown:?}"
    );
    for word in &known {
        let (_, after) = page.text.split_once(&format!("\n### {word}\n")).unwrap();
        let paragraph = after.split("\n#").next().unwrap();
        assert!(
            paragraph.split_whitespace().count() > 8,
            "{word} has too little of a paragraph: {paragraph:?}"
        );
    }
}

/// The names of the gates, where pages list them, are all there are, in the order in which they are
/// asked.
#[test]
fn every_gate_is_listed_where_programs_read_of_them() {
    let all: Vec<_> = GateName::all().map(GateName::as_str).collect();
    let (last, first) = all.split_last().unwrap();
    let plain = format!("{} or {last}", first.join(", "));
    let first: Vec<_> = first.iter().map(|name| format!("`{name}`")).collect();
    let quoted = format!("{} or `{last}`", first.join(", "));
    for (path, list) in [("docs/reference.md", plain), ("docs/config.md", quoted)] {
        assert!(page(path).text.contains(&list), "{path} does not list {list}");
    }
}

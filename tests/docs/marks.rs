//! Our labels and annotations: the admission files, the constants of the code and the page that
//! lists them name the same.

use std::{collections::BTreeSet, fs};

use lockkeeper::api::marks::PREFIX;

use crate::pages::{in_repository, page};

/// The names that follow our prefix in a text, written plainly or as in a JSON pointer.
fn named(text: &str) -> BTreeSet<String> {
    let text = text.replace("lockkeeper.dev~1", PREFIX);
    let names = text.split(PREFIX).skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(rest.len());
        rest[..end].to_owned()
    });
    // Where the prefix stands alone, the name is put together in CEL. The group of our API ends
    // with a version.
    names.filter(|name| !name.is_empty() && name != "v").collect()
}

fn constants() -> BTreeSet<String> {
    let source = fs::read_to_string(in_repository("src/api/marks.rs")).unwrap();
    let constants =
        source.lines().filter(|line| line.starts_with("pub const") && !line.contains("PREFIX"));
    constants.flat_map(named).collect()
}

fn admission() -> BTreeSet<String> {
    let files = fs::read_dir(in_repository("charts/lockkeeper/admission")).unwrap();
    files.flat_map(|file| named(&fs::read_to_string(file.unwrap().path()).unwrap())).collect()
}

#[test]
fn every_mark_in_the_admission_policies_is_one_of_the_code() {
    let (admission, constants) = (admission(), constants());
    assert!(
        admission.contains("hold") && constants.contains("hold"),
        "{admission:?} {constants:?}"
    );
    // The type of a Secret, and no mark.
    let unknown: Vec<_> =
        admission.difference(&constants).filter(|name| *name != "digest-key").collect();
    assert!(
        unknown.is_empty(),
        "in charts/lockkeeper/admission, but not in src/api/marks.rs: {unknown:?}"
    );
}

#[test]
fn every_mark_of_the_code_is_listed_for_users() {
    let (constants, listed) = (constants(), named(&page("docs/marks.md").text));
    assert_eq!(constants, listed, "src/api/marks.rs and docs/marks.md name the same");
}

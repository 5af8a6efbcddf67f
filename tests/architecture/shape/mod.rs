//! Numbers that say how well the code can be followed. They may get better, not worse: `make shape`
//! prints them beside what they are to become, and the limits are in [`limits`].

mod limits;
mod measures;
mod walk;

use std::path::Path;

use self::{
    limits::LIMITS,
    measures::{Measure, measures},
};
use crate::graph::{Segments, module_of};

/// A file of the sources, without its tests where [`measures`] says so.
pub struct File {
    /// Below `src/core`, such as `gates/app`; below `src` for the others.
    name: String,
    /// From the root of the package.
    path: String,
    module: Segments,
    text: String,
    syntax: syn::File,
}

/// The files of a folder of `src`, but those that are tests.
fn files(folder: &str) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<_> = crate::sources(folder)
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .filter(|(path, _)| !path.parent().is_some_and(|folder| folder.ends_with("tests")))
        .map(|(path, text)| {
            let module = module_of(&path);
            let above = usize::from(folder == "core");
            File {
                name: module.get(above..).unwrap_or_default().join("/"),
                path: path.strip_prefix(root).unwrap().to_string_lossy().into_owned(),
                module,
                syntax: syn::parse_file(&text).unwrap(),
                text,
            }
        })
        .collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Tenths of a percent are written as percent.
fn shown(measure: &Measure, number: usize) -> String {
    match measure.tenths_of_percent {
        true => format!("{}.{} %", number / 10, number % 10),
        false => number.to_string(),
    }
}

#[test]
fn no_number_gets_worse() {
    let measures = measures();
    let show = std::env::var("SHOW").unwrap_or_default();
    let mut wrong = Vec::new();
    println!("\n{:<15} {:>8} {:>8} {:>8}", "", "now", "limit", "target");
    for measure in &measures {
        let Measure { name, now, target, slack, .. } = *measure;
        let limit = LIMITS.iter().find(|(one, _)| *one == name).map(|(_, limit)| *limit);
        let limit = limit.unwrap_or_else(|| panic!("add (\"{name}\", {now}) to LIMITS"));
        println!(
            "{name:<15} {:>8} {:>8} {:>8}  {}",
            shown(measure, now),
            shown(measure, limit),
            shown(measure, target),
            measure.what
        );
        let change = || {
            format!(
                "in tests/architecture/shape/limits.rs change (\"{name}\", {limit}) to (\"{name}\", {now})"
            )
        };
        if now > limit {
            let places = measure.places.join("\n  ");
            wrong.push(format!(
                "{name} is {now}, and {limit} at most: {}.\n  {places}\nIf there is no better way, {}, and explain it in the commit.",
                measure.what,
                change()
            ));
        } else if now + slack < limit {
            wrong.push(format!("{name} is {now}, better than its limit: {}", change()));
        }
        if name == show {
            measure.places.iter().for_each(|place| println!("    {place}"));
        }
    }
    for (name, _) in LIMITS {
        let known = measures.iter().any(|measure| measure.name == name);
        assert!(known, "nothing measures {name}: take it off LIMITS");
    }
    println!("\nmake shape SHOW=NAME prints the places of one of them.\n");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

//! The pages as a book: all are in it, and in the built one every link leads somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::pages::{page, pages};

#[test]
fn every_page_is_in_the_summary_and_links_stay_in_the_book() {
    let summary = page("docs/SUMMARY.md").text;
    let listed: BTreeSet<_> = summary
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|file| format!("docs/{file}"))
        .collect();
    let pages = pages();
    let of_the_book = pages
        .iter()
        .filter(|page| page.path.starts_with("docs/") && page.path != "docs/SUMMARY.md");
    let written: BTreeSet<_> = of_the_book.clone().map(|page| page.path.clone()).collect();
    assert_eq!(listed, written, "docs/SUMMARY.md lists the pages");
    for page in of_the_book {
        let depth = page.path.matches('/').count() - 1;
        let up = format!("]({}", "../".repeat(depth + 1));
        assert!(
            !page.text.contains(&up),
            "{} links to a file outside of docs/, which the book does not have",
            page.path
        );
    }
}

fn html_files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|extension| extension == "html") => {
                    found.push(path)
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
#[ignore = "needs the built book: make book"]
fn every_link_in_the_built_book_leads_somewhere() {
    let folder = PathBuf::from(
        std::env::var("LOCKKEEPER_BOOK").expect("LOCKKEEPER_BOOK is the folder of the built book"),
    );
    let (mut seen, mut broken) = (0, Vec::new());
    for file in html_files(&folder).iter().filter(|file| !file.ends_with("404.html")) {
        let text = fs::read_to_string(file).unwrap();
        let attributes =
            [" href=\"", " src=\""].into_iter().flat_map(|attribute| text.split(attribute).skip(1));
        for target in attributes.filter_map(|rest| rest.split('"').next()) {
            if target.is_empty() || target.contains(':') || target.starts_with("//") {
                continue;
            }
            seen += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = path.split('?').next().unwrap_or_default();
            let other =
                if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let leads = other.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&other)
                        .is_ok_and(|text| text.contains(&format!("id=\"{anchor}\""))));
            if !leads {
                broken.push(format!("{}: {target}", file.strip_prefix(&folder).unwrap().display()));
            }
        }
    }
    assert!(seen > 500, "there are links: {seen}");
    assert!(broken.is_empty(), "{broken:#?}");
    let searched = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("searchindex"));
    assert!(searched, "the book can be searched");
}

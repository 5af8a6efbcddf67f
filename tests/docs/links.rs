//! Links between pages lead somewhere.

use std::{fs, path::Path};

use crate::pages::{Page, in_repository, pages};

/// The targets of the links of a line, `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let letter =
        |c: char| (c.is_alphanumeric() || c == '-' || c == '_').then(|| c.to_ascii_lowercase());
    heading.chars().filter_map(|c| if c == ' ' { Some('-') } else { letter(c) }).collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let pages = pages();
    let (mut seen, mut broken) = (0, Vec::new());
    for page in &pages {
        let folder = Path::new(&page.path).parent().unwrap();
        for target in page.lines().filter(|(_, fenced)| !fenced).flat_map(|(line, _)| targets(line))
        {
            if target.contains("://") {
                continue;
            }
            seen += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                in_repository(&page.path)
            } else {
                in_repository("").join(folder).join(file)
            };
            let there = fs::canonicalize(&path).is_ok();
            let leads = heading.is_empty() || {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let other = Page { path: target.to_owned(), text };
                (1..5).any(|level| other.headings(level).iter().any(|one| anchor(one) == heading))
            };
            if !there || !leads {
                broken.push(format!("{}: {target}", page.path));
            }
        }
    }
    assert!(seen > 20, "there are links: {seen}");
    assert!(broken.is_empty(), "{broken:#?}");
}

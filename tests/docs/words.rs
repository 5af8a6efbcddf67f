//! The pages are short, and written in words that one need not read twice.

use std::fs;

use crate::pages::{Page, in_repository, page, pages};

/// Words and phrases that are not plain English, each with a better one.
const NOT_PLAIN: [(&str, &str); 17] = [
    ("anew", "again"),
    ("amiss", "wrong, failed"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("whoever", "anyone who, users who"),
    ("meanwhile", "in the meantime; or leave it out"),
    ("no more", "no longer"),
    ("waits since", "has been waiting since"),
    ("put back", "reverted, restored"),
    ("puts back", "reverts, restores"),
    ("nobody's", "say what it is"),
    ("how-manieth", "the number of"),
    ("goes through", "is released, rolls out"),
    ("befalls", "happens to"),
    ("for ever", "indefinitely"),
    ("then and there", "immediately"),
];

/// What users read besides the pages, as pages.
fn read_by_users() -> Vec<Page> {
    let other = [
        "charts/lockkeeper/values.yaml",
        "charts/lockkeeper/templates/NOTES.txt",
        "charts/lockkeeper/crds/upgradepolicies.yaml",
    ];
    let other = other.map(|path| Page {
        path: path.to_owned(),
        text: fs::read_to_string(in_repository(path)).unwrap(),
    });
    pages().into_iter().chain(other).collect()
}

/// The prose of a page: without blocks of code, and without what stands in backquotes.
fn prose(page: &Page) -> impl Iterator<Item = (usize, String)> {
    page.lines().enumerate().filter(|(_, (_, fenced))| !fenced).map(|(number, (line, _))| {
        let outside =
            line.split('`').enumerate().filter(|(part, _)| part % 2 == 0).map(|(_, text)| text);
        (number + 1, outside.collect::<Vec<_>>().join("`"))
    })
}

fn has_phrase(line: &str, phrase: &str) -> bool {
    let line = line.to_lowercase().replace('_', " ");
    let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    line.match_indices(phrase).any(|(at, _)| {
        ends(line[..at].chars().next_back()) && ends(line[at + phrase.len()..].chars().next())
    })
}

/// What engineers read: the code and its comments.
fn sources() -> Vec<Page> {
    let mut folders: Vec<_> = ["src", "tests", "benches", "examples", "charts", "config", "demo"]
        .map(in_repository)
        .into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let kind =
                path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if ["rs", "yaml", "tpl", "sh"].contains(&kind) && !path.ends_with(file!()) {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Page { path: path.display().to_string(), text });
            }
        }
    }
    found
}

#[test]
fn the_pages_and_the_code_use_plain_words() {
    let mut found = Vec::new();
    for page in read_by_users().into_iter().chain(sources()) {
        for (number, line) in prose(&page) {
            for (phrase, better) in NOT_PLAIN.iter().filter(|(phrase, _)| has_phrase(&line, phrase))
            {
                found.push(format!("{}:{number}: {phrase:?}: {better}", page.path));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A sentence has at most so many words. What stands in backquotes is one.
const LONGEST: usize = 30;

/// The parts of a page that no sentence goes beyond: paragraphs, items of lists, cells of tables.
/// Each with the line where it begins.
fn passages(page: &Page) -> Vec<(usize, String)> {
    let mut passages = vec![(1, String::new())];
    for (number, (line, fenced)) in page.lines().enumerate() {
        let line = line.trim();
        let item = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let begins = ["- ", "* ", ". ", "#", "|", "<"].iter().any(|start| item.starts_with(start));
        if begins || fenced || line.is_empty() {
            passages.push((number + 1, String::new()));
        }
        match passages.last_mut() {
            Some((_, passage)) if !fenced && !line.starts_with('#') => {
                *passage += &format!("{line} ")
            }
            _ => {}
        }
    }
    let parts = |(number, passage): (usize, String)| {
        let code = passage
            .split('`')
            .enumerate()
            .map(|(part, text)| if part % 2 == 0 { text } else { "code" });
        let text = code.collect::<String>().replace("<br>", "|");
        text.split('|').map(|cell| (number, cell.to_owned())).collect::<Vec<_>>()
    };
    passages.into_iter().flat_map(parts).collect()
}

#[test]
fn no_sentence_of_the_pages_is_too_long() {
    let mut found = Vec::new();
    for page in pages() {
        for (number, passage) in passages(&page) {
            for sentence in
                passage.replace("? ", ". ").replace(".** ", ". ").replace(".* ", ". ").split(". ")
            {
                let words = sentence
                    .split_whitespace()
                    .filter(|word| word.contains(char::is_alphanumeric))
                    .count();
                if words > LONGEST {
                    found.push(format!("{}:{number}: {words} words: {sentence}", page.path));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_readme_is_short() {
    let words = page("README.md").text.split_whitespace().count();
    assert!(words < 900, "{words} words");
}

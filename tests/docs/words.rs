//! The pages are short, and written in words that one need not read twice.

use std::fs;

use crate::pages::{Page, in_repository, page, pages};

/// Words and phrases that are not plain English, each with a better one.
const NOT_PLAIN: [(&str, &str); 22] = [
    ("anew", "again"),
    ("amiss", "wrong, failed"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("whoever", "anyone who, users who"),
    ("meanwhile", "in the meantime; or leave it out"),
    ("no more", "no longer"),
    ("any more", "any longer; or leave it out"),
    ("waits since", "has been waiting since"),
    ("put back", "reverted, restored"),
    ("puts back", "reverts, restores"),
    ("nobody's", "say what it is"),
    ("how-manieth", "the number of"),
    ("let through", "released"),
    ("lets through", "releases"),
    ("goes through", "is released, rolls out"),
    ("go through", "be released, roll out"),
    ("went through", "was released, rolled out"),
    ("befalls", "happens to"),
    ("for ever", "indefinitely"),
    ("then and there", "immediately"),
];

/// A sentence with more words is split.
const LONGEST: usize = 30;

/// What users read besides the pages, as pages.
fn read_by_users() -> Vec<Page> {
    let other = ["charts/lockkeeper/values.yaml", "charts/lockkeeper/templates/NOTES.txt", "charts/lockkeeper/crds/upgradepolicies.yaml"];
    let other = other.map(|path| Page { path: path.to_owned(), text: fs::read_to_string(in_repository(path)).unwrap() });
    pages().into_iter().chain(other).collect()
}

/// The prose of a page: without blocks of code, and without what stands in backquotes.
fn prose(page: &Page) -> impl Iterator<Item = (usize, String)> {
    page.lines().enumerate().filter(|(_, (_, fenced))| !fenced).map(|(number, (line, _))| {
        let outside = line.split('`').enumerate().filter(|(part, _)| part % 2 == 0).map(|(_, text)| text);
        (number + 1, outside.collect::<Vec<_>>().join("`"))
    })
}

fn has_phrase(line: &str, phrase: &str) -> bool {
    let line = line.to_lowercase();
    let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    line.match_indices(phrase).any(|(at, _)| ends(line[..at].chars().next_back()) && ends(line[at + phrase.len()..].chars().next()))
}

#[test]
fn the_pages_use_plain_words() {
    let mut found = Vec::new();
    for page in read_by_users() {
        for (number, line) in prose(&page) {
            for (phrase, better) in NOT_PLAIN.iter().filter(|(phrase, _)| has_phrase(&line, phrase)) {
                found.push(format!("{}:{number}: {phrase:?}: {better}", page.path));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The sentences of a page. A paragraph, an entry of a list and a cell of a table each end one.
fn sentences(page: &Page) -> Vec<(usize, String)> {
    let (mut found, mut open): (Vec<(usize, String)>, Option<(usize, String)>) = (Vec::new(), None);
    for (number, (line, fenced)) in page.lines().enumerate() {
        let text = line.trim();
        let begins = fenced || text.is_empty() || text.starts_with(['#', '|', '-', '*', '<']) || text.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
        if begins {
            found.extend(open.take());
        }
        if fenced || text.is_empty() || text.starts_with("|---") {
            continue;
        }
        let cells: Vec<_> = if text.starts_with('|') { text.trim_matches('|').split(" | ").collect() } else { vec![text] };
        match (&mut open, cells.as_slice()) {
            (Some((_, sentence)), [one]) => {
                sentence.push(' ');
                sentence.push_str(one);
            }
            (_, cells) if text.starts_with('|') => found.extend(cells.iter().map(|cell| (number + 1, (*cell).to_owned()))),
            (_, cells) => open = cells.first().map(|one| (number + 1, (*one).to_owned())),
        }
    }
    found.extend(open);
    let split = |(number, text): (usize, String)| {
        let marked = [". ", "? ", "! ", ": "].iter().fold(text, |text, end| text.replace(end, "\u{0}"));
        marked.split('\u{0}').map(|part| (number, part.to_owned())).collect::<Vec<_>>()
    };
    found.into_iter().flat_map(split).collect()
}

#[test]
fn no_sentence_of_the_pages_is_longer_than_thirty_words() {
    let mut long = Vec::new();
    for page in pages() {
        for (number, sentence) in sentences(&page) {
            // What stands in backquotes is one word.
            let outside = sentence.split('`').step_by(2).collect::<Vec<_>>().join(" code ");
            let words = outside.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
            if words > LONGEST {
                long.push(format!("{}:{number}: {words} words: {sentence}", page.path));
            }
        }
    }
    assert!(long.is_empty(), "{} sentences\n{}", long.len(), long.join("\n"));
}

#[test]
fn the_readme_is_short() {
    let words = page("README.md").text.split_whitespace().count();
    assert!(words < 900, "{words} words");
}

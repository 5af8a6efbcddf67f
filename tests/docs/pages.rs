//! The pages: those at the top of the repository and everything under docs/, and the blocks of code
//! in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file in the repository.
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Its path in the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A fenced block of code.
#[derive(Debug)]
pub struct Block {
    /// Where it stands: the page and the line of its fence.
    pub place: String,
    /// What follows the fence, such as `yaml` or `yaml values`.
    pub info: String,
    /// The lines between the fences.
    pub text: String,
    /// The text of the section that it stands in, up to the next heading.
    pub section: String,
}

/// All pages.
pub fn pages() -> Vec<Page> {
    let mut found: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(in_repository).into();
    let mut folders = vec![in_repository("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path),
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.sort();
    assert!(found.len() > 3, "docs/ has pages");
    let page = |path: &PathBuf| Page {
        path: path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string(),
        text: fs::read_to_string(path).unwrap(),
    };
    found.iter().map(page).collect()
}

/// One page, by its path in the repository.
pub fn page(path: &str) -> Page {
    pages()
        .into_iter()
        .find(|page| page.path == path)
        .unwrap_or_else(|| panic!("there is no page {path}"))
}

impl Page {
    /// Its lines, each with whether it belongs to a fenced block.
    pub fn lines(&self) -> impl Iterator<Item = (&str, bool)> {
        let mut fenced = false;
        self.text.lines().map(move |line| {
            let fence = line.trim_start().starts_with("```");
            let inside = fenced || fence;
            fenced ^= fence;
            (line, inside)
        })
    }

    /// The text of its headings of this level.
    pub fn headings(&self, level: usize) -> Vec<&str> {
        let mark = format!("{} ", "#".repeat(level));
        self.lines()
            .filter(|(_, fenced)| !fenced)
            .filter_map(|(line, _)| line.strip_prefix(&mark))
            .collect()
    }

    /// Its fenced blocks.
    pub fn blocks(&self) -> Vec<Block> {
        let mut sections = vec![String::new()];
        let mut blocks: Vec<(usize, Block)> = Vec::new();
        let mut open = false;
        for (number, (line, fenced)) in self.lines().enumerate() {
            if line.starts_with('#') && !fenced {
                sections.push(String::new());
            }
            if let Some(section) = sections.last_mut() {
                *section += line;
                section.push('\n');
            }
            match (fenced, open, line.trim_start().strip_prefix("```")) {
                (true, false, Some(info)) => {
                    let place = format!("{}:{}", self.path, number + 1);
                    let block = Block {
                        place,
                        info: info.trim().to_owned(),
                        text: String::new(),
                        section: String::new(),
                    };
                    blocks.push((sections.len() - 1, block));
                    open = true;
                }
                (true, true, Some(_)) => open = false,
                (true, true, None) => {
                    if let Some((_, block)) = blocks.last_mut() {
                        block.text += line;
                        block.text.push('\n');
                    }
                }
                _ => {}
            }
        }
        let told = |(section, block): (usize, Block)| Block {
            section: sections[section].clone(),
            ..block
        };
        blocks.into_iter().map(told).collect()
    }
}

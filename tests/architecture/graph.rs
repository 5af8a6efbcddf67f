//! The files of the core form a ladder: each refers to files below it only, so that a reader who
//! goes up meets nothing that was not explained before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::visit::{self, Visit};

use crate::sources;

/// From the ground up. What a file refers to is on its own floor or below. An entry is a file or a
/// folder; the longest that fits counts.
const FLOORS: [&[&str]; 6] = [
    // What was seen, as plain data.
    &["", "calendar", "digest", "judge", "lease", "observed", "reach"],
    // What follows from it.
    &[
        "additions",
        "config/change",
        "config/desired",
        "config/freshness",
        "config/record",
        "config/references",
        "conversation",
        "decision",
        "edits",
        "gates/blocker",
        "gates/words",
        "governs",
        "history/chain",
        "history/words",
        "hold/authors",
        "hold/enforced",
        "hold/governance",
        "hold/judges",
        "hold/probe",
        "hold/state",
        "hold/volatile",
        "memory",
        "notice",
        "offline/run",
        "report",
        "request",
        "rollout/limits",
        "rollout/outcome",
        "rollout/progress",
        "rollout/revisions",
        "rollout/slots",
        "rollout/turn",
        "rollout/words",
        "volumes/finding",
        "volumes/scene",
        "volumes/usage",
        "words",
        "writers",
    ],
    // One workload with all of that, and what is found of it.
    &["gates/change", "gates/gate", "gates/talk", "planned", "subject"],
    // The rules.
    &[
        "conditions",
        "config",
        "gates",
        "history",
        "hold",
        "maintenance",
        "offline",
        "others",
        "rest",
        "rollout",
        "unread",
        "volumes",
    ],
    // A whole workload.
    &["plan"],
    // A whole namespace.
    &["arrange"],
];

pub type Segments = Vec<String>;

/// The paths in a file that lead to modules of the crate, each from the crate's root.
pub struct Paths<'a> {
    module: Segments,
    modules: &'a BTreeSet<Segments>,
    pub imports: BTreeMap<String, Segments>,
    found: BTreeSet<Segments>,
}

impl<'a> Paths<'a> {
    /// Those of this file, which is this module.
    pub fn of(module: Segments, modules: &'a BTreeSet<Segments>, file: &syn::File) -> Self {
        let (imports, found) = (BTreeMap::new(), BTreeSet::new());
        let mut paths = Self { module, modules, imports, found };
        paths.visit_file(file);
        paths
    }

    /// The path from the root of the crate; none for what is no part of it, as far as is known.
    pub fn absolute(&self, path: &[String]) -> Option<Segments> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len() - 1].to_vec(),
            name => match self.imports.get(name) {
                Some(import) => import.clone(),
                None => {
                    let child = [self.module.as_slice(), std::slice::from_ref(first)].concat();
                    self.modules.contains(&child).then_some(child)?
                }
            },
        };
        for segment in rest {
            match segment.as_str() {
                "super" => drop(base.pop()),
                _ => base.push(segment.clone()),
            }
        }
        Some(base)
    }

    fn import(&mut self, tree: &syn::UseTree, before: &[String]) {
        let and = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.import(&path.tree, &and(&path.ident)),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.import(item, before));
            }
            syn::UseTree::Glob(_) => self.note(before, None),
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.note(before, before.last().cloned());
            }
            syn::UseTree::Name(name) => self.note(&and(&name.ident), Some(name.ident.to_string())),
            syn::UseTree::Rename(rename) => {
                self.note(&and(&rename.ident), Some(rename.rename.to_string()));
            }
        }
    }

    fn note(&mut self, path: &[String], name: Option<String>) {
        let Some(path) = self.absolute(path) else { return };
        self.found.insert(path.clone());
        if let Some(name) = name {
            self.imports.insert(name, path);
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(module) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1
            && let Some(path) = self.absolute(&segments)
        {
            self.found.insert(path);
        }
        visit::visit_path(self, path);
    }
}

/// Whether a module is built for tests only.
pub fn is_test(module: &syn::ItemMod) -> bool {
    module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg"))
}

/// The module of a file: `src/core/gates/mod.rs` is `core::gates`.
pub fn module_of(path: &Path) -> Segments {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let relative = path.strip_prefix(source).unwrap().with_extension("");
    let mut segments: Segments =
        relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    segments.pop_if(|last| last == "mod");
    segments
}

/// By file of the core, the files of the core that it refers to.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = sources("core");
    files.retain(|(path, _)| !path.ends_with("tests.rs"));
    let modules: BTreeSet<_> = files.iter().map(|(path, _)| module_of(path)).collect();
    let name = |module: &[String]| module[1..].join("/");
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in &files {
        assert!(fs::exists(path).unwrap());
        let module = module_of(path);
        let paths = Paths::of(module.clone(), &modules, &syn::parse_file(text).unwrap());
        let file_of = |path: &Segments| {
            let lengths = (1..path.len()).rev();
            let mut modules_above = lengths.map(|length| path[..length].to_vec());
            modules_above.find(|above| modules.contains(above))
        };
        // The path to a module itself refers to nothing in it.
        let items = paths.found.iter().filter(|path| !modules.contains(*path));
        let mut below: BTreeSet<_> = items.filter_map(file_of).collect();
        below.remove(&module);
        graph.insert(name(&module), below.iter().map(|module| name(module)).collect());
    }
    assert!(graph["plan/config"].contains("config/roll"), "paths are found");
    graph
}

#[test]
fn no_file_of_the_core_refers_to_one_that_refers_to_it() {
    let mut graph = graph();
    loop {
        let is_ground = |file: &String, below: &BTreeSet<String>, graph: &BTreeMap<_, _>| {
            below.iter().all(|one| !graph.contains_key(one) || one == file)
        };
        let ground: Vec<_> = graph
            .iter()
            .filter(|(file, below)| is_ground(file, below, &graph))
            .map(|(file, _)| file.clone())
            .collect();
        if ground.is_empty() {
            break;
        }
        ground.iter().for_each(|file| drop(graph.remove(file)));
    }
    let files: BTreeSet<_> = graph.keys().cloned().collect();
    for below in graph.values_mut() {
        below.retain(|file| files.contains(file));
    }
    assert!(graph.is_empty(), "these files refer to each other in a circle: {graph:#?}");
}

fn floor(file: &str) -> usize {
    let fits = |entry: &str| {
        file == entry
            || file
                .strip_prefix(entry)
                .is_some_and(|rest| !entry.is_empty() && rest.starts_with('/'))
    };
    let entries = (0..).zip(FLOORS).flat_map(|(floor, entries)| {
        entries.iter().filter(|entry| fits(entry)).map(move |entry| (entry.len(), floor))
    });
    entries.max().unwrap_or_else(|| panic!("say on which floor {file} is")).1
}

#[test]
fn no_file_of_the_core_refers_to_a_floor_above_its_own() {
    let graph = graph();
    for entry in FLOORS.concat() {
        let stands = graph.keys().any(|file| file.starts_with(entry));
        assert!(stands, "{entry} is no file or folder of the core");
    }
    let above: Vec<_> = graph
        .iter()
        .flat_map(|(file, below)| below.iter().map(move |one| (file, one)))
        .filter(|(file, one)| floor(file) < floor(one))
        .collect();
    assert!(above.is_empty(), "these refer to a floor above their own: {above:#?}");
}

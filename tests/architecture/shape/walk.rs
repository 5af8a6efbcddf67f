//! The trip of a workload through the files of the core.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::File;
use crate::graph::{Paths, Segments, is_test};

/// The function where the trip begins. Its first argument is what is followed.
const START: [&str; 3] = ["core", "plan", "plan"];

/// A function that takes what is followed.
struct Function<'a> {
    file: &'a str,
    /// The type that it belongs to.
    owner: Option<String>,
    /// How many arguments a call has, `self` not counted.
    arguments: usize,
    /// The names of those that are followed, and the indices of all.
    followed: BTreeSet<String>,
    body: &'a syn::Block,
}

struct Trip<'a> {
    files: BTreeMap<&'a str, Paths<'a>>,
    /// The type that is followed.
    subject: String,
    functions: BTreeMap<Segments, Function<'a>>,
    /// By type and name, for calls that name the type.
    of_types: BTreeMap<(String, String), Segments>,
    /// By name, for calls of methods.
    methods: BTreeMap<String, Vec<Segments>>,
    constants: BTreeMap<Segments, (&'a str, &'a syn::Expr)>,
    visits: Vec<String>,
    /// The functions and constants that were looked into.
    followed: BTreeSet<Segments>,
}

/// Which files a workload enters, in order, when the function [`START`] judges it.
///
/// This follows every call in every branch, in the order of the source, of a function that takes the
/// type of the first argument of `START` or a struct that holds one. A file is entered when such a
/// function in it is called, and once more when the function uses the argument after a call that
/// led elsewhere. A function that is called again is entered again, but looked into only once. Paths
/// are resolved through `use`, methods by their name where only one has it. Functions in tables of
/// constants count where the table is used. What the type tells of itself is data, and no visit.
pub fn visits(files: &[File]) -> Vec<String> {
    let modules: BTreeSet<Segments> = files.iter().map(|file| file.module.clone()).collect();
    let mut trip = Trip {
        files: BTreeMap::new(),
        subject: String::new(),
        functions: BTreeMap::new(),
        of_types: BTreeMap::new(),
        methods: BTreeMap::new(),
        constants: BTreeMap::new(),
        visits: Vec::new(),
        followed: BTreeSet::new(),
    };
    let mut items = Items::default();
    for file in files {
        let paths = Paths::of(file.module.clone(), &modules, &file.syntax);
        trip.files.insert(&file.name, paths);
        items.file(file);
    }
    let start: Segments = START.map(str::to_owned).into();
    let first = items.functions.iter().find(|function| function.path == start);
    let first = first.unwrap_or_else(|| panic!("START names no function: {start:?}"));
    let followed = match first.signature.inputs.first() {
        Some(syn::FnArg::Typed(argument)) => type_name(&argument.ty),
        _ => None,
    };
    let followed = followed.unwrap();
    let holders = items.holders(&followed);
    trip.subject = followed;
    for function in items.functions {
        trip.add(function, &holders);
    }
    trip.constants = items.constants;
    trip.enter(&start);
    trip.visits
}

/// The name of a type, without reference and path.
fn type_name(of: &syn::Type) -> Option<String> {
    match of {
        syn::Type::Reference(reference) => type_name(&reference.elem),
        syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        _ => None,
    }
}

/// A function with its whole path.
struct Found<'a> {
    file: &'a str,
    path: Segments,
    owner: Option<String>,
    signature: &'a syn::Signature,
    body: &'a syn::Block,
}

#[derive(Default)]
struct Items<'a> {
    functions: Vec<Found<'a>>,
    /// Their names, files, and the names of their fields' types.
    structs: Vec<(String, &'a str, Vec<String>)>,
    constants: BTreeMap<Segments, (&'a str, &'a syn::Expr)>,
}

impl<'a> Items<'a> {
    fn file(&mut self, file: &'a File) {
        self.items(&file.name, &file.module, &file.syntax.items);
    }

    fn items(&mut self, file: &'a str, module: &[String], items: &'a [syn::Item]) {
        let below = |name: &syn::Ident| [module, &[name.to_string()]].concat();
        for item in items {
            match item {
                syn::Item::Fn(function) => self.functions.push(Found {
                    file,
                    path: below(&function.sig.ident),
                    owner: None,
                    signature: &function.sig,
                    body: &function.block,
                }),
                syn::Item::Impl(of) => {
                    let Some(owner) = type_name(&of.self_ty) else { continue };
                    for item in &of.items {
                        let syn::ImplItem::Fn(method) = item else { continue };
                        let path =
                            [module, &[owner.clone(), method.sig.ident.to_string()]].concat();
                        self.functions.push(Found {
                            file,
                            path,
                            owner: Some(owner.clone()),
                            signature: &method.sig,
                            body: &method.block,
                        });
                    }
                }
                syn::Item::Struct(one) => {
                    let types = one.fields.iter().filter_map(|field| type_name(&field.ty));
                    self.structs.push((one.ident.to_string(), file, types.collect()));
                }
                syn::Item::Const(one) => {
                    self.constants.insert(below(&one.ident), (file, &one.expr));
                }
                syn::Item::Static(one) => {
                    self.constants.insert(below(&one.ident), (file, &one.expr));
                }
                syn::Item::Mod(inner) if !is_test(inner) => {
                    let content = inner.content.iter().map(|(_, items)| items);
                    content.for_each(|items| self.items(file, &below(&inner.ident), items));
                }
                _ => {}
            }
        }
    }

    /// The type, and the structs that hold one.
    fn holders(&self, followed: &str) -> BTreeSet<String> {
        let mut holders = BTreeSet::from([followed.to_owned()]);
        loop {
            let new = self
                .structs
                .iter()
                .filter(|(_, _, types)| types.iter().any(|one| holders.contains(one)));
            let all: BTreeSet<_> =
                new.map(|(name, ..)| name.clone()).chain(holders.clone()).collect();
            if all.len() == holders.len() {
                return holders;
            }
            holders = all;
        }
    }
}

impl<'a> Trip<'a> {
    /// Adds a function, if it takes what is followed.
    fn add(&mut self, found: Found<'a>, holders: &BTreeSet<String>) {
        let mut followed = BTreeSet::new();
        let mut arguments = 0;
        let mut is_method = false;
        for input in &found.signature.inputs {
            match input {
                syn::FnArg::Receiver(_) => {
                    is_method = true;
                    if found.owner.as_ref().is_some_and(|owner| holders.contains(owner)) {
                        followed.insert("self".to_owned());
                    }
                }
                syn::FnArg::Typed(argument) => {
                    arguments += 1;
                    let name = match &*argument.pat {
                        syn::Pat::Ident(name) => Some(name.ident.to_string()),
                        _ => None,
                    };
                    let of = type_name(&argument.ty).map(|name| match (&*name, &found.owner) {
                        ("Self", Some(owner)) => owner.clone(),
                        _ => name,
                    });
                    if of.is_some_and(|of| holders.contains(&of)) {
                        followed.extend(name);
                    }
                }
            }
        }
        if followed.is_empty() {
            return;
        }
        let name = found.signature.ident.to_string();
        if let Some(owner) = &found.owner {
            self.of_types.insert((owner.clone(), name.clone()), found.path.clone());
        }
        if is_method {
            self.methods.entry(name).or_default().push(found.path.clone());
        }
        let Found { file, path, owner, body, .. } = found;
        self.functions.insert(path, Function { file, owner, arguments, followed, body });
    }

    fn note(&mut self, file: &str) {
        if self.visits.last().is_none_or(|last| last != file) {
            self.visits.push(file.to_owned());
        }
    }

    fn enter(&mut self, path: &Segments) {
        let file = self.functions[path].file;
        let is_data = self.functions[path].owner.as_ref() == Some(&self.subject);
        if !is_data {
            self.note(file);
        }
        if !self.followed.insert(path.clone()) {
            return;
        }
        let Function { body, ref owner, ref followed, .. } = self.functions[path];
        let (owner, followed) = (owner.clone(), followed.clone());
        Body { trip: self, file, owner, followed, is_data }.visit_block(body);
    }

    /// The whole path of what is named in a file, also where a module passes it on.
    fn resolve(&self, file: &str, segments: &[String]) -> Option<Segments> {
        let paths = &self.files[file];
        let mut path = match paths.absolute(segments) {
            Some(path) => path,
            None => [module_of(file).as_slice(), segments].concat(),
        };
        for _ in 0..4 {
            if self.functions.contains_key(&path) || self.constants.contains_key(&path) {
                return Some(path);
            }
            let (name, module) = path.split_last()?;
            if let Some(owner) = module.last()
                && let Some(method) = self.of_types.get(&(owner.clone(), name.clone()))
            {
                return Some(method.clone());
            }
            let passed_on = self.files.get(&*module.get(1..)?.join("/"))?.imports.get(name)?;
            path = passed_on.clone();
        }
        None
    }
}

/// The module of a file of the core.
fn module_of(file: &str) -> Segments {
    let parts = file.split('/').filter(|part| !part.is_empty());
    std::iter::once("core").chain(parts).map(str::to_owned).collect()
}

/// What a function does with what is followed.
struct Body<'t, 'a> {
    trip: &'t mut Trip<'a>,
    file: &'a str,
    owner: Option<String>,
    followed: BTreeSet<String>,
    /// What the subject tells of itself is no visit of its file.
    is_data: bool,
}

impl<'ast> Visit<'ast> for Body<'_, '_> {
    fn visit_item(&mut self, _: &'ast syn::Item) {}

    /// The arguments come first, then the call.
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        call.args.iter().for_each(|argument| self.visit_expr(argument));
        self.visit_expr(&call.func);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        visit::visit_expr_method_call(self, call);
        let Some(named) = self.trip.methods.get(&call.method.to_string()) else { return };
        let of_self = |path: &&Segments| {
            let is_self =
                matches!(&*call.receiver, syn::Expr::Path(path) if path.path.is_ident("self"));
            is_self && self.trip.functions[*path].owner == self.owner
        };
        let fitting = |path: &&Segments| self.trip.functions[*path].arguments == call.args.len();
        let mut candidates = named.iter().filter(fitting);
        let target = match (named.iter().find(of_self), candidates.next(), candidates.next()) {
            (Some(own), ..) => own.clone(),
            (None, Some(only), None) => only.clone(),
            _ => return,
        };
        self.trip.enter(&target);
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let mut segments: Segments =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() == 1 && self.followed.contains(&segments[0]) {
            if !self.is_data {
                self.trip.note(self.file);
            }
            return;
        }
        if segments[0] == "Self"
            && let Some(owner) = &self.owner
        {
            segments[0].clone_from(owner);
        }
        let Some(target) = self.trip.resolve(self.file, &segments) else { return };
        match self.trip.constants.get(&target).copied() {
            Some(_) if !self.trip.followed.insert(target.clone()) => {}
            Some((file, value)) => {
                let (owner, followed) = (None, BTreeSet::new());
                Body { trip: &mut *self.trip, file, owner, followed, is_data: true }
                    .visit_expr(value);
            }
            None => self.trip.enter(&target),
        }
    }
}

#[test]
fn a_trip_is_followed_through_paths_methods_and_tables() {
    let file = |name: &str, text: &str| File {
        name: name.to_owned(),
        path: String::new(),
        module: module_of(name),
        syntax: syn::parse_file(text).unwrap(),
        text: text.to_owned(),
    };
    let files = [
        file("subject", "pub struct Input { now: u8 } impl Input { fn due(&self) -> bool { crate::core::gates::ask(self) } }"),
        file(
            "plan",
            "use crate::core::{hold::{self, Held}, subject::Input};
             pub fn plan(input: &Input) { hold::find(input); other(input); Held { input }.name(); input.due(); other(3); }
             fn other(input: &Input) { if input.now > 3 { hold::find(input) } }",
        ),
        file(
            "hold",
            "use crate::core::subject::Input;
             pub struct Held<'a> { input: &'a Input } impl Held<'_> { pub fn name(&self) { self.rule() } fn rule(&self) {} }
             pub fn find(input: &Input) { for rule in super::rules::ALL { rule(input) } unknown(3) }",
        ),
        file("rules", "pub const ALL: [Rule; 1] = [first]; fn first(input: &crate::core::subject::Input) {}"),
        file("gates", "pub fn ask(input: &super::subject::Input) -> bool { input.now > 3 } #[cfg(test)] mod tests { fn f(){} }"),
    ];
    let trip =
        ["plan", "hold", "rules", "hold", "plan", "hold", "plan", "hold", "plan", "gates", "plan"];
    assert_eq!(visits(&files), trip);
}

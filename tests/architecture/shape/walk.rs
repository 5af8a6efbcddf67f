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
    /// From which file into which one.
    calls: BTreeSet<(String, String)>,
    /// The functions and constants that were looked into.
    followed: BTreeSet<Segments>,
}

/// From which file a workload goes into which other one when the function [`START`] judges it.
///
/// This follows every call in every branch of a function that takes the type of the first argument of
/// `START` or a struct that holds one. Paths are resolved through `use`, methods by their name where
/// only one has it. Functions in tables of constants count where the table stands. What the type tells
/// of itself is data, and no call.
pub fn calls(files: &[File]) -> BTreeSet<(String, String)> {
    let modules: BTreeSet<Segments> = files.iter().map(|file| file.module.clone()).collect();
    let mut trip = Trip {
        files: BTreeMap::new(),
        subject: String::new(),
        functions: BTreeMap::new(),
        of_types: BTreeMap::new(),
        methods: BTreeMap::new(),
        constants: BTreeMap::new(),
        calls: BTreeSet::new(),
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
    trip.calls
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
        let mut is_followed = false;
        let mut arguments = 0;
        let mut is_method = false;
        for input in &found.signature.inputs {
            match input {
                syn::FnArg::Receiver(_) => {
                    is_method = true;
                    is_followed |=
                        found.owner.as_ref().is_some_and(|owner| holders.contains(owner));
                }
                syn::FnArg::Typed(argument) => {
                    arguments += 1;
                    let of = type_name(&argument.ty).map(|name| match (&*name, &found.owner) {
                        ("Self", Some(owner)) => owner.clone(),
                        _ => name,
                    });
                    is_followed |= of.is_some_and(|of| holders.contains(&of));
                }
            }
        }
        if !is_followed {
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
        self.functions.insert(path, Function { file, owner, arguments, body });
    }

    fn call(&mut self, from: &str, path: &Segments) {
        let to = self.functions[path].file;
        if from != to && self.functions[path].owner.as_ref() != Some(&self.subject) {
            self.calls.insert((from.to_owned(), to.to_owned()));
        }
        self.enter(path);
    }

    fn enter(&mut self, path: &Segments) {
        if !self.followed.insert(path.clone()) {
            return;
        }
        let Function { file, body, ref owner, .. } = self.functions[path];
        let owner = owner.clone();
        Body { trip: self, file, owner }.visit_block(body);
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
        self.trip.call(self.file, &target);
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let mut segments: Segments =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments[0] == "Self"
            && let Some(owner) = &self.owner
        {
            segments[0].clone_from(owner);
        }
        let Some(target) = self.trip.resolve(self.file, &segments) else { return };
        match self.trip.constants.get(&target).copied() {
            Some(_) if !self.trip.followed.insert(target.clone()) => {}
            Some((file, value)) => {
                Body { trip: &mut *self.trip, file, owner: None }.visit_expr(value);
            }
            None => self.trip.call(self.file, &target),
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
        file("rules", "pub const ALL: [Rule; 1] = [super::gates::ask];"),
        file("gates", "pub fn ask(input: &super::subject::Input) -> bool { input.now > 3 } #[cfg(test)] mod tests { fn f(){} }"),
    ];
    let expected = [("plan", "hold"), ("rules", "gates"), ("subject", "gates")];
    let expected = expected.map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(calls(&files), BTreeSet::from(expected));
}

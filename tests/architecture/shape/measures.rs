//! What is measured.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::{File, files, walk};
use crate::graph::is_test;

/// One number.
pub struct Measure {
    pub name: &'static str,
    pub now: usize,
    /// What it is to become.
    pub target: usize,
    /// By how much it may be better than its limit before the limit must follow.
    pub slack: usize,
    pub tenths_of_percent: bool,
    /// What it counts, in one sentence.
    pub what: &'static str,
    /// What is counted, for `SHOW` and where the limit is passed.
    pub places: Vec<String>,
}

impl Measure {
    /// One that counts places.
    fn count(name: &'static str, target: usize, what: &'static str, places: Vec<String>) -> Self {
        let now = places.len();
        Self { name, now, target, slack: 0, tenths_of_percent: false, what, places }
    }
}

/// All of them.
pub fn measures() -> Vec<Measure> {
    let core = files("core");
    let all = files("");
    let mut syntax = Syntax::default();
    for file in &core {
        syntax.path.clone_from(&file.path);
        syntax.visit_file(&file.syntax);
    }
    let Syntax { arguments, mutable, wide, closures, .. } = syntax;
    assert!(arguments > 500, "the arguments of the core are found");
    let kinds = kinds(&all);
    let in_files: BTreeSet<_> =
        kinds.iter().filter_map(|place| Some(place.split(':').next()?.to_owned())).collect();
    vec![
        Measure::count(
            "detours",
            0,
            "files of rules that hand a workload, judged by `plan`, to another folder of rules",
            detours(&core),
        ),
        Measure {
            now: mutable.len() * 1000 / arguments,
            tenths_of_percent: true,
            slack: 2,
            ..Measure::count(
                "mut-arguments",
                50,
                "arguments of functions of core that are `&mut`, of all but `self`",
                mutable,
            )
        },
        Measure::count("wide-structs", 8, "structs of core with 12 fields and more", wide),
        Measure::count(
            "mark-lookups",
            0,
            "annotations and labels of ours that are looked up by key outside src/marks",
            lookups(&all),
        ),
        Measure::count(
            "kind-mentions",
            12,
            "mentions of a variant of WorkloadKind outside src/api, src/workload, core/observed/kind.rs and tests",
            kinds,
        ),
        Measure::count("kind-files", 5, "files with such mentions", in_files.into_iter().collect()),
        Measure::count("closures", 39, "closures of core with a name (`let x = |..|`)", closures),
        Measure::count(
            "sentences",
            60,
            "texts of core with 5 words and more outside files named words.rs",
            sentences(&core),
        ),
        widest(&all),
        largest(&all),
    ]
}

/// Folders of rules that are to know nothing of each other. What composes them is `plan`, and any of
/// them may ask `gates`.
const RULES: [&str; 5] = ["config", "hold", "maintenance", "rollout", "volumes"];

fn detours(core: &[File]) -> Vec<String> {
    let calls = walk::calls(core);
    let folder = |file: &str| file.split('/').next().unwrap_or_default().to_owned();
    let rules = |file: &str| RULES.contains(&&*folder(file));
    for known in RULES {
        let is_reached = calls.iter().any(|(_, to)| folder(to) == known);
        assert!(is_reached, "the trip does not reach {known}: {calls:?}");
    }
    let between = calls.iter().filter(|(from, to)| rules(from) && rules(to));
    let detours = between.filter(|(from, to)| folder(from) != folder(to));
    detours.map(|(from, to)| format!("{from} calls {to}")).collect()
}

/// Texts that a user may read. Words are made in one file of each folder.
fn sentences(core: &[File]) -> Vec<String> {
    let mut found = Sentences::default();
    for file in core.iter().filter(|file| !file.path.ends_with("words.rs")) {
        found.path.clone_from(&file.path);
        found.visit_file(&file.syntax);
    }
    found.places
}

/// What comments, attributes and tests say is no text of a rule.
#[derive(Default)]
struct Sentences {
    path: String,
    places: Vec<String>,
}

impl Sentences {
    fn text(&mut self, text: &str) {
        if text.split_whitespace().count() >= 5 {
            self.places.push(format!("{}: {text}", self.path));
        }
    }

    /// The texts among the tokens of a macro, such as `format!`.
    fn tokens(&mut self, mut at: syn::buffer::Cursor) {
        while !at.eof() {
            if let Some((inside, _, _, after)) = at.any_group() {
                self.tokens(inside);
                at = after;
            } else if let Some((literal, after)) = at.literal() {
                if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                    self.text(&text.value());
                }
                at = after;
            } else if let Some((_, after)) = at.token_tree() {
                at = after;
            }
        }
    }
}

impl<'ast> Visit<'ast> for Sentences {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(module) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.text(&text.value());
    }

    fn visit_macro(&mut self, of: &'ast syn::Macro) {
        self.tokens(syn::buffer::TokenBuffer::new2(of.tokens.clone()).begin());
    }
}

/// Of lines, the longest of all sources: rustfmt leaves texts as they are.
fn widest(all: &[File]) -> Measure {
    let mut lines: Vec<_> = Vec::new();
    for file in all {
        let numbered = (1..).zip(file.text.lines());
        lines.extend(numbered.map(|(number, line)| (line.chars().count(), &file.path, number)));
    }
    lines.sort_unstable();
    let widest = lines.iter().rev().take(10);
    let places = widest.map(|(width, path, number)| format!("{path}:{number}: {width}")).collect();
    let now = lines.last().map_or(0, |(width, ..)| *width);
    let what =
        "characters in the widest line of src, tests left out; only texts are wider than 100";
    Measure { now, ..Measure::count("widest-line", 100, what, places) }
}

fn largest(all: &[File]) -> Measure {
    let mut sizes: Vec<_> =
        all.iter().map(|file| (file.text.lines().count(), &file.path)).collect();
    sizes.sort_unstable();
    let places =
        sizes.iter().rev().take(10).map(|(size, path)| format!("{path}: {size}")).collect();
    let now = sizes.last().map_or(0, |(size, _)| *size);
    let what = "lines of the largest file of src, tests left out";
    Measure { now, slack: 10, ..Measure::count("largest-file", 550, what, places) }
}

/// What a syntax tree of the core shows.
#[derive(Default)]
struct Syntax {
    path: String,
    /// The functions that are being looked at, from outside in.
    within: Vec<String>,
    arguments: usize,
    mutable: Vec<String>,
    wide: Vec<String>,
    closures: Vec<String>,
}

impl<'ast> Visit<'ast> for Syntax {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(module) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.within.push(function.sig.ident.to_string());
        visit::visit_item_fn(self, function);
        self.within.pop();
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.within.push(function.sig.ident.to_string());
        visit::visit_impl_item_fn(self, function);
        self.within.pop();
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        for input in &signature.inputs {
            let syn::FnArg::Typed(argument) = input else { continue };
            self.arguments += 1;
            if let syn::Type::Reference(reference) = &*argument.ty
                && reference.mutability.is_some()
            {
                self.mutable.push(format!("{}: {}", self.path, signature.ident));
            }
        }
    }

    fn visit_item_struct(&mut self, of: &'ast syn::ItemStruct) {
        if of.fields.len() >= 12 {
            self.wide.push(format!("{}: {} with {} fields", self.path, of.ident, of.fields.len()));
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let mut pattern = &local.pat;
        if let syn::Pat::Type(typed) = pattern {
            pattern = &typed.pat;
        }
        let is_closure =
            local.init.as_ref().is_some_and(|init| matches!(*init.expr, syn::Expr::Closure(_)));
        if let syn::Pat::Ident(name) = pattern
            && is_closure
        {
            let within = self.within.join("::");
            self.closures.push(format!("{}: {} in {within}", self.path, name.ident));
        }
        visit::visit_local(self, local);
    }
}

/// Look-ups such as `labels.get(marks::GOVERNED)`.
fn lookups(all: &[File]) -> Vec<String> {
    let mut found = Lookups::default();
    for file in all.iter().filter(|file| !["marks", "api"].contains(&&*file.module[..1].concat())) {
        found.path.clone_from(&file.path);
        found.visit_file(&file.syntax);
    }
    found.places
}

#[derive(Default)]
struct Lookups {
    path: String,
    places: Vec<String>,
}

impl Lookups {
    /// Notes it if this is a key of ours, such as `marks::HOLD`.
    fn key(&mut self, key: &syn::Expr) {
        let mut key = key;
        while let syn::Expr::Reference(reference) = key {
            key = &reference.expr;
        }
        let syn::Expr::Path(path) = key else { return };
        let segments: Vec<_> =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let [.., module, name] = segments.as_slice()
            && module == "marks"
        {
            self.places.push(format!("{}: {name}", self.path));
        }
    }
}

impl<'ast> Visit<'ast> for Lookups {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(module) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if ["get", "get_mut", "contains_key", "remove"].contains(&&*call.method.to_string())
            && let Some(key) = call.args.first()
        {
            self.key(key);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_index(&mut self, index: &'ast syn::ExprIndex) {
        self.key(&index.index);
        visit::visit_expr_index(self, index);
    }
}

/// Mentions such as `WorkloadKind::Deployment`; `WorkloadKind::ALL` names none.
fn kinds(all: &[File]) -> Vec<String> {
    let mut found = Kinds::default();
    for file in all {
        let is_home = ["api", "workload"].contains(&&*file.module[..1].concat())
            || file.path == "src/core/observed/kind.rs";
        if !is_home {
            found.path.clone_from(&file.path);
            found.visit_file(&file.syntax);
        }
    }
    found.places
}

#[derive(Default)]
struct Kinds {
    path: String,
    places: Vec<String>,
}

impl<'ast> Visit<'ast> for Kinds {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(module) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let [.., kind, variant] = segments.as_slice()
            && kind == "WorkloadKind"
            && variant.chars().any(char::is_lowercase)
            && variant.starts_with(char::is_uppercase)
        {
            self.places.push(format!("{}: {variant}", self.path));
        }
        visit::visit_path(self, path);
    }
}

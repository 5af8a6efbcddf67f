//! What a pod template reads, as it is named and recorded.

use std::fmt;

use wildmatch::WildMatch;

use crate::{api::ConfigKind, core::observed::ids::ConfigId};

/// Something that pods read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// ConfigMap or Secret.
    pub kind: ConfigKind,
    /// Its name, or a glob for names.
    pub name: String,
    /// Of a glob, the names that do not count although they match, as globs.
    pub except_names: Vec<String>,
    /// Which of its keys.
    pub keys: Keys,
    /// Keys that do not count although `keys` has them, as globs.
    pub except: Vec<String>,
    /// Pods start without it.
    pub optional: bool,
    /// Read by this workload itself, not by another one that rolls together with it.
    pub own: bool,
}

/// Keys of a ConfigMap or Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keys {
    /// All of them.
    All,
    /// This one.
    One(String),
    /// Those that match.
    Matching(String),
    /// These, sorted: where too many are read one by one for their names to fit into a record.
    Several(Vec<String>),
}

impl Reference {
    pub(in crate::core) fn new(kind: ConfigKind, name: &str, keys: Keys, optional: bool) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            keys,
            except_names: Vec::new(),
            except: Vec::new(),
            optional,
            own: true,
        }
    }

    /// Whether the key counts.
    pub fn reads(&self, key: &str) -> bool {
        let named = match &self.keys {
            Keys::All => true,
            Keys::One(one) => one == key,
            Keys::Matching(glob) => WildMatch::new(glob).matches(key),
            Keys::Several(keys) => keys.binary_search_by(|one| one.as_str().cmp(key)).is_ok(),
        };
        named && !self.except.iter().any(|glob| WildMatch::new(glob).matches(key))
    }

    /// Whether the name is a glob.
    pub fn is_glob(&self) -> bool {
        self.name.contains(['*', '?'])
    }

    /// Whether it is about the object of this name.
    pub fn names(&self, id: &ConfigId) -> bool {
        let named = if self.is_glob() {
            let mut except = self.except_names.iter();
            matches(&self.name, id) && !except.any(|glob| matches(glob, id))
        } else {
            self.name == *id.name
        };
        self.kind == id.kind && named
    }
}

fn matches(glob: &str, id: &ConfigId) -> bool {
    WildMatch::new(glob).matches(&id.name)
}

/// As status and records write it: `ConfigMap/app`, `ConfigMap/app[log.level]`,
/// `Secret/licence[*.lic]`, `ConfigMap/app[* but *.tmp]`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)?;
        if !self.except_names.is_empty() {
            write!(f, " but {}", self.except_names.join(","))?;
        }
        let keys = match &self.keys {
            Keys::All if self.except.is_empty() => return Ok(()),
            Keys::All => "*",
            Keys::One(key) | Keys::Matching(key) => key,
            Keys::Several(keys) => return write!(f, "[{} keys, {}]", keys.len(), name_of(keys)),
        };
        match self.except.as_slice() {
            [] => write!(f, "[{keys}]"),
            except => write!(f, "[{keys} but {}]", except.join(",")),
        }
    }
}

/// Names a set of keys in a few letters.
fn name_of(keys: &[String]) -> String {
    let sum = <sha2::Sha256 as sha2::Digest>::digest(keys.join("\n").as_bytes());
    sum.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

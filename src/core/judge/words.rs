//! Why a write cannot be judged, in words that hold nothing of the objects: they may be anything
//! that a template says.

use cel::ExecutionError;

/// What the writer is told, after the words that it was not judged.
pub fn broken(why: &str) -> String {
    format!("{why}. If the object is valid, this is a defect of Lockkeeper: please report it")
}

/// Why an expression of a policy has no value.
pub fn failed(policy: &str, expression: &str, error: &ExecutionError) -> String {
    let why = match error {
        ExecutionError::NoSuchKey(key) => format!("{key} is missing"),
        ExecutionError::NoSuchOverload(error) => error.to_string(),
        ExecutionError::UndeclaredReference(name) => format!("{name} is not known"),
        ExecutionError::UnexpectedType { got, want } => format!("a {got} instead of a {want}"),
        ExecutionError::FunctionError { function, .. } => format!("{function} failed"),
        ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        _ => "a value of another type than expected".to_owned(),
    };
    format!("{policy}: {expression}: {why}")
}

/// The patch of a policy changes what is not there.
pub fn does_not_fit(policy: &str, path: &str) -> String {
    format!("{policy}: its patch does not fit the object at {path}")
}

/// A policy makes something else than a patch.
pub fn no_patch(policy: &str) -> String {
    format!("{policy}: its mutation makes no JSON patch")
}

/// A policy of the chart that cannot be used.
pub fn unusable(policy: &str, why: &str) -> String {
    format!("the admission policy {policy} cannot be used by the webhook: {why}")
}

/// A policy without effect.
pub const NO_MUTATIONS: &str = "it has no mutations";
/// A policy with a name and nothing under it.
pub const NO_EXPRESSION: &str = "it has a name without an expression";

//! Operators that are broken on purpose: the simulation must find each of them.

use serde_json::{Value, json};

/// Something that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Patches are sent without their tests.
    NoPrecondition,
    /// It decides on workloads as they were several versions ago, and tests for what is there.
    StaleReading,
    /// It takes a no for a yes.
    IgnoresNo,
    /// Of the pods of a workload it asks only one.
    AsksOne,
    /// It never tells a pod that it may take work again.
    KeepsDrained,
    /// It asks pods once to take no new work, and not again.
    NeverRenews,
    /// It knows of no steps.
    IgnoresSteps,
    /// It knows of no maximum.
    IgnoresMaximum,
    /// It leaves the strategy of those with exclusive claims as it is.
    IgnoresExclusive,
    /// It keeps no data.
    KeepsNothing,
    /// It gives no claim its data again.
    FindsNothing,
    /// What is kept of the namespace from one decision to the next learns nothing once some are at rest.
    KeepsOldLedger,
    /// It takes the newest ReplicaSet for that of the template, whatever it is of.
    TakesOldForNew,
}

/// An object as an operator reads it that does not know some of it.
pub fn as_read(fault: Option<Fault>, kind: &str, object: &Value) -> Value {
    let mut object = object.clone();
    if kind == "Deployment"
        && fault == Some(Fault::TakesOldForNew)
        && object["status"]["updatedReplicas"].is_null()
    {
        object["status"]["updatedReplicas"] = json!(1);
    }
    if kind != "UpgradePolicy" {
        return object;
    }
    let mut leave_out = |section: &str, field: &str, value: Option<&str>| {
        let section = object
            .get_mut("spec")
            .and_then(|spec| spec.get_mut(section))
            .and_then(Value::as_object_mut);
        match (section, value) {
            (Some(section), None) => drop(section.remove(field)),
            (Some(section), Some(value)) => drop(section.insert(field.to_owned(), json!(value))),
            (None, _) => {}
        }
    };
    match fault {
        Some(Fault::IgnoresSteps) => leave_out("rollout", "steps", None),
        Some(Fault::IgnoresMaximum) => leave_out("rollout", "maxConcurrent", None),
        Some(Fault::IgnoresExclusive) => leave_out("volumes", "exclusiveClaims", Some("Ignore")),
        Some(Fault::KeepsNothing) => leave_out("volumes", "protection", Some("None")),
        _ => {}
    }
    object
}

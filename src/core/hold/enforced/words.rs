//! What is told where admission does not do what it should.

/// What follows where templates are not held.
pub const NO_HOLDS: &str = "template changes may roll without waiting";
/// The same where the API server cannot hold them, and no webhook does.
pub const NEVER_HELD: &str = "template changes roll out immediately, without waiting for any gate. Config changes still wait. Upgrade the cluster, then run \
     helm upgrade for Lockkeeper, or let its webhook hold changes (the chart's value holds.by)";
/// What follows where claims are not kept from others.
pub const NO_CLAIMS: &str =
    "Helm, Argo CD and Flux may delete claims; the data stays on their volumes";
/// The same where the API server cannot keep them, and no webhook does.
pub const NEVER_KEPT: &str =
    "nothing keeps Helm, Argo CD and Flux from deleting claims; the data stays on their volumes";
/// What follows where the deletion of protected claims is not refused.
pub const NO_PROTECTION: &str = "protected claims may be deleted; the data stays on their volumes";

/// That an object of ours cannot be read. `so`: what follows.
pub fn unreadable((kind, name): (&str, &str), flaw: &str, so: &str) -> String {
    format!(
        "{kind} {name} cannot be read, so what it does is not known: {flaw}. If it does not do its part, {}",
        reinstall(so)
    )
}

/// That an object of ours is not installed. `so`: what follows.
pub fn missing((kind, name): (&str, &str), so: &str) -> String {
    format!("{kind} {name} is not installed: {}", reinstall(so))
}

/// That an object of ours is not as it should be, and where. `so`: what follows.
pub fn changed((kind, name): (&str, &str), path: &str, so: &str) -> String {
    format!(
        "{kind} {name} is not as this version of the operator knows it, at {path}: {}",
        reinstall(so)
    )
}

/// That the API server serves no policies that change writes. `so`: what follows.
pub fn unavailable(so: &str) -> String {
    format!(
        "this API server does not serve MutatingAdmissionPolicy (admissionregistration.k8s.io/v1), which Kubernetes has by default from 1.36 on: {so}"
    )
}

/// What follows, and how to install what is missing.
pub fn reinstall(so: &str) -> String {
    format!(
        "{so}. Install Lockkeeper's chart again: helm upgrade lockkeeper charts/lockkeeper -n lockkeeper-system --reset-then-reuse-values"
    )
}

//! What the workloads of a policy read together: where one of them rolls, all do.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::{
    config::references,
    governs::{Governance, Standing},
    observed::{Namespace, Reference},
};

/// What the workloads of each policy read whose workloads roll together.
pub fn groups<'a>(
    namespace: &'a Namespace,
    governance: &Governance<'a>,
) -> BTreeMap<&'a str, Vec<Reference>> {
    let mut groups: BTreeMap<&str, BTreeSet<Reference>> = BTreeMap::new();
    for (_, workload, standing) in governance.each(namespace) {
        let Standing::Governed(policy, spec) = standing else { continue };
        let (Some(config), true) = (&spec.config, spec.together()) else { continue };
        let read = references::effective(&workload.template.references, config, &[], namespace);
        groups.entry(&policy.name).or_default().extend(read);
    }
    groups.into_iter().map(|(name, references)| (name, references.into_iter().collect())).collect()
}

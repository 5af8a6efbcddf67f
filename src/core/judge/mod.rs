//! The chart's own admission policies, applied in Rust: a webhook judges with them where the API
//! server cannot, before Kubernetes 1.36.
//!
//! There is one text of each rule, in `charts/lockkeeper/admission/`, and two that apply it. An
//! object has one judge, which the value of its label `lockkeeper.dev/governed` names before the
//! write: `webhook` means this one, anything else the API server. What is not governed yet is
//! judged by both: neither lets anybody but the operator label it. So a webhook is to be sent every
//! write that the policies select: of a workload where the label exists, before or after.

mod environment;
mod matching;
mod policy;
mod rights;
pub mod texts;
mod values;
mod words;
mod write;

use std::sync::Arc;

use cel::Env;
use serde_json::Value;

use self::{policy::Policy, rights::Answers};
pub use self::{
    rights::{Right, Rights},
    texts::Release,
    write::{Judgement, Operation, Request, Resource, User},
};

/// The mutating policies of the chart, ready to be applied.
pub struct Rules {
    env: Arc<Env>,
    policies: Vec<Policy>,
}

impl Rules {
    /// The rules of a release.
    ///
    /// # Errors
    /// Where a policy says what is not known here. A test holds that those of the chart do not.
    pub fn read(release: &Release) -> Result<Self, String> {
        let env = environment::environment().map_err(|error| error.to_string())?;
        let objects: Vec<_> =
            texts::MUTATING.iter().flat_map(|text| release.objects(text)).collect();
        let (bindings, policies): (Vec<_>, Vec<_>) =
            objects.iter().partition(|object| object["kind"] == "MutatingAdmissionPolicyBinding");
        let mut read = Vec::new();
        for object in policies {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let mut of_it = bindings.clone();
            of_it.retain(|binding| binding["spec"]["policyName"] == name);
            let policy = Policy::read(&env, object, &of_it);
            read.push(policy.map_err(|why| words::unusable(name, &why))?);
        }
        Ok(Self { env, policies: read })
    }

    /// What becomes of a write. Looks at nothing else, and never panics.
    pub fn judge(&self, request: &Request, rights: &Rights) -> Judgement {
        let answers = Answers::new(rights);
        // As the policies so far have left it.
        let mut changed: Option<Value> = None;
        let mut patch = Vec::new();
        for policy in &self.policies {
            let object = changed.as_ref().or(request.object.as_ref());
            if !policy.selects(request, object) {
                continue;
            }
            let operations = policy.apply(&self.env, request, object, &answers);
            let missing = answers.missing();
            if !missing.is_empty() {
                return Judgement::Ask(missing);
            }
            let next = operations.and_then(|operations| {
                let next = policy.patched(object, &operations)?;
                patch.extend(operations);
                Ok(next)
            });
            match next {
                Ok(next) => changed = next.or(changed),
                Err(error) => return Judgement::Broken(words::broken(&error)),
            }
        }
        if patch.is_empty() { Judgement::Untouched } else { Judgement::Patch(patch) }
    }
}

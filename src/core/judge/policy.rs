//! One mutating admission policy: its expressions, parsed once, and what they make of a write.

use std::sync::Arc;

use cel::{
    Context, Env, Program, Value as Cel,
    common::{types::CelBool, value::Val},
};
use serde_json::{Value, json};

use super::{
    matching::Constraints,
    rights::{Answers, Authorizer},
    values::{of_json, to_json},
    words,
    write::{Request, Resource},
};

/// The variable that says who judges, and what it says here. In the chart's texts it says that the
/// API server does.
const JUDGE: (&str, &str) = ("judge", "'webhook'");

/// A policy and its bindings.
pub struct Policy {
    name: String,
    constraints: Constraints,
    bindings: Vec<Constraints>,
    conditions: Vec<Named>,
    variables: Vec<Named>,
    mutations: Vec<Program>,
}

/// An expression with the name under which messages, and other expressions, know it.
struct Named {
    name: String,
    program: Program,
}

impl Policy {
    /// From an object of kind MutatingAdmissionPolicy, and those of kind
    /// MutatingAdmissionPolicyBinding that name it.
    ///
    /// # Errors
    /// Where something in them is not known here.
    pub fn read(env: &Env, object: &Value, bindings: &[&Value]) -> Result<Self, String> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let spec = &object["spec"];
        let mut policy = Self {
            constraints: Constraints::read(&spec["matchConstraints"])?,
            bindings: Vec::new(),
            conditions: named(env, &spec["matchConditions"], "")?,
            variables: named(env, &spec["variables"], "variables.")?,
            mutations: Vec::new(),
            name,
        };
        for binding in bindings {
            policy.bindings.push(Constraints::read(&binding["spec"]["matchResources"])?);
        }
        for mutation in list(&spec["mutations"]) {
            policy.mutations.push(compile(env, &mutation["jsonPatch"]["expression"])?);
        }
        match policy.mutations.is_empty() {
            true => Err(words::NO_MUTATIONS.to_owned()),
            false => Ok(policy),
        }
    }

    /// Whether it is about a write. `object` is the object as the policies before it left it.
    pub fn selects(&self, request: &Request, object: Option<&Value>) -> bool {
        self.constraints.select(request, object)
            && self.bindings.iter().any(|binding| binding.select(request, object))
    }

    /// The object with its operations; none where they change nothing.
    ///
    /// # Errors
    /// In words, where they do not fit the object.
    pub fn patched(
        &self,
        object: Option<&Value>,
        operations: &[Value],
    ) -> Result<Option<Value>, String> {
        if operations.is_empty() {
            return Ok(None);
        }
        let list = Value::Array(operations.to_vec());
        let patch: json_patch::Patch =
            serde_json::from_value(list).map_err(|_| words::no_patch(&self.name))?;
        let mut object = object.cloned().unwrap_or_default();
        json_patch::patch(&mut object, &patch)
            .map_err(|error| words::does_not_fit(&self.name, &error.path.to_string()))?;
        Ok(Some(object))
    }

    /// The operations of a JSON patch that it makes of a write. Where `answers` are missing at the
    /// end, it asked for more than is known, and what it returns is of no account.
    ///
    /// # Errors
    /// In words, without anything from the object.
    pub fn apply(
        &self,
        env: &Arc<Env>,
        request: &Request,
        object: Option<&Value>,
        answers: &Arc<Answers>,
    ) -> Result<Vec<Value>, String> {
        let (told, null) = (of_request(request, object), Value::Null);
        let mut context = Context::with_env(Arc::clone(env));
        let seen = [
            ("object", object),
            ("oldObject", request.old_object.as_ref()),
            ("namespaceObject", request.namespace_object.as_ref()),
            ("request", Some(&told)),
        ];
        for (name, value) in seen {
            context.add_variable_as_val(name, of_json(value.unwrap_or(&null)));
        }
        context.add_variable_as_val("authorizer", Box::new(Authorizer::new(answers)));
        for condition in &self.conditions {
            match self
                .evaluate(&condition.program, &context, &condition.name)?
                .downcast_ref::<CelBool>()
            {
                Some(met) if *met.inner() => {}
                _ => return Ok(Vec::new()),
            }
        }
        // The API server evaluates a variable when it is first used. So one that fails is an error
        // only where it is used.
        let mut failed = None;
        for variable in &self.variables {
            match self.evaluate(&variable.program, &context, &variable.name) {
                Ok(value) => context.add_variable_as_val(&*variable.name, value),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        let mut operations = Vec::new();
        for mutation in &self.mutations {
            let made = self.evaluate(mutation, &context, "the mutation");
            let made = made.map_err(|error| failed.clone().unwrap_or(error))?;
            match to_json(&*made) {
                Ok(Value::Array(list)) => operations.extend(list),
                _ => return Err(words::no_patch(&self.name)),
            }
        }
        Ok(operations)
    }

    fn evaluate<'v>(
        &self,
        program: &Program,
        context: &Context<'_, 'v>,
        what: &str,
    ) -> Result<Box<dyn Val + 'v>, String> {
        let value = Cel::resolve_val(program.expression(), context).map(|value| value.into_owned());
        value.map_err(|error| words::failed(&self.name, what, &error))
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn named(env: &Env, all: &Value, before: &str) -> Result<Vec<Named>, String> {
    let (here, mut read) = (json!(JUDGE.1), Vec::new());
    for one in list(all) {
        let name = one["name"].as_str().unwrap_or_default();
        let is_judge = !before.is_empty() && name == JUDGE.0;
        let program = compile(env, if is_judge { &here } else { &one["expression"] })?;
        read.push(Named { name: format!("{before}{name}"), program });
    }
    Ok(read)
}

fn compile(env: &Env, expression: &Value) -> Result<Program, String> {
    let text = expression.as_str().ok_or(words::NO_EXPRESSION)?;
    env.compile(text).map_err(|errors| format!("{errors} in {text}"))
}

/// The variable `request`, as the API server makes it.
fn of_request(request: &Request, object: Option<&Value>) -> Value {
    let kind = object.or(request.old_object.as_ref()).map(|one| &one["kind"]);
    let Resource { group, version, plural, subresource } = &request.resource;
    json!({
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": plural},
        "subResource": subresource.as_deref().unwrap_or_default(),
        "name": request.name,
        "namespace": request.namespace,
        "operation": request.operation.as_str(),
        "userInfo": {
            "username": request.user.username,
            "uid": request.user.uid,
            "groups": request.user.groups,
            "extra": request.user.extra,
        },
        "dryRun": request.dry_run,
    })
}

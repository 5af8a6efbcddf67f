//! The rights that a rule asks for: `authorizer` of Kubernetes' CEL. It answers from what is known,
//! and notes what is not.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelBool, CelString, STRING_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
};

/// Something that a writer may or may not do, as a SubjectAccessReview asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The verb, for example `approve`.
    pub verb: String,
    /// The API group, for example `lockkeeper.dev`.
    pub group: String,
    /// The resource in the plural, for example `upgradepolicies`.
    pub resource: String,
    /// The namespace; empty for the whole cluster.
    pub namespace: String,
    /// The name of the object; empty for all of them.
    pub name: String,
}

/// The rights that the writer was asked for, each with the answer.
pub type Rights = BTreeMap<Right, bool>;

/// What is known of the writer's rights, and what an expression asked beyond that.
#[derive(Debug)]
pub struct Answers {
    known: Rights,
    asked: Mutex<BTreeSet<Right>>,
}

impl Answers {
    /// Nothing is asked yet.
    pub fn new(known: &Rights) -> Arc<Self> {
        Arc::new(Self { known: known.clone(), asked: Mutex::default() })
    }

    /// What was asked and is not known.
    pub fn missing(&self) -> Vec<Right> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().cloned().collect()
    }

    fn answer(&self, right: &Right) -> bool {
        self.known.get(right).copied().unwrap_or_else(|| {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.insert(right.clone());
            false
        })
    }
}

static AUTHORIZER: Type = Type::new_unspecified_type("kubernetes.authorization.Authorizer");
static DECISION: Type = Type::new_unspecified_type("kubernetes.authorization.Decision");

/// The variable `authorizer`, and a question that is put together.
#[derive(Debug, Clone)]
pub struct Authorizer {
    right: Right,
    answers: Arc<Answers>,
}

impl Authorizer {
    /// A question without any part yet.
    pub fn new(answers: &Arc<Answers>) -> Self {
        Self { right: Right::default(), answers: answers.clone() }
    }
}

/// The answer to a question.
#[derive(Debug, Clone)]
struct Decision(bool);

impl Val for Authorizer {
    fn get_type(&self) -> &Type {
        &AUTHORIZER
    }

    fn cel_type() -> &'static Type {
        &AUTHORIZER
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Authorizer {}

impl Val for Decision {
    fn get_type(&self) -> &Type {
        &DECISION
    }

    fn cel_type() -> &'static Type {
        &DECISION
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Decision {}

/// Declares the methods of `authorizer` that the policies use: `group`, `resource`, `namespace`,
/// `name`, `check` and `allowed`.
///
/// # Errors
/// Where the environment has one of them already.
pub fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("group", "authorizer_group", AUTHORIZER.to_owned(), text(), |args| {
        with(&args, |right, group| right.group = group)
    })?;
    env.add_member_overload("resource", "group_resource", AUTHORIZER.to_owned(), text(), |args| {
        with(&args, |right, resource| right.resource = resource)
    })?;
    env.add_member_overload(
        "namespace",
        "resource_namespace",
        AUTHORIZER.to_owned(),
        text(),
        |args| with(&args, |right, namespace| right.namespace = namespace),
    )?;
    env.add_member_overload("name", "resource_name", AUTHORIZER.to_owned(), text(), |args| {
        with(&args, |right, name| right.name = name)
    })?;
    env.add_member_overload("check", "resource_check", AUTHORIZER.to_owned(), text(), |args| {
        let (authorizer, verb) = question(&args)?;
        let right = Right { verb, ..authorizer.right.clone() };
        Ok(CowVal::owned(Decision(authorizer.answers.answer(&right))))
    })?;
    let decision = DECISION.to_owned();
    env.add_member_overload("allowed", "decision_allowed", decision, Vec::new(), |args| {
        let decision = args.first().and_then(|decision| decision.downcast_ref::<Decision>());
        let Decision(allowed) = decision.ok_or(ExecutionError::MissingArgumentOrTarget)?;
        Ok(CowVal::owned(CelBool::from(*allowed)))
    })
}

fn text() -> Vec<Type> {
    vec![STRING_TYPE.to_owned()]
}

/// A question with one more of its parts.
fn with<'b, 'v>(
    args: &[CowVal<'b, 'v>],
    set: fn(&mut Right, String),
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (authorizer, text) = question(args)?;
    let mut more = authorizer.clone();
    set(&mut more.right, text);
    Ok(CowVal::owned(more))
}

fn question<'a>(args: &'a [CowVal<'_, '_>]) -> Result<(&'a Authorizer, String), ExecutionError> {
    let authorizer = args.first().and_then(|target| target.downcast_ref::<Authorizer>());
    let text = args.get(1).and_then(|text| text.downcast_ref::<CelString>());
    match (authorizer, text) {
        (Some(authorizer), Some(text)) => Ok((authorizer, text.inner().to_owned())),
        _ => Err(ExecutionError::MissingArgumentOrTarget),
    }
}

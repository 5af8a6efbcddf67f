//! What Kubernetes' CEL has beyond the standard and the policies use: `authorizer`, `JSONPatch`,
//! `jsonpatch.escapeKey`, `sum`, and the libraries for strings and lists.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use cel::{
    DeclarationError, Env, ExecutionError, StructType,
    common::{
        types::{CelInt, CelList, CelMap, CelMapKey, CelString, LIST_TYPE, STRING_TYPE, Type},
        value::{CowVal, Val},
    },
    extensions,
};

use super::rights;

/// The environment that the policies are written for.
///
/// # Errors
/// Where the crate `cel` has one of these names already.
pub fn environment() -> Result<Arc<Env>, DeclarationError> {
    let mut env = Env::stdlib();
    extensions::strings(&mut env)?;
    extensions::lists(&mut env)?;
    env.add_type(Operation(Type::new_struct_type("JSONPatch")))?;
    env.add_overload(
        "jsonpatch.escapeKey",
        "jsonpatch_escape_key",
        vec![STRING_TYPE.to_owned()],
        escape_key,
    )?;
    env.add_member_overload("sum", "list_sum", LIST_TYPE.to_owned(), Vec::new(), sum)?;
    rights::declare(&mut env)?;
    Ok(Arc::new(env))
}

/// `JSONPatch{op: …, path: …, value: …}`: a map of its fields.
struct Operation(Type);

impl StructType for Operation {
    fn get_type(&self) -> &Type {
        &self.0
    }

    fn new_value<'b, 'v>(
        &self,
        fields: BTreeMap<String, CowVal<'b, 'v>>,
    ) -> Result<Box<dyn Val + 'v>, ExecutionError> {
        let fields: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> =
            fields.into_iter().map(|(name, value)| (name.into(), value.into_owned())).collect();
        Ok(Box::new(CelMap::from(fields)))
    }
}

/// The sum of a list of whole numbers.
fn sum<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = args.first().and_then(|list| list.downcast_ref::<CelList>());
    let mut sum: i64 = 0;
    for number in list.ok_or(ExecutionError::MissingArgumentOrTarget)?.inner() {
        let number = number.downcast_ref::<CelInt>().map(|number| *number.inner());
        sum = number
            .and_then(|number| sum.checked_add(number))
            .ok_or_else(|| ExecutionError::function_error("sum", "no whole number"))?;
    }
    Ok(CowVal::owned(CelInt::from(sum)))
}

/// A key as a JSON pointer writes it.
fn escape_key<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let key = args.first().and_then(|key| key.downcast_ref::<CelString>());
    let key = key.ok_or(ExecutionError::MissingArgumentOrTarget)?;
    Ok(CowVal::owned(CelString::from(key.inner().replace('~', "~0").replace('/', "~1"))))
}

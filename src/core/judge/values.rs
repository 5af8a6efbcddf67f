//! Objects as the expressions of policies see them, and back.

use std::collections::HashMap;

use cel::{
    ExecutionError,
    common::{
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
        },
        value::Val,
    },
};
use serde_json::{Map, Value, json};

/// A value that borrows its strings from JSON. A field that is null is absent, as it is to the API
/// server.
pub fn of_json<'v>(value: &'v Value) -> Box<dyn Val + 'v> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(is) => Box::new(CelBool::from(*is)),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Box::new(CelInt::from(whole)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(list) => Box::new(CelList::from(list.iter().map(of_json).collect::<Vec<_>>())),
        Value::Object(fields) => Box::new(CelMap::from(of_fields(fields))),
    }
}

fn of_fields(fields: &Map<String, Value>) -> HashMap<CelMapKey<'_>, Box<dyn Val + '_>> {
    let present = fields.iter().filter(|(_, value)| !value.is_null());
    present.map(|(key, value)| (CelMapKey::from(key.as_str()), of_json(value))).collect()
}

/// JSON of a value.
///
/// # Errors
/// For values that JSON does not know.
pub fn to_json(value: &dyn Val) -> Result<Value, ExecutionError> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return Ok(json!(text.inner()));
    }
    if let Some(is) = value.downcast_ref::<CelBool>() {
        return Ok(json!(is.inner()));
    }
    if let Some(whole) = value.downcast_ref::<CelInt>() {
        return Ok(json!(whole.inner()));
    }
    if let Some(whole) = value.downcast_ref::<CelUInt>() {
        return Ok(json!(whole.inner()));
    }
    if let Some(number) = value.downcast_ref::<CelDouble>() {
        return Ok(json!(number.inner()));
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        return list.inner().iter().map(|one| to_json(one.as_ref())).collect();
    }
    if let Some(map) = value.downcast_ref::<CelMap>() {
        let fields = map.inner().iter().map(|(key, value)| match key {
            CelMapKey::String(key) => Ok((key.inner().to_owned(), to_json(value.as_ref())?)),
            _ => Err(unexpected(value.as_ref())),
        });
        return fields.collect::<Result<Map<_, _>, _>>().map(Value::Object);
    }
    match value.downcast_ref::<CelNull>() {
        Some(_) => Ok(Value::Null),
        None => Err(unexpected(value)),
    }
}

fn unexpected(value: &dyn Val) -> ExecutionError {
    ExecutionError::UnexpectedType {
        got: value.get_type().name().to_owned(),
        want: "a value of JSON".to_owned(),
    }
}

//! The CustomResourceDefinition, generated from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use super::{UpgradePolicy, UpgradePolicySpec, UpgradePolicyStatus};

/// Name of the CRD.
pub const NAME: &str = "upgradepolicies.lockkeeper.dev";

/// The CRD as it is installed. If it cannot be described in full, which would be a defect that the
/// tests find, it is as kube makes it.
pub fn definition() -> CustomResourceDefinition {
    let definition = UpgradePolicy::crd();
    let Ok(mut value) = serde_json::to_value(&definition) else { return definition };
    for version in
        value.pointer_mut("/spec/versions").and_then(Value::as_array_mut).into_iter().flatten()
    {
        let Some(properties) = version.pointer_mut("/schema/openAPIV3Schema/properties") else {
            continue;
        };
        if let Some(spec) = properties.get_mut("spec") {
            describe(spec, &types_of::<UpgradePolicySpec>(), true);
        }
        if let Some(status) = properties.get_mut("status") {
            describe(status, &types_of::<UpgradePolicyStatus>(), false);
        }
    }
    serde_json::from_value(value).unwrap_or(definition)
}

/// The schema of a type with the documentation of its enum values, which the CRD's own schema has
/// no place for.
fn types_of<T: JsonSchema>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Adds to the description of each field what `kubectl explain` needs: every enum value with its
/// meaning, and in the spec the default.
fn describe(schema: &mut Value, documented: &Value, with_defaults: bool) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = unwrapped(description);
    }
    let mut more = String::new();
    if schema.get("enum").is_some() {
        let meanings = meanings(documented)
            .into_iter()
            .map(|(value, meaning)| format!("\n - {value}: {}", unwrapped(meaning)));
        more = format!("\nPossible values:{}", meanings.collect::<String>());
    }
    if let Some(default) = schema.get("default").filter(|_| with_defaults) {
        more += &format!("\nDefault: {}", plain(default));
    }
    let is_long = !more.is_empty();
    if let Some(Value::String(description)) = schema.get_mut("description").filter(|_| is_long) {
        description.push_str(&more);
    }
    let documented = or_null(documented);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            describe(property, &documented["properties"][name.as_str()], with_defaults);
        }
    }
    if let Some(items) = schema.get_mut("items") {
        describe(items, &documented["items"], with_defaults);
    }
}

/// Each paragraph of a doc comment on one line. The client that shows it breaks lines at a width of
/// its own.
fn unwrapped(text: &str) -> String {
    let on_one_line =
        |paragraph: &str| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    text.split("\n\n").map(on_one_line).collect::<Vec<_>>().join("\n\n")
}

/// The alternatives of a schema.
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
}

/// The object or list in `anyOf: [it, null]`, or the schema itself.
fn or_null(schema: &Value) -> &Value {
    let is_one =
        |schema: &&Value| schema.get("properties").is_some() || schema.get("items").is_some();
    Some(schema).filter(is_one).or_else(|| alternatives(schema).find(is_one)).unwrap_or(schema)
}

/// The values of an enum, each with its documentation.
fn meanings(schema: &Value) -> Vec<(&str, &str)> {
    if let (Some(Value::String(value)), Some(Value::String(meaning))) =
        (schema.get("const"), schema.get("description"))
    {
        return vec![(value, meaning)];
    }
    alternatives(schema).flat_map(meanings).collect()
}

/// A default as one would write it in YAML, on one line.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            format!(
                "{{{}}}",
                fields
                    .iter()
                    .map(|(key, value)| format!("{key}: {}", plain(value)))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        other => other.to_string(),
    }
}

/// The CRD as YAML, as `crds/upgradepolicies.yaml` holds it.
///
/// # Errors
/// When the definition cannot be written as YAML, which would be a defect.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    let mut definition = serde_json::to_value(definition()).unwrap_or_default();
    drop_unknown_formats(&mut definition);
    let body = serde_saphyr::to_string(&definition)?;
    Ok(format!(
        "# Generated from src/api by `lockkeeper crd`; `make generate` writes it again.\n{body}"
    ))
}

/// The API server warns of formats that OpenAPI does not know, such as `uint32`; the bounds say the
/// same.
fn drop_unknown_formats(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|format| format.starts_with("uint"))
            {
                fields.remove("format");
            }
            fields.values_mut().for_each(drop_unknown_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unknown_formats),
        _ => {}
    }
}

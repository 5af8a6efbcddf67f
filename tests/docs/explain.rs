//! `kubectl explain upgradepolicy --recursive` says all: each field has a description, which names
//! every value and every default.

use lockkeeper::api::crd;
use serde_json::Value;

/// Each field of a schema, with its path.
fn fields(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.push((path.clone(), property.clone()));
        fields(property, &path, found);
        let items = format!("{path}[]");
        if property.pointer("/items/description").is_some() {
            found.push((items.clone(), property["items"].clone()));
        }
        fields(&property["items"], &items, found);
    }
}

/// The scalars in a default.
fn scalars(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(scalars).collect(),
        Value::Object(fields) => fields.values().flat_map(scalars).collect(),
        other => vec![other.to_string()],
    }
}

fn all() -> Vec<(String, Value)> {
    let definition = serde_json::to_value(crd::definition()).unwrap();
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        let schema = definition
            .pointer(&format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}"))
            .unwrap();
        fields(schema, part, &mut found);
    }
    found
}

#[test]
fn every_field_is_described_with_all_its_values_and_its_default() {
    let fields = all();
    let (mut enums, mut defaults, mut missing) = (0, 0, Vec::new());
    for (path, field) in &fields {
        let description = field["description"].as_str().unwrap_or_default();
        if description.is_empty() {
            missing.push(format!("{path} has no description"));
        }
        for value in field["enum"].as_array().into_iter().flatten() {
            enums += 1;
            let value = value.as_str().unwrap();
            // The value, with what it means.
            let explained = description.lines().any(|line| {
                line.strip_prefix(&format!(" - {value}: ")).is_some_and(|rest| rest.len() > 5)
            });
            if !explained {
                missing.push(format!("{path} does not explain {value}"));
            }
        }
        // Of the status all is written by the operator: there is nothing to leave out.
        if let Some(default) = field.get("default").filter(|_| path.starts_with("spec")) {
            defaults += 1;
            let line = description
                .lines()
                .find_map(|line| line.strip_prefix("Default: "))
                .unwrap_or_default();
            missing.extend(
                scalars(default)
                    .into_iter()
                    .filter(|one| !line.contains(one))
                    .map(|one| format!("{path} does not name its default {one}")),
            );
        }
    }
    assert!(
        fields.len() > 80 && enums > 60 && defaults > 20,
        "{} fields, {enums} values, {defaults} defaults",
        fields.len()
    );
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn policies_are_found_among_all_and_under_our_own_category() {
    let names = crd::definition().spec.names;
    assert_eq!(names.categories.unwrap_or_default(), ["all", "lockkeeper"]);
}

//! Prints docs/reference.md: every field of an UpgradePolicy, from the CRD that is installed.

use std::fmt::Write;

use lockkeeper::api::crd;
use serde_json::Value;

const HEAD: &str = "# API reference

<!-- Generated from src/api by `make generate`. -->

Every field of an `UpgradePolicy` (`lockkeeper.dev/v1alpha1`), as `kubectl explain upgradepolicy --recursive` shows it. Durations are written like `90s`, `1h30m` or `500ms`.
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let definition = serde_json::to_value(crd::definition())?;
    let schema = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties")
        .ok_or("the CRD has no schema")?;
    let mut page = HEAD.to_owned();
    for part in ["spec", "status"] {
        section(&mut page, part, &schema[part])?;
    }
    print!("{page}");
    Ok(())
}

/// The fields of an object, then a section for each object among them.
fn section(page: &mut String, path: &str, schema: &Value) -> std::fmt::Result {
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    write!(page, "\n## {path}\n\n")?;
    let description = schema["description"].as_str().unwrap_or_default();
    let text = description
        .lines()
        .take_while(|line| *line != "Possible values:" && !line.starts_with("Default: "));
    write!(page, "{}\n\n", text.collect::<Vec<_>>().join("\n"))?;
    page.push_str("| field | type | meaning |\n|---|---|---|\n");
    for (name, field) in properties {
        let (inner, list) = inner(path, name, field);
        let linked = match inner["properties"].is_object() {
            true => format!("[`{name}`](#{})", list.replace(['.', '[', ']'], "").to_lowercase()),
            false => format!("`{name}`"),
        };
        let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
        writeln!(page, "| {linked} | {}{needed} | {} |", kind(field), meaning(field))?;
    }
    for (name, field) in properties {
        let (inner, path) = inner(path, name, field);
        section(page, &path, inner)?;
    }
    Ok(())
}

/// The object in a field, or in the list that the field is.
fn inner<'a>(path: &str, name: &str, field: &'a Value) -> (&'a Value, String) {
    match field.get("items") {
        Some(items) => (items, format!("{path}.{name}[]")),
        None => (field, format!("{path}.{name}")),
    }
}

fn kind(field: &Value) -> String {
    match (field["type"].as_str(), field["x-kubernetes-int-or-string"].as_bool()) {
        (Some("array"), _) if field["items"]["enum"].is_array() => "list of values".to_owned(),
        (Some("array"), _) => format!("list of {}s", kind(&field["items"])),
        (Some("string"), _) if field["enum"].is_array() => "one value".to_owned(),
        (Some("string"), _) if field["pattern"] == lockkeeper::api::period::PATTERN => {
            "duration".to_owned()
        }
        (Some("string"), _) if field["format"] == "date-time" => "time".to_owned(),
        (Some(plain), _) => plain.to_owned(),
        (None, Some(true)) => "integer or string".to_owned(),
        (None, _) => "any value".to_owned(),
    }
}

/// The description on one line of a table, its values and default included, and what bounds there
/// are.
fn meaning(field: &Value) -> String {
    let mut text = String::new();
    for line in field["description"].as_str().unwrap_or_default().lines() {
        match (line.strip_prefix(" - "), line.strip_prefix("Default: ")) {
            (Some(value), _) => match value.split_once(": ") {
                Some((value, meaning)) => text += &format!("<br>`{value}`: {meaning}"),
                None => text += &format!("<br>{value}"),
            },
            (_, Some(default)) => text += &format!("<br>Default: `{default}`"),
            _ if line == "Possible values:" => {}
            _ => {
                text += if text.is_empty() { "" } else { " " };
                text += line;
            }
        }
    }
    let values = field
        .pointer("/items/enum")
        .and_then(|_| field.pointer("/items/description"))
        .and_then(Value::as_str);
    for (value, meaning) in values
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix(" - ")?.split_once(": "))
    {
        text += &format!("<br>`{value}`: {meaning}");
    }
    let bound = |key: &str| field.get(key).and_then(Value::as_f64).map(|bound| format!("{bound}"));
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => text += &format!("<br>From {least} to {most}"),
        (Some(least), None) if least != "0" => text += &format!("<br>At least {least}"),
        _ => {}
    }
    if let Some(most) = bound("maxItems") {
        text += &format!("<br>At most {most} entries");
    }
    text.replace('|', "\\|")
}

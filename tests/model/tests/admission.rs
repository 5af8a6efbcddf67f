//! The twin against the cases that the chart's policies were tried with on a real control plane.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use model::admission::{Operation, Rule, Twin, Write};
use serde_json::Value;

fn cases() -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(include_str!("../cases/admission.json")).unwrap();
    all.into_iter().filter(|case| ["Deployment", "StatefulSet", "DaemonSet"].contains(&case["kind"].as_str().unwrap())).collect()
}

fn admit(twin: &Twin, case: &Value) -> Result<(Value, Vec<String>), String> {
    let verbs: Vec<_> = case["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
    let operation = if case["operation"] == "CREATE" { Operation::Create } else { Operation::Update };
    let write = Write {
        kind: case["kind"].as_str().unwrap(),
        operation,
        old: Some(&case["old"]).filter(|old| !old.is_null()),
        new: &case["new"],
        user: case["user"].as_str().unwrap(),
        verbs: &verbs,
    };
    twin.admit(&write).map(|admitted| (admitted.object, admitted.warnings)).map_err(|refused| refused.0)
}

/// The first place in which an object is not as the case expects; null means absent.
fn difference(path: &str, expected: &Value, seen: &Value) -> Option<String> {
    match (expected, seen) {
        (Value::Object(fields), _) => fields.iter().find_map(|(key, value)| difference(&format!("{path}.{key}"), value, &seen[key])),
        (Value::Null, Value::Object(map)) if map.is_empty() => None,
        _ => (expected != seen).then(|| format!("{path}: {seen}, not {expected}")),
    }
}

fn wrong(twin: &Twin, case: &Value) -> Option<String> {
    let expect = &case["expect"];
    match (admit(twin, case), expect["result"].as_str().unwrap()) {
        (Ok((object, warnings)), "allowed") => {
            let warned = match expect["warning"].as_str() {
                Some("") => (!warnings.is_empty()).then(|| format!("warnings {warnings:?}")),
                Some(warning) => (!warnings.iter().any(|one| one.contains(warning))).then(|| format!("warnings {warnings:?}, not {warning}")),
                None => None,
            };
            let object = if expect["object"].is_null() { None } else { difference("", &expect["object"], &object) };
            object.or(warned)
        }
        (Err(message), "denied") => match expect["message"].as_str() {
            Some(expected) if !message.contains(expected) => Some(format!("refused with {message:?}, not {expected:?}")),
            _ => None,
        },
        (Ok(_), _) => Some("allowed".to_owned()),
        (Err(message), _) => Some(format!("refused: {message}")),
    }
}

#[test]
fn the_twin_answers_as_the_policies_did() {
    let cases = cases();
    let wrong: Vec<_> = cases.iter().filter_map(|case| Some(format!("{}: {}", case["name"], wrong(&Twin::default(), case)?))).collect();
    assert!(cases.len() > 200);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn each_rule_that_is_forgotten_changes_some_answer() {
    let cases = cases();
    for rule in [Rule::Hold, Rule::Reassert, Rule::RenewId, Rule::RestoreDeclared, Rule::PutMarksBack, Rule::StripStale, Rule::CheckRights] {
        let twin = Twin { forgets: Some(rule) };
        assert!(cases.iter().any(|case| wrong(&twin, case).is_some()), "no case needs {rule:?}");
    }
}

//! The twin against the cases that the chart's policies were tried with on a real control plane.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use model::admission::{
    Admitted, HELD, OPERATOR, Operation, Refused, Rule, Twin, Write, difference, generate,
};
use serde_json::{Value, json};

/// The cases, at noon of a certain day: permits are about 24 hours ahead.
fn cases() -> Vec<Value> {
    let mut text = model::admission::cases();
    for (hours, time) in
        [(1, "2026-11-20T13:00:00Z"), (20, "2026-11-21T08:00:00Z"), (25, "2026-11-21T13:00:00Z")]
    {
        text = text.replace(&format!("{{{{now+{hours}h}}}}"), time);
    }
    serde_json::from_str(&text).unwrap()
}

fn admit(twin: &Twin, case: &Value) -> Result<(Value, Vec<String>), String> {
    let verbs: Vec<_> =
        case["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
    let operation = match case["operation"].as_str().unwrap() {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        "UPDATE_STATUS" => Operation::Status,
        "UPDATE_FINALIZE" => Operation::Finalize,
        _ => Operation::Delete,
    };
    let mut new = case["new"].clone();
    if !new.is_null() {
        new["metadata"]["managedFields"] =
            json!([{"manager": "test", "time": "2026-11-20T12:00:00Z"}]);
    }
    let write = Write {
        kind: case["kind"].as_str().unwrap(),
        operation,
        old: Some(&case["old"]).filter(|old| !old.is_null()),
        new: &new,
        user: case["user"].as_str().unwrap(),
        verbs: &verbs,
    };
    twin.admit(&write)
        .map(|admitted| (admitted.object, admitted.warnings))
        .map_err(|refused| refused.0)
}

fn wrong(twin: &Twin, case: &Value) -> Option<String> {
    let expect = &case["expect"];
    match (admit(twin, case), expect["result"].as_str().unwrap()) {
        (Ok((object, warnings)), "allowed") => {
            let warned = match expect["warning"].as_str() {
                Some("") => (!warnings.is_empty()).then(|| format!("warnings {warnings:?}")),
                Some(warning) => (!warnings.iter().any(|one| one.contains(warning)))
                    .then(|| format!("warnings {warnings:?}, not {warning}")),
                None => None,
            };
            let object = if expect["object"].is_null() {
                None
            } else {
                difference("", &expect["object"], &object)
            };
            object.or(warned)
        }
        (Err(message), "denied") => match expect["message"].as_str() {
            Some(expected) if !message.contains(expected) => {
                Some(format!("refused with {message:?}, not {expected:?}"))
            }
            _ => None,
        },
        (Ok(_), _) => Some("allowed".to_owned()),
        (Err(message), _) => Some(format!("refused: {message}")),
    }
}

#[test]
fn the_twin_answers_as_the_policies_did() {
    let cases = cases();
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case["name"], wrong(&Twin::default(), case)?)))
        .collect();
    assert!(cases.len() > 350);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

const RULES: [Rule; 10] = [
    Rule::Hold,
    Rule::HoldReplicas,
    Rule::Reassert,
    Rule::RenewId,
    Rule::RestoreDeclared,
    Rule::PutMarksBack,
    Rule::StripStale,
    Rule::CheckRights,
    Rule::KeepAuthors,
    Rule::GuardStatus,
];

#[test]
fn each_rule_that_is_forgotten_changes_some_answer() {
    let cases = cases();
    for rule in RULES {
        let twin = without(rule);
        assert!(cases.iter().any(|case| wrong(&twin, case).is_some()), "no case needs {rule:?}");
    }
}

/// A case by its name, and what a twin makes of it.
fn case(name: &str, twin: Twin) -> Result<(Value, Vec<String>), String> {
    admit(&twin, cases().iter().find(|case| case["name"] == name).unwrap())
}

fn without(rule: Rule) -> Twin {
    Twin { forgets: Some(rule), ..Twin::default() }
}

#[test]
fn a_forgotten_rule_is_left_out() {
    let spec = |name: &str, rule| case(name, without(rule)).unwrap().0["spec"].clone();
    let marks =
        |name: &str, rule| case(name, without(rule)).unwrap().0["metadata"]["annotations"].clone();

    let (rolls, warnings) =
        case("Deployment: a changed template is held", without(Rule::Hold)).unwrap();
    assert_eq!(
        (&rolls["spec"]["paused"], &rolls["metadata"]["annotations"]["lockkeeper.dev/hold"]),
        (&Value::Null, &Value::Null)
    );
    assert!(warnings[0].contains("NOT held by Lockkeeper, it rolls now"), "{warnings:?}");

    let dropped = "Deployment: replace without annotations and label: all restored, still held";
    assert_eq!(spec(dropped, Rule::Reassert)["paused"], Value::Null);
    assert_eq!(marks(dropped, Rule::PutMarksBack)["lockkeeper.dev/hold-changes"], Value::Null);

    let renewed = "StatefulSet: a second author's change renews id and user";
    let (exact, forgetful) =
        (case(renewed, Twin::default()).unwrap().0, marks(renewed, Rule::RenewId));
    assert_ne!(
        exact["metadata"]["annotations"]["lockkeeper.dev/hold"],
        forgetful["lockkeeper.dev/hold"]
    );

    assert_eq!(spec("Deployment: the operator releases", Rule::RestoreDeclared)["paused"], true);
    assert_eq!(
        spec("StatefulSet: the operator releases", Rule::RestoreDeclared)["updateStrategy"]["rollingUpdate"]
            ["partition"],
        HELD
    );
    // By somebody who may approve: of anybody else the carried approval is refused.
    let changed = "Deployment: an approval is void when the template changes";
    let mut changed = cases().into_iter().find(|case| case["name"] == changed).unwrap();
    changed["verbs"] = json!(["approve"]);
    let carried =
        admit(&without(Rule::StripStale), &changed).unwrap().0["metadata"]["annotations"].clone();
    assert!(
        carried["lockkeeper.dev/approved-by"].is_string()
            && carried["lockkeeper.dev/approve"].is_string(),
        "{carried}"
    );
    assert!(
        case("Deployment: approve without the verb is refused", without(Rule::CheckRights)).is_ok()
    );
}

/// An update of a Deployment that is not held.
fn update(old: &Value, new: &Value, user: &str) -> Result<(Value, Vec<String>), String> {
    let write = Write {
        kind: "Deployment",
        operation: Operation::Update,
        old: Some(old),
        new,
        user,
        verbs: &[],
    };
    Twin::default()
        .admit(&write)
        .map(|admitted| (admitted.object, admitted.warnings))
        .map_err(|refused| refused.0)
}

fn deployment(labels: Value, annotations: Value) -> Value {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "app:v1"}]}});
    let metadata = json!({"name": "web", "namespace": "shop", "generation": 1, "labels": labels, "annotations": annotations});
    json!({"metadata": metadata, "spec": {"replicas": 1, "template": template, "strategy": {"type": "Recreate"}}})
}

#[test]
fn rights_are_not_asked_for_where_the_label_is_gone_after_mutation() {
    let old = deployment(json!({"app": "web"}), json!({"lockkeeper.dev/hold-changes": "true"}));
    let mut new = old.clone();
    new["metadata"]["labels"]["lockkeeper.dev/governed"] = json!("true");
    new["metadata"]["annotations"]["lockkeeper.dev/ignore"] = json!("true");
    let (object, _) = update(&old, &new, "dev").unwrap();
    assert_eq!(object["metadata"]["labels"], json!({"app": "web"}));
}

#[test]
fn a_governed_label_without_a_value_stays_dropped() {
    let old = deployment(json!({"lockkeeper.dev/governed": ""}), json!({}));
    let new = deployment(json!({}), json!({}));
    assert_eq!(update(&old, &new, "dev").unwrap().0["metadata"].get("labels"), None);
    let old = deployment(json!({"lockkeeper.dev/governed": "false"}), json!({}));
    assert_eq!(
        update(&old, &new, "dev").unwrap().0["metadata"]["labels"],
        old["metadata"]["labels"]
    );
}

#[test]
fn self_restraint_is_about_workloads_only() {
    let (old, new) = (json!({"spec": {"data": 1}}), json!({"spec": {"data": 2}}));
    let write = |kind| Write {
        kind,
        operation: Operation::Update,
        old: Some(&old),
        new: &new,
        user: OPERATOR,
        verbs: &[],
    };
    assert!(Twin::default().admit(&write("ConfigMap")).is_ok());
    assert!(Twin::default().admit(&write("DaemonSet")).is_err());
}

#[test]
fn nothing_is_left_empty_or_null() {
    let old = deployment(json!({"lockkeeper.dev/governed": "true"}), Value::Null);
    let mut new = old.clone();
    new["spec"]["template"]["metadata"]["annotations"] =
        json!({"lockkeeper.dev/config-hash": "forged"});
    for old in [Some(&old), None] {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let write =
            Write { kind: "Deployment", operation, old, new: &new, user: "dev", verbs: &[] };
        let admitted = Twin::default().admit(&write).unwrap();
        assert_eq!(admitted.object["metadata"].get("annotations"), None);
        assert_eq!(
            admitted.object["spec"]["template"]["metadata"],
            json!({"labels": {"app": "web"}})
        );
        assert_eq!(admitted.warnings, Vec::<String>::new());
    }
}

#[test]
fn generated_writes_are_the_same_for_the_same_seed_and_reach_everything() {
    let writes = generate::writes(1, 6000);
    assert_eq!(writes[..100], generate::writes(1, 100)[..]);
    assert_ne!(writes[..100], generate::writes(2, 100)[..]);
    let answers: Vec<_> =
        writes.iter().map(|write| Twin::default().admit(&write.write())).collect();
    // None of them is a write of the status.
    for rule in RULES.into_iter().filter(|rule| *rule != Rule::GuardStatus) {
        let seen = writes
            .iter()
            .zip(&answers)
            .filter(|(write, answer)| without(rule).admit(&write.write()) != **answer)
            .count();
        assert!(seen >= 3, "{rule:?} matters to {seen} writes only");
    }
    let messages = [
        "may not approve",
        "may not bypass",
        "may not take",
        "may not change spec.",
        "spec.template.spec.containers[app].image",
    ];
    for message in messages {
        let is_it = |answer: &&Result<_, Refused>| {
            answer.as_ref().err().is_some_and(|refused| refused.0.contains(message))
        };
        assert!(
            answers.iter().any(|answer| is_it(&answer)),
            "nothing is refused because: {message}"
        );
    }
}

#[test]
fn what_is_held_stays_held_unless_the_operator_writes() {
    for write in generate::writes(3, 2000)
        .iter()
        .filter(|write| write.user != OPERATOR && write.old.is_some())
    {
        let Ok(Admitted { object, .. }) = Twin::default().admit(&write.write()) else { continue };
        let marks = &object["metadata"]["annotations"];
        let (held, steps) = (
            marks["lockkeeper.dev/hold"].is_string(),
            marks["lockkeeper.dev/partition"].is_string(),
        );
        let governed =
            !write.old.as_ref().unwrap()["metadata"]["labels"]["lockkeeper.dev/governed"].is_null();
        match write.kind {
            "Deployment" if governed && held => {
                assert_eq!(object["spec"]["paused"], true, "{write:?}")
            }
            "StatefulSet" if governed && held && !steps => {
                assert_eq!(
                    object["spec"]["updateStrategy"]["rollingUpdate"]["partition"], HELD,
                    "{write:?}"
                );
            }
            _ => {}
        }
    }
}

#[test]
fn generated_writes_of_storage_reach_every_refusal() {
    let writes = generate::storage_writes(7, 500);
    assert_eq!(writes[..50], generate::storage_writes(7, 50)[..]);
    let refused: Vec<_> =
        writes.iter().filter_map(|write| Twin::default().admit(&write.write()).err()).collect();
    let messages = [
        "only; leave it out",
        "may not be removed",
        "at creation",
        "unprotect may not be set",
        "readopt may not be set",
        "must look",
        "may not change",
    ];
    for message in messages {
        assert!(
            refused.iter().any(|refused| refused.0.contains(message)),
            "nothing is refused because: {message}"
        );
    }
    assert!(refused.len() < writes.len() * 2 / 3, "most are refused: {}", refused.len());
}

#[test]
fn what_is_retained_stays_so_unless_the_operator_writes() {
    let retained =
        |object: &Value| object["metadata"]["labels"]["lockkeeper.dev/retained"] == "true";
    let of_claims = |write: &&generate::GeneratedWrite| {
        write.kind == "PersistentVolumeClaim" && write.user != OPERATOR
    };
    let mut seen = 0;
    for write in generate::storage_writes(11, 1000).iter().filter(of_claims) {
        let Ok(Admitted { object, .. }) = Twin::default().admit(&write.write()) else { continue };
        assert_eq!(retained(&object), write.old.as_ref().is_some_and(retained), "{write:?}");
        for shield in [
            "helm.sh/resource-policy",
            "argocd.argoproj.io/sync-options",
            "kustomize.toolkit.fluxcd.io/prune",
        ] {
            assert!(
                !retained(&object) || object["metadata"]["annotations"][shield].is_string(),
                "{write:?}"
            );
        }
        seen += usize::from(retained(&object));
    }
    assert!(seen > 50, "{seen} are retained");
}

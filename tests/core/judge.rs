//! The rules as the webhook applies them: the same as those of the API server, whose answers are
//! the cases, and as the twin's.

use std::{collections::BTreeSet, sync::LazyLock};

use lockkeeper::core::judge::{
    Judgement, Operation, Release, Request, Resource, Rights, Rules, User,
};
use model::admission::{self as twin, Judge, OPERATOR, Twin, Write, difference, generate};
use proptest::prelude::*;
use serde_json::{Value, json};

static RULES: LazyLock<Rules> =
    LazyLock::new(|| Rules::read(&Release::new("lockkeeper-system", "lockkeeper-image")).unwrap());

/// A write as the API server shows it to the webhook.
fn request(write: &Write) -> Option<Request> {
    let (operation, subresource) = match write.operation {
        twin::Operation::Create => (Operation::Create, None),
        twin::Operation::Update => (Operation::Update, None),
        twin::Operation::Status => (Operation::Update, Some("status")),
        twin::Operation::Finalize => (Operation::Update, Some("finalize")),
        twin::Operation::Delete => (Operation::Delete, None),
    };
    let (group, plural) = match write.kind {
        "Deployment" => ("apps", "deployments"),
        "StatefulSet" => ("apps", "statefulsets"),
        "DaemonSet" => ("apps", "daemonsets"),
        "PersistentVolumeClaim" => ("", "persistentvolumeclaims"),
        "PersistentVolume" => ("", "persistentvolumes"),
        "Pod" => ("", "pods"),
        _ => ("", "namespaces"),
    };
    let shown = |object: &Value| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.insert("kind".to_owned(), json!(write.kind));
        }
        object
    };
    let object = Some(write.new).filter(|_| operation != Operation::Delete).map(shown);
    let any = object.as_ref().or(write.old)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Request {
        operation,
        resource: Resource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            plural: plural.to_owned(),
            subresource: subresource.map(str::to_owned),
        },
        namespace: text(&any["metadata"]["namespace"]),
        name: text(&any["metadata"]["name"]),
        old_object: write.old.filter(|_| operation != Operation::Create).map(shown),
        object,
        namespace_object: None,
        user: User { username: write.user.to_owned(), ..User::default() },
        dry_run: false,
    })
}

/// What the webhook makes of a write; what it asks is answered by the verbs of the write.
fn judged(rules: &Rules, write: &Write) -> Result<Value, String> {
    let Some(request) = request(write) else { return Ok(write.new.clone()) };
    let mut rights = Rights::new();
    let object = || request.object.clone().or(write.old.cloned()).unwrap_or_default();
    loop {
        match rules.judge(&request, &rights) {
            Judgement::Untouched => return Ok(object()),
            Judgement::Patch(operations) => {
                let patch: json_patch::Patch =
                    serde_json::from_value(Value::Array(operations)).unwrap();
                let mut object = object();
                json_patch::patch(&mut object, &patch).map_err(|error| error.to_string())?;
                return Ok(object);
            }
            Judgement::Ask(asked) => {
                for right in asked {
                    assert_eq!(
                        (&*right.group, &*right.resource, &*right.name),
                        ("lockkeeper.dev", "upgradepolicies", "")
                    );
                    assert_eq!(right.namespace, request.namespace);
                    let may = write.verbs.contains(&&*right.verb);
                    assert_eq!(rights.insert(right, may), None, "asked twice");
                }
            }
            Judgement::Broken(error) => return Err(error),
        }
    }
}

/// HoldsEnforced is proven by a question to the rule itself: each judge writes its name, in a dry
/// run of the operator's alone.
#[test]
fn a_dry_run_of_the_operators_lease_is_answered_and_no_other_write_of_a_lease() {
    let lease = |asks: bool| {
        let mut lease = json!({"kind": "Lease", "metadata": {"name": "lockkeeper", "namespace": "lockkeeper-system"}});
        if asks {
            lease["metadata"]["annotations"] = json!({"lockkeeper.dev/probe": "who-judges true"});
        }
        lease
    };
    let write = |namespace: &str, user: &str, dry_run: bool, asks: bool| Request {
        operation: Operation::Update,
        resource: Resource {
            group: "coordination.k8s.io".to_owned(),
            version: "v1".to_owned(),
            plural: "leases".to_owned(),
            subresource: None,
        },
        namespace: namespace.to_owned(),
        name: "lockkeeper".to_owned(),
        object: Some(lease(asks)),
        old_object: Some(lease(false)),
        namespace_object: None,
        user: User { username: user.to_owned(), ..User::default() },
        dry_run,
    };
    let ours = "lockkeeper-system";
    assert_eq!(
        RULES.judge(&write(ours, OPERATOR, true, true), &Rights::new()),
        Judgement::Patch(vec![
            json!({"op": "add", "path": "/metadata/annotations/lockkeeper.dev~1probe",
            "value": "who-judges true webhook"})
        ])
    );
    for other in [
        write("shop", OPERATOR, true, true),
        write(ours, "ann", true, true),
        write(ours, OPERATOR, false, true),
        write(ours, OPERATOR, true, false),
    ] {
        assert_eq!(RULES.judge(&other, &Rights::new()), Judgement::Untouched, "{other:?}");
    }
}

/// The webhook is shown the namespace of a claim that is created.
#[test]
fn a_claim_of_a_reserved_name_gets_its_volume_and_no_other() {
    let namespace = |reserves: bool| {
        let labels =
            if reserves { json!({"lockkeeper.dev/reserves-claims": "true"}) } else { json!({}) };
        let reserved = "data-web-0=pv-1,data-web-10=pv-2,web-data=pv-1";
        json!({"kind": "Namespace", "metadata": {"name": "shop", "labels": labels,
            "annotations": {"lockkeeper.dev/reserved-claims": reserved}}})
    };
    let created = |name: &str, volume: Value, namespace: Option<Value>| {
        let claim = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": volume}});
        let write = Write {
            kind: "PersistentVolumeClaim",
            operation: twin::Operation::Create,
            old: None,
            new: &claim,
            user: "dev",
            verbs: &[],
        };
        let request = request(&write).unwrap();
        assert!(request.concerns_namespace());
        let request = Request { namespace_object: namespace, ..request };
        RULES.judge(&request, &Rights::new())
    };
    let gets = |volume: &str| {
        Judgement::Patch(vec![json!({"op": "add", "path": "/spec/volumeName", "value": volume})])
    };
    let here = Some(namespace(true));
    assert_eq!(created("data-web-0", Value::Null, here.clone()), gets("pv-1"));
    assert_eq!(created("data-web-10", Value::Null, here.clone()), gets("pv-2"));
    assert_eq!(created("data-web-1", Value::Null, here.clone()), Judgement::Untouched);
    // What asks for another one is refused, by the policy that only refuses.
    assert_eq!(created("data-web-0", json!("pv-9"), here), Judgement::Untouched);
    assert_eq!(created("data-web-0", Value::Null, Some(namespace(false))), Judgement::Untouched);
    assert_eq!(created("data-web-0", Value::Null, None), Judgement::Untouched);
}

/// As the API server stores it: what is null or an empty map of labels or annotations is left off.
fn stored(mut object: Value) -> Value {
    fn prune(value: &mut Value) {
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(prune);
        }
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|field, value| {
                !["labels", "annotations"].contains(&&**field) || *value != json!({})
            });
        }
    }
    prune(&mut object);
    object
}

/// An object whose label names another judge.
fn relabelled(object: &Value, from: &str, to: &str) -> Value {
    let mut object = object.clone();
    if let Some(label) = object.pointer_mut("/metadata/labels/lockkeeper.dev~1governed")
        && *label == from
    {
        *label = json!(to);
    }
    object
}

/// Where the webhook makes something else of a write than its twin.
fn differs(rules: &Rules, write: &Write) -> Option<String> {
    // No policy that changes objects looks at subresources.
    if matches!(write.operation, twin::Operation::Status | twin::Operation::Finalize) {
        let judgement = rules.judge(&request(write)?, &Rights::new());
        return (judgement != Judgement::Untouched).then(|| format!("{judgement:?}"));
    }
    let by_twin = stored(Twin { judge: Judge::Webhook, ..Twin::default() }.mutate(write));
    match judged(rules, write).map(stored) {
        Ok(mut by_webhook) => {
            if by_twin["kind"].is_null() {
                by_webhook.as_object_mut()?.remove("kind");
            }
            difference("twin", &by_twin, &by_webhook)
                .or_else(|| difference("webhook", &by_webhook, &by_twin))
        }
        Err(error) => Some(error),
    }
}

/// A case, with its verbs, as the API server judged it.
fn with_case<T>(case: &Value, old: &Value, new: &Value, look: impl FnOnce(&Write) -> T) -> T {
    let verbs: Vec<_> =
        case["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
    let operation = match case["operation"].as_str().unwrap() {
        "CREATE" => twin::Operation::Create,
        "UPDATE" => twin::Operation::Update,
        "UPDATE_STATUS" => twin::Operation::Status,
        "UPDATE_FINALIZE" => twin::Operation::Finalize,
        _ => twin::Operation::Delete,
    };
    look(&Write {
        kind: case["kind"].as_str().unwrap(),
        operation,
        old: Some(old).filter(|old| !old.is_null()),
        new,
        user: case["user"].as_str().unwrap(),
        verbs: &verbs,
    })
}

/// Each case was tried on a real API server. With the label that names it, the webhook makes the
/// same of the write, and so does the twin; with the other label it leaves it.
#[test]
fn p6_the_webhook_judges_each_case_as_the_api_server_did() {
    let mut wrong = Vec::new();
    let cases: Vec<Value> = serde_json::from_str(&twin::cases()).unwrap();
    for case in &cases {
        let [old, new] = ["old", "new"].map(|field| relabelled(&case[field], "true", "webhook"));
        // The cases that are about the other judge's label have it where the others have ours.
        let is_theirs = case["name"].as_str().unwrap().contains("webhook");
        let of_itself = !case["operation"].as_str().unwrap().contains('_');
        let expect = &case["expect"];
        let found = with_case(case, &old, &new, |write| {
            let expected = Some(&expect["object"]).filter(|object| {
                of_itself && expect["result"] == "allowed" && !is_theirs && !object.is_null()
            });
            let made = expected.and_then(|expected| {
                let object = judged(&RULES, write).map(stored);
                let object = relabelled(&object.ok()?, "webhook", "true");
                difference("case", expected, &object)
            });
            made.or_else(|| differs(&RULES, write))
        });
        let as_is = with_case(case, &case["old"], &case["new"], |write| differs(&RULES, write));
        wrong.extend(found.into_iter().chain(as_is).map(|one| format!("{}: {one}", case["name"])));
    }
    assert!(cases.len() > 350);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Generated writes with every label that there may be, before and after.
fn generated() -> Vec<generate::GeneratedWrite> {
    let labels = ["true", "webhook"];
    let mut all = generate::writes(11, 700);
    for (index, write) in all.iter_mut().enumerate() {
        let (before, after) = (labels[index % 2], labels[index / 2 % 2]);
        write.old = write.old.as_ref().map(|old| relabelled(old, "true", before));
        write.new = relabelled(&write.new, "true", after);
    }
    all.extend(generate::storage_writes(11, 300));
    all
}

#[test]
fn p6_the_webhook_judges_generated_writes_as_its_twin() {
    let all = generated();
    let differ =
        |write: &generate::GeneratedWrite| Some((differs(&RULES, &write.write())?, write.clone()));
    let wrong: Vec<_> = all.iter().filter_map(differ).collect();
    assert!(wrong.is_empty(), "{} of {} differ: {:#?}", wrong.len(), all.len(), wrong.first());
    let changed =
        all.iter().filter(|write| judged(&RULES, &write.write()).unwrap() != write.new).count();
    assert!(changed > 300, "only {changed} are changed");
}

/// Two judges at once would take the one's hold for what the manifest declares, and a Deployment
/// would stay paused indefinitely.
#[test]
fn p10_no_write_of_a_governed_workload_has_two_judges() {
    let (mut both, mut one) = (0, 0);
    for generated in generated().iter().filter(|write| write.old.is_some()) {
        let write = generated.write();
        let by_policies = stored(Twin::default().mutate(&write));
        let after = Write { new: &by_policies, ..write };
        let by_both = stored(judged(&RULES, &after).unwrap());
        let as_written = stored(write.new.clone());
        match (by_policies != as_written, by_both != by_policies) {
            (true, true) => both += 1,
            (false, false) => {}
            _ => one += 1,
        }
        assert!(
            by_policies == as_written || by_both == by_policies,
            "{generated:?}\nby the API server: {by_policies}\nthen by the webhook: {by_both}"
        );
    }
    assert_eq!(both, 0);
    assert!(one > 300, "only {one} are judged");
}

#[test]
fn rights_are_asked_for_as_the_users_own_and_only_when_needed() {
    let cases: Vec<Value> = serde_json::from_str(&twin::cases()).unwrap();
    let mut asked = BTreeSet::new();
    for case in cases.iter().filter(|case| case["kind"] == "Deployment") {
        let [old, new] = ["old", "new"].map(|field| relabelled(&case[field], "true", "webhook"));
        let request = with_case(case, &old, &new, request);
        let Some(request) = request else { continue };
        if let Judgement::Ask(rights) = RULES.judge(&request, &Rights::new()) {
            assert_ne!(request.user.username, OPERATOR, "{}", case["name"]);
            asked.extend(rights.into_iter().map(|right| right.verb));
        }
    }
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["approve", "bypass"]);
}

/// The operator's account is that of its release's namespace.
#[test]
fn the_rules_know_the_operator_of_their_own_namespace() {
    let cases: Vec<Value> = serde_json::from_str(&twin::cases()).unwrap();
    let name = "Deployment: the operator releases";
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    let [old, new] = ["old", "new"].map(|field| relabelled(&case[field], "true", "webhook"));
    let held = |namespace: &str| {
        let rules = Rules::read(&Release::new(namespace, "")).unwrap();
        let object = with_case(case, &old, &new, |write| judged(&rules, write)).unwrap();
        object["metadata"]["annotations"]["lockkeeper.dev/hold"].is_string()
    };
    assert_eq!((held("lockkeeper-system"), held("elsewhere")), (false, true));
}

fn anything() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("true".to_owned()),
        Just("webhook".to_owned()),
        Just("7 by dev".to_owned()),
        Just("ä by ".to_owned()),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("metadata".to_owned()),
        Just("labels".to_owned()),
        Just("annotations".to_owned()),
        Just("lockkeeper.dev/governed".to_owned()),
        Just("lockkeeper.dev/hold".to_owned()),
        Just("lockkeeper.dev/partition".to_owned()),
        Just("spec".to_owned()),
        Just("template".to_owned()),
        Just("replicas".to_owned()),
        Just("strategy".to_owned()),
        Just("updateStrategy".to_owned()),
        ".{0,6}",
    ];
    leaf.prop_recursive(6, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..8).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever the API server sends, there is an answer.
    #[test]
    fn garbage_is_answered(
        old in anything(),
        new in anything(),
        at in prop_oneof![Just(""), Just("/metadata"), Just("/metadata/annotations"), Just("/spec"), Just("/spec/template"), Just("/spec/strategy")],
        index in 0..700usize,
    ) {
            let write = generate::writes(13, index + 1).pop().unwrap();
        let mut object = relabelled(&write.new, "true", "webhook");
        let before = write.old.as_ref().map(|old| relabelled(old, "true", "webhook"));
        if let Some(place) = object.pointer_mut(at) {
            *place = new;
        }
        let garbage = Write { old: Some(&old), new: &object, ..write.write() };
        let half = Write { old: before.as_ref(), new: &object, ..write.write() };
        for write in [garbage, half] {
            if let Some(request) = request(&write) {
                let judgement = RULES.judge(&request, &Rights::new());
                if let Judgement::Broken(sentence) = judgement {
                    prop_assert!(sentence.ends_with("please report it"), "{sentence}");
                }
            }
        }
    }
}

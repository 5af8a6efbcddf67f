use lockkeeper::{
    api::WorkloadKind,
    core::observed::Namespace,
    shell::views::{Deployments, Watched, Wire},
};
use serde_json::{Value, json};

use lockkeeper::api::marks;

use super::*;

/// A Deployment whose pods are all of its newest template, with what stands on it, and what the
/// policy's status says of it.
fn seen(marks: &Value, said: &Value) -> (Seen, Workload) {
    let deployment: Wire<Deployments> = serde_json::from_value(json!({
        "metadata": {"name": "web", "uid": "w", "generation": 2, "labels": {marks::GOVERNED: "true"}, "annotations": marks},
        "spec": {"replicas": 2, "template": {}},
        "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    }))
    .unwrap();
    let policy = json!({
        "apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy",
        "metadata": {"name": "shop"}, "spec": {"selector": {}}, "status": {"attention": said},
    });
    let world = Namespace { name: "shop".into(), ..Namespace::default() };
    let workload = Deployments::view(&deployment.metadata, deployment.body);
    (Seen { world, policies: vec![serde_json::from_value(policy).unwrap()] }, workload)
}

#[test]
fn what_was_said_of_another_change_or_before_an_approval_ends_no_wait() {
    let says = |phase: &str, reason: &str, hold: Value| {
        let since = Timestamp::UNIX_EPOCH.to_string();
        let (kind, name, message) = ("Deployment", "web", "as the status says");
        json!([{"kind": kind, "name": name, "phase": phase, "reason": reason, "message": message, "since": since, "hold": hold}])
    };
    let would_hold = says("WouldHold", "ObserveMode", Value::Null);
    let mut would_roll = says("WouldRoll", "ObserveMode", Value::Null);
    would_roll[0]["changed"] = json!(["ConfigMap/app[a]"]);
    let held = |id: &str| {
        says(
            "Held",
            "ApprovalRequired",
            json!({"id": id, "by": "ann", "cause": ["Template"], "approvedBy": "", "message": "not approved yet"}),
        )
    };
    let frozen = says("Waiting", "Frozen", Value::Null);
    let hold = json!({marks::HOLD: "7 by ann"});
    let approved = json!({marks::HOLD: "7 by ann", marks::APPROVE: "7", marks::APPROVED_BY: "bob"});
    for (marks, said, expected) in [
        (&hold, held("7"), Ok(End::Person)),
        (&hold, held("6"), Err("has not judged the change yet")),
        (&hold, json!([]), Err("has not judged the change yet")),
        (&approved, held("7"), Err("has not judged the change yet")),
        (&json!({}), held("7"), Err("has not reported yet what follows")),
        (&json!({}), frozen, Ok(End::Person)),
        (&json!({}), would_hold, Ok(End::Done)),
        (&json!({}), would_roll, Ok(End::Person)),
        (&json!({}), json!([]), Ok(End::Done)),
    ] {
        let (seen, workload) = seen(marks, &said);
        match (judge(&seen, &workload, None, Timestamp::UNIX_EPOCH), expected) {
            (Err(why), Err(part)) => assert!(why.contains(part), "{marks} {said}: {why}"),
            (end, expected) => {
                assert_eq!(end, expected.map_err(str::to_owned), "{marks} {said}")
            }
        }
    }
}

/// The operator of an earlier version has no message of the change alone.
#[test]
fn why_it_waits_is_told_by_the_message_of_the_change_and_where_there_is_none_by_the_whole() {
    let whole =
        "changed by ann, held since 2026-11-20 10:00:00 UTC: not approved yet: kubectl annotate x";
    let hold = |message: &str| json!({"id": "7", "message": message});
    for (phase, hold, expected) in [
        ("Held", hold("not approved yet"), "not approved yet"),
        ("Waiting", hold("not approved yet"), "not approved yet"),
        ("Held", hold(""), whole),
        ("Rolling", hold("not approved yet"), whole),
        ("Failed", Value::Null, whole),
    ] {
        let (reason, since) = ("ApprovalRequired", Timestamp::UNIX_EPOCH.to_string());
        let attention = json!({"kind": "Deployment", "name": "web", "phase": phase, "reason": reason,
            "message": whole, "since": since, "hold": hold});
        let attention: Attention = serde_json::from_value(attention).unwrap();
        assert_eq!(why_not(&attention), expected, "{phase}");
    }
}

#[test]
fn where_a_step_restarts_with_another_success_has_to_last() {
    let (mut seen, workload) = seen(&json!({}), &json!([]));
    assert_eq!(may_follow(&seen, None), Duration::ZERO);
    let steps = json!({"steps": [
        {"name": "db", "selector": {"matchLabels": {"app": "db"}}},
        {"name": "api", "selector": {"matchLabels": {"app": "api"}}, "restartWith": "Previous"}]});
    seen.policies[0].spec.rollout = Some(serde_json::from_value(steps).unwrap());
    assert_eq!(may_follow(&seen, None), NOTICE);
    assert_eq!(may_follow(&seen, Some(&workload.id)), Duration::ZERO);
}

fn waits(name: &str, change: Option<(&str, Option<&str>)>) -> Waiting {
    Waiting {
        workload: WorkloadId { kind: WorkloadKind::Deployment, name: name.to_owned() },
        change: change.map(|(id, by)| (id.to_owned(), by.map(str::to_owned))),
        since: change.and_then(|_| Timestamp::from_second(1_000_000).ok()),
        reason: Some(Reason::WindowClosed),
        why: "no window is open".to_owned(),
    }
}

#[test]
fn what_is_held_is_told_with_by_whom_and_since_when() {
    let now = Timestamp::from_second(1_000_192).unwrap();
    for (waiting, all, news, short) in [
        (
            vec![waits("web", Some(("7", Some("ann"))))],
            false,
            "deployment/web is held (change 7 by ann since 1970-01-12 13:46:40 UTC): no window is open",
            "deployment/web held 3m 12s: WindowClosed (change 7 by ann): no window is open",
        ),
        (
            vec![waits("web", Some(("c-1a2b3c4d", None))), waits("api", None)],
            true,
            "3 of 5 done; deployment/web is waiting (change c-1a2b3c4d since 1970-01-12 13:46:40 UTC): no window is open; and 1 more",
            "3 of 5 done; deployment/web waiting 3m 12s: WindowClosed (change c-1a2b3c4d): no window is open; and 1 more",
        ),
        (
            vec![waits("api", None)],
            false,
            "deployment/api: no window is open",
            "deployment/api: no window is open",
        ),
    ] {
        let look = Look { done: 3, waiting, ..Look::default() };
        assert_eq!(look.told(all, now), Some((news.to_owned(), short.to_owned())));
    }
    assert_eq!(Look::default().told(true, now), None);
}

//! What becomes of changed config.

use super::*;

#[test]
fn changed_config_rolls_who_reads_it_and_nobody_else() {
    let web = workload("Deployment", "web", "v1");
    let config = |spec: Value| json!({"selector": {}, "config": spec});
    let read = || (Some(json!({"a": "1", "b": "1"})), json!({"a": "2", "b": "1"}));
    let unread = || (Some(json!({"a": "1", "b": "1"})), json!({"a": "1", "b": "2"}));
    let mut paused = web.clone();
    paused["spec"]["paused"] = json!(true);
    let mut reloaded = web.clone();
    reloaded["metadata"]["annotations"] = json!({"reloader.stakater.com/auto": "true"});
    let mut full = web.clone();
    full["metadata"]["annotations"] = json!({marks::ROLLOUTS: "1795280100"});
    let frozen = json!({"selector": {}, "mode": "Freeze", "config": {}});
    let observed = json!({"selector": {}, "mode": "Observe", "config": {}});
    for (name, workload, policy, (before, after), expected, told) in [
        ("read", &web, Some(config(json!({}))), read(), Outcome::ConfigRoll, "ConfigMap/app[a]"),
        (
            "not read",
            &web,
            Some(config(json!({}))),
            unread(),
            Outcome::Unchanged,
            "No workload reads what changes in it (b)",
        ),
        (
            "included",
            &web,
            Some(config(json!({"include": [{"kind": "ConfigMap", "name": "app", "keys": ["b"]}]}))),
            unread(),
            Outcome::ConfigRoll,
            "ConfigMap/app[b]",
        ),
        (
            "excluded",
            &web,
            Some(config(json!({"exclude": [{"kind": "ConfigMap", "name": "app"}]}))),
            read(),
            Outcome::Unchanged,
            "",
        ),
        ("nobody governs", &web, None, read(), Outcome::NotRolled, "No policy rolls it for config"),
        (
            "no config in the policy",
            &web,
            Some(gated()),
            read(),
            Outcome::NotRolled,
            "has no spec.config",
        ),
        (
            "reported",
            &web,
            Some(config(json!({"onChange": "Report"}))),
            read(),
            Outcome::Report,
            "only reports it",
        ),
        ("observed", &web, Some(observed), read(), Outcome::Report, "only reports it"),
        ("frozen", &web, Some(frozen), read(), Outcome::ConfigHold, "its policy freezes"),
        (
            "paused",
            &paused,
            Some(config(json!({}))),
            read(),
            Outcome::WaitsForUser,
            "Its manifest holds its pods",
        ),
        ("another reloader", &reloaded, Some(config(json!({}))), read(), Outcome::Unchanged, ""),
        (
            "often enough",
            &full,
            Some(config(json!({"limit": {"max": 1, "window": "1h"}}))),
            read(),
            Outcome::ConfigHold,
            "1 config rollouts within 1h",
        ),
        (
            "a key goes",
            &web,
            Some(config(json!({}))),
            (Some(json!({"a": "1"})), json!({"b": "1"})),
            Outcome::Unchanged,
            "ConfigMap/app has no key a",
        ),
    ] {
        let case = Case::new().workload(workload).config(before, after);
        let case = match policy {
            Some(spec) => case.policy(spec),
            None => case,
        };
        assert_eq!(case.outcome("deployment/web"), expected, "{name}: {}", case.told());
        assert!(case.told().contains(told), "{name}: {told:?} is not in {}", case.told());
    }
}

#[test]
fn what_cannot_be_read_is_no_change() {
    let web = workload("Deployment", "web", "v1");
    let case = Case::new()
        .workload(&web)
        .policy(json!({"selector": {}, "config": {}}))
        .new_workload(&web, true);
    assert!(!case.told().contains("ConfigMissing"), "nobody looked at it: {}", case.told());
    assert!(!case.plan().happens());
}

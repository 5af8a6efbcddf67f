//! What becomes of a changed policy.

use super::*;

#[test]
fn a_policy_that_changes_says_whose_the_workloads_are() {
    let web = workload("Deployment", "web", "v1");
    let held_web = held(workload("Deployment", "web", "v2"), "4");
    let free = json!({"selector": {}, "config": {}});
    for (name, workload, before, after, expected, told) in [
        (
            "begins",
            &web,
            None,
            gated(),
            Outcome::Governed,
            "begins to govern it, and holds its template changes",
        ),
        (
            "ends",
            &web,
            Some(gated()),
            json!({"selector": {"matchLabels": {"app": "other"}}}),
            Outcome::LetGo,
            "no longer governs it",
        ),
        (
            "holds from then on",
            &web,
            Some(free.clone()),
            gated(),
            Outcome::Governed,
            "holds its template changes from then on",
        ),
        (
            "no longer holds",
            &web,
            Some(gated()),
            free.clone(),
            Outcome::LetGo,
            "no longer holds its template changes",
        ),
        ("the same", &web, Some(gated()), gated(), Outcome::Unchanged, ""),
        (
            "releases",
            &held_web,
            Some(gated()),
            free,
            Outcome::Roll,
            "Its held change 4 is released",
        ),
        (
            "ends while a change is held",
            &held_web,
            Some(gated()),
            json!({"selector": {"matchLabels": {"app": "other"}}}),
            Outcome::Roll,
            "Its held change 4 is released: no policy holds it any longer",
        ),
        (
            "asks for less",
            &held_web,
            Some(gated()),
            json!({"selector": {}, "rollout": {"maxConcurrent": 1}}),
            Outcome::Roll,
            "no gate is closed any longer",
        ),
        (
            "cannot be read",
            &web,
            None,
            json!({"selector": {}, "gates": {"windows": [{"schedule": "x", "duration": "1h"}]}}),
            Outcome::Unchanged,
            "InvalidSpec",
        ),
    ] {
        let case = Case::new().workload(workload);
        let case = match before {
            Some(spec) => case.policy(spec),
            None => case,
        };
        let case = case.new_policy(after);
        assert_eq!(case.outcome("deployment/web"), expected, "{name}: {}", case.told());
        assert!(case.told().contains(told), "{name}: {told:?} is not in {}", case.told());
    }
}

/// To observe is not to release.
#[test]
fn a_policy_that_begins_to_observe_releases_nothing() {
    let observed = || json!({"selector": {}, "mode": "Observe", "gates": {"approval": "Required"}});
    let free = || json!({"selector": {}, "config": {}});
    let web = |image: &str| workload("Deployment", "web", image);
    let with = |before: &Value, old: Value, new: Value| {
        Case::new().workload(before).policy(old).new_policy(new)
    };
    let waits_for_a_bypass = || {
        let mut kept = held(web("v2"), "4");
        let mark = json!({"policy": "shop", "uid": "p", "whenUngoverned": "Keep"}).to_string();
        kept["metadata"]["annotations"][marks::GOVERNANCE] = json!(mark);
        kept
    };
    for (name, case, expected, told, untold) in [
        (
            "held",
            with(&held(web("v2"), "4"), gated(), observed()),
            Outcome::Unchanged,
            "Its change 4 is held already. It stays held",
            "released:",
        ),
        (
            "held, and changed again",
            with(&held(web("v2"), "4"), gated(), observed())
                .new_workload(&held(web("v3"), "5"), true),
            Outcome::Hold,
            "It stays held: policy shop would only observe",
            "for a moment",
        ),
        (
            "changed in the same files",
            with(&marked(web("v1")), gated(), observed()).new_workload(&held(web("v2"), "4"), true),
            Outcome::Hold,
            "Where the policy is applied first, it may roll out immediately instead",
            "for a moment",
        ),
        (
            "held, and the gates are asked again",
            with(&held(web("v2"), "4"), observed(), gated()),
            Outcome::Governed,
            "",
            "released",
        ),
        (
            "held, and no gates are left",
            with(&held(web("v2"), "4"), observed(), free()),
            Outcome::Roll,
            "Its held change 4 is released",
            "stays",
        ),
        (
            "held, and only gates that are open are left",
            with(
                &held(web("v2"), "4"),
                observed(),
                json!({"selector": {}, "rollout": {"maxConcurrent": 1}}),
            ),
            Outcome::Roll,
            "no gate is closed any longer",
            "stays",
        ),
        (
            "kept by whenUngoverned",
            with(&waits_for_a_bypass(), gated(), free()),
            Outcome::Unchanged,
            "stays held although",
            "released:",
        ),
        (
            "not held",
            with(&marked(web("v1")), gated(), observed()),
            Outcome::LetGo,
            "no longer holds its template changes",
            "stays",
        ),
    ] {
        assert_eq!(case.outcome("deployment/web"), expected, "{name}: {}", case.told());
        let text = case.told();
        assert!(
            text.contains(told) && !text.contains(untold),
            "{name}: {told:?} and not {untold:?} in {text}"
        );
    }
}

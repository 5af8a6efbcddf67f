//! In which order workloads go.

use super::*;

fn web_and_its_steps(mode: &str) -> Case {
    let step = |name: &str, restart: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}, "restartWith": restart});
    let policy = json!({"selector": {}, "mode": mode, "config": {}, "rollout": {"steps": [
        step("db", "Nothing"), step("api", "Previous"), step("web", "Previous")]}});
    let of = |name: &str| marked(workload("Deployment", name, "v1"));
    Case::new().policy(policy).workload(&of("db")).workload(&of("api")).workload(&of("web"))
}

#[test]
fn what_restarts_with_a_step_follows_it_and_waits_for_it() {
    let changed = marked(workload("Deployment", "db", "v2"));
    for (name, case, expected) in [
        (
            "the first step changes",
            web_and_its_steps("Enforce").new_workload(&changed, false),
            [Outcome::Hold, Outcome::ConfigHold, Outcome::ConfigHold],
        ),
        (
            "the second step changes",
            web_and_its_steps("Enforce")
                .new_workload(&marked(workload("Deployment", "api", "v2")), false),
            [Outcome::Unchanged, Outcome::Hold, Outcome::ConfigHold],
        ),
        (
            "the last step changes",
            web_and_its_steps("Enforce")
                .new_workload(&marked(workload("Deployment", "web", "v2")), false),
            [Outcome::Unchanged, Outcome::Unchanged, Outcome::Hold],
        ),
        (
            "it is only observed",
            web_and_its_steps("Observe").new_workload(&changed, true),
            [Outcome::Roll, Outcome::Unchanged, Outcome::Unchanged],
        ),
    ] {
        let found = ["db", "api", "web"].map(|one| case.outcome(&format!("deployment/{one}")));
        assert_eq!(found, expected, "{name}: {}", case.told());
    }
    let plan = web_and_its_steps("Enforce").new_workload(&changed, false).plan();
    let of = |name: &str| plan.objects.iter().find(|line| line.object.ends_with(name)).unwrap();
    assert_eq!(of("db").waits_for, [], "its turn is first");
    for name in ["api", "web"] {
        let line = of(name);
        assert_eq!(line.waits_for.len(), 1, "{line:?}");
        assert_eq!(line.waits_for[0].gate, "steps");
        assert!(
            line.waits_for[0].message.contains("step \"db\": Deployment/db is not done"),
            "{line:?}"
        );
        assert!(line.because[0].contains("restarts with the step before it"), "{line:?}");
    }
}

#[test]
fn as_many_go_at_once_as_the_policy_allows() {
    let policy = json!({"selector": {}, "rollout": {"maxConcurrent": 1}});
    let of = |name: &str, image: &str| marked(workload("Deployment", name, image));
    let case = Case::new()
        .policy(policy)
        .workload(&of("a", "v1"))
        .workload(&of("b", "v1"))
        .new_workload(&of("a", "v2"), false)
        .new_workload(&of("b", "v2"), false);
    let plan = case.plan();
    let waits: Vec<_> = plan.objects.iter().map(|line| line.waits_for.len()).collect();
    assert_eq!(waits, [0, 1], "{plan:?}");
    assert!(plan.objects[1].waits_for[0].message.contains("rollout.maxConcurrent"), "{plan:?}");
}

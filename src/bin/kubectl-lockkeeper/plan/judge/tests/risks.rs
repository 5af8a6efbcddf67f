//! What would be in danger.

use super::*;

#[test]
fn exclusive_claims_are_at_risk_whether_or_not_a_policy_sees_to_them() {
    let claim = view::<Claims>(
        &json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}),
    )
    .unwrap();
    let files = |replicas: u32, strategy: &str| {
        let mut files = workload("Deployment", "files", "v1");
        files["spec"]["replicas"] = json!(replicas);
        files["spec"]["strategy"] = json!({"type": strategy});
        files["spec"]["template"]["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        files
    };
    for (replicas, strategy, scaled, expected) in [
        (1, "Recreate", None, None),
        (1, "RollingUpdate", None, Some("ExclusiveClaim")),
        (2, "RollingUpdate", None, Some("ExclusiveClaimShared")),
        (1, "Recreate", Some(3), Some("ExclusiveClaimShared")),
    ] {
        let mut case = Case::new().new_workload(&files(replicas, strategy), true);
        case.after.claims.insert("data".to_owned(), claim.clone());
        if let Some(most) = scaled {
            let scaler = json!({"metadata": {"name": "files"}, "spec": {"maxReplicas": most, "scaleTargetRef": {"kind": "Deployment", "name": "files"}}});
            case.after
                .autoscalers
                .insert("h".into(), view::<Autoscalers>(&scaler).unwrap().unwrap());
        }
        let plan = case.plan();
        assert_eq!(
            plan.risks.first().map(|risk| risk.reason.as_str()),
            expected,
            "{replicas} {strategy} {scaled:?}"
        );
        // What is so already is not put at risk by this.
        let mut known = Case::new().workload(&files(replicas, strategy));
        for world in [&mut known.before, &mut known.after] {
            world.claims.insert("data".to_owned(), claim.clone());
            world.autoscalers = case
                .after
                .autoscalers
                .iter()
                .map(|(uid, scaled)| (uid.clone(), scaled.clone()))
                .collect();
        }
        assert_eq!(known.plan().risks, []);
    }
}

#[test]
fn what_reads_something_that_is_not_there_is_at_risk() {
    let mut case = Case::new().new_workload(&workload("Deployment", "web", "v1"), true);
    case.looked_at
        .insert(ConfigId { kind: lockkeeper::api::ConfigKind::ConfigMap, name: "app".into() });
    assert!(
        case.told().contains(
            "deployment/web: its pods could not start, because ConfigMap/app does not exist"
        ),
        "{}",
        case.told()
    );
    let there = case.config(None, json!({"a": "1"}));
    assert_eq!(there.plan().risks, []);
    assert_eq!(there.outcome("deployment/web"), Outcome::Create);
}

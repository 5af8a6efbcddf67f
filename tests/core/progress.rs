//! How far a rollout is.

use lockkeeper::api::WorkloadKind;
use serde_json::json;

use crate::world::{World, env_from};

fn rolling(kind: WorkloadKind) -> World {
    let mut world =
        World::new().with_policy(json!({"config": {}, "rollout": {"deadline": "2m"}, "kinds": ["Deployment", "StatefulSet", "DaemonSet"]}));
    world.config_map("app", &[("a", "1")]);
    world.workload(kind, "web", 3, env_from("app"));
    world.act();
    world.later(60).config_map("app", &[("a", "2")]);
    world.act();
    assert_eq!(world.later(3).act(), ["web"]);
    world
}

#[test]
fn every_kind_is_followed_until_it_is_done() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet] {
        let mut world = rolling(kind);
        for _ in 0..3 {
            assert_eq!(world.stands(), "Rolling/ConfigRollout", "{kind}");
            world.later(30).start_pod("web");
            assert_eq!(world.act(), [""; 0]);
        }
        assert_eq!(world.stands(), "UpToDate", "{kind}");
        assert!(world.object("web")["metadata"]["annotations"]["lockkeeper.dev/rollout"].as_str().unwrap().contains("Done"));
    }
}

#[test]
fn one_without_progress_for_the_deadline_has_failed_and_may_still_be_done_later() {
    let mut world = rolling(WorkloadKind::Deployment);
    world.start_pod("web");
    world.later(100).act();
    assert_eq!(world.stands(), "Rolling/ConfigRollout");
    world.later(30).act();
    assert_eq!(world.stands(), "Failed/DeadlineExceeded");
    world.later(30).start_pod("web");
    world.act();
    assert_eq!(world.stands(), "Rolling/RolloutUnderWay", "its slot was given back");
    world.finish("web");
    world.act();
    assert_eq!(world.stands(), "UpToDate");
}

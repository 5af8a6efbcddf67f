//! What other admission policies and webhooks do to Lockkeeper's writes.

use std::time::Duration;

use lockkeeper::{
    api::WorkloadKind,
    core::{
        additions::Additions,
        memory::{Activity, Trouble},
        notice::Event,
        request::Patch,
    },
};
use serde_json::json;

use crate::world::{World, held::spec};

pub fn gated(kind: WorkloadKind) -> World {
    let mut world = World::new().with_policy(json!({"gates": {"approval": "Required"}}));
    world.workload(kind, "web", 2, spec());
    world
}

fn troubled(world: &mut World, needs_hold: bool) {
    let trouble = Trouble {
        refused: true,
        needs_hold,
        message: "another policy changes a label".into(),
        retry_at: world.now,
    };
    let uid = world.namespace.workloads[&world.id("web")].uid.clone();
    world.activities.insert(uid, Activity { trouble: Some(trouble), ..Activity::default() });
}

pub fn annotation<'a>(patch: &'a Patch, mark: &str) -> Option<&'a str> {
    patch
        .annotations
        .iter()
        .find(|(key, _)| *key == format!("lockkeeper.dev/{mark}"))
        .and_then(|(_, value)| value.as_deref())
}

#[test]
fn a_write_that_others_would_make_a_rollout_of_is_made_with_a_hold() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let mut world = gated(kind);
        let first = world.decide().patches;
        assert_eq!((first.len(), annotation(&first[0], "hold")), (1, None));
        troubled(&mut world, true);
        let patches = world.decide().patches;
        let id = patches[0].generation + 1;
        assert_eq!(
            annotation(&patches[0], "hold"),
            Some(&*format!("{id} by an admission policy or webhook")),
            "{kind}"
        );
        assert_eq!(annotation(&patches[0], "hold-changes"), Some("true"));
        assert!(annotation(&patches[0], "hold-since").unwrap().starts_with(&format!("{id} ")));
        // Refused for another reason, it is the same write again.
        troubled(&mut world, false);
        assert_eq!(annotation(&world.decide().patches[0], "hold"), None);
    }
}

#[test]
fn a_workload_that_cannot_be_marked_names_the_field_where_its_author_looks() {
    let mut world = gated(WorkloadKind::Deployment);
    troubled(&mut world, false);
    let decision = world.decide();
    let (_, status) = &decision.statuses[0];
    let enforced = status.conditions.iter().find(|one| one.type_ == "HoldsEnforced").unwrap();
    assert_eq!(enforced.reason, "MarksMissing", "{}", enforced.message);
    assert!(enforced.message.contains("another policy changes a label"), "{}", enforced.message);
    assert!(
        status.attention[0].message.contains("another policy changes a label"),
        "{}",
        status.attention[0].message
    );
}

#[test]
fn what_was_added_is_told_once_and_notes_that_would_roll_it_again_and_again_are_not_written() {
    let mut world = gated(WorkloadKind::Deployment);
    world.act();
    let uid = world.namespace.workloads[&world.id("web")].uid.clone();
    let field = "spec.template.metadata.annotations[stamp]".to_owned();
    let mut additions = Additions::default();
    additions.note(vec![field.clone()], world.now);
    let with = |world: &mut World, additions: &Additions| {
        world
            .activities
            .insert(uid.clone(), Activity { additions: additions.clone(), ..Activity::default() });
    };
    with(&mut world, &additions);
    let told = |notices: &[lockkeeper::core::notice::Notice]| {
        notices
            .iter()
            .filter(|notice| notice.event == Event::ChangedByOthers)
            .map(|notice| notice.message.clone())
            .collect::<Vec<_>>()
    };
    world.later(1);
    let first = world.decide();
    assert!(
        told(&first.notices)[0].contains("spec.template.metadata.annotations[stamp]"),
        "{:?}",
        told(&first.notices)
    );
    world.memories.extend(first.memories);
    assert_eq!(told(&world.decide().notices), Vec::<String>::new());
    // Each note of ours is stamped: a third is the last for an hour.
    additions.note(vec![field.clone()], world.now);
    additions.note(vec![field], world.now);
    with(&mut world, &additions);
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/bypassed-by"] = json!("x by y")
    });
    world.observe("web");
    assert_eq!(world.decide().patches, Vec::new());
    world.now = world.now.checked_add(Duration::from_secs(3601)).unwrap();
    assert_eq!(world.decide().patches.len(), 1);
}

//! Who changed a held template, who let it through, and what an operator that is told to observe
//! does with it.

use lockkeeper::{api::WorkloadKind, core::notice::Event};
use serde_json::json;

use crate::world::{
    World,
    held::{mark, spec},
};

pub const KINDS: [WorkloadKind; 2] = [WorkloadKind::Deployment, WorkloadKind::StatefulSet];

pub fn setup(policy: serde_json::Value, kind: WorkloadKind) -> World {
    let mut world = World::new().with_policy(policy);
    world.workload(kind, "web", 2, spec());
    world.act();
    world.later(60).act();
    world
}

/// A template is changed, and admission holds it as this user's.
fn change(world: &mut World, user: &str, what: impl FnOnce(&mut serde_json::Value)) {
    let id = world.id("web");
    world.edit("web", |web| {
        what(web);
        let generation = web["metadata"]["generation"].as_i64().unwrap() + 1;
        web["metadata"]["annotations"]["lockkeeper.dev/hold"] =
            json!(format!("{generation} by {user}"));
    });
    match id.kind {
        WorkloadKind::Deployment => world.observe_again(&id),
        _ => world.observe("web"),
    }
}

pub fn image(world: &mut World, user: &str, image: &str) {
    change(world, user, |web| {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
    });
}

fn set(world: &mut World, marks: &[(&str, &str)]) {
    let id = world.id("web");
    world.edit("web", |web| {
        for (mark, value) in marks {
            web["metadata"]["annotations"][format!("lockkeeper.dev/{mark}")] = json!(value);
        }
    });
    world.observe_again(&id);
}

pub fn told(world: &World, event: Event) -> Vec<&str> {
    world
        .told
        .iter()
        .filter(|(one, ..)| *one == event)
        .map(|(.., message)| message.as_str())
        .collect()
}

fn id(world: &World) -> String {
    mark(world, "web", "hold").unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn an_author_before_the_last_writer_does_not_count_as_somebody_else() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "RequiredFromOther"}}), kind);
        image(&mut world, "bot", "v2");
        set(&mut world, &[("authors", "dev bot")]);
        world.act();
        assert!(
            told(&world, Event::UpgradeHeld)[0]
                .contains("the template that dev and bot changed is held")
        );
        let approved = [("approve", &*id(&world)), ("approved-by", "dev")];
        set(&mut world, &approved);
        world.later(5).act();
        assert_eq!(world.stands(), "Held/ApprovalRequired");
        let attention = world.attention().unwrap();
        assert!(
            attention.message.contains("changed by dev and bot, held since"),
            "{}",
            attention.message
        );
        assert_eq!(attention.hold.as_ref().unwrap().authors, ["dev", "bot"]);
        let approved = [("approve", &*id(&world)), ("approved-by", "boss")];
        set(&mut world, &approved);
        world.act();
        assert_eq!(mark(&world, "web", "hold"), None);
    }
}

/// The event before gave a command that changes nothing any longer: the annotation is there.
#[test]
fn an_approval_that_does_not_count_is_told_with_what_to_do() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "RequiredFromOther"}}), kind);
        image(&mut world, "dev", "v2");
        world.act();
        world.later(5).act();
        let closed = told(&world, Event::GateClosed).len();
        let held = id(&world);
        set(&mut world, &[("approve", &*held), ("approved-by", "dev")]);
        world.later(5).act();
        world.later(5).act();
        let told_then = told(&world, Event::GateClosed);
        assert_eq!(told_then.len(), closed + 1, "once: {told_then:?}");
        let message = told_then[closed];
        assert!(message.contains("approved by dev, who made the change"), "{message}");
        let first = message.find("lockkeeper.dev/approve-").unwrap();
        assert!(first < message.find(&format!("lockkeeper.dev/approve={held}")).unwrap());
    }
}

#[test]
fn who_approved_is_named_when_it_is_released_and_while_it_rolls() {
    for kind in KINDS {
        let mut world = setup(json!({"gates": {"approval": "Required"}}), kind);
        image(&mut world, "dev", "v2");
        world.act();
        let held = id(&world);
        set(&mut world, &[("approve", &*held), ("approved-by", "the boss")]);
        world.later(5).act();
        let released = told(&world, Event::UpgradeReleased);
        assert!(
            released[0].ends_with(&format!("change {held} by dev was approved by \"the boss\"")),
            "{released:?}"
        );
        world.start_pod("web");
        world.later(1).act();
        let attention = world.attention().unwrap();
        assert!(attention.message.ends_with("; approved by \"the boss\""), "{}", attention.message);
        world.finish("web");
        world.act();
        assert_eq!(world.stands(), "UpToDate");
        // The next one that nobody has to approve is not of that approver.
        world.policy(
            "shop",
            json!({"gates": {"windows": [{"schedule": "* * * * *", "duration": "1h"}]}}),
        );
        world.later(60).act();
        image(&mut world, "dev", "v3");
        world.act();
        world.later(5).act();
        world.start_pod("web");
        world.later(1).act();
        let attention = world.attention().unwrap();
        assert!(!attention.message.contains("approved by"), "{}", attention.message);
    }
}

#[test]
fn whose_bypass_it_was_is_named_while_it_rolls() {
    let mut world = setup(
        json!({"mode": "Freeze", "gates": {"approval": "Required"}}),
        WorkloadKind::Deployment,
    );
    image(&mut world, "dev", "v2");
    world.act();
    let held = id(&world);
    // As admission does.
    world.edit("web", |web| {
        web["metadata"]["annotations"].as_object_mut().unwrap().remove("lockkeeper.dev/hold");
        web["metadata"]["annotations"]["lockkeeper.dev/bypassed-by"] =
            json!(format!("{held} by oncall"));
    });
    world.observe("web");
    world.act();
    assert_eq!(
        told(&world, Event::HoldBypassed),
        [format!("oncall released the held change {held} past its gates")]
    );
    world.start_pod("web");
    world.later(1).act();
    let attention = world.attention().unwrap();
    assert!(
        attention.message.ends_with("; released past its gates by oncall"),
        "{}",
        attention.message
    );
}

/// A change of config waits for its approval.
fn config_waits() -> World {
    let mut world = World::new()
        .with_policy(json!({"config": {"settle": "1s"}, "gates": {"approval": "Required"}}));
    world.config_map("app", &[("key", "old")]);
    world.deployment("web", crate::world::env_key("app", "key"));
    world.act();
    world.later(60).config_map("app", &[("key", "new")]);
    world.act();
    world.later(5).act();
    world
}

#[test]
fn who_approved_a_change_of_config_is_named_while_it_rolls() {
    let mut world = config_waits();
    let pending = mark(&world, "web", "pending-config").unwrap();
    set(&mut world, &[("approve", &*pending), ("approved-by", "boss")]);
    assert_eq!(world.act(), ["web"]);
    world.start_pod("web");
    world.later(1).act();
    let attention = world.attention().unwrap();
    assert!(attention.message.ends_with("; approved by boss"), "{}", attention.message);
}

#[test]
fn a_change_of_config_that_waits_keeps_its_id_in_the_status_until_our_own_write_is_observed() {
    let mut world = config_waits();
    let before = world.attention().unwrap().clone();
    assert_eq!(
        before.hold.as_ref().map(|hold| hold.id.clone()),
        mark(&world, "web", "pending-config")
    );
    // The API server raises a Deployment's generation for annotations too; its controller has not
    // seen that yet.
    world.edit("web", |web| web["metadata"]["annotations"]["note"] = json!("mine"));
    world.act();
    assert_eq!(world.attention(), Some(&before));
}

/// As on a cluster that does not serve MutatingAdmissionPolicy.
#[test]
fn where_admission_records_no_approval_of_config_none_is_recommended_and_none_counts() {
    let mut world = World::new()
        .with_policy(json!({"config": {"settle": "1s"}, "gates": {"approval": "Required"}}));
    world.enforcement.observe_served("MutatingAdmissionPolicy", false);
    world.config_map("app", &[("key", "old")]);
    world.deployment("web", crate::world::env_key("app", "key"));
    world.act();
    world.later(60).config_map("app", &[("key", "new")]);
    world.act();
    assert!(world.later(5).act().is_empty());
    assert_eq!(world.stands(), "Waiting/ApprovalRequired");
    let message = world.attention().unwrap().message.clone();
    assert!(
        message.contains("neither an approval nor a bypass counts")
            && message.contains("spec.gates.approval"),
        "{message}"
    );
    assert!(!message.contains("kubectl annotate"), "{message}");
    // Anybody could have written these.
    let pending = mark(&world, "web", "pending-config").unwrap();
    let bypassed = format!("{pending} by oncall");
    for marks in [
        [("approve", &*pending), ("approved-by", "boss")],
        [("approve", ""), ("bypassed-by", &*bypassed)],
    ] {
        set(&mut world, &marks);
        assert!(world.later(5).act().is_empty(), "{marks:?}");
        assert_eq!(world.stands(), "Waiting/ApprovalRequired");
    }
}

#[test]
fn who_stamps_a_held_template_again_and_again_is_named() {
    let mut world = setup(json!({"gates": {"approval": "Required"}}), WorkloadKind::Deployment);
    image(&mut world, "dev", "v2");
    world.act();
    for number in 0..4 {
        change(&mut world, "the vault operator", |web| {
            web["spec"]["template"]["metadata"]["annotations"] =
                json!({"restarted-at": number.to_string()});
        });
        world.later(5).act();
    }
    let message = &world.attention().unwrap().message;
    assert!(
        message.contains(
            "annotations[restarted-at], last by \"the vault operator\" (field manager kubectl), and"
        ),
        "{message}"
    );
}

#[test]
fn to_observe_is_not_to_release() {
    for kind in KINDS {
        for recorded in ["Release", "Keep"] {
            let gates = json!({"approval": "Required"});
            let mut world = setup(json!({"whenUngoverned": recorded, "gates": gates}), kind);
            image(&mut world, "dev", "v2");
            world.act();
            world.policy(
                "shop",
                json!({"whenUngoverned": recorded, "mode": "Observe", "gates": gates}),
            );
            for _ in 0..3 {
                world.later(60).act();
            }
            assert_eq!(world.stands(), "Held/ObserveMode", "{recorded}");
            assert_eq!(mark(&world, "web", "hold-changes"), None, "nothing new is held");
            let message = world.attention().unwrap().message.clone();
            for part in [
                "held since",
                "Set mode: Enforce",
                "kubectl lockkeeper undo",
                "lockkeeper.dev/bypass=",
            ] {
                assert!(message.contains(part), "{part} is not in {message}");
            }
            assert_eq!(told(&world, Event::UpgradeReleased), [""; 0]);

            // It is judged again when the policy enforces.
            world.policy("shop", json!({"whenUngoverned": recorded, "gates": gates}));
            world.later(5).act();
            assert_eq!(world.stands(), "Held/ApprovalRequired");
            world.policy(
                "shop",
                json!({"whenUngoverned": recorded, "mode": "Observe", "gates": gates}),
            );
            world.later(5).act();
            // A revert is released also now, and then nothing but the record of config is left.
            change(&mut world, "dev", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v1")
            });
            if kind == WorkloadKind::StatefulSet {
                world.edit("web", |web| {
                    web["status"]["currentRevision"] = web["status"]["updateRevision"].clone()
                });
                let id = world.id("web");
                world.observe_again(&id);
            }
            world.later(5).act();
            assert_eq!(mark(&world, "web", "hold"), None, "{kind} {recorded}");
            world.observe("web");
            world.later(5).act();
            assert_eq!(world.stands(), "UpToDate");
            assert_eq!(
                (mark(&world, "web", "governance"), mark(&world, "web", "hold-since")),
                (None, None)
            );
        }
    }
}

#[test]
fn a_policy_that_observes_keeps_its_hold_whatever_the_workloads_labels_become() {
    let selector = json!({"matchLabels": {"app": "web"}});
    let mut world = setup(
        json!({"selector": selector, "gates": {"approval": "Required"}}),
        WorkloadKind::Deployment,
    );
    image(&mut world, "dev", "v2");
    world.act();
    world.policy(
        "shop",
        json!({"selector": selector, "mode": "Observe", "gates": {"approval": "Required"}}),
    );
    world.edit("web", |web| web["metadata"]["labels"]["app"] = json!("other"));
    let id = world.id("web");
    world.observe_again(&id);
    world.later(120).act();
    assert_eq!(world.stands(), "Held/ObserveMode");
    // One that enforces takes it over.
    world.policy("other", json!({"gates": {"approval": "Required"}}));
    world.later(5).act();
    let attention = &world.namespace.policies["other"].status.attention;
    assert_eq!(attention.first().map(|one| one.reason.as_str()), Some("ApprovalRequired"));
}

//! What a program reads in a status of a workload that waits: the gate, the time and the command.
//! Nobody has to take a message apart.

use jiff::ToSpan;
use lockkeeper::api::{Attention, Reason, WorkloadKind};
use serde_json::{Value, json};

use crate::world::{World, at, env_key, held};

fn held_under(policy: Value) -> Attention {
    let mut world = held::setup(policy, WorkloadKind::Deployment, 2);
    held::hold(&mut world, "web", "v2");
    world.act();
    world.later(60).act();
    world.attention().unwrap().clone()
}

/// A change that waits for its approval under this policy, and that a user has approved.
fn approved_under(policy: Value, by: &str) -> World {
    let mut world = held::setup(policy, WorkloadKind::Deployment, 2);
    held::hold(&mut world, "web", "v2");
    world.act();
    world.later(60).act();
    let id = world.attention().unwrap().hold.clone().unwrap().id;
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/approve"] = json!(id);
        web["metadata"]["annotations"]["lockkeeper.dev/approved-by"] = json!(by);
    });
    world.act();
    world
}

#[test]
fn the_command_that_approves_a_change_stands_by_itself() {
    let attention = held_under(json!({"gates": {"approval": "RequiredFromOther"}}));
    let hold = attention.hold.unwrap();
    let command = attention.command.unwrap();
    assert_eq!(attention.gate.as_deref(), Some("approval"));
    assert!(command.ends_with(&format!("lockkeeper.dev/approve={} --overwrite", hold.id)));
    assert!(command.starts_with("kubectl annotate"), "{command}");
    assert_eq!(hold.message, "not approved yet; a user other than dev can approve it");
    assert!(attention.message.ends_with(&format!("{}: {command}", hold.message)));
    assert_eq!(attention.until, None, "no time opens it");
}

/// A program may run it without a shell. When the author's own approval is removed, the command is
/// the one that approves.
#[test]
fn the_command_about_an_authors_own_approval_is_one_command() {
    let world = approved_under(json!({"gates": {"approval": "RequiredFromOther"}}), "dev");
    let command = world.attention().unwrap().command.clone().unwrap();
    assert!(command.ends_with(" deployment/web lockkeeper.dev/approve-"), "{command}");
    assert!(command.starts_with("kubectl annotate -n ") && !command.contains("&&"), "{command}");
}

#[test]
fn a_policy_that_freezes_names_the_bypass() {
    let attention = held_under(json!({"mode": "Freeze"}));
    assert_eq!(attention.gate.as_deref(), Some("freeze"));
    assert!(attention.command.unwrap().contains("lockkeeper.dev/bypass="));
    assert!(!attention.hold.unwrap().message.contains("kubectl"));
}

#[test]
fn a_window_says_when_it_opens() {
    // 2027-01-15 08:00 UTC is the beginning of the world.
    let window = json!([{"type": "Allow", "schedule": "0 10 * * *", "duration": "1h"}]);
    let attention = held_under(json!({"gates": {"windows": window}}));
    assert_eq!(attention.gate.as_deref(), Some("windows"));
    assert_eq!(attention.until, Some(at(0) + 2.hours()));
    assert_eq!(attention.command, None);
}

#[test]
fn config_that_settles_says_when_it_rolls() {
    let mut world = World::new().with_policy(json!({"config": {"settle": "5s"}}));
    world.config_map("app", &[("key", "old")]);
    world.deployment("web", env_key("app", "key"));
    world.act();
    world.later(60).config_map("app", &[("key", "new")]);
    world.act();
    let attention = world.attention().unwrap();
    assert_eq!((attention.reason, attention.until), (Reason::ConfigChanged, Some(at(65))));
    assert_eq!(attention.gate, None, "no gate is closed");
}

#[test]
fn a_kept_hold_names_the_bypass_and_no_gate() {
    let mut world = held::setup(
        json!({"gates": {"approval": "Required"}, "whenUngoverned": "Keep"}),
        WorkloadKind::Deployment,
        2,
    );
    held::hold(&mut world, "web", "v2");
    world.act();
    world.policy("shop", json!({"whenUngoverned": "Keep"}));
    world.later(60).act();
    let attention = world.attention().unwrap();
    assert_eq!((attention.reason, &attention.gate), (Reason::KeptUngoverned, &None));
    assert!(attention.command.as_ref().unwrap().contains("lockkeeper.dev/bypass="));
}

/// What was waited for no longer stands there once it rolls.
#[test]
fn a_rollout_shows_no_gate() {
    let mut world = approved_under(json!({"gates": {"approval": "Required"}}), "boss");
    world.later(1).act();
    let shown = world.attention().map(|one| (one.gate.clone(), one.command.clone()));
    assert_eq!(shown, Some((None, None)));
}

//! Whole upgrades on a model of the cluster: users, controllers, the operator's real index and
//! core, stale reads, conflicts and crashes, in an order that a seed chooses. After every move the
//! promises are checked.
//!
//! A failure names its scene and seed: `LOCKKEEPER_SCENE=Asked LOCKKEEPER_SEED=17 cargo test --test
//! simulation -- --nocapture one_seed` tells its story move by move.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod apps;
mod cluster;
mod consent;
mod crashes;
mod election;
mod fault;
mod moves;
mod operator;
mod order;
mod pods;
mod rest;
mod scenes;
mod seen;
mod stories;
mod truth;
mod users;
mod volumes;

use fault::Fault;
use model::admission::{Rule, Twin};
use moves::run;
use scenes::Scene;
use seen::Seen;

const SEEDS: u64 = 300;
const SEEDS_OF_APPS: u64 = 40;
/// Changes and approvals are most of what happens there.
const SEEDS_OF_FOUR_EYES: u64 = 30;
/// Twice the workloads, and each restarts with others.
const SEEDS_OF_STEPS: u64 = 30;
const MOVES: usize = 200;
/// In so many tests.
const PARTS: u64 = 2;

/// Runs seeds of a scene, and adds up what happened.
fn play(scene: Scene, seeds: impl Iterator<Item = u64>) -> Seen {
    let mut seen = Seen::default();
    for seed in seeds {
        match run(scene, seed, MOVES, Twin::default(), None, false) {
            Ok(of_one) => seen.add(&of_one),
            Err(violation) => {
                let replay = format!(
                    "LOCKKEEPER_SCENE={scene:?} LOCKKEEPER_SEED={seed} cargo test --test simulation -- --nocapture one_seed"
                );
                panic!("{scene:?}, seed {seed}: {violation}\nreplay: {replay}")
            }
        }
    }
    println!("{seen:?}");
    seen
}

/// One part of the seeds: the parts run beside each other.
fn seeds(part: u64) {
    let seen = play(Scene::Approvals, (0..SEEDS).filter(|seed| seed % PARTS == part));
    // What never happened would prove nothing.
    assert!(
        seen.holds > 100
            && seen.approved > 30
            && seen.reverted > 15
            && seen.crashes > 50
            && seen.conflicts > 20,
        "{seen:?}"
    );
    assert!(
        seen.bypassed > 10 && seen.ungoverned > 10 && seen.refused > 20 && seen.rollouts > 0,
        "{seen:?}"
    );
}

#[test]
fn p6_p7_p9_p10_p16_hold_in_whatever_order_things_happen_0() {
    seeds(0);
}

#[test]
fn p6_p7_p9_p10_p16_hold_in_whatever_order_things_happen_1() {
    seeds(1);
}

/// The scene that is to be replayed.
fn scene() -> Scene {
    std::env::var("LOCKKEEPER_SCENE")
        .map_or(Some(Scene::Approvals), |name| Scene::named(&name))
        .expect("a scene")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn one_seed() {
    let Some(seed) = number("LOCKKEEPER_SEED") else { return };
    run(scene(), seed, MOVES, Twin::default(), None, true).unwrap();
}

/// For a long search: all seeds below `LOCKKEEPER_SEEDS`, from `LOCKKEEPER_FROM`, with what each of
/// them breaks.
#[test]
fn many_seeds() {
    let Some(end) = number("LOCKKEEPER_SEEDS") else { return };
    let seeds = number("LOCKKEEPER_FROM").unwrap_or(0)..end;
    let breaks = |seed: &u64| {
        run(scene(), *seed, MOVES, Twin::default(), None, false)
            .inspect_err(|why| println!("seed {seed}: {why}"))
            .is_err()
    };
    assert_eq!(seeds.filter(breaks).count(), 0, "seeds break a promise");
}

#[test]
fn p16_nobody_approves_what_they_changed() {
    let seen = play(Scene::FourEyes, 0..SEEDS_OF_FOUR_EYES);
    assert!(
        seen.holds > 30 && seen.approved > 10 && seen.approved_by_authors > 20 && seen.reverted > 2,
        "{seen:?}"
    );
}

#[test]
fn p8_p9_hold_when_pods_are_asked() {
    let seen = play(Scene::Asked, 0..SEEDS_OF_APPS);
    assert!(seen.noes > 20 && seen.drained > 20 && seen.agreed > 20, "{seen:?}");
}

#[test]
fn p8_p9_hold_when_pods_go_one_by_one() {
    let seen = play(Scene::Walks, 0..SEEDS_OF_APPS);
    assert!(seen.noes > 20 && seen.drained > 20 && seen.steps > 20, "{seen:?}");
}

#[test]
fn workloads_wait_for_each_other_whatever_happens() {
    let seen = play(Scene::Steps, 0..SEEDS_OF_STEPS);
    assert!(seen.noes > 20 && seen.agreed > 20 && seen.followed > 10, "{seen:?}");
}

#[test]
fn p1_p8_p9_hold_with_two_operators() {
    let seen = play(Scene::Replicas, 0..SEEDS_OF_APPS);
    assert!(
        seen.noes > 20 && seen.drained > 20 && seen.agreed > 20 && seen.terms > SEEDS_OF_APPS * 2,
        "{seen:?}"
    );
}

#[test]
fn p12_p13_no_data_is_lost_and_no_rollout_deadlocks_on_a_volume() {
    let seen = play(Scene::Volumes, 0..SEEDS_OF_APPS);
    assert!(
        seen.unblocked > 2 && seen.found_again > 5 && seen.stored > 100 && seen.agreed > 5,
        "{seen:?}"
    );
}

/// Whether some seed shows that something is missing.
fn is_noticed(scene: Scene, twin: Twin, fault: Option<Fault>) -> bool {
    let seeds = if scene == Scene::FourEyes { SEEDS_OF_FOUR_EYES } else { SEEDS };
    (0..seeds).any(|seed| run(scene, seed, MOVES, twin, fault, false).is_err())
}

#[test]
fn the_simulation_sees_when_a_guard_is_missing() {
    for rule in [
        Rule::Hold,
        Rule::HoldReplicas,
        Rule::Reassert,
        Rule::RenewId,
        Rule::RestoreDeclared,
        Rule::PutMarksBack,
        Rule::StripStale,
        Rule::CheckRights,
    ] {
        assert!(
            is_noticed(Scene::Approvals, Twin { forgets: Some(rule), ..Twin::default() }, None),
            "without {rule:?} nothing is noticed"
        );
    }
    let of_several = Twin { forgets: Some(Rule::KeepAuthors), ..Twin::default() };
    assert!(
        is_noticed(Scene::FourEyes, of_several, None),
        "without {:?} nothing is noticed",
        of_several.forgets
    );
    for fault in [Fault::NoPrecondition, Fault::StaleReading] {
        assert!(
            is_noticed(Scene::Approvals, Twin::default(), Some(fault)),
            "with {fault:?} nothing is noticed"
        );
    }
    for fault in [Fault::IgnoresNo, Fault::AsksOne, Fault::KeepsDrained, Fault::NeverRenews] {
        assert!(
            is_noticed(Scene::Asked, Twin::default(), Some(fault)),
            "with {fault:?} nothing is noticed"
        );
    }
    // A decision that differs from the one from scratch panics, which is noticed too.
    let old_ledger = || is_noticed(Scene::Approvals, Twin::default(), Some(Fault::KeepsOldLedger));
    assert!(
        std::panic::catch_unwind(old_ledger).unwrap_or(true),
        "with an old ledger nothing is noticed"
    );
    for fault in [Fault::IgnoresSteps, Fault::IgnoresMaximum] {
        assert!(
            is_noticed(Scene::Steps, Twin::default(), Some(fault)),
            "with {fault:?} nothing is noticed"
        );
    }
    for fault in
        [Fault::IgnoresExclusive, Fault::KeepsNothing, Fault::FindsNothing, Fault::TakesOldForNew]
    {
        assert!(
            is_noticed(Scene::Volumes, Twin::default(), Some(fault)),
            "with {fault:?} nothing is noticed"
        );
    }
}

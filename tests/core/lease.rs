//! Leader election: the rules one by one.

use std::time::Duration;

use lockkeeper::core::lease::{Answer, Identity, Participant, Record, Step, Timing};

use crate::world::at;

pub fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// As Kubernetes' own components have it.
pub const TIMING: Timing = Timing {
    lease: Duration::from_secs(15),
    deadline: Duration::from_secs(10),
    retry: Duration::from_secs(2),
    look: Duration::from_secs(2),
    call: Duration::from_secs(3),
};

pub fn participant(identity: &str) -> Participant {
    Participant::new(Identity { process: identity.to_owned(), container: None }, TIMING)
}

/// A Lease held by somebody.
pub fn held(version: u64, holder: &str) -> Record {
    Record {
        version: version.to_string(),
        holder: holder.to_owned(),
        seconds: Some(15),
        renewed: Some(at(0)),
        ..Record::default()
    }
}

pub fn let_go(version: u64) -> Record {
    Record { seconds: Some(1), ..held(version, "") }
}

/// What the API server makes of a replace.
pub fn written(record: &Record, version: u64) -> Record {
    Record { version: version.to_string(), ..record.clone() }
}

pub fn step(one: &mut Participant, time: u64) -> Step {
    one.step(ms(time), at(0))
}

/// The record that it asks to be written now.
pub fn replace(one: &mut Participant, time: u64) -> Record {
    match step(one, time) {
        Step::Replace(record) => record,
        other => panic!("{other:?} is no replace"),
    }
}

/// It looks, and finds this.
pub fn look(one: &mut Participant, time: u64, found: Record) {
    assert_eq!(step(one, time), Step::Look);
    one.answered(Answer::Lease(found), ms(time));
}

/// One that holds the Lease in version 2, by a write sent at this time.
pub fn leader(time: u64) -> Participant {
    let mut one = participant("a");
    look(&mut one, time, let_go(1));
    let wanted = replace(&mut one, time);
    one.answered(Answer::Lease(written(&wanted, 2)), ms(time));
    one
}

#[test]
fn a_lease_that_was_let_go_is_taken_at_once_and_renewed_every_two_seconds() {
    let mut one = participant("a");
    look(&mut one, 1000, Record { transitions: 4, ..let_go(7) });
    let wanted = replace(&mut one, 1010);
    assert_eq!(
        (wanted.version.as_str(), wanted.holder.as_str(), wanted.seconds, wanted.transitions),
        ("7", "a", Some(15), 5)
    );
    assert!(!one.may_act(ms(1011)), "not before the answer");
    one.answered(Answer::Lease(written(&wanted, 8)), ms(1500));
    assert_eq!(one.acts_until(), ms(11_010), "counted from when it was sent");
    assert_eq!(step(&mut one, 1500), Step::Rest(ms(3010)));
    let renewal = replace(&mut one, 3010);
    assert_eq!(
        (renewal.version.as_str(), renewal.transitions, renewal.acquired),
        ("8", 5, wanted.acquired)
    );
}

#[test]
fn the_lease_of_another_is_taken_once_it_was_seen_unchanged_for_fifteen_seconds() {
    let mut one = participant("a");
    for time in (0..14_000).step_by(2000) {
        look(&mut one, time, held(5, "b"));
        assert_eq!(step(&mut one, time), Step::Rest(ms(time + 2000)));
    }
    look(&mut one, 14_000, held(6, "b"));
    for time in (16_000..29_000).step_by(2000) {
        assert_eq!(step(&mut one, time - 2000), Step::Rest(ms(time)));
        look(&mut one, time, held(6, "b"));
    }
    assert_eq!(
        step(&mut one, 28_999),
        Step::Rest(ms(29_000)),
        "from when it was last seen to change"
    );
    look(&mut one, 29_000, held(6, "b"));
    assert_eq!(replace(&mut one, 29_000).version, "6");
}

#[test]
fn only_the_lease_of_an_earlier_process_of_the_same_container_is_taken_at_once() {
    let identity = || Identity {
        process: "web-0_uid-1_b".to_owned(),
        container: Some("web-0_uid-1_".to_owned()),
    };
    let found = Record { written_by_holder: true, transitions: 4, ..held(5, "web-0_uid-1_a") };
    let mut one = Participant::new(identity(), TIMING);
    look(&mut one, 0, found.clone());
    let wanted = replace(&mut one, 0);
    assert_eq!(
        (wanted.version.as_str(), wanted.holder.as_str(), wanted.transitions),
        ("5", "web-0_uid-1_b", 5)
    );
    assert!(!one.may_act(ms(0)), "not before the answer");
    one.answered(Answer::Refused, ms(10));
    look(&mut one, 2000, Record { written_by_holder: true, ..held(6, "web-1_uid-2_a") });
    assert!(matches!(step(&mut one, 2000), Step::Rest(_)), "another took it first");

    let others = [
        ("a person put it there", Record { written_by_holder: false, ..found.clone() }),
        (
            "a pod of the same name that was there before",
            Record { holder: "web-0_uid-0_a".into(), ..found.clone() },
        ),
        (
            "of a version that did not write the uid",
            Record { holder: "web-0_a".into(), ..found.clone() },
        ),
    ];
    for (what, record) in others {
        let mut one = Participant::new(identity(), TIMING);
        look(&mut one, 0, record);
        assert!(matches!(step(&mut one, 0), Step::Rest(_)), "{what}");
    }
    let mut one = participant("web-0_uid-1_b");
    look(&mut one, 0, found);
    assert!(matches!(step(&mut one, 0), Step::Rest(_)), "it is not known to run in a container");
}

#[test]
fn a_lease_without_a_holder_that_nobody_let_go_is_waited_for_like_anothers() {
    for found in [
        Record { version: "5".into(), ..Record::default() },
        Record { seconds: Some(15), ..let_go(5) },
    ] {
        let mut one = participant("a");
        look(&mut one, 0, found.clone());
        assert_eq!(step(&mut one, 14_999), Step::Rest(ms(15_000)));
        look(&mut one, 15_000, found);
        replace(&mut one, 15_000);
    }
}

/// If there was a Lease, its holder may still act.
#[test]
fn a_new_lease_has_no_holder_and_is_taken_later() {
    let mut one = participant("a");
    assert_eq!(step(&mut one, 0), Step::Look);
    one.answered(Answer::Absent, ms(0));
    let Step::Create(record) = step(&mut one, 0) else { panic!("it is created") };
    assert_eq!((record.holder.as_str(), record.seconds), ("", Some(15)));
    one.answered(Answer::Lease(written(&record, 1)), ms(100));
    assert!(!one.may_act(ms(100)));
    assert_eq!(step(&mut one, 100), Step::Rest(ms(2100)));
    look(&mut one, 15_100, written(&record, 1));
    assert_eq!(replace(&mut one, 15_100).holder, "a");
}

#[test]
fn calls_that_hang_or_fail_end_the_term_in_time() {
    let mut one = leader(0);
    replace(&mut one, 2000);
    one.answered(Answer::Unanswered, ms(5000));
    assert_eq!(step(&mut one, 5000), Step::Look, "a call that hung is followed at once");
    one.answered(Answer::Unanswered, ms(8000));
    assert_eq!(step(&mut one, 8000), Step::Look);
    assert!(one.may_act(ms(9999)) && !one.may_act(ms(10_000)));
    one.answered(Answer::Refused, ms(8001));
    assert_eq!(step(&mut one, 8001), Step::Rest(ms(10_000)), "no longer than the term");
    assert_eq!(step(&mut one, 10_000), Step::Look);
}

#[test]
fn a_renewal_whose_answer_was_lost_extends_nothing_and_is_found() {
    let mut one = leader(0);
    let lost = replace(&mut one, 2000);
    one.answered(Answer::Unanswered, ms(5000));
    look(&mut one, 5000, written(&lost, 3));
    assert_eq!(one.acts_until(), ms(10_000));
    let renewal = replace(&mut one, 5010);
    assert_eq!(renewal.version, "3");
    one.answered(Answer::Lease(written(&renewal, 4)), ms(5020));
    assert_eq!(one.acts_until(), ms(15_010));
}

#[test]
fn an_acquisition_whose_answer_was_lost_is_found_unless_it_is_too_old() {
    for (found_at, ours) in [(5000, true), (12_000, false)] {
        let mut one = participant("a");
        look(&mut one, 0, let_go(1));
        let lost = replace(&mut one, 0);
        one.answered(Answer::Unanswered, ms(3000));
        look(&mut one, found_at, written(&lost, 2));
        assert_eq!(matches!(step(&mut one, found_at), Step::Replace(_)), ours);
    }
    let mut one = participant("a");
    look(&mut one, 0, let_go(1));
    replace(&mut one, 0);
    one.answered(Answer::Unanswered, ms(3000));
    look(&mut one, 3000, Record { renewed: Some(at(-1)), ..held(2, "a") });
    assert!(matches!(step(&mut one, 3000), Step::Rest(_)), "our name, but not what we wrote");
}

#[test]
fn a_leader_that_sees_another_holder_stops_at_once() {
    let mut one = leader(0);
    replace(&mut one, 2000);
    one.answered(Answer::Refused, ms(2010));
    assert!(one.may_act(ms(2010)));
    look(&mut one, 4000, held(9, "b"));
    assert!(!one.may_act(ms(4000)));
    assert_eq!(one.other_holder(), Some("b"));
}

#[test]
fn a_leader_whose_lease_is_deleted_or_erased_writes_it_again_while_it_acts() {
    let mut one = leader(0);
    replace(&mut one, 2000);
    one.answered(Answer::Refused, ms(2010));
    assert_eq!(step(&mut one, 4000), Step::Look);
    one.answered(Answer::Absent, ms(4010));
    let Step::Create(record) = step(&mut one, 4010) else { panic!("it is created") };
    one.answered(Answer::Lease(written(&record, 9)), ms(4020));
    let again = replace(&mut one, 4020);
    assert_eq!((again.version.as_str(), again.holder.as_str()), ("9", "a"));
    assert_eq!(one.acts_until(), ms(10_000));
    one.answered(Answer::Lease(written(&again, 10)), ms(4030));
    assert_eq!(one.acts_until(), ms(14_020));
}

#[test]
fn a_leader_that_ends_stops_acting_before_it_lets_the_lease_go() {
    let mut one = leader(0);
    one.stop(ms(500));
    assert!(!one.may_act(ms(500)));
    let release = replace(&mut one, 500);
    assert_eq!(
        (release.version.as_str(), release.holder.as_str(), release.seconds),
        ("2", "", Some(1))
    );
    one.answered(Answer::Lease(written(&release, 3)), ms(510));
    assert_eq!(step(&mut one, 510), Step::End);

    let mut next = participant("b");
    look(&mut next, 0, written(&release, 3));
    assert_eq!(replace(&mut next, 0).holder, "b");
}

#[test]
fn a_leader_that_ends_with_a_renewal_unanswered_looks_first() {
    let mut one = leader(0);
    let lost = replace(&mut one, 2000);
    one.stop(ms(2500));
    one.answered(Answer::Lease(written(&lost, 3)), ms(2600));
    assert!(!one.may_act(ms(2600)), "an answer after the stop extends nothing");
    assert_eq!(replace(&mut one, 2600).version, "3");

    let mut one = leader(0);
    let lost = replace(&mut one, 2000);
    one.answered(Answer::Unanswered, ms(5000));
    one.stop(ms(5000));
    look(&mut one, 5000, written(&lost, 3));
    assert_eq!(replace(&mut one, 5000).holder, "");
}

#[test]
fn a_replica_without_the_lease_just_ends() {
    let mut one = participant("a");
    look(&mut one, 0, held(1, "b"));
    assert!(matches!(step(&mut one, 0), Step::Rest(_)));
    one.stop(ms(10));
    assert_eq!(step(&mut one, 10), Step::End);
}

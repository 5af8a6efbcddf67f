//! What is read is what was written, and garbage is what the admission policies take for none.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{borrow::Cow, collections::BTreeMap, fmt::Debug, sync::Arc};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::{
    About, Asked, ChangeId, ClaimPair, Containers, GovernanceMark, InMaintenance, Mark, MarkSet,
    Marks, Outcome, Provenance, Reservations, SavedClaim, Since, StorageMarks, Text, Upgrade, Wish,
    labels,
    maintenance::Stage,
    outcome::Ended,
    registry::{self, On},
    storage::{ReclaimPolicy, Uids},
    values::{
        Bypassed, Exclusive, Held, Judge, Offline, Partition, Replicas, Rollouts, Share,
        Strategy as Declared, True, UpdateStrategy, User,
    },
};
use crate::api::{Period, Readopt, WhenUngoverned, marks};

fn id() -> impl Strategy<Value = ChangeId> {
    prop_oneof![
        (0..i64::MAX).prop_map(ChangeId::Template),
        (0..i64::MAX).prop_map(ChangeId::Unblock),
        "[0-9a-f]{1,8}".prop_map(|tag| ChangeId::Config(tag.into())),
        "t-[0-9a-f]{16}".prop_map(|change| ChangeId::Rollout(change.into())),
    ]
}

fn digits() -> impl Strategy<Value = ChangeId> {
    prop_oneof![
        (0..i64::MAX).prop_map(ChangeId::Template),
        // No generation, but admission takes it for an id.
        "0[0-9]{1,30}".prop_map(|text| ChangeId::Rollout(text.into())),
    ]
}

fn user() -> impl Strategy<Value = Box<str>> {
    "[a-z:%][a-z :%@]{0,20}".prop_map(Into::into)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000_i64, 0..1_000_000_000_i32)
        .prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

fn since() -> impl Strategy<Value = Since> {
    prop_oneof![
        time().prop_map(Since::Config),
        (id(), time(), proptest::option::of(user())).prop_map(|(id, at, author)| Since::Change {
            id,
            at: Some(at),
            author
        }),
        id().prop_map(|id| Since::Change { id, at: None, author: None }),
    ]
}

fn declared() -> impl Strategy<Value = Declared> {
    let pods = || (0..999_999_999_u32).prop_map(Share::Pods);
    let surge = prop_oneof![pods(), (0..999_999_999_u32).prop_map(Share::Percent)];
    let unavailable = prop_oneof![pods(), (1..=100_u32).prop_map(Share::Percent)];
    (surge, unavailable)
        .prop_map(|(surge, unavailable)| Declared { surge, unavailable })
        .prop_filter("something", |one| Declared::parse(&one.to_string()).is_some())
}

fn words() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,20}".prop_map(Into::into)
}

fn governance() -> impl Strategy<Value = Box<GovernanceMark>> {
    let keep = prop_oneof![Just(WhenUngoverned::Keep), Just(WhenUngoverned::Release)];
    (words(), words(), keep, words(), words()).prop_map(
        |(policy, uid, when_ungoverned, selection, definition)| {
            Box::new(GovernanceMark { policy, uid, when_ungoverned, selection, definition })
        },
    )
}

fn outcome() -> impl Strategy<Value = Box<Outcome>> {
    use proptest::option::of;
    let ended = prop_oneof![Just(Ended::UnderWay), Just(Ended::Done), Just(Ended::Failed)];
    let followed = prop::collection::btree_map("[0-9a-f]{8}", "\\PC{0,20}", 0..3);
    let change = (of(words()), of(words()), of(any::<i64>()), ended, of(time()));
    let before = (of(words()), of(time()), any::<bool>(), of(followed));
    let migrated = prop::collection::vec(words(), 0..3);
    let consent = (of(words()), of(words()), migrated);
    (before, change, consent).prop_map(|(before, change, consent)| {
        let (done, done_at, left, followed) = before;
        let (change, template, generation, ended, at) = change;
        let (approved_by, bypassed_by, migrated) = consent;
        Box::new(Outcome {
            done,
            done_at,
            left,
            change,
            template,
            generation,
            ended,
            at,
            approved_by,
            bypassed_by,
            followed,
            migrated,
        })
    })
}

fn maybe<T: std::fmt::Debug>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Mark<T>> {
    proptest::option::of(one).prop_map(Mark::from)
}

fn text() -> impl Strategy<Value = Option<Box<str>>> {
    proptest::option::of("\\PC{0,20}".prop_map(Into::into))
}

fn any_marks() -> impl Strategy<Value = Marks> {
    let partition = || maybe((0..=super::values::HELD).prop_map(Partition));
    let seconds = prop::collection::vec(any::<i64>(), 1..4);
    let held = (digits(), user()).prop_map(|(id, by)| Held { id, by });
    let bypassed = (id(), user()).prop_map(|(id, by)| Bypassed { id, by });
    let replicas = (0..1000_u32, 1..1000_u32)
        .prop_map(|(declared, more)| Replicas { declared, running: declared + more });
    let consent = (maybe(id()), maybe(user().prop_map(User)), maybe(id()), maybe(bypassed)).boxed();
    let declares = (
        maybe(any::<bool>()),
        partition(),
        maybe(declared()),
        maybe("[A-Z][a-z]{0,5}".prop_map(|word| UpdateStrategy(word.into()))),
        maybe(replicas),
    );
    let flags = (
        maybe(Just(True)),
        maybe(Just(True)),
        maybe(Just(Exclusive)),
        maybe(Just(True)),
        maybe(Just(Offline)),
    );
    let texts = (text(), text(), text(), text(), text(), text());
    let objects = (maybe(governance()), maybe(outcome()));
    let waits = (
        maybe(held),
        maybe(since()),
        maybe(id()),
        partition(),
        maybe(seconds.prop_map(|seconds| Rollouts(seconds.into()))),
    );
    let stage = prop_oneof![Just(Stage::Stop), Just(Stage::Sleep), Just(Stage::Start)];
    let upgrade = (proptest::option::of(id()), any::<[bool; 3]>()).prop_map(
        |(change, [migrating, migrated, starts])| Upgrade { change, migrating, migrated, starts },
    );
    let from = proptest::option::of("[a-z0-9-]{1,9}");
    let maintained = (0..99_i64, time(), stage, from, proptest::option::of(upgrade)).prop_map(
        |(id, at, stage, from, upgrade)| {
            let begun = InMaintenance::begun(id, at, from.as_deref());
            Box::new(begun.at(stage).with_upgrade(upgrade.as_ref()))
        },
    );
    let wish = prop_oneof![
        Just(Wish::Stop),
        Just(Wish::Off),
        Just(Wish::Sleep(Containers::default())),
        Just(Wish::Sleep(Containers {
            keep: vec!["a".into(), "b".into()],
            root: vec!["c".into()]
        })),
    ];
    let maintenance =
        (
            maybe((wish, proptest::option::of("[ -~é]{1,200}")).prop_map(|(wish, reason)| {
                Box::new(Asked { wish, reason: reason.map(Into::into) })
            })),
            maybe(user().prop_map(User)),
            maybe(maintained),
            text(),
            maybe(id()),
        );
    let texts = (texts.boxed(), objects.boxed(), maintenance.boxed());
    (consent, declares.boxed(), flags, texts, waits.boxed()).prop_map(
        |(consent, declares, flags, (texts, objects, maintenance), waits)| Marks {
            governance: objects.0,
            config: texts.0,
            rollout: objects.1,
            rollouts: waits.4,
            history: texts.4,
            note: texts.5,
            hold_changes: flags.0,
            hold_at_zero: flags.1,
            hold: waits.0,
            authors: texts.1,
            hold_since: waits.1,
            pending_config: waits.2,
            declared_paused: declares.0,
            declared_partition: declares.1,
            declared_strategy: declares.2,
            declared_update_strategy: declares.3,
            declared_replicas: declares.4,
            approve: consent.0,
            approved_by: consent.1,
            bypass: consent.2,
            bypassed_by: consent.3,
            partition: waits.3,
            volume_access: flags.2,
            reserved: texts.2,
            maintenance: maintenance.0,
            maintenance_by: maintenance.1,
            in_maintenance: maintenance.2,
            maintenance_replicas: maintenance.3,
            upgrade: flags.4,
            migrated: maintenance.4,
            app_gate: texts.3,
            ignore: flags.3,
        },
    )
}

fn provenance() -> impl Strategy<Value = Arc<Provenance>> {
    let names = (text_of(), text_of(), text_of(), text_of());
    let readopt = prop_oneof![Just(Readopt::SameNamespace), Just(Readopt::Never)];
    let after = "[0-9]{1,5}(h|m|s|ms)";
    let put_aside = any::<bool>();
    (names, (text_of(), text_of(), text_of()), after, readopt, put_aside).prop_map(
        |((namespace, namespace_uid, claim, claim_uid), names, after, readopt, put_aside)| {
            let (volume, workload, policy) = names;
            let orphaned_after = Period::try_from(after).unwrap();
            Arc::new(Provenance {
                namespace,
                namespace_uid,
                claim,
                claim_uid,
                volume,
                workload,
                policy,
                orphaned_after,
                readopt,
                put_aside,
            })
        },
    )
}

fn text_of() -> impl Strategy<Value = String> {
    "\\PC{0,20}"
}

fn any_storage_marks() -> impl Strategy<Value = StorageMarks> {
    let policy = prop_oneof![
        Just(ReclaimPolicy::Retain),
        Just(ReclaimPolicy::Delete),
        Just(ReclaimPolicy::Recycle)
    ];
    let uids = prop::collection::vec("[0-9a-f-]{1,36}".prop_map(Box::from), 1..4);
    let saved = (text_of(), text_of(), proptest::option::of(text_of()), text_of()).prop_map(
        |(of, replaces, younger, name)| {
            let claim = json!({"metadata": {"name": name}});
            Box::new(SavedClaim { of, replaces, younger, claim })
        },
    );
    let of_volume = (maybe(provenance()), maybe(policy), maybe(Just(True)), maybe(saved)).boxed();
    let uids = uids.prop_map(|uids| Uids(uids.into()));
    let of_claim = (maybe(time()), maybe(uids), maybe(time())).boxed();
    let pair = ("[a-m]{1,9}", "[n-z]{1,9}(-[0-9])?");
    let pair = pair.prop_map(|(from, to)| ClaimPair { from: from.into(), to: to.into() });
    let name = || "[a-z0-9]([a-z0-9.-]{0,9}[a-z0-9])?".prop_map(Box::<str>::from);
    let reserved = prop::collection::btree_map(name(), name(), 1..4).prop_map(Reservations);
    let of_conversion = (text(), maybe(pair), maybe(reserved)).boxed();
    let all = (of_volume, of_claim, (text(), text(), text()), of_conversion);
    all.prop_map(|(of_volume, of_claim, texts, (becomes, conversion, reserved_claims))| {
        let (provenance, original_reclaim_policy, freed, readopt_claim) = of_volume;
        let (orphaned_since, disowned, allow_deletion_until) = of_claim;
        let (protected_claims, unprotect, readopt) = texts;
        StorageMarks {
            provenance,
            original_reclaim_policy,
            freed,
            orphaned_since,
            disowned,
            protected_claims,
            allow_deletion_until,
            unprotect,
            readopt,
            readopt_claim,
            becomes,
            conversion,
            reserved_claims,
        }
    })
}

/// What an object carries after an edit.
fn edited<T: MarkSet>(marks: &T, edits: &[super::Edit]) -> T {
    let mut all = marks.clone();
    for (key, text) in edits {
        all.set(key, text.as_deref());
    }
    all
}

fn makes_one_the_other<T: MarkSet + Debug>(now: &T, then: &T) -> Result<(), TestCaseError> {
    let edits = now.diff(then);
    prop_assert_eq!(&edited(now, &edits), then);
    prop_assert_eq!(then.diff(then), vec![]);
    for (key, text) in &edits {
        prop_assert_ne!(&now.text(key).map(Cow::into_owned), text, "{}", key);
    }
    Ok(())
}

/// Whatever stands there: what nobody can read is there, says nothing, and can be removed.
fn is_read_and_removed<T: MarkSet>(text: &str) -> Result<(), TestCaseError> {
    let all = T::read(T::keys().map(|key| (key, text)));
    for key in T::keys() {
        prop_assert!(all.stands(key), "{}", key);
    }
    let gone: Vec<_> = all.diff(&T::default()).into_iter().map(|(key, _)| key).collect();
    prop_assert_eq!(gone, T::keys().collect::<Vec<_>>());
    // What says something says the same when it is read again.
    prop_assert_eq!(T::read(all.write()).write(), all.write());
    Ok(())
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(marks in any_marks(), storage in any_storage_marks()) {
        prop_assert_eq!(Marks::read(marks.write()), marks);
        prop_assert_eq!(StorageMarks::read(storage.write()), storage);
    }

    #[test]
    fn the_difference_makes_one_the_other(now in any_marks(), then in any_marks()) {
        makes_one_the_other(&now, &then)?;
    }

    #[test]
    fn the_difference_makes_storage_marks_the_other(
        now in any_storage_marks(),
        then in any_storage_marks(),
    ) {
        makes_one_the_other(&now, &then)?;
    }

    #[test]
    fn whatever_stands_can_be_read_and_removed(text in "\\PC{0,40}") {
        is_read_and_removed::<Marks>(&text)?;
        is_read_and_removed::<StorageMarks>(&text)?;
    }

    #[test]
    fn an_id_is_written_as_it_was_read(text in "([0-9]{1,22}|c-[0-9a-zG]{0,8}|volume-[0-9]{0,3}|[a-z-]{1,9})") {
        prop_assert_eq!(text.parse::<ChangeId>().unwrap().to_string(), text);
    }

    #[test]
    fn what_pods_are_asked_about_is_written_as_it_is_read(id in id(), step in proptest::option::of(0..100_u32)) {
        let about = About { id, step };
        prop_assert_eq!(about.to_string().parse(), Ok(about));
    }
}

fn garbage<T: MarkSet>(key: &str, text: &str) -> bool {
    let marks = T::read([(key, text)]);
    assert!(marks.stands(key), "{key}: {text}");
    assert_eq!(marks.diff(&T::default()).len(), 1, "{key}: {text} can be removed");
    marks.text(key).is_none()
}

/// The expressions are those of `charts/lockkeeper/admission`.
#[test]
fn garbage_is_what_admission_takes_for_none() {
    for (key, known, none) in [
        // ^[0-9]+ by .
        (
            marks::HOLD,
            &["7 by ann", "007 by x", "7 by a by b"][..],
            &["", "7", "7 by ", "x by ann", " by ann", "7  by ann", "-7 by ann", "7 by \n"][..],
        ),
        // ^[-0-9a-z]+ .
        (
            marks::HOLD_SINCE,
            &["7 x", "7 2026-01-01T00:00:00Z ann b", "c-1a 2026-01-01T00:00:00Z"],
            &["", "7", "7 ", "X 7", " 7"],
        ),
        // ^[0-9]{1,10}$, at most 2147483647
        (
            marks::PARTITION,
            &["0", "0000000003", "2147483647"],
            &["", "+3", "-1", "3 ", "2147483648", "00000000003", "x"],
        ),
        (marks::DECLARED_PARTITION, &["3"], &["2147483648"]),
        // == 'true', == 'exclusive', ^(true|false)$
        (marks::HOLD_CHANGES, &["true"], &["", "false", "True", "true "]),
        (marks::HOLD_AT_ZERO, &["true"], &["1"]),
        (marks::VOLUME_ACCESS, &["exclusive"], &["", "Exclusive"]),
        (marks::DECLARED_PAUSED, &["true", "false"], &["", "yes"]),
        // ^[0-9]{1,9}%?[|]([0-9]{1,9}|[0-9]{1,2}%|100%)$, not ^0+%?[|]0+%?$
        (
            marks::DECLARED_STRATEGY,
            &["1|0", "25%|25%", "999%|100%", "0|1"],
            &[
                "0|0",
                "0%|0",
                "00%|000",
                "1",
                "1|",
                "|1",
                "1|101%",
                "1|-1",
                "1234567890|1",
                "+1|1",
                "1|1|1",
            ],
        ),
        // ^[A-Z][A-Za-z]{0,30}$, not RollingUpdate
        (
            marks::DECLARED_UPDATE_STRATEGY,
            &["Recreate", "OnDelete", "A"],
            &["", "x", "No-type", "RollingUpdate", "Aaaaaaaaaabbbbbbbbbbccccccccccdd"],
        ),
        // ^(0|[1-9][0-9]{0,9}) of [1-9][0-9]{0,9}$, and fewer
        (
            marks::DECLARED_REPLICAS,
            &["0 of 1", "2 of 2147483647"],
            &["", "1", "1 of 1", "2 of 1", "01 of 2", "1 of +2", "-1 of 2", "1 of 2 of 3"],
        ),
        // != ''
        (marks::PENDING_CONFIG, &["c-12345678", "x y"], &[""]),
        (marks::APPROVE, &["7", "c-12345678"], &[""]),
        (marks::APPROVED_BY, &["ann"], &[""]),
        // The operator's own notes. A field that is not known is passed over.
        (
            marks::GOVERNANCE,
            &[r#"{"policy":"p","uid":"u"}"#, r#"{"policy":"p","uid":"u","more":1}"#],
            &["", "p", "{}", r#"{"policy":"p"}"#, r#"{"policy":1,"uid":"u"}"#],
        ),
        (
            marks::ROLLOUT,
            &["{}", r#"{"done":"a","more":1}"#],
            &["", "done", r#"{"done":1}"#, r#"{"at":"yesterday"}"#, r#"{"ended":"Later"}"#],
        ),
        (
            marks::MAINTENANCE,
            &["Stop", "Off", "Sleep", "Sleep keep=a,b-1 root=c", "Sleep root=c"],
            &[
                "",
                "stop",
                "Stop ",
                "Sleep ",
                "Stop only=0",
                "Sleep root=c keep=a",
                "Sleep keep=",
                "Sleep keep=A",
            ],
        ),
        (
            marks::IN_MAINTENANCE,
            &["stop id=7", "sleep id=7 keep=a,b more=1", "start id=7 since=2026-01-01T00:00:00Z"],
            &["", "stop", "stop ", "nap id=7", "stop id=", "stop id= 7", "stop since=1"],
        ),
    ] {
        for text in known {
            assert!(!garbage::<Marks>(key, text), "{key}: {text}");
        }
        for text in none {
            assert!(garbage::<Marks>(key, text), "{key}: {text}");
        }
    }
}

#[test]
fn garbage_on_storage_says_nothing() {
    let provenance = r#"{"namespace":"shop","namespaceUid":"n","claim":"data","claimUid":"c","volume":"v","workload":"w","policy":"p",
        "orphanedAfter":"10m","readopt":"Never"}"#;
    for (key, known, none) in [
        (marks::PROVENANCE, &[provenance][..], &["", "{}", "shop/data"][..]),
        (
            marks::ORIGINAL_RECLAIM_POLICY,
            &["Retain", "Delete", "Recycle"],
            &["", "retain", "Keep", "Delete "],
        ),
        (marks::FREED, &["true"], &["", "yes"]),
        (marks::ORPHANED_SINCE, &["2026-01-01T00:00:00Z"], &["", "yesterday", "1"]),
        (marks::ALLOW_DELETION_UNTIL, &["2026-01-01T00:00:00Z"], &["", "always"]),
        (marks::DISOWNED, &["a", "a b"], &["", " "]),
        (
            marks::READOPT_CLAIM,
            &[r#"{"of":"a","replaces":"b","claim":{}}"#],
            &["", "{}", r#"{"of":"a"}"#],
        ),
    ] {
        for text in known {
            assert!(!garbage::<StorageMarks>(key, text), "{key}: {text}");
        }
        for text in none {
            assert!(garbage::<StorageMarks>(key, text), "{key}: {text}");
        }
    }
}

#[test]
fn on_storage_counts_only_what_belongs_on_the_kind() {
    for on in [On::Claim, On::Volume, On::Namespace] {
        let all = StorageMarks::keys().map(|key| (key, "x"));
        let found = StorageMarks::on(on, all);
        for key in StorageMarks::keys() {
            let belongs = registry::annotations_of(on).any(|one| one == key);
            assert_eq!(found.stands(key), belongs, "{key} on {on:?}");
        }
    }
}

#[test]
fn what_bears_the_label_is_governed_whatever_it_says() {
    let labels = |text: &str| BTreeMap::from([(marks::GOVERNED.to_owned(), text.to_owned())]);
    for (labels, stands, says) in [
        (None, false, None),
        (Some(BTreeMap::new()), false, None),
        (Some(labels("true")), true, Some(Judge::Policies)),
        (Some(labels("webhook")), true, Some(Judge::Webhook)),
        (Some(labels("false")), true, None),
    ] {
        let mark = labels::governed(labels.as_ref());
        assert_eq!((mark.stands(), mark.get().copied()), (stands, says), "{labels:?}");
    }
}

#[test]
fn a_template_gets_a_config_hash_and_loses_it() {
    for template in [json!({}), json!({"metadata": {"annotations": {"a": "b"}}})] {
        let mut changed = template.clone();
        labels::set_config_hash(&mut changed, None);
        assert_eq!(changed["metadata"]["annotations"], template["metadata"]["annotations"]);
        labels::set_config_hash(&mut changed, Some("1"));
        assert_eq!(labels::config_hash(&changed), Some("1"));
        labels::set_config_hash(&mut changed, None);
        assert_eq!(labels::config_hash(&changed), None);
    }
}

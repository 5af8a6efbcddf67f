//! Each gate by itself: what opens it, what closes it, and that they are asked in order.

use jiff::{Timestamp, ToSpan};
use lockkeeper::{
    api::{ChangeCause, Reason, WorkloadKind},
    core::{
        gates::{
            self,
            blocker::GateName,
            change::{Change, Consent, Kind},
        },
        governs::Ruling,
        hold::authors::Authors,
        observed::{Policy, Workload, policy::check_spec},
        subject::Unknown,
    },
    marks::ChangeId,
};
use serde_json::{Value, json};

use crate::world::{World, at};

fn policy(mut spec: Value) -> Policy {
    spec["selector"] = json!({});
    let (spec, windows) = check_spec(serde_json::from_value(spec).unwrap()).unwrap();
    Policy {
        name: "shop".into(),
        uid: "policy-shop".into(),
        generation: 1,
        written: at(-1000),
        spec: Ok(spec),
        windows,
        switched_off: Vec::new(),
        status: Default::default(),
    }
}

struct Case {
    spec: Value,
    causes: &'static [ChangeCause],
    /// The authors, as their mark has them.
    by: Option<&'static str>,
    approved_by: Option<&'static str>,
    recorded: bool,
    kind: WorkloadKind,
    since: Timestamp,
    last_change: Timestamp,
}

fn case(spec: Value) -> Case {
    Case {
        spec,
        causes: &[ChangeCause::Template],
        by: Some("dev"),
        approved_by: None,
        recorded: true,
        kind: WorkloadKind::Deployment,
        since: at(-3600),
        last_change: at(-3600),
    }
}

impl Case {
    fn ask(&self) -> Option<(Reason, String, Option<Timestamp>)> {
        let policy = policy(self.spec.clone());
        let mut world = World::new();
        world.deployment("web", json!({}));
        let mut workload = Workload::clone(&world.namespace.workloads[&world.id("web")]);
        workload.id.kind = self.kind;
        let unknown = Unknown::default();
        let around = unknown.around(&world.namespace, self.recorded, at(0));
        let spec = policy.spec.as_ref().unwrap();
        let subject = unknown.subject(&around, Ruling::of(&policy, spec), &workload);
        let authors =
            self.by.map(|mark| Authors::parse(Some(mark), mark.split(' ').next().unwrap()));
        let change = Change {
            kind: authors.as_ref().map_or(Kind::Config, Kind::Hold),
            id: Some(ChangeId::Template(7)),
            causes: self.causes,
            consent: match self.approved_by {
                _ if !self.recorded => Consent::Unrecorded,
                Some(user) => Consent::By(user),
                None => Consent::Missing,
            },
            since: self.since,
            last_change: self.last_change,
            spares: None,
            broken: false,
        };
        let blocker = gates::ask(&subject, &change).blocker?;
        Some((blocker.reason(), change.why(&subject, &blocker), blocker.ask_again()))
    }

    fn closed(&self) -> (Reason, String, Option<Timestamp>) {
        self.ask().expect("a gate is closed")
    }

    fn is_open(&self) -> bool {
        self.ask().is_none()
    }
}

#[test]
fn quiet_waits_for_the_last_change_but_not_indefinitely() {
    let changed = |since: i64, last: i64| Case {
        since: at(since),
        last_change: at(last),
        ..case(json!({"config": {"settle": "5s", "settleLimit": "20s"}}))
    };
    assert!(changed(-10, -5).is_open());
    assert_eq!(changed(-10, -1).closed().2, Some(at(4)));
    // Something changes all the time: at the latest, the limit after the first change.
    assert!(changed(-20, -1).is_open());
    // A change long after the first begins another time of quiet.
    assert_eq!(changed(-3600, -1).closed().2, Some(at(4)));
    let without_config = Case { since: at(-1), last_change: at(-1), ..case(json!({})) };
    assert_eq!(without_config.closed().2, Some(at(1)), "2 s where the policy does not say");
}

#[test]
fn a_freeze_counts_whatever_the_gates_apply_to() {
    let frozen =
        json!({"mode": "Freeze", "gates": {"appliesTo": ["Template"], "approval": "Required"}});
    let config = Case { causes: &[ChangeCause::Config], approved_by: Some("boss"), ..case(frozen) };
    let (reason, message, _) = config.closed();
    assert_eq!(reason, Reason::Frozen);
    assert!(message.contains("lockkeeper.dev/bypass=7"), "{message}");
}

#[test]
fn gates_ask_only_about_what_they_apply_to() {
    let only_templates = json!({"gates": {"appliesTo": ["Template"], "approval": "Required"}});
    assert!(Case { causes: &[ChangeCause::Config], ..case(only_templates.clone()) }.is_open());
    assert_eq!(case(only_templates.clone()).closed().0, Reason::ApprovalRequired);
    assert_eq!(
        Case { causes: &[ChangeCause::Template, ChangeCause::Config], ..case(only_templates) }
            .closed()
            .0,
        Reason::ApprovalRequired
    );
}

#[test]
fn an_approval_counts_by_whose_it_is() {
    let spec = |approval: &str| json!({"gates": {"approval": approval}});
    let approved =
        |approval: &str, by: Option<&'static str>| Case { approved_by: by, ..case(spec(approval)) };
    assert!(approved("NotRequired", None).is_open());
    assert!(approved("Required", Some("dev")).is_open() && !approved("Required", None).is_open());
    assert!(approved("RequiredFromOther", Some("boss")).is_open());
    let (_, message, _) = approved("RequiredFromOther", Some("dev")).closed();
    assert!(
        message.contains("approved by dev, who made the change")
            && message.contains("lockkeeper.dev/approve-"),
        "{message}"
    );
    // Who changed config is not known.
    assert!(
        Case {
            by: None,
            causes: &[ChangeCause::Config],
            ..approved("RequiredFromOther", Some("dev"))
        }
        .is_open()
    );
}

#[test]
fn nobody_who_changed_it_may_approve_it_as_somebody_else() {
    let of = |by: &'static str, approver: Option<&'static str>| Case {
        by: Some(by),
        approved_by: approver,
        ..case(json!({"gates": {"approval": "RequiredFromOther"}}))
    };
    for author in ["dev", "bot"] {
        let (_, message, _) = of("dev bot", Some(author)).closed();
        assert!(
            message.contains(&format!(
                "approved by {author}, who is one of those who made the change (dev and bot)"
            )),
            "{message}"
        );
    }
    assert!(of("dev bot", Some("boss")).is_open());
    let (_, message, _) = of("dev bot", None).closed();
    assert!(message.contains("a user other than dev and bot can approve it"), "{message}");
    // One name with a space, which is no two.
    assert!(
        of("dev%20bot eve", Some("bot")).is_open()
            && !of("dev%20bot eve", Some("dev bot")).is_open()
    );
    // More than admission keeps the names of: anybody may be one of them.
    for approver in [None, Some("boss")] {
        let (_, message, _) = of("dev bot %more", approver).closed();
        assert!(
            message.contains("lockkeeper.dev/bypass=7")
                && !message.contains("lockkeeper.dev/approve"),
            "{message}"
        );
    }
    let required = Case {
        by: Some("dev bot %more"),
        approved_by: Some("dev"),
        ..case(json!({"gates": {"approval": "Required"}}))
    };
    assert!(required.is_open());
}

#[test]
fn where_admission_records_no_approvals_none_is_counted_on() {
    let spec = json!({"gates": {"approval": "Required"}});
    let (_, message, _) = Case { recorded: false, ..case(spec.clone()) }.closed();
    assert!(
        message.contains("HoldsEnforced") && !message.contains("kubectl annotate"),
        "{message}"
    );
    assert!(Case { recorded: false, kind: WorkloadKind::DaemonSet, ..case(spec) }.is_open());
}

#[test]
fn the_first_gate_that_is_closed_answers() {
    let window = json!([{"type": "Deny", "schedule": "* * * * *", "duration": "1h"}]);
    let all = json!({"mode": "Freeze", "gates": {"approval": "Required", "windows": window}});
    let mut not_frozen = all.clone();
    not_frozen["mode"] = json!("Enforce");
    assert_eq!(Case { last_change: at(0), ..case(all.clone()) }.closed().0, Reason::QuietTime);
    assert_eq!(case(all).closed().0, Reason::Frozen);
    let (reason, message, ask_again) = case(not_frozen).closed();
    assert_eq!(reason, Reason::WindowClosed);
    assert!(message.contains("Deny"), "{message}");
    assert!(ask_again.is_none_or(|time| time > at(0) + 1.second()));
}

/// By their order, a status tells which gates are open before the one that is closed.
#[test]
fn gates_are_found_by_their_names_and_each_is_itself() {
    for name in GateName::all() {
        assert_eq!(name.gate().name, name);
        assert_eq!(GateName::named(name.as_str()), Some(name));
    }
}

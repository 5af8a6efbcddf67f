//! What keeps holds from being enforced, who judges, and what an administrator is told of it.

use super::*;
use crate::{api::marks, marks::values::Judge};

/// Everything installed in a namespace, but for what is changed.
fn installed(change: impl Fn(&AdmissionId, Value) -> Option<Value>) -> Enforcement {
    let mut enforcement = Enforcement::new(&Release::new("ours", "lockkeeper.dev/lockkeeper:1"));
    for (id, (_, spec)) in enforcement.expected.clone() {
        enforcement.observe(&id.0, &id.1, change(&id, spec));
    }
    enforcement
}

fn gaps(enforcement: &Enforcement) -> [Option<ConditionReason>; 3] {
    [enforcement.gap(), enforcement.claims_gap(), enforcement.deletion_gap()]
        .map(|gap| gap.map(|gap| gap.reason))
}

#[test]
fn what_puts_pods_to_sleep_is_of_this_release_and_may_be_the_webhook() {
    let all = installed(|_, spec| Some(spec));
    assert_eq!(all.sleep_gap(), None);
    let image = "lockkeeper.dev/lockkeeper:1";
    let other = installed(|_, spec| {
        serde_json::from_str(&spec.to_string().replace(image, "lockkeeper.dev/other:1")).unwrap()
    });
    let gap = other.sleep_gap().unwrap();
    assert_eq!(gap.reason, ConditionReason::AdmissionPolicyChanged);
    assert!(gap.message.contains("lockkeeper-pods"), "{}", gap.message);
    assert_eq!(gaps(&other), [None; 3]);
    // Who does not know the image cannot compare it.
    assert_eq!(Enforcement::new(&Release::new("ours", "")).sleep_gap(), None);
    let mut without = installed(|id, spec| (id.1 != "lockkeeper-pods").then_some(spec));
    assert_eq!(without.sleep_gap().unwrap().reason, ConditionReason::AdmissionPolicyMissing);
    assert_eq!(gaps(&without), [None; 3]);
    without.observe(WEBHOOK.0, WEBHOOK.1, Some(json!([{"name": PODS_ENTRY}])));
    assert_eq!(without.sleep_gap(), None);
}

#[test]
fn names_of_claims_are_reserved_by_the_policies_or_by_the_webhook_and_one_policy_that_refuses() {
    let all = installed(|_, spec| Some(spec));
    assert_eq!(all.conversion_gap(), None);
    for name in ["lockkeeper-reserve", "lockkeeper-reserved"] {
        let mut without = installed(|id, spec| (id.1 != name).then_some(spec));
        let gap = without.conversion_gap().unwrap();
        assert!(gap.contains(&format!("{name} is not installed")), "{gap}");
        assert_eq!(gaps(&without), [None; 3]);
        without.observe(WEBHOOK.0, WEBHOOK.1, Some(json!([{"name": RESERVE_ENTRY}])));
        assert_eq!(without.conversion_gap().is_none(), name == "lockkeeper-reserve", "{name}");
    }
    let off = all.without_conversion(Some("it is off".to_owned()));
    assert_eq!(off.conversion_gap().as_deref(), Some("it is off"));
}

#[test]
fn each_purpose_has_its_own_gap() {
    let all = installed(|_, spec| Some(spec));
    assert_eq!(gaps(&all), [None; 3]);
    assert_eq!(all.expected.len(), 46);
    assert!(
        all.expected
            .values()
            .all(|(_, spec)| !spec.is_null() && !spec.to_string().contains("lockkeeper-system:"))
    );

    let missing = Some(ConditionReason::AdmissionPolicyMissing);
    let without = |name: &str| gaps(&installed(|id, spec| (id.1 != name).then_some(spec)));
    assert_eq!(without("lockkeeper-deployments"), [missing, None, None]);
    assert_eq!(without("lockkeeper-self-restraint-storage"), [missing, None, None]);
    assert_eq!(without("lockkeeper-status"), [missing, None, None]);
    assert_eq!(without("lockkeeper-probe"), [missing, None, None]);
    assert_eq!(without("lockkeeper-claims"), [None, missing, None]);
    assert_eq!(without("lockkeeper-claims-created"), [None, missing, None]);
    assert_eq!(without("lockkeeper-claims-reserving"), [None, missing, None]);
    for name in [
        "lockkeeper-deletion",
        "lockkeeper-deletion-namespaces",
        "lockkeeper-deletion-warnings",
        "lockkeeper-protection",
        "lockkeeper-storage-status",
    ] {
        assert_eq!(without(name), [None, None, missing], "{name}");
    }
}

#[test]
fn a_binding_that_only_warns_does_not_refuse() {
    let changed = installed(|id, mut spec| {
        if id.1 == "lockkeeper-deletion-claims" {
            spec["validationActions"] = json!(["Warn"]);
        }
        Some(spec)
    });
    let gap = changed.deletion_gap().map(|gap| gap.message).unwrap_or_default();
    assert!(
        gap.contains("lockkeeper-deletion-claims is not as")
            && gap.contains("at spec.validationActions[0]"),
        "{gap}"
    );
    assert_eq!(gaps(&changed), [None, None, Some(ConditionReason::AdmissionPolicyChanged)]);
}

#[test]
fn deletion_is_refused_also_where_mutating_policies_are_not_served() {
    let mut old = installed(|id, spec| id.0.starts_with("Validating").then_some(spec));
    old.observe_served("MutatingAdmissionPolicy", false);
    old.observe_served("MutatingAdmissionPolicyBinding", false);
    assert_eq!(
        gaps(&old),
        [
            Some(ConditionReason::AdmissionUnavailable),
            Some(ConditionReason::AdmissionUnavailable),
            None
        ]
    );
}

fn webhooks(selector: Value, resources: Value) -> Value {
    let client = |path: &str| json!({"service": {"name": "lockkeeper-webhook", "port": 443, "path": path}, "caBundle": "PEM"});
    json!([
        {"name": "holds.lockkeeper.dev", "objectSelector": selector, "failurePolicy": "Fail", "clientConfig": client("/mutate/fail"), "rules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": resources, "scope": "Namespaced"}]},
        {"name": "created.lockkeeper.dev", "failurePolicy": "Fail", "clientConfig": client("/mutate/fail"), "rules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments", "statefulsets"]}]},
        {"name": "claims.lockkeeper.dev", "clientConfig": client("/mutate/ignore")},
        {"name": "probe.lockkeeper.dev", "clientConfig": client("/mutate/fail")},
    ])
}

fn labelled(values: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": marks::GOVERNED, "operator": "In", "values": values}]})
}

/// Before Kubernetes 1.36, with the policies that it serves and this webhook.
fn with_webhook(webhooks: Value) -> Enforcement {
    let mut old = installed(|id, spec| id.0.starts_with("Validating").then_some(spec));
    old.observe_served("MutatingAdmissionPolicy", false);
    old.observe_served("MutatingAdmissionPolicyBinding", false);
    old.observe(WEBHOOK.0, WEBHOOK.1, Some(webhooks));
    old
}

#[test]
fn the_webhook_holds_where_mutating_policies_are_not_served() {
    let both = json!(["deployments", "statefulsets"]);
    let well = with_webhook(webhooks(labelled(&["webhook"]), both.clone()));
    assert_eq!(gaps(&well), [None; 3]);
    assert_eq!(well.judges(), Judges { webhook: true, ..Judges::default() });
    let mut without_probe = webhooks(labelled(&["webhook"]), both.clone());
    without_probe[3]["name"] = json!("other");
    let mut elsewhere = webhooks(labelled(&["webhook"]), both.clone());
    elsewhere[0]["clientConfig"]["caBundle"] = json!("another");
    for (webhooks, at) in [
        (webhooks(labelled(&["true"]), both.clone()), "objectSelector"),
        (webhooks(labelled(&["webhook"]), json!(["deployments"])), "rules"),
        (json!([]), "webhooks"),
        (without_probe, "webhooks"),
        (elsewhere, "clientConfig"),
    ] {
        let flawed = with_webhook(webhooks);
        let gap = flawed.gap().unwrap();
        assert_eq!(gap.reason, ConditionReason::WebhookChanged, "{at}");
        assert!(gap.message.contains(&format!("at {at}: ")), "{}", gap.message);
        assert_eq!(flawed.judges(), Judges::default(), "{at}");
    }
}

/// A configuration that somebody made weaker is none of the chart's, and one that is stricter, or
/// that a provider added to, holds all the same.
#[test]
fn p6_a_webhook_that_is_sent_less_or_may_fail_is_told() {
    let both = json!(["deployments", "statefulsets"]);
    let concerns = include_str!("../../../../charts/lockkeeper/webhook/concerns.cel").trim();
    let not_in =
        |key: &str, values: Value| json!({"key": key, "operator": "NotIn", "values": values});
    let ours = not_in("kubernetes.io/metadata.name", json!(["kube-system", "ours"]));
    let mut chart = webhooks(labelled(&["webhook"]), both);
    for (entry, condition) in
        [(0, concerns), (1, "request.userInfo.username != 'system:serviceaccount:ours:lockkeeper'")]
    {
        chart[entry]["matchConditions"] = json!([{"name": "concerns", "expression": condition}]);
        chart[entry]["namespaceSelector"] = json!({"matchExpressions": [ours]});
    }
    let gap = |change: &dyn Fn(&mut Value)| {
        let mut changed = chart.clone();
        change(&mut changed);
        let cluster = with_webhook(changed);
        let gap = cluster.gap().map(|gap| (gap.reason, gap.message));
        (gap, cluster.judges().webhook, cluster.is_enforced())
    };
    assert_eq!(gap(&|_| {}), (None, true, true));
    let another = json!([{"name": "concerns", "expression": concerns}, {"name": "mine", "expression": "false"}]);
    let shop =
        json!({"matchExpressions": [ours, not_in("kubernetes.io/metadata.name", json!(["shop"]))]});
    let labels = json!({"matchLabels": {"holds": "yes"}});
    for (entry, field, value) in [
        (0, "matchConditions", another.clone()),
        (1, "matchConditions", another),
        (0, "namespaceSelector", shop),
        (1, "namespaceSelector", labels),
        (0, "failurePolicy", json!("Ignore")),
        (1, "failurePolicy", json!("Ignore")),
        (1, "objectSelector", labelled(&["webhook"])),
        (1, "rules", json!([])),
    ] {
        let (told, judges, enforced) = gap(&|all| all[entry][field] = value.clone());
        let (reason, message) = told.unwrap();
        assert_eq!(reason, ConditionReason::WebhookChanged, "{entry} {field}");
        assert!(message.contains(&format!("at {field}: ")), "{message}");
        // Without the entry for what is created, what it is sent is held all the same.
        assert_eq!((judges, enforced), (entry == 1, false), "{entry} {field}");
    }
    let (told, ..) = gap(&|all| drop(all.as_array_mut().unwrap().remove(1)));
    assert!(told.unwrap().1.contains("at webhooks: "));
    for stricter in [Value::Null, json!([])] {
        assert_eq!(gap(&|all| all[0]["matchConditions"] = stricter.clone()).0, None);
    }
    let of_aks = [
        json!({"key": "control-plane", "operator": "DoesNotExist"}),
        not_in("kubernetes.azure.com/managedby", json!(["aks"])),
    ];
    let by_aks = json!({"matchExpressions": [ours, of_aks[0], of_aks[1]]});
    assert_eq!(gap(&|all| all[0]["namespaceSelector"] = by_aks.clone()).0, None);
}

/// The rights of who approves are checked by policies that every cluster has.
#[test]
fn the_webhook_alone_is_not_enough() {
    let both = json!(["deployments", "statefulsets"]);
    let mut old = with_webhook(webhooks(labelled(&["webhook"]), both));
    old.observe("ValidatingAdmissionPolicy", "lockkeeper-rights", None);
    let reason = old.gap().map(|gap| gap.reason);
    assert_eq!(reason, Some(ConditionReason::AdmissionPolicyMissing));
}

/// A cluster that is upgraded to 1.36, and one that is to go back: no workload is left out.
#[test]
fn workloads_are_handed_over_to_the_judge_that_is_there() {
    let both = json!(["deployments", "statefulsets"]);
    let well = webhooks(labelled(&["webhook"]), both);
    let mut cluster = with_webhook(well.clone());
    let label = Some(Judge::Webhook);
    assert_eq!(cluster.judges().choose(None), Judge::Webhook);

    cluster.observe_served("MutatingAdmissionPolicy", true);
    cluster.observe_served("MutatingAdmissionPolicyBinding", true);
    assert_eq!((cluster.judges().choose(label), gaps(&cluster)), (Judge::Webhook, [None; 3]));

    let all = installed(|_, spec| Some(spec));
    for (id, Installed { spec, .. }) in all.installed {
        cluster.observe(&id.0, &id.1, Some(spec));
    }
    // The policies are installed, but some API server may not know them yet.
    assert_eq!(cluster.judges().choose(label), Judge::Webhook);
    assert_eq!(cluster.judges().choose(None), Judge::Policies, "it was let go by nobody");
    assert_eq!(cluster.ask_after(), Some(Duration::from_secs(1)));
    answer(&mut cluster, "true webhook", 20);
    assert_eq!((cluster.judges().choose(label), gaps(&cluster)), (Judge::Policies, [None; 3]));
    assert!(cluster.judges().heed(label), "it holds the rest");
    assert_eq!(cluster.ask_after(), Some(Duration::from_secs(30)));
    answer(&mut cluster, "webhook", 1);
    assert_eq!(cluster.judges().choose(label), Judge::Webhook, "an API server lacks them");
    // What is with the policies stays there: the webhook is not wanted.
    assert_eq!(cluster.judges().choose(Some(Judge::Policies)), Judge::Policies);

    cluster.observe(WEBHOOK.0, WEBHOOK.1, None);
    assert!(!cluster.judges().heed(label));
    assert!(cluster.judges().heed(Some(Judge::Policies)));

    cluster.observe_served("MutatingAdmissionPolicy", false);
    let label = Some(Judge::Policies);
    assert_eq!(cluster.judges().choose(label), Judge::Policies, "nobody is there");
    cluster.observe(WEBHOOK.0, WEBHOOK.1, Some(well));
    assert_eq!(cluster.judges().choose(label), Judge::Webhook);
    assert!(!cluster.judges().heed(label));
}

fn answer(cluster: &mut Enforcement, judges: &str, times: u32) {
    let answer = Answer::read(&format!("who-judges {judges}"));
    for _ in 0..times {
        cluster.observe_answer(&answer);
    }
}

/// A cluster that is to go back below 1.36: the chart has the webhook sent all workloads, and
/// keeps the policies until they are handed over.
#[test]
fn a_webhook_that_is_wanted_takes_over_when_it_has_proven_itself() {
    let both = json!(["deployments", "statefulsets"]);
    let mut cluster = installed(|_, spec| Some(spec));
    assert_eq!(cluster.ask_after(), None, "there is no webhook");
    cluster.observe(WEBHOOK.0, WEBHOOK.1, Some(webhooks(json!({}), both)));
    let label = Some(Judge::Policies);
    assert_eq!(cluster.judges().choose(label), Judge::Policies);
    answer(&mut cluster, "true webhook", 19);
    assert_eq!(cluster.judges().choose(label), Judge::Policies);
    answer(&mut cluster, "true webhook", 1);
    assert_eq!((cluster.judges().choose(label), gaps(&cluster)), (Judge::Webhook, [None; 3]));
    assert!(cluster.judges().heed(label), "the policies hold the rest");
    // A replica that does not answer for a moment hands nothing back.
    cluster.observe_answer(&Answer::Refused("connection refused".to_owned()));
    assert_eq!(cluster.judges().choose(Some(Judge::Webhook)), Judge::Webhook);
    answer(&mut cluster, "true webhook", 20);
    cluster.observe("MutatingAdmissionPolicy", "lockkeeper-deployments", None);
    assert_eq!((cluster.judges().choose(label), cluster.gap()), (Judge::Webhook, None));
}

/// The chart may remove the policies and install them again before the next question. An API server
/// loads them a moment after it has stored them.
#[test]
fn p6_policies_that_are_installed_again_take_nothing_over_before_they_answer_again() {
    let both = json!(["deployments", "statefulsets"]);
    let mut cluster = installed(|_, spec| Some(spec));
    cluster.observe(WEBHOOK.0, WEBHOOK.1, Some(webhooks(labelled(&["webhook"]), both)));
    answer(&mut cluster, "true webhook", 20);
    let label = Some(Judge::Webhook);
    assert_eq!(cluster.judges().choose(label), Judge::Policies);
    for kind in ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"] {
        let spec =
            cluster.installed[&(kind.to_owned(), "lockkeeper-deployments".to_owned())].spec.clone();
        cluster.observe(kind, "lockkeeper-deployments", None);
        cluster.observe(kind, "lockkeeper-deployments", Some(spec.clone()));
        assert_eq!(cluster.judges().choose(label), Judge::Webhook, "{kind}");
        answer(&mut cluster, "true webhook", 20);
        cluster.observe(kind, "lockkeeper-deployments", Some(spec));
        assert_eq!(cluster.judges().choose(label), Judge::Policies, "nothing is new");
        // A watch that begins again no longer lists one.
        cluster.keep_only(kind, |name| name != "lockkeeper-statefulsets");
        let spec = installed(|_, spec| Some(spec)).installed
            [&(kind.to_owned(), "lockkeeper-statefulsets".to_owned())]
            .spec
            .clone();
        cluster.observe(kind, "lockkeeper-statefulsets", Some(spec));
        assert_eq!(cluster.judges().choose(label), Judge::Webhook, "{kind}");
        answer(&mut cluster, "true webhook", 20);
    }
}

/// The second `helm upgrade` on 1.36 may bring other texts, and removes the webhook.
#[test]
fn p6_an_upgrade_of_the_policies_hands_nothing_to_a_webhook_that_it_removes() {
    let both = json!(["deployments", "statefulsets"]);
    let mut cluster = installed(|id, mut spec| {
        if id == &("MutatingAdmissionPolicy".to_owned(), "lockkeeper-deployments".to_owned()) {
            spec["matchConditions"] = json!([{"name": "newer", "expression": "true"}]);
        }
        Some(spec)
    });
    cluster.observe(WEBHOOK.0, WEBHOOK.1, Some(webhooks(labelled(&["webhook"]), both)));
    answer(&mut cluster, "true webhook", 20);
    for label in [None, Some(Judge::Policies)] {
        assert_eq!(cluster.judges().choose(label), Judge::Policies);
        assert!(cluster.judges().heed(label));
    }
    let changed = Some(ConditionReason::AdmissionPolicyChanged);
    assert_eq!(cluster.gap().map(|gap| gap.reason), changed);
    cluster.observe("MutatingAdmissionPolicy", "lockkeeper-deployments", None);
    assert_eq!(cluster.judges().choose(Some(Judge::Policies)), Judge::Webhook, "they hold nothing");
}

/// What an administrator is told of a webhook that is not reached, or not there.
#[test]
fn a_webhook_that_is_not_reached_is_told_until_it_answers() {
    let both = json!(["deployments", "statefulsets"]);
    let mut well = webhooks(labelled(&["webhook"]), both);
    let mut old = with_webhook(well.clone()).serving_webhook(true);
    let refused = Answer::Refused("connection refused".to_owned());
    answer(&mut old, "webhook", 1);
    assert!(!old.observe_answer(&refused), "once is nothing");
    assert_eq!((old.gap(), old.ask_after()), (None, Some(Duration::from_secs(5))));
    assert!(old.observe_answer(&refused) && !old.observe_answer(&refused));
    let gap = old.gap().unwrap();
    assert_eq!(gap.reason, ConditionReason::WebhookUnreachable);
    for words in ["It says: connection refused.", "so it refuses changes", "get pods -n"] {
        assert!(gap.message.contains(words), "{}", gap.message);
    }
    assert!(old.is_enforced(), "nothing is let through, so what is recorded counts");
    assert!(old.observe_answer(&Answer::read("who-judges webhook")));
    assert_eq!(old.gap(), None, "it recovers by itself");
    // Another operator begins to lead.
    old.forget_answers();
    assert!(old.observe_answer(&refused), "there is no time in which it was well");
    // Where what cannot be judged is let through, it is not enforced.
    well[0]["failurePolicy"] = json!("Ignore");
    well[0]["clientConfig"]["service"]["path"] = json!("/mutate/ignore");
    old.observe(WEBHOOK.0, WEBHOOK.1, Some(well));
    let message = old.gap().unwrap().message;
    assert!(message.contains("may roll without waiting") && !old.is_enforced(), "{message}");

    old.observe(WEBHOOK.0, WEBHOOK.1, None);
    let gap = old.gap().unwrap();
    assert_eq!(gap.reason, ConditionReason::WebhookMissing);
    assert!(gap.message.contains("helm upgrade") && !old.is_enforced(), "{}", gap.message);
    assert_eq!(old.ask_after(), None, "there is nobody to ask");
    let none = old.serving_webhook(false);
    let reason = none.gap().map(|gap| gap.reason);
    assert_eq!(reason, Some(ConditionReason::AdmissionUnavailable), "nobody is to hold");
}

/// While a control plane is upgraded, one server may know a kind that another does not.
#[test]
fn they_are_unavailable_until_each_kind_is_served() {
    let mut enforcement = installed(|_, spec| Some(spec));
    assert!(enforcement.observe_served("MutatingAdmissionPolicyBinding", false));
    assert!(!enforcement.observe_served("MutatingAdmissionPolicy", true));
    assert!(enforcement.is_unavailable());
    assert!(enforcement.observe_served("MutatingAdmissionPolicyBinding", true));
    assert!(!enforcement.is_unavailable());
}

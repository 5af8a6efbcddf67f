//! Alerts and dashboard: they ask for metrics that there are, with labels that these have, and each
//! alert fires when it should.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use lockkeeper::{
    api::{Phase, Reason, WorkloadKind, status::CONDITIONS},
    core::{
        conversation::Errand,
        decision::{Census, PolicyCensus},
        observed::storage::State,
        request::{Cause, Purpose},
    },
    telemetry::metrics::Metrics,
};
use promql_parser::parser::{Expr, parse};
use serde_json::{Value, json};
use strum::VariantArray;

use super::{
    promql::{Scrape, selectors},
    rendered, values,
};
use crate::support::{Shop, eventually, http_get, operator, operator_address};

const NOW: i64 = 1_800_000_000;
const HOUR: i64 = 3600;

fn monitoring() -> Vec<Value> {
    let [flag, file] = values("everything");
    rendered(&[&flag, &file])
}

/// The chart's alerts by name: the rule, and its expression.
fn alerts() -> BTreeMap<String, (Value, Expr)> {
    let objects = monitoring();
    let rules = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let rules = rules["spec"]["groups"][0]["rules"].as_array().unwrap().iter();
    let parsed = |rule: &Value| {
        parse(rule["expr"].as_str().unwrap()).unwrap_or_else(|error| panic!("{error}: {rule:#}"))
    };
    rules
        .map(|rule| (rule["alert"].as_str().unwrap().to_owned(), (rule.clone(), parsed(rule))))
        .collect()
}

fn dashboard() -> Value {
    let objects = monitoring();
    let dashboard =
        objects.iter().find(|object| object["metadata"]["name"] == "lockkeeper-dashboard").unwrap();
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    serde_json::from_str(dashboard["data"]["lockkeeper.json"].as_str().unwrap()).unwrap()
}

/// An expression as Grafana sends it where somebody has chosen one namespace and one policy, which
/// need not be there.
fn chosen(expression: &str, namespace: &str, policy: &str) -> String {
    let chosen = expression
        .replace("$__rate_interval", "5m")
        .replace("$namespace", namespace)
        .replace("$policy", policy);
    assert!(!chosen.contains('$'), "a variable that the dashboard does not have: {expression}");
    chosen
}

/// The expressions of the dashboard's panels, as Grafana sends them.
fn panels() -> Vec<(String, Expr)> {
    let mut found = Vec::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = chosen(target["expr"].as_str().unwrap(), "shop", "web");
            let parsed = parse(&expression).unwrap_or_else(|error| panic!("{error}: {expression}"));
            // What the legend names must come out of the expression.
            let (_, grouped) = selectors(&parsed);
            for name in target["legendFormat"]
                .as_str()
                .unwrap()
                .split("{{")
                .skip(1)
                .map(|rest| rest.split("}}").next().unwrap())
            {
                assert!(
                    grouped.contains(&name),
                    "{}: {name} is in the legend, and not in {expression}",
                    panel["title"]
                );
            }
            found.push((panel["title"].as_str().unwrap().to_owned(), parsed));
        }
    }
    found
}

/// Every metric that there can be, with every label: counters appear with their first count.
fn everything() -> Scrape {
    let metrics = Metrics::default();
    metrics.rolled(Cause::Config, Some(Duration::from_secs(1)));
    metrics.suppressed(Reason::LimitReached);
    metrics.released("GatesOpen");
    metrics.waited(Reason::WindowClosed, Duration::from_secs(1));
    metrics.patched(&Purpose::Adopt, "Accepted");
    metrics.asked(Errand::Ask, "Yes");
    metrics.watch_failed("pods");
    metrics.event_lost();
    let of_policy = PolicyCensus {
        phases: Phase::VARIANTS.iter().map(|phase| (*phase, 1)).collect(),
        oldest_hold: Timestamp::from_second(NOW).ok(),
        oldest_difference: Timestamp::from_second(NOW).ok(),
        oldest_maintenance: Timestamp::from_second(NOW).ok(),
        conditions: CONDITIONS
            .iter()
            .map(|kind| ((*kind).to_owned(), "False".to_owned()))
            .collect(),
    };
    metrics.set_namespace("shop", of("web", of_policy));
    metrics.set_volumes(
        "shop",
        BTreeMap::from([("web".to_owned(), State::ALL.map(|state| (state, (1, 1))).into())]),
    );
    scrape(&metrics)
}

/// A namespace with one policy of this name.
fn of(policy: &str, census: PolicyCensus) -> Census {
    Census { policies: BTreeMap::from([(policy.to_owned(), census)]), ..Census::default() }
}

fn scrape(metrics: &Metrics) -> Scrape {
    let text = metrics.text().unwrap();
    Scrape::read(&text, NOW as f64)
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_and_labels_that_there_are() {
    let there = everything();
    let alerts = alerts().into_iter().map(|(name, (_, expression))| (name, expression));
    let (mut checked, all) = (0, alerts.chain(panels()));
    for (name, expression) in all {
        let (found, grouped) = selectors(&expression);
        assert!(!found.is_empty(), "{name}");
        for selector in found {
            checked += 1;
            let metric = selector.name.as_deref().unwrap();
            let labels = there
                .labels(metric)
                .unwrap_or_else(|| panic!("{name}: there is no metric {metric}"));
            for matcher in &selector.matchers.matchers {
                assert!(
                    labels.contains_key(&*matcher.name),
                    "{name}: {metric} has no label {}",
                    matcher.name
                );
            }
            // Gauges are there from the start, with every value of their labels.
            assert!(
                !there.select(selector).is_empty(),
                "{name}: no series of {metric} fits {:?}",
                selector.matchers
            );
            for label in &grouped {
                assert!(labels.contains_key(label), "{name}: {metric} has no label {label}");
            }
        }
    }
    assert!(checked > 30, "{checked} selectors were looked at");
}

/// What is counted by policy is shown of the policies that are chosen, and of no other.
#[test]
fn the_dashboards_variables_choose_among_what_there_is() {
    let (there, dashboard) = (everything(), dashboard());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "namespace", "policy"]);
    for variable in &variables[1..] {
        let query = variable["query"]["query"].as_str().unwrap();
        let (series, label) = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(")")?.rsplit_once(", "))
            .unwrap();
        assert_eq!(label, variable["name"]);
        let Ok(Expr::VectorSelector(selector)) = parse(&chosen(series, ".*", ".*")) else {
            panic!("{query}")
        };
        let found = there.select(&selector);
        assert!(
            !found.is_empty() && found.iter().all(|(labels, _)| labels.contains_key(label)),
            "{query}"
        );
        assert_eq!((&variable["includeAll"], &variable["allValue"]), (&json!(true), &json!(".*")));
    }
    let mut by_policy = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            for (namespace, policy, expected) in [
                ("shop", "web", true),
                (".*", ".*", true),
                ("other", "web", false),
                ("shop", "other", false),
            ] {
                let expression =
                    parse(&chosen(target["expr"].as_str().unwrap(), namespace, policy)).unwrap();
                let of_policies = selectors(&expression)
                    .0
                    .into_iter()
                    .filter(|one| one.name.as_deref().unwrap().starts_with("lockkeeper_policy_"));
                for selector in of_policies {
                    by_policy += 1;
                    assert_eq!(
                        !there.select(selector).is_empty(),
                        expected,
                        "{}: {namespace} {policy}",
                        panel["title"]
                    );
                }
            }
        }
    }
    assert!(by_policy > 30, "{by_policy}");
}

/// What makes an alert fire, on a leader that is otherwise content.
fn trouble(alert: &str, metrics: &Metrics) {
    let ago = |seconds: i64| Timestamp::from_second(NOW - seconds).ok();
    let phase = |phase: Phase| {
        of("web", PolicyCensus { phases: BTreeMap::from([(phase, 1)]), ..PolicyCensus::default() })
    };
    let condition = |kind: &str, status: &str| {
        of(
            "web",
            PolicyCensus {
                conditions: BTreeMap::from([(kind.to_owned(), status.to_owned())]),
                ..PolicyCensus::default()
            },
        )
    };
    let census = |census: Census| metrics.set_namespace("shop", census);
    let volume = |state: State| {
        metrics.set_volumes(
            "shop",
            BTreeMap::from([("web".to_owned(), BTreeMap::from([(state, (1, 1 << 30))]))]),
        )
    };
    match alert {
        "LockkeeperDown" => metrics.leads(false),
        "LockkeeperHeldTooLong" => census(of(
            "web",
            PolicyCensus { oldest_hold: ago(25 * HOUR), ..PolicyCensus::default() },
        )),
        "LockkeeperHoldsNotEnforced" => census(condition("HoldsEnforced", "False")),
        "LockkeeperGatesNotVerified" => census(condition("GatesVerified", "False")),
        "LockkeeperPolicyInvalid" => census(condition("Ready", "False")),
        "LockkeeperRolloutFailed" => census(phase(Phase::Failed)),
        "LockkeeperLimitReached" => census(phase(Phase::Limited)),
        "LockkeeperConfigOverdue" => census(of(
            "web",
            PolicyCensus { oldest_difference: ago(2 * HOUR), ..PolicyCensus::default() },
        )),
        "LockkeeperMaintenanceForgotten" => census(of(
            "web",
            PolicyCensus { oldest_maintenance: ago(25 * HOUR), ..PolicyCensus::default() },
        )),
        "LockkeeperVolumeOrphaned" => volume(State::Orphaned),
        "LockkeeperVolumeShadowed" => volume(State::Lost),
        "LockkeeperClaimTerminatingInUse" => volume(State::Terminating),
        other => panic!("{other}: say what makes it fire"),
    }
}

/// A cluster in which all goes as it should, something is held for an hour, and some conditions are
/// not known yet.
fn content() -> Metrics {
    let metrics = Metrics::default();
    metrics.leads(true);
    let conditions = [
        ("HoldsEnforced", "True"),
        ("GatesVerified", "Unknown"),
        ("Ready", "True"),
        ("UpToDate", "False"),
    ];
    let of_policy = PolicyCensus {
        phases: BTreeMap::from([(Phase::UpToDate, 9), (Phase::Held, 1)]),
        oldest_hold: Timestamp::from_second(NOW - HOUR).ok(),
        oldest_difference: Timestamp::from_second(NOW - 30).ok(),
        oldest_maintenance: Timestamp::from_second(NOW - HOUR).ok(),
        conditions: conditions.map(|(kind, status)| (kind.to_owned(), status.to_owned())).into(),
    };
    let census = Census {
        phases: BTreeMap::from([
            (Phase::UpToDate, 9),
            (Phase::Held, 1),
            (Phase::Rolling, 1),
            (Phase::Settling, 1),
        ]),
        stale: 1,
        oldest_hold: Timestamp::from_second(NOW - HOUR).ok(),
        oldest_difference: Timestamp::from_second(NOW - 30).ok(),
        conditions: conditions
            .map(|(kind, status)| ((kind.to_owned(), status.to_owned()), 1))
            .into(),
        policies: BTreeMap::from([("web".to_owned(), of_policy)]),
    };
    metrics.set_namespace("bank", census);
    metrics.set_volumes(
        "bank",
        BTreeMap::from([(
            "web".to_owned(),
            BTreeMap::from([(State::InUse, (3, 3)), (State::Idle, (1, 1))]),
        )]),
    );
    metrics
}

#[test]
fn each_alert_fires_for_its_own_trouble_and_for_nothing_else() {
    let alerts = alerts();
    assert_eq!(alerts.len(), 12);
    let firing = |metrics: &Metrics| -> Vec<&str> {
        let scrape = scrape(metrics);
        alerts
            .iter()
            .filter(|(_, (_, expression))| !scrape.evaluate(expression).is_empty())
            .map(|(name, _)| name.as_str())
            .collect()
    };
    assert_eq!(firing(&content()), Vec::<&str>::new());
    for alert in alerts.keys() {
        let metrics = content();
        trouble(alert, &metrics);
        assert_eq!(firing(&metrics), [alert]);
        // Who is paged finds the policy in the alert.
        let (rule, expression) = &alerts[alert];
        if alert != "LockkeeperDown" {
            let fired = scrape(&metrics).evaluate(expression);
            assert!(
                fired
                    .iter()
                    .all(|(labels, _)| labels["namespace"] == "shop" && labels["policy"] == "web"),
                "{fired:?}"
            );
            let told = rule["annotations"]["description"].as_str().unwrap();
            assert!(
                told.contains("{{ $labels.namespace }}/{{ $labels.policy }}"),
                "{alert}: {told}"
            );
        }
    }
    // Nothing has been scraped at all.
    let (_, down) = &alerts["LockkeeperDown"];
    assert_eq!(Scrape::read("", NOW as f64).evaluate(down).len(), 1);
    // A replica that follows says nothing that the leader does not.
    let stopped = content();
    stopped.leads(false);
    assert_eq!(firing(&stopped), ["LockkeeperDown"]);
}

#[test]
fn each_alert_has_a_paragraph_that_its_runbook_link_finds() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts.md")).unwrap();
    let anchors: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    for (name, (rule, _)) in alerts() {
        let link = rule["annotations"]["runbook_url"].as_str().unwrap();
        let anchor = link
            .strip_prefix("https://wiki.example.com/lockkeeper/alerts#")
            .unwrap_or_else(|| panic!("{name}: {link}"));
        assert!(
            anchors.iter().any(|one| one == anchor),
            "{name}: docs/alerts.md has no paragraph for {link}"
        );
        for word in ["summary", "description"] {
            assert!(
                rule["annotations"][word].as_str().is_some_and(|text| !text.is_empty()),
                "{name}: {word}"
            );
        }
        assert!(
            rule["for"].is_string()
                && rule["labels"]["severity"].is_string()
                && rule["labels"]["team"] == "platform",
            "{rule:#}"
        );
    }
    assert!(
        anchors.iter().filter(|anchor| anchor.starts_with("lockkeeper")).count() == 12,
        "{anchors:?}"
    );
    // As long as nobody has said where the page is, there is no link that leads nowhere.
    let unlinked = rendered(&["--set=prometheusRule.enabled=true"]);
    let rules = unlinked.iter().find(|object| object["kind"] == "PrometheusRule").unwrap()["spec"]
        ["groups"][0]["rules"]
        .clone();
    let annotations: Vec<_> = rules
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["annotations"].as_object().unwrap())
        .collect();
    assert_eq!(annotations.len(), 12);
    assert!(
        annotations
            .iter()
            .all(|one| !one.contains_key("runbook_url") && one.contains_key("summary")),
        "{annotations:?}"
    );
}

/// What the installed operator serves, after all other tests have had their way with it.
#[tokio::test]
async fn the_running_operator_feeds_the_alerts() {
    let _operator = operator();
    let shop = Shop::open("alerts").await;
    let gates = json!({"approval": "Required", "app": {"port": 9}});
    shop.policy(
        json!({"kinds": [WorkloadKind::Deployment], "config": {"settle": "300ms"}, "gates": gates}),
    )
    .await;
    shop.guarded("Deployment", "web").await;
    let alerts = alerts();
    let metrics = || async {
        let text = http_get(&operator_address().await, "/metrics").unwrap_or_default();
        // Nobody waits for a day here: the alert is looked at as it will be then.
        Scrape::read(&text, (Timestamp::now().as_second() + 25 * HOUR) as f64)
    };
    let fires = |alert: &str, scrape: &Scrape| !scrape.evaluate(&alerts[alert].1).is_empty();
    eventually("nobody answers on port 9", metrics, |scrape| {
        fires("LockkeeperGatesNotVerified", scrape)
    })
    .await;
    shop.kubectl(&["set", "image", "deployment/web", "app=other:v2"]);
    shop.is_held("Deployment", "web").await;
    let scrape =
        eventually("a change is held", metrics, |scrape| fires("LockkeeperHeldTooLong", scrape))
            .await;
    assert!(!fires("LockkeeperDown", &scrape));
    let unknown = |name: &&String| everything().labels(name).is_none();
    let served: Vec<_> = alerts
        .values()
        .flat_map(|(_, expression)| selectors(expression).0)
        .filter_map(|one| one.name.clone())
        .collect();
    assert_eq!(served.iter().filter(unknown).collect::<Vec<_>>(), Vec::<&String>::new());
    // Nothing here is overdue, and no data is kept.
    let absent = [
        "lockkeeper_policy_oldest_config_difference_timestamp_seconds",
        "lockkeeper_policy_oldest_maintenance_timestamp_seconds",
        "lockkeeper_policy_volumes",
    ];
    let is_served = |name: &String| absent.contains(&&**name) || scrape.labels(name).is_some();
    assert!(served.iter().all(is_served), "{served:?}");
    assert!(
        ["process_resident_memory_bytes", "process_cpu_seconds_total"]
            .iter()
            .all(|name| scrape.labels(name).is_some())
    );
}

//! The app gate: which pods are asked, what their answers mean together, and what is said to them
//! besides.

use lockkeeper::{
    api::{AppGate, WorkloadKind},
    core::{
        conversation::{Errand, Templates, answer::Answer, place},
        observed::{DeclaredPort, Pod},
    },
};
use serde_json::{Value, json};

use crate::world::{World, env_key};

fn world(kind: WorkloadKind, app: Value) -> World {
    let mut world = World::new().with_policy(json!({"gates": {"app": app}}));
    world.workload(kind, "web", 3, json!({"containers": [{"name": "app"}]}));
    world.act();
    world.later(60).act();
    world
}

/// Somebody changes the template, and admission holds it.
fn change(world: &mut World, image: &str) {
    world.edit("web", |web| {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        let id = web["metadata"]["generation"].as_i64().unwrap() + 1;
        web["metadata"]["annotations"]["lockkeeper.dev/hold"] = json!(format!("{id} by dev"));
    });
    world.said.clear();
    // The quiet time.
    world.act();
    world.later(2);
}

fn names(world: &World) -> Vec<String> {
    let mut names: Vec<_> = world.pods("web").iter().map(|pod| pod.name.to_string()).collect();
    names.sort();
    names
}

fn is_held(world: &World) -> bool {
    !world.object("web")["metadata"]["annotations"]["lockkeeper.dev/hold"].is_null()
}

fn pod<'a>(world: &'a mut World, name: &str) -> &'a mut Pod {
    world.namespace.pods.values_mut().find(|pod| *pod.name == *name).unwrap()
}

/// The names of the pods to which this was said, since the last change.
fn told(world: &World, errand: Errand) -> Vec<String> {
    let mut names: Vec<_> =
        world.said.iter().filter(|(one, _)| *one == errand).map(|(_, name)| name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn no(words: &str) -> Answer {
    Answer::No(words.to_owned())
}

fn unusable() -> Answer {
    Answer::Unusable("it answers 500".to_owned())
}

/// What the three pods answer (`-`: not Ready), under which policy, and where that leads: the
/// reason, or `free`.
const TABLE: &[([&str; 3], &str, &str)] = &[
    (["yes", "yes", "yes"], "{}", "free"),
    (["yes", "no", "yes"], "{}", "AppGateClosed"),
    (["yes", "no-", "yes"], "{}", "AppGateClosed"),
    (["yes-", "yes-", "yes-"], "{}", "free"),
    (["yes", "bad", "yes"], "{}", "AppUnreachable"),
    (["yes", "bad", "yes"], r#"{"whenUnreachable": "Open"}"#, "free"),
    (["yes", "bad-", "yes"], "{}", "free"),
    (["no", "bad", "yes"], r#"{"whenUnreachable": "Open"}"#, "AppGateClosed"),
    (["bad", "bad", "bad"], "{}", "AppUnreachable"),
    (["bad", "bad", "bad"], r#"{"whenMissing": "Open"}"#, "AppUnreachable"),
    (["404", "404", "404"], "{}", "AppMissing"),
    (["404", "404", "404"], r#"{"whenMissing": "Open"}"#, "free"),
    (["404", "404", "404"], r#"{"whenUnreachable": "Open"}"#, "AppMissing"),
    (["404", "404", "404-"], r#"{"whenMissing": "Open"}"#, "free"),
    (["404", "yes", "yes"], r#"{"whenMissing": "Open"}"#, "AppUnreachable"),
    (["404", "bad", "404"], r#"{"whenMissing": "Open"}"#, "AppUnreachable"),
    (["404", "no", "404"], r#"{"whenMissing": "Open"}"#, "AppGateClosed"),
    (["bad-", "bad-", "bad-"], r#"{"brokenAfter": "2m"}"#, "AppUnreachable"),
    // They are asked for the first time: that they are not Ready is no silence.
    (["bad-", "bad-", "bad-"], r#"{"brokenAfter": "30s"}"#, "AppUnreachable"),
    (["bad-", "no-", "bad-"], r#"{"brokenAfter": "30s"}"#, "AppGateClosed"),
];

#[test]
fn p8_p9_the_gate_opens_when_every_pod_that_counts_says_yes() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for (answers, policy, expected) in TABLE {
            let mut world = world(kind, serde_json::from_str(policy).unwrap());
            for (name, answer) in names(&world).into_iter().zip(answers) {
                if answer.ends_with('-') {
                    let since = world.now;
                    let pod = pod(&mut world, &name);
                    (pod.ready, pod.ready_moved) =
                        (false, Some(since - jiff::SignedDuration::from_secs(60)));
                }
                let answer = match answer.trim_end_matches('-') {
                    "yes" => continue,
                    "no" => no("a job runs"),
                    "404" => Answer::Missing(404),
                    _ => unusable(),
                };
                world.answers.insert(name, answer);
            }
            change(&mut world, "v2");
            world.act();
            let stands =
                if is_held(&world) { world.attention().unwrap().reason.as_str() } else { "free" };
            assert_eq!(
                stands,
                *expected,
                "{kind} {answers:?} {policy}: {:?}",
                world.attention().map(|one| &one.message)
            );
        }
    }
}

#[test]
fn p8_a_reading_counts_only_for_the_pod_the_container_and_the_change_it_was_made_for() {
    let mut world = world(WorkloadKind::Deployment, json!({"successes": 2}));
    let all = names(&world);
    change(&mut world, "v2");
    world.act();
    assert!(is_held(&world) && told(&world, Errand::Ask) == all, "one round is not enough");
    pod(&mut world, &all[1]).restarts = 1;
    world.answers.insert(all[1].clone(), no("it has begun something"));
    world.later(5).act();
    assert_eq!(world.attention().unwrap().reason.as_str(), "AppGateClosed");
    world.answers.clear();
    world.later(5).act();
    assert!(is_held(&world), "the one that said no has said yes once");
    change(&mut world, "v3");
    world.act();
    assert!(is_held(&world), "what was said about v2 is void");
    world.later(5).act();
    assert!(!is_held(&world));
}

#[test]
fn only_pods_that_the_release_would_end_are_asked() {
    let mut world = world(WorkloadKind::Deployment, json!({}));
    let all = names(&world);
    pod(&mut world, &all[0]).terminating = Some(world_time());
    let second = pod(&mut world, &all[1]);
    second.reach.running = false;
    second.ready = false;
    world.observe("web");
    change(&mut world, "v2");
    world.act();
    assert_eq!(told(&world, Errand::Ask), [all[2].clone()]);
    let mut world = self::world(WorkloadKind::Deployment, json!({"port": 9090}));
    change(&mut world, "v2");
    world.act();
    assert_eq!(told(&world, Errand::Ask), [""; 0]);
    assert!(
        world.attention().unwrap().message.contains("declares no TCP port 9090"),
        "{:?}",
        world.attention()
    );
    let all = names(&world);
    pod(&mut world, &all[0]).reach.host_network = true;
    world.edit("web", |web| {
        web["metadata"]["annotations"]["lockkeeper.dev/app-gate"] = json!("port=http")
    });
    world.later(5).act();
    assert!(
        world.attention().unwrap().message.contains("uses the host network"),
        "{:?}",
        world.attention()
    );
}

fn world_time() -> jiff::Timestamp {
    crate::world::at(100)
}

#[test]
fn p8_pods_are_drained_before_they_are_asked_and_until_they_are_gone_and_no_longer() {
    let mut world = world(WorkloadKind::Deployment, json!({"prepare": {"timeout": "1m"}}));
    let all = names(&world);
    world.answers.insert(all[0].clone(), no("busy"));
    change(&mut world, "v2");
    world.act();
    assert_eq!(world.said[0].0, Errand::Prepare);
    assert_eq!(told(&world, Errand::Prepare), all);
    world.said.clear();
    world.later(20).act();
    assert_eq!(told(&world, Errand::Prepare), all, "the lease is renewed");
    world.later(41).act();
    assert_eq!(world.attention().unwrap().reason.as_str(), "PrepareTimedOut");
    assert_eq!(told(&world, Errand::Withdraw), all);
    world.said.clear();
    world.later(30).act();
    assert_eq!(world.said, [], "they are left alone");
    world.answers.clear();
    world.later(31).act();
    assert!(!is_held(&world));
    world.said.clear();
    world.start_pod("web");
    world.later(20).act();
    let left: Vec<_> = names(&world).into_iter().filter(|name| all.contains(name)).collect();
    assert_eq!((left.len(), told(&world, Errand::Prepare)), (2, left), "until they are gone");
    assert_eq!(told(&world, Errand::Withdraw), [""; 0]);
    world.said.clear();
    world.finish("web");
    world.later(20).act();
    assert_eq!(world.said, []);
}

#[test]
fn p8_what_is_withdrawn_lets_pods_work_again() {
    for way in ["revert", "freeze", "observe", "no gate", "ignore", "policy deleted"] {
        let mut world = world(WorkloadKind::Deployment, json!({"prepare": {}}));
        let all = names(&world);
        all.iter().for_each(|name| drop(world.answers.insert(name.clone(), no("busy"))));
        let template = world.object("web")["spec"]["template"].clone();
        change(&mut world, "v2");
        world.act();
        assert_eq!(told(&world, Errand::Prepare), all);
        match way {
            "revert" => world.edit("web", |web| web["spec"]["template"] = template),
            "freeze" => {
                world.policy("shop", json!({"mode": "Freeze", "gates": {"app": {"prepare": {}}}}))
            }
            "observe" => {
                world.policy("shop", json!({"mode": "Observe", "gates": {"app": {"prepare": {}}}}))
            }
            "no gate" => world.policy("shop", json!({"gates": {"approval": "Required"}})),
            "ignore" => world.edit("web", |web| {
                web["metadata"]["annotations"]["lockkeeper.dev/ignore"] = json!("true")
            }),
            _ => world.namespace.policies.clear(),
        }
        world.later(5).act();
        assert_eq!(told(&world, Errand::Withdraw), all, "{way}");
    }
}

#[test]
fn a_pod_that_hangs_is_asked_less_often_and_delays_no_other() {
    let mut world = world(WorkloadKind::Deployment, json!({"period": "1s"}));
    let all = names(&world);
    world.answers.insert(all[0].clone(), Answer::Hangs("no answer within 2s".to_owned()));
    change(&mut world, "v2");
    for _ in 0..60 {
        world.later(1).act();
    }
    let times = |name: &str| world.said.iter().filter(|(_, one)| one == name).count();
    assert!(times(&all[0]) < 10 && times(&all[1]) > 55, "{} {}", times(&all[0]), times(&all[1]));
}

#[test]
fn what_pods_say_is_told_on_while_the_controller_has_not_seen_the_newest_write() {
    let mut world =
        World::new().with_policy(json!({"config": {"settle": "0s"}, "gates": {"app": {}}}));
    world.config_map("app", &[("key", "old")]);
    world.workload(WorkloadKind::Deployment, "web", 1, env_key("app", "key"));
    world.act();
    world.later(60).act();
    let busy = names(&world).remove(0);
    world.answers.insert(busy.clone(), no("busy"));
    world.config_map("app", &[("key", "new")]);
    world.act();
    world.later(6).act();
    let told = |world: &mut World| world.decide().statuses[0].1.attention[0].message.clone();
    assert_eq!(world.stands(), "Waiting/AppGateClosed");
    let before = told(&mut world);
    assert!(before.contains(&format!("{busy} has answered no")), "{before}");
    world.edit("web", |web| web["metadata"]["annotations"]["note"] = json!("anything"));
    assert_eq!(told(&mut world), before);
}

fn port(number: u16, name: &str, container: &str, of_first: bool) -> DeclaredPort {
    DeclaredPort { number, name: Some(name.into()), container: container.into(), of_first }
}

/// A mesh puts its proxy before the containers of the template, and gives its ports names that apps
/// use too.
#[test]
fn a_container_that_admission_adds_to_pods_is_not_asked() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet] {
        let world = world(kind, json!({}));
        let mut pod = world.pods("web")[0].clone();
        pod.reach.ports = [
            port(15090, "http", "istio-proxy", true),
            port(15021, "status", "istio-proxy", true),
            port(8080, "http", "app", false),
        ]
        .into();
        let templates = Templates {
            namespace: &world.namespace,
            workload: &world.namespace.workloads[&world.id("web")],
        };
        let asked = |gate: Value| {
            let gate: AppGate = serde_json::from_value(gate).unwrap();
            place(&pod, &gate, templates).map(|visit| visit.address.port())
        };
        assert_eq!(asked(json!({})), Ok(8080), "{kind}: the first container of the template");
        assert_eq!(asked(json!({"port": "http"})), Ok(8080), "{kind}");
        assert_eq!(
            asked(json!({"port": "status"})),
            Ok(15021),
            "{kind}: no container of the template has a port of this name"
        );
        assert_eq!(asked(json!({"port": 15090})), Ok(15090), "{kind}");
    }
}

#[test]
fn the_first_container_is_that_of_the_template_which_the_pod_was_made_from() {
    let mut world = world(WorkloadKind::Deployment, json!({}));
    world.edit("web", |web| {
        web["spec"]["template"]["spec"]["containers"] = json!([{"name": "renamed"}]);
        web["metadata"]["annotations"]["lockkeeper.dev/hold"] = json!("9 by dev");
    });
    let mut pod = world.pods("web")[0].clone();
    pod.reach.ports =
        [port(15090, "proxy", "istio-proxy", true), port(8080, "http", "app", false)].into();
    let templates = Templates {
        namespace: &world.namespace,
        workload: &world.namespace.workloads[&world.id("web")],
    };
    let gate: AppGate = serde_json::from_value(json!({})).unwrap();
    assert_eq!(place(&pod, &gate, templates).map(|visit| visit.address.port()), Ok(8080));
    let none = Pod {
        reach: lockkeeper::core::observed::Reach { ports: [].into(), ..pod.reach.clone() },
        ..pod
    };
    let why = place(&none, &gate, templates).unwrap_err();
    assert!(why.to_string().contains("first container app declares 0 TCP ports"), "{why}");
}

#[test]
fn what_a_pod_says_turns_no_text_around_and_hides_none() {
    let body = "{\"isUpgradeable\": false, \"reason\": \"\u{202e}txet\u{202c} a\u{200b}b \u{feff}処理中 🚀\u{1b}[31m\"}";
    let body = body.replace('\u{1b}', "\\u001b");
    let answer = lockkeeper::core::conversation::answer::read(
        &lockkeeper::api::OpenWhen::default(),
        200,
        body.as_bytes(),
    );
    assert_eq!(answer.without(&[]), Answer::No("txet ab 処理中 🚀 [31m".into()));
    let mut world = world(WorkloadKind::Deployment, json!({}));
    for name in names(&world) {
        world.answers.insert(name, Answer::No("done at \u{2066}12\u{2069}".into()));
    }
    change(&mut world, "v2");
    world.act();
    world.act();
    let status = world.namespace.policies["shop"].status.clone();
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.contains("done at") && !text.contains('\u{2066}'), "{text}");
}

//! P8: pods that are asked to take no new work, and may take it again whatever becomes of the
//! upgrade.

use serde_json::{Value, json};

use crate::{
    app::asks,
    support::{
        HOLDABLE, Shop, eventually, finish_work, http, mark, named, operator, operator_alone,
        start_work, switch,
    },
};

async fn preparing(name: &str) -> Shop {
    let shop = Shop::open(name).await;
    shop.policy(asks(json!({"prepare": {}}))).await;
    shop
}

/// How many pods an app has, and how many of them say that they take no new work.
async fn refusing(shop: &Shop, name: &str) -> (usize, usize) {
    let pods = shop.reachable(name).await;
    let refuses = |address: &str| {
        http(address, "POST", "/start?seconds=0.1", "").is_some_and(|(status, _)| status == 503)
    };
    (pods.len(), pods.iter().filter(|(_, address)| refuses(address)).count())
}

/// Waits until no pod of an app takes work.
async fn drained(shop: &Shop, name: &str) {
    let none = |(all, refusing): &(usize, usize)| *all > 0 && all == refusing;
    eventually(&format!("no pod of {name} takes work"), || refusing(shop, name), none).await;
}

/// Waits until all pods of an app take work.
async fn working(shop: &Shop, name: &str) {
    eventually(
        &format!("all pods of {name} take work"),
        || refusing(shop, name),
        |(all, refusing)| *all > 0 && *refusing == 0,
    )
    .await;
}

#[tokio::test]
async fn p8_pods_take_no_new_work_until_they_are_gone_and_take_it_again_on_every_way_out() {
    let _operator = operator();
    let shop = preparing("ways-out").await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.app(kind, name, 2).await;
        let policy = asks(json!({"prepare": {}}));
        let closed =
            json!({"spec": {"gates": {"windows": [{"schedule": "0 0 29 2 *", "duration": "1m"}]}}});
        let ways: Vec<(&str, Value, Value)> = vec![
            ("the window closes", closed, json!({"spec": {"gates": {"windows": null}}})),
            (
                "it freezes",
                json!({"spec": {"mode": "Freeze"}}),
                json!({"spec": {"mode": "Enforce"}}),
            ),
            (
                "an approval is needed",
                json!({"spec": {"gates": {"approval": "Required"}}}),
                json!({"spec": {"gates": {"approval": "NotRequired"}}}),
            ),
            (
                "prepare is off",
                json!({"spec": {"gates": {"app": {"prepare": null}}}}),
                json!({"spec": policy.clone()}),
            ),
        ];
        for (_, address) in shop.reachable(name).await {
            assert!(start_work(&address, 600.0));
        }
        shop.upgrade(kind, name, "v2");
        for (way, out, back) in ways {
            shop.waits(kind, name, "AppGateClosed").await;
            drained(&shop, name).await;
            shop.patch("UpgradePolicy", "shop", out).await;
            println!("{kind}: {way}");
            working(&shop, name).await;
            shop.patch("UpgradePolicy", "shop", back).await;
        }
        drained(&shop, name).await;
        shop.upgrade(kind, name, "v1");
        working(&shop, name).await;
        eventually(
            "it is let through",
            || shop.get(kind, name),
            |object| mark(object, "hold").is_none(),
        )
        .await;
        shop.done(kind, name).await;
        shop.is_free(kind, name).await;

        shop.upgrade(kind, name, "v3");
        drained(&shop, name).await;
        shop.annotate(kind, name, "app-gate", "path=/nowhere,port=http");
        shop.stands(name, "Held", "AppMissing").await;
        shop.annotate(kind, name, "app-gate", "path=/upgradeable");
        shop.waits(kind, name, "AppGateClosed").await;
        shop.kubectl(&["delete", "upgradepolicy", "shop"]);
        working(&shop, name).await;
        shop.delete(kind, name).await;
        shop.policy(policy).await;
    }
}

#[tokio::test]
async fn p8_pods_that_fail_readiness_while_they_take_no_new_work_are_held_until_they_say_yes() {
    let _operator = operator();
    let shop = preparing("drained").await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.app(kind, name, 2).await;
        for (_, address) in shop.reachable(name).await {
            switch(&address, &json!({"unready_when_prepared": true}));
            assert!(start_work(&address, 600.0));
        }
        let before = shop.pods(name).await;
        shop.upgrade(kind, name, "v2");
        let unready = |object: &Value| object["status"]["readyReplicas"].as_u64().unwrap_or(0) == 0;
        eventually("no pod is ready", || shop.get(kind, name), unready).await;
        shop.waits(kind, name, "AppGateClosed").await;
        assert_eq!(shop.pods(name).await, before, "no pod was ended");
        shop.reachable(name).await.iter().for_each(|(_, address)| finish_work(address));
        if kind == "StatefulSet" {
            // Its controller does not replace pods that are not ready (kubernetes#67250).
            let free =
                |object: &Value| object["metadata"]["annotations"]["lockkeeper.dev/hold"].is_null();
            eventually("it is let through", || shop.get(kind, name), free).await;
            shop.kubectl(&["delete", "pod", "--wait=false", "-l", &format!("app={name}")]);
        }
        shop.runs(kind, name, "v2", 2).await;
        shop.all_ended_idle(name).await;
    }
}

#[tokio::test]
async fn what_takes_too_long_is_given_up_for_a_while_and_tried_again() {
    let _operator = operator();
    let shop = Shop::asking("timeout", json!({"prepare": {"timeout": "15s"}})).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.app(kind, name, 1).await;
        let (_, address) = shop.reachable(name).await[0].clone();
        assert!(start_work(&address, 600.0));
        shop.upgrade(kind, name, "v2");
        drained(&shop, name).await;
        shop.waits_saying(kind, name, "PrepareTimedOut", &["work until "]).await;
        working(&shop, name).await;
        shop.event(name, "PrepareTimedOut").await;
        finish_work(&address);
        shop.runs(kind, name, "v2", 1).await;
        shop.all_ended_idle(name).await;
    }
}

#[tokio::test]
async fn p8_when_the_operator_dies_pods_take_work_again_exclusively() {
    let alone = operator_alone();
    let shop = preparing("dies").await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.app(kind, name, 1).await;
        let (_, address) = shop.reachable(name).await[0].clone();
        assert!(start_work(&address, 600.0));
        shop.upgrade(kind, name, "v2");
    }
    for kind in HOLDABLE {
        drained(&shop, &named("web", kind)).await;
    }
    alone.stop();
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.patiently(
            "the lease lapses",
            || refusing(&shop, name),
            |(all, refusing)| *all > 0 && *refusing == 0,
        )
        .await;
        shop.is_held(kind, name).await;
    }
    alone.start();
    for kind in HOLDABLE {
        drained(&shop, &named("web", kind)).await;
    }
    // Nobody is to be asked for the rest of the run.
    shop.delete("UpgradePolicy", "shop").await;
}

/// Work comes at random; an upgrade after the other. With prepare no pod is ended that has any.
#[tokio::test]
async fn p8_twenty_upgrades_over_busy_pods_end_none_that_works() {
    let _operator = operator();
    let shop = preparing("busy").await;
    for kind in HOLDABLE {
        shop.app(kind, &named("web", kind), 2).await;
    }
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let driver = {
        let (stop, name) = (stop.clone(), shop.name.clone());
        tokio::spawn(async move {
            let shop = Shop { client: crate::support::client().await, name };
            let (mut taken, mut round) = (0_u32, 0_u32);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                for kind in HOLDABLE {
                    for (number, (_, address)) in
                        shop.reachable(&named("web", kind)).await.into_iter().enumerate()
                    {
                        let turn = round
                            .wrapping_mul(2_654_435_761)
                            .rotate_left(u32::try_from(number).unwrap() * 7);
                        if turn % 3 != 0 && start_work(&address, f64::from(turn % 17) / 10.0) {
                            taken += 1;
                        }
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            taken
        })
    };
    let mut busy = 0;
    for number in 2..12 {
        for kind in HOLDABLE {
            shop.upgrade(kind, &named("web", kind), &format!("v{number}"));
        }
        for kind in HOLDABLE {
            let name = &named("web", kind);
            let attention = shop.status().await["attention"].to_string();
            busy += usize::from(attention.contains("AppGateClosed"));
            shop.runs(kind, name, &format!("v{number}"), 2).await;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(driver.await.unwrap() > 100, "the pods had work");
    for kind in HOLDABLE {
        let name = &named("web", kind);
        // The last ones may still be ending.
        let ends =
            eventually("all have ended", || async { shop.ends(name) }, |ends| ends.len() >= 20)
                .await;
        assert!(ends.iter().all(|line| line == "ended idle"), "{ends:?}");
    }
    let closed: Vec<_> = shop
        .events(&named("web", "Deployment"))
        .await
        .into_iter()
        .filter(|(reason, note)| reason == "GateClosed" && note.contains("has answered no"))
        .collect();
    assert!(busy + closed.len() > 0, "no pod was busy when it was asked");
}

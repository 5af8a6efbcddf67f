//! Every YAML block of the pages for users is given to the API server; no page needs a line here.

use std::{fs, path::PathBuf, process::Command};

use kube::{
    Api,
    api::{DynamicObject, PostParams},
    core::{GroupVersionKind, TypeMeta},
    discovery::{Discovery, Scope},
};
use local_cluster::shared;
use mlua::{Lua, LuaSerdeExt, Table};
use serde_json::{Value, json};

use crate::{
    pages::{self, Block},
    support::{Shop, eventually, operator},
};

/// The blocks of all pages whose fence says this.
fn blocks(info: &str) -> Vec<Block> {
    let found: Vec<_> = pages::pages()
        .iter()
        .flat_map(pages::Page::blocks)
        .filter(|block| block.info == info)
        .collect();
    assert!(!found.is_empty(), "there are blocks of ```{info}");
    found
}

fn documents(block: &Block) -> Vec<Value> {
    let whole = format!("\n{}", block.text);
    let texts = whole.split("\n---\n").filter(|text| !text.trim().is_empty());
    texts
        .map(|text| {
            serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", block.place))
        })
        .collect()
}

/// A block of a kind that no API server here knows says that it was not run.
fn says_that_it_was_not_run(block: &Block) -> bool {
    block.section.to_lowercase().contains("not run here")
}

/// Policies are created, so that the schema's rules and the operator both judge them; what else the
/// cluster serves is tried.
#[tokio::test]
async fn every_object_in_the_docs_is_accepted() {
    let _operator = operator();
    let shop = Shop::open("pages").await;
    let discovery = Discovery::new(shop.client.clone()).run().await.unwrap();
    let (mut policies, mut tried, mut not_run) = (0, 0, 0);
    for block in blocks("yaml") {
        for mut object in documents(&block) {
            let (version, kind) = (
                object["apiVersion"].as_str().unwrap_or_default(),
                object["kind"].as_str().unwrap_or_default(),
            );
            let named = object["metadata"]["name"].is_string();
            assert!(
                !version.is_empty() && !kind.is_empty() && named,
                "{}: no whole object; a part of one is ```yaml fragment",
                block.place
            );
            if kind == "UpgradePolicy" {
                accepted(&shop, &block, object).await;
                policies += 1;
                continue;
            }
            let types = TypeMeta { api_version: version.to_owned(), kind: kind.to_owned() };
            let Some((resource, capabilities)) =
                discovery.resolve_gvk(&GroupVersionKind::try_from(&types).unwrap())
            else {
                assert!(
                    says_that_it_was_not_run(&block),
                    "{}: {kind} is not served here, and the page does not say so",
                    block.place
                );
                not_run += 1;
                continue;
            };
            let api: Api<DynamicObject> = match capabilities.scope {
                Scope::Cluster => Api::all_with(shop.client.clone(), &resource),
                Scope::Namespaced => {
                    object["metadata"]["namespace"] = json!(shop.name);
                    Api::namespaced_with(shop.client.clone(), &shop.name, &resource)
                }
            };
            let dry_run = PostParams { dry_run: true, field_manager: None };
            let object = serde_json::from_value(object).unwrap();
            if let Err(error) = api.create(&dry_run, &object).await {
                panic!("{}: {error}", block.place);
            }
            tried += 1;
        }
    }
    assert!(
        policies > 20 && tried > 3 && not_run > 3,
        "{policies} policies, {tried} other objects, {not_run} that are not served here"
    );
}

/// Strict, as `kubectl apply` is: a field that there is not would be dropped in silence otherwise.
async fn accepted(shop: &Shop, block: &Block, mut object: Value) {
    object["metadata"]["namespace"] = json!(shop.name);
    let uri = format!(
        "/apis/lockkeeper.dev/v1alpha1/namespaces/{}/upgradepolicies?fieldValidation=Strict",
        shop.name
    );
    let request = http::Request::post(uri).header("Content-Type", "application/json");
    let request = request.body(serde_json::to_vec(&object).unwrap()).unwrap();
    if let Err(error) = shop.client.request::<Value>(request).await {
        panic!("{}: {error}", block.place);
    }
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let standing = || async {
        let conditions = shop.get("UpgradePolicy", &name).await["status"]["conditions"].clone();
        let ready =
            conditions.as_array().into_iter().flatten().find(|one| one["type"] == "Ready").cloned();
        ready.unwrap_or_default()
    };
    let ready = eventually(&format!("{} is judged", block.place), standing, |ready| {
        ready["status"].is_string()
    })
    .await;
    assert_eq!(ready["status"], "True", "{}: {ready}", block.place);
    shop.delete("UpgradePolicy", &name).await;
}

/// What is no whole object is at least YAML.
#[test]
fn every_fragment_in_the_docs_can_be_read() {
    for block in blocks("yaml fragment") {
        let value: Value = serde_saphyr::from_str(&block.text)
            .unwrap_or_else(|error| panic!("{}: {error}", block.place));
        assert!(value.is_object() || value.is_array(), "{}: {value}", block.place);
    }
}

/// Values for our chart pass its schema.
#[test]
fn every_set_of_values_in_the_docs_fits_the_chart() {
    for (number, block) in blocks("yaml values").iter().enumerate() {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("values-{number}.yaml"));
        fs::write(&file, &block.text).unwrap();
        let mut helm: Command = shared().command("helm");
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockkeeper");
        let output = helm
            .args(["template", "lockkeeper", chart, "-n", "lockkeeper-system", "-f"])
            .arg(file)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            block.place,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// What Argo CD would make of an object by the Lua of our page, in the Lua that it runs.
fn health(kind: &str, object: &Value) -> (String, String) {
    let settings = pages::page("docs/recipes/argo-cd.md")
        .blocks()
        .iter()
        .filter(|block| block.info == "yaml")
        .flat_map(documents)
        .find(|one| one["metadata"]["name"] == "argocd-cm");
    let settings = settings.expect("the page has the ConfigMap argocd-cm");
    let script = settings["data"][format!("resource.customizations.health.{kind}")]
        .as_str()
        .unwrap()
        .to_owned();
    let lua = Lua::new();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let health: Table = lua.load(script).eval().unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

/// The real objects, while they are held, roll and are done.
#[tokio::test]
async fn argo_cd_would_see_what_is_held() {
    let _operator = operator();
    let shop = Shop::open("argo").await;
    shop.policy(json!({"gates": {"approval": "Required"}, "config": {"settle": "100ms"}})).await;
    shop.deployment("web", json!({})).await;
    shop.workload("StatefulSet", "db", 2, json!({})).await;
    shop.adopted().await;
    shop.marked("Deployment", "web").await;
    shop.marked("StatefulSet", "db").await;
    eventually(
        "changes are held",
        || shop.get("UpgradePolicy", "shop"),
        |policy| {
            policy["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "HoldsEnforced" && one["status"] == "True")
        },
    )
    .await;
    let policy = || async {
        health("lockkeeper.dev_UpgradePolicy", &shop.get("UpgradePolicy", "shop").await).0
    };
    eventually("the policy is healthy", policy, |status| status == "Healthy").await;
    for (kind, name) in [("Deployment", "web"), ("StatefulSet", "db")] {
        let judged = health(&format!("apps_{kind}"), &shop.get(kind, name).await);
        assert_eq!(judged.0, "Healthy", "{judged:?}");
        shop.patch(
            kind,
            name,
            json!({"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}}),
        )
        .await;
        let judged = health(&format!("apps_{kind}"), &shop.get(kind, name).await);
        assert_eq!(judged.0, "Suspended", "{judged:?}");
        assert!(judged.1.contains("kubectl lockkeeper why"), "{judged:?}");
        let id = shop.get(kind, name).await["metadata"]["annotations"]["lockkeeper.dev/hold"]
            .as_str()
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        shop.patch(
            kind,
            name,
            json!({"metadata": {"annotations": {"lockkeeper.dev/approve": id}}}),
        )
        .await;
        let judge = || async { health(&format!("apps_{kind}"), &shop.get(kind, name).await).0 };
        eventually("it is let through", judge, |status| status != "Suspended").await;
        eventually("it is rolled out", judge, |status| status == "Healthy").await;
    }
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"gates": {"windows": [{"schedule": "0 99 * * *", "duration": "1h"}]}}}),
    )
    .await;
    let judge = || async {
        health("lockkeeper.dev_UpgradePolicy", &shop.get("UpgradePolicy", "shop").await)
    };
    let judged = eventually("the spec is refused", judge, |judged| judged.0 == "Degraded").await;
    assert!(judged.1.contains("schedule"), "{judged:?}");
}

/// The steps of docs/migration.md, from Reloader: look, take its annotation off, switch on.
#[tokio::test]
async fn the_way_from_reloader_rolls_nothing_that_it_need_not() {
    let _operator = operator();
    let shop = Shop::open("migration").await;
    shop.config_map("app", &[("greeting", "hello")]).await;
    shop.deployment("web", json!({"envFrom": [{"configMapRef": {"name": "app"}}]})).await;
    shop.patch(
        "Deployment",
        "web",
        json!({"metadata": {"annotations": {"reloader.stakater.com/auto": "true"}}}),
    )
    .await;
    shop.policy(json!({"mode": "Observe", "config": {"settle": "300ms"}})).await;
    let governing = || async {
        let conditions = shop.status().await["conditions"].clone();
        conditions
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["type"] == "Governing")
            .cloned()
            .unwrap_or_default()
    };
    let named = eventually("it is named", governing, |one| one["status"] == "False").await;
    assert!(
        named["message"]
            .as_str()
            .unwrap()
            .contains("OtherReloader: annotation reloader.stakater.com/auto"),
        "{named}"
    );
    shop.write("app", "greeting", "while Reloader acts").await;

    shop.patch(
        "Deployment",
        "web",
        json!({"metadata": {"annotations": {"reloader.stakater.com/auto": null}}}),
    )
    .await;
    eventually("it is governed", governing, |one| one["status"] == "True").await;
    shop.adopted().await;
    shop.write("app", "greeting", "after that").await;
    shop.stands("web", "WouldRoll", "ObserveMode").await;
    assert_eq!(shop.rollouts("web").await, 0);

    shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Enforce"}})).await;
    eventually(
        "it is rolled for what changed since",
        || shop.rollouts("web"),
        |rollouts| *rollouts == 1,
    )
    .await;
    shop.up_to_date().await;
    assert_eq!(shop.rollouts("web").await, 1);
}

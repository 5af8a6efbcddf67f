//! What no policy holds any longer is released with the plugin.

use serde_json::{Value, json};

use crate::support::{
    HOLDABLE, Shop, eventually, kubectl, mark, operator, operator_alone,
    plugin::{Person, both, plugin, says},
};

#[tokio::test]
async fn p10_the_plugin_releases_what_a_policy_left_behind() {
    let _operator = operator();
    let shop = Shop::open("plugin-release").await;
    shop.policy(
        json!({"kinds": HOLDABLE, "whenUngoverned": "Keep", "gates": {"approval": "Required"}}),
    )
    .await;
    let (dev, on_call) =
        (Person::new(&shop, "dev", &[]), Person::new(&shop, "oncall", &["lockkeeper-on-call"]));
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        says(&plugin(&shop, &["release", &place, "--yes"]), false, &["nothing to release"]);
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.waits(kind, &name, "ApprovalRequired").await;
        for person in [&dev, &on_call] {
            let said = person.plugin(&shop, &["release", &place, "--yes"]);
            says(
                &said,
                false,
                &["held by policy shop", "kubectl lockkeeper approve", "kubectl lockkeeper bypass"],
            );
        }
    }
    shop.delete("UpgradePolicy", "shop").await;
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        shop.patiently(
            "the marks go",
            || shop.get(kind, name),
            |object| mark(object, "hold-changes").is_none(),
        )
        .await;
        shop.is_held(kind, name).await;
        says(
            &on_call.plugin(&shop, &["approve", place]),
            false,
            &["no policy holds it any longer", "kubectl lockkeeper release"],
        );
        says(&dev.plugin(&shop, &["release", place, "--yes"]), false, &["needs verb bypass"]);
        says(&on_call.plugin(&shop, &["release", place]), false, &["No policy holds", "--yes"]);
        says(
            &on_call.plugin(&shop, &["release", place, "--yes"]),
            true,
            &["is released", "other:v1 -> other:v2"],
        );
        shop.all_run(kind, name, "other:v2", 2).await;
        assert_eq!(mark(&shop.get(kind, name).await, "hold"), None);
    }
}

#[tokio::test]
async fn p10_the_plugin_releases_what_an_uninstalled_lockkeeper_left_behind_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("plugin-uninstalled").await;
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.waits(kind, &name, "ApprovalRequired").await;
    }
    operator.stop();
    let ours = "app.kubernetes.io/name=lockkeeper";
    kubectl(&[
        "delete",
        "mutatingadmissionpolicybindings,validatingadmissionpolicybindings",
        "-l",
        ours,
    ]);
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        let gone = || async { plugin(&shop, &["bypass", place]) };
        let said =
            eventually("admission lets go", gone, |said| said.text.contains("not in force")).await;
        says(&said, false, &["Nothing was changed", "kubectl lockkeeper release"]);
        says(
            &plugin(&shop, &["release", place]),
            false,
            &["Its marks would be removed from", "--yes"],
        );
        says(
            &plugin(&shop, &["release", place, "--yes"]),
            true,
            &["nothing holds its template any longer"],
        );
        shop.all_run(kind, name, "other:v2", 2).await;
        let object = shop.get(kind, name).await;
        let texts = [&object["metadata"]["annotations"], &object["metadata"]["labels"]]
            .map(Value::to_string);
        assert!(!texts.concat().contains("lockkeeper.dev/"), "{object:#}");
        shop.is_free(kind, name).await;
    }
    drop(operator);
}

//! What the operator says of workloads, and what holds leave on them.

use kube::api::ListParams;
use serde_json::{Value, json};

use super::{
    Shop, eventually, mark, says_all,
    workloads::{is_done, workload},
};

impl Shop {
    pub async fn status(&self) -> Value {
        self.get("UpgradePolicy", "shop").await["status"].clone()
    }

    /// Waits until all workloads have a record and are rolled out.
    pub async fn adopted(&self) {
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            eventually(
                "every workload is adopted and rolled out",
                || async {
                    let all = self.api(kind).list(&ListParams::default()).await.unwrap().items;
                    let all = all.into_iter().map(|one| serde_json::to_value(one).unwrap());
                    all.filter(|one| mark(one, "config").is_none() || !is_done(kind, one))
                        .map(|one| one["metadata"]["name"].clone())
                        .collect::<Vec<_>>()
                },
                Vec::is_empty,
            )
            .await;
        }
        self.up_to_date().await;
        self.a_second_passes().await;
    }

    /// Waits until the policy says that everything is up to date.
    pub async fn up_to_date(&self) {
        eventually(
            "up to date",
            || self.status(),
            |status| {
                let counts = &status["workloads"];
                counts["total"].as_u64() > Some(0) && counts["total"] == counts["upToDate"]
            },
        )
        .await;
    }

    /// Waits until the policy no longer names a workload among those that deserve a look.
    pub async fn up_to_date_one(&self, name: &str) {
        let named = |status: &Value| {
            status["attention"].as_array().into_iter().flatten().any(|one| one["name"] == name)
        };
        eventually(&format!("{name} is up to date"), || self.status(), |status| !named(status))
            .await;
    }

    /// Waits until the policy says this of a workload: its attention entry.
    pub async fn stands(&self, name: &str, phase: &str, reason: &str) -> Value {
        self.stands_saying(name, phase, reason, &[]).await
    }

    /// The same, and waits until its message has these words: it may follow later than the reason.
    pub async fn stands_saying(
        &self,
        name: &str,
        phase: &str,
        reason: &str,
        words: &[&str],
    ) -> Value {
        let entry = |status: &Value| {
            status["attention"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["name"] == name)
                .cloned()
                .unwrap_or_default()
        };
        let status = eventually(
            &format!("{name} is {phase}/{reason}, with {words:?}"),
            || self.status(),
            |status| {
                let one = entry(status);
                one["phase"] == phase && one["reason"] == reason && says_all(&one, words)
            },
        )
        .await;
        entry(&status)
    }

    /// Everything that the operator had to do about earlier changes is done: it has acted on a
    /// later one. A workload that reads a ConfigMap of its own is rolled, with the quiet time of
    /// the policy, and this waits for it.
    pub async fn operator_has_acted(&self) {
        let done = |sentinel: &Value| {
            let status = &sentinel["status"];
            status["observedGeneration"] == sentinel["metadata"]["generation"]
                && status["availableReplicas"] == 1
                && status["replicas"] == 1
        };
        if self.api("ConfigMap").get_opt("sentinel").await.unwrap().is_none() {
            self.config_map("sentinel", &[("tick", "0")]).await;
            self.create(workload(
                "Deployment",
                "sentinel",
                1,
                json!({"image": "sentinel", "envFrom": [{"configMapRef": {"name": "sentinel"}}]}),
            ))
            .await;
            let known = |sentinel: &Value| mark(sentinel, "config").is_some() && done(sentinel);
            eventually("the sentinel is adopted", || self.get("Deployment", "sentinel"), known)
                .await;
            self.a_second_passes().await;
        }
        let before = self.rollouts("sentinel").await;
        self.write("sentinel", "tick", &(before + 1).to_string()).await;
        eventually("the sentinel rolls", || self.rollouts("sentinel"), |seen| *seen > before).await;
        eventually("the sentinel is done", || self.get("Deployment", "sentinel"), done).await;
    }

    /// Creates a workload by `kubectl apply`, and waits until its changes would be held and it is
    /// done.
    pub async fn guarded(&self, kind: &str, name: &str) {
        self.apply(&self.manifest(kind, name, "v1"));
        self.marked(kind, name).await;
    }

    /// Waits until a workload carries the marks by which admission holds it, is done, and the
    /// operator has noted so.
    pub async fn marked(&self, kind: &str, name: &str) {
        self.done(kind, name).await;
        let marked = |object: &Value| {
            mark(object, "hold-changes").is_some()
                && mark(object, "rollout").is_some_and(|text| text.contains("done"))
        };
        eventually(&format!("{kind} {name} is marked"), || self.get(kind, name), marked).await;
    }

    /// Asserts that a workload is held as admission holds it; its id.
    pub async fn is_held(&self, kind: &str, name: &str) -> String {
        let object = self.observed(kind, name).await;
        let hold = mark(&object, "hold")
            .unwrap_or_else(|| panic!("{kind} {name} is not held: {object:#}"));
        match kind {
            "Deployment" => assert_eq!(object["spec"]["paused"], true, "{name}"),
            _ => assert_eq!(
                object["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 2_147_483_647,
                "{name}"
            ),
        }
        hold.split(' ').next().unwrap().to_owned()
    }

    /// The annotations of a workload once nobody writes them any more.
    pub async fn annotations_at_rest(&self, kind: &str, name: &str) -> Value {
        let mut before = Value::Null;
        let now = || async {
            self.a_second_passes().await;
            self.get(kind, name).await["metadata"]["annotations"].clone()
        };
        let same = |now: &Value| std::mem::replace(&mut before, now.clone()) == *now;
        eventually(&format!("nobody writes annotations of {kind} {name}"), now, same).await
    }

    /// Waits until nothing of a hold is left on a workload.
    pub async fn is_free(&self, kind: &str, name: &str) {
        let left = |object: &Value| -> Vec<String> {
            let marks = [
                "hold",
                "hold-since",
                "declared-paused",
                "declared-partition",
                "declared-update-strategy",
                "approve",
                "approved-by",
                "bypass",
                "bypassed-by",
            ];
            let marks = marks.into_iter().filter(|name| mark(object, name).is_some());
            let spec = &object["spec"];
            let partition = &spec["updateStrategy"]["rollingUpdate"]["partition"];
            let fields = [
                ("spec.paused", spec["paused"] == true),
                ("partition", partition.as_i64().unwrap_or(0) != 0),
            ];
            let fields = fields.into_iter().filter(|(_, set)| *set).map(|(field, _)| field);
            marks.chain(fields).map(str::to_owned).collect()
        };
        eventually(
            &format!("nothing of a hold is left on {kind} {name}"),
            || async { left(&self.get(kind, name).await) },
            Vec::is_empty,
        )
        .await;
    }

    /// Waits until the policy says that a workload is held, for this reason; the attention entry.
    pub async fn waits(&self, kind: &str, name: &str, reason: &str) -> Value {
        self.waits_saying(kind, name, reason, &[]).await
    }

    /// The same, and waits until its message has these words: it may follow later than the reason.
    pub async fn waits_saying(
        &self,
        kind: &str,
        name: &str,
        reason: &str,
        words: &[&str],
    ) -> Value {
        let entry = |status: &Value| {
            let mut all = status["attention"].as_array().into_iter().flatten();
            all.find(|one| one["name"] == name && one["kind"] == kind).cloned().unwrap_or_default()
        };
        let current = self.is_held(kind, name).await;
        let status = eventually(
            &format!("{kind} {name} is held for {reason}, with {words:?}"),
            || self.status(),
            |status| {
                let one = entry(status);
                one["phase"] == "Held"
                    && one["reason"] == reason
                    && one["hold"]["id"] == current
                    && says_all(&one, words)
            },
        )
        .await;
        entry(&status)
    }

    /// Approves what is held, and waits until all pods run this image.
    pub async fn approve(&self, kind: &str, name: &str, image: &str) {
        let id = self.is_held(kind, name).await;
        self.annotate(kind, name, "approve", &id);
        self.all_run(kind, name, image, 2).await;
        self.is_free(kind, name).await;
    }
}

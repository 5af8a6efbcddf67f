//! The twin of the admission policies for claims, namespaces and volumes answers as the policies
//! do.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use model::admission::{Admitted, OPERATOR, Operation, Refused, Twin, Write};
use serde_json::{Value, json};

use crate::{
    conformance::{client_of, merge, says},
    support::{Shop, operator_alone, resource},
};

/// Marks that only their writers can bring about on the old object.
const OF_USERS: [&str; 4] = [
    "lockkeeper.dev/allow-deletion-until",
    "lockkeeper.dev/unprotect",
    "lockkeeper.dev/readopt",
    "lockkeeper.dev/becomes",
];

/// Labels, annotations, owners and finalizers, and the spec.
fn comparable(object: &Value, created: bool) -> Value {
    let mut seen = json!({});
    for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
        let value = &object["metadata"][field];
        let none = value.is_null()
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        // Of a new object the API server sets finalizers.
        if !(none || created && field == "finalizers") {
            seen[field] = value.clone();
        }
    }
    if !created {
        seen["spec"] = object["spec"].clone();
    } else if let Some(labels) = seen["labels"].as_object_mut() {
        // Of a new namespace, it sets this label.
        labels.remove("kubernetes.io/metadata.name");
        if labels.is_empty() {
            seen["labels"] = Value::Null;
        }
    }
    seen
}

/// What makes one object of another, by a merge patch.
fn merge_patch(old: &Value, new: &Value) -> Value {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        return new.clone();
    };
    let gone =
        before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    changed.map(|(key, value)| (key.clone(), merge_patch(&old[key], value))).chain(gone).collect()
}

/// The real policies and the twin, side by side.
struct Judges {
    shop: Shop,
    clients: BTreeMap<String, Client>,
    compared: usize,
    wrong: Vec<String>,
}

impl Judges {
    async fn new(name: &str) -> Self {
        let shop = Shop::open(name).await;
        let role = ["create", "clusterrole", &shop.name, "--verb=create,patch,delete"];
        let of_status = "persistentvolumeclaims/status,persistentvolumes/status,namespaces/status";
        shop.kubectl(
            &[
                &role[..],
                &[&format!(
                    "--resource=persistentvolumeclaims,persistentvolumes,namespaces,{of_status}"
                )],
            ]
            .concat(),
        );
        let clients = [(OPERATOR.to_owned(), client_of(OPERATOR).await)].into();
        Self { shop, clients, compared: 0, wrong: Vec::new() }
    }

    /// A user who may write storage, and has these verbs everywhere. Who is of the system has the
    /// system's rights.
    async fn account(&mut self, user: &str, verbs: &[&str]) -> String {
        let of_system = user.starts_with("system:");
        let account = if of_system {
            user.to_owned()
        } else {
            format!("{}-{user}-{}", self.shop.name, verbs.len())
        };
        if self.clients.contains_key(&account) {
            return account;
        }
        if !of_system {
            let (shop, name) = (&self.shop, &self.shop.name);
            let user = format!("--user={account}");
            shop.kubectl(&[
                "create",
                "clusterrolebinding",
                &account,
                &format!("--clusterrole={name}"),
                &user,
            ]);
            shop.may(&account, "patch", "persistentvolumes");
            if !verbs.is_empty() {
                let role = &format!("{account}-verbs");
                let flag = format!("--verb={}", verbs.join(","));
                shop.kubectl(&[
                    "create",
                    "clusterrole",
                    role,
                    &flag,
                    "--resource=upgradepolicies.lockkeeper.dev",
                ]);
                shop.kubectl(&[
                    "create",
                    "clusterrolebinding",
                    role,
                    &format!("--clusterrole={role}"),
                    &user,
                ]);
                for verb in verbs {
                    shop.may(&account, verb, "upgradepolicies.lockkeeper.dev");
                }
            }
        }
        self.clients.insert(account.clone(), client_of(&account).await);
        account
    }

    fn api(&self, account: Option<&str>, kind: &str) -> Api<DynamicObject> {
        let client = account
            .map_or_else(|| self.shop.client.clone(), |account| self.clients[account].clone());
        match kind {
            "PersistentVolumeClaim" => {
                Api::namespaced_with(client, &self.shop.name, &resource(kind))
            }
            _ => Api::all_with(client, &resource(kind)),
        }
    }

    /// Fits an object into this cluster. Dates are from now on.
    fn placed(&self, object: &Value, name: &str) -> Value {
        let mut text = object.to_string();
        for hours in [1, 20, 25] {
            let time = (Timestamp::now() + SignedDuration::from_hours(hours))
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string();
            text = text.replace(&format!("{{{{now+{hours}h}}}}"), &time);
        }
        let mut object: Value = serde_json::from_str(&text).unwrap();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("generation");
        metadata.insert("name".to_owned(), json!(name));
        if metadata.contains_key("namespace") {
            metadata.insert("namespace".to_owned(), json!(self.shop.name));
        }
        if let Some(own) = metadata
            .get_mut("labels")
            .and_then(|labels| labels.get_mut("kubernetes.io/metadata.name"))
        {
            *own = json!(name);
        }
        object
    }

    /// Brings the old object about: its marks come after it, each from a user who may write it.
    async fn bring_about(&self, kind: &str, name: &str, old: &Value) -> Option<()> {
        let mut bare = self.placed(old, name);
        let marks = |object: &Value, ours: fn(&str) -> bool| -> Value {
            let of = |field: &str| -> Value {
                let all = object["metadata"][field].as_object().cloned().unwrap_or_default();
                all.into_iter().filter(|(key, _)| ours(key)).collect()
            };
            json!({"metadata": {"labels": of("labels"), "annotations": of("annotations")}})
        };
        let of_users = marks(&bare, |key| OF_USERS.contains(&key));
        let of_operator = marks(&bare, |key| {
            key.starts_with("lockkeeper.dev/")
                && key != "lockkeeper.dev/allow-deny"
                && !OF_USERS.contains(&key)
        });
        if kind != "PersistentVolume" {
            for field in ["labels", "annotations"] {
                if let Some(map) = bare["metadata"][field].as_object_mut() {
                    map.retain(|key, _| {
                        !key.starts_with("lockkeeper.dev/") || key == "lockkeeper.dev/allow-deny"
                    });
                }
            }
        }
        let bare: DynamicObject = serde_json::from_value(bare).unwrap();
        let admin = self.api(None, kind);
        admin.create(&PostParams::default(), &bare).await.ok()?;
        if kind != "PersistentVolume" {
            admin.patch(name, &PatchParams::default(), &Patch::Merge(of_users)).await.ok()?;
            self.api(Some(OPERATOR), kind)
                .patch(name, &PatchParams::default(), &Patch::Merge(of_operator))
                .await
                .ok()?;
        }
        Some(())
    }

    async fn read(&self, kind: &str, name: &str) -> Option<Value> {
        Some(serde_json::to_value(self.api(None, kind).get_opt(name).await.unwrap()?).unwrap())
    }

    async fn compare(
        &mut self,
        what: &str,
        name: &str,
        (kind, operation): (&str, Operation),
        (old, new): (Option<&Value>, &Value),
        (user, verbs): (&str, &[&str]),
    ) {
        // It has no right to, so nobody asks admission.
        if user == OPERATOR && (old.is_none() || new.is_null()) {
            return;
        }
        let account = self.account(user, verbs).await;
        let brought = match old {
            Some(old) => self.bring_about(kind, name, old).await,
            None => Some(()),
        };
        if brought.is_some()
            && self
                .judge(what, name, (kind, operation), (old, new), (&account, verbs))
                .await
                .is_some()
        {
            self.compared += 1;
        }
        // Nothing protects it now.
        let free = json!({"metadata": {"labels": {"lockkeeper.dev/protected": null, "lockkeeper.dev/retained": null}}});
        let _ = self
            .api(Some(OPERATOR), kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(free))
            .await;
        let _ = self.api(None, kind).delete(name, &DeleteParams::default()).await;
    }

    async fn judge(
        &mut self,
        what: &str,
        name: &str,
        (kind, operation): (&str, Operation),
        (old, new): (Option<&Value>, &Value),
        (account, verbs): (&str, &[&str]),
    ) -> Option<()> {
        loop {
            let stored = if old.is_some() { Some(self.read(kind, name).await?) } else { None };
            let written = if new.is_null() {
                Value::Null
            } else {
                self.written(name, old, new, stored.as_ref())
            };
            let mut judged = written.clone();
            if !judged.is_null() {
                judged["metadata"]["managedFields"] =
                    json!([{"time": Timestamp::now().to_string()}]);
            }
            let twin = Twin::default().admit(&Write {
                kind,
                operation,
                old: stored.as_ref(),
                new: &judged,
                user: account,
                verbs,
            });
            let real =
                self.really(account, (kind, operation), name, stored.as_ref(), &written).await;
            let created = operation == Operation::Create;
            match (&real, &twin) {
                // The controllers write to it too.
                (Err(kube::Error::Api(status)), _) if status.code == 409 => continue,
                (Ok(None), Ok(_)) => {}
                (Ok(Some(real)), Ok(twin))
                    if comparable(real, created) == comparable(&twin.object, created) => {}
                (Err(kube::Error::Api(status)), Err(refused))
                    if says(&status.message, &refused.0) => {}
                // Which of several policies refuses first is not certain.
                (Err(kube::Error::Api(status)), Err(_))
                    if what.starts_with("write ")
                        && status.message.contains("ValidatingAdmissionPolicy 'lockkeeper-") => {}
                // The garbage collector takes what has an owner that is none.
                (Err(kube::Error::Api(status)), _) if status.code == 404 => return None,
                // What is invalid is refused later than in admission.
                (Err(kube::Error::Api(status)), Ok(_))
                    if status.code == 422 && !status.message.contains("Lockkeeper") => {}
                _ => self.differ(what, created, &real, &twin),
            }
            return Some(());
        }
    }

    fn differ(
        &mut self,
        what: &str,
        created: bool,
        real: &Result<Option<Value>, kube::Error>,
        twin: &Result<Admitted, Refused>,
    ) {
        let shown = match real {
            Ok(object) => object
                .as_ref()
                .map(|object| comparable(object, created))
                .unwrap_or_default()
                .to_string(),
            Err(error) => error.to_string(),
        };
        let twin = twin.as_ref().map_or_else(
            |refused| refused.0.clone(),
            |admitted| comparable(&admitted.object, created).to_string(),
        );
        self.wrong.push(format!("{what}:\n  real {shown}\n  twin {twin}"));
    }

    /// The new object, with what the API server has filled in.
    fn written(
        &self,
        name: &str,
        old: Option<&Value>,
        new: &Value,
        stored: Option<&Value>,
    ) -> Value {
        let new = self.placed(new, name);
        let (Some(stored), Some(old)) = (stored, old) else { return new };
        let old = self.placed(old, name);
        let mut written = stored.clone();
        for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
            match &new["metadata"][field] {
                Value::Null => drop(written["metadata"].as_object_mut().unwrap().remove(field)),
                value => written["metadata"][field] = value.clone(),
            }
        }
        if let Some(own) = stored["metadata"]["labels"].get("kubernetes.io/metadata.name") {
            written["metadata"]["labels"]["kubernetes.io/metadata.name"] = own.clone();
        }
        // Those of the API server's that no case is about.
        if old["metadata"]["finalizers"] == new["metadata"]["finalizers"] {
            written["metadata"]["finalizers"] = stored["metadata"]["finalizers"].clone();
        }
        if let Some(annotations) = stored["metadata"]["annotations"].as_object() {
            for (key, value) in
                annotations.iter().filter(|(key, _)| key.starts_with("pv.kubernetes.io/"))
            {
                written["metadata"]["annotations"][key] = value.clone();
            }
        }
        if old.get("spec").is_some() {
            merge(&mut written["spec"], &old["spec"], &new["spec"]);
        }
        written
    }

    /// What the API server makes of it; nothing is stored.
    async fn really(
        &self,
        account: &str,
        (kind, operation): (&str, Operation),
        name: &str,
        stored: Option<&Value>,
        written: &Value,
    ) -> Result<Option<Value>, kube::Error> {
        let api = self.api(Some(account), kind);
        let value = |object: DynamicObject| serde_json::to_value(object).unwrap();
        match stored {
            None => {
                let object = serde_json::from_value(written.clone()).unwrap();
                Ok(Some(value(
                    api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object)
                        .await?,
                )))
            }
            Some(_) if written.is_null() => api
                .delete(name, &DeleteParams { dry_run: true, ..DeleteParams::default() })
                .await
                .map(|_| None),
            Some(stored) => {
                let mut patch = merge_patch(stored, written);
                patch["metadata"]["resourceVersion"] =
                    stored["metadata"]["resourceVersion"].clone();
                let params = PatchParams { dry_run: true, ..PatchParams::default() };
                let patch = Patch::Merge(patch);
                Ok(Some(value(match operation {
                    Operation::Status => api.patch_status(name, &params, &patch).await?,
                    _ => api.patch(name, &params, &patch).await?,
                })))
            }
        }
    }

    fn verdict(self, at_least: usize) {
        let Self { shop, compared, wrong, .. } = self;
        shop.kubectl(&["delete", "clusterrole", &shop.name]);
        assert!(compared >= at_least, "{compared} writes were compared");
        assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[tokio::test]
async fn the_twin_answers_as_the_real_policies_do_about_storage_exclusively() {
    // It would put right what is planted here.
    let alone = operator_alone();
    alone.stop();
    let mut judges = Judges::new("storage").await;
    let all: Vec<Value> = serde_json::from_str(&model::admission::cases()).unwrap();
    for (number, case) in all.iter().enumerate() {
        let kind = case["kind"].as_str().unwrap();
        // What goes, and the phase of a volume, are not ours to bring about.
        let special = !case["old"]["metadata"]["deletionTimestamp"].is_null()
            || !case["old"]["status"].is_null();
        if !["PersistentVolumeClaim", "Namespace", "PersistentVolume"].contains(&kind) || special {
            continue;
        }
        let verbs: Vec<_> =
            case["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
        let name = format!("{}-{number}", judges.shop.name);
        let old = Some(&case["old"]).filter(|old| !old.is_null());
        let operation = match case["operation"].as_str() {
            Some("CREATE") => Operation::Create,
            Some("DELETE") => Operation::Delete,
            Some("UPDATE_STATUS") => Operation::Status,
            _ => Operation::Update,
        };
        let (what, user) = (case["name"].to_string(), case["user"].as_str().unwrap());
        judges.compare(&what, &name, (kind, operation), (old, &case["new"]), (user, &verbs)).await;
    }
    for (number, write) in
        model::admission::generate::storage_writes(7, 100).into_iter().enumerate()
    {
        let what = format!("write {number} of {} by {}", write.kind, write.user);
        let name = format!("{}-w{number}", judges.shop.name);
        let operation = match (&write.old, &write.new) {
            (Some(_), Value::Null) => Operation::Delete,
            (Some(_), _) => Operation::Update,
            (None, _) => Operation::Create,
        };
        judges
            .compare(
                &what,
                &name,
                (write.kind, operation),
                (write.old.as_ref(), &write.new),
                (write.user, write.verbs),
            )
            .await;
    }
    alone.start();
    judges.verdict(180);
}

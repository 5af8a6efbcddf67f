//! An API server of one namespace: objects, versions, generations, the watch log, and admission by the [`Twin`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admission::{Operation, Twin, Write};

/// The namespace.
pub const NAMESPACE: &str = "shop";

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The field manager.
    pub manager: &'a str,
    /// The verbs that they have on UpgradePolicies.
    pub verbs: &'a [&'a str],
}

/// Why a write is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// There is no such object.
    NotFound,
    /// There is one already.
    AlreadyExists,
    /// The object, or a test of a JSON patch, is not as it must be.
    Invalid(String),
    /// Refused in admission.
    Forbidden(String),
}

/// Something in the watch log.
#[derive(Debug, Clone)]
pub struct Event {
    /// The version that it brought.
    pub version: u64,
    /// The kind.
    pub kind: String,
    /// The object as it is now, or was last.
    pub object: Arc<Value>,
    /// It is gone.
    pub deleted: bool,
}

/// The server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its admission policies; none: they are not installed.
    pub twin: Option<Twin>,
    now: Timestamp,
    version: u64,
    uids: u64,
    objects: BTreeMap<(String, String), Arc<Value>>,
    log: Vec<Event>,
}

/// The account of the cluster's own controllers.
const CONTROLLER: Account = Account { user: "system:kube-controller-manager", manager: "kube-controller-manager", verbs: &[] };

impl Server {
    /// An empty one, at this time.
    pub fn new(now: Timestamp) -> Self {
        Self { twin: Some(Twin::default()), now, version: 100, uids: 0, objects: BTreeMap::new(), log: Vec::new() }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap_or(self.now);
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What happened after a version.
    pub fn log(&self) -> &[Event] {
        &self.log
    }

    /// An object.
    pub fn get(&self, kind: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get(&(kind.to_owned(), name.to_owned())).cloned()
    }

    /// All objects of a kind, by name.
    pub fn list(&self, kind: &str) -> Vec<Arc<Value>> {
        self.objects.iter().filter(|((of, _), _)| of == kind).map(|(_, object)| object.clone()).collect()
    }

    /// Creates an object.
    ///
    /// # Errors
    /// When there is one of that name, or it is refused.
    pub fn create(&mut self, account: Account, kind: &str, mut object: Value) -> Result<Arc<Value>, Failure> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if self.get(kind, &name).is_some() {
            return Err(Failure::AlreadyExists);
        }
        self.uids += 1;
        let metadata = &mut object["metadata"];
        metadata["namespace"] = json!(NAMESPACE);
        metadata["uid"] = json!(format!("uid-{}", self.uids));
        metadata["creationTimestamp"] = json!(self.second());
        metadata["generation"] = json!(1);
        defaults(kind, &mut object);
        let mut object = self.admit(account, kind, Operation::Create, None, object)?;
        valid(kind, None, &object)?;
        self.manage(account, &mut object);
        Ok(self.store(kind, &name, object))
    }

    /// Reads an object, changes it and writes it, as `kubectl patch` and `apply` do.
    ///
    /// # Errors
    /// When there is none, or the change is refused.
    pub fn update(&mut self, account: Account, kind: &str, name: &str, change: impl FnOnce(&mut Value)) -> Result<Arc<Value>, Failure> {
        let old = self.get(kind, name).ok_or(Failure::NotFound)?;
        let mut new = (*old).clone();
        change(&mut new);
        self.write(account, kind, &old, new)
    }

    /// Puts an object in the place of one, as `kubectl replace` does: what it does not say is gone.
    ///
    /// # Errors
    /// When there is none, or it is refused.
    pub fn replace(&mut self, account: Account, kind: &str, object: Value) -> Result<Arc<Value>, Failure> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let old = self.get(kind, &name).ok_or(Failure::NotFound)?;
        self.write(account, kind, &old, object)
    }

    /// Applies a JSON patch; a failed test is [`Failure::Invalid`], as any other patch that cannot be applied.
    ///
    /// # Errors
    /// When there is no such object, or the patch cannot be applied, or is refused.
    pub fn json_patch(&mut self, account: Account, kind: &str, name: &str, patch: &Value) -> Result<Arc<Value>, Failure> {
        let old = self.get(kind, name).ok_or(Failure::NotFound)?;
        let mut new = (*old).clone();
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|error| Failure::Invalid(error.to_string()))?;
        json_patch::patch(&mut new, &patch).map_err(|error| Failure::Invalid(error.to_string()))?;
        self.write(account, kind, &old, new)
    }

    /// Deletes an object, and what it owns. A pod only begins to go.
    pub fn delete(&mut self, kind: &str, name: &str) {
        if kind == "Pod" {
            let end = json!(self.second());
            return self.control(kind, name, |pod| pod["metadata"]["deletionTimestamp"] = end);
        }
        self.remove(kind, name);
    }

    /// A write of the cluster's own controllers, with status and all; nothing if nothing changes.
    pub fn control(&mut self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(old) = self.get(kind, name) else { return };
        let mut new = (*old).clone();
        change(&mut new);
        if new != *old {
            self.store(kind, name, new);
        }
    }

    /// Creates an object for the cluster's own controllers.
    pub fn control_create(&mut self, kind: &str, object: Value) {
        // A name that is taken is taken.
        let _ = self.create(CONTROLLER, kind, object);
    }

    /// Takes an object away at once.
    pub fn remove(&mut self, kind: &str, name: &str) {
        let Some(gone) = self.objects.remove(&(kind.to_owned(), name.to_owned())) else { return };
        self.version += 1;
        let mut object = (*gone).clone();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let uid = object["metadata"]["uid"].clone();
        self.log.push(Event { version: self.version, kind: kind.to_owned(), object: Arc::new(object), deleted: true });
        let owned = |object: &Value| object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == uid);
        let orphans: Vec<_> = self.objects.iter().filter(|(_, object)| owned(object)).map(|(key, _)| key.clone()).collect();
        for (kind, name) in orphans {
            self.remove(&kind, &name);
        }
    }

    fn second(&self) -> String {
        Timestamp::from_second(self.now.as_second()).unwrap_or(self.now).to_string()
    }

    fn write(&mut self, account: Account, kind: &str, old: &Arc<Value>, mut new: Value) -> Result<Arc<Value>, Failure> {
        for field in ["uid", "creationTimestamp", "generation", "resourceVersion", "managedFields", "namespace", "ownerReferences"] {
            new["metadata"][field] = old["metadata"][field].clone();
        }
        new["status"] = old["status"].clone();
        defaults(kind, &mut new);
        let mut new = self.admit(account, kind, Operation::Update, Some(old), new)?;
        valid(kind, Some(old), &new)?;
        let of_annotations = kind == "Deployment" && new["metadata"]["annotations"] != old["metadata"]["annotations"];
        if new["spec"] != old["spec"] || of_annotations {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        if new == **old {
            return Ok(old.clone());
        }
        self.manage(account, &mut new);
        let name = new["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(self.store(kind, &name, new))
    }

    fn admit(&self, account: Account, kind: &str, operation: Operation, old: Option<&Value>, new: Value) -> Result<Value, Failure> {
        let Some(twin) = &self.twin else { return Ok(new) };
        let write = Write { kind, operation, old, new: &new, user: account.user, verbs: account.verbs };
        twin.admit(&write).map(|admitted| admitted.object).map_err(|refused| Failure::Forbidden(refused.0))
    }

    fn manage(&self, account: Account, object: &mut Value) {
        let entry = json!({"manager": account.manager, "operation": "Update", "time": self.second()});
        match object["metadata"]["managedFields"].as_array_mut() {
            Some(entries) => {
                entries.retain(|known| known["manager"] != account.manager);
                entries.push(entry);
            }
            None => object["metadata"]["managedFields"] = json!([entry]),
        }
    }

    fn store(&mut self, kind: &str, name: &str, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        self.objects.insert((kind.to_owned(), name.to_owned()), object.clone());
        self.log.push(Event { version: self.version, kind: kind.to_owned(), object: object.clone(), deleted: false });
        object
    }
}

fn defaults(kind: &str, object: &mut Value) {
    let spec = &mut object["spec"];
    if matches!(kind, "Deployment" | "StatefulSet") && spec["replicas"].is_null() {
        spec["replicas"] = json!(1);
    }
    match kind {
        "Deployment" if spec["strategy"]["type"].is_null() || (spec["strategy"]["type"] == "RollingUpdate" && spec["strategy"]["rollingUpdate"].is_null()) => {
            spec["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
        }
        "StatefulSet" if spec["updateStrategy"]["type"].is_null() => {
            spec["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
        }
        "StatefulSet" if spec["updateStrategy"]["type"] == "RollingUpdate" && spec["updateStrategy"]["rollingUpdate"]["partition"].is_null() => {
            spec["updateStrategy"]["rollingUpdate"] = json!({"partition": 0});
        }
        _ => {}
    }
    if spec["paused"] == false || spec["paused"].is_null() {
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("paused");
        }
    }
    if spec.is_null() {
        if let Some(object) = object.as_object_mut() {
            object.remove("spec");
        }
    }
}

fn valid(kind: &str, old: Option<&Arc<Value>>, new: &Value) -> Result<(), Failure> {
    let strategy = &new["spec"]["strategy"];
    if kind == "Deployment" && strategy["type"] == "Recreate" && !strategy["rollingUpdate"].is_null() {
        return Err(Failure::Invalid("spec.strategy.rollingUpdate: may not be specified when strategy type is Recreate".to_owned()));
    }
    if let (Some(old), "StatefulSet" | "Deployment") = (old, kind)
        && old["spec"]["selector"] != new["spec"]["selector"]
    {
        return Err(Failure::Invalid("spec.selector: field is immutable".to_owned()));
    }
    Ok(())
}

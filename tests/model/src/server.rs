//! An API server of one namespace and what is in none: objects, versions, generations, finalizers,
//! owners, field managers, the watch log, and admission by the [`Twin`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admission::{Operation, Twin, Write};

mod controllers;
mod stored;

use stored::{strip, tidy, valid};

/// The minor version that a server has unless it is told another: the main one.
pub const KUBERNETES: u32 = 37;
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
    /// The write names a version or a uid that is no longer the object's.
    Conflict,
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
    /// The minor version of its Kubernetes: 37 is 1.37.
    pub kubernetes: u32,
    now: Timestamp,
    version: u64,
    uids: u64,
    /// By kind, then by name.
    objects: BTreeMap<String, BTreeMap<String, Arc<Value>>>,
    log: Vec<Event>,
}

/// What is in no namespace. The last is no object of Kubernetes: the data itself, as the storage
/// keeps it.
const CLUSTER_SCOPED: [&str; 7] = [
    "CSIDriver",
    "Namespace",
    "Node",
    "PersistentVolume",
    "StorageClass",
    "VolumeAttachment",
    "Disk",
];

/// What must not be gone while it is in use.
const PROTECTION: [(&str, &str); 2] = [
    ("PersistentVolume", "kubernetes.io/pv-protection"),
    ("PersistentVolumeClaim", "kubernetes.io/pvc-protection"),
];

impl Server {
    /// An empty one, at this time.
    pub fn new(now: Timestamp) -> Self {
        Self {
            twin: Some(Twin::default()),
            kubernetes: KUBERNETES,
            now,
            version: 100,
            uids: 0,
            objects: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The time as objects carry it: in whole seconds.
    pub fn second(&self) -> String {
        Timestamp::from_second(self.now.as_second()).unwrap_or(self.now).to_string()
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap_or(self.now);
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All that ever happened.
    pub fn log(&self) -> &[Event] {
        &self.log
    }

    /// What happened after a version.
    pub fn events_since(&self, version: u64) -> &[Event] {
        &self.log[self.log.partition_point(|event| event.version <= version)..]
    }

    /// An object.
    pub fn get(&self, kind: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get(kind)?.get(name).cloned()
    }

    /// All objects of a kind, by name.
    pub fn list(&self, kind: &str) -> Vec<Arc<Value>> {
        self.of_kind(kind).cloned().collect()
    }

    /// As [`Server::list`], without making a list.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Arc<Value>> {
        self.objects.get(kind).into_iter().flat_map(BTreeMap::values)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// When there is one of that name, or it is refused.
    pub fn create(
        &mut self,
        account: Account,
        kind: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, Failure> {
        if object["metadata"]["resourceVersion"].is_string() {
            return Err(Failure::Invalid(
                "metadata.resourceVersion: should not be set on objects to be created".to_owned(),
            ));
        }
        let name = name(&object);
        if self.get(kind, &name).is_some() {
            return Err(Failure::AlreadyExists);
        }
        if self.is_ending(kind) {
            return Err(Failure::Forbidden(format!(
                "because namespace {NAMESPACE} is being terminated"
            )));
        }
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
        self.born(kind, &mut object);
        tidy(self.kubernetes, kind, &mut object);
        let mut object = self.admit(account, kind, Operation::Create, None, object)?;
        tidy(self.kubernetes, kind, &mut object);
        valid(kind, None, &object)?;
        self.manage(account.manager, None, &mut object);
        Ok(self.store(kind, &name, object))
    }

    /// Reads an object, changes it and writes it, as `kubectl patch` and `apply` do.
    ///
    /// # Errors
    /// When there is none, or the change is refused.
    pub fn update(
        &mut self,
        account: Account,
        kind: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Failure> {
        let old = self.get(kind, name).ok_or(Failure::NotFound)?;
        let mut new = (*old).clone();
        change(&mut new);
        self.write(account, kind, name, &old, new)
    }

    /// Puts an object in the place of one, as `kubectl replace` does: what it does not say is gone.
    ///
    /// # Errors
    /// When there is none, or it is refused, or it names a version that is not the newest.
    pub fn replace(
        &mut self,
        account: Account,
        kind: &str,
        object: Value,
    ) -> Result<Arc<Value>, Failure> {
        let name = name(&object);
        let old = self.get(kind, &name).ok_or(Failure::NotFound)?;
        self.write(account, kind, &name, &old, object)
    }

    /// Applies a JSON patch; a failed test is [`Failure::Invalid`], as any other patch that cannot
    /// be applied.
    ///
    /// # Errors
    /// When there is no such object, or the patch cannot be applied, or is refused.
    pub fn json_patch(
        &mut self,
        account: Account,
        kind: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Arc<Value>, Failure> {
        let old = self.get(kind, name).ok_or(Failure::NotFound)?;
        let mut new = (*old).clone();
        let patch: json_patch::Patch = serde_json::from_value(patch.clone())
            .map_err(|error| Failure::Invalid(error.to_string()))?;
        json_patch::patch(&mut new, &patch).map_err(|error| Failure::Invalid(error.to_string()))?;
        self.write(account, kind, name, &old, new)
    }

    /// Changes an object's status, and nothing else of it.
    ///
    /// # Errors
    /// When there is none, or it is no longer the one that was read.
    pub fn update_status(
        &mut self,
        account: Account,
        kind: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Failure> {
        let old = self.get(kind, name).ok_or(Failure::NotFound)?;
        let mut changed = (*old).clone();
        change(&mut changed);
        fresh(&old, &changed)?;
        let mut new = (*old).clone();
        new["status"] = changed["status"].take();
        strip(&mut new);
        if new == *old {
            return Ok(old);
        }
        self.manage(account.manager, Some("status"), &mut new);
        Ok(self.store(kind, name, new))
    }

    /// Deletes an object, and what it owns. A pod, a namespace and what has finalizers only begin
    /// to go.
    pub fn delete(&mut self, kind: &str, name: &str) {
        let Some(old) =
            self.get(kind, name).filter(|old| old["metadata"]["deletionTimestamp"].is_null())
        else {
            return;
        };
        if !matches!(kind, "Pod" | "Namespace")
            && old["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        {
            return self.remove(kind, name);
        }
        let mut going = (*old).clone();
        going["metadata"]["deletionTimestamp"] = json!(self.second());
        self.store(kind, name, going);
    }

    /// As [`Server::delete`], if admission lets this account.
    ///
    /// # Errors
    /// When there is none, or it is refused.
    pub fn delete_by(&mut self, account: Account, kind: &str, name: &str) -> Result<(), Failure> {
        let old = self.get(kind, name).ok_or(Failure::NotFound)?;
        self.admit(account, kind, Operation::Delete, Some(&old), Value::Null)?;
        self.delete(kind, name);
        Ok(())
    }

    /// Nothing is made any more in a namespace that is being deleted.
    fn is_ending(&self, kind: &str) -> bool {
        let ends = |namespace: Arc<Value>| !namespace["metadata"]["deletionTimestamp"].is_null();
        !CLUSTER_SCOPED.contains(&kind) && self.get("Namespace", NAMESPACE).is_some_and(ends)
    }

    fn born(&mut self, kind: &str, object: &mut Value) {
        self.uids += 1;
        let metadata = &mut object["metadata"];
        if !CLUSTER_SCOPED.contains(&kind) {
            metadata["namespace"] = json!(NAMESPACE);
        }
        if let Some((_, finalizer)) = PROTECTION.iter().find(|(of, _)| *of == kind) {
            match metadata["finalizers"].as_array_mut() {
                Some(known) if known.iter().any(|one| one == finalizer) => {}
                Some(known) => known.push(json!(finalizer)),
                None => metadata["finalizers"] = json!([finalizer]),
            }
        }
        metadata["uid"] = json!(format!("uid-{}", self.uids));
        metadata["creationTimestamp"] = json!(self.second());
        metadata["generation"] = json!(1);
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.remove("managedFields");
        }
    }

    fn write(
        &mut self,
        account: Account,
        kind: &str,
        name: &str,
        old: &Arc<Value>,
        mut new: Value,
    ) -> Result<Arc<Value>, Failure> {
        fresh(old, &new)?;
        for field in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "generation",
            "resourceVersion",
            "managedFields",
            "deletionTimestamp",
        ] {
            new["metadata"][field] = old["metadata"][field].clone();
        }
        new["status"] = old["status"].clone();
        tidy(self.kubernetes, kind, &mut new);
        let mut new = self.admit(account, kind, Operation::Update, Some(old), new)?;
        tidy(self.kubernetes, kind, &mut new);
        valid(kind, Some(old), &new)?;
        let of_annotations = kind == "Deployment"
            && new["metadata"]["annotations"] != old["metadata"]["annotations"];
        if new["spec"] != old["spec"] || of_annotations {
            new["metadata"]["generation"] = next_generation(old);
        }
        if new == **old {
            return Ok(old.clone());
        }
        self.manage(account.manager, None, &mut new);
        let written = self.store(kind, name, new);
        let (gone, metadata) = (kind != "Pod" && kind != "Namespace", &written["metadata"]);
        if gone
            && !metadata["deletionTimestamp"].is_null()
            && metadata["finalizers"].as_array().is_none_or(Vec::is_empty)
        {
            self.remove(kind, name);
        }
        Ok(written)
    }

    fn admit(
        &self,
        account: Account,
        kind: &str,
        operation: Operation,
        old: Option<&Value>,
        new: Value,
    ) -> Result<Value, Failure> {
        // No policy looks at what the controllers make.
        let Some(twin) = self
            .twin
            .as_ref()
            .filter(|_| !matches!(kind, "Pod" | "ReplicaSet" | "ControllerRevision"))
        else {
            return Ok(new);
        };
        let write =
            Write { kind, operation, old, new: &new, user: account.user, verbs: account.verbs };
        twin.admit(&write)
            .map(|admitted| admitted.object)
            .map_err(|refused| Failure::Forbidden(refused.0))
    }

    /// Notes who wrote last, and when.
    fn manage(&self, manager: &str, subresource: Option<&str>, object: &mut Value) {
        let mut entry = json!({"manager": manager, "operation": "Update", "time": self.second()});
        if let Some(subresource) = subresource {
            entry["subresource"] = json!(subresource);
        }
        match object["metadata"]["managedFields"].as_array_mut() {
            Some(entries) => {
                entries.retain(|known| {
                    known["manager"] != manager || known["subresource"].as_str() != subresource
                });
                entries.push(entry);
            }
            None => object["metadata"]["managedFields"] = json!([entry]),
        }
    }

    fn store(&mut self, kind: &str, name: &str, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        match self.objects.get_mut(kind) {
            Some(all) => drop(all.insert(name.to_owned(), object.clone())),
            None => drop(
                self.objects.insert(kind.to_owned(), [(name.to_owned(), object.clone())].into()),
            ),
        }
        self.log.push(Event {
            version: self.version,
            kind: kind.to_owned(),
            object: object.clone(),
            deleted: false,
        });
        object
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn next_generation(old: &Value) -> Value {
    json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1)
}

/// A write that names a version or a uid means the object that has it.
fn fresh(old: &Value, new: &Value) -> Result<(), Failure> {
    let other = |field: &str| {
        new["metadata"][field].as_str().is_some_and(|named| old["metadata"][field] != named)
    };
    if other("resourceVersion") || other("uid") { Err(Failure::Conflict) } else { Ok(()) }
}

//! Claims, volumes and their like, as they are.

use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::ApiResource,
};
use lockkeeper::shell::{
    errors::with_causes,
    views::{
        Pods, ReplicaSets, Watched,
        snapshots::VolumeSnapshots,
        storage::{Claims, Namespaces, Volumes},
    },
};
use serde_json::{Value, json};

use crate::cluster::{Cluster, FIELD_MANAGER, Failure};

/// An object that is read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    resource: ApiResource,
    namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Place {
    /// A claim.
    pub fn claim(namespace: &str, name: &str) -> Self {
        Self {
            resource: Claims::resource(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    /// A volume.
    pub fn volume(name: &str) -> Self {
        Self { resource: Volumes::resource(), namespace: None, name: name.to_owned() }
    }

    /// A namespace.
    pub fn namespace(name: &str) -> Self {
        Self { resource: Namespaces::resource(), namespace: None, name: name.to_owned() }
    }

    /// A snapshot of a volume.
    pub fn snapshot(namespace: &str, name: &str) -> Self {
        Self {
            resource: VolumeSnapshots::resource(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    /// A pod.
    pub fn pod(namespace: &str, name: &str) -> Self {
        Self {
            resource: Pods::resource(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    /// A ReplicaSet.
    pub fn replica_set(namespace: &str, name: &str) -> Self {
        Self {
            resource: ReplicaSets::resource(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    fn api(&self, cluster: &Cluster) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => {
                Api::namespaced_with(cluster.client.clone(), namespace, &self.resource)
            }
            None => Api::all_with(cluster.client.clone(), &self.resource),
        }
    }

    /// The object as it is; none if there is none.
    pub async fn get(&self, cluster: &Cluster) -> Result<Option<Value>, Failure> {
        match self.api(cluster).get_opt(&self.name).await {
            Ok(object) => Ok(object.map(|object| json!(object))),
            Err(error) => Err(refused(&format!("read {self}"), &error)),
        }
    }

    /// Sends a merge patch: the object that it made, or none if it was written in the meantime or
    /// is another one, as its uid and resourceVersion in the patch say.
    pub async fn merge(
        &self,
        cluster: &Cluster,
        what: &str,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Option<Value>, Failure> {
        let parameters = PatchParams {
            dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let sent = self.api(cluster).patch(&self.name, &parameters, &Patch::Merge(patch)).await;
        void_if(409, sent.map(|object| json!(object)), what)
    }

    /// Creates it; none if there is one of that name.
    pub async fn create(
        &self,
        cluster: &Cluster,
        what: &str,
        object: Value,
        dry_run: bool,
    ) -> Result<Option<Value>, Failure> {
        let object: DynamicObject = serde_json::from_value(object).map_err(|error| {
            Failure::Api { what: format!("cannot {what}"), why: error.to_string() }
        })?;
        let parameters = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        void_if(
            409,
            self.api(cluster).create(&parameters, &object).await.map(|object| json!(object)),
            what,
        )
    }

    /// Asks for the deletion of this very object; none if it is another one, or gone.
    pub async fn delete(
        &self,
        cluster: &Cluster,
        what: &str,
        uid: &str,
        dry_run: bool,
    ) -> Result<Option<()>, Failure> {
        let preconditions =
            Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let parameters = DeleteParams { dry_run, preconditions, ..DeleteParams::default() };
        match void_if(409, self.api(cluster).delete(&self.name, &parameters).await.map(drop), what)
        {
            Err(Failure::Gone) => Ok(None),
            other => other,
        }
    }

    /// Gives up the ownership of the fields that the plugin wrote: the next helm upgrade then meets
    /// no conflict. If this fails, helm says who owns the field.
    pub async fn disown(&self, cluster: &Cluster) -> Result<(), Failure> {
        for _ in 0..3 {
            let Some(object) = self.get(cluster).await? else { return Ok(()) };
            let mut entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
            let Some(index) = entries.position(|entry| entry["manager"] == FIELD_MANAGER) else {
                return Ok(());
            };
            let patch = json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
                {"op": "remove", "path": format!("/metadata/managedFields/{index}")},
            ]);
            let patch: json_patch::Patch = serde_json::from_value(patch)
                .map_err(|error| Failure::Output(error.to_string()))?;
            let parameters = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            if self
                .api(cluster)
                .patch(&self.name, &parameters, &Patch::<()>::Json(patch))
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &*self.resource.kind {
            "PersistentVolumeClaim" => "claim",
            "PersistentVolume" => "volume",
            "Namespace" => "namespace",
            kind => kind,
        };
        match &self.namespace {
            Some(namespace) => write!(f, "{kind} {} in namespace {namespace}", self.name),
            None => write!(f, "{kind} {}", self.name),
        }
    }
}

/// The pods of a namespace that use a claim and are not finished.
pub async fn pods_on(
    cluster: &Cluster,
    namespace: &str,
    claim: &str,
) -> Result<Vec<Value>, Failure> {
    let api = Place::pod(namespace, "").api(cluster);
    let all =
        api.list(&ListParams::default()).await.map_err(|error| refused("list pods", &error))?;
    let uses = |pod: &Value| {
        let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        volumes.any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
    };
    let finished =
        |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    Ok(all
        .items
        .into_iter()
        .map(|pod| json!(pod))
        .filter(|pod| uses(pod) && !finished(pod))
        .collect())
}

/// The volumes that were bound to a claim of this name, and are not bound now.
pub async fn released_of(
    cluster: &Cluster,
    namespace: &str,
    claim: &str,
) -> Result<Vec<Value>, Failure> {
    let api = Place::volume("").api(cluster);
    let all =
        api.list(&ListParams::default()).await.map_err(|error| refused("list volumes", &error))?;
    let was_of = |volume: &Value| {
        let of = &volume["spec"]["claimRef"];
        of["namespace"] == namespace && of["name"] == claim && volume["status"]["phase"] != "Bound"
    };
    Ok(all.items.into_iter().map(|volume| json!(volume)).filter(was_of).collect())
}

/// None if the answer is this code.
fn void_if<T>(code: u16, answer: kube::Result<T>, what: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == code => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Failure::Gone),
        Err(error) => Err(refused(what, &error)),
    }
}

/// The server's own sentence, whole: what is missing comes at its end.
fn refused(what: &str, error: &kube::Error) -> Failure {
    let why = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => with_causes(other),
    };
    Failure::Api { what: format!("cannot {what}"), why }
}

//! What the commands read of the cluster, in the words of the operator's core.

mod seen;

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind, NamespaceResourceScope},
};
use lockkeeper::{
    api::{UpgradePolicy, WorkloadKind, marks},
    core::{observed::WorkloadId, plain, request},
    shell::{
        errors::{Error, with_causes},
        views::{
            ControllerRevisions, DaemonSets, Deployments, Pods, ReplicaSets, StatefulSets, Watched,
            Wire,
            lenient::{Lenient, Unreadable},
        },
    },
};
use serde_json::{Value, json};

pub use self::seen::{Objects, Seen, why_not};
pub use lockkeeper::core::hold::unmark::annotation;

use crate::{connection::Connection, watching::Scope};

/// The field manager of what the plugin writes. Not one that begins with `kubectl`: Flux undoes
/// those.
pub const FIELD_MANAGER: &str = "lockkeeper-plugin";
/// How often a write is tried whose object moves on in what does not matter to it.
pub const ATTEMPTS: usize = 10;

/// Why a command cannot say anything, in a sentence.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The kubeconfig cannot be used.
    #[error("no cluster to talk to: {0}. Set KUBECONFIG, or give --kubeconfig and --context")]
    NoCluster(String),
    /// The API server refuses or does not answer.
    #[error("{what}: {why}")]
    Api {
        /// What was asked for.
        what: String,
        /// What it answered.
        why: String,
    },
    /// There is no such workload.
    #[error("there is no {workload} in namespace {namespace}")]
    NotFound {
        /// Which.
        workload: WorkloadId,
        /// Where it was looked for.
        namespace: String,
    },
    /// No policy asks the pods of the workload.
    #[error("no policy sets gates.app for {0}, so its pods are not asked")]
    NoGate(WorkloadId),
    /// What was asked for makes no sense as things stand.
    #[error("{0}")]
    No(String),
    /// What was to be written is gone.
    #[error("the object was deleted in the meantime; run the command again")]
    Gone,
    /// What was read cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(String),
}

/// A cluster, and the namespace that is looked at.
pub struct Cluster {
    /// Talks to its API server.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Cluster {
    /// Connects as kubectl would.
    pub async fn connect(to: Connection) -> Result<Self, Failure> {
        let (config, namespace) = to.config().await?;
        let client =
            Client::try_from(config).map_err(|error| Failure::NoCluster(with_causes(&error)))?;
        Ok(Self { client, namespace })
    }

    /// Reads the namespace.
    pub async fn read(&self) -> Result<Seen, Failure> {
        let policies = self.policies().await.map_err(|error| failure("UpgradePolicies", &error))?;
        self.read_with(policies).await
    }

    /// Reads the namespace, also where our CRD is gone: then there are no policies.
    pub async fn read_even_uninstalled(&self) -> Result<Seen, Failure> {
        let policies = match self.policies().await {
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            other => other.map_err(|error| failure("UpgradePolicies", &error))?,
        };
        self.read_with(policies).await
    }

    async fn policies(&self) -> kube::Result<Vec<UpgradePolicy>> {
        let policies: Api<Lenient<UpgradePolicy>> =
            Api::namespaced(self.client.clone(), &self.namespace);
        Ok(readable("UpgradePolicies", policies.list(&ListParams::default()).await?.items))
    }

    async fn read_with(&self, policies: Vec<UpgradePolicy>) -> Result<Seen, Failure> {
        let (deployments, sets, daemons) =
            (self.list::<Deployments>(), self.list::<StatefulSets>(), self.list::<DaemonSets>());
        let (deployments, stateful_sets, daemon_sets, pods, replica_sets, controller_revisions) = futures::try_join!(
            deployments,
            sets,
            daemons,
            self.list::<Pods>(),
            self.list::<ReplicaSets>(),
            self.list::<ControllerRevisions>()
        )?;
        let objects = Objects {
            policies,
            deployments,
            stateful_sets,
            daemon_sets,
            pods,
            replica_sets,
            controller_revisions,
        };
        Ok(Seen::new(&self.namespace, objects))
    }

    async fn list<K: Watched>(&self) -> Result<Vec<Wire<K>>, Failure> {
        self.list_with(false, &ListParams::default()).await
    }

    /// Workloads and policies alone.
    pub async fn read_workloads(&self, scope: &Scope) -> Result<Objects, Failure> {
        let wanted = scope
            .labels
            .as_ref()
            .map_or_else(ListParams::default, |labels| ListParams::default().labels(labels));
        let policies: Api<Lenient<UpgradePolicy>> = self.api(scope.all_namespaces);
        let policies = async {
            let all = policies
                .list(&ListParams::default())
                .await
                .map_err(|error| failure("UpgradePolicies", &error))?;
            Ok::<_, Failure>(readable("UpgradePolicies", all.items))
        };
        let (policies, deployments, stateful_sets, daemon_sets) = futures::try_join!(
            policies,
            self.list_with::<Deployments>(scope.all_namespaces, &wanted),
            self.list_with::<StatefulSets>(scope.all_namespaces, &wanted),
            self.list_with::<DaemonSets>(scope.all_namespaces, &wanted)
        )?;
        Ok(Objects { policies, deployments, stateful_sets, daemon_sets, ..Objects::default() })
    }

    /// A kind, in this namespace or in all.
    fn api<K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
        &self,
        all: bool,
    ) -> Api<K> {
        if all {
            Api::all(self.client.clone())
        } else {
            Api::namespaced(self.client.clone(), &self.namespace)
        }
    }

    async fn list_with<K: Watched>(
        &self,
        all: bool,
        wanted: &ListParams,
    ) -> Result<Vec<Wire<K>>, Failure> {
        let all = self
            .api::<Lenient<Wire<K>>>(all)
            .list(wanted)
            .await
            .map_err(|error| failure(K::PLURAL, &error))?;
        Ok(readable(K::PLURAL, all.items))
    }

    /// The newest events about a workload, oldest first: when, reason and note.
    pub async fn events(
        &self,
        workload: &WorkloadId,
    ) -> Result<Vec<(Timestamp, String, String)>, Failure> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"));
        let api: Api<Lenient<DynamicObject>> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let fields = format!("regarding.kind={},regarding.name={}", workload.kind, workload.name);
        let all = api
            .list(&ListParams::default().fields(&fields))
            .await
            .map_err(|error| failure("events", &error))?;
        let all = readable("events", all.items);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let of_ours = all
            .iter()
            .filter(|event| text(&event.data["reportingController"]).contains("lockkeeper"));
        let mut events: Vec<_> = of_ours
            .filter_map(|event| {
                let last = text(&event.data["series"]["lastObservedTime"]).parse().ok();
                let time = last.or_else(|| text(&event.data["eventTime"]).parse().ok())?;
                Some((time, text(&event.data["reason"]), text(&event.data["note"])))
            })
            .collect();
        events.sort();
        Ok(events.split_off(events.len().saturating_sub(10)))
    }

    /// A command of the plugin about a workload, to be told to people.
    pub fn command(&self, verb: &str, workload: &WorkloadId) -> String {
        format!("kubectl lockkeeper {verb} -n {} {}", self.namespace, lower(workload))
    }

    /// A workload as it is, with all that this program knows nothing of.
    pub async fn get(&self, workload: &WorkloadId) -> Result<Value, Failure> {
        let object = self.workloads(workload.kind).get_opt(&workload.name).await;
        let object = object.map_err(|error| failure(&lower(workload), &error))?;
        let not_found =
            || Failure::NotFound { workload: workload.clone(), namespace: self.namespace.clone() };
        Ok(json!(object.ok_or_else(not_found)?))
    }

    /// The objects of a kind that a workload controls, as they are.
    pub async fn controlled<K: Watched>(&self, workload: &Value) -> Result<Vec<Value>, Failure> {
        let uid = &workload["metadata"]["uid"];
        let mut all = self.objects::<K>().await?;
        all.retain(|object| controller(object).is_some_and(|owner| owner["uid"] == *uid));
        Ok(all)
    }

    /// The objects of a kind in the namespace, as they are.
    pub async fn objects<K: Watched>(&self) -> Result<Vec<Value>, Failure> {
        let api: Api<Lenient<DynamicObject>> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &K::resource());
        let kinds = format!("{}s", K::KIND);
        let all =
            api.list(&ListParams::default()).await.map_err(|error| failure(&kinds, &error))?;
        Ok(readable(&kinds, all.items).into_iter().map(|object| json!(object)).collect())
    }

    /// Sends a JSON patch: the object that it made, or none if a test in it failed. `what` says
    /// what it is for.
    pub async fn patch(
        &self,
        workload: &WorkloadId,
        what: &str,
        patch: Vec<Value>,
        dry_run: bool,
    ) -> Result<Option<Value>, Failure> {
        let refused = |why: String| Failure::Api { what: format!("cannot {what}"), why };
        let patch: json_patch::Patch =
            serde_json::from_value(patch.into()).map_err(|error| refused(error.to_string()))?;
        let parameters = PatchParams {
            dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match self
            .workloads(workload.kind)
            .patch(&workload.name, &parameters, &Patch::<()>::Json(patch))
            .await
        {
            Ok(object) => Ok(Some(json!(object))),
            // The server's own sentence, whole: the missing verb comes at its end.
            Err(error) => match Error::Kube(error) {
                error if error.is_conflict() => Ok(None),
                Error::Kube(kube::Error::Api(status)) => Err(refused(status.message.clone())),
                error => Err(refused(with_causes(&error))),
            },
        }
    }

    /// Sends a JSON patch that is made of a workload as it was read, and void if its template or
    /// its hold changed in the meantime. Its status may move on, and what the operator notes: a
    /// Deployment's generation counts that too.
    pub async fn rewrite(
        &self,
        workload: &WorkloadId,
        what: &str,
        mut object: Value,
        patch: impl Fn(&Value) -> Vec<Value>,
    ) -> Result<Value, Failure> {
        for _ in 0..ATTEMPTS {
            let mut operations = vec![
                json!({"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]}),
            ];
            operations.extend(patch(&object));
            if let Some(written) = self.patch(workload, what, operations, false).await? {
                return Ok(written);
            }
            let newer = self.get(workload).await?;
            let of = |object: &Value| {
                (
                    object["spec"]["template"].clone(),
                    annotation(object, marks::HOLD).map(str::to_owned),
                )
            };
            if of(&newer) != of(&object) {
                break;
            }
            object = newer;
        }
        Err(Failure::No(format!(
            "cannot {what}: {} was changed in the meantime. Nothing was written; run the command again",
            lower(workload)
        )))
    }

    /// Gives up the ownership of the fields that the plugin wrote on a workload, as nobody owns
    /// what admission sets: the next helm upgrade then meets no conflict. Should it not succeed,
    /// that one says whose the field is.
    pub async fn disown(
        &self,
        workload: &WorkloadId,
        what: &str,
        mut object: Value,
    ) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS {
            let mut entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
            let Some(index) = entries.position(|entry| entry["manager"] == FIELD_MANAGER) else {
                break;
            };
            let path = format!("/metadata/managedFields/{index}");
            let patch = vec![
                json!({"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]}),
                json!({"op": "remove", "path": path}),
            ];
            if self.patch(workload, what, patch, false).await?.is_some() {
                break;
            }
            object = self.get(workload).await?;
        }
        Ok(())
    }

    fn workloads(&self, kind: WorkloadKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }
}

/// A workload as one writes it for kubectl.
pub fn lower(workload: &WorkloadId) -> String {
    format!("{}/{}", workload.kind.to_string().to_lowercase(), workload.name)
}

/// Those of a list that can be read. The others are named on standard error.
pub fn readable<T>(what: &str, all: Vec<Lenient<T>>) -> Vec<T> {
    let tell = |warning: String| eprintln!("{warning}");
    all.into_iter().filter_map(|object| read(what, object, tell)).collect()
}

/// An object, if it can be read; if not, `tell` has the warning about it.
pub fn read<T>(what: &str, object: Lenient<T>, tell: impl FnOnce(String)) -> Option<T> {
    object.read().map_err(|unreadable| tell(left_out(what, &unreadable))).ok()
}

/// The warning about an object that cannot be read.
fn left_out(what: &str, unreadable: &Unreadable) -> String {
    let meta = &unreadable.metadata;
    let name = meta.name.as_deref().unwrap_or("one without a name");
    let place = meta
        .namespace
        .as_ref()
        .map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
    format!(
        "warning: {what}: {name}{place} cannot be read and is left out: {}",
        plain(&unreadable.flaw.sentence)
    )
}

/// An object as the core's views take it.
pub fn wire<K: Watched>(object: &Value) -> Result<Wire<K>, Failure> {
    let place = || {
        format!(
            "cannot read {} {}",
            K::KIND,
            object["metadata"]["name"].as_str().unwrap_or_default()
        )
    };
    serde_json::from_value(object.clone())
        .map_err(|error| Failure::Api { what: place(), why: error.to_string() })
}

/// The owner reference of the controller of an object.
pub fn controller(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"]
        .as_array()?
        .iter()
        .find(|owner| owner["controller"] == true)
}

/// The JSON pointer of an annotation.
pub fn pointer(annotation: &str) -> String {
    request::pointer("/metadata/annotations", annotation)
}

/// A kind that could not be read.
pub fn failure(what: &str, error: &kube::Error) -> Failure {
    let hint = match error {
        kube::Error::Api(status) if status.code == 404 && what == "UpgradePolicies" => {
            " (is Lockkeeper installed in this cluster?)"
        }
        _ => "",
    };
    Failure::Api {
        what: format!("cannot read {what}"),
        why: format!("{}{hint}", with_causes(error)),
    }
}

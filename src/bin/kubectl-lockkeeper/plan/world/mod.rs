//! The namespace as it is, and as the API server would make it of the manifests: asked by dry runs,
//! or told without where that is not allowed.

mod dry_run;
mod kind;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::{
    api::{ConditionReason, ConfigKind},
    core::{
        digest::Key,
        hold::state::Hold,
        observed::{ConfigEntry, ConfigId, Namespace, Reference, WorkloadId, storage::Storage},
    },
    shell::{
        errors::with_causes,
        views::{
            ConfigMaps, DaemonSets, Deployments, Policies, ReplicaSets, Secrets, StatefulSets,
            Watched, Wire,
            storage::{Autoscalers, Claims, Namespaces},
        },
    },
    workload::uid,
};
use serde_json::{Value, json};

use self::dry_run::{Tried, api, dry_run, typed};
pub use self::kind::Kind;
use super::{
    judge::Touched,
    manifests::Manifest,
    merge::{created, overlay},
    orphans::{Orphans, of_deployment},
};
use crate::{
    cluster::{Cluster, Failure, wire},
    revisions::{differences, history, settled},
};

/// A namespace, twice.
pub struct Worlds {
    /// As it is.
    pub before: Namespace,
    /// As it would be.
    pub after: Namespace,
    /// Its storage.
    pub storage: Storage,
    /// The workloads that the files have.
    pub workloads: BTreeMap<WorkloadId, Touched>,
    /// The policies that the files have.
    pub policies: BTreeSet<String>,
    /// The ConfigMaps and Secrets that were looked at.
    pub looked_at: BTreeSet<ConfigId>,
    /// Why template changes are not held.
    pub gap: Option<String>,
    /// What the API server would not take, and why.
    pub refused: BTreeMap<String, String>,
    /// What could not be looked at, and what follows from that.
    pub notes: Vec<String>,
    /// The manifests of which nobody knows what would come of them.
    pub unknown: Vec<String>,
    /// The ReplicaSets of the namespace as they are, once they were needed.
    replica_sets: Option<Vec<Value>>,
}

impl Worlds {
    /// Reads the namespace and tries the manifests.
    pub async fn read(
        cluster: &Cluster,
        manifests: Vec<(Kind, Manifest)>,
        namespace: Option<&Value>,
        key: &Key,
    ) -> Result<Self, Failure> {
        let before = cluster.read_even_uninstalled().await?.world;
        let gap = before.policies.values().flat_map(|policy| &policy.status.conditions);
        let gap = gap
            .filter(|one| {
                one.type_ == "HoldsEnforced"
                    && one.status == "False"
                    && one.reason != <&str>::from(ConditionReason::MarksMissing)
            })
            .map(|one| one.message.clone())
            .next();
        let mut worlds = Self {
            after: Namespace::default(),
            before,
            storage: Storage::default(),
            workloads: BTreeMap::new(),
            policies: BTreeSet::new(),
            looked_at: BTreeSet::new(),
            gap,
            refused: BTreeMap::new(),
            notes: Vec::new(),
            unknown: Vec::new(),
            replica_sets: None,
        };
        worlds.read_storage(cluster).await?;
        if let Some(namespace) = namespace {
            let wire: Wire<Namespaces> = wire(namespace)?;
            let view = Namespaces::view(&wire.metadata, wire.body);
            worlds.storage.namespaces.insert(view.name.clone(), view);
        }
        worlds.after = worlds.before.clone();
        for (kind, manifest) in manifests {
            worlds.try_out(cluster, kind, &manifest, key).await?;
        }
        worlds.read_config(cluster, key).await?;
        worlds.notes.sort();
        worlds.notes.dedup();
        Ok(worlds)
    }

    /// Tries one manifest, and takes in what would come of it.
    async fn try_out(
        &mut self,
        cluster: &Cluster,
        kind: Kind,
        manifest: &Manifest,
        key: &Key,
    ) -> Result<(), Failure> {
        let object = &manifest.object;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let place =
            format!("{}/{name}", object["kind"].as_str().unwrap_or_default().to_lowercase());
        let api = api(cluster, kind, object);
        let live = match api.get_opt(name).await {
            Ok(live) => live.map(|live| typed(live, object)),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                self.unreadable(kind, &place, object);
                return Ok(());
            }
            Err(error) => {
                return Err(Failure::Api {
                    what: format!("cannot read {place}"),
                    why: with_causes(&error),
                });
            }
        };
        let (made, by_server) = match dry_run(&api, kind, name, object, live.as_ref()).await? {
            Tried::Made(made) => (made, true),
            Tried::Refused(why) => {
                self.refused.insert(place, format!("The API server says: {why}"));
                return Ok(());
            }
            other => {
                if let Tried::NotAllowed(why) = other {
                    self.notes.push(format!(
                        "The API server cannot judge {} by a dry run ({why}). The files themselves are compared instead, without what admission changes and \
                         without fields that the files leave out.",
                        kind.plural()
                    ));
                }
                let new = created(object, &cluster.namespace);
                (live.as_ref().map_or_else(|| new.clone(), |live| overlay(live, &new)), false)
            }
        };
        let runs = self.runs(cluster, kind, live.as_ref()).await?;
        let orphans = if live.is_none() && kind == Kind::Deployment {
            self.orphans(cluster, &made).await?
        } else {
            Orphans::default()
        };
        self.take_in(kind, (live.as_ref(), &runs, orphans), &made, by_server, key)
    }

    /// The template that the pods of a workload run: of a held one not that which it has.
    async fn runs(
        &self,
        cluster: &Cluster,
        kind: Kind,
        live: Option<&Value>,
    ) -> Result<Value, Failure> {
        let Some(live) = live else { return Ok(Value::Null) };
        let template = live["spec"]["template"].clone();
        let name = live["metadata"]["name"].as_str().unwrap_or_default();
        let held = self.before.workloads.iter().find(|(id, workload)| {
            id.name == name && live["kind"] == id.kind.to_string() && Hold::on(workload).is_some()
        });
        let Some((id, _)) = held.filter(|_| matches!(kind, Kind::Deployment | Kind::StatefulSet))
        else {
            return Ok(template);
        };
        let revisions = history(cluster, id, live).await?;
        Ok(settled(id, live, &revisions).map_or(template, |revision| revision.template_for(live)))
    }

    /// What a Deployment that is not there yet takes over.
    async fn orphans(&mut self, cluster: &Cluster, made: &Value) -> Result<Orphans, Failure> {
        if self.replica_sets.is_none() {
            self.replica_sets = Some(cluster.objects::<ReplicaSets>().await?);
        }
        Ok(of_deployment(made, self.replica_sets.as_deref().unwrap_or_default()))
    }

    fn take_in(
        &mut self,
        kind: Kind,
        (live, runs, orphans): (Option<&Value>, &Value, Orphans),
        made: &Value,
        by_server: bool,
        key: &Key,
    ) -> Result<(), Failure> {
        match kind {
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => {
                let workload = match kind {
                    Kind::Deployment => view::<Deployments>(made)?,
                    Kind::StatefulSet => view::<StatefulSets>(made)?,
                    _ => view::<DaemonSets>(made)?,
                };
                let touched = Touched {
                    differences: differences(runs, &made["spec"]["template"]),
                    by_server,
                    orphans,
                };
                self.workloads.insert(workload.id.clone(), touched);
                self.after.workloads.insert(workload.id.clone(), workload);
            }
            Kind::ConfigMap | Kind::Secret => {
                let bind = |object: &Value| content(kind, object, &self.after.name, key);
                let (old, (id, new)) = (live.map(bind).transpose()?, bind(made)?);
                self.looked_at.insert(id.clone());
                self.before.config.extend(old);
                self.after.config.insert(id, new);
            }
            Kind::Claim => {
                let claim = view::<Claims>(made)?;
                self.after.claims.insert(claim.name.clone(), claim);
            }
            Kind::Policy => {
                let policy = view::<Policies>(made)?;
                self.policies.insert(policy.name.clone());
                self.after.policies.insert(policy.name.clone(), policy);
            }
            Kind::Autoscaler => {
                let wire: Wire<Autoscalers> = wire(made)?;
                let key = live.map_or_else(
                    || wire.metadata.name.as_deref().unwrap_or_default().into(),
                    |_| uid(&wire.metadata),
                );
                self.after
                    .autoscalers
                    .extend(Autoscalers::view(&wire.metadata, wire.body).map(|view| (key, view)));
            }
            Kind::Namespace => {}
        }
        Ok(())
    }

    /// An object that may not even be read.
    fn unreadable(&mut self, kind: Kind, place: &str, object: &Value) {
        let (what, known) = match kind {
            Kind::ConfigMap | Kind::Secret => {
                let id = ConfigId {
                    kind: if kind == Kind::Secret {
                        ConfigKind::Secret
                    } else {
                        ConfigKind::ConfigMap
                    },
                    name: object["metadata"]["name"].as_str().unwrap_or_default().into(),
                };
                let reads = |reference: &Reference| reference.names(&id);
                let workloads = self
                    .before
                    .workloads
                    .values()
                    .filter(|workload| workload.template.references.iter().any(reads));
                let readers: Vec<_> =
                    workloads.map(|workload| crate::cluster::lower(&workload.id)).collect();
                match readers.is_empty() {
                    true => ("no workload reads it, so nothing depends on it".to_owned(), true),
                    false => (
                        format!(
                            "it is not known whether it changes. It is read by {}",
                            readers.join(", ")
                        ),
                        false,
                    ),
                }
            }
            _ => ("it is not known what happens to it".to_owned(), false),
        };
        if !known {
            self.unknown.push(place.to_owned());
        }
        self.notes.push(format!("You may not read {place}: {what}."));
    }

    /// What the workloads in the files read besides: whether it is there.
    async fn read_config(&mut self, cluster: &Cluster, key: &Key) -> Result<(), Failure> {
        let worlds = [&self.before, &self.after];
        let touched = |id: &&WorkloadId| self.workloads.contains_key(*id);
        let workloads = worlds.iter().flat_map(|world| {
            world.workloads.keys().filter(touched).map(|id| &world.workloads[id])
        });
        let references = workloads
            .flat_map(|workload| workload.template.references.iter())
            .filter(|reference| !reference.is_glob());
        let named: BTreeSet<ConfigId> = references
            .map(|reference| ConfigId {
                kind: reference.kind,
                name: reference.name.as_str().into(),
            })
            .collect();
        for id in named.difference(&self.looked_at).cloned().collect::<Vec<_>>() {
            let kind = if id.kind == ConfigKind::Secret { Kind::Secret } else { Kind::ConfigMap };
            let found =
                match api(cluster, kind, &json!({"apiVersion": "v1", "kind": id.kind.to_string()}))
                    .get_opt(&id.name)
                    .await
                {
                    Ok(found) => found,
                    // Users who may not read Secrets still may plan.
                    Err(kube::Error::Api(status)) if status.code == 403 => continue,
                    Err(error) => {
                        return Err(Failure::Api {
                            what: format!("cannot read {id}"),
                            why: with_causes(&error),
                        });
                    }
                };
            self.looked_at.insert(id);
            let Some(object) = found else { continue };
            let object = json!(object);
            let (id, entry) = content(kind, &object, &self.before.name, key)?;
            self.before.config.insert(id.clone(), entry.clone());
            self.after.config.insert(id, entry);
        }
        Ok(())
    }
}

/// What the core sees of an object.
pub fn view<K: Watched>(object: &Value) -> Result<K::View, Failure> {
    let wire: Wire<K> = wire(object)?;
    Ok(K::view(&wire.metadata, wire.body))
}

/// The content of a ConfigMap or Secret, as digests.
fn content(
    kind: Kind,
    object: &Value,
    namespace: &str,
    key: &Key,
) -> Result<(ConfigId, ConfigEntry), Failure> {
    let view =
        if kind == Kind::Secret { view::<Secrets>(object)? } else { view::<ConfigMaps>(object)? };
    entry(view, namespace, key)
}

/// The same of what the core sees of it.
pub fn entry(
    view: lockkeeper::shell::views::ConfigView,
    namespace: &str,
    key: &Key,
) -> Result<(ConfigId, ConfigEntry), Failure> {
    let (id, ignored) = (view.id.clone(), view.ignored);
    Ok((id, ConfigEntry::new(view.bind(namespace, key, None), ignored)))
}

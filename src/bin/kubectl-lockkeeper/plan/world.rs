//! The namespace as it is, and as the API server would make it of the manifests: asked by dry runs,
//! or told without where that is not allowed.

use std::collections::{BTreeMap, BTreeSet};

use kube::{
    Api,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use lockkeeper::{
    api::{ConditionReason, ConfigKind, WorkloadKind},
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
            lenient::Lenient,
            storage::{Autoscalers, Claims, Drivers, Namespaces, Volumes},
        },
    },
    workload::uid,
};
use serde_json::{Value, json};

use super::{
    judge::Touched,
    manifests::Manifest,
    merge::{created, manager, overlay, take_out, update_of},
    orphans::{Orphans, of_deployment},
};
use crate::{
    cluster::{Cluster, FIELD_MANAGER, Failure, readable, wire},
    revisions::{differences, history, settled},
};

/// The kinds that have a say in what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ConfigMap,
    Secret,
    Claim,
    Policy,
    Autoscaler,
    Namespace,
}

impl Kind {
    /// The kind of an object, if it has a say.
    pub fn of(object: &Value) -> Option<Self> {
        let group = object["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group);
        Some(match (group, object["kind"].as_str()?) {
            (WorkloadKind::GROUP, "Deployment") => Self::Deployment,
            (WorkloadKind::GROUP, "StatefulSet") => Self::StatefulSet,
            (WorkloadKind::GROUP, "DaemonSet") => Self::DaemonSet,
            ("", "ConfigMap") => Self::ConfigMap,
            ("", "Secret") => Self::Secret,
            ("", "PersistentVolumeClaim") => Self::Claim,
            ("", "Namespace") => Self::Namespace,
            ("autoscaling", "HorizontalPodAutoscaler") => Self::Autoscaler,
            ("lockkeeper.dev", "UpgradePolicy") => Self::Policy,
            _ => return None,
        })
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Deployment => Deployments::PLURAL,
            Self::StatefulSet => StatefulSets::PLURAL,
            Self::DaemonSet => DaemonSets::PLURAL,
            Self::ConfigMap => ConfigMaps::PLURAL,
            Self::Secret => Secrets::PLURAL,
            Self::Claim => Claims::PLURAL,
            Self::Policy => Policies::PLURAL,
            Self::Autoscaler => Autoscalers::PLURAL,
            Self::Namespace => Namespaces::PLURAL,
        }
    }

    /// Where what a manifest leaves out is looked for, and whether the API server fills in what is
    /// missing there.
    fn places(self) -> (&'static [&'static [&'static str]], bool) {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => {
                (&[&["spec", "template"]], true)
            }
            Self::Policy => (&[&["spec"]], true),
            Self::ConfigMap => (&[&["data"], &["binaryData"]], false),
            Self::Secret => (&[&["data"]], false),
            Self::Claim | Self::Autoscaler | Self::Namespace => (&[], false),
        }
    }
}

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

/// What came of a dry run.
enum Tried {
    /// The object as it would be.
    Made(Value),
    /// The API server would not take it.
    Refused(String),
    /// It may not be tried: in words.
    NotAllowed(String),
    /// There is nothing to try it in yet.
    NoPlace,
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

    /// The claims of the namespace and their volumes, as far as one may see them.
    async fn read_storage(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let claims = self
            .list::<Claims>(
                cluster,
                true,
                "claims that only one pod or node can use are not checked",
            )
            .await?;
        for (_, claim) in claims {
            self.before.claims.insert(claim.name.clone(), claim);
        }
        for (uid, scaled) in self
            .list::<Autoscalers>(cluster, true, "it is not known how far workloads scale")
            .await?
        {
            self.before.autoscalers.extend(scaled.map(|scaled| (uid, scaled)));
        }
        let volumes: Api<Lenient<Wire<Volumes>>> = Api::all(cluster.client.clone());
        let names: BTreeSet<String> =
            self.before.claims.values().filter_map(|claim| claim.volume.clone()).collect();
        for name in names {
            match volumes.get_opt(&name).await {
                Ok(found) => {
                    for wire in readable(Volumes::PLURAL, found.into_iter().collect()) {
                        self.storage.insert(Volumes::view(&wire.metadata, wire.body));
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    self.notes.push("You may not read persistentvolumes: claims are judged by what they request.".to_owned());
                    break;
                }
                Err(error) => {
                    return Err(Failure::Api {
                        what: format!("cannot read volume {name}"),
                        why: with_causes(&error),
                    });
                }
            }
        }
        if !self.before.claims.is_empty() {
            let drivers: Api<Lenient<Wire<Drivers>>> = Api::all(cluster.client.clone());
            // Who may not read them takes all to attach.
            if let Ok(all) = drivers.list(&ListParams::default()).await {
                let of = |wire: Wire<Drivers>| {
                    let attaches = Drivers::view(&wire.metadata, wire.body);
                    (wire.metadata.name.unwrap_or_default(), attaches)
                };
                self.storage
                    .drivers
                    .extend(readable(Drivers::PLURAL, all.items).into_iter().map(of));
            }
        }
        let namespaces: Api<Wire<Namespaces>> = Api::all(cluster.client.clone());
        if let Ok(Some(wire)) = namespaces.get_opt(&cluster.namespace).await {
            let view = Namespaces::view(&wire.metadata, wire.body);
            self.storage.namespaces.insert(view.name.clone(), view);
        }
        Ok(())
    }

    async fn list<K: Watched>(
        &mut self,
        cluster: &Cluster,
        namespaced: bool,
        without: &str,
    ) -> Result<Vec<(lockkeeper::core::observed::Uid, K::View)>, Failure> {
        let api: Api<Lenient<Wire<K>>> = if namespaced {
            Api::namespaced(cluster.client.clone(), &cluster.namespace)
        } else {
            Api::all(cluster.client.clone())
        };
        match api.list(&ListParams::default()).await {
            Ok(all) => Ok(readable(K::PLURAL, all.items)
                .into_iter()
                .map(|wire| (uid(&wire.metadata), K::view(&wire.metadata, wire.body)))
                .collect()),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                self.notes.push(format!("You may not read {}: {without}.", K::PLURAL));
                Ok(Vec::new())
            }
            Err(error) => Err(Failure::Api {
                what: format!("cannot read {}", K::PLURAL),
                why: with_causes(&error),
            }),
        }
    }
}

fn api(cluster: &Cluster, kind: Kind, object: &Value) -> Api<DynamicObject> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let name = object["kind"].as_str().unwrap_or_default();
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, name));
    resource.plural = kind.plural().into();
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
}

/// Says what the API server would make of a manifest.
async fn dry_run(
    api: &Api<DynamicObject>,
    kind: Kind,
    name: &str,
    manifest: &Value,
    live: Option<&Value>,
) -> Result<Tried, Failure> {
    let mut object = manifest.clone();
    // What kubectl get prints besides, and no apply may name.
    for field in
        ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"]
    {
        object["metadata"].as_object_mut().map(|fields| fields.remove(field));
    }
    object.as_object_mut().map(|fields| fields.remove("status"));
    let manager = manager(live);
    let parameters = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let mut made = match api.patch(name, &parameters, &Patch::Apply(&object)).await {
        Ok(made) => typed(made, manifest),
        Err(error) => return failed(kind, name, error),
    };
    let Some(live) = live.filter(|_| manager == FIELD_MANAGER) else {
        return Ok(Tried::Made(made));
    };
    let (places, filled_in) = kind.places();
    let mut taken = made.clone();
    let mut any = false;
    for place in places {
        any |= take_out(live, &mut taken, place);
    }
    if any && !filled_in {
        made = taken;
    } else if any {
        let update = update_of(live, &taken, manifest);
        let body = serde_json::from_value(update).map_err(|error| Failure::Api {
            what: format!("cannot try out {name}"),
            why: error.to_string(),
        })?;
        let parameters =
            PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match api.replace(name, &parameters, &body).await {
            Ok(updated) => made = typed(updated, manifest),
            // It moved on, or may only be patched: what the manifest leaves out is not seen then.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 409) => {}
            Err(error) => return failed(kind, name, error),
        }
    }
    Ok(Tried::Made(made))
}

fn failed(kind: Kind, name: &str, error: kube::Error) -> Result<Tried, Failure> {
    let cannot = |why: String| Failure::Api { what: format!("cannot try out {name}"), why };
    let status = match error {
        kube::Error::Api(status) => status,
        error => return Err(cannot(with_causes(&error))),
    };
    // What is refused may be quoted.
    let said = match kind {
        Kind::Secret => {
            format!("{} (its message is omitted, because it may quote the Secret)", status.code)
        }
        _ => status.message.clone(),
    };
    match status.code {
        404 => Ok(Tried::NoPlace),
        403 if is_about_rights(&status.message) => Ok(Tried::NotAllowed(said)),
        _ if is_about_the_way(&status.message) => Ok(Tried::NotAllowed(said)),
        400..500 => Ok(Tried::Refused(said)),
        // That is how a server-side apply answers what is of another type.
        _ if status.message.contains("typed patch object") => Ok(Tried::Refused(said)),
        _ => Err(cannot(said)),
    }
}

/// Whether another way to apply may do what a dry run of a server-side apply cannot: some webhooks
/// take no part in dry runs, and unknown fields and items of the same key are refused there only.
fn is_about_the_way(message: &str) -> bool {
    ["does not support dry run", "field not declared in schema", "duplicate entries for key"]
        .iter()
        .any(|way| message.contains(way))
}

/// Whether the right to write is missing, and not something in the object.
fn is_about_rights(message: &str) -> bool {
    ["patch", "create", "update"]
        .iter()
        .any(|verb| message.contains(&format!("cannot {verb} resource")))
}

/// With its kind, which lists and some answers leave out.
fn typed(object: DynamicObject, manifest: &Value) -> Value {
    let mut object = json!(object);
    for field in ["apiVersion", "kind"] {
        object[field] = manifest[field].clone();
    }
    object
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(kind: Kind, code: u16, message: &str) -> String {
        let status = kube::core::Status {
            code,
            message: message.to_owned(),
            ..kube::core::Status::default()
        };
        match failed(kind, "web", kube::Error::Api(Box::new(status))) {
            Ok(Tried::Made(_)) => "made".to_owned(),
            Ok(Tried::Refused(why)) => format!("refused: {why}"),
            Ok(Tried::NotAllowed(why)) => format!("not allowed: {why}"),
            Ok(Tried::NoPlace) => "no place".to_owned(),
            Err(error) => format!("failed: {error}"),
        }
    }

    #[test]
    fn what_the_api_server_says_of_a_dry_run_is_told_apart() {
        let rights = "deployments.apps \"web\" is forbidden: User \"ann\" cannot patch resource \"deployments\" in API group \"apps\"";
        for (code, message, expected) in [
            (403, rights, "not allowed: deployments.apps"),
            (403, "pods \"web\" is forbidden: exceeded quota", "refused: "),
            (404, "namespaces \"shop\" not found", "no place"),
            (400, "admission webhook \"x\" does not support dry run", "not allowed: "),
            (
                500,
                "failed to create typed patch object: .spec.x: field not declared in schema",
                "not allowed: ",
            ),
            (
                500,
                "failed to create typed patch object: .spec.replicas: expected numeric",
                "refused: ",
            ),
            (
                422,
                "Deployment.apps \"web\" is invalid: spec.selector: field is immutable",
                "refused: ",
            ),
            (500, "etcd is away", "failed: cannot try out web"),
        ] {
            assert!(
                tried(Kind::Deployment, code, message).starts_with(expected),
                "{code} {message}: {}",
                tried(Kind::Deployment, code, message)
            );
        }
        for code in [400, 403, 422, 500] {
            assert!(
                !tried(Kind::Secret, code, "typed patch object: got hunter2").contains("hunter2"),
                "{code}"
            );
        }
    }

    #[test]
    fn only_kinds_that_have_a_say_are_looked_at() {
        for (version, kind, expected) in [
            ("apps/v1", "Deployment", Some(Kind::Deployment)),
            ("v1", "Secret", Some(Kind::Secret)),
            ("autoscaling/v2", "HorizontalPodAutoscaler", Some(Kind::Autoscaler)),
            ("lockkeeper.dev/v1alpha1", "UpgradePolicy", Some(Kind::Policy)),
            ("example.com/v1", "Deployment", None),
            ("v1", "Service", None),
        ] {
            assert_eq!(
                Kind::of(&json!({"apiVersion": version, "kind": kind})),
                expected,
                "{version} {kind}"
            );
        }
    }
}

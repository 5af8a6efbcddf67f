//! What the cluster itself shows of kept data, as far as one may see it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, api::ListParams};
use lockkeeper::{
    api::marks,
    core::observed::{
        Namespace, Workload,
        storage::{Claim, NamespaceObject, Storage, Volume},
    },
    shell::{
        errors::with_causes,
        views::{
            DaemonSets, Deployments, Pods, ReplicaSets, StatefulSets, Watched, Wire,
            lenient::Lenient,
            storage::{Claims, CronJobs, Namespaces, Volumes},
        },
    },
    workload::uid,
};
use serde_json::Value;

use crate::cluster::{Cluster, Failure, read, wire};

const PAGE: u32 = 500;

/// What is there of it.
#[derive(Default)]
pub struct Seen {
    /// The volumes and namespaces.
    pub storage: Storage,
    /// What uses claims, by namespace.
    pub worlds: BTreeMap<String, Namespace>,
    /// Since when claims are being deleted, by namespace and name.
    pub going: BTreeMap<(String, String), Timestamp>,
    /// Which namespaces there are is known: of all, or of the one that is looked at.
    pub namespaces_known: bool,
    /// All that uses claims is known.
    pub users_known: bool,
    /// What could not be seen, and what follows from that.
    pub unseen: Vec<String>,
}

/// What a list shows.
type Listed<K> = Vec<(ObjectMeta, <K as Watched>::View)>;

impl Seen {
    /// Looks at one namespace, or at all.
    pub async fn read(cluster: &Cluster, only: Option<&str>) -> Result<Self, Failure> {
        let mut seen = Self { users_known: true, ..Self::default() };
        seen.read_storage(cluster, only).await?;
        seen.read_users(cluster, only).await?;
        Ok(seen)
    }

    async fn read_storage(&mut self, cluster: &Cluster, only: Option<&str>) -> Result<(), Failure> {
        let retained = format!("{}=true", marks::RETAINED);
        let without_volumes = "volumes whose claim is gone are not listed, and of the others neither reclaim policy nor who kept them";
        for (_, volume) in self.list::<Volumes>(cluster, None, &retained, without_volumes).await? {
            self.storage.insert(volume);
        }
        let without_claims = "only volumes are listed";
        for (meta, claim) in self.list::<Claims>(cluster, only, "", without_claims).await? {
            let namespace = meta.namespace.unwrap_or_default();
            if let Some(time) = meta.deletion_timestamp {
                self.going.insert((namespace.clone(), claim.name.clone()), time.0);
            }
            self.world(&namespace).claims.insert(claim.name.clone(), claim);
        }
        match only {
            Some(name) => {
                let api: Api<Wire<Namespaces>> = Api::all(cluster.client.clone());
                match api.get_opt(name).await {
                    Ok(found) => {
                        self.namespaces_known = true;
                        let view = found.map(|wire| Namespaces::view(&wire.metadata, wire.body));
                        self.storage.namespaces.extend(view.map(|view| (view.name.clone(), view)));
                    }
                    Err(error) => self.refused(
                        "the namespace",
                        &error,
                        "whether volumes come from an earlier one is not known",
                    )?,
                }
            }
            None => {
                let before = self.unseen.len();
                let without = "whether they are gone or were created again is not known";
                let all = self.list::<Namespaces>(cluster, None, "", without).await?;
                self.namespaces_known = self.unseen.len() == before;
                self.storage
                    .namespaces
                    .extend(all.into_iter().map(|(_, view)| (view.name.clone(), view)));
            }
        }
        self.read_others(cluster).await
    }

    /// Volumes without our label that matter all the same: those of retained claims, and of claims
    /// that have one in place of what is kept.
    async fn read_others(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let left: BTreeSet<(String, String)> = self
            .storage
            .volumes()
            .filter_map(|volume| {
                volume.provenance().map(|of| (of.namespace.clone(), of.claim.clone()))
            })
            .collect();
        let mut wanted = BTreeSet::new();
        for (name, world) in &self.worlds {
            for claim in world.claims.values() {
                if claim.retained || left.contains(&(name.clone(), claim.name.clone())) {
                    wanted.extend(
                        claim.volume.clone().filter(|volume| self.storage.volume(volume).is_none()),
                    );
                }
            }
        }
        let api: Api<Lenient<Wire<Volumes>>> = Api::all(cluster.client.clone());
        for name in wanted {
            match api.get_opt(&name).await {
                Ok(found) => {
                    for wire in self.readable(Volumes::PLURAL, found.into_iter().collect()) {
                        self.storage.insert(Volumes::view(&wire.metadata, wire.body));
                    }
                }
                // Reported for the list already.
                Err(kube::Error::Api(status)) if status.code == 403 => break,
                Err(error) => {
                    return Err(Failure::Api {
                        what: format!("cannot read volume {name}"),
                        why: with_causes(&error),
                    });
                }
            }
        }
        Ok(())
    }

    async fn read_users(&mut self, cluster: &Cluster, only: Option<&str>) -> Result<(), Failure> {
        let without = "claims that only these use are shown as Unknown";
        let before = self.unseen.len();
        let deployments = self.list::<Deployments>(cluster, only, "", without).await?;
        let sets = self.list::<StatefulSets>(cluster, only, "", without).await?;
        let daemons = self.list::<DaemonSets>(cluster, only, "", without).await?;
        let workloads: Vec<(ObjectMeta, Workload)> =
            deployments.into_iter().chain(sets).chain(daemons).collect();
        for (meta, workload) in workloads {
            self.world(&meta.namespace.unwrap_or_default())
                .workloads
                .insert(workload.id.clone(), workload);
        }
        for (meta, set) in self.list::<ReplicaSets>(cluster, only, "", without).await? {
            let key = uid(&meta);
            if let Some(set) = set {
                self.world(&meta.namespace.unwrap_or_default()).replica_sets.insert(key, set);
            }
        }
        for (meta, pod) in self.list::<Pods>(cluster, only, "", without).await? {
            let key = uid(&meta);
            self.world(&meta.namespace.unwrap_or_default()).pods.insert(key, pod);
        }
        for (meta, job) in self.list::<CronJobs>(cluster, only, "", without).await? {
            let key = uid(&meta);
            self.world(&meta.namespace.unwrap_or_default()).cron_jobs.insert(key, job);
        }
        self.users_known = self.unseen.len() == before;
        Ok(())
    }

    /// What uses the claims of a namespace.
    fn world(&mut self, name: &str) -> &mut Namespace {
        let empty = || Namespace { name: name.into(), ..Namespace::default() };
        self.worlds.entry(name.to_owned()).or_insert_with(empty)
    }

    /// A list, page by page; empty if it is refused, which is noted with what follows from that.
    async fn list<K: Watched>(
        &mut self,
        cluster: &Cluster,
        only: Option<&str>,
        labels: &str,
        without: &str,
    ) -> Result<Listed<K>, Failure> {
        let api: Api<Lenient<Wire<K>>> = match only {
            Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
            None => Api::all(cluster.client.clone()),
        };
        let mut parameters = ListParams::default().labels(labels).limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = match api.list(&parameters).await {
                Ok(page) => page,
                Err(error) => {
                    self.refused(K::PLURAL, &error, without)?;
                    return Ok(Vec::new());
                }
            };
            all.extend(self.readable(K::PLURAL, page.items).into_iter().map(|wire| {
                let view = K::view(&wire.metadata, wire.body);
                (wire.metadata, view)
            }));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// Those that can be read. What follows from the others is not known, as from those that one
    /// may not read.
    fn readable<T>(&mut self, what: &str, all: Vec<Lenient<T>>) -> Vec<T> {
        let mut one = |object| read(what, object, |warning| self.unseen.push(warning));
        all.into_iter().filter_map(&mut one).collect()
    }

    fn refused(&mut self, what: &str, error: &kube::Error, without: &str) -> Result<(), Failure> {
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                self.unseen.push(format!("You may not read {what}: {without}. {}", status.message));
                Ok(())
            }
            error => {
                Err(Failure::Api { what: format!("cannot read {what}"), why: with_causes(error) })
            }
        }
    }
}

/// The namespace and the claim whose data a volume holds: what the operator noted, else the claim
/// that it is or was bound to.
pub fn origin(volume: &Volume) -> Option<(String, String)> {
    let noted = volume.provenance().map(|of| (of.namespace.clone(), of.claim.clone()));
    noted.or_else(|| {
        volume.claim.as_ref().map(|claim| (claim.namespace.clone(), claim.name.clone()))
    })
}

/// A volume as it is, and as the core sees it.
#[derive(Debug)]
pub struct View {
    /// As it is.
    pub raw: Value,
    /// As the core sees it.
    pub view: Volume,
}

/// What the core sees of a volume.
pub fn volume_view(raw: Value) -> Result<View, Failure> {
    let wire: Wire<Volumes> = wire(&raw)?;
    Ok(View { raw, view: Volumes::view(&wire.metadata, wire.body) })
}

/// What the core sees of a claim.
pub fn claim_view(raw: &Value) -> Result<Claim, Failure> {
    let wire: Wire<Claims> = wire(raw)?;
    Ok(Claims::view(&wire.metadata, wire.body))
}

/// What the core sees of a namespace.
pub fn namespace_view(raw: &Value) -> Result<NamespaceObject, Failure> {
    let wire: Wire<Namespaces> = wire(raw)?;
    Ok(Namespaces::view(&wire.metadata, wire.body))
}

//! The storage of a namespace, and what scales its workloads, as far as one may see them.

use std::collections::BTreeSet;

use kube::{Api, api::ListParams};
use lockkeeper::{
    core::observed::Uid,
    shell::{
        errors::with_causes,
        views::{
            Watched, Wire,
            lenient::Lenient,
            storage::{Autoscalers, Claims, Drivers, Namespaces, Volumes},
        },
    },
    workload::uid,
};

use super::Worlds;
use crate::cluster::{Cluster, Failure, readable};

impl Worlds {
    /// The claims of the namespace and their volumes, as far as one may see them.
    pub(super) async fn read_storage(&mut self, cluster: &Cluster) -> Result<(), Failure> {
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
    ) -> Result<Vec<(Uid, K::View)>, Failure> {
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

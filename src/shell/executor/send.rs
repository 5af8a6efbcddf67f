//! The requests themselves, each with what must hold when it is sent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::events::v1::Event,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch as Body, PostParams},
    core::SelectorExt,
};
use tokio::sync::watch;

use super::EVENT_SLACK;
use crate::{
    api::{UpgradePolicy, WorkloadKind, crd, marks},
    core::{
        later,
        notice::StorageObject,
        observed::policy::selector,
        request::{Patch, Purpose, SnapshotRequest, SnapshotStep, StoragePatch},
    },
    shell::{
        clock,
        errors::{Error, within},
        lease::Term,
        views::{
            Pods, Watched,
            snapshots::{SnapshotContents, VolumeSnapshots},
            storage::{Claims, Namespaces, Volumes},
        },
        write::{self, Written},
    },
    workload::{claims_of_pod, quoted, resource_version},
};

/// Asked just before each request that writes.
pub(super) fn leads(term: &watch::Receiver<Term>) -> Result<(), Error> {
    if term.borrow().may_act(clock::moment()) { Ok(()) } else { Err(Error::NotLeading) }
}

pub(super) async fn send(
    client: &Client,
    term: &watch::Receiver<Term>,
    namespace: &str,
    patch: &Patch,
) -> Result<Written, Error> {
    if let Purpose::Forget { confirm: Some(confirm) } = &patch.purpose {
        confirm_definition(client, confirm.definition.as_deref()).await?;
        confirm_unselected(client, namespace, patch.workload.kind, &confirm.labels).await?;
    }
    let kind = patch.workload.kind.resource();
    let workloads: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let body: json_patch::Patch =
        serde_json::from_value(patch.json()).map_err(kube::Error::SerdeError)?;
    leads(term)?;
    within(write::patch(client, &workloads, &patch.workload.name, &Body::Json(body))).await
}

pub(super) async fn send_storage(
    client: &Client,
    term: &watch::Receiver<Term>,
    namespace: &str,
    patch: &StoragePatch,
) -> Result<Written, Error> {
    if let Some(hand_over) = &patch.hand_over {
        confirm_unused(client, namespace, &hand_over.from).await?;
    }
    let (objects, name): (Api<DynamicObject>, _) = match &patch.object {
        StorageObject::Claim(name) => {
            (Api::namespaced_with(client.clone(), namespace, &Claims::resource()), name)
        }
        StorageObject::Volume(name) => (Api::all_with(client.clone(), &Volumes::resource()), name),
        StorageObject::Namespace(name) => {
            (Api::all_with(client.clone(), &Namespaces::resource()), name)
        }
    };
    leads(term)?;
    within(write::patch(client, &objects, name, &Body::Merge(patch.json()))).await
}

/// Creates a snapshot, which is never written again, or has its content outlive it.
pub(super) async fn send_snapshot(
    client: &Client,
    term: &watch::Receiver<Term>,
    namespace: &str,
    request: &SnapshotRequest,
) -> Result<Written, Error> {
    match &request.step {
        SnapshotStep::Take { .. } => {
            let resource = VolumeSnapshots::resource();
            let snapshots: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), namespace, &resource);
            let object = serde_json::from_value(request.json()).map_err(kube::Error::SerdeError)?;
            let params = PostParams {
                field_manager: Some(marks::FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            leads(term)?;
            let made = within(snapshots.create(&params, &object)).await?;
            Ok(Written { version: resource_version(&made.metadata), added: Vec::new() })
        }
        SnapshotStep::Keep { content, .. } => {
            let contents: Api<DynamicObject> =
                Api::all_with(client.clone(), &SnapshotContents::resource());
            leads(term)?;
            within(write::patch(client, &contents, content, &Body::Merge(request.json()))).await
        }
    }
}

/// Sees for itself that our CRD stands: while it is missing, or going, there are no policies, and
/// nothing follows from that.
async fn confirm_definition(client: &Client, uid: Option<&str>) -> Result<(), Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = within(definitions.get_opt(crd::NAME)).await?.filter(|definition| {
        definition.metadata.deletion_timestamp.is_none()
            && uid.is_none_or(|uid| definition.metadata.uid.as_deref() == Some(uid))
    });
    let conditions =
        definition.and_then(|definition| definition.status?.conditions).unwrap_or_default();
    match conditions
        .iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
    {
        true => Ok(()),
        false => Err(Error::NoDefinition),
    }
}

/// Sees for itself that no pod uses a claim: our watch of pods may be behind, and two pods may not
/// have one volume under two claims.
async fn confirm_unused(client: &Client, namespace: &str, claim: &str) -> Result<(), Error> {
    let pods: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &Pods::resource());
    let all = within(pods.list(&ListParams::default())).await?;
    let uses = |pod: &DynamicObject| {
        let finished =
            ["Succeeded", "Failed"].iter().any(|phase| pod.data["status"]["phase"] == **phase);
        // The node of one that is being deleted still has its volumes mounted.
        (!finished || pod.metadata.deletion_timestamp.is_some())
            && claims_of_pod(&pod.data["spec"]).iter().any(|one| one == claim)
    };
    match all.items.into_iter().find(uses) {
        Some(pod) => Err(Error::InUse {
            pod: pod.metadata.name.unwrap_or_default(),
            claim: claim.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Sees for itself that no policy selects a workload: our watch of policies may be behind.
async fn confirm_unselected(
    client: &Client,
    namespace: &str,
    kind: WorkloadKind,
    labels: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let policies: Api<UpgradePolicy> = Api::namespaced(client.clone(), namespace);
    let all = within(policies.list(&ListParams::default())).await?;
    let selects = |policy: &UpgradePolicy| {
        policy.spec.kinds.contains(&kind)
            && selector(&policy.spec.selector).is_ok_and(|selector| selector.matches(labels))
    };
    match all.items.iter().find(|policy| selects(policy)) {
        Some(policy) => Err(Error::Selected(policy.metadata.name.clone().unwrap_or_default())),
        None => Ok(()),
    }
}

/// What the newest of these events says that was seen since then.
pub(super) fn newest_failure(events: Vec<Event>, since: Timestamp) -> Option<Box<str>> {
    let seen = |event: &Event| {
        let series = event.series.as_ref().map(|series| series.last_observed_time.0);
        series
            .or(event.deprecated_last_timestamp.as_ref().map(|time| time.0))
            .or(event.event_time.as_ref().map(|time| time.0))
    };
    let timed = events.into_iter().filter_map(|event| Some((seen(&event)?, event.note?)));
    // They are in whole seconds, and the controller may have failed a moment before it was noticed.
    let newest =
        timed.filter(|(seen, _)| later(*seen, EVENT_SLACK) >= since).max_by_key(|(seen, _)| *seen);
    newest.map(|(_, note)| quoted(&note))
}

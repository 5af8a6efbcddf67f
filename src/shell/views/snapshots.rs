//! The fields that are used of snapshots of volumes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{Raw, Watched};
use crate::{
    core::observed::snapshots::{Snapshot, SnapshotClass, SnapshotContent, TakenFor},
    marks::labels,
    workload::{created, quoted, resource_version, uid},
};

/// `snapshot.storage.k8s.io/v1` VolumeSnapshot.
#[derive(Clone, Debug)]
pub struct VolumeSnapshots;

impl Watched for VolumeSnapshots {
    const GROUP: &'static str = "snapshot.storage.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "VolumeSnapshot";
    const PLURAL: &'static str = "volumesnapshots";
    type Body = Raw;
    type View = Snapshot;

    fn view(meta: &ObjectMeta, body: Raw) -> Snapshot {
        let (spec, status) = (&body.spec, &body.status);
        Snapshot {
            name: meta.name.clone().unwrap_or_default(),
            uid: uid(meta),
            created: created(meta),
            deleting: meta.deletion_timestamp.is_some(),
            taken_for: labels::taken_for(meta.labels.as_ref())
                .map(|[change, workload, claim]| TakenFor { change, workload, claim }),
            claim: text(&spec["source"]["persistentVolumeClaimName"]),
            content: text(&status["boundVolumeSnapshotContentName"]),
            cut: !status["creationTime"].is_null(),
            ready: status["readyToUse"] == true,
            error: error(status),
        }
    }
}

/// `snapshot.storage.k8s.io/v1` VolumeSnapshotClass.
#[derive(Clone, Debug)]
pub struct SnapshotClasses;

/// What is read of a class.
#[derive(Deserialize, Clone, Debug)]
pub struct ClassBody {
    #[serde(default)]
    driver: String,
}

impl Watched for SnapshotClasses {
    const GROUP: &'static str = VolumeSnapshots::GROUP;
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "VolumeSnapshotClass";
    const PLURAL: &'static str = "volumesnapshotclasses";
    type Body = ClassBody;
    type View = SnapshotClass;

    fn view(meta: &ObjectMeta, body: ClassBody) -> SnapshotClass {
        let annotations = meta.annotations.as_ref();
        let default =
            annotations.and_then(|all| all.get("snapshot.storage.kubernetes.io/is-default-class"));
        SnapshotClass {
            driver: body.driver,
            is_default: default.is_some_and(|text| text == "true"),
        }
    }
}

/// `snapshot.storage.k8s.io/v1` VolumeSnapshotContent.
#[derive(Clone, Debug)]
pub struct SnapshotContents;

impl Watched for SnapshotContents {
    const GROUP: &'static str = VolumeSnapshots::GROUP;
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "VolumeSnapshotContent";
    const PLURAL: &'static str = "volumesnapshotcontents";
    type Body = Raw;
    type View = SnapshotContent;

    fn view(meta: &ObjectMeta, body: Raw) -> SnapshotContent {
        let of = &body.spec["volumeSnapshotRef"];
        SnapshotContent {
            uid: uid(meta),
            resource_version: resource_version(meta),
            namespace: text(&of["namespace"]).unwrap_or_default(),
            snapshot_uid: text(&of["uid"]).unwrap_or_default(),
            retained: body.spec["deletionPolicy"] == "Retain",
            error: error(&body.status),
        }
    }
}

/// Not ours, so only its beginning.
fn error(status: &Value) -> Option<String> {
    let why = status["error"]["message"].as_str().filter(|why| !why.is_empty());
    why.filter(|_| status["readyToUse"] != true).map(|why| quoted(why).into())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

//! The fields that are used of the kinds that have to do with storage.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use super::{Raw, RawSpec, Watched, list, time};
use crate::{
    api::{WorkloadKind, marks},
    core::observed::{
        WorkloadId,
        storage::{
            Access, Claim, ClaimReference, CronJob, NamespaceObject, Shield, Volume, VolumePhase,
            VolumeSource,
        },
    },
    marks::{StorageMarks, is_true, registry::On},
    workload::{claims_of_pod, created, read_only_claims, resource_version, uid},
};

/// Kinds of volumes that nothing attaches to a node.
const UNATTACHED: [&str; 5] = ["hostPath", "local", "nfs", "glusterfs", "cephfs"];
const HOSTNAME: &str = "kubernetes.io/hostname";

/// `v1` PersistentVolumeClaim.
#[derive(Clone, Debug)]
pub struct Claims;

impl Watched for Claims {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "PersistentVolumeClaim";
    const PLURAL: &'static str = "persistentvolumeclaims";
    const READS_FIELDS_OF_MANAGERS: bool = true;
    type Body = Raw;
    type View = Claim;

    fn view(meta: &ObjectMeta, body: Raw) -> Claim {
        let (spec, status) = (&body.spec, &body.status);
        Claim {
            name: meta.name.clone().unwrap_or_default(),
            uid: uid(meta),
            resource_version: resource_version(meta),
            created: created(meta),
            deleting: meta.deletion_timestamp.is_some(),
            retained: is_true(meta.labels.as_ref(), marks::RETAINED),
            protected: is_true(meta.labels.as_ref(), marks::PROTECTED),
            marks: StorageMarks::on(On::Claim, meta.annotations.iter().flatten()),
            shields: shields(meta),
            owners: meta.owner_references.clone().unwrap_or_default(),
            lost: status["phase"] == "Lost",
            bound: status["phase"] == "Bound",
            volume: text(&spec["volumeName"]).filter(|name| !name.is_empty()),
            access: access(spec),
            modes: list(&spec["accessModes"]).filter_map(text).collect(),
            class: text(&spec["storageClassName"]).unwrap_or_default(),
            requested: bytes(&spec["resources"]["requests"]["storage"]),
        }
    }
}

/// `v1` PersistentVolume.
#[derive(Clone, Debug)]
pub struct Volumes;

impl Watched for Volumes {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "PersistentVolume";
    const PLURAL: &'static str = "persistentvolumes";
    type Body = Raw;
    type View = Volume;

    fn view(meta: &ObjectMeta, body: Raw) -> Volume {
        let (spec, status) = (&body.spec, &body.status);
        let claim = &spec["claimRef"];
        Volume {
            name: meta.name.clone().unwrap_or_default(),
            uid: uid(meta),
            resource_version: resource_version(meta),
            created: created(meta),
            deleting: meta.deletion_timestamp.is_some(),
            retained: is_true(meta.labels.as_ref(), marks::RETAINED),
            marks: StorageMarks::on(On::Volume, meta.annotations.iter().flatten()),
            phase: match status["phase"].as_str() {
                Some("Bound") => VolumePhase::Bound,
                Some("Released") => VolumePhase::Released,
                Some("Failed") => VolumePhase::Failed,
                _ => VolumePhase::Available,
            },
            phase_since: time(&status["lastPhaseTransitionTime"]),
            reclaim_policy: text(&spec["persistentVolumeReclaimPolicy"])
                .unwrap_or_else(|| "Retain".to_owned()),
            claim: claim.is_object().then(|| ClaimReference {
                namespace: text(&claim["namespace"]).unwrap_or_default(),
                name: text(&claim["name"]).unwrap_or_default(),
                uid: text(&claim["uid"]).filter(|uid| !uid.is_empty()),
            }),
            access: access(spec),
            modes: list(&spec["accessModes"]).filter_map(text).collect(),
            class: text(&spec["storageClassName"]).unwrap_or_default(),
            capacity: bytes(&spec["capacity"]["storage"]),
            source: match text(&spec["csi"]["driver"]) {
                Some(driver) => VolumeSource::Csi(driver),
                None if UNATTACHED.iter().any(|kind| spec[*kind].is_object()) => {
                    VolumeSource::Unattached
                }
                None => VolumeSource::Other,
            },
            node: only_node(&spec["nodeAffinity"]["required"]),
        }
    }
}

/// `v1` Namespace.
#[derive(Clone, Debug)]
pub struct Namespaces;

impl Watched for Namespaces {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Namespace";
    const PLURAL: &'static str = "namespaces";
    type Body = RawSpec;
    type View = NamespaceObject;

    fn view(meta: &ObjectMeta, _: RawSpec) -> NamespaceObject {
        NamespaceObject {
            name: meta.name.clone().unwrap_or_default(),
            uid: uid(meta),
            resource_version: resource_version(meta),
            deleting: meta.deletion_timestamp.is_some(),
            allows_deny: is_true(meta.labels.as_ref(), marks::ALLOW_DENY),
            protected: is_true(meta.labels.as_ref(), marks::PROTECTED),
            reserves: is_true(meta.labels.as_ref(), marks::RESERVES_CLAIMS),
            marks: StorageMarks::on(On::Namespace, meta.annotations.iter().flatten()),
        }
    }
}

/// `storage.k8s.io/v1` CSIDriver. What is kept of one is whether it attaches volumes to nodes.
#[derive(Clone, Debug)]
pub struct Drivers;

impl Watched for Drivers {
    const GROUP: &'static str = "storage.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "CSIDriver";
    const PLURAL: &'static str = "csidrivers";
    type Body = RawSpec;
    type View = bool;

    fn view(_: &ObjectMeta, body: RawSpec) -> bool {
        body.spec["attachRequired"].as_bool().unwrap_or(true)
    }
}

/// `batch/v1` CronJob.
#[derive(Clone, Debug)]
pub struct CronJobs;

impl Watched for CronJobs {
    const GROUP: &'static str = "batch";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "CronJob";
    const PLURAL: &'static str = "cronjobs";
    type Body = RawSpec;
    type View = CronJob;

    fn view(meta: &ObjectMeta, body: RawSpec) -> CronJob {
        let pod = &body.spec["jobTemplate"]["spec"]["template"]["spec"];
        CronJob {
            name: meta.name.clone().unwrap_or_default(),
            claims: claims_of_pod(pod).into(),
            read_only: read_only_claims(pod, &Value::Null).into(),
            suspended: body.spec["suspend"] == true,
        }
    }
}

/// `autoscaling/v2` HorizontalPodAutoscaler. What is kept of one is what it scales, and up to how
/// many pods; none if that is not a kind that we know.
#[derive(Clone, Debug)]
pub struct Autoscalers;

impl Watched for Autoscalers {
    const GROUP: &'static str = "autoscaling";
    const VERSION: &'static str = "v2";
    const KIND: &'static str = "HorizontalPodAutoscaler";
    const PLURAL: &'static str = "horizontalpodautoscalers";
    type Body = RawSpec;
    type View = Option<(WorkloadId, u32)>;

    fn view(_: &ObjectMeta, body: RawSpec) -> Option<(WorkloadId, u32)> {
        let target = &body.spec["scaleTargetRef"];
        let kind = target["kind"].as_str().and_then(WorkloadKind::named);
        let most = body.spec["maxReplicas"]
            .as_u64()
            .and_then(|most| u32::try_from(most).ok())
            .unwrap_or_default();
        kind.zip(text(&target["name"])).map(|(kind, name)| (WorkloadId { kind, name }, most))
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn access(spec: &Value) -> Access {
    Access::of(list(&spec["accessModes"]).filter_map(Value::as_str))
}

fn shields(meta: &ObjectMeta) -> BTreeMap<&'static str, Shield> {
    let annotations = meta.annotations.as_ref();
    let entries = meta.managed_fields.as_deref().unwrap_or_default();
    let shield = |key: &'static str| {
        let value = annotations?.get(key)?.clone();
        let declares = |entry: &&ManagedFieldsEntry| {
            let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0);
            !fields["f:metadata"]["f:annotations"][format!("f:{key}")].is_null()
        };
        let manager =
            entries.iter().find(declares).map(|entry| entry.manager.clone().unwrap_or_default());
        Some((key, Shield { value, manager }))
    };
    marks::SHIELDS.into_iter().filter_map(|(key, _)| shield(key)).collect()
}

/// The only node that a selector of nodes allows, if it is one by its hostname.
fn only_node(selector: &Value) -> Option<String> {
    let mut terms = list(&selector["nodeSelectorTerms"]);
    let term = terms.next().filter(|_| terms.next().is_none())?;
    let one = |expression: &Value| {
        let mut values = list(&expression["values"]);
        let value = values.next().filter(|_| values.next().is_none())?;
        (expression["operator"] == "In").then(|| text(value))?
    };
    let by_name =
        list(&term["matchFields"]).find(|field| field["key"] == "metadata.name").and_then(one);
    by_name.or_else(|| {
        list(&term["matchExpressions"])
            .find(|expression| is_hostname(&expression["key"]))
            .and_then(one)
    })
}

/// The labels by which drivers name a node.
fn is_hostname(key: &Value) -> bool {
    key.as_str()
        .is_some_and(|key| key == HOSTNAME || key.ends_with("/hostname") || key.ends_with("/node"))
}

/// A quantity in bytes. One that cannot be read counts as none.
pub fn bytes(quantity: &Value) -> u64 {
    let Some(text) = quantity.as_str() else { return quantity.as_u64().unwrap_or_default() };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        // Scientific: the API server rewrites it when it is stored.
        _ => return text.parse::<f64>().map_or(0, whole),
    };
    number.parse::<f64>().map_or(0, |number| whole(number * factor))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and no quantity is negative"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

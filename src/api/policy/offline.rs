//! `offline`: upgrades for which all workloads of the policy are stopped.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Upgrades for which all workloads of the policy are stopped, and what is done with their data
/// before they start again.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OfflineSpec {
    /// Which changes of pod templates are offline upgrades. The others roll.
    #[serde(default)]
    pub when: OfflineWhen,
    /// What is done while everything is stopped. If absent, the workloads start again when all of
    /// them are stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<MigrateSpec>,
}

/// Which changes are offline upgrades.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OfflineWhen {
    /// Those of workloads with the annotation `lockkeeper.dev/upgrade: Offline`.
    #[default]
    Asked,
    /// Those that change the version of an image, and those that are asked for. A version is read off
    /// the tag, as in `app:v1.2.3`.
    Patch,
    /// Those that change the first or the second number of an image's version, and those that are
    /// asked for.
    Minor,
    /// Those that change the first number of an image's version, and those that are asked for.
    Major,
    /// All of them.
    Always,
}

/// How the data of workloads is migrated whose template changes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MigrateSpec {
    /// Who migrates it.
    pub by: MigrateBy,
}

/// Who migrates data.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrateBy {
    /// A person. The pods sleep on the new image until a user with the verb `maintain` says that the
    /// data is migrated.
    Person,
}

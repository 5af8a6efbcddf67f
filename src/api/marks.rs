//! Labels and annotations: what Lockkeeper writes on objects, and what users write for it.

/// Everything that Lockkeeper writes begins with this.
pub const PREFIX: &str = "lockkeeper.dev/";

/// On a workload, by the operator: which policy governs it.
pub const GOVERNANCE: &str = "lockkeeper.dev/governance";
/// On a workload, by the operator: the digests of the config that its pods were asked to start with, and are known to have started with.
pub const CONFIG: &str = "lockkeeper.dev/config";
/// On a workload, by the operator: the times of its config rollouts within the limit's window.
pub const ROLLOUTS: &str = "lockkeeper.dev/rollouts";
/// On a workload, by the operator: the outcome of its last config rollout.
pub const ROLLOUT: &str = "lockkeeper.dev/rollout";
/// On a pod template, by the operator: changes with each config rollout, and so makes one.
pub const CONFIG_HASH: &str = "lockkeeper.dev/config-hash";

/// By users, `"true"`: on a workload, it is not governed; on a ConfigMap or Secret, its changes roll nothing.
pub const IGNORE: &str = "lockkeeper.dev/ignore";

/// The field manager of every write of the operator. Not one that begins with `kubectl`: Flux undoes those.
pub const FIELD_MANAGER: &str = "lockkeeper";

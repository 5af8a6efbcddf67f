//! Labels and annotations: what Lockkeeper writes on objects, and what users write for it.

/// Everything that Lockkeeper writes begins with this.
pub const PREFIX: &str = "lockkeeper.dev/";

/// On a workload, by the operator: which policy governs it.
pub const GOVERNANCE: &str = "lockkeeper.dev/governance";
/// On a workload, by the operator: the digests of the config that its pods were asked to start with, and are known to have started with.
pub const CONFIG: &str = "lockkeeper.dev/config";
/// On a workload, by the operator: the times of its config rollouts within the limit's window.
pub const ROLLOUTS: &str = "lockkeeper.dev/rollouts";
/// On a workload, by the operator: what became of the last rollout that was let through, and which revision was last rolled out.
pub const ROLLOUT: &str = "lockkeeper.dev/rollout";
/// On a pod template, by the operator: changes with each config rollout, and so makes one.
pub const CONFIG_HASH: &str = "lockkeeper.dev/config-hash";

/// On a workload, by the operator or by a chart from birth: label of what is governed. The admission policies select on it.
pub const GOVERNED: &str = "lockkeeper.dev/governed";
/// On a workload, by the operator or by a chart from birth, `"true"`: its template changes are held.
pub const HOLD_CHANGES: &str = "lockkeeper.dev/hold-changes";
/// On a workload, by admission: `<id> by <user>`, the change that is held. The operator releases by removing it.
pub const HOLD: &str = "lockkeeper.dev/hold";
/// On a held Deployment, by admission: what the manifest last asked for in `spec.paused`.
pub const DECLARED_PAUSED: &str = "lockkeeper.dev/declared-paused";
/// On a held StatefulSet, by admission: what the manifest last asked for as partition.
pub const DECLARED_PARTITION: &str = "lockkeeper.dev/declared-partition";
/// On a workload, by the operator: since when a change waits.
pub const HOLD_SINCE: &str = "lockkeeper.dev/hold-since";
/// On a workload, by the operator: the id of a config change that waits for gates.
pub const PENDING_CONFIG: &str = "lockkeeper.dev/pending-config";
/// On a workload, by a user with the verb `approve`: the id of the change that is approved.
pub const APPROVE: &str = "lockkeeper.dev/approve";
/// On a workload, by admission: who approved.
pub const APPROVED_BY: &str = "lockkeeper.dev/approved-by";
/// On a workload, by a user with the verb `bypass`: the id of the change that is let through. Used up by the write that brings it.
pub const BYPASS: &str = "lockkeeper.dev/bypass";
/// On a workload, by admission: `<id> by <user>`, whose bypass let a change through.
pub const BYPASSED_BY: &str = "lockkeeper.dev/bypassed-by";

/// On a StatefulSet, by the operator: the partition that admission sets while pods go one by one. One that stood before it governed is
/// nobody's word.
pub const PARTITION: &str = "lockkeeper.dev/partition";
/// On a Deployment, `exclusive`: admission makes its strategy `Recreate`. The operator does not write it yet.
pub const VOLUME_ACCESS: &str = "lockkeeper.dev/volume-access";

/// On a workload, by users: what its app gate is otherwise than its policy says, such as `port=8081,path=/up`.
pub const APP_GATE: &str = "lockkeeper.dev/app-gate";
/// On a Secret, by its owner, as a label with the value `"true"`: it may be used in the header of an app gate.
pub const GATE_CREDENTIAL: &str = "lockkeeper.dev/gate-credential";
/// By users, `"true"`: on a workload, it is not governed; on a ConfigMap or Secret, its changes roll nothing.
pub const IGNORE: &str = "lockkeeper.dev/ignore";

/// The field manager of every write of the operator. Not one that begins with `kubectl`: Flux undoes those.
pub const FIELD_MANAGER: &str = "lockkeeper";

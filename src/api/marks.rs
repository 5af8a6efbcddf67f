//! Labels and annotations: what Lockkeeper writes on objects, and what users write for it.

/// Everything that Lockkeeper writes begins with this.
pub const PREFIX: &str = "lockkeeper.dev/";

/// On a workload, by the operator: which policy governs it.
pub const GOVERNANCE: &str = "lockkeeper.dev/governance";
/// On a workload, by the operator: the digests of the config that its pods were asked to start
/// with, and are known to have started with.
pub const CONFIG: &str = "lockkeeper.dev/config";
/// On a workload, by the operator: the times of its config rollouts within the limit's window.
pub const ROLLOUTS: &str = "lockkeeper.dev/rollouts";
/// On a workload, by the operator: what became of the last rollout that was let through, and which
/// revision was last rolled out.
pub const ROLLOUT: &str = "lockkeeper.dev/rollout";
/// On a workload, by the operator: the record of its last changes, chained by the digest key.
pub const HISTORY: &str = "lockkeeper.dev/history";
/// On a workload, by a user: what they say about the change that comes with it, for the record.
pub const NOTE: &str = "lockkeeper.dev/note";
/// On a pod template, by the operator: changes with each config rollout, and so makes one.
pub const CONFIG_HASH: &str = "lockkeeper.dev/config-hash";

/// On a workload, by the operator or by a chart from birth: label of what is governed. The
/// admission policies select on it.
pub const GOVERNED: &str = "lockkeeper.dev/governed";
/// On a workload, by the operator or by a chart from birth, `"true"`: its template changes are
/// held.
pub const HOLD_CHANGES: &str = "lockkeeper.dev/hold-changes";
/// On a Deployment that has no replicas, by the operator, `"true"`: its template changes are held
/// too. Paused and scaled up, it starts what it ran last.
pub const HOLD_AT_ZERO: &str = "lockkeeper.dev/hold-at-zero";
/// On a workload, by admission: `<id> by <user>`, the change that is held. The operator releases by
/// removing it.
pub const HOLD: &str = "lockkeeper.dev/hold";
/// On a held workload, by admission, where several users changed the template since the revision
/// that runs: their names with a space between, in which a space is `%20` and a percent sign `%25`.
/// Beyond sixteen names it ends with `%more`.
pub const AUTHORS: &str = "lockkeeper.dev/authors";
/// On a held Deployment, by admission: what the manifest last asked for in `spec.paused`.
pub const DECLARED_PAUSED: &str = "lockkeeper.dev/declared-paused";
/// On a held StatefulSet, by admission: what the manifest last asked for as partition.
pub const DECLARED_PARTITION: &str = "lockkeeper.dev/declared-partition";
/// On a held workload, by admission: `<declared> of <running>`, the fewer replicas that its
/// manifest asks for and that wait for the release.
pub const DECLARED_REPLICAS: &str = "lockkeeper.dev/declared-replicas";
/// On a held StatefulSet, by admission: the type of update strategy that its manifest last asked
/// for, where that is not RollingUpdate.
pub const DECLARED_UPDATE_STRATEGY: &str = "lockkeeper.dev/declared-update-strategy";
/// On a workload, by the operator: since when a change waits.
pub const HOLD_SINCE: &str = "lockkeeper.dev/hold-since";
/// On a workload, by the operator: the id of a config change that waits for gates.
pub const PENDING_CONFIG: &str = "lockkeeper.dev/pending-config";
/// On a workload whose annotations are nearly full, by the operator: as long as the marks of a
/// hold. Admission gives it up for them.
pub const RESERVED: &str = "lockkeeper.dev/reserved";
/// On a workload, by a user with the verb `approve`: the id of the change that is approved.
pub const APPROVE: &str = "lockkeeper.dev/approve";
/// On a workload, by admission: who approved.
pub const APPROVED_BY: &str = "lockkeeper.dev/approved-by";
/// On a workload, by a user with the verb `bypass`: the id of the change that is let through. Used
/// up by the write that brings it.
pub const BYPASS: &str = "lockkeeper.dev/bypass";
/// On a workload, by admission: `<id> by <user>`, whose bypass let a change through.
pub const BYPASSED_BY: &str = "lockkeeper.dev/bypassed-by";

/// On a workload, by a user with the verb `maintain`: `Stop`, `Sleep [keep=a,b] [root=c]` or `Off`.
/// It stays until another word replaces it.
pub const MAINTENANCE: &str = "lockkeeper.dev/maintenance";
/// On a workload, by admission: who wrote that.
pub const MAINTENANCE_BY: &str = "lockkeeper.dev/maintenance-by";
/// On a workload, by a user: `Offline`, where its policy says `offline.when: Asked`. Its changes are
/// offline upgrades.
pub const UPGRADE: &str = "lockkeeper.dev/upgrade";
/// On a workload, by a user with the verb `maintain`: the id of the change for which its data is
/// migrated.
pub const MIGRATED: &str = "lockkeeper.dev/migrated";
/// On a workload, by the operator: how far its maintenance is. Admission writes a label, an
/// annotation and a scheduling gate of the same name into its pod template, and nothing else.
pub const IN_MAINTENANCE: &str = "lockkeeper.dev/in-maintenance";
/// On a workload that maintenance has stopped, by admission: the replicas that its manifest
/// declares.
pub const MAINTENANCE_REPLICAS: &str = "lockkeeper.dev/maintenance-replicas";

/// On a StatefulSet, by the operator: the partition that admission sets while pods go one by one.
/// One that stood before it governed is not trusted.
pub const PARTITION: &str = "lockkeeper.dev/partition";
/// On a Deployment, by the operator, `exclusive`: admission makes its strategy `Recreate`. One that
/// stood before it governed is not trusted.
pub const VOLUME_ACCESS: &str = "lockkeeper.dev/volume-access";
/// On such a Deployment, by admission: `<maxSurge>|<maxUnavailable>` of the strategy that its
/// manifest last asked for.
pub const DECLARED_STRATEGY: &str = "lockkeeper.dev/declared-strategy";

/// On a claim and its volume, by the operator, as a label with the value `"true"`: the volume's
/// data is kept. The reclaim policy of the volume is `Retain`, and admission puts on the claim what
/// keeps Helm, Argo CD and Flux from deleting it.
pub const RETAINED: &str = "lockkeeper.dev/retained";
/// On a claim or namespace, by the operator, as a label with the value `"true"`: admission refuses
/// its deletion.
pub const PROTECTED: &str = "lockkeeper.dev/protected";
/// On a retained claim and its volume, by the operator: whose data it is, see
/// [`Provenance`](crate::marks::provenance::Provenance).
pub const PROVENANCE: &str = "lockkeeper.dev/provenance";
/// On a retained volume, by the operator: its reclaim policy before it was retained.
pub const ORIGINAL_RECLAIM_POLICY: &str = "lockkeeper.dev/original-reclaim-policy";
/// On a retained claim, by the operator: since when nothing refers to it.
pub const ORPHANED_SINCE: &str = "lockkeeper.dev/orphaned-since";
/// On a protected namespace, by the operator: the claims in it whose deletion is refused and not
/// allowed yet, `, ` between them. Admission names them, for it sees no other object than the one
/// that is written.
pub const PROTECTED_CLAIMS: &str = "lockkeeper.dev/protected-claims";
/// On a namespace, by the platform, as a label with the value `"true"`: its consent to protection
/// Deny. Never written by the operator.
pub const ALLOW_DENY: &str = "lockkeeper.dev/allow-deny";
/// On a protected claim or namespace, by a user with the verb `unprotect`: it may be deleted until
/// then, at most 24 hours ahead.
pub const ALLOW_DELETION_UNTIL: &str = "lockkeeper.dev/allow-deletion-until";
/// On a claim, by a user with the verb `unprotect`: the name of its volume, whose data need not be
/// kept any more. On a volume that is left, by those who may write volumes: its own name.
pub const UNPROTECT: &str = "lockkeeper.dev/unprotect";
/// On a namespace, by a user with the verb `unprotect`: the uid of the namespace of the same name
/// that was there before, whose volumes may be found again. On a volume, by those who may write
/// volumes: the uid of the namespace whose next claim of its name gets it.
pub const READOPT: &str = "lockkeeper.dev/readopt";
/// On a volume, by the plugin while it creates a claim again for it: that claim as JSON, so that it
/// is not lost half-way.
pub const READOPT_CLAIM: &str = "lockkeeper.dev/readopt-claim";

/// On a retained claim, by the operator: the uids of the Deployments that owned it, ` ` between
/// them. Who puts one back is not fought.
pub const DISOWNED: &str = "lockkeeper.dev/disowned";
/// On a volume, by the operator: it made it free for the next claim of its name, and may take that
/// back.
pub const FREED: &str = "lockkeeper.dev/freed";

/// On a claim, by a user with the verb `convert`: the name of the claim that gets its volume, such as
/// `data-web-0`. On the claim that has the volume, its own name: the conversion is over.
pub const BECOMES: &str = "lockkeeper.dev/becomes";
/// On a volume, by the operator: `<claim> <claim>`, the two claims that it may be given to as long as
/// this stands.
pub const CONVERSION: &str = "lockkeeper.dev/conversion";
/// On a namespace, by the operator, as a label with the value `"true"`: admission heeds the names of
/// claims that are reserved in it.
pub const RESERVES_CLAIMS: &str = "lockkeeper.dev/reserves-claims";
/// On such a namespace, by the operator: `<claim>=<volume>`, with commas between. A claim that is
/// created with that name gets that volume, and no other.
pub const RESERVED_CLAIMS: &str = "lockkeeper.dev/reserved-claims";

/// On a VolumeSnapshot, by the operator, as a label: the id of the change before which it was taken.
pub const CHANGE: &str = "lockkeeper.dev/change";
/// On a VolumeSnapshot, by the operator, as a label: the uid of the workload that was to change.
pub const WORKLOAD_UID: &str = "lockkeeper.dev/workload-uid";
/// On a VolumeSnapshot, by the operator, as a label: the uid of its claim. A later claim of that name
/// has other data.
pub const CLAIM_UID: &str = "lockkeeper.dev/claim-uid";

/// What Helm, Argo CD and Flux heed on a claim, and the value that keeps them from deleting it.
pub const SHIELDS: [(&str, &str); 3] = [
    ("helm.sh/resource-policy", "keep"),
    ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];

/// On a workload, by users: what its app gate is otherwise than its policy says, such as
/// `port=8081,path=/up`.
pub const APP_GATE: &str = "lockkeeper.dev/app-gate";
/// On a Secret, by its owner, as a label with the value `"true"`: it may be used in the header of
/// an app gate.
pub const GATE_CREDENTIAL: &str = "lockkeeper.dev/gate-credential";
/// By users, `"true"`: on a workload, it is not governed; on a ConfigMap or Secret, its changes
/// roll nothing.
pub const IGNORE: &str = "lockkeeper.dev/ignore";

/// On the operator's Deployment, by its administrator, `Release` or `Refuse`: what becomes of held
/// changes when it is uninstalled, whatever the chart's value says.
pub const UNINSTALL: &str = "lockkeeper.dev/uninstall";

/// On the operator's Lease, by the operator, in dry runs only: asks who judges writes. Each judge
/// adds its name.
pub const PROBE: &str = "lockkeeper.dev/probe";

/// The field manager of every write of the operator. Not one that begins with `kubectl`: Flux
/// undoes those.
pub const FIELD_MANAGER: &str = "lockkeeper";

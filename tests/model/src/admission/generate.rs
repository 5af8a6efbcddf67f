//! Writes made up from a seed, for the twin and a real API server alike: the marks of the old
//! object are anybody's guess, its fields are valid. Nothing is left to defaulting that a policy
//! looks at.

use serde_json::{Map, Value, json};

use super::{HELD, OPERATOR, Operation, Write};

/// A write that was made up.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedWrite {
    /// Deployment, StatefulSet or DaemonSet.
    pub kind: &'static str,
    /// The object before, of generation 1 and in the namespace "shop"; none when it is created.
    pub old: Option<Value>,
    /// The object as it is submitted. Its name is another in each write.
    pub new: Value,
    /// Who writes: dev, approver, admin or the operator.
    pub user: &'static str,
    /// The verbs that they have.
    pub verbs: &'static [&'static str],
    /// What was done to the object, to be read.
    pub edits: Vec<&'static str>,
}

impl GeneratedWrite {
    /// As the twin takes it.
    pub fn write(&self) -> Write<'_> {
        let operation = if self.old.is_some() { Operation::Update } else { Operation::Create };
        Write {
            kind: self.kind,
            operation,
            old: self.old.as_ref(),
            new: &self.new,
            user: self.user,
            verbs: self.verbs,
        }
    }
}

/// Makes up writes, the same ones for the same seed.
pub fn writes(seed: u64, count: usize) -> Vec<GeneratedWrite> {
    let mut dice = Dice(seed);
    (0..count).map(|index| generate(&mut dice, index)).collect()
}

const USERS: [(&str, &[&str]); 4] =
    [("dev", &[]), ("approver", &["approve"]), ("admin", &["approve", "bypass"]), (OPERATOR, &[])];

/// Our marks, with values that count, that do not, and that are garbage.
const MARKS: [(&str, &[&str]); 23] = [
    (
        "hold",
        &[
            "7 by dev",
            "7 by system:serviceaccount:argo:sync",
            "7 by 50% of R&D",
            "2 by dev",
            "07 by dev",
            "7",
            "7 by ",
            "x7 by dev",
            "by dev",
            "",
        ],
    ),
    ("hold-changes", &["true", "true", "true", "false", "yes"]),
    ("hold-at-zero", &["true", "true", "false", ""]),
    (
        "hold-since",
        &[
            "2026-11-20T10:00:00Z",
            "never",
            "7 2026-11-20T10:00:00Z",
            "7 2026-11-20T10:00:00Z ann lee",
            "c-0a1b2c3d 2026-11-20T10:00:00Z",
            "7 ",
        ],
    ),
    ("declared-paused", &["true", "false", "True", ""]),
    ("declared-partition", &["0", "2", "007", "2147483647", "2147483648", "-1", "x", ""]),
    (
        "declared-replicas",
        &[
            "1 of 3",
            "0 of 3",
            "0 of 1",
            "3 of 1",
            "1 of 3 of 3",
            "01 of 3",
            "9999999999 of 9999999999",
            "1",
            "",
        ],
    ),
    (
        "declared-strategy",
        &[
            "1|0",
            "25%|25%",
            "200%|100%",
            "0|007",
            "10%|1",
            "0|0",
            "0%|00",
            "x|y",
            "1|200%",
            "99999999999|0",
            "1",
            "|",
            "1|2|3",
            "",
        ],
    ),
    ("declared-update-strategy", &["OnDelete", "RollingUpdate", "x", ""]),
    ("partition", &["0", "1", "2", "2147483647", "2147483648", "99999999999", "-1", "x", ""]),
    ("volume-access", &["exclusive", "exclusive", "shared", ""]),
    ("pending-config", &["c1", "c2", "7", ""]),
    ("approve", &["7", "2", "6", "c1", "next", ""]),
    ("approved-by", &["approver", "mallory", ""]),
    ("bypass", &["7", "2", "6", "c1", "next", ""]),
    ("bypassed-by", &["7 by admin", "6 by admin", ""]),
    (
        "authors",
        &[
            "dev bot",
            "bot approver",
            "R&D%20team bot",
            "a b c d e f g h i j k l m n o p",
            "a b c d e f g h i j k l m n o p %more",
            "",
            " ",
        ],
    ),
    ("ignore", &["true", "false", ""]),
    ("config", &["settings", ""]),
    ("governance", &["{\"policy\":\"shop\"}"]),
    ("rollout", &["7"]),
    ("rollouts", &["[]"]),
    ("reserved", &["......", "......", "x", ""]),
];

/// The numbers of splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or_default()
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn generate(dice: &mut Dice, index: usize) -> GeneratedWrite {
    let kind = dice.one(&[
        "Deployment",
        "Deployment",
        "Deployment",
        "StatefulSet",
        "StatefulSet",
        "StatefulSet",
        "DaemonSet",
    ]);
    let (user, verbs) = dice.one(&USERS);
    let old = object(dice, kind, index);
    let mut new = old.clone();
    let mut edits = Vec::new();
    for _ in 0..=dice.below(3) {
        edits.push(edit(dice, kind, &mut new));
    }
    let old = if dice.percent(8) { None } else { Some(old) };
    GeneratedWrite { kind, old, new, user, verbs, edits }
}

fn object(dice: &mut Dice, kind: &str, index: usize) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "app:v1"}]}},
    });
    if kind != "DaemonSet" {
        spec["replicas"] = json!(dice.one(&[0, 1, 3, 3]));
    }
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("web");
    }
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": format!("web-{index}"), "namespace": "shop", "generation": 1},
        "spec": spec,
    });
    strategy(dice, kind, &mut object);
    if kind == "Deployment" && dice.percent(40) {
        object["spec"]["paused"] = json!(true);
    }
    if dice.percent(35) {
        put(&mut object["spec"]["template"], "annotations", "lockkeeper.dev/config-hash", "c1");
    }
    if dice.percent(20) {
        put(&mut object["spec"]["template"], "annotations", "example.com/a", "1");
    }
    if dice.percent(80) {
        put(
            &mut object,
            "labels",
            "lockkeeper.dev/governed",
            if dice.percent(90) { "true" } else { dice.one(&["false", ""]) },
        );
    }
    if dice.percent(60) {
        put(&mut object, "labels", "app", "web");
    }
    if dice.percent(30) {
        put(&mut object, "annotations", "example.com/a", "1");
    }
    // A third like the operator's own, a third with any marks, a third with but one or two.
    match dice.below(3) {
        0 => governed_marks(dice, kind, &mut object),
        1 => (0..dice.below(12)).for_each(|_| forge(dice, &mut object)),
        _ => {
            governed_marks(dice, kind, &mut object);
            (0..=dice.below(2)).for_each(|_| forge(dice, &mut object));
        }
    }
    object
}

/// Marks as they stand on a workload whose changes are held, and maybe one is.
fn governed_marks(dice: &mut Dice, kind: &str, object: &mut Value) {
    mark(object, "hold-changes", "true");
    if kind == "Deployment" && dice.percent(30) {
        mark(object, "hold-at-zero", "true");
        if dice.percent(30) {
            object["spec"]["revisionHistoryLimit"] = json!(0);
        }
    }
    if dice.percent(60) {
        mark(object, "hold", "7 by dev");
        mark(object, "hold-since", "2026-11-20T10:00:00Z");
        match kind {
            "Deployment" => {
                mark(object, "declared-paused", dice.one(&["true", "false", "false"]));
                if dice.percent(90) {
                    object["spec"]["paused"] = json!(true);
                }
            }
            "StatefulSet" => {
                mark(object, "declared-partition", dice.one(&["0", "0", "2"]));
                if dice.percent(90) {
                    rolling(object, HELD);
                }
            }
            _ => {}
        }
        if dice.percent(30) && kind != "DaemonSet" {
            mark(object, "declared-replicas", dice.one(&["1 of 3", "1 of 3", "0 of 1"]));
        }
        if dice.percent(30) {
            mark(object, "authors", "bot dev");
        }
        if dice.percent(30) {
            mark(object, "approve", "7");
            mark(object, "approved-by", "approver");
        }
    }
    if kind == "StatefulSet" && dice.percent(25) {
        mark(object, "partition", "2");
        mark(object, "declared-partition", "0");
        rolling(object, 2);
    }
    if dice.percent(25) {
        mark(object, "pending-config", "c2");
    }
    if kind == "Deployment" && dice.percent(30) {
        mark(object, "volume-access", "exclusive");
        mark(object, "declared-strategy", "25%|1");
        object["spec"]["strategy"] = json!({"type": "Recreate"});
    }
}

/// One edit, and its name.
fn edit(dice: &mut Dice, kind: &str, object: &mut Value) -> &'static str {
    match dice.below(26) {
        0..=3 => {
            object["spec"]["template"]["spec"]["containers"][0]["image"] =
                json!(dice.one(&["app:v1", "app:v2", "app:v3"]));
            "image"
        }
        4 | 24 if kind != "DaemonSet" => {
            object["spec"]["replicas"] = json!(dice.one(&[0, 1, 3]));
            "scale"
        }
        5 | 6 if kind == "Deployment" => {
            match dice.percent(50) {
                true => object["spec"]["paused"] = json!(true),
                false => take(&mut object["spec"], "paused"),
            }
            "paused"
        }
        5 | 6 if kind == "StatefulSet" => {
            rolling(object, dice.one(&[0, 1, 2, HELD]));
            "partition"
        }
        7 => {
            strategy(dice, kind, object);
            "strategy"
        }
        8 => {
            take(&mut object["metadata"], "annotations");
            "annotations dropped"
        }
        9 | 10 => {
            let (name, _) = dice.one(&MARKS);
            drop_mark(object, name);
            "mark dropped"
        }
        11..=13 => {
            forge(dice, object);
            "mark forged"
        }
        14 | 15 => {
            drop_mark(object, "hold");
            "hold dropped"
        }
        16 | 17 => {
            mark(object, "approve", dice.one(&["7", "7", "c2", "6", "2"]));
            "approve"
        }
        18 | 19 => {
            mark(object, "bypass", dice.one(&["7", "7", "c2", "6", "2"]));
            "bypass"
        }
        20 => {
            match dice.percent(50) {
                true => put(
                    &mut object["spec"]["template"],
                    "annotations",
                    "lockkeeper.dev/config-hash",
                    "c2",
                ),
                false => cut(
                    &mut object["spec"]["template"],
                    "annotations",
                    "lockkeeper.dev/config-hash",
                ),
            }
            "config-hash"
        }
        21 => {
            match dice.percent(50) {
                true => cut(object, "labels", "lockkeeper.dev/governed"),
                false => put(
                    object,
                    "labels",
                    "lockkeeper.dev/governed",
                    dice.one(&["true", "false", ""]),
                ),
            }
            "governed"
        }
        22 => {
            take(&mut object["metadata"], "labels");
            "labels dropped"
        }
        23 => {
            let template = &mut object["spec"]["template"];
            match dice.below(4) {
                0 => put(template, "annotations", "example.com/a", "2"),
                1 => cut(template, "annotations", "example.com/a"),
                2 => put(template, "labels", "tier", "front"),
                _ => take(&mut template["metadata"], "annotations"),
            }
            "template's metadata"
        }
        24 => {
            let field = dice.one(&["labels", "annotations"]);
            match dice.percent(50) {
                true => put(object, field, "example.com/a", "2"),
                false => cut(object, field, "example.com/a"),
            }
            "somebody else's"
        }
        _ => "nothing",
    }
}

/// How it rolls, of what the API server allows for its kind.
fn strategy(dice: &mut Dice, kind: &str, object: &mut Value) {
    match kind {
        "Deployment" if dice.percent(30) => {
            object["spec"]["strategy"] = json!({"type": "Recreate"})
        }
        "Deployment" => {
            let (max_surge, max_unavailable) =
                dice.one(&[("1", "0"), ("25%", "25%"), ("0", "1"), ("2", "50%")]);
            let value = |text: &str| {
                text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
            };
            let rolling_update =
                json!({"maxSurge": value(max_surge), "maxUnavailable": value(max_unavailable)});
            object["spec"]["strategy"] =
                json!({"type": "RollingUpdate", "rollingUpdate": rolling_update});
        }
        "StatefulSet" if dice.percent(25) => {
            object["spec"]["updateStrategy"] = json!({"type": "OnDelete"})
        }
        "StatefulSet" => rolling(object, dice.one(&[0, 0, 2])),
        _ => {
            object["spec"]["updateStrategy"] =
                json!({"type": dice.one(&["RollingUpdate", "OnDelete"])})
        }
    }
    if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" && kind == "DaemonSet" {
        object["spec"]["updateStrategy"]["rollingUpdate"] =
            json!({"maxSurge": 0, "maxUnavailable": 1});
    }
}

fn rolling(object: &mut Value, partition: i64) {
    object["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
}

fn forge(dice: &mut Dice, object: &mut Value) {
    let (name, values) = dice.one(&MARKS);
    mark(object, name, dice.one(values));
}

fn mark(object: &mut Value, name: &str, value: &str) {
    put(object, "annotations", &format!("lockkeeper.dev/{name}"), value);
}

fn drop_mark(object: &mut Value, name: &str) {
    cut(object, "annotations", &format!("lockkeeper.dev/{name}"));
}

fn put(object: &mut Value, field: &str, key: &str, value: &str) {
    object["metadata"][field][key] = json!(value);
}

/// Takes a label or annotation off, and the map with the last one.
fn cut(object: &mut Value, field: &str, key: &str) {
    let Some(map) = object["metadata"].get_mut(field).and_then(Value::as_object_mut) else {
        return;
    };
    map.remove(key);
    if map.is_empty() {
        take(&mut object["metadata"], field);
    }
}

fn take(object: &mut Value, field: &str) {
    object.as_object_mut().and_then(|fields: &mut Map<_, _>| fields.remove(field));
}

/// Makes up writes of claims and namespaces, the same ones for the same seed. Of the old object's
/// marks all can be brought about.
pub fn storage_writes(seed: u64, count: usize) -> Vec<GeneratedWrite> {
    let mut dice = Dice(seed);
    (0..count).map(|index| storage(&mut dice, index)).collect()
}

/// Labels and annotations that the policies for storage look at, with values that count and others.
const STORAGE_MARKS: [(&str, &str, &[&str]); 16] = [
    ("labels", "lockkeeper.dev/reserves-claims", &["true", "true", "false", ""]),
    ("annotations", "lockkeeper.dev/reserved-claims", &["data-web-0=pv-1", "web-data=pv-2"]),
    ("annotations", "lockkeeper.dev/becomes", &["data-web-0", "data", "Data"]),
    ("labels", "lockkeeper.dev/retained", &["true", "true", "true", "false", ""]),
    ("labels", "lockkeeper.dev/protected", &["true", "true", "false", ""]),
    ("labels", "lockkeeper.dev/allow-deny", &["true", "false"]),
    ("labels", "example.com/a", &["1", "2"]),
    ("annotations", "lockkeeper.dev/provenance", &["{}", "{\"claim\":\"data\"}"]),
    ("annotations", "lockkeeper.dev/orphaned-since", &["2026-11-20T10:00:00Z", "never"]),
    ("annotations", "lockkeeper.dev/protected-claims", &["data-0", "data-0, data-1", ""]),
    (
        "annotations",
        "lockkeeper.dev/allow-deletion-until",
        &["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2099-01-01T00:00:00Z", "soon"],
    ),
    ("annotations", "lockkeeper.dev/unprotect", &["pv-1", "pv-2", ""]),
    ("annotations", "lockkeeper.dev/readopt", &["u1", "u2", ""]),
    ("annotations", "helm.sh/resource-policy", &["keep", "keep", "delete"]),
    (
        "annotations",
        "argocd.argoproj.io/sync-options",
        &["Prune=false,Delete=false", "Prune=false"],
    ),
    ("annotations", "kustomize.toolkit.fluxcd.io/prune", &["disabled", "enabled"]),
];

const STORAGE_USERS: [(&str, &[&str]); 3] =
    [("dev", &[]), ("owner", &["unprotect", "convert"]), (OPERATOR, &[])];

fn storage(dice: &mut Dice, index: usize) -> GeneratedWrite {
    let kind = dice.one(&["PersistentVolumeClaim", "PersistentVolumeClaim", "Namespace"]);
    let (user, verbs) = dice.one(&STORAGE_USERS);
    let mut old = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": format!("data-{index}"), "generation": 1}});
    if kind == "PersistentVolumeClaim" {
        old["metadata"]["namespace"] = json!("shop");
        old["spec"] = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}});
    }
    for (field, name, values) in STORAGE_MARKS {
        if dice.percent(40) {
            put(&mut old, field, name, values[0]);
        }
    }
    let mut new = old.clone();
    let edits = (0..=dice.below(3)).map(|_| storage_edit(dice, &mut new)).collect();
    let old = if dice.percent(15) { None } else { Some(old) };
    GeneratedWrite { kind, old, new, user, verbs, edits }
}

fn storage_edit(dice: &mut Dice, object: &mut Value) -> &'static str {
    let (field, name, values) = dice.one(&STORAGE_MARKS);
    match dice.below(10) {
        0 => {
            take(&mut object["metadata"], dice.one(&["labels", "annotations"]));
            "labels or annotations dropped"
        }
        1..=3 => {
            cut(object, field, name);
            "mark dropped"
        }
        4 => "nothing",
        _ => {
            put(object, field, name, dice.one(values));
            "mark set"
        }
    }
}

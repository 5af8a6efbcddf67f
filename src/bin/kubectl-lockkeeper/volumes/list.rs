//! All data that is kept, read off the cluster itself: policy, release, namespace and operator may
//! be gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use jiff::Timestamp;
use lockkeeper::{
    api::Readopt,
    core::{
        observed::{
            Namespace,
            storage::{State, Volume, VolumePhase},
        },
        volumes::{finding::Kept, states},
    },
    marks::Provenance,
    shell::clock,
};
use serde::Serialize;

use super::{
    seen::{Seen, origin},
    size,
};
use crate::{
    Output,
    cluster::{Cluster, Failure},
};

/// A claim or a volume whose data is kept.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    state: &'static str,
    namespace: String,
    /// Whether the namespace is still the one that the data comes from.
    namespace_is: Whereabouts,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<String>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    readopt: Option<Readopt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reclaim_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_reclaim_policy: Option<String>,
}

/// What became of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Whereabouts {
    /// It is there.
    Same,
    /// There is none of this name.
    Gone,
    /// There is another one of this name, perhaps of another owner.
    CreatedAgain,
    /// It may not be read.
    Unknown,
}

/// Its use is not known, for not all that could use it may be read.
const UNKNOWN: &str = "Unknown";

/// Writes the list.
pub async fn run(cluster: &Cluster, all: bool, output: Output) -> Result<ExitCode, Failure> {
    let only = (!all).then_some(cluster.namespace.as_str());
    let seen = Seen::read(cluster, only).await?;
    let lines = lines(&seen, only, clock::now());
    match output {
        Output::Json | Output::Yaml => crate::output::data(output, &lines)?,
        Output::Table | Output::Wide if lines.is_empty() => match only {
            Some(namespace) => eprintln!("Lockkeeper keeps no data of namespace {namespace}."),
            None => eprintln!("Lockkeeper keeps no data."),
        },
        Output::Table | Output::Wide => {
            println!("{}", table(&lines, output == Output::Wide));
            advice(&lines).iter().for_each(|line| eprintln!("{line}"));
        }
    }
    seen.unseen.iter().for_each(|line| eprintln!("{line}"));
    Ok(ExitCode::SUCCESS)
}

/// What is kept of one namespace, or of all.
fn lines(seen: &Seen, only: Option<&str>, now: Timestamp) -> Vec<Line> {
    let mut names: BTreeSet<String> = seen.worlds.keys().cloned().collect();
    names.extend(
        seen.storage
            .volumes()
            .filter_map(|volume| volume.provenance().map(|of| of.namespace.clone())),
    );
    names.retain(|name| only.is_none_or(|only| only == name));
    let mut lines = Vec::new();
    let mut listed = BTreeSet::new();
    for name in &names {
        // Of one that is gone, or where there is nothing but volumes.
        let empty = Namespace { name: name.as_str().into(), ..Namespace::default() };
        let world = seen.worlds.get(name).unwrap_or(&empty);
        for kept in states(world, &seen.storage, now) {
            listed.extend(kept.volume.clone());
            lines.extend(line(seen, world, &kept));
        }
    }
    // What nobody can place: a claim that may not be read, or a volume from which somebody has
    // removed what it was for.
    for volume in
        seen.storage.volumes().filter(|volume| volume.retained && !listed.contains(&volume.name))
    {
        let (namespace, claim) = origin(volume).unzip();
        let namespace = namespace.unwrap_or_default();
        if only.is_some_and(|only| only != namespace) {
            continue;
        }
        let state =
            if volume.phase == VolumePhase::Bound { UNKNOWN } else { State::Released.as_str() };
        lines.push(of_volume(seen, state, namespace, claim, volume));
    }
    lines.sort_by(|a, b| {
        (&a.namespace, &a.claim, &a.volume).cmp(&(&b.namespace, &b.claim, &b.volume))
    });
    lines
}

fn line(seen: &Seen, world: &Namespace, kept: &Kept) -> Option<Line> {
    let volume = kept.volume.as_deref().and_then(|name| seen.storage.volume(name));
    let state = match kept.state {
        State::Idle | State::Orphaned if !seen.users_known => UNKNOWN,
        state => state.as_str(),
    };
    let Some(claim) = kept.claim.as_deref().and_then(|name| world.claims.get(name)) else {
        let claim = origin(volume?).map(|(_, claim)| claim);
        return Some(of_volume(seen, state, world.name.to_string(), claim, volume?));
    };
    // Another claim's volume says nothing of this one.
    let volume = volume.filter(|volume| volume.is_of(&world.name, claim));
    let provenance = volume.and_then(Volume::provenance).or(claim.marks.provenance.get());
    let since = match kept.state {
        State::Terminating => {
            seen.going.get(&(world.name.to_string(), claim.name.clone())).copied()
        }
        _ => claim.marks.orphaned_since.get().copied(),
    };
    let live = seen.storage.namespaces.get(&*world.name).map(|namespace| namespace.uid.to_string());
    Some(Line {
        state,
        namespace: world.name.to_string(),
        namespace_is: Whereabouts::Same,
        namespace_uid: live.or_else(|| Some(provenance.as_ref()?.namespace_uid.clone())),
        claim: Some(claim.name.clone()),
        claim_uid: Some(claim.uid.to_string()),
        volume: claim.volume.clone(),
        bytes: volume.map_or(claim.requested, |volume| volume.capacity),
        since,
        workload: provenance.as_ref().map(|of| of.workload.clone()),
        policy: provenance.as_ref().map(|of| of.policy.clone()),
        readopt: provenance.map(|of| of.readopt),
        reclaim_policy: volume.map(|volume| volume.reclaim_policy.clone()),
        original_reclaim_policy: volume
            .and_then(|volume| volume.marks.original_reclaim_policy.get())
            .map(ToString::to_string),
    })
}

fn of_volume(
    seen: &Seen,
    state: &'static str,
    namespace: String,
    claim: Option<String>,
    volume: &Volume,
) -> Line {
    let provenance = volume.provenance();
    Line {
        state,
        namespace_is: whereabouts(seen, &namespace, provenance.map(|of| &**of)),
        namespace,
        namespace_uid: provenance.as_ref().map(|of| of.namespace_uid.clone()),
        claim,
        claim_uid: provenance.as_ref().map(|of| of.claim_uid.clone()),
        volume: Some(volume.name.clone()),
        bytes: volume.capacity,
        since: volume.phase_since,
        workload: provenance.as_ref().map(|of| of.workload.clone()),
        policy: provenance.as_ref().map(|of| of.policy.clone()),
        readopt: provenance.map(|of| of.readopt),
        reclaim_policy: Some(volume.reclaim_policy.clone()),
        original_reclaim_policy: volume
            .marks
            .original_reclaim_policy
            .get()
            .map(ToString::to_string),
    }
}

fn whereabouts(seen: &Seen, name: &str, of: Option<&Provenance>) -> Whereabouts {
    match (seen.storage.namespaces.get(name), of) {
        (Some(namespace), Some(of)) if *namespace.uid != *of.namespace_uid => {
            Whereabouts::CreatedAgain
        }
        (Some(_), _) => Whereabouts::Same,
        (None, _) if seen.namespaces_known => Whereabouts::Gone,
        (None, _) => Whereabouts::Unknown,
    }
}

fn table(lines: &[Line], wide: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header =
        vec!["STATE", "NAMESPACE", "CLAIM", "VOLUME", "SIZE", "SINCE", "WORKLOAD", "POLICY"];
    if wide {
        header.extend(["RECLAIM", "ORIGINAL", "NAMESPACE-UID", "CLAIM-UID"]);
    }
    table.set_header(header);
    let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for line in lines {
        let mut row = vec![
            line.state.to_owned(),
            match line.namespace_is {
                Whereabouts::Gone => format!("{} (gone)", line.namespace),
                Whereabouts::CreatedAgain => format!("{} (created again)", line.namespace),
                Whereabouts::Same | Whereabouts::Unknown => line.namespace.clone(),
            },
            cell(&line.claim),
            cell(&line.volume),
            size(line.bytes),
            line.since.map_or_else(|| "-".to_owned(), |since| since.to_string()),
            cell(&line.workload),
            cell(&line.policy),
        ];
        if wide {
            row.extend(
                [
                    &line.reclaim_policy,
                    &line.original_reclaim_policy,
                    &line.namespace_uid,
                    &line.claim_uid,
                ]
                .map(cell),
            );
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// What a user has to do, a line each, and what it all costs.
fn advice(lines: &[Line]) -> Vec<String> {
    let of = |state: State| {
        lines.iter().filter(move |line| line.state == state.as_str()).collect::<Vec<_>>()
    };
    let name = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut said = Vec::new();
    if let Some((first, more)) = of(State::Terminating).split_first() {
        said.push(format!(
            "Terminating: claim {}{} is deleted when its pods are gone, and this cannot be undone. Its volume is kept, and the next claim of that name \
             gets it.",
            name(&first.claim),
            and_more(more.len())
        ));
    }
    if let Some((first, more)) = of(State::Shadowed).split_first() {
        said.push(format!(
            "Shadowed: claim {} has another volume than the one with its earlier data{}. To give it that one: kubectl lockkeeper volumes readopt -n {} {}",
            name(&first.claim),
            and_more(more.len()),
            first.namespace,
            name(&first.volume)
        ));
    }
    if let Some((first, more)) = of(State::Lost).split_first() {
        let (claim, volume) = (name(&first.claim), name(&first.volume));
        // A claim that was created again with its binding names a volume that is kept.
        let cure = match of(State::Released)
            .iter()
            .any(|line| line.volume.is_some() && line.volume == first.volume)
        {
            true => format!(
                "its data is kept. To give it back: kubectl lockkeeper volumes readopt -n {} {volume}",
                first.namespace
            ),
            false => "restore it from a backup".to_owned(),
        };
        said.push(format!(
            "Lost: claim {claim}{} does not have its volume {volume}; {cure}.",
            and_more(more.len())
        ));
    }
    said.extend(of_earlier_namespaces(&of(State::Released)));
    let mut waiting: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in of(State::Released).iter().filter(|line| {
        line.namespace_is == Whereabouts::Same && line.readopt != Some(Readopt::Never)
    }) {
        *waiting
            .entry((&line.namespace, line.claim.as_deref().unwrap_or_default()))
            .or_default() += 1;
    }
    for ((namespace, claim), count) in waiting.into_iter().filter(|(_, count)| *count > 1) {
        said.push(format!(
            "Released: {count} volumes hold data of claim {claim}, so none is given to the next claim. To choose one: kubectl lockkeeper volumes readopt -n \
             {namespace} VOLUME"
        ));
    }
    if let Some((first, more)) = of(State::Orphaned).split_first() {
        said.push(format!(
            "Orphaned: nothing uses claim {}{}. If the data is not wanted: kubectl lockkeeper volumes unprotect -n {} {}, then kubectl \
             delete pvc",
            name(&first.claim),
            and_more(more.len()),
            first.namespace,
            name(&first.claim)
        ));
    }
    let idle =
        [State::Released, State::Orphaned, State::Shadowed, State::Idle].into_iter().flat_map(of);
    let bytes = |lines: &mut dyn Iterator<Item = &Line>| {
        size(lines.fold(0, |sum, line| sum.saturating_add(line.bytes)))
    };
    let (all, unused) = (
        bytes(&mut lines.iter().filter(|line| line.state != State::Lost.as_str())),
        bytes(&mut idle.into_iter()),
    );
    said.push(format!(
        "{all} kept in total, of which {unused} is not in use. Lockkeeper never deletes any of it."
    ));
    said
}

fn of_earlier_namespaces(released: &[&Line]) -> Vec<String> {
    let mut by_namespace: BTreeMap<(Whereabouts, &str, &str), usize> = BTreeMap::new();
    for line in released {
        if let Some(uid) = line.namespace_uid.as_deref() {
            *by_namespace.entry((line.namespace_is, &line.namespace, uid)).or_default() += 1;
        }
    }
    let sentence = |((is, namespace, uid), count): ((Whereabouts, &str, &str), usize)| {
        let volumes = if count == 1 { "1 volume".to_owned() } else { format!("{count} volumes") };
        let command =
            format!("kubectl lockkeeper volumes readopt -n {namespace} --from-namespace {uid}");
        match is {
            Whereabouts::CreatedAgain => Some(format!(
                "Released: {volumes} of an earlier namespace {namespace}; somebody else may own the current one. To give them to it: {command}"
            )),
            Whereabouts::Gone => Some(format!(
                "Released: {volumes} of namespace {namespace}, which is gone. To get them back, create the namespace, then run: {command}"
            )),
            Whereabouts::Same | Whereabouts::Unknown => None,
        }
    };
    by_namespace.into_iter().filter_map(sentence).collect()
}

fn and_more(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper::{api::marks, core::observed::storage::Storage};
    use serde_json::{Value, json};

    use super::*;
    use crate::volumes::seen::{claim_view, namespace_view, volume_view};

    fn provenance(namespace: &str, uid: &str, claim: &str, volume: &str) -> String {
        let text = json!({
            "namespace": namespace, "namespaceUid": uid, "claim": claim, "claimUid": format!("uid-{claim}"), "volume": volume,
            "workload": "Deployment/web", "policy": "shop", "orphanedAfter": "10m", "readopt": "SameNamespace"
        });
        text.to_string()
    }

    fn volume(
        seen: &mut Seen,
        name: &str,
        (namespace, uid, claim): (&str, &str, &str),
        bound: bool,
        created: &str,
    ) {
        let annotations = json!({marks::PROVENANCE: provenance(namespace, uid, claim, name), marks::ORIGINAL_RECLAIM_POLICY: "Delete"});
        let raw = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": created, "labels": {marks::RETAINED: "true"}, "annotations": annotations},
            "spec": {"capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": namespace, "name": claim, "uid": format!("uid-{claim}")}},
            "status": {"phase": if bound { "Bound" } else { "Released" }, "lastPhaseTransitionTime": "2026-11-20T10:00:00Z"}
        });
        seen.storage.insert(volume_view(raw).unwrap().view);
    }

    fn claim(seen: &mut Seen, name: &str, volume: &str, more: Value) {
        let mut raw = json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {marks::RETAINED: "true"}, "annotations": more},
            "spec": {"volumeName": volume}, "status": {"phase": "Bound"}
        });
        if name == "lost" {
            raw["status"]["phase"] = json!("Lost");
        }
        let view = claim_view(&raw).unwrap();
        let empty = || Namespace { name: "shop".into(), ..Namespace::default() };
        seen.worlds
            .entry("shop".to_owned())
            .or_insert_with(empty)
            .claims
            .insert(name.to_owned(), view);
    }

    /// Something of everything.
    fn everything() -> Seen {
        let mut seen = Seen {
            storage: Storage::default(),
            namespaces_known: true,
            users_known: true,
            ..Seen::default()
        };
        let namespace = namespace_view(&json!({"metadata": {"name": "shop", "uid": "2"}})).unwrap();
        seen.storage.namespaces.insert("shop".to_owned(), namespace);
        let (then, later) = ("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z");
        for (name, since) in
            [("idle", "2026-11-20T11:59:00Z"), ("orphaned", "2026-11-20T09:00:00Z")]
        {
            claim(&mut seen, name, &format!("pv-{name}"), json!({marks::ORPHANED_SINCE: since}));
            volume(&mut seen, &format!("pv-{name}"), ("shop", "2", name), true, then);
        }
        claim(
            &mut seen,
            "lost",
            "pv-lost",
            json!({marks::PROVENANCE: provenance("shop", "2", "lost", "pv-lost")}),
        );
        claim(&mut seen, "taken", "pv-younger", json!({}));
        volume(&mut seen, "pv-younger", ("shop", "2", "taken"), true, later);
        volume(&mut seen, "pv-older", ("shop", "2", "taken"), false, then);
        volume(&mut seen, "pv-before", ("shop", "1", "data"), false, then);
        volume(&mut seen, "pv-twice-a", ("shop", "2", "twice"), false, then);
        volume(&mut seen, "pv-twice-b", ("shop", "2", "twice"), false, then);
        volume(&mut seen, "pv-gone", ("old", "7", "data"), false, then);
        seen
    }

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn everything_that_is_kept_is_listed_once_with_its_state() {
        let lines = lines(&everything(), None, now());
        let of: Vec<_> = lines
            .iter()
            .map(|line| (line.volume.as_deref().unwrap(), line.state, line.namespace_is))
            .collect();
        use Whereabouts::{CreatedAgain, Gone, Same};
        assert_eq!(
            of,
            [
                ("pv-gone", "Released", Gone),
                ("pv-before", "Released", CreatedAgain),
                ("pv-idle", "Idle", Same),
                ("pv-lost", "Lost", Same),
                ("pv-orphaned", "Orphaned", Same),
                ("pv-older", "Shadowed", Same),
                ("pv-younger", "Idle", Same),
                ("pv-twice-a", "Released", Same),
                ("pv-twice-b", "Released", Same),
            ]
        );
    }

    #[test]
    fn a_namespace_is_listed_with_what_earlier_ones_of_its_name_left() {
        let lines = lines(&everything(), Some("shop"), now());
        assert!(lines.iter().all(|line| line.namespace == "shop"));
        assert!(lines.iter().any(|line| line.volume.as_deref() == Some("pv-before")));
    }

    #[test]
    fn who_uses_a_claim_is_not_known_where_that_may_not_be_read() {
        let seen = Seen { users_known: false, ..everything() };
        let of = |name: &str| {
            lines(&seen, None, now())
                .into_iter()
                .find(|line| line.volume.as_deref() == Some(name))
                .unwrap()
                .state
        };
        assert_eq!(
            ["pv-idle", "pv-orphaned", "pv-lost", "pv-older", "pv-gone"].map(of),
            [UNKNOWN, UNKNOWN, "Lost", "Shadowed", "Released"]
        );
    }

    #[test]
    fn what_needs_somebody_comes_with_the_command() {
        let said = advice(&lines(&everything(), None, now())).join("\n");
        for part in [
            "volumes readopt -n shop pv-older",
            "Lost: claim lost does not have its volume pv-lost",
            "1 volume of an earlier namespace shop; somebody else may own the current one. To give them to it: kubectl lockkeeper volumes readopt -n shop --from-namespace 1",
            "1 volume of namespace old, which is gone",
            "--from-namespace 7",
            "2 volumes hold data of claim twice",
            "unprotect -n shop orphaned",
            "8Gi kept in total, of which 8Gi is not in use",
        ] {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
        assert_eq!(advice(&[]).len(), 1);
    }
}

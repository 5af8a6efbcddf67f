//! What is kept of a namespace from one decision to the next, so that an event costs what it
//! concerns: which policy governs each workload, what is counted of those at rest, and who reads
//! what. A decision by a ledger is the same as one from scratch; the simulation compares them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::sorted::{BLANK, Counted, Resting, Sorted, Stirring, Surroundings};
use crate::core::{
    governs::{Policies, Standing},
    memory::{self, Rest},
    observed::{ConfigId, Namespace, Reference, Uid, Workload, WorkloadId},
    plan::ungoverned,
    rest::{News, includes},
};

/// More text of those that a policy does not govern than a condition shows.
const LEFT_OUT_LIMIT: usize = 8192;

/// What is kept of one namespace. An empty one knows nothing yet.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// All workloads of the namespace were taken in.
    complete: bool,
    lines: HashMap<Uid, Line>,
    /// Those that each decision looks at.
    stirring: BTreeSet<Uid>,
    policies: BTreeMap<Arc<str>, OfPolicy>,
    /// When those at rest are to be looked at again.
    wakes: BTreeSet<(Timestamp, Uid)>,
    readers: Readers,
}

/// What is kept of a workload that a policy selects, or that bears something of ours.
#[derive(Debug, Clone)]
struct Line {
    id: WorkloadId,
    whose: Whose,
    /// The policies that select it and do not govern it, or not for everything.
    left_out: Box<[Arc<str>]>,
    /// When its template changed last.
    changed_at: Option<Timestamp>,
    /// It is at rest, and only counted.
    rest: Option<AtRest>,
    /// What it may read.
    reads: Box<[Arc<[Reference]>]>,
}

/// A [`Standing`], by the name of the policy.
#[derive(Debug, Clone)]
enum Whose {
    Governed(Arc<str>),
    Frozen(Arc<str>),
    LeftOut,
    Unselected,
}

/// What is counted of a workload at rest.
#[derive(Debug, Clone, Copy)]
struct AtRest {
    /// Its app gate was never tried.
    unasked: bool,
    wake: Option<Timestamp>,
}

/// What is kept by policy.
#[derive(Debug, Clone, Default)]
struct OfPolicy {
    resting: Resting,
    /// When the template of one of its workloads changed last, and of how many it did then.
    changes: BTreeMap<Timestamp, u32>,
    /// Those that it selects and does not govern, or not for everything, each in a sentence.
    left_out: BTreeMap<WorkloadId, String>,
}

/// Who may read which ConfigMaps and Secrets.
#[derive(Debug, Clone, Default)]
struct Readers {
    by_name: HashMap<ConfigId, HashSet<Uid>>,
    /// Those that read by patterns.
    by_pattern: HashMap<Uid, Box<[Arc<[Reference]>]>>,
}

impl Ledger {
    /// Whether it counts workloads that no decision looks at.
    pub fn has_some_at_rest(&self) -> bool {
        self.lines.values().any(|line| line.rest.is_some())
    }

    /// Whether the news concern the namespace at all: most of the ConfigMaps and Secrets of a
    /// cluster no governed pod reads.
    pub fn concern(&self, namespace: &Namespace, news: &News) -> bool {
        if !news.of_config_alone() {
            return true;
        }
        if namespace.policies.is_empty() {
            return false;
        }
        !self.complete
            || news.config().any(|id| {
                self.readers.are_of(id)
                    || namespace.policies.keys().any(|policy| counts_in(namespace, policy, id))
            })
    }

    /// Takes in what has happened in the namespace.
    pub(super) fn heed(&mut self, namespace: &Namespace, news: &News, around: &Surroundings) {
        if news.is_whole() || !self.complete {
            *self = Self { complete: true, ..Self::default() };
            let policies = Policies::of(namespace);
            namespace.workloads.values().for_each(|one| self.enter(namespace, &policies, one));
        } else {
            self.take_in(namespace, news);
            self.wake(namespace, news, around.now);
        }
        for uid in self.stirring.iter().cloned().collect::<Vec<_>>() {
            self.settle(&uid, namespace, news, around);
        }
    }

    /// The workloads that are to be looked at, and what is counted of the others.
    pub(super) fn sort<'n, 'a>(
        &self,
        namespace: &'n Namespace,
        news: &News,
        around: &Surroundings<'a>,
    ) -> Sorted<'n, 'a> {
        let of_policies = namespace.policies.keys().filter_map(|name| {
            let (name, known) = (name.as_str(), self.policies.get(name.as_str())?);
            Some((name, known))
        });
        let of_policies: Vec<_> = of_policies.collect();
        let counted = Counted {
            resting: of_policies.iter().map(|(name, known)| (*name, known.resting)).collect(),
            wake: self.wakes.first().map(|(time, _)| *time),
            left_out: of_policies
                .iter()
                .map(|(name, known)| (*name, known.first_left_out()))
                .collect(),
        };
        let mut sorted = Sorted {
            still: BTreeMap::new(),
            stirring: Vec::new(),
            counted,
            last_changes: of_policies
                .iter()
                .filter_map(|(name, known)| Some((*name, known.last_change()?)))
                .collect(),
        };
        for (uid, line) in self.stirring.iter().filter_map(|uid| self.lines.get_key_value(uid)) {
            let Some(workload) = namespace.workloads.get(&line.id) else { continue };
            let memory = around.memories.get(uid).unwrap_or(&BLANK);
            let standing = line.whose.standing(namespace);
            let still = match standing {
                Standing::Governed(policy, spec) => {
                    let last_change = sorted.last_changes.get(policy.name.as_str()).copied();
                    Rest::still(memory, workload, spec, (news, last_change), around.now)
                }
                _ => None,
            };
            match still {
                Some(rest) => {
                    sorted.still.insert(&workload.id, (standing, rest, memory));
                }
                None => sorted.stirring.push(Stirring { workload, standing, memory }),
            }
        }
        sorted
    }

    /// The workloads that are named are judged by what they are now.
    fn take_in(&mut self, namespace: &Namespace, news: &News) {
        let mut policies = None;
        for (uid, id) in news.workloads() {
            let Some(id) = id.or_else(|| self.lines.get(uid).map(|line| &line.id)).cloned() else {
                continue;
            };
            self.leave(uid);
            let there = namespace.workloads.get(&id).filter(|workload| workload.uid == *uid);
            if let Some(workload) = there {
                let policies = policies.get_or_insert_with(|| Policies::of(namespace));
                self.enter(namespace, policies, workload);
            }
        }
    }

    /// Those at rest are looked at again that the news concern, or whose time has come.
    fn wake(&mut self, namespace: &Namespace, news: &News, now: Timestamp) {
        let due = self.wakes.iter().take_while(|(time, _)| *time <= now);
        let mut woken: Vec<_> = due.map(|(_, uid)| uid.clone()).collect();
        for id in news.config() {
            woken.extend(self.readers.of(id).cloned());
            let all: HashSet<_> =
                self.policies.keys().filter(|name| counts_in(namespace, name, id)).collect();
            if !all.is_empty() {
                let of_these = self.lines.iter().filter(|(_, line)| {
                    line.whose.policy().is_some_and(|policy| all.contains(policy))
                });
                woken.extend(of_these.map(|(uid, _)| uid.clone()));
            }
        }
        woken.iter().for_each(|uid| self.stir(uid));
    }

    fn enter(&mut self, namespace: &Namespace, policies: &Policies, workload: &Workload) {
        let (standing, out) = policies.standing(workload);
        let whose = Whose::of(standing, &mut self.policies);
        let mut left_out = Vec::new();
        for one in out {
            let name = name_of(&mut self.policies, &one.policy.name);
            let sentence = one.left_out.to_string();
            if let Some(of_policy) = self.policies.get_mut(&name) {
                of_policy.left_out.insert(workload.id.clone(), sentence);
            }
            left_out.push(name);
        }
        let uid = &workload.uid;
        let reads = if whose.policy().is_some() { reads(namespace, workload) } else { [].into() };
        self.readers.add(uid, &reads);
        let (id, left_out) = (workload.id.clone(), left_out.into());
        let line = Line { id, whose, left_out, changed_at: None, rest: None, reads };
        self.lines.insert(uid.clone(), line);
        self.stirring.insert(uid.clone());
    }

    fn leave(&mut self, uid: &Uid) {
        self.stir(uid);
        self.stirring.remove(uid);
        let Some(line) = self.lines.remove(uid) else { return };
        self.note_change(&line.whose, line.changed_at, None);
        for policy in &line.left_out {
            if let Some(of_policy) = self.policies.get_mut(policy) {
                of_policy.left_out.remove(&line.id);
            }
        }
        self.readers.remove(uid, &line.reads);
    }

    /// One that is at rest is to be looked at.
    fn stir(&mut self, uid: &Uid) {
        let Some(line) = self.lines.get_mut(uid) else { return };
        self.stirring.insert(uid.clone());
        let (Some(counted), Some(policy)) = (line.rest.take(), line.whose.policy()) else { return };
        if let Some(of_policy) = self.policies.get_mut(policy) {
            of_policy.resting.workloads -= 1;
            of_policy.resting.unasked -= usize::from(counted.unasked);
        }
        if let Some(wake) = counted.wake {
            self.wakes.remove(&(wake, uid.clone()));
        }
    }

    /// One that is looked at is at rest if nothing is to be said of it but that it is there.
    fn settle(&mut self, uid: &Uid, namespace: &Namespace, news: &News, around: &Surroundings) {
        let Some(line) = self.lines.get_mut(uid) else { return };
        let there = namespace.workloads.get(&line.id).filter(|workload| workload.uid == *uid);
        let Some(workload) = there else { return self.leave(uid) };
        let memory = around.memories.get(uid).unwrap_or(&BLANK);
        let (Whose::Governed(name) | Whose::Frozen(name)) = &line.whose else {
            if !ungoverned::is_left(workload, memory) {
                self.stirring.remove(uid);
                if line.left_out.is_empty() {
                    self.lines.remove(uid);
                }
            }
            return;
        };
        let changed_at = memory::template_changed_at(workload, memory, around.now);
        let before = std::mem::replace(&mut line.changed_at, changed_at);
        if before != changed_at
            && let Some(of_policy) = self.policies.get_mut(name)
        {
            of_policy.note_change(before, changed_at);
        }
        let rest = match line.whose.standing(namespace) {
            // What a policy's workloads do together does not concern one that is up to date.
            Standing::Governed(_, spec) if changed_at == memory.changed_at => {
                Rest::still(memory, workload, spec, (news, None), around.now)
            }
            _ => None,
        };
        let Some(rest) = rest.filter(|rest| rest.is_plain()) else { return };
        let counted = AtRest { unasked: !rest.report.app_gate.asked, wake: rest.wake };
        if let Some(of_policy) = self.policies.get_mut(name) {
            of_policy.resting.workloads += 1;
            of_policy.resting.unasked += usize::from(counted.unasked);
        }
        line.rest = Some(counted);
        self.stirring.remove(uid);
        self.wakes.extend(counted.wake.map(|wake| (wake, uid.clone())));
    }

    fn note_change(&mut self, whose: &Whose, before: Option<Timestamp>, now: Option<Timestamp>) {
        if let Some(of_policy) = whose.policy().and_then(|name| self.policies.get_mut(name)) {
            of_policy.note_change(before, now);
        }
    }
}

impl OfPolicy {
    fn note_change(&mut self, before: Option<Timestamp>, now: Option<Timestamp>) {
        if let Some(before) = before
            && let Some(count) = self.changes.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.changes.remove(&before);
            }
        }
        if let Some(now) = now {
            *self.changes.entry(now).or_default() += 1;
        }
    }

    fn last_change(&self) -> Option<Timestamp> {
        self.changes.last_key_value().map(|(time, _)| *time)
    }

    /// As many of those left out as are shown.
    fn first_left_out(&self) -> Vec<String> {
        let mut bytes = 0;
        let shown = self.left_out.values().take_while(|sentence| {
            let shows = bytes < LEFT_OUT_LIMIT;
            bytes += sentence.len();
            shows
        });
        shown.cloned().collect()
    }
}

impl Whose {
    fn of(standing: Standing, policies: &mut BTreeMap<Arc<str>, OfPolicy>) -> Self {
        match standing {
            Standing::Governed(policy, _) => Self::Governed(name_of(policies, &policy.name)),
            Standing::Frozen(policy) => Self::Frozen(name_of(policies, &policy.name)),
            Standing::LeftOut => Self::LeftOut,
            Standing::Unselected => Self::Unselected,
        }
    }

    fn policy(&self) -> Option<&Arc<str>> {
        match self {
            Self::Governed(policy) | Self::Frozen(policy) => Some(policy),
            Self::LeftOut | Self::Unselected => None,
        }
    }

    fn standing<'n>(&self, namespace: &'n Namespace) -> Standing<'n> {
        let policy = self.policy().and_then(|name| namespace.policies.get(&**name));
        match (self, policy) {
            (Self::Governed(_), Some(policy)) => match &policy.spec {
                Ok(spec) => Standing::Governed(policy, spec),
                Err(_) => Standing::Frozen(policy),
            },
            (Self::Frozen(_), Some(policy)) => Standing::Frozen(policy),
            (Self::LeftOut, _) => Standing::LeftOut,
            (Self::Unselected, _) | (_, None) => Standing::Unselected,
        }
    }
}

/// The name of a policy, which is there once.
fn name_of(policies: &mut BTreeMap<Arc<str>, OfPolicy>, name: &str) -> Arc<str> {
    if let Some((known, _)) = policies.get_key_value(name) {
        return known.clone();
    }
    let name: Arc<str> = name.into();
    policies.insert(name.clone(), OfPolicy::default());
    name
}

/// Whether a policy has this object counted for its workloads, whatever their templates say.
fn counts_in(namespace: &Namespace, policy: &str, id: &ConfigId) -> bool {
    let spec = namespace.policies.get(policy).and_then(|policy| policy.spec.as_ref().ok());
    let config = spec.and_then(|spec| spec.config.as_ref());
    config.is_some_and(|config| includes(config, id))
}

/// What a workload may read. One that is held is judged by what runs.
fn reads(namespace: &Namespace, workload: &Workload) -> Box<[Arc<[Reference]>]> {
    let sets = namespace.replica_sets.of(&workload.uid).map(|(_, set)| &set.references);
    let revisions = namespace.controller_revisions.of(&workload.uid);
    let revisions = revisions.map(|(_, revision)| &revision.references);
    let mut all = vec![workload.template.references.clone()];
    for more in sets.chain(revisions) {
        if !more.is_empty() && !all.contains(more) {
            all.push(more.clone());
        }
    }
    all.into()
}

impl Readers {
    fn of<'a>(&'a self, id: &'a ConfigId) -> impl Iterator<Item = &'a Uid> {
        let by_pattern = self.by_pattern.iter().filter(move |(_, all)| {
            all.iter().any(|some| some.iter().any(|reference| reference.names(id)))
        });
        self.by_name.get(id).into_iter().flatten().chain(by_pattern.map(|(uid, _)| uid))
    }

    fn are_of(&self, id: &ConfigId) -> bool {
        self.of(id).next().is_some()
    }

    fn add(&mut self, uid: &Uid, reads: &[Arc<[Reference]>]) {
        for reference in reads.iter().flat_map(|some| some.iter()) {
            if reference.is_glob() {
                self.by_pattern.insert(uid.clone(), reads.into());
            } else {
                self.by_name.entry(id_of(reference)).or_default().insert(uid.clone());
            }
        }
    }

    fn remove(&mut self, uid: &Uid, reads: &[Arc<[Reference]>]) {
        self.by_pattern.remove(uid);
        for reference in reads.iter().flat_map(|some| some.iter()) {
            let id = id_of(reference);
            if let Some(readers) = self.by_name.get_mut(&id) {
                readers.remove(uid);
                if readers.is_empty() {
                    self.by_name.remove(&id);
                }
            }
        }
    }
}

fn id_of(reference: &Reference) -> ConfigId {
    ConfigId { kind: reference.kind, name: reference.name.as_str().into() }
}

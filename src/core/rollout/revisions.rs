//! What the pods of a workload were made from, wherever the controller of its kind keeps that.

use std::{borrow::Cow, collections::BTreeSet};

use crate::core::{
    hold::state::Hold,
    observed::{
        ControllerRevision, Namespace, Owned, Pod, Reference, ReplicaSet, TemplateDigest, Workload,
        kind::RevisionsIn, version::Step, workload::Container,
    },
    request::FieldEdit,
    rollout::outcome::Outcome,
};

/// The revisions of one workload.
#[derive(Clone, Copy)]
pub struct Revisions<'a> {
    workload: &'a Workload,
    /// The value of the revision label that pods of its newest template carry, if the controller
    /// has got that far.
    pub newest: Option<&'a str>,
    kept: Kept<'a>,
}

#[derive(Clone, Copy)]
enum Kept<'a> {
    ReplicaSets(&'a [&'a ReplicaSet]),
    ControllerRevisions(&'a Owned<ControllerRevision>),
    Generations,
}

/// How a template is the one again that its pods run.
#[derive(Debug, Clone)]
pub struct Revert {
    /// The revision whose pods stay as they are.
    pub revision: Option<Box<str>>,
    /// What gives the template the config-hash that these pods have, or none as theirs: only then
    /// it is theirs. `None`: it is that already.
    pub config_hash: Option<FieldEdit>,
}

/// Pods that are not all of one revision.
pub enum Mixed<'a> {
    /// These pods are not of the revision that the controller starts a lost pod with.
    Newer(Vec<&'a str>),
    /// They are of so many revisions.
    Revisions(usize),
}

impl<'a> Revisions<'a> {
    /// Those of a workload, with its ReplicaSets and with the revision of its newest pods.
    pub fn of(
        namespace: &'a Namespace,
        workload: &'a Workload,
        sets: &'a [&'a ReplicaSet],
        newest: Option<&'a str>,
    ) -> Self {
        let kept = match workload.id.kind.revisions() {
            RevisionsIn::ReplicaSets => Kept::ReplicaSets(sets),
            RevisionsIn::ControllerRevisions => {
                Kept::ControllerRevisions(&namespace.controller_revisions)
            }
            RevisionsIn::Generations => Kept::Generations,
        };
        Self { workload, newest, kept }
    }

    /// Its ReplicaSets, if its kind has any.
    pub fn replica_sets(&self) -> Option<&'a [&'a ReplicaSet]> {
        match self.kept {
            Kept::ReplicaSets(sets) => Some(sets),
            Kept::ControllerRevisions(_) | Kept::Generations => None,
        }
    }

    /// Whether the template is the one again that its pods run: then no gate is asked, also under
    /// Freeze and under any policy, for its rollout ends no pod that runs something else.
    pub fn revert(&self) -> Option<Revert> {
        let (workload, state) = (self.workload, &self.workload.rollout);
        if !state.observed {
            return None;
        }
        let (template, hash, revision) = match self.kept {
            Kept::ReplicaSets(sets) => {
                let settled = settled_set(workload, sets)?;
                (settled.template, &settled.config_hash, &settled.revision)
            }
            Kept::ControllerRevisions(all) => {
                if state.revision.is_some() && state.revision == state.settled {
                    return Some(Revert { revision: state.settled.clone(), config_hash: None });
                }
                let settled = self.settled_revision(all)?;
                (settled.template, &settled.config_hash, &settled.name)
            }
            Kept::Generations => return None,
        };
        // Admission puts our newest config-hash back into whatever is applied; with it the template
        // would be no pod's.
        let differs = hash.as_deref() != workload.template.config_hash.as_deref();
        let config_hash = differs.then(|| match hash.as_deref() {
            Some(hash) => FieldEdit::Set(hash.to_owned()),
            None => FieldEdit::Remove,
        });
        (template == workload.template.digest)
            .then(|| Revert { revision: Some(revision.clone()), config_hash })
    }

    /// The revision of the template at hand, also of one that is held, if the controller has made
    /// one of it.
    pub fn of_template(&self) -> Option<&'a str> {
        match self.kept {
            Kept::ReplicaSets(_) => self.set_of_template().map(|set| &*set.revision),
            Kept::ControllerRevisions(_) => self.newest.filter(|_| self.workload.rollout.observed),
            Kept::Generations => None,
        }
    }

    /// The ReplicaSet that its template would start, if there is one already.
    pub fn set_of_template(&self) -> Option<&'a ReplicaSet> {
        let template = &self.workload.template;
        let mut sets = self.replica_sets()?.iter().copied();
        sets.find(|set| {
            set.rests == template.rests && self.has(set.template, set.config_hash.as_deref())
        })
    }

    /// Whether its template is that of this revision, whatever maintenance puts there now.
    pub fn is_of(&self, revision: &str) -> bool {
        match self.kept {
            Kept::ReplicaSets(sets) => sets.iter().any(|set| {
                &*set.revision == revision
                    && !set.rests
                    && self.has(set.template, set.config_hash.as_deref())
            }),
            Kept::ControllerRevisions(all) => self.own(all).any(|one| {
                &*one.name == revision
                    && !one.rests
                    && self.has(one.template, one.config_hash.as_deref())
            }),
            Kept::Generations => false,
        }
    }

    /// The revision that runs, of a workload whose template may be held.
    pub fn running(&self) -> Option<&'a str> {
        match self.kept {
            Kept::ReplicaSets(sets) => {
                let mut with_pods = sets.iter().filter(|set| set.replicas > 0 && !set.rests);
                let only = with_pods.next().filter(|_| with_pods.next().is_none());
                let done = Outcome::on(self.workload).done.as_deref();
                only.map(|set| &*set.revision).or(done)
            }
            Kept::ControllerRevisions(_) => self.workload.rollout.settled.as_deref(),
            Kept::Generations => None,
        }
    }

    /// By how much the version of an image of its template differs from what runs; none if none
    /// does, or nobody can tell.
    pub fn step(&self) -> Option<Step> {
        match self.kept {
            Kept::ReplicaSets(sets) => {
                let with_pods = sets.iter().filter(|set| set.replicas > 0 && !set.rests);
                with_pods.filter_map(|set| self.step_from(&set.containers)).max()
            }
            Kept::ControllerRevisions(all) => {
                self.step_from(&self.settled_revision(all)?.containers)
            }
            Kept::Generations => None,
        }
    }

    /// The containers of what runs, if all of it is of one revision.
    pub fn running_containers(&self) -> &'a [Container] {
        match self.kept {
            Kept::ReplicaSets(sets) => {
                let mut with_pods = sets.iter().filter(|set| set.replicas > 0 && !set.rests);
                let only = with_pods.next().filter(|_| with_pods.next().is_none());
                only.map_or(&[], |set| &set.containers)
            }
            Kept::ControllerRevisions(all) => {
                self.settled_revision(all).map_or(&[], |revision| &revision.containers)
            }
            Kept::Generations => &[],
        }
    }

    fn step_from(&self, containers: &[Container]) -> Option<Step> {
        let own = &self.workload.template.containers;
        let both = containers.iter().filter_map(|runs| {
            let now = own.iter().find(|other| other.name == runs.name)?;
            runs.version?.step_to(now.version?)
        });
        both.max()
    }

    fn has(&self, template: TemplateDigest, config_hash: Option<&str>) -> bool {
        let own = &self.workload.template;
        own.digest == template && own.config_hash.as_deref() == config_hash
    }

    /// The ReplicaSet that was created last: a paused Deployment that is scaled up from zero starts
    /// it.
    pub fn created_last(&self) -> Option<&'a ReplicaSet> {
        self.replica_sets()?.iter().copied().max_by_key(|set| (set.created, set.name.clone()))
    }

    /// What its pods read. Of a held workload what runs counts: its template has no pods.
    pub fn reads(&self, pods: &[&Pod]) -> Cow<'a, [Reference]> {
        let held = Hold::on(self.workload).is_some();
        let running = held.then(|| self.running_reads(pods)).flatten();
        running.map_or(Cow::Borrowed(&*self.workload.template.references), Cow::Owned)
    }

    /// What its running pods read; none if nobody knows what these were made from.
    fn running_reads(&self, pods: &[&Pod]) -> Option<Vec<Reference>> {
        let references: BTreeSet<_> = match self.kept {
            Kept::ReplicaSets(sets) => {
                let mut with_pods = sets.iter().filter(|set| set.replicas > 0).peekable();
                with_pods.peek()?;
                with_pods.flat_map(|set| set.references.iter().cloned()).collect()
            }
            Kept::ControllerRevisions(all) => {
                let settled = self.settled_revision(all)?;
                let running = self.own(all).filter(|revision| {
                    revision.name == settled.name
                        || pods.iter().any(|pod| pod.is_of(Some(&revision.name)))
                });
                running.flat_map(|revision| revision.references.iter().cloned()).collect()
            }
            Kept::Generations => return None,
        };
        Some(references.into_iter().collect())
    }

    /// How the pods of a held workload differ, if they do: the rollout before was not complete.
    pub fn mixed<'p>(&self, pods: &[&'p Pod]) -> Option<Mixed<'p>> {
        let there = pods.iter().filter(|pod| pod.terminating.is_none());
        match self.kept {
            Kept::ControllerRevisions(_) => {
                let settled = self.workload.rollout.settled.as_deref()?;
                let newer: Vec<_> = there
                    .filter(|pod| pod.revision.as_deref() != Some(settled))
                    .map(|pod| &*pod.name)
                    .collect();
                (!newer.is_empty()).then_some(Mixed::Newer(newer))
            }
            Kept::ReplicaSets(_) | Kept::Generations => {
                let revisions: BTreeSet<_> =
                    there.filter_map(|pod| pod.revision.as_deref()).collect();
                (revisions.len() > 1).then_some(Mixed::Revisions(revisions.len()))
            }
        }
    }

    fn own(
        &self,
        all: &'a Owned<ControllerRevision>,
    ) -> impl Iterator<Item = &'a ControllerRevision> {
        all.of(&self.workload.uid).map(|(_, revision)| revision)
    }

    /// The one with which a StatefulSet's controller starts a lost pod.
    fn settled_revision(
        &self,
        all: &'a Owned<ControllerRevision>,
    ) -> Option<&'a ControllerRevision> {
        let settled = self.workload.rollout.settled.as_ref()?;
        self.own(all).find(|revision| revision.name == *settled)
    }
}

/// The ReplicaSet to whose template a revert returns: the one that all pods are of, or, where they
/// are mixed or broken, the one that was last rolled out. The operator may have been away when that
/// was.
fn settled_set<'a>(workload: &Workload, sets: &[&'a ReplicaSet]) -> Option<&'a ReplicaSet> {
    let done = Outcome::on(workload).done.as_deref();
    let broken = workload.rollout.available < workload.rollout.wanted;
    let recorded = sets.iter().find(|set| {
        done == Some(&*set.revision) && (set.replicas > 0 || broken || workload.rollout.wanted == 0)
    });
    let mut with_pods = sets.iter().filter(|set| set.replicas > 0 && !set.rests);
    let only = with_pods.next().filter(|_| with_pods.next().is_none());
    only.filter(|set| set.template == workload.template.digest).or(recorded).copied()
}

//! A workload that is judged, with what belongs to it.

use std::borrow::Cow;

use jiff::Timestamp;

use super::sorted::Stirring;
use crate::core::{
    governs::{Ruling, Standing},
    memory::{Activity, Memory},
    observed::{Namespace, Pod, ReplicaSet, Workload},
    rollout::progress::{self, Progress},
};

/// What belongs to a workload.
pub(super) struct Belongings<'n> {
    pub(super) pods: Vec<&'n Pod>,
    pub(super) sets: Vec<&'n ReplicaSet>,
}

impl<'n> Belongings<'n> {
    pub(super) fn of(namespace: &'n Namespace, workload: &Workload) -> Self {
        Self { pods: namespace.pods_of(&workload.uid), sets: namespace.sets_of(&workload.uid) }
    }
}

/// A workload with what belongs to it.
pub(super) struct SeenWorkload<'n, 'a> {
    pub(super) standing: Standing<'n>,
    /// What its policy lets happen to it, if one governs it.
    pub(super) ruling: Option<Ruling<'n>>,
    pub(super) real: &'n Workload,
    /// As it may be judged: see [`progress::seen`].
    pub(super) workload: Cow<'n, Workload>,
    pub(super) pods: &'a [&'n Pod],
    pub(super) sets: &'a [&'n ReplicaSet],
    pub(super) current: Option<&'n str>,
    /// How far its rollout is, if a policy governs it.
    pub(super) progress: Option<Progress>,
    pub(super) memory: &'a Memory,
    pub(super) activity: &'a Activity,
}

impl<'n, 'a> SeenWorkload<'n, 'a> {
    pub(super) fn of(
        Stirring { workload, standing, memory }: Stirring<'n, 'a>,
        of_it: Option<&'a Belongings<'n>>,
        activity: &'a Activity,
        now: Timestamp,
    ) -> Self {
        let sets = of_it.map_or(&[][..], |all| all.sets.as_slice());
        let newest = sets.iter().copied().max_by_key(|set| set.number);
        let (mut judged, current) = progress::seen(workload, newest, sets);
        if let Some(why) = memory.lack.as_ref().and_then(|lack| lack.why.clone()) {
            judged.to_mut().rollout.failure = Some(why);
        }
        let pods = of_it.map_or(&[][..], |all| all.pods.as_slice());
        let ruling = standing.ruling();
        let progress = ruling
            .map(|ruling| progress::judge(&judged, pods, current, ruling.spec().deadline(), now));
        Self {
            standing,
            ruling,
            real: workload,
            workload: judged,
            pods,
            sets,
            current,
            progress,
            memory,
            activity,
        }
    }
}

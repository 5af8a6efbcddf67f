//! The number of config rollouts that are under way at once in the cluster is limited; the slots
//! are shared out fairly by namespace.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::{
    observed::{Namespace, Uid, Workload},
    rollout::outcome::{Ended, Outcome},
};

/// What a namespace has and wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// Config rollouts of ours that are under way in it.
    pub under_way: usize,
    /// Workloads that are to be rolled, in the order in which they should be.
    pub waiting: Vec<Candidate>,
}

impl Demand {
    /// Of a namespace whose pods are not seen yet: the config rollouts that its workloads say are
    /// under way.
    pub fn of_unread(namespace: &Namespace) -> Self {
        let under_way = namespace.workloads.values().filter(|workload| rolls_config(workload));
        Self { under_way: under_way.count(), ..Self::default() }
    }
}

/// Whether a workload says that a config rollout of ours is under way.
fn rolls_config(workload: &Workload) -> bool {
    let outcome = Outcome::on(workload);
    outcome.ended == Ended::UnderWay
        && outcome.change.is_some()
        && outcome.change.as_deref() == workload.template.config_hash.as_deref()
}

/// A workload that is to be rolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its uid.
    pub uid: Uid,
    /// No pod of it is ready: new config may be the cure, and there is nothing to lose.
    pub broken: bool,
}

/// The workloads that may be rolled now: the broken ones first, then in turn from the namespace
/// that has the fewest under way.
pub fn allot(demands: &BTreeMap<String, Demand>, max: usize) -> BTreeSet<Uid> {
    let taken: usize = demands.values().map(|demand| demand.under_way).sum();
    let mut free = max.saturating_sub(taken);
    let mut granted = BTreeSet::new();
    for broken in [true, false] {
        let mut queues: Vec<_> = demands
            .iter()
            .map(|(name, demand)| {
                (
                    demand.under_way,
                    name,
                    demand.waiting.iter().filter(|one| one.broken == broken).peekable(),
                )
            })
            .filter_map(|(has, name, mut queue)| {
                queue.peek().is_some().then_some((has, name, queue))
            })
            .collect();
        while free > 0 && !queues.is_empty() {
            queues.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
            let (has, _, queue) = &mut queues[0];
            match queue.next() {
                Some(candidate) => {
                    granted.insert(candidate.uid.clone());
                    *has += 1;
                    free -= 1;
                }
                None => {
                    drop(queues.remove(0));
                }
            }
        }
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(under_way: usize, waiting: &[&str]) -> Demand {
        let candidate = |name: &&str| Candidate {
            uid: name.trim_end_matches('!').into(),
            broken: name.ends_with('!'),
        };
        Demand { under_way, waiting: waiting.iter().map(candidate).collect() }
    }

    fn allotted(demands: &[(&str, Demand)], max: usize) -> String {
        let demands =
            demands.iter().map(|(name, demand)| ((*name).to_owned(), demand.clone())).collect();
        allot(&demands, max).iter().map(|uid| uid.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn p14_never_more_than_the_maximum_is_under_way() {
        assert_eq!(allotted(&[("shop", demand(9, &["a", "b"]))], 10), "a");
        assert_eq!(allotted(&[("shop", demand(12, &["a", "b"]))], 10), "");
    }

    #[test]
    fn a_large_namespace_does_not_starve_a_small_one() {
        assert_eq!(
            allotted(&[("big", demand(0, &["a", "b", "c", "d"])), ("small", demand(0, &["z"]))], 3),
            "a b z"
        );
        assert_eq!(
            allotted(&[("big", demand(5, &["a", "b"])), ("small", demand(0, &["z"]))], 6),
            "z"
        );
    }

    #[test]
    fn the_broken_come_first() {
        assert_eq!(
            allotted(&[("big", demand(3, &["a", "b!"])), ("small", demand(0, &["z"]))], 4),
            "b"
        );
    }
}

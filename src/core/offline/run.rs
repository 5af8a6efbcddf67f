//! How far the workloads of a policy are with an offline upgrade, as their marks and their pods say:
//! who waits for whom.

use std::collections::BTreeMap;

use crate::core::observed::{Concerns, Unread, WorkloadId};

/// Where one of them stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// It is in service.
    Serves,
    /// Its pods are to end, or are ending.
    Stops,
    /// None of its pods is left.
    Down,
    /// Its pods sleep, or are about to.
    Sleeps,
    /// Its pods start.
    Starts,
    /// It is in maintenance for another reason; whether none of its pods is left.
    Apart(bool),
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its step; none: it is in none, and starts first.
    pub place: Option<usize>,
    /// Where it stands.
    pub at: At,
    /// Nothing but its turn keeps it from starting.
    pub starts: bool,
    /// Its template is another one than what ran before.
    pub changed: bool,
    /// Its data is still to be migrated.
    pub unmigrated: bool,
    /// Snapshots are still to be taken before its data changes.
    pub unsaved: bool,
    /// A change of it is held.
    pub held: bool,
    /// That change is an offline upgrade.
    pub asks: bool,
    /// It could be stopped when it was last judged.
    pub agrees: bool,
    /// It could, or waits for nothing but its pods' answer.
    pub asks_pods: bool,
    /// Its rollout is done, or is no matter of this upgrade.
    pub settled: bool,
}

impl Member {
    fn takes_part(&self) -> bool {
        matches!(self.at, At::Stops | At::Down | At::Sleeps | At::Starts)
    }

    /// Whether its change is a reason to keep everything stopped.
    fn wants_all_down(&self) -> bool {
        self.asks || (self.takes_part() && self.changed)
    }

    /// Whether it keeps everything from being stopped.
    fn disagrees(&self) -> bool {
        match self.at {
            At::Serves => !self.agrees,
            At::Starts => !(self.held && self.agrees),
            At::Apart(down) => !down || (self.asks && !self.agrees),
            At::Stops | At::Down | At::Sleeps => false,
        }
    }

    /// Whether it is still to migrate, or to be released.
    fn is_unfinished(&self) -> bool {
        self.takes_part() && (self.unmigrated || self.held)
    }

    fn is_down(&self) -> bool {
        matches!(self.at, At::Down | At::Apart(true))
    }
}

/// The workloads of a policy.
#[derive(Debug, Default)]
pub struct Run<'a> {
    members: BTreeMap<&'a WorkloadId, Member>,
    unknown: Option<String>,
    agreed: bool,
}

/// Those for which one waits.
pub type Others<'a> = Vec<&'a WorkloadId>;

impl<'a> Run<'a> {
    /// Takes one in.
    pub fn see(&mut self, id: &'a WorkloadId, member: Member) {
        self.members.insert(id, member);
    }

    /// Hears of a workload that cannot be read and was never known: it may run.
    pub fn miss(&mut self, unread: &Unread) {
        if matches!(&unread.concerns, Concerns::Workload(id) if id.kind.can_be_held()) {
            self.unknown.get_or_insert_with(|| unread.to_string());
        }
    }

    /// A workload that cannot be read and was never known.
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// Whether it concerns anybody.
    pub fn is_some(&self) -> bool {
        self.is_asked() || self.is_under_way()
    }

    /// Whether a change is held that is an offline upgrade.
    fn is_asked(&self) -> bool {
        self.members.values().any(|one| one.asks)
    }

    /// Whether somebody has been stopped for it.
    pub fn is_under_way(&self) -> bool {
        self.members.values().any(Member::takes_part)
    }

    /// Whether all that are stopped may start.
    fn rises(&self) -> bool {
        let mut there = self.members.values().filter(|one| one.takes_part()).peekable();
        there.peek().is_some() && there.all(|one| one.starts || one.at == At::Starts)
    }

    /// Whether those that are in service are still to be stopped.
    pub fn goes_down(&self) -> bool {
        self.is_under_way() && !self.rises() && self.members.values().any(Member::wants_all_down)
    }

    /// Whether a change that is held is released with everything stopped, and not by rolling.
    pub fn takes_changes(&self) -> bool {
        self.is_asked() || self.goes_down()
    }

    /// Whether all agreed in this decision.
    pub fn is_agreed(&self) -> bool {
        self.agreed
    }

    /// They did. `agrees`: whether one of those did that are in service.
    pub fn agree(&mut self, agrees: impl Fn(&WorkloadId) -> bool) {
        let mut all = self.members.iter();
        self.agreed = self.is_asked()
            && !self.goes_down()
            && self.unknown.is_none()
            && all.all(|(id, one)| match one.at {
                At::Serves => agrees(id),
                At::Starts => one.held && agrees(id),
                At::Apart(down) => down && (!one.asks || agrees(id)),
                At::Stops | At::Down => one.starts,
                At::Sleeps => false,
            });
    }

    /// Those that are to be stopped as soon as all agreed.
    pub fn first_to_stop(&self) -> Others<'a> {
        let all = self.members.iter().filter(|(_, one)| !one.is_down() || one.asks);
        all.map(|(id, _)| *id).filter(|id| self.before_stop(id).is_empty()).collect()
    }

    /// Those that keep everything from being stopped, as they stood.
    pub fn missing(&self) -> Others<'a> {
        self.those(Member::disagrees)
    }

    /// Whether the pods of the others, whose template does not change, are asked too: no other gate
    /// keeps one waiting whose does.
    pub fn asks_all(&self) -> bool {
        let held = self.members.values().filter(|one| one.held);
        let mut held = held.filter(|one| one.asks || !matches!(one.at, At::Apart(_)));
        self.is_asked() && held.all(|one| one.asks_pods)
    }

    /// Those that are stopped before it: those of later steps.
    pub fn before_stop(&self, id: &WorkloadId) -> Others<'a> {
        let place = self.place(id);
        self.those(|one| one.place > place && !one.is_down() && one.at != At::Sleeps)
    }

    /// Those that are not down, so that nothing is migrated.
    pub fn not_down(&self) -> Others<'a> {
        self.those(|one| !one.is_down() && one.at != At::Sleeps)
    }

    /// Those of whose data snapshots are still to be taken.
    pub fn unsaved(&self) -> Others<'a> {
        self.those(|one| one.takes_part() && one.unsaved)
    }

    /// Those whose data is migrated before its.
    pub fn before_migration(&self, id: &WorkloadId) -> Others<'a> {
        let place = self.place(id);
        self.those(|one| one.place < place && one.is_unfinished())
    }

    /// Those that keep everything from starting again.
    pub fn before_any_start(&self) -> Others<'a> {
        if !self.members.values().any(Member::wants_all_down) {
            return Vec::new();
        }
        self.those(|one| !one.is_down() || one.is_unfinished())
    }

    /// Those that start before it.
    pub fn before_start(&self, id: &WorkloadId) -> Others<'a> {
        let place = self.place(id);
        self.those(|one| match one.at {
            At::Stops | At::Down | At::Sleeps => !one.starts || one.place < place,
            At::Starts => one.place < place,
            At::Serves => one.place < place && !one.settled,
            At::Apart(_) => false,
        })
    }

    /// The one of this name.
    pub fn of(&self, id: &WorkloadId) -> Option<&Member> {
        self.members.get(id)
    }

    fn place(&self, id: &WorkloadId) -> Option<usize> {
        self.members.get(id).and_then(|one| one.place)
    }

    fn those(&self, are: impl Fn(&Member) -> bool) -> Others<'a> {
        self.members.iter().filter(|(_, one)| are(one)).map(|(id, _)| *id).collect()
    }
}

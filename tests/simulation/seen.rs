//! How often what happened: a simulation that saw nothing proves nothing.

/// How often what happened.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub holds: usize,
    pub approved: usize,
    /// Approvals by somebody who had changed the template.
    pub approved_by_authors: usize,
    pub reverted: usize,
    pub bypassed: usize,
    pub ungoverned: usize,
    pub refused: usize,
    pub conflicts: usize,
    pub crashes: usize,
    pub rollouts: usize,
    /// Pods that said no when they were asked.
    pub noes: usize,
    /// Pods that took no new work.
    pub drained: usize,
    /// Changes let through because the pods agreed.
    pub agreed: usize,
    /// Pods that went one by one.
    pub steps: usize,
    /// Workloads that were rolled because the step before was.
    pub followed: u64,
    /// Terms that began of one of several operators.
    pub terms: u64,
    /// Writes to claims, volumes and namespaces.
    pub stored: usize,
    /// Rollouts that were stuck on a volume and let go on.
    pub unblocked: usize,
    /// Claims that got their data again.
    pub found_again: usize,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.holds += other.holds;
        self.approved += other.approved;
        self.approved_by_authors += other.approved_by_authors;
        self.reverted += other.reverted;
        self.bypassed += other.bypassed;
        self.ungoverned += other.ungoverned;
        self.refused += other.refused;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.rollouts += other.rollouts;
        self.noes += other.noes;
        self.drained += other.drained;
        self.agreed += other.agreed;
        self.steps += other.steps;
        self.followed += other.followed;
        self.terms += other.terms;
        self.stored += other.stored;
        self.unblocked += other.unblocked;
        self.found_again += other.found_again;
    }
}

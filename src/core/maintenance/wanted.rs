//! What is asked of a workload: to be in maintenance, or in service.

use crate::{
    api::{MaintenanceMode, MaintenanceSpec},
    core::{governs::Ruling, maintenance, observed::Workload},
    marks::{Containers, Wish, maintenance::Stage},
};

/// What is asked of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// What.
    pub wish: Wish,
    /// Who asks, and why; none: its policy does, or nobody.
    pub asked: Option<(&'a str, Option<&'a str>)>,
}

impl Wanted<'_> {
    /// Whether it is to be in maintenance.
    pub fn is_some(&self) -> bool {
        self.wish != Wish::Off
    }
}

/// What is asked of a workload: by a user on it, or else by its policy. While nobody knows what its
/// policy says, it stays as it is.
pub fn wanted<'a>(workload: &'a Workload, ruling: Ruling<'a>) -> Wanted<'a> {
    if let Some(wanted) = by_user(workload) {
        return wanted;
    }
    let declared = ruling.spec().maintenance.as_ref();
    let is_known = workload.governed.stands() || !workload.id.kind.can_be_held();
    let wish = match (maintenance::of(workload).filter(|mark| mark.rests()), declared) {
        _ if !is_known => Wish::Off,
        (Some(mark), _) if ruling.is_unreadable() => match mark.stage {
            Stage::Sleep => Wish::Sleep(mark.containers()),
            Stage::Stop | Stage::Start => Wish::Stop,
        },
        (_, Some(spec)) => match spec.mode {
            MaintenanceMode::None => Wish::Off,
            MaintenanceMode::Stop => Wish::Stop,
            MaintenanceMode::Sleep => Wish::Sleep(kept(workload, spec)),
        },
        (_, None) => Wish::Off,
    };
    Wanted { wish, asked: None }
}

/// The containers that a policy keeps running, those that there are.
fn kept(workload: &Workload, spec: &MaintenanceSpec) -> Containers {
    let named = spec.keep_running.iter();
    let keep =
        named.filter(|name| workload.template.containers.iter().any(|one| *one.name == ***name));
    Containers { keep: keep.cloned().collect(), root: vec![] }
}

/// What a user asks for. What admission did not record, anybody may have written.
pub fn by_user(workload: &Workload) -> Option<Wanted<'_>> {
    let by = workload.marks.maintenance_by.get().filter(|_| workload.governed.stands())?;
    let asked = workload.marks.maintenance.get()?;
    Some(Wanted { wish: asked.wish.clone(), asked: Some((&by.0, asked.reason.as_deref())) })
}

/// Whether one without a policy is to be in service: only a user says so.
pub fn ends_without_policy(workload: &Workload) -> bool {
    by_user(workload).is_some_and(|wanted| !wanted.is_some())
}

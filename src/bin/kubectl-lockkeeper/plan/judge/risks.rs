//! What would be in danger.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use lockkeeper::{
    api::{
        ConfigSpec, ExclusiveClaims, Mode, Protection, Readopt, Reason, Remark, UpgradePolicySpec,
        VolumesSpec, policy::default_orphaned_after,
    },
    core::{
        config::{desired::resolve, references},
        governs::{Ruling, governance},
        hold::enforced::Enforcement,
        observed::{Namespace, Workload, policy::freezing_spec},
        volumes::{
            self,
            finding::{Danger, DangerReason},
        },
    },
};

use super::{Judge, some};
use crate::{
    cluster::lower,
    plan::{forecast::nobodys, outcome::Risk},
    revisions::Difference,
};

impl Judge<'_> {
    /// What its template reads and is not there.
    pub(super) fn missing(
        &self,
        workload: &Workload,
        ruling: Option<&Ruling>,
        risks: &mut Vec<Risk>,
    ) {
        let missing = self.absent(workload, ruling, self.now.after);
        if !missing.is_empty() {
            risks.push(self.risk(
                Reason::ConfigMissing.as_str(),
                format!(
                    "{}: its pods could not start, because {}",
                    lower(&workload.id),
                    missing.join(", ")
                ),
            ));
        }
    }

    /// The same of one that is there, and could start so far.
    pub(super) fn newly_missing(
        &self,
        before: &Workload,
        after: &Workload,
        ruling: Option<&Ruling>,
        risks: &mut Vec<Risk>,
    ) {
        let known = self.absent(before, ruling, self.now.before);
        let missing: Vec<_> = self
            .absent(after, ruling, self.now.after)
            .into_iter()
            .filter(|what| !known.contains(what))
            .collect();
        if !missing.is_empty() {
            risks.push(self.risk(
                Reason::ConfigMissing.as_str(),
                format!(
                    "{}: new pods could not start, because {}",
                    lower(&after.id),
                    missing.join(", ")
                ),
            ));
        }
    }

    pub(super) fn absent(
        &self,
        workload: &Workload,
        ruling: Option<&Ruling>,
        namespace: &Namespace,
    ) -> Vec<String> {
        let blank = ConfigSpec::default();
        let config = ruling.and_then(|ruling| ruling.spec().config.as_ref()).unwrap_or(&blank);
        let all = references::effective(&workload.template.references, config, &[], namespace);
        let known = all.iter().filter(|reference| self.now.knows(reference));
        known
            .filter_map(|reference| {
                let missing = resolve(reference, namespace, self.now.key, self.now.now).digest;
                Some(missing.err()?.to_string())
            })
            .collect()
    }

    /// A template that is another one with each render.
    pub(super) fn volatile(
        &self,
        workload: &Workload,
        differences: &[Difference],
        risks: &mut Vec<Risk>,
    ) {
        let times: Vec<_> = differences
            .iter()
            .filter(|one| one.new.as_deref().is_some_and(|new| is_now(new, self.now.now)))
            .collect();
        if times.is_empty() {
            return;
        }
        let paths: Vec<_> = times.iter().map(|one| one.path.clone()).collect();
        let only =
            if times.len() == differences.len() { ", and it differs in nothing else" } else { "" };
        risks.push(self.risk(
            Remark::VolatileTemplate.into(),
            format!(
                "{}: {} is the time of the render{only}: every upgrade is a change of the template then, which rolls, or voids approvals while it is held. \
                 Make it a checksum of what matters, or remove it",
                lower(&workload.id),
                some(&paths)
            ),
        ));
    }

    /// What volumes would be in danger by it that are not now.
    pub(super) fn volumes(&self) -> Vec<Risk> {
        let dangers = |namespace: &Namespace| -> BTreeSet<Danger> {
            let namespace = with_eyes_on_volumes(namespace);
            let around = volumes::Surroundings {
                storage: self.now.storage,
                enforcement: &Enforcement::default(),
                activities: &HashMap::new(),
                now: self.now.now,
            };
            let judged = volumes::judge(&namespace, &governance(&namespace), &around);
            judged.of_policies.into_values().flat_map(|summary| summary.dangers).collect()
        };
        let before = dangers(self.now.before);
        let new = dangers(self.now.after).into_iter().filter(|danger| !before.contains(danger));
        new.map(|danger| self.risk(DangerReason::from(&danger).into(), danger.message().to_owned()))
            .collect()
    }
}

/// Exclusive claims deadlock rollouts whether or not a policy sees to them.
fn with_eyes_on_volumes(namespace: &Namespace) -> Namespace {
    let report = VolumesSpec {
        exclusive_claims: ExclusiveClaims::Report,
        protection: Some(Protection::None),
        readopt: Readopt::Never,
        orphaned_after: default_orphaned_after(),
    };
    let mut namespace = namespace.clone();
    for policy in namespace.policies.values_mut() {
        if let Ok(spec) = &mut policy.spec {
            spec.volumes.get_or_insert_with(|| report.clone());
        }
    }
    let spec = UpgradePolicySpec {
        mode: Mode::Enforce,
        priority: i32::MIN,
        volumes: Some(report),
        ..freezing_spec()
    };
    let nobodys = nobodys(spec);
    namespace.policies.insert(nobodys.name.clone(), nobodys);
    namespace
}

/// Whether a value, as JSON, is the time of this hour: RFC 3339 and the like, Go's own form, or
/// seconds or milliseconds since 1970.
fn is_now(value: &str, now: Timestamp) -> bool {
    let text = value.trim_matches('"');
    let near = |time: Timestamp| time.duration_since(now).abs().as_secs() < 3600;
    let number: Option<i64> = text.parse().ok();
    let seconds = number.and_then(|number| Timestamp::from_second(number).ok());
    let millis = number.and_then(|number| Timestamp::from_millisecond(number).ok());
    // Go: 2006-01-02 15:04:05.999999999 -0700 MST m=+0.01
    let words: Vec<_> = text.split_whitespace().collect();
    let go = match words[..] {
        [date, clock, offset, ..] => format!("{date}T{clock}{offset}").parse().ok(),
        _ => None,
    };
    let written: Option<Timestamp> = text.parse().ok();
    [seconds, millis, go, written].into_iter().flatten().any(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_render_is_known_in_every_form() {
        let now: Timestamp = "2026-11-21T17:00:00Z".parse().unwrap();
        for (value, expected) in [
            (r#""2026-11-21T16:59:58Z""#, true),
            (r#""2026-11-21T17:59:58+01:00""#, true),
            (r#""2026-11-21 16:59:58.123456789 +0000 UTC m=+0.05""#, true),
            (r#""1795280400""#, true),
            ("1795280400123", true),
            (r#""2026-10-01T00:00:00Z""#, false),
            (r#""1.27.3""#, false),
            (r#""8080""#, false),
            (r#""e3b0c44298fc1c14""#, false),
            (r#""""#, false),
        ] {
            assert_eq!(is_now(value, now), expected, "{value}");
        }
    }
}

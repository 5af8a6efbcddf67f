//! Where a workload stands by its rollout alone.

use crate::{
    api::{Phase, Reason},
    core::{
        clock,
        observed::Pod,
        report::Verdict,
        rollout::{
            progress::Progress,
            words::{self, held_message},
        },
        subject::Subject,
    },
};

/// Where a workload stands by its rollout alone; none: it is up to date.
pub fn verdict(subject: &Subject) -> Option<Verdict> {
    let (state, newest) = (&subject.workload.rollout, subject.revisions.newest);
    let under_way = || words::under_way(subject.workload, subject.pods, newest);
    let namespace = &subject.namespace().name;
    let overdue = || words::stuck(subject.workload, namespace, subject.pods, newest, subject.now());
    Some(match subject.progress {
        Progress::Done => {
            let message = format!("{}. All new pods are available", overdue()?);
            Verdict::new(Phase::WaitsForUser, Reason::StuckTerminating, message)
        }
        Progress::Unobserved => match &subject.memory.last {
            Some(Verdict { phase: phase @ Phase::UpToDate, reason, .. }) => {
                Verdict::new(*phase, *reason, "")
            }
            Some(Verdict { phase: phase @ Phase::Rolling, reason, .. }) => {
                Verdict::new(*phase, *reason, under_way())
            }
            // A write of our own annotations raises a Deployment's generation too.
            Some(Verdict { phase, reason, message, .. })
                if !matches!(phase, Phase::Held | Phase::Failed) =>
            {
                Verdict::new(*phase, *reason, message.as_str())
            }
            _ => Verdict::new(Phase::Rolling, Reason::RolloutUnderWay, under_way()),
        },
        Progress::UnderWay(_) => match (stuck_behind(subject, Phase::Rolling), overdue()) {
            (Some(stuck), _) => stuck,
            (None, Some(stuck)) => {
                let message = format!("{}; {stuck}", words::counts(state));
                Verdict::new(Phase::Rolling, Reason::StuckTerminating, message)
            }
            (None, None) => Verdict::new(Phase::Rolling, Reason::RolloutUnderWay, under_way()),
        },
        Progress::Failed(since) => match (stuck_behind(subject, Phase::Failed), overdue()) {
            (Some(stuck), _) => stuck,
            (None, Some(stuck)) => {
                let message = format!("{}; {stuck}", words::counts(state));
                Verdict::new(Phase::Failed, Reason::StuckTerminating, message)
            }
            (None, None) => {
                let cure = match state.failure {
                    Some(_) => "It continues automatically when pods can be created",
                    None => {
                        "It continues automatically if the pods become ready; otherwise fix the template or the config"
                    }
                };
                let message =
                    format!("no progress since {}: {}. {cure}", clock(since), under_way());
                Verdict::new(Phase::Failed, Reason::DeadlineExceeded, message)
            }
        },
        Progress::Held(hold) => {
            let message = held_message(hold, &words::counts(state));
            Verdict::new(Phase::WaitsForUser, hold.reason(), message)
        }
    })
}

/// A pod for which a StatefulSet's controller waits, because it is broken and of another revision
/// than the newest: it does not replace it (kubernetes#67250). Before the deadline only a pod that
/// says why it cannot run counts.
fn in_the_way<'a>(subject: &Subject<'a>, late: bool) -> Option<&'a Pod> {
    let newest = subject.revisions.newest.filter(|_| subject.workload.id.kind.has_ordinals())?;
    let broken = |pod: &&Pod| {
        pod.revision.as_deref() != Some(newest)
            && !pod.ready
            && pod.terminating.is_none()
            && (late || pod.trouble.is_some())
    };
    subject.pods.iter().copied().find(broken)
}

/// That a pod is in the way of the rollout, if one is.
fn stuck_behind(subject: &Subject, phase: Phase) -> Option<Verdict> {
    let pod = in_the_way(subject, phase == Phase::Failed)?;
    let trouble = pod.ails.as_ref().or(pod.trouble.as_ref());
    let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
    let delete = format!("kubectl delete pod -n {} {}", subject.namespace().name, pod.name);
    let message = format!(
        "the StatefulSet controller waits for pod {}{trouble}, which is of an older revision and not ready, and does not replace it \
         (kubernetes#67250). Delete it: {delete}",
        pod.name
    );
    Some(Verdict::new(phase, Reason::StuckBehindPod, message).with_command(delete))
}

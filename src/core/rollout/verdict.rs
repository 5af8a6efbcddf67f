//! Where a workload stands by its rollout alone.

use crate::{
    api::{Phase, Reason},
    core::{
        observed::Pod,
        report::Verdict,
        rollout::{progress::Progress, words},
        subject::Subject,
    },
};

/// Where a workload stands by its rollout alone; none: it is up to date.
pub fn verdict(subject: &Subject) -> Option<Verdict> {
    let state = &subject.workload.rollout;
    Some(match subject.progress {
        Progress::Done => {
            let message = words::done_but(&overdue(subject)?);
            Verdict::new(Phase::WaitsForUser, Reason::StuckTerminating, message)
        }
        Progress::Unobserved => unobserved(subject),
        Progress::UnderWay(_) => stuck(subject, Phase::Rolling).unwrap_or_else(|| {
            Verdict::new(Phase::Rolling, Reason::RolloutUnderWay, under_way(subject))
        }),
        Progress::Failed(since) => stuck(subject, Phase::Failed).unwrap_or_else(|| {
            let message = words::no_progress(state, since, &under_way(subject));
            Verdict::new(Phase::Failed, Reason::DeadlineExceeded, message)
        }),
        Progress::Held(hold) => {
            let (namespace, note) = (&subject.namespace().name, words::counts(state));
            words::user_holds(hold, namespace, subject.workload, &note)
        }
    })
}

fn under_way(subject: &Subject) -> String {
    words::under_way(subject.workload, subject.pods, subject.revisions.newest)
}

/// An old pod that should have ended, in words.
fn overdue(subject: &Subject) -> Option<String> {
    let (workload, namespace) = (subject.workload, &subject.namespace().name);
    words::stuck(workload, namespace, subject.pods, subject.revisions.newest, subject.now())
}

/// Where it stood stands, as far as that says nothing of a template that its controller has not
/// seen.
fn unobserved(subject: &Subject) -> Verdict {
    match &subject.memory.last {
        Some(Verdict { phase: phase @ Phase::UpToDate, reason, .. }) => {
            Verdict::new(*phase, *reason, "")
        }
        Some(Verdict { phase: phase @ Phase::Rolling, reason, .. }) => {
            Verdict::new(*phase, *reason, under_way(subject))
        }
        // A write of our own annotations raises a Deployment's generation too.
        Some(Verdict { phase, reason, message, command, .. })
            if !matches!(phase, Phase::Held | Phase::Failed) =>
        {
            let command = command.clone();
            Verdict { command, ..Verdict::new(*phase, *reason, message.as_str()) }
        }
        _ => Verdict::new(Phase::Rolling, Reason::RolloutUnderWay, under_way(subject)),
    }
}

/// That an old pod is in the way of the rollout, if one is.
fn stuck(subject: &Subject, phase: Phase) -> Option<Verdict> {
    if let Some(pod) = in_the_way(subject, phase == Phase::Failed) {
        let delete = words::delete(&subject.namespace().name, pod);
        let message = words::stuck_behind(pod, &delete);
        return Some(Verdict::new(phase, Reason::StuckBehindPod, message).with_command(delete));
    }
    let message = format!("{}; {}", words::counts(&subject.workload.rollout), overdue(subject)?);
    Some(Verdict::new(phase, Reason::StuckTerminating, message))
}

/// A pod for which a StatefulSet's controller waits, because it is broken and of another revision
/// than the newest: it does not replace it (kubernetes#67250). Before the deadline only a pod that
/// says why it cannot run counts.
fn in_the_way<'a>(subject: &Subject<'a>, late: bool) -> Option<&'a Pod> {
    let newest = subject.revisions.newest.filter(|_| subject.workload.id.kind.has_ordinals())?;
    let mut there = subject.pods.iter().copied().filter(|pod| pod.terminating.is_none());
    there.find(|pod| {
        pod.revision.as_deref() != Some(newest) && !pod.ready && (late || pod.trouble.is_some())
    })
}

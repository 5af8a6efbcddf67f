//! Whether the gate is set up rightly: shown before the first upgrade is held.

use std::time::Duration;

use crate::{
    api::AppGate,
    core::{
        conversation::{Errand, place},
        gates::{
            app::{for_workload::for_workload, tally::url},
            talk::Talk,
            words,
        },
        later,
        observed::Workload,
        subject::Subject,
    },
};

/// Between checks of whether the gate works at all.
const VERIFY_EVERY: Duration = Duration::from_secs(600);

/// What is known of whether the gate works.
#[derive(Debug, Default)]
pub struct Verified {
    /// One of the pods was asked.
    pub asked: bool,
    /// Why it does not, in words.
    pub trouble: Option<String>,
}

/// Asks one pod of a workload whether the gate is set up rightly, at adoption and every 10 minutes.
pub fn verify(subject: &Subject, gate: &AppGate, talk: &mut Talk) -> Verified {
    let gate = match for_workload(gate, subject.workload) {
        Ok(gate) => gate,
        Err(invalid) => {
            return Verified { asked: false, trouble: Some(words::of_invalid(&invalid)) };
        }
    };
    let mut there =
        subject.pods.iter().filter(|pod| pod.ready && pod.reach.running && !pod.is_leaving());
    let mut places = there.clone().map(|pod| (pod, place(pod, &gate, subject.templates())));
    if there.next().is_none() {
        return Verified::default();
    }
    let mut trouble = None;
    talk.conversation.verified.take_if(|verified| verified.gate != *gate);
    let verified = talk.conversation.verified.as_ref();
    let due = verified.map(|one| later(one.at, VERIFY_EVERY + spread(subject.workload)));
    match due {
        Some(due) if due > subject.now() => talk.wake_at(due),
        _ => match places.clone().find_map(|(_, place)| place.ok()) {
            Some(visit) => talk.call(subject, Errand::Verify, None, &gate, vec![visit]),
            None => {
                trouble =
                    places.find_map(|(pod, place)| Some(format!("{}: {}", pod.name, place.err()?)));
            }
        },
    }
    let verified = talk.conversation.verified.as_ref();
    let answered = verified.and_then(|verified| {
        let trouble = verified.answer.trouble()?;
        Some(format!("{}: {trouble} at {}", verified.pod, url(&gate)))
    });
    Verified { asked: verified.is_some(), trouble: answered.or(trouble) }
}

/// So that not all workloads are asked in the same moment.
fn spread(workload: &Workload) -> Duration {
    let sum = workload
        .uid
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Duration::from_secs(sum % 60)
}

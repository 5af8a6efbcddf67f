//! What the pods said, taken together.

use jiff::Timestamp;

use crate::{
    api::{AppGate, Otherwise, Scheme},
    core::{
        conversation::{Conversation, Templates, answer::Answer, place},
        gates::{
            app::whom::Question,
            blocker::{App, No, Tallied},
            words::differs_from_others,
        },
        later,
        observed::Pod,
    },
};

/// At most so many pods are named in a message.
const NAMED: usize = 3;

/// Why the pods do not agree, by what they said; none: they do. How old that is, is not looked at.
pub fn judge(
    gate: &AppGate,
    question: &Question,
    asked: (&[&Pod], Templates),
    said: &Conversation,
    now: Timestamp,
) -> Option<App> {
    verdict(gate, question, asked.0, tally(gate, question, asked, said, now), said, now)
}

/// Whether no pod counts: none is Ready, and none answers.
pub fn counts_nobody(
    gate: &AppGate,
    question: &Question,
    asked: (&[&Pod], Templates),
    said: &Conversation,
    now: Timestamp,
) -> bool {
    tally(gate, question, asked, said, now).counts_nobody()
}

/// What the pods said, counted.
#[derive(Default)]
struct Tally<'a> {
    /// Yes, in the last rounds.
    yes: usize,
    /// Yes, but not often enough.
    few: usize,
    /// No; with the words, and since when.
    no: Vec<(&'a str, &'a str, Timestamp)>,
    /// Nothing that could be used; with the reason.
    silent: Vec<(&'a str, String)>,
    /// That they do not know the path; with the status.
    missing: Vec<(&'a str, u16)>,
    /// They could not be asked; with the reason.
    not_asked: Vec<(&'a str, String)>,
    /// They have not been asked yet.
    unheard: usize,
}

impl Tally<'_> {
    /// No pod counts: none is Ready, and none answers.
    fn counts_nobody(&self) -> bool {
        self.yes
            + self.few
            + self.no.len()
            + self.silent.len()
            + self.missing.len()
            + self.not_asked.len()
            + self.unheard
            == 0
    }
}

fn tally<'a>(
    gate: &AppGate,
    question: &Question,
    (pods, templates): (&[&'a Pod], Templates),
    said: &'a Conversation,
    now: Timestamp,
) -> Tally<'a> {
    let mut tally = Tally::default();
    for pod in pods {
        // One that has just said something is only silent for a moment, Ready or not.
        let spoke = said
            .spoke
            .get(&pod.uid)
            .is_some_and(|spoke| later(*spoke, gate.broken_after.length()) > now);
        let counts = is_ready(pod, gate, now) || (spoke && !question.reverts);
        match said.reading(pod) {
            Some(reading) => match &reading.answer {
                Answer::Yes if reading.yes < gate.successes => tally.few += 1,
                Answer::Yes => tally.yes += 1,
                Answer::No(_) if question.reverts && !counts => {}
                Answer::No(words) => tally.no.push((&pod.name, words, reading.since)),
                Answer::Missing(status) if counts => tally.missing.push((&pod.name, *status)),
                Answer::NotAsked(why) => tally.not_asked.push((&pod.name, why.clone())),
                Answer::Unusable(why) | Answer::Hangs(why) if counts => {
                    tally.silent.push((&pod.name, why.clone()))
                }
                Answer::Missing(_) | Answer::Unusable(_) | Answer::Hangs(_) => {}
            },
            None if !pod.reach.running => {}
            None => match place(pod, gate, templates) {
                Err(why) if counts => tally.silent.push((&pod.name, why.to_string())),
                Err(_) => {}
                Ok(_) => tally.unheard += 1,
            },
        }
    }
    tally
}

fn verdict(
    gate: &AppGate,
    question: &Question,
    pods: &[&Pod],
    tally: Tally,
    said: &Conversation,
    now: Timestamp,
) -> Option<App> {
    let nobody = tally.counts_nobody();
    let Tally { yes, few, no, silent, missing, not_asked, unheard } = tally;
    let (period, count) = (gate.period.clone(), pods.len());
    let tally = Tallied { yes: yes + few, pods: count, period: period.clone() };
    if !no.is_empty() {
        let others = no.len().saturating_sub(NAMED);
        let named = no.into_iter().take(NAMED).map(|(pod, words, since)| No {
            pod: pod.to_owned(),
            words: words.to_owned(),
            since,
        });
        return Some(App::No { named: named.collect(), others, tally });
    }
    // A revert waits only for pods that say no.
    if question.reverts {
        return asking(gate, (few, unheard, count));
    }
    if let Some((pod, why)) = not_asked.into_iter().next() {
        return Some(App::NotAsked { pod: pod.to_owned(), why, tally });
    }
    let all_missing = !missing.is_empty() && tally.yes + silent.len() == 0;
    let different = missing
        .iter()
        .filter(|_| !all_missing)
        .map(|(name, status)| (*name, differs_from_others(*status)));
    let mut silent = silent.into_iter().chain(different);
    if gate.when_unreachable == Otherwise::Hold
        && let Some((pod, why)) = silent.next()
    {
        let (pod, others, url) = (pod.to_owned(), silent.count(), url(gate));
        return Some(App::Silent { pod, why, others, tally, url });
    }
    if gate.when_missing == Otherwise::Hold
        && all_missing
        && let Some((_, status)) = missing.first()
    {
        return Some(App::Missing { status: *status, url: url(gate), period });
    }
    if let Some(asking) = asking(gate, (few, unheard, count)) {
        return Some(asking);
    }
    if nobody && !question.broken {
        return nobody_left(gate, question, pods, said, now);
    }
    None
}

/// Whether not all have answered, or not often enough.
fn asking(gate: &AppGate, (few, unheard, pods): (usize, usize, usize)) -> Option<App> {
    let (successes, period) = (gate.successes, gate.period.clone());
    match (unheard, few) {
        (0, 0) => None,
        (0, few) => Some(App::TooFew { few, pods, successes, period }),
        (unheard, _) => Some(App::Unheard { unheard, pods }),
    }
}

/// Where the pods are asked, in words.
pub fn url(gate: &AppGate) -> String {
    let port = gate.port.as_ref().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}{}", if gate.scheme == Scheme::Https { "https " } else { "" }, gate.path)
}

/// No pod counts: none is Ready, none answers. When that has been so for long enough, there is
/// nobody left to ask.
fn nobody_left(
    gate: &AppGate,
    question: &Question,
    pods: &[&Pod],
    said: &Conversation,
    now: Timestamp,
) -> Option<App> {
    let since = pods
        .iter()
        .map(|pod| unready_since(pod, question, gate, now))
        .max()
        .unwrap_or(question.since);
    // Pods that are replaced again and again are always young.
    let since = said.nobody_since.map_or(since, |seen| since.min(seen));
    // That a pod is not Ready is no silence: it may say no all the same, and one answer may be
    // lost.
    let silent = pods
        .iter()
        .filter(|pod| is_running(pod))
        .filter_map(|pod| said.readings.get(&pod.uid)?.silent_since);
    let spoke = pods.iter().filter_map(|pod| said.spoke.get(&pod.uid).copied());
    let last = silent.chain(spoke).fold(since, Timestamp::max);
    let until = later(last, gate.broken_after.length());
    let broken_after = gate.broken_after.clone();
    (until > now).then_some(App::NobodyLeft { until, broken_after })
}

/// Since when a pod is not Ready. One that crashes again and again may have been so for a moment in
/// between: then it counts from the change on.
fn unready_since(pod: &Pod, question: &Question, gate: &AppGate, now: Timestamp) -> Timestamp {
    let moved = pod.ready_moved.unwrap_or(pod.created).max(pod.created);
    if crashes(pod, gate, now) { moved.min(question.since.max(pod.created)) } else { moved }
}

/// Whether there is a process that could answer.
fn is_running(pod: &Pod) -> bool {
    pod.reach.running && pod.trouble.as_deref() != Some("CrashLoopBackOff")
}

fn crashes(pod: &Pod, gate: &AppGate, now: Timestamp) -> bool {
    pod.trouble.as_deref() == Some("CrashLoopBackOff")
        || pod.crashed.is_some_and(|crashed| later(crashed, gate.broken_after.length()) > now)
}

/// Whether a pod counts as Ready: one that crashes again and again is so only now and then.
fn is_ready(pod: &Pod, gate: &AppGate, now: Timestamp) -> bool {
    pod.ready && !crashes(pod, gate, now)
}

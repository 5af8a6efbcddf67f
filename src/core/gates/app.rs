//! The running pods are asked whether they may be ended. Asked are exactly those that the release
//! would end, in rounds; the gate is open while every one that counts has said yes in the last
//! rounds.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::{
    api::{AppGate, Otherwise, Port, Reason, Scheme, marks},
    core::{
        clock,
        conversation::{Conversation, Errand, Templates, Visit, answer::Answer, place},
        finding::Assessment,
        gates::{
            APP,
            gate::{Closed, Gate},
            prepare, rank,
        },
        later,
        observed::{Pod, Workload},
        subject::Subject,
    },
};

/// At most so many pods are named in a message.
const NAMED: usize = 3;

/// What the pods are asked about.
pub struct Question<'a> {
    /// The id of the change; where pods go one by one, with whose turn it is, after a space.
    pub change: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// The pods that it would end.
    pub pods: Vec<&'a Pod>,
    /// It reverts to what ran before: only a Ready pod that says no is in its way.
    pub reverts: bool,
    /// What runs cannot start again: when no pod of it counts, nobody is waited for.
    pub broken: bool,
}

/// The gate as it is for a workload: the policy's, with what its annotation
/// `lockkeeper.dev/app-gate` sets otherwise.
///
/// # Errors
/// Says what is wrong with the annotation.
pub fn for_workload<'a>(
    gate: &'a AppGate,
    workload: &Workload,
) -> Result<Cow<'a, AppGate>, String> {
    let Some(text) = workload.marks.app_gate.as_deref() else { return Ok(Cow::Borrowed(gate)) };
    let mut own = gate.clone();
    let wrong = |what: String| {
        format!(
            "annotation {}: {what}; write for example port=8081,path=/upgradeable",
            marks::APP_GATE
        )
    };
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) =
            part.split_once('=').ok_or_else(|| wrong(format!("{part:?} has no value")))?;
        match (key.trim(), value.trim()) {
            ("port", port) => {
                own.port = Some(match port.parse::<u16>() {
                    Ok(0) => return Err(wrong("port 0 is none".to_owned())),
                    Ok(number) => Port::Number(number),
                    Err(_) => Port::Name(port.to_owned()),
                })
            }
            ("path", path) if is_path(path) => own.path = path.to_owned(),
            ("path", path) => {
                return Err(wrong(format!(
                    "path {path:?} does not begin with / or has characters that must be encoded"
                )));
            }
            ("scheme", "HTTP") => own.scheme = Scheme::Http,
            ("scheme", "HTTPS") => own.scheme = Scheme::Https,
            (key, _) => {
                return Err(wrong(format!(
                    "{key:?} is none of port, path and scheme (HTTP or HTTPS)"
                )));
            }
        }
    }
    Ok(Cow::Owned(own))
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 256
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte))
}

/// Asks the pods, or says what they said. What is to be asked now is handed over with the
/// assessment.
pub fn ask(subject: &Subject, gate: &AppGate, question: &Question, found: &mut Assessment) -> Gate {
    found.asked = true;
    found.memory.app.about(&question.change);
    let gate = match for_workload(gate, subject.workload) {
        Ok(gate) => gate,
        Err(wrong) => return Gate::closed(Reason::AppGateInvalid, wrong, None),
    };
    if let Some(closed) = unseen(subject) {
        found.go_on_talking();
        return Gate::Closed(closed);
    }
    // Those that are ending anyway are not ended by this.
    let pods: Vec<_> =
        question.pods.iter().copied().filter(|pod| pod.terminating.is_none()).collect();
    if pods.is_empty() {
        return Gate::Open;
    }
    let unprepared = if question.reverts {
        None
    } else {
        prepare::ask(subject, &gate, &question.change, &pods, found)
    };
    if let Some(closed) = unprepared {
        return Gate::Closed(closed);
    }
    let nobody =
        tally(&gate, question, (&pods, subject.templates()), &found.memory.app, subject.now())
            .counts_nobody();
    found.memory.app.nobody_since =
        nobody.then(|| found.memory.app.nobody_since.unwrap_or(subject.now()));
    let verdict =
        judge(&gate, question, (&pods, subject.templates()), &found.memory.app, subject.now());
    if !pods.iter().any(|pod| pod.reach.running && place(pod, &gate, subject.templates()).is_ok()) {
        // Nobody can be asked, so there is no round to wait for.
        if let Gate::Closed(Closed { ask_again: Some(time), .. }) = &verdict {
            found.wake_at(*time);
        }
        return verdict;
    }
    let due = due(subject, &gate, &pods, &found.memory.app);
    let calling = found.memory.app.calling.contains(&Errand::Ask);
    // What was said counts for as long as it would until the next round, however long the round
    // took.
    let fresh = found
        .memory
        .app
        .round
        .is_some_and(|(_, ended)| later(ended, gate.period.length()) > subject.now());
    match verdict {
        Gate::Open if fresh && due.is_some() && !calling => Gate::Open,
        Gate::Open => {
            call(subject, &gate, &question.change, &pods, due, found);
            Gate::closed(
                Reason::AskingPods,
                "asking its pods whether they may be terminated".to_owned(),
                None,
            )
        }
        closed @ Gate::Closed(_) => {
            call(subject, &gate, &question.change, &pods, due, found);
            closed
        }
    }
}

/// Pods come on another watch than their workload, and to a Deployment only by its ReplicaSets. As
/// long as there are more than were seen, nobody can say whom a release would end.
fn unseen(subject: &Subject) -> Option<Closed> {
    let (workload, current) = (subject.workload, subject.workload.rollout.current as usize);
    let behind = if workload.id.kind.capabilities().counts_terminating {
        // And those that have ended and stay for a while.
        let ended = |pod: &&Pod| {
            pod.finished
                && pod.terminating.is_none()
                && pod.controller.as_ref() == Some(&workload.uid)
        };
        subject.pods.len() < current
            && subject.pods.len() + subject.namespace().pods.values().filter(ended).count()
                < current
    } else {
        subject.pods.iter().filter(|pod| pod.terminating.is_none()).count() < current
    };
    // It is told once that the gate is closed, not each time that a pod appears.
    let told = subject.memory.gate.map(|(reason, _)| reason).filter(|reason| rank(*reason) == APP);
    let closed = || Closed {
        reason: told.unwrap_or(Reason::AskingPods),
        message: "not all of its pods are seen yet".to_owned(),
        ask_again: None,
    };
    behind.then(closed)
}

/// When the next round is due; none: at once.
fn due(subject: &Subject, gate: &AppGate, pods: &[&Pod], said: &Conversation) -> Option<Timestamp> {
    let (begun, ended) = said.round?;
    let known = |pod: &&&Pod| {
        said.readings.get(&pod.uid).is_some_and(|reading| reading.restarts == pod.restarts)
    };
    let unknown = |pod: &&Pod| {
        pod.reach.running && !known(&pod) && place(pod, gate, subject.templates()).is_ok()
    };
    (!pods.iter().any(unknown)).then(|| later(begun, gate.period.length()).max(ended))
}

/// Begins a round, if it is time for one.
fn call(
    subject: &Subject,
    gate: &AppGate,
    change: &str,
    pods: &[&Pod],
    due: Option<Timestamp>,
    found: &mut Assessment,
) {
    if let Some(due) = due.filter(|due| *due > subject.now()) {
        return found.wake_at(due);
    }
    let app = &found.memory.app;
    let heard =
        |pod: &Pod| app.readings.get(&pod.uid).filter(|reading| reading.restarts == pod.restarts);
    let asked = pods.iter().filter(|pod| {
        pod.reach.running && heard(pod).is_none_or(|reading| reading.not_before <= subject.now())
    });
    let visits: Vec<Visit> =
        asked.filter_map(|pod| place(pod, gate, subject.templates()).ok()).collect();
    if visits.is_empty() {
        // Nobody can be asked now: those that hang have their pause, the others' watch tells when
        // they can.
        let next = pods
            .iter()
            .filter_map(|pod| heard(pod))
            .map(|reading| reading.not_before)
            .filter(|time| *time > subject.now())
            .min();
        return next.into_iter().for_each(|time| found.wake_at(time));
    }
    found.call(subject, Errand::Ask, change, gate, visits);
}

/// What the pods said, taken together. How old it is, is not looked at.
pub fn judge(
    gate: &AppGate,
    question: &Question,
    asked: (&[&Pod], Templates),
    said: &Conversation,
    now: Timestamp,
) -> Gate {
    verdict(gate, question, asked.0, &tally(gate, question, asked, said, now), said, now)
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
        let known = said.readings.get(&pod.uid);
        // One that has just said something is only silent for a moment, Ready or not.
        let spoke = said
            .spoke
            .get(&pod.uid)
            .is_some_and(|spoke| later(*spoke, gate.broken_after.length()) > now);
        let counts = is_ready(pod, gate, now) || (spoke && !question.reverts);
        match known.filter(|reading| reading.restarts == pod.restarts) {
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
                Err(why) if counts => tally.silent.push((&pod.name, why)),
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
    tally: &Tally,
    said: &Conversation,
    now: Timestamp,
) -> Gate {
    let Tally { yes, few, no, silent, missing, not_asked, unheard } = tally;
    let again = format!("asked again every {}", gate.period);
    let agree = format!("{} of {} pods say yes", yes + few, pods.len());
    if !no.is_empty() {
        let named: Vec<_> = no
            .iter()
            .take(NAMED)
            .map(|(name, words, since)| says_no(name, words, *since))
            .collect();
        let others = no.len().saturating_sub(NAMED);
        let others = if others > 0 { format!(", and {others} more say no") } else { String::new() };
        return Gate::closed(
            Reason::AppGateClosed,
            format!("{}{others}; {agree}; {again}", named.join(", ")),
            None,
        );
    }
    if let Some((name, why)) = not_asked.first().filter(|_| !question.reverts) {
        return Gate::closed(
            Reason::AppUnreachable,
            format!("{name} cannot be asked: {why}; {agree}; {again}"),
            None,
        );
    }
    let all_missing = !missing.is_empty() && yes + few + silent.len() == 0;
    let different = missing
        .iter()
        .filter(|_| !all_missing)
        .map(|(name, status)| (*name, format!("it answers {status}, other pods do not")));
    let silent: Vec<_> = silent.iter().cloned().chain(different).collect();
    // A revert waits only for pods that say no.
    let holds = |otherwise: Otherwise| otherwise == Otherwise::Hold && !question.reverts;
    if let Some((name, why)) = silent.first().filter(|_| holds(gate.when_unreachable)) {
        let others = match silent.len() - 1 {
            0 => String::new(),
            1 => ", and from 1 more pod".to_owned(),
            others => format!(", and from {others} more pods"),
        };
        let message = format!(
            "no usable answer from {name}: {why}{others}; {agree}; {again} at {} (whenUnreachable: Hold)",
            url(gate)
        );
        return Gate::closed(Reason::AppUnreachable, message, None);
    }
    if let Some((_, status)) = missing.first().filter(|_| all_missing && holds(gate.when_missing)) {
        let message = format!(
            "its pods do not have the endpoint: each answers {status} at {}. Add the endpoint to the app, or set gates.app.whenMissing: Open; {again}",
            url(gate)
        );
        return Gate::closed(Reason::AppMissing, message, None);
    }
    if *unheard > 0 {
        return Gate::closed(
            Reason::AskingPods,
            format!("asking {unheard} of {} pods whether they may be ended", pods.len()),
            None,
        );
    }
    if *few > 0 {
        let message = format!(
            "{few} of {} pods have not answered yes {} times in a row yet; {again}",
            pods.len(),
            gate.successes
        );
        return Gate::closed(Reason::AskingPods, message, None);
    }
    if tally.counts_nobody() && !question.reverts && !question.broken {
        return nobody_left(gate, question, pods, said, now);
    }
    Gate::Open
}

fn says_no(name: &str, words: &str, since: Timestamp) -> String {
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    format!("{name} has answered no since {}{words}", clock(since))
}

fn url(gate: &AppGate) -> String {
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
) -> Gate {
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
    match later(silent.chain(spoke).fold(since, Timestamp::max), gate.broken_after.length()) {
        due if due <= now => Gate::Open,
        due => {
            let message = format!(
                "no pod is Ready and none answers; if this continues until {}, the change is released (brokenAfter: {})",
                clock(due),
                gate.broken_after
            );
            Gate::closed(Reason::AppUnreachable, message, Some(due))
        }
    }
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

/// Between checks of whether the gate works at all.
const VERIFY_EVERY: Duration = Duration::from_secs(600);

/// Asks one pod of a workload whether the gate is set up rightly, at adoption and every 10 minutes:
/// what is wrong shows before the first upgrade is held.
pub fn verify(subject: &Subject, gate: &AppGate, found: &mut Assessment) {
    let gate = match for_workload(gate, subject.workload) {
        Ok(gate) => gate,
        Err(wrong) => {
            found.unverified_gate = Some(wrong);
            return;
        }
    };
    let candidates = || {
        subject
            .pods
            .iter()
            .filter(|pod| pod.ready && pod.reach.running && pod.terminating.is_none())
    };
    if candidates().next().is_none() {
        return;
    }
    found.memory.app.verified.take_if(|verified| verified.gate != *gate);
    let due = found
        .memory
        .app
        .verified
        .as_ref()
        .map(|verified| later(verified.at, VERIFY_EVERY + spread(subject.workload)));
    match due {
        Some(due) if due > subject.now() => found.wake_at(due),
        _ => match candidates().find_map(|pod| place(pod, &gate, subject.templates()).ok()) {
            Some(visit) => found.call(subject, Errand::Verify, "verify", &gate, vec![visit]),
            None => {
                found.unverified_gate = candidates().find_map(|pod| {
                    Some(format!("{}: {}", pod.name, place(pod, &gate, subject.templates()).err()?))
                })
            }
        },
    }
    found.gate_asked = found.memory.app.verified.is_some();
    if let Some(verified) = &found.memory.app.verified
        && let Some(trouble) = verified.answer.trouble()
    {
        found.unverified_gate = Some(format!("{}: {trouble} at {}", verified.pod, url(&gate)));
    }
}

/// So that not all workloads are asked in the same moment.
fn spread(workload: &Workload) -> Duration {
    let sum = workload
        .uid
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Duration::from_secs(sum % 60)
}

impl Conversation {
    /// What was said about another change is void.
    pub fn about(&mut self, change: &str) {
        if self.change != change {
            change.clone_into(&mut self.change);
            (self.round, self.preparing_since, self.respite, self.nobody_since) =
                (None, None, None, None);
            self.readings.clear();
        }
    }

    /// Nothing is asked about now.
    pub fn about_nothing(&mut self) {
        self.about("");
    }

    /// Forgets pods that are gone.
    pub fn keep_only(&mut self, there: &BTreeSet<&str>) {
        self.spoke.retain(|pod, _| there.contains(&**pod));
        self.readings.retain(|pod, _| there.contains(&**pod));
    }
}

//! A story as a tired person reads it: first in sentences, then the details.

use std::{collections::BTreeSet, fmt::Write};

use jiff::Timestamp;
use lockkeeper::{
    api::{Phase, Reason},
    core::clock,
};

use super::story::{Asked, Compared, Ends, PodStory, Story};
use crate::{live::length, style};

/// Tells a story. `all` has also what is in order.
pub fn tell(story: &Story, all: bool, now: Timestamp) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} in namespace {}\n", style::name(&story.workload), story.namespace);
    for sentence in sentences(story, now) {
        let _ = writeln!(text, "{sentence}");
    }
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = write!(text, "\n{}\n  {}\n", style::name(title), lines.join("\n  "));
        }
    };
    section("What changed", story.changed.clone());
    let gates = story.gates.iter().map(|one| gate(one, &story.message));
    section("Gates, in order", gates.collect());
    let width = story.commands.iter().map(|one| one.to.len()).max().unwrap_or_default();
    section(
        "What you can do",
        story.commands.iter().map(|one| format!("{:<width$}  {}", one.to, one.command)).collect(),
    );
    // While a change is held, its pods are of the revision before; that some are of another one is
    // worth a word.
    let revisions: BTreeSet<_> = story.pods.iter().map(|pod| &pod.revision).collect();
    let old = |one: &PodStory| {
        !one.newest
            && (revisions.len() > 1 || !story.change.as_ref().is_some_and(|change| change.held))
    };
    section("Pods", story.pods.iter().map(|one| pod(one, old(one))).collect());
    let reads = story.reads.iter().filter(|_| all || story.phase.is_some());
    section(
        "What it reads",
        reads.map(|one| format!("{}: {}", one.reference, compared(one.compared))).collect(),
    );
    let events = story.events.iter().map(|one| {
        format!("{}  {}: {}", one.at.strftime("%Y-%m-%d %H:%M:%S"), one.reason, one.note)
    });
    section("Events from Lockkeeper (UTC)", events.collect());
    text
}

/// How things stand, and what comes next.
fn sentences(story: &Story, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    match (&story.policy, story.policy_gone, story.phase) {
        (Some(policy), true, _) => {
            found.push(format!("Policy {policy} governed it, and has been deleted."))
        }
        (Some(_), false, Some(phase)) => found.extend(standing(story, phase, now)),
        _ => {
            let why = story.left_out.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            found
                .push(format!("No policy governs it{why}. A change to its template rolls out immediately. A config change rolls nothing."));
        }
    }
    if let Some(change) = &story.change {
        found.push(match (&change.by, change.held) {
            (Some(by), _) => format!("Change {} was made by {by}.", change.id),
            (None, _) if change.id.starts_with("c-") => {
                format!("Change {} is a change of config.", change.id)
            }
            _ => format!("Change {} is released, and rolls out pod by pod.", change.id),
        });
        let since = change.since.map(|since| {
            format!("It has been waiting since {} ({})", clock(since), length(since, now))
        });
        let approved = change.approved_by.as_ref().map(|by| format!("{by} approved it"));
        let parts: Vec<_> = since.into_iter().chain(approved).collect();
        if !parts.is_empty() {
            found.push(format!("{}.", parts.join("; ")));
        }
        if change.held {
            found.push("Running pods are unaffected, even if Lockkeeper is down.".to_owned());
        }
        found.extend(change.notes.iter().map(|note| format!("{note}.")));
        found.extend(next(&story.gates));
    }
    if let Some(why) = &story.not_enforced {
        found.push(style::bad(&format!("Holds are NOT enforced: {why}.")));
    }
    found
}

fn standing(story: &Story, phase: Phase, now: Timestamp) -> Vec<String> {
    let policy = story.policy.as_deref().unwrap_or_default();
    let reason = story.reason.map_or_else(String::new, |reason| format!(" ({})", reason.as_str()));
    let why = full(&story.message);
    let since =
        story.since.map_or_else(String::new, |since| format!(" for {}", length(since, now)));
    let counts = &story.rollout;
    let pods = format!(
        "{} of {} pods run the newest template, and {} are available",
        counts.updated, counts.wanted, counts.available
    );
    let governed = if story.observed {
        observed(story, policy)
    } else {
        format!("Policy {policy} governs it.")
    };
    let with = |sentence: String| vec![style::care(&sentence), governed.clone()];
    match phase {
        Phase::UpToDate if story.observed => {
            vec![style::good(&format!("Up to date: {pods}. Their config is current.")), governed]
        }
        Phase::UpToDate => vec![
            match crashing(story) {
                Some(crashing) => style::care(&format!(
                    "Up to date, but its pods crash: {crashing}. {}.",
                    sentence(&pods)
                )),
                None => style::good(&format!("Up to date: {pods}. Their config is current.")),
            },
            match story.holds_changes && story.not_enforced.is_none() {
                true => format!("{governed} A change to its template would be held."),
                false if story.holds_changes => {
                    format!(
                        "{governed} A change to its template may roll out immediately, although its policy has gates."
                    )
                }
                false => format!("{governed} A change to its template rolls out immediately."),
            },
        ],
        Phase::Held if story.reason == Some(Reason::Releasing) => {
            vec![style::good(&sentence(&why))]
        }
        Phase::Held => with(format!("A change is held{reason}: {why}")),
        Phase::Failed => vec![
            style::bad(&format!("Its rollout has failed{reason}: {why}")),
            format!("{}. {governed}", sentence(&pods)),
        ],
        Phase::Rolling => with(format!("It has been rolling out{since}{reason}: {why}")),
        Phase::Maintenance => with(format!("It is in maintenance{reason}: {why}")),
        Phase::WaitsForUser => with(format!("It is waiting for you{reason}: {why}")),
        Phase::Limited => {
            with(format!("It has reached its limit of config rollouts{reason}: {why}"))
        }
        Phase::Settling | Phase::Waiting => {
            let first = match story.reason {
                Some(Reason::ConfigMissing) => "Config that its pods need is missing",
                _ => "Its config changed, and not all of its pods use it yet",
            };
            with(format!("{first}{reason}: {why}"))
        }
        Phase::WouldRoll | Phase::WouldHold => {
            with(format!("The policy only reports this{reason}: {why}"))
        }
        Phase::Unsupported => vec![
            format!("It is up to date, but its changes cannot be held{reason}: {why}"),
            governed,
        ],
    }
}

/// What a policy that only observes would do.
fn observed(story: &Story, policy: &str) -> String {
    if story.change.is_some() {
        return format!(
            "Policy {policy} only observes it (mode: Observe): no gate is asked, and what is held stays held."
        );
    }
    let first = format!(
        "Policy {policy} only observes it (mode: Observe): a change to its template rolls out immediately."
    );
    match story.would_wait_for.as_slice() {
        [] => first,
        gates => format!("{first} With mode: Enforce it would wait for: {}.", gates.join(", ")),
    }
}

/// The pods that run, and have crashed a short while ago.
fn crashing(story: &Story) -> Option<String> {
    let crashing = story
        .pods
        .iter()
        .filter(|pod| !pod.terminating)
        .filter_map(|pod| Some(format!("{} ({})", pod.name, pod.trouble.as_ref()?)));
    let crashing: Vec<_> = crashing.collect();
    (!crashing.is_empty()).then(|| crashing.join(", "))
}

/// What the gates mean for what comes next.
fn next(gates: &[Asked]) -> Option<String> {
    let closed: Vec<_> =
        gates.iter().filter(|gate| gate.open == Some(false)).map(|gate| gate.name).collect();
    let later: Vec<_> =
        gates.iter().filter(|gate| gate.open.is_none()).map(|gate| gate.name).collect();
    let after = match later.as_slice() {
        [] => "",
        ["steps"] => " Then it waits for its turn.",
        ["app"] => " Then its pods are asked.",
        _ => " Then it waits for its turn, and its pods are asked.",
    };
    Some(match closed.as_slice() {
        [] if gates.is_empty() => return None,
        [] => "No gate that this command can check is closed, so it continues automatically."
            .to_owned(),
        [one] => format!("It continues automatically when this gate opens: {one}.{after}"),
        several => format!(
            "It continues automatically when these gates open: {}.{after}",
            several.join(", ")
        ),
    })
}

/// With the full stop that a message may have or not.
fn full(message: &str) -> String {
    let stop = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{message}{stop}")
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `said` stands in the first sentence.
fn gate(gate: &Asked, said: &str) -> String {
    let state = match gate.open {
        Some(true) if gate.message.is_empty() => style::good("open"),
        Some(true) => format!("{}: {}", style::good("open"), gate.message),
        Some(false) if said.contains(&gate.message) => style::bad("closed"),
        Some(false) => format!("{}: {}", style::bad("closed"), gate.message),
        None => style::quiet("checked after the gates above open"),
    };
    format!("{:<9} {state}", gate.name)
}

fn pod(pod: &PodStory, old: bool) -> String {
    let mut words = vec![if pod.ready { style::good("ready") } else { style::bad("not ready") }];
    match &pod.ends {
        None => {}
        Some(Ends::Finished) => words.push("finished, not yet removed".to_owned()),
        Some(Ends::Until(until)) => words.push(format!("terminating (until {})", clock(*until))),
        Some(Ends::Overdue { since, node }) => {
            let node = node.as_ref().map_or_else(String::new, |node| format!(" on node {node}"));
            words.push(style::bad(&format!(
                "terminating{node}, and should have ended by {}",
                clock(*since)
            )));
        }
    }
    if old {
        words.push("of an older revision".to_owned());
    }
    words.extend(pod.trouble.clone());
    if let Some(said) = &pod.says {
        let since = said.since.map_or_else(String::new, |since| format!(" since {}", clock(since)));
        let quoted =
            if said.words.is_empty() { String::new() } else { format!(": {}", said.words) };
        words.push(format!("answer {}{since}{quoted}", said.answer));
    }
    format!("{:<30} {}", pod.name, words.join(", "))
}

fn compared(compared: Compared) -> String {
    match compared {
        Compared::Different | Compared::BeingRolled => style::care(compared.words()),
        Compared::Same => compared.words().to_owned(),
        Compared::Unverified | Compared::NotLookedAt => style::quiet(compared.words()),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::story::{Waiting, named},
        *,
    };

    fn plain(story: &Story) -> String {
        let now = Timestamp::from_second(1_000_192).unwrap();
        anstream::adapter::strip_str(&tell(story, false, now)).to_string()
    }

    fn asked(name: &'static str, open: Option<bool>) -> Asked {
        Asked { name, open, message: "because".to_owned() }
    }

    #[test]
    fn a_held_change_reads_like_an_explanation() {
        let mut story = named("deployment/web");
        (story.policy, story.phase, story.reason) =
            (Some("shop".to_owned()), Some(Phase::Held), Some(Reason::ApprovalRequired));
        story.message = "not approved yet".to_owned();
        story.change = Some(Waiting {
            id: "7".to_owned(),
            by: Some("ann".to_owned()),
            authors: vec!["ann".to_owned()],
            since: Timestamp::from_second(1_000_000).ok(),
            approved_by: None,
            notes: vec!["Its replicas stay at 4 until then".to_owned()],
            held: true,
        });
        story.gates =
            vec![asked("windows", Some(true)), asked("approval", Some(false)), asked("app", None)];
        let text = plain(&story);
        for part in [
            "A change is held (ApprovalRequired): not approved yet.",
            "Change 7 was made by ann.\nIt has been waiting since 1970-01-12 13:46:40 UTC (3m 12s).",
            "Running pods are unaffected, even if Lockkeeper is down.",
            "Its replicas stay at 4 until then.",
            "It continues automatically when this gate opens: approval. Then its pods are asked.",
            "approval  closed: because",
            "app       checked after the gates above open",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn every_phase_is_told_in_a_sentence() {
        for phase in [
            Phase::Held,
            Phase::Failed,
            Phase::WaitsForUser,
            Phase::Maintenance,
            Phase::Rolling,
            Phase::Limited,
            Phase::Settling,
            Phase::Waiting,
            Phase::WouldRoll,
            Phase::WouldHold,
            Phase::Unsupported,
            Phase::UpToDate,
        ] {
            let mut story = named("deployment/web");
            (story.policy, story.phase, story.message) =
                (Some("shop".to_owned()), Some(phase), "the reason why".to_owned());
            let text = plain(&story);
            assert!(
                phase == Phase::UpToDate || text.contains("the reason why."),
                "{phase}: {text}"
            );
            assert!(text.contains("Policy shop governs it."), "{phase}: {text}");
        }
        let mut story = named("deployment/web");
        (story.policy, story.phase, story.holds_changes) =
            (Some("shop".to_owned()), Some(Phase::UpToDate), true);
        assert!(plain(&story).contains("A change to its template would be held."));
        story.not_enforced = Some("the API server does not serve them".to_owned());
        assert!(
            !plain(&story).contains("would be held")
                && plain(&story).contains("may roll out immediately"),
            "{}",
            plain(&story)
        );
        let text = plain(&named("deployment/web"));
        assert!(
            text.contains("No policy governs it. A change to its template rolls out immediately."),
            "{text}"
        );
    }

    #[test]
    fn a_policy_that_only_observes_says_what_it_would_do() {
        let mut story = named("deployment/web");
        (story.policy, story.phase, story.observed) =
            (Some("shop".to_owned()), Some(Phase::UpToDate), true);
        story.would_wait_for = vec!["approval", "app"];
        let text = plain(&story);
        let part = "Policy shop only observes it (mode: Observe): a change to its template rolls out immediately. With mode: Enforce it would wait for: approval, app.";
        assert!(text.contains(part), "{text}");
    }

    /// Its gates are not asked, so that it does not continue when they open.
    #[test]
    fn what_is_held_stays_held_while_its_policy_observes() {
        let mut story = named("deployment/web");
        (story.policy, story.phase, story.reason) =
            (Some("shop".to_owned()), Some(Phase::Held), Some(Reason::ObserveMode));
        (story.observed, story.would_wait_for) = (true, vec!["approval"]);
        story.change = Some(Waiting {
            id: "7".to_owned(),
            by: Some("ann".to_owned()),
            authors: Vec::new(),
            since: None,
            approved_by: None,
            notes: Vec::new(),
            held: true,
        });
        let text = plain(&story);
        assert!(
            text.contains(
                "only observes it (mode: Observe): no gate is asked, and what is held stays held."
            ),
            "{text}"
        );
        assert!(!text.contains("automatically") && !text.contains("immediately"), "{text}");
    }

    #[test]
    fn what_the_first_sentence_says_is_not_said_again() {
        let mut story = named("deployment/web");
        (story.policy, story.phase, story.message) =
            (Some("shop".to_owned()), Some(Phase::Held), "because".to_owned());
        story.gates = vec![asked("approval", Some(false))];
        let text = plain(&story);
        assert_eq!(text.matches("because").count(), 1, "{text}");
        assert!(text.contains("approval  closed\n"), "{text}");
    }

    #[test]
    fn a_message_ends_with_one_full_stop() {
        for message in ["because", "because."] {
            let mut story = named("deployment/web");
            (story.policy, story.phase, story.message) =
                (Some("shop".to_owned()), Some(Phase::Held), message.to_owned());
            let text = plain(&story);
            assert!(text.contains("A change is held: because.\n"), "{text}");
        }
    }

    #[test]
    fn old_pods_are_named_where_they_are_not_all_the_same() {
        let pod = |name: &str, revision: &str, newest| PodStory {
            name: name.to_owned(),
            ready: true,
            newest,
            revision: Some(revision.to_owned()),
            terminating: false,
            ends: None,
            trouble: None,
            says: None,
        };
        let mut story = named("deployment/web");
        story.pods = vec![pod("a", "1", false), pod("b", "2", true)];
        assert_eq!(plain(&story).matches("of an older revision").count(), 1);
        // While its change is held, all are old.
        story.pods = vec![pod("a", "1", false), pod("b", "1", false)];
        assert_eq!(plain(&story).matches("of an older revision").count(), 2);
        story.change = Some(Waiting {
            id: "7".to_owned(),
            by: Some("ann".to_owned()),
            authors: Vec::new(),
            since: None,
            approved_by: None,
            notes: Vec::new(),
            held: true,
        });
        assert_eq!(plain(&story).matches("of an older revision").count(), 0);
    }

    #[test]
    fn how_far_a_pod_is_that_ends_slowly_is_told() {
        let until = Timestamp::from_second(1_000_200).unwrap();
        for (ends, expected) in [
            (None, "ready, of an older revision"),
            (
                Some(Ends::Until(until)),
                "ready, terminating (until 1970-01-12 13:50:00 UTC), of an older revision",
            ),
            (Some(Ends::Finished), "ready, finished, not yet removed, of an older revision"),
            (
                Some(Ends::Overdue { since: until, node: Some("node-1".to_owned()) }),
                "ready, terminating on node node-1, and should have ended by 1970-01-12 13:50:00 UTC, of an older revision",
            ),
            (
                Some(Ends::Overdue { since: until, node: None }),
                "ready, terminating, and should have ended by 1970-01-12 13:50:00 UTC, of an older revision",
            ),
        ] {
            let mut story = named("deployment/web");
            story.pods = vec![PodStory {
                name: "web-1".to_owned(),
                ready: true,
                newest: false,
                revision: Some("1".to_owned()),
                terminating: ends.is_some(),
                ends,
                trouble: None,
                says: None,
            }];
            let text = plain(&story);
            assert!(
                text.lines()
                    .any(|line| line.trim_start().starts_with("web-1") && line.ends_with(expected)),
                "{expected}:\n{text}"
            );
        }
    }

    #[test]
    fn what_the_gates_mean_is_said() {
        for (gates, expected) in [
            (vec![], None),
            (
                vec![asked("windows", Some(true))],
                Some(
                    "No gate that this command can check is closed, so it continues automatically.",
                ),
            ),
            (
                vec![asked("windows", Some(false)), asked("approval", Some(false))],
                Some("It continues automatically when these gates open: windows, approval."),
            ),
        ] {
            assert_eq!(next(&gates).as_deref(), expected);
        }
    }
}

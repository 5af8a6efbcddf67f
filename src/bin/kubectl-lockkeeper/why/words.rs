//! A story as a tired person reads it: first in sentences, then the details.

use std::fmt::Write;

use jiff::Timestamp;
use lockkeeper::{
    api::{Phase, Reason},
    core::clock,
};

use super::story::{Asked, Compared, PodStory, Story, why_held};
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
    section("Gates, in this order", story.gates.iter().map(gate).collect());
    let width = story.commands.iter().map(|one| one.to.len()).max().unwrap_or_default();
    section("What you can do", story.commands.iter().map(|one| format!("{:<width$}  {}", one.to, one.command)).collect());
    section("Pods", story.pods.iter().map(pod).collect());
    let reads = story.reads.iter().filter(|_| all || story.phase.is_some());
    section("What it reads", reads.map(|one| format!("{}: {}", one.reference, compared(one.compared))).collect());
    let events = story.events.iter().map(|one| format!("{}  {}: {}", one.at.strftime("%Y-%m-%d %H:%M:%S"), one.reason, one.note));
    section("Events of Lockkeeper (UTC)", events.collect());
    text
}

/// What is the matter, and what comes next.
fn sentences(story: &Story, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    match (&story.policy, story.policy_gone, story.phase) {
        (Some(policy), true, _) => found.push(format!("Policy {policy} governed it, and is gone.")),
        (Some(_), false, Some(phase)) => found.extend(standing(story, phase, now)),
        _ => found.push(match &story.left_out {
            Some(why) => format!("No policy governs it: {why}. Changes of it roll at once, and changed config rolls nothing."),
            None => "No policy governs it: changes of it roll at once, and changed config rolls nothing.".to_owned(),
        }),
    }
    if let Some(change) = &story.change {
        let who = match (&change.by, change.held) {
            (Some(by), _) => format!("Change {} was made by {by}", change.id),
            (None, _) if change.id.starts_with("c-") => format!("Change {} is one of config", change.id),
            _ => format!("Change {} was let through, and goes pod by pod", change.id),
        };
        let since = change.since.map_or_else(String::new, |since| format!(" and waits since {} ({})", clock(since), length(since, now)));
        let approved = change.approved_by.as_ref().map_or_else(String::new, |by| format!("; {by} approved it"));
        found.push(format!("{who}{since}{approved}."));
        if change.held {
            found.push("Its pods run on as they were: nothing of it has started, and it stays so while Lockkeeper is down.".to_owned());
        }
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
    let why = without_command(why_held(&story.message));
    let since = story.since.map_or_else(String::new, |since| format!(" for {}", length(since, now)));
    let counts = &story.rollout;
    let pods = format!("{} of {} pods are of the newest template, {} available", counts.updated, counts.wanted, counts.available);
    let governed = format!("Policy {policy} governs it.");
    match phase {
        Phase::UpToDate => vec![
            match crashing(story) {
                Some(crashing) => style::care(&format!("It is up to date, but its pods crash: {crashing}. {}.", sentence(&pods))),
                None => style::good(&format!("All is well: {pods}, and their config is the newest.")),
            },
            match story.holds_changes {
                true => format!("{governed} A change of its template would be held."),
                false => format!("{governed} A change of its template rolls at once."),
            },
        ],
        Phase::Held if story.reason == Some(Reason::Releasing) => vec![style::good(&format!("{}.", sentence(why)))],
        Phase::Held => vec![style::care(&format!("A change of it is held{reason}: {why}.")), governed],
        Phase::Failed => vec![style::bad(&format!("Its rollout has failed{reason}: {why}.")), format!("{}. {governed}", sentence(&pods))],
        Phase::Rolling => vec![style::care(&format!("It is being rolled out{since}{reason}: {why}.")), governed],
        Phase::WaitsForUser => vec![style::care(&format!("It waits for you{reason}: {why}.")), governed],
        Phase::Limited => vec![style::care(&format!("It was rolled often enough{reason}: {why}.")), governed],
        Phase::Settling | Phase::Waiting => {
            let first = match story.reason {
                Some(Reason::ConfigMissing) => "Config that its pods need is missing",
                _ => "Its config changed, and not all of its pods run on it yet",
            };
            vec![style::care(&format!("{first}{reason}: {why}.")), governed]
        }
        Phase::WouldRoll | Phase::WouldHold => vec![style::care(&format!("Nothing is done about it, only said{reason}: {why}.")), governed],
        Phase::Unsupported => vec![format!("It is up to date, but cannot be held{reason}: {why}."), governed],
    }
}

/// The pods that run, and have crashed a short while ago.
fn crashing(story: &Story) -> Option<String> {
    let crashing = story.pods.iter().filter(|pod| !pod.going).filter_map(|pod| Some(format!("{} ({})", pod.name, pod.trouble.as_ref()?)));
    let crashing: Vec<_> = crashing.collect();
    (!crashing.is_empty()).then(|| crashing.join(", "))
}

/// What the gates mean for what comes next.
fn next(gates: &[Asked]) -> Option<String> {
    let closed: Vec<_> = gates.iter().filter(|gate| gate.open == Some(false)).map(|gate| gate.name).collect();
    let later: Vec<_> = gates.iter().filter(|gate| gate.open.is_none()).map(|gate| gate.name).collect();
    let turn = |name: &&str| if *name == "app" { "its pods are asked" } else { "its turn is waited for" };
    let after =
        if later.is_empty() { String::new() } else { format!("; then {}", later.iter().map(turn).collect::<Vec<_>>().join(", and ")) };
    Some(match closed.as_slice() {
        [] if gates.is_empty() => return None,
        [] => "No gate that can be asked from here is closed: it goes on by itself.".to_owned(),
        [one] => format!("It goes on by itself once this gate is open: {one}{after}."),
        several => format!("It goes on by itself once these gates are open: {}{after}.", several.join(", ")),
    })
}

/// A message without the command in it, which is told with the others.
fn without_command(message: &str) -> &str {
    let ends = [". Or, with the right to: kubectl", ". With the right to: kubectl", ": kubectl annotate"];
    let end = ends.iter().filter_map(|end| message.find(end)).min();
    end.map_or(message, |end| &message[..end]).trim_end_matches('.')
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn gate(gate: &Asked) -> String {
    let state = match gate.open {
        Some(true) if gate.message.is_empty() => style::good("open"),
        Some(true) => format!("{}: {}", style::good("open"), gate.message),
        Some(false) => format!("{}: {}", style::bad("closed"), gate.message),
        None => style::quiet("not asked before those above are open"),
    };
    format!("{:<9} {state}", gate.name)
}

fn pod(pod: &PodStory) -> String {
    let mut words = vec![if pod.ready { style::good("ready") } else { style::bad("not ready") }];
    if pod.going {
        words.push("going".to_owned());
    }
    if !pod.newest {
        words.push("of another revision than the newest".to_owned());
    }
    words.extend(pod.trouble.clone());
    if let Some(said) = &pod.says {
        let since = said.since.map_or_else(String::new, |since| format!(" since {}", clock(since)));
        let quoted = if said.words.is_empty() { String::new() } else { format!(": {}", said.words) };
        words.push(format!("says {}{since}{quoted}", said.answer));
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
        (story.policy, story.phase, story.reason) = (Some("shop".to_owned()), Some(Phase::Held), Some(Reason::ApprovalRequired));
        story.message = "changed by ann, held since 1970-01-12 13:46:40 UTC: not approved yet".to_owned();
        story.change = Some(Waiting {
            id: "7".to_owned(),
            by: Some("ann".to_owned()),
            since: Timestamp::from_second(1_000_000).ok(),
            approved_by: None,
            held: true,
        });
        story.gates = vec![asked("windows", Some(true)), asked("approval", Some(false)), asked("app", None)];
        let text = plain(&story);
        for part in [
            "A change of it is held (ApprovalRequired): not approved yet.",
            "Change 7 was made by ann and waits since 1970-01-12 13:46:40 UTC (3m 12s).",
            "Its pods run on as they were",
            "It goes on by itself once this gate is open: approval; then its pods are asked.",
            "approval  closed: because",
            "app       not asked before those above are open",
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
            (story.policy, story.phase, story.message) = (Some("shop".to_owned()), Some(phase), "the reason why".to_owned());
            let text = plain(&story);
            assert!(phase == Phase::UpToDate || text.contains("the reason why."), "{phase}: {text}");
            assert!(text.contains("Policy shop governs it."), "{phase}: {text}");
        }
        let text = plain(&named("deployment/web"));
        assert!(text.contains("No policy governs it: changes of it roll at once"), "{text}");
    }

    #[test]
    fn commands_are_told_once() {
        for (message, expected) in [
            ("not approved yet: kubectl annotate -n shop deployment/web a=3", "not approved yet"),
            (
                "spec.mode is Freeze, until it is Enforce again. Or, with the right to: kubectl annotate x",
                "spec.mode is Freeze, until it is Enforce again",
            ),
            ("spec.paused is set; kubectl rollout resume lets it go on", "spec.paused is set; kubectl rollout resume lets it go on"),
        ] {
            assert_eq!(without_command(message), expected);
        }
    }

    #[test]
    fn what_the_gates_mean_is_said() {
        for (gates, expected) in [
            (vec![], None),
            (vec![asked("windows", Some(true))], Some("No gate that can be asked from here is closed: it goes on by itself.")),
            (
                vec![asked("windows", Some(false)), asked("approval", Some(false))],
                Some("It goes on by itself once these gates are open: windows, approval."),
            ),
        ] {
            assert_eq!(next(&gates).as_deref(), expected);
        }
    }
}

//! A plan as people read it.

use std::{collections::BTreeMap, fmt::Write};

use super::outcome::{Line, Outcome, Plan};
use crate::style;

/// The plan in words. `all` tells also of what stays as it is.
pub fn text(plan: &Plan, all: bool) -> String {
    let mut text = String::new();
    let mut lines: Vec<&Line> = plan
        .objects
        .iter()
        .filter(|line| all || line.outcome.happens() || !line.because.is_empty())
        .collect();
    lines.sort_by_key(|line| (&line.namespace, line.outcome, &line.object));
    let mut namespace = None;
    for line in lines {
        if namespace != Some(&line.namespace) {
            let _ = writeln!(
                text,
                "{}Namespace {}",
                if namespace.is_some() { "\n" } else { "" },
                line.namespace
            );
            namespace = Some(&line.namespace);
        }
        tell(line, &mut text);
    }
    if !plan.risks.is_empty() {
        let _ = writeln!(text, "\n{}", style::bad("At risk"));
        for risk in &plan.risks {
            let _ = writeln!(
                text,
                "  {}: {} (namespace {})",
                risk.reason, risk.message, risk.namespace
            );
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "{}", summary(plan));
    text
}

fn tell(line: &Line, text: &mut String) {
    let words = line.outcome.words();
    let coloured = match line.outcome {
        Outcome::Refused | Outcome::Roll | Outcome::NotRolled => style::bad(words),
        Outcome::Hold
        | Outcome::ConfigHold
        | Outcome::ConfigRoll
        | Outcome::WaitsForUser
        | Outcome::LetGo => style::care(words),
        Outcome::Unchanged => style::quiet(words),
        _ => style::good(words),
    };
    let policy =
        line.policy.as_ref().map_or_else(String::new, |policy| format!(" (policy {policy})"));
    let _ = writeln!(text, "  {} {coloured}{policy}", style::name(&line.object));
    if !line.changed.is_empty() {
        let _ = writeln!(text, "    changes: {}", line.changed.join("\n             "));
    }
    for wait in &line.waits_for {
        let _ = writeln!(text, "    waits for {wait}");
    }
    for sentence in &line.because {
        let _ = writeln!(text, "    {sentence}");
    }
}

/// How much of what, in a line.
fn summary(plan: &Plan) -> String {
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    for line in &plan.objects {
        *counts.entry(line.outcome).or_default() += 1;
    }
    let unchanged = counts.remove(&Outcome::Unchanged).unwrap_or_default();
    let stay = format!(
        "{unchanged} {}",
        if unchanged == 1 { "stays as it is" } else { "stay as they are" }
    );
    if !plan.happens() {
        return format!(
            "Nothing would happen: no pod would start, terminate or wait because of this ({stay})."
        );
    }
    let unknown = match plan.unknown.as_slice() {
        [] => String::new(),
        some => format!(" What happens to {} is not known.", some.join(", ")),
    };
    let mut parts: Vec<_> =
        counts.iter().map(|(outcome, number)| format!("{number} {}", outcome.words())).collect();
    if !plan.risks.is_empty() {
        parts.push(format!("{} at risk", plan.risks.len()));
    }
    if unchanged > 0 {
        parts.push(stay);
    }
    if parts.is_empty() {
        return unknown.trim_start().to_owned();
    }
    format!("{}.{unknown} Nothing was changed.", parts.join(", "))
}

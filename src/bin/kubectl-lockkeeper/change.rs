//! The change of a workload that waits, and the mark by which a person lets it through.

use lockkeeper::{
    api::marks,
    core::{
        gates::{
            blocker::{Blocker, GateName},
            words::sentence,
        },
        governs::{Standing, governance},
        observed::{Policy, Workload, WorkloadId},
    },
    marks::{ChangeId, MarkSet, Marks},
    shell::clock,
};
use serde_json::{Value, json};

use crate::{
    cluster::{ATTEMPTS, Cluster, Failure, Seen, annotation, lower, pointer},
    revisions::{differences, history, named_changes, settled},
    why::Pending,
};

/// A change that waits.
#[derive(Debug)]
pub struct Change {
    /// What approves it.
    pub id: ChangeId,
    pending: Pending,
}

/// What admission made of a mark.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts, as this user's.
    Counts(String),
    /// It was not checked: the admission policies are not there.
    Unseen,
    /// It was taken off: the change that it names is not the one that waits.
    Stale,
}

impl Change {
    /// The change that waits on a workload, provided it is the one that is named, if one is. `verb`
    /// is what is to be done with it.
    pub fn find(
        cluster: &Cluster,
        workload: &Workload,
        named: Option<&str>,
        verb: &str,
    ) -> Result<Self, Failure> {
        let (place, look) = (lower(&workload.id), cluster.command("why", &workload.id));
        if !workload.id.kind.can_be_held() {
            return Err(Failure::No(format!(
                "cannot {verb} {place}: the template of a DaemonSet is never held, and approvals of its config are not recorded. Change its policy. To see which: \
                 {look}"
            )));
        }
        let Some(pending) = Pending::on(workload) else {
            return Err(Failure::No(format!(
                "no change of {place} in namespace {} is waiting, so there is nothing to {verb}. To see its state: {look}",
                cluster.namespace
            )));
        };
        let change = Self { id: pending.id().clone(), pending };
        if verb == "approve" && change.walks() {
            return Err(Failure::No(format!(
                "change {} of {place} is already released, and rolls out pod by pod: it needs no further approval. To see what the next pod is waiting for: {look}. \
                 A bypass (verb bypass) releases all pods at once",
                change.id
            )));
        }
        match named {
            Some(named) if !change.id.is(named) => Err(Failure::No(format!(
                "change {named} of {place} is not the one that is waiting: that is {}{}. Nothing was changed. Look at it before you {verb} it: {look}",
                change.id,
                change.pending.authors().map_or_else(String::new, |by| format!(", made by {by}"))
            ))),
            _ => Ok(change),
        }
    }

    /// Whether it was let through already, and pods go for it one by one.
    fn walks(&self) -> bool {
        matches!(self.pending, Pending::Steps(_))
    }

    /// What it consists of, line by line: no values but images.
    pub async fn describe(
        &self,
        cluster: &Cluster,
        seen: &Seen,
        workload: &Workload,
    ) -> Result<String, Failure> {
        let by = match &self.pending {
            Pending::Template(hold) => format!(", made by {}", hold.authors),
            Pending::Config(_) => " (config)".to_owned(),
            Pending::Steps(_) => " (pod by pod)".to_owned(),
        };
        let mut lines = vec![format!(
            "Change {} of {} in namespace {}{by}",
            self.id,
            lower(&workload.id),
            cluster.namespace
        )];
        if matches!(self.pending, Pending::Template(_)) {
            let object = cluster.get(&workload.id).await?;
            let revisions = history(cluster, &workload.id, &object).await?;
            let live = &object["spec"]["template"];
            let all = settled(&workload.id, &object, &revisions)
                .map(|old| differences(&old.template_for(&object), live))
                .unwrap_or_default();
            lines.extend(named_changes(&all));
        }
        let config = seen
            .attention(&workload.id)
            .map_or(&[][..], |one| &one.changed)
            .iter()
            .filter(|what| *what != "template");
        lines.extend(config.map(|what| format!("{what}: changed")));
        Ok(lines.join("\n  ") + "\n")
    }

    /// The policy that judges it, if one does. Without one no approval counts, and nothing but a
    /// bypass lets it through.
    pub fn judge<'a>(&self, seen: &'a Seen, id: &WorkloadId) -> Option<&'a Policy> {
        let name = match governance(&seen.world).standings.get(id)? {
            Standing::Governed(policy, spec)
                if spec.needs_holds() || !matches!(self.pending, Pending::Template(_)) =>
            {
                policy.name.clone()
            }
            Standing::Frozen(policy) => policy.name.clone(),
            _ => return None,
        };
        seen.world.policies.get(&name)
    }

    /// The gates of its policy that are closed, each with why: those that can be asked from here.
    pub fn closed_gates(
        &self,
        seen: &Seen,
        workload: &Workload,
        policy: &Policy,
    ) -> Vec<(GateName, String)> {
        let Ok(spec) = &policy.spec else {
            return vec![(GateName::Freeze, sentence(&Blocker::PolicyUnreadable))];
        };
        let gates = self.pending.ask(seen, workload, (policy, spec), clock::now());
        gates.into_iter().filter_map(|(gate, blocked)| Some((gate, blocked?.sentence))).collect()
    }

    /// Puts a mark with its id on the workload: a patch that is void if another change waits by
    /// then. The object that it made, and what admission made of the mark.
    pub async fn put(
        &self,
        cluster: &Cluster,
        workload: &Workload,
        mark: &str,
        dry_run: bool,
    ) -> Result<(Value, Verdict), Failure> {
        let what = format!(
            "{} change {} of {}",
            mark.trim_start_matches(marks::PREFIX),
            self.id,
            lower(&workload.id)
        );
        let operation = json!({"op": "add", "path": pointer(mark), "value": self.id.to_string()});
        let object =
            self.write(cluster, workload, &what, &operation, dry_run).await?.unwrap_or_default();
        let verdict = verdict(&object, mark, &self.id.to_string());
        Ok((object, verdict))
    }

    /// Takes a mark off that does not count, where one stands: the same again would be no news to
    /// admission.
    pub async fn take_off(
        &self,
        cluster: &Cluster,
        workload: &Workload,
        mark: &str,
    ) -> Result<(), Failure> {
        if workload.marks.text(mark).as_deref() == Some(&*self.id.to_string()) {
            let what = format!("take {mark} off {}", lower(&workload.id));
            let operation = json!({"op": "remove", "path": pointer(mark)});
            self.write(cluster, workload, &what, &operation, false).await?;
        }
        Ok(())
    }

    /// Changes an annotation as long as this change waits: the object that it made, or none if
    /// another one waits by now. What names the change is compared here: the API server's JSON
    /// Patch finds a string with `&`, `<` or `>`, as users' names have, unequal to itself.
    async fn write(
        &self,
        cluster: &Cluster,
        workload: &Workload,
        what: &str,
        operation: &Value,
        dry_run: bool,
    ) -> Result<Option<Value>, Failure> {
        let mark = self.named_by();
        for _ in 0..ATTEMPTS {
            let object = cluster.get(&workload.id).await?;
            if Marks::of(&object).text(mark) != workload.marks.text(mark) {
                break;
            }
            let version = &object["metadata"]["resourceVersion"];
            let patch = vec![
                json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}),
                operation.clone(),
            ];
            if let Some(written) = cluster.patch(&workload.id, what, patch, dry_run).await? {
                return Ok(Some(written));
            }
        }
        Ok(None)
    }

    /// The mark that names this change on the workload.
    fn named_by(&self) -> &'static str {
        match self.pending {
            Pending::Template(_) => marks::HOLD,
            Pending::Config(_) => marks::PENDING_CONFIG,
            Pending::Steps(_) => marks::HOLD_SINCE,
        }
    }

    /// What to say when another change waits by now.
    pub fn passed(&self, cluster: &Cluster, id: &WorkloadId) -> Failure {
        Failure::No(format!(
            "change {} of {} is no longer waiting: the workload was changed again, or the change was released. Nothing was written. To see its state: {}",
            self.id,
            lower(id),
            cluster.command("why", id)
        ))
    }
}

fn verdict(object: &Value, mark: &str, id: &str) -> Verdict {
    let stands = annotation(object, mark) == Some(id);
    let by = match mark {
        marks::BYPASS => annotation(object, marks::BYPASSED_BY)
            .and_then(|text| text.strip_prefix(&format!("{id} by "))),
        _ => annotation(object, marks::APPROVED_BY).filter(|by| stands && !by.is_empty()),
    };
    match by {
        Some(by) => Verdict::Counts(by.to_owned()),
        None if stands => Verdict::Unseen,
        None => Verdict::Stale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_admission_made_of_a_mark_is_read_off_the_answer() {
        let answer = |annotations: Value| json!({"metadata": {"annotations": annotations}});
        for (annotations, mark, expected) in [
            (
                json!({marks::APPROVE: "7", marks::APPROVED_BY: "ann"}),
                marks::APPROVE,
                Verdict::Counts("ann".to_owned()),
            ),
            (json!({marks::APPROVE: "7"}), marks::APPROVE, Verdict::Unseen),
            (json!({marks::APPROVE: "7", marks::APPROVED_BY: ""}), marks::APPROVE, Verdict::Unseen),
            (json!({marks::APPROVED_BY: "ann"}), marks::APPROVE, Verdict::Stale),
            (
                json!({marks::BYPASSED_BY: "7 by ann"}),
                marks::BYPASS,
                Verdict::Counts("ann".to_owned()),
            ),
            (json!({marks::BYPASSED_BY: "71 by ann"}), marks::BYPASS, Verdict::Stale),
            (json!({marks::BYPASS: "7", marks::HOLD: "7 by bob"}), marks::BYPASS, Verdict::Unseen),
            (json!({marks::HOLD: "8 by bob"}), marks::BYPASS, Verdict::Stale),
        ] {
            assert_eq!(verdict(&answer(annotations.clone()), mark, "7"), expected, "{annotations}");
        }
    }
}

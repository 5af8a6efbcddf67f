//! What would come of an apply, by the rules by which the operator decides: the namespace as it is, and as it would be.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use jiff::Timestamp;
use lockkeeper::{
    api::{ChangeCause, ConfigSpec, ExclusiveClaims, Mode, OnChange, Protection, Reason, RestartWith, UpgradePolicySpec, VolumesSpec, WhenUngoverned, WorkloadKind},
    core::{
        arrange::{freezing_spec, groups},
        config::{
            change::{self, Comparison},
            desired::resolve,
            digest::Key,
            record::Record,
            references::{self, Reference},
        },
        gates::{self, Change, Closed, Gate, windows},
        governs::{Governance, Standing, governance, other_reloader},
        hold::{
            enforced::Enforcement,
            marking,
            release::ends_nothing,
            state::{Hold, approved_by},
        },
        rollout::{limits, steps::Order},
        storage::Storage,
        volumes::{self, Danger},
        world::{Activity, ConfigEntry, ConfigId, Namespace, Pod, Policy, UserHold, Workload, WorkloadId},
    },
};
use serde::Serialize;

use crate::{
    cluster::lower,
    revisions::{Difference, named_changes},
};

/// At most so many names stand in a sentence.
const NAMED: usize = 5;

/// A namespace as it is, and as it would be.
pub struct Situation<'a> {
    /// As it is.
    pub before: &'a Namespace,
    /// As it would be once everything is applied.
    pub after: &'a Namespace,
    /// The storage of the cluster.
    pub storage: &'a Storage,
    /// The workloads that the files have, and how their templates would differ.
    pub workloads: &'a BTreeMap<WorkloadId, Touched>,
    /// The policies that the files have.
    pub policies: &'a BTreeSet<String>,
    /// The ConfigMaps and Secrets that were looked at. What others hold does not change by it, or nobody can say.
    pub looked_at: &'a BTreeSet<ConfigId>,
    /// Why template changes are not held; none if they are, or nobody can say.
    pub gap: Option<&'a str>,
    /// By which contents are compared.
    pub key: &'a Key,
    /// Now.
    pub now: Timestamp,
}

/// A workload that the files have.
#[derive(Debug, Default)]
pub struct Touched {
    /// Where its template would differ.
    pub differences: Vec<Difference>,
    /// The API server has said what it would make of it.
    pub by_server: bool,
}

/// What would come of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Outcome {
    /// The API server would not take it.
    Refused,
    /// Its pods would be renewed, at once.
    Roll,
    /// Its change would be held until the gates of its policy are open.
    Hold,
    /// Its pods would be renewed for the config that they read.
    ConfigRoll,
    /// The same, once the gates of its policy are open.
    ConfigHold,
    /// Its policy would only say what it would do.
    Report,
    /// What it reads changes, and its pods keep what they started with.
    NotRolled,
    /// It would wait for something that its manifest holds.
    WaitsForUser,
    /// A held change would be taken back.
    Withdraw,
    /// It would be made.
    Create,
    /// It would have another number of pods.
    Scale,
    /// A policy would govern it, or another one than now.
    Governed,
    /// No policy would govern it any more.
    LetGo,
    /// A policy would be another one.
    Policy,
    /// Nothing that Lockkeeper sees to.
    Unchanged,
}

impl Outcome {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Refused => "would be refused",
            Self::Roll => "would roll at once",
            Self::Hold => "would be held",
            Self::ConfigRoll => "would roll for its config",
            Self::ConfigHold => "would roll for its config, later",
            Self::Report => "would only be reported",
            Self::NotRolled => "would keep its old config",
            Self::WaitsForUser => "would wait for you",
            Self::Withdraw => "would be as before",
            Self::Create => "would be created",
            Self::Scale => "would be scaled",
            Self::Governed => "would be governed",
            Self::LetGo => "would be let go",
            Self::Policy => "would change",
            Self::Unchanged => "stays as it is",
        }
    }

    /// Whether anything would happen.
    pub fn happens(self) -> bool {
        self != Self::Unchanged
    }

    /// Whether its pods would be renewed, now or later.
    fn rolls(self) -> bool {
        matches!(self, Self::Roll | Self::Hold | Self::ConfigRoll | Self::ConfigHold)
    }
}

/// What would come of one object.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its namespace.
    pub namespace: String,
    /// As one writes it for kubectl.
    pub object: String,
    /// What would come of it.
    pub outcome: Outcome,
    /// The policy that would govern it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What changes, by path or key; no values but images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// What it would wait for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<Wait>,
    /// In sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// A gate that a change would wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// Which.
    pub gate: &'static str,
    /// What would open it.
    pub message: String,
}

/// What would be in danger, or is not what it seems.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Risk {
    /// Its namespace.
    pub namespace: String,
    /// In one word.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// What would come of an apply.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What would come of each object.
    pub objects: Vec<Line>,
    /// What would be in danger.
    pub risks: Vec<Risk>,
    /// What could not be looked at, and what follows from that.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether anything would happen.
    pub fn happens(&self) -> bool {
        !self.risks.is_empty() || self.objects.iter().any(|line| line.outcome.happens())
    }
}

/// Judges a namespace.
pub fn judge(situation: &Situation) -> Plan {
    let judge = Judge::new(situation);
    let mut plan = Plan::default();
    for name in situation.policies {
        plan.objects.push(judge.policy(name, &mut plan.risks));
    }
    for (id, workload) in &situation.after.workloads {
        plan.objects.push(match situation.before.workloads.get(id) {
            Some(before) => judge.existing(before, workload, &mut plan.risks),
            None => judge.created(workload, &mut plan.risks),
        });
    }
    judge.restarts(&mut plan.objects);
    plan.objects.extend(judge.unread());
    plan.risks.extend(judge.volumes());
    plan
}

/// The policy that has a say over a workload.
struct Say<'a> {
    policy: &'a Policy,
    spec: Cow<'a, UpgradePolicySpec>,
    frozen: bool,
}

struct Judge<'a> {
    now: &'a Situation<'a>,
    before: Governance<'a>,
    after: Governance<'a>,
    groups: BTreeMap<&'a str, Vec<Reference>>,
    pods: HashMap<&'a str, Vec<&'a Pod>>,
}

impl<'a> Judge<'a> {
    fn new(now: &'a Situation<'a>) -> Self {
        let (before, after) = (governance(now.before), governance(now.after));
        let groups = groups(now.after, &after);
        Self { now, before, after, groups, pods: now.before.pods_by_workload() }
    }

    fn line(&self, object: String, outcome: Outcome) -> Line {
        let namespace = self.now.after.name.to_string();
        Line { namespace, object, outcome, policy: None, changed: Vec::new(), waits_for: Vec::new(), because: Vec::new() }
    }

    fn risk(&self, reason: &str, message: String) -> Risk {
        Risk { namespace: self.now.after.name.to_string(), reason: reason.to_owned(), message }
    }

    fn pods(&self, workload: &Workload) -> &[&'a Pod] {
        self.pods.get(&*workload.uid).map_or(&[], Vec::as_slice)
    }

    /// A workload that is not there yet.
    fn created(&self, workload: &Workload, risks: &mut Vec<Risk>) -> Line {
        let mut line = self.line(lower(&workload.id), Outcome::Create);
        line.because.push(match workload.rollout.wanted {
            _ if workload.id.kind == WorkloadKind::DaemonSet => "Its pods start at once: what is new is never held.".to_owned(),
            0 => "It has no pods.".to_owned(),
            pods => format!("{} at once: what is new is never held.", count(pods as usize, "pod starts", "pods start")),
        });
        let say = say(self.after.standings.get(&workload.id));
        line.policy = say.as_ref().map(|say| say.policy.name.clone());
        line.because.push(match &say {
            None => self.ungoverned(workload, "later changes of it will"),
            Some(say) => format!("From then on policy {} governs it{}.", say.policy.name, self.later(workload, say)),
        });
        self.missing(workload, say.as_ref(), risks);
        line
    }

    /// What a policy means for the changes of a workload to come.
    fn later(&self, workload: &Workload, say: &Say) -> String {
        match (say.spec.needs_holds(), marking::holdable(workload)) {
            (true, true) => ", and holds its template changes".to_owned(),
            (true, false) => format!(", but cannot hold its template changes: {}", unholdable(workload)),
            (false, _) if say.spec.mode == Mode::Observe => ", which only observes".to_owned(),
            (false, _) => ", and holds no template change".to_owned(),
        }
    }

    /// Why no policy governs a workload, and what becomes of its changes then.
    fn ungoverned(&self, workload: &Workload, changes: &str) -> String {
        let mut reasons = self.after.left_out.values().flatten();
        let why = reasons.find_map(|reason| reason.strip_prefix(&format!("{}: ", workload.id)));
        match why {
            Some(why) => format!("No policy governs it ({why}), so {changes} not wait for anything."),
            None => format!("No policy of the namespace selects it, so {changes} not wait for anything."),
        }
    }

    /// A workload that is there.
    fn existing(&self, before: &Workload, after: &Workload, risks: &mut Vec<Risk>) -> Line {
        let mut line = self.line(lower(&after.id), Outcome::Unchanged);
        let say = say(self.after.standings.get(&after.id));
        line.policy = say.as_ref().map(|say| say.policy.name.clone());
        let changes = before.template.digest != after.template.digest;
        let empty = Touched::default();
        let touched = self.now.workloads.get(&after.id).unwrap_or(&empty);
        if changes {
            line.changed = named_changes(&touched.differences);
            self.volatile(after, &touched.differences, risks);
        }
        self.missing_anew(before, after, say.as_ref(), risks);
        let held = Hold::on(before);
        if changes && self.goes_back(after) {
            line.outcome = Outcome::Withdraw;
            line.because.push(match &held {
                Some(hold) => format!("The held change {} is withdrawn: this is what its pods run, and none of them ends.", hold.id),
                None => "This is the template again that its pods run: none of them ends.".to_owned(),
            });
        } else if changes {
            self.template(before, after, (say.as_ref(), touched), &mut line);
        } else if let Some(hold) = &held {
            self.still_held(before, hold, say.as_ref(), &mut line);
        }
        let compared = self.compare(before, after, say.as_ref());
        let config = compared.filter(|one| one.roll.is_some());
        match config {
            Some(config) if changes || held.is_some() => {
                if line.outcome == Outcome::Unchanged {
                    line.outcome = Outcome::ConfigHold;
                }
                line.because.push(format!("Config that it reads changes too ({}), and goes along in the same rollout.", config.changed.join(", ")));
            }
            Some(config) => self.config(after, say.as_ref(), &config, &mut line),
            None if !changes && before.rollout.wanted != after.rollout.wanted => {
                line.outcome = Outcome::Scale;
                line.because.push(format!("From {} to {}.", before.rollout.wanted, count(after.rollout.wanted as usize, "pod", "pods")));
            }
            None => {}
        }
        self.standing(after, &mut line);
        line
    }

    /// What rolls because the step before it does.
    fn restarts(&self, lines: &mut [Line]) {
        for (name, policy) in &self.now.after.policies {
            let Ok(spec) = &policy.spec else { continue };
            let steps = spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice());
            let order = self.order(policy, spec);
            let place = |line: &Line| {
                let mut ids = self.now.after.workloads.keys();
                ids.find(|id| lower(id) == line.object).and_then(|id| order.place(id)).filter(|_| line.policy.as_ref() == Some(name))
            };
            for (number, step) in steps.iter().enumerate().skip(1).filter(|(_, step)| step.restart_with == RestartWith::Previous) {
                let before = &steps[number - 1].name;
                let rolls = |line: &&Line| place(line) == Some(number - 1) && line.outcome.rolls();
                let first: Vec<_> = lines.iter().filter(rolls).map(|line| line.object.clone()).collect();
                if first.is_empty() || spec.mode == Mode::Observe {
                    continue;
                }
                for line in lines.iter_mut().filter(|line| place(line) == Some(number) && !line.outcome.rolls() && line.outcome != Outcome::Create) {
                    line.outcome = Outcome::ConfigHold;
                    line.waits_for.push(Wait { gate: "steps", message: format!("step {} comes after {}", step.name, some(&first)) });
                    line.because.push(format!("It restarts with step {before} (restartWith: Previous)."));
                }
            }
        }
    }

    /// The workloads of a policy in their order.
    fn order<'b>(&'b self, policy: &Policy, spec: &'b UpgradePolicySpec) -> Order<'b> {
        let mut order = Order::new(spec);
        for (id, workload) in &self.now.after.workloads {
            if say(self.after.standings.get(id)).is_some_and(|of| of.policy.name == policy.name) {
                order.see(id, workload, (self.pods(workload), None), &Activity::default(), self.now.now);
            }
        }
        order
    }

    /// Whether the template is the one again that the pods run.
    fn goes_back(&self, after: &Workload) -> bool {
        let mut settled = after.clone();
        // As it will be once its controller has seen it.
        settled.rollout.observed = true;
        settled.rollout.revision = None;
        settled.marks.remove(lockkeeper::api::marks::CONFIG);
        let sets = self.now.before.sets_by_deployment().remove(&*after.uid).unwrap_or_default();
        after.rollout.wanted > 0 && ends_nothing(self.now.before, &settled, self.pods(after), &sets).is_some()
    }

    /// A changed template.
    fn template(&self, before: &Workload, after: &Workload, (say, touched): (Option<&Say<'a>>, &Touched), line: &mut Line) {
        let old = Hold::on(before);
        let new = Hold::on(after).filter(|new| old.as_ref() != Some(new));
        let marked = marking::is_marked(before) && marking::holdable(after) && after.rollout.wanted > 0;
        let holds = match touched.by_server {
            true => new.is_some(),
            false => marked && self.now.gap.is_none(),
        };
        if let Some(old) = old.filter(|_| holds) {
            line.because.push(format!("It takes the place of the held change {}, whose approvals are void then.", old.id));
        }
        let pods = self.pods(after).len();
        if !holds {
            line.outcome = Outcome::Roll;
            line.because.push(self.not_held(before, after, say));
            match after.rollout.held {
                Some(UserHold::Paused) => {
                    line.outcome = Outcome::WaitsForUser;
                    line.because.push("Its manifest says paused: true, so nothing rolls before kubectl rollout resume.".to_owned());
                }
                Some(UserHold::Partition(below)) => {
                    line.because.push(format!("Its partition keeps the {below} lowest ordinals as they are."));
                }
                _ if pods > 0 => line.because.push(format!("{} renewed.", count(pods, "pod is", "pods are"))),
                _ => {}
            }
            return;
        }
        line.outcome = Outcome::Hold;
        match say {
            Some(say) if say.spec.needs_holds() => {
                line.waits_for = self.waits(after, say, (&[ChangeCause::Template], new.as_ref()));
                let what = count(pods, "pod stays", "pods stay");
                let then = if line.waits_for.is_empty() { ", for a moment: no gate that can be asked now is closed" } else { "" };
                line.because.push(format!("{what} as they are until then{then}.").replace("1 pod stays as they are", "Its pod stays as it is"));
            }
            _ => match marking::when_ungoverned(before) {
                WhenUngoverned::Release => {
                    line.outcome = Outcome::Roll;
                    line.because.push("It is held for a moment, and released: with these files no policy holds it any more.".to_owned());
                }
                WhenUngoverned::Keep => line.because.push(
                    "With these files no policy holds it any more, and the one that did said whenUngoverned: Keep: somebody with the verb bypass has to \
                     release it."
                        .to_owned(),
                ),
            },
        }
    }

    /// Why a changed template is not held.
    fn not_held(&self, before: &Workload, after: &Workload, say: Option<&Say>) -> String {
        let Some(say) = say else { return self.ungoverned(after, "its change does") };
        let policy = &say.policy.name;
        match () {
            () if say.spec.mode == Mode::Observe => format!("Its policy {policy} only observes."),
            () if !say.spec.needs_holds() => format!("Its policy {policy} has no gate for template changes."),
            () if !marking::holdable(after) => format!("Its policy {policy} has gates, but {}.", unholdable(after)),
            () if after.rollout.wanted == 0 && before.rollout.wanted == 0 => "It has no pods, so there is nothing to hold.".to_owned(),
            () if !marking::is_marked(before) => format!(
                "Policy {policy} would hold it, but only once the operator has marked it: apply the policy first, wait for its condition HoldsEnforced, \
                 and then apply the rest."
            ),
            () => format!(
                "Policy {policy} should hold it, but template changes are not held now{}.",
                self.now.gap.map_or(String::new(), |gap| format!(": {gap}"))
            ),
        }
    }

    /// A change that is held already, and is not changed again.
    fn still_held(&self, before: &Workload, hold: &Hold, say: Option<&Say<'a>>, line: &mut Line) {
        let before_say = self::say(self.before.standings.get(&before.id));
        let keeps = |say: &Option<&Say>| say.is_some_and(|say| say.spec.needs_holds());
        if keeps(&before_say.as_ref()) && !keeps(&say) {
            match marking::when_ungoverned(before) {
                WhenUngoverned::Release => {
                    line.outcome = Outcome::Roll;
                    line.because.push(format!("Its held change {} is released: no policy holds it any more (whenUngoverned: Release).", hold.id));
                }
                WhenUngoverned::Keep => line.because.push(format!(
                    "Its held change {} stays held, although no policy holds it any more (whenUngoverned: Keep): somebody with the verb bypass has to release \
                     it.",
                    hold.id
                )),
            }
            return;
        }
        let (Some(before_say), Some(say)) = (&before_say, say) else { return };
        let waits = |say: &Say<'a>| self.waits(before, say, (&[ChangeCause::Template], Some(hold)));
        let (old, new) = (waits(before_say), waits(say));
        if !old.is_empty() && new.is_empty() {
            line.outcome = Outcome::Roll;
            line.because.push(format!("Its held change {} goes through: no gate is closed any more.", hold.id));
        }
    }

    /// What a change would wait for.
    fn waits(&self, workload: &Workload, say: &Say<'a>, (causes, hold): (&[ChangeCause], Option<&Hold>)) -> Vec<Wait> {
        let (id, by) = hold.map_or(("", None), |hold| (&*hold.id, Some(&*hold.by)));
        let change = Change {
            namespace: self.now.after,
            workload: &workload.id,
            causes,
            id,
            by,
            recorded: true,
            approved_by: hold.and_then(|hold| approved_by(workload, &hold.id)),
            since: self.now.now,
            last_change: self.now.now,
        };
        let asked = gates::each(say.policy, &say.spec, say.frozen, &change, self.now.now);
        let closed = asked.into_iter().filter_map(|(gate, answer)| match answer {
            Gate::Open => None,
            Gate::Closed(closed) => Some(Wait { gate, message: in_words(&closed, say, by) }),
        });
        let mut waits: Vec<_> = closed.collect();
        waits.extend(self.turn(workload, say));
        if let Some(gate) = say.spec.app_gate(causes) {
            let message = match self.pods(workload).len() {
                0 => return waits,
                pods => format!("{} yes to GET {}", count(pods, "pod has to say", "pods have to say"), gate.path),
            };
            waits.push(Wait { gate: "app", message });
        }
        waits
    }

    /// What keeps it from its turn, as far as that can be told.
    fn turn(&self, workload: &Workload, say: &Say<'a>) -> Option<Wait> {
        let rollout = say.spec.rollout.as_ref()?;
        let order = self.order(say.policy, &say.spec);
        let place = order.place(&workload.id)?;
        let changes = |id: &&WorkloadId| {
            let before = self.now.before.workloads.get(*id);
            before.is_some_and(|before| before.template.digest != self.now.after.workloads[*id].template.digest || Hold::on(before).is_some())
        };
        let earlier: Vec<_> = self.now.after.workloads.keys().filter(|id| order.place(id).is_some_and(|other| other < place)).collect();
        let first: Vec<_> = earlier.iter().copied().filter(changes).map(lower).collect();
        let step = rollout.steps.get(place)?;
        (!first.is_empty()).then(|| Wait { gate: "steps", message: format!("step {} comes after {}", step.name, some(&first)) })
    }

    /// What changed of the config that a workload reads.
    fn compare(&self, before: &Workload, after: &Workload, say: Option<&Say>) -> Option<Comparison> {
        // Of a held one, what its pods read counts; that is what it read before.
        if other_reloader(self.now.after, after).is_some() {
            return None;
        }
        let asked = say.and_then(|say| say.spec.config.as_ref());
        let (config, group) = match asked {
            Some(config) => (Cow::Borrowed(config), say.and_then(|say| self.groups.get(say.policy.name.as_str())).map_or(&[][..], Vec::as_slice)),
            None => (Cow::Owned(ConfigSpec::default()), &[][..]),
        };
        let references = references::effective(&before.template.references, &config, group, self.now.after);
        let known: Vec<_> = references.into_iter().filter(|reference| self.knows(reference)).collect();
        let desired = |namespace: &Namespace| -> Vec<_> {
            let resolved = known.iter().map(|reference| (reference.clone(), resolve(reference, namespace, self.now.key, self.now.now)));
            resolved.collect()
        };
        let record = Record::adopt(&desired(self.now.before), after.template.config_hash.clone(), |_| true);
        let mut running = after.clone();
        running.template.references = before.template.references.clone();
        Some(change::compare(&record, &desired(self.now.after), &running, self.pods(after), None))
    }

    /// A change of config alone.
    fn config(&self, workload: &Workload, say: Option<&Say<'a>>, found: &Comparison, line: &mut Line) {
        line.changed.clone_from(&found.changed);
        let asked = say.and_then(|say| Some((say, say.spec.config.as_ref()?)));
        let Some((say, config)) = asked else {
            line.outcome = Outcome::NotRolled;
            line.because.push(match say {
                Some(say) => format!("Its policy {} does not see to config: its pods keep what they started with until they start anew.", say.policy.name),
                None => "No policy rolls it for that: its pods keep what they started with until they start anew.".to_owned(),
            });
            return;
        };
        if !found.missing.is_empty() {
            line.outcome = Outcome::ConfigHold;
            line.waits_for.push(Wait { gate: "config", message: format!("{}: new pods could not start", found.missing.join(", ")) });
            return;
        }
        line.waits_for = self.waits(workload, say, (&[ChangeCause::Config], None));
        let times = limits::within_window(workload.marks.get(lockkeeper::api::marks::ROLLOUTS).map(String::as_str), &config.limit, self.now.now);
        if let Some(next) = limits::next_allowed(&times, &config.limit) {
            let message = format!("{} config rollouts within {}, as many as its policy allows; the next at {next}", times.len(), config.limit.window);
            line.waits_for.push(Wait { gate: "limit", message });
        }
        line.outcome = match (say.spec.mode, config.on_change) {
            (Mode::Observe, _) | (_, OnChange::Report) => Outcome::Report,
            _ if matches!(workload.rollout.held, Some(UserHold::Paused | UserHold::OnDelete)) => Outcome::WaitsForUser,
            _ if line.waits_for.is_empty() => Outcome::ConfigRoll,
            _ => Outcome::ConfigHold,
        };
        line.because.push(match line.outcome {
            Outcome::Report => format!("Its policy {} only reports it.", say.policy.name),
            Outcome::WaitsForUser => "Its manifest keeps its pods as they are (paused, or OnDelete): the next ones start with the new config.".to_owned(),
            _ => format!("One rollout, when nothing has changed for {}.", config.settle),
        });
    }

    /// Whose a workload would be, where that changes.
    fn standing(&self, workload: &Workload, line: &mut Line) {
        let name = |governance: &Governance| say(governance.standings.get(&workload.id)).map(|say| (say.policy.name.clone(), say.spec.needs_holds()));
        let (outcome, message) = match (name(&self.before), name(&self.after)) {
            (None, Some((policy, _))) => {
                let later = say(self.after.standings.get(&workload.id)).map_or(String::new(), |say| self.later(workload, &say));
                (Outcome::Governed, format!("Policy {policy} begins to govern it{later}. That alone rolls nothing."))
            }
            (Some((policy, _)), None) => (Outcome::LetGo, format!("Policy {policy} governs it no more: nothing holds or rolls it from then on.")),
            (Some((old, _)), Some((new, _))) if old != new => (Outcome::Governed, format!("Policy {new} takes it over from {old}.")),
            (Some((policy, true)), Some((_, false))) => (Outcome::LetGo, format!("Policy {policy} holds its template changes no more.")),
            (Some((policy, false)), Some((_, true))) => (Outcome::Governed, format!("Policy {policy} holds its template changes from then on.")),
            _ => return,
        };
        if line.outcome == Outcome::Unchanged {
            line.outcome = outcome;
        }
        if line.outcome != Outcome::Roll || outcome != Outcome::Governed {
            line.because.push(message);
        }
    }

    /// A policy that the files have.
    fn policy(&self, name: &str, risks: &mut Vec<Risk>) -> Line {
        let mut line = self.line(format!("upgradepolicy/{name}"), Outcome::Unchanged);
        let (old, new) = (self.now.before.policies.get(name), self.now.after.policies.get(name));
        let Some(new) = new else { return line };
        if old.is_some_and(|old| old.spec == new.spec) {
            return line;
        }
        line.outcome = if old.is_some() { Outcome::Policy } else { Outcome::Create };
        if let Err(why) = &new.spec {
            risks.push(self.risk("InvalidSpec", format!(
                "upgradepolicy/{name} could not be acted on: {why}. It would freeze what it governs now, and govern nothing else"
            )));
            return line;
        }
        let of = |governance: &Governance<'a>| -> BTreeSet<&'a WorkloadId> {
            let all = governance.standings.iter().filter(|(_, standing)| say(Some(*standing)).is_some_and(|say| say.policy.name == name));
            all.map(|(id, _)| *id).collect()
        };
        let (old, new) = (of(&self.before), of(&self.after));
        line.because.push(match new.len() {
            0 => "It would govern no workload that is there.".to_owned(),
            all => format!("It would govern {}.", count(all, "workload", "workloads")),
        });
        let names = |ids: Vec<&&WorkloadId>| some(&ids.into_iter().map(|id| lower(id)).collect::<Vec<_>>());
        let (more, less): (Vec<_>, Vec<_>) = (new.difference(&old).collect(), old.difference(&new).collect());
        if !more.is_empty() {
            line.because.push(format!("New to it: {}.", names(more)));
        }
        if !less.is_empty() {
            line.because.push(format!("No longer: {}.", names(less)));
        }
        line
    }

    /// ConfigMaps and Secrets whose changes no workload would notice.
    fn unread(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (id, entry) in &self.now.after.config {
            let changed = changed_keys(self.now.before.config.get(id), entry);
            if changed.is_empty() || !self.now.looked_at.contains(id) {
                continue;
            }
            let reads = |reference: &Reference| reference.names(id) && changed.iter().any(|key| reference.reads(key));
            let included = |workload: &WorkloadId| {
                let say = say(self.after.standings.get(workload));
                let config = say.as_ref().and_then(|say| say.spec.config.as_ref());
                config.is_some_and(|config| references::effective(&[], config, &[], self.now.after).iter().any(reads))
            };
            let mut workloads = self.now.after.workloads.values();
            if workloads.any(|workload| workload.template.references.iter().any(reads) || included(&workload.id)) && !entry.ignored {
                continue;
            }
            let mut line = self.line(format!("{}/{}", id.kind.to_string().to_lowercase(), id.name), Outcome::Unchanged);
            let keys: Vec<_> = changed.iter().map(ToString::to_string).collect();
            line.because.push(match entry.ignored {
                true => format!("Its change ({}) rolls nothing: it is marked to be ignored.", some(&keys)),
                false => format!("Its change ({}) is read by no workload.", some(&keys)),
            });
            lines.push(line);
        }
        lines
    }

    /// What its template reads and is not there.
    fn missing(&self, workload: &Workload, say: Option<&Say>, risks: &mut Vec<Risk>) {
        let missing = self.absent(workload, say, self.now.after);
        if !missing.is_empty() {
            risks.push(self.risk("ConfigMissing", format!("{}: its pods could not start, because {}", lower(&workload.id), missing.join(", "))));
        }
    }

    /// The same of one that is there, and could start so far.
    fn missing_anew(&self, before: &Workload, after: &Workload, say: Option<&Say>, risks: &mut Vec<Risk>) {
        let known = self.absent(before, say, self.now.before);
        let missing: Vec<_> = self.absent(after, say, self.now.after).into_iter().filter(|what| !known.contains(what)).collect();
        if !missing.is_empty() {
            risks.push(self.risk("ConfigMissing", format!("{}: new pods could not start, because {}", lower(&after.id), missing.join(", "))));
        }
    }

    fn knows(&self, reference: &Reference) -> bool {
        reference.is_glob() || self.now.looked_at.iter().any(|id| reference.names(id))
    }

    fn absent(&self, workload: &Workload, say: Option<&Say>, namespace: &Namespace) -> Vec<String> {
        let blank = ConfigSpec::default();
        let config = say.and_then(|say| say.spec.config.as_ref()).unwrap_or(&blank);
        let all = references::effective(&workload.template.references, config, &[], namespace);
        let known = all.iter().filter(|reference| self.knows(reference));
        known.filter_map(|reference| resolve(reference, namespace, self.now.key, self.now.now).digest.err()).collect()
    }

    /// A template that is another one with each render.
    fn volatile(&self, workload: &Workload, differences: &[Difference], risks: &mut Vec<Risk>) {
        let times: Vec<_> = differences.iter().filter(|one| one.new.as_deref().is_some_and(|new| is_now(new, self.now.now))).collect();
        if times.is_empty() {
            return;
        }
        let paths: Vec<_> = times.iter().map(|one| one.path.clone()).collect();
        let only = if times.len() == differences.len() { ", and it differs in nothing else" } else { "" };
        risks.push(self.risk(
            "VolatileTemplate",
            format!(
                "{}: {} is the time of the render{only}: every upgrade is a change of the template then, which rolls, or voids approvals while it is held. \
                 Make it a checksum of what matters, or remove it",
                lower(&workload.id),
                some(&paths)
            ),
        ));
    }

    /// What volumes would be in danger by it that are not now.
    fn volumes(&self) -> Vec<Risk> {
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
        new.map(|danger| {
            let message = danger.message().to_owned();
            self.risk(danger.into(), message)
        })
        .collect()
    }
}

fn say<'a>(standing: Option<&Standing<'a>>) -> Option<Say<'a>> {
    match standing? {
        Standing::Governed(policy, spec) => Some(Say { policy, spec: Cow::Borrowed(spec), frozen: false }),
        Standing::Frozen(policy) => Some(Say { policy, spec: Cow::Owned(freezing_spec()), frozen: true }),
        Standing::LeftOut | Standing::Unselected => None,
    }
}

/// Exclusive claims deadlock rollouts whether or not a policy sees to them.
fn with_eyes_on_volumes(namespace: &Namespace) -> Namespace {
    let report = VolumesSpec {
        exclusive_claims: ExclusiveClaims::Report,
        protection: Some(Protection::None),
        readopt: lockkeeper::api::Readopt::Never,
        orphaned_after: lockkeeper::api::policy::default_orphaned_after(),
    };
    let mut namespace = namespace.clone();
    for policy in namespace.policies.values_mut() {
        if let Ok(spec) = &mut policy.spec {
            spec.volumes.get_or_insert_with(|| report.clone());
        }
    }
    let spec = UpgradePolicySpec { mode: Mode::Enforce, priority: i32::MIN, volumes: Some(report), ..freezing_spec() };
    // No policy can have this name.
    let name = String::new();
    let nobodys = Policy {
        name: name.clone(),
        uid: "".into(),
        generation: 0,
        spec: Ok(spec),
        switched_off: Vec::new(),
        windows: windows::Windows::default(),
        status: lockkeeper::api::UpgradePolicyStatus::default(),
    };
    namespace.policies.insert(name, nobodys);
    namespace
}

fn unholdable(workload: &Workload) -> &'static str {
    match workload.id.kind {
        WorkloadKind::DaemonSet => "a DaemonSet cannot be held",
        _ => "with the update strategy OnDelete any eviction starts the newest template",
    }
}

/// What opens a gate, before there is a change that it could be opened for.
fn in_words(closed: &Closed, say: &Say, by: Option<&str>) -> String {
    let from_other = say.spec.gates.as_ref().is_some_and(|gates| gates.approval == lockkeeper::api::Approval::RequiredFromOther);
    match (closed.reason, by) {
        (Reason::ApprovalRequired, Some(by)) if from_other => format!("somebody other than {by} with the verb approve has to approve it"),
        (Reason::ApprovalRequired, _) => "somebody with the verb approve has to approve it".to_owned(),
        (Reason::Frozen, _) if say.frozen => "the spec of its policy is invalid, so nothing passes".to_owned(),
        (Reason::Frozen, _) => "its policy freezes: nothing passes but what is put back".to_owned(),
        _ => closed.message.clone(),
    }
}

/// Whether a value, as JSON, is the time of this hour: RFC 3339 and the like, Go's own form, or seconds or milliseconds since 1970.
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

/// The keys in which two contents differ.
fn changed_keys<'a>(before: Option<&'a ConfigEntry>, after: &'a ConfigEntry) -> BTreeSet<&'a str> {
    let pairs = |entry: Option<&'a ConfigEntry>| -> BTreeSet<_> {
        entry.and_then(ConfigEntry::content).into_iter().flat_map(|content| content.iter()).map(|(key, digest)| (&**key, *digest)).collect()
    };
    pairs(before).symmetric_difference(&pairs(Some(after))).map(|(key, _)| *key).collect()
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn some(names: &[String]) -> String {
    volumes::some_of(&names.iter().map(String::as_str).collect::<Vec<_>>(), NAMED)
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.gate, self.message)
    }
}

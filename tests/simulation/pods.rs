//! What happens to pods, and what they and the operator say to each other.

use std::time::Duration;

use lockkeeper::core::conversation::{Errand, answer::Answer};
use serde_json::{Value, json};

use crate::{
    apps::Mood,
    cluster::Cluster,
    fault::Fault,
    operator::NOT_LEADING,
    scenes::{image_of_pod, is_broken},
    truth::pods,
};

impl Cluster {
    pub fn evict(&mut self) {
        let (_, name) = *self.chance.of(self.scene.workloads());
        let uids: Vec<_> = pods(&self.server, name).into_keys().collect();
        if uids.is_empty() {
            return;
        }
        let uid = self.chance.of(&uids).clone();
        let pod =
            self.server.list("Pod").into_iter().find(|pod| pod["metadata"]["uid"] == *uid).unwrap();
        self.evict_pod(&pod);
    }

    pub fn evict_pod(&mut self, pod: &Value) {
        let (name, uid) =
            (pod["metadata"]["name"].as_str().unwrap(), pod["metadata"]["uid"].as_str().unwrap());
        self.say(|| format!("{name} is evicted"));
        let at = self
            .scene
            .workloads()
            .iter()
            .find(|(_, workload)| pod["metadata"]["labels"]["app"] == *workload);
        if let Some((kind, workload)) = at {
            let known = self.known(kind, workload);
            known.evicted.insert(uid.to_owned());
            known.excused.insert(uid.to_owned());
        }
        self.server.delete("Pod", name);
    }

    /// What happens to the apps, and between them and the operator.
    pub fn app_move(&mut self) {
        let now = self.server.now();
        let all = self.server.list("Pod");
        let pods: Vec<_> = all.iter().filter_map(|pod| pod["metadata"]["uid"].as_str()).collect();
        match self.chance.below(12) {
            0..=1 if !pods.is_empty() => {
                let (pod, time) = (*self.chance.of(&pods), self.chance.below(60) + 1);
                let takes = self.apps.work(pod, now, Duration::from_secs(time));
                self.say(|| {
                    format!(
                        "work for {time} s arrives at {pod}{}",
                        if takes { "" } else { ", which takes none" }
                    )
                });
            }
            2 if !pods.is_empty() => {
                let (pod, mood) = (
                    *self.chance.of(&pods),
                    *self.chance.of(&[Mood::Speaks, Mood::Speaks, Mood::Silent, Mood::Foreign]),
                );
                self.apps.of(pod).mood = mood;
                self.say(|| format!("{pod}: {mood:?}"));
            }
            3 if !all.is_empty() => {
                let pod = self.chance.of(&all).clone();
                self.fall_ill(&pod);
            }
            _ if !self.operator.talks.is_empty() => {
                let index =
                    usize::try_from(self.chance.below(self.operator.talks.len() as u64)).unwrap();
                let lost = [self.chance.below(12), self.chance.below(12)].map(|chance| chance == 0);
                self.talk(index, lost);
            }
            _ => drop(self.decide()),
        }
    }

    /// A pod is not Ready any more, or again.
    pub fn fall_ill(&mut self, pod: &Value) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let now = self.server.second();
        let is_ready = pod["status"]["conditions"][0]["status"] == "True";
        let is = if is_ready { "False" } else { "True" };
        if pod["status"]["phase"] != "Running" || is_broken(image_of_pod(pod)) {
            return;
        }
        self.say(|| format!("{name} is Ready: {is}"));
        self.server.control("Pod", name, |pod| {
            pod["status"]["conditions"][0] =
                json!({"type": "Ready", "status": is, "lastTransitionTime": now})
        });
    }

    /// A call goes one pod further, or is heard when all have been visited. The request, or the
    /// answer, may be lost.
    pub fn talk(&mut self, index: usize, [request_lost, answer_lost]: [bool; 2]) {
        let now = self.server.now();
        let leads = self.operator.may_act(now);
        let talk = &mut self.operator.talks[index];
        let Some(next) = talk.answers.iter().position(Option::is_none) else {
            let what = format!(
                "{:?} of {} about {:?}",
                talk.call.errand,
                talk.call.workload,
                talk.call.about.as_ref().map(ToString::to_string).unwrap_or_default()
            );
            self.operator.hear(index, now);
            return self.say(|| format!("the operator hears the end of {what}"));
        };
        let (visit, errand) = (talk.call.visits[next].clone(), talk.call.errand);
        let feigned = match self.fault {
            Some(Fault::KeepsDrained) => errand == Errand::Withdraw,
            Some(Fault::NeverRenews) => {
                errand == Errand::Prepare && self.apps.is_prepared(&visit.pod, now)
            }
            _ => false,
        };
        let mut answer = match (feigned, request_lost) {
            (true, _) => Answer::Yes,
            (_, true) => Answer::Hangs("the request is lost".to_owned()),
            _ if !leads => Answer::Unusable(NOT_LEADING.to_owned()),
            _ => self.apps.visit(&self.server, (errand, &talk.call.gate, &visit)),
        };
        if errand == Errand::Prepare && !feigned {
            self.apps.of(&visit.pod).prepared_at = now;
        }
        if answer_lost && !feigned {
            answer = Answer::Hangs("the answer is lost".to_owned());
        }
        self.seen.noes += usize::from(matches!(answer, Answer::No(_)));
        self.seen.drained += usize::from(errand == Errand::Prepare && answer == Answer::Yes);
        talk.answers[next] = Some(answer.clone());
        self.say(|| format!("{errand:?} to {} ({}): {answer:?}", visit.name, visit.pod));
    }
}

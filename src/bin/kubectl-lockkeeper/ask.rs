//! Asks the pods of a workload before anything is applied: as a pre-upgrade hook of a chart, or as
//! a step of CI.

use std::{process::ExitCode, time::Duration};

use hyper::Method;
use lockkeeper::{
    api::{AppGate, PodAnswer},
    core::{
        conversation::{
            Call, Conversation, Errand, Report, Templates, Visit,
            answer::{self, Answer},
            place,
        },
        gates::{
            app::{self, Question, tally},
            blocker::Blocker,
            words::{Waiting, of_invalid},
        },
        governs::{Standing, governance},
        later,
        observed::{Pod, Policy, Workload, WorkloadId},
    },
    shell::{
        ask::{
            credentials::{Allowed, Credentials},
            http::{self, Silence},
        },
        clock,
    },
};
use serde::Serialize;

use crate::{
    Output,
    cluster::{Cluster, Failure, Seen, lower},
    live::{Live, length},
    output,
};

/// Gate closed until the end of the time.
const TIMED_OUT: u8 = 2;

/// What came of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    workload: String,
    /// Its pods may be ended, as far as they were asked.
    open: bool,
    message: String,
    pods: Vec<PodAnswer>,
}

/// Asks until all pods agree, or the time is over.
pub async fn run(
    cluster: &Cluster,
    id: &WorkloadId,
    timeout: Duration,
    format: Output,
) -> Result<ExitCode, Failure> {
    let mut live = Live::new();
    let asked = ask_until(cluster, id, timeout, &mut live).await?;
    live.clear();
    match format {
        Output::Table | Output::Wide => eprintln!("{}", asked.message),
        other => output::data(other, &asked)?,
    }
    Ok(if asked.open { ExitCode::SUCCESS } else { ExitCode::from(TIMED_OUT) })
}

async fn ask_until(
    cluster: &Cluster,
    id: &WorkloadId,
    timeout: Duration,
    live: &mut Live,
) -> Result<Asked, Failure> {
    let begun = clock::now();
    let deadline = later(begun, timeout);
    let mut said = Conversation::default();
    let nobody =
        |message: String| Asked { workload: lower(id), open: true, message, pods: Vec::new() };
    loop {
        let seen = cluster.read().await?;
        let Some(workload) = seen.world.workloads.get(id) else {
            return Ok(nobody(format!("there is no {id} yet, so there is nobody to ask")));
        };
        let policy = policy_of(&seen, workload).ok_or_else(|| Failure::NoGate(id.clone()))?;
        let gate = policy
            .spec
            .as_ref()
            .ok()
            .and_then(|spec| spec.gates.as_ref()?.app.as_ref())
            .ok_or_else(|| Failure::NoGate(id.clone()))?;
        let gate = app::for_workload(gate, workload)
            .map_err(|invalid| Failure::Api { what: id.to_string(), why: of_invalid(&invalid) })?;
        let pods: Vec<_> =
            seen.pods(workload).into_iter().filter(|pod| pod.terminating.is_none()).collect();
        if pods.is_empty() {
            return Ok(nobody(format!("{id} has no pods, so there is nobody to ask")));
        }
        let templates = Templates { namespace: &seen.world, workload };
        let round = ask(cluster, (policy, &gate), &pods, templates).await?;
        said.hear(&round);
        let question = Question {
            about: None,
            since: begun,
            pods: pods.clone(),
            reverts: false,
            broken: false,
        };
        let asked = |open, message| Asked {
            workload: lower(id),
            open,
            message,
            pods: answers(&pods, &said),
        };
        let now = clock::now();
        let Some(blocker) = tally::judge(&gate, &question, (&pods, templates), &said, now) else {
            return Ok(asked(true, format!("every pod of {id} that counts says yes")));
        };
        let waiting = Waiting { namespace: &seen.world, workload: id, id: None };
        let message = waiting.why(&Blocker::App(blocker));
        let passed = length(begun, now);
        live.say(&message, &format!("[{passed}] "), &message, now);
        if now >= deadline {
            return Ok(asked(false, format!("not open within {passed}: {message}")));
        }
        tokio::time::sleep(gate.period.length()).await;
    }
}

fn answers(pods: &[&Pod], said: &Conversation) -> Vec<PodAnswer> {
    let heard = pods.iter().filter_map(|pod| Some((pod, said.readings.get(&pod.uid)?)));
    heard
        .map(|(pod, reading)| PodAnswer {
            pod: pod.name.to_string(),
            answer: reading.answer.as_str().to_owned(),
            since: Some(reading.since),
            words: match &reading.answer {
                Answer::No(words) => words.clone(),
                other => other.trouble().unwrap_or_default(),
            },
        })
        .collect()
}

/// The policy that governs a workload.
fn policy_of<'a>(seen: &'a Seen, workload: &Workload) -> Option<&'a Policy> {
    match governance(&seen.world).standings.get(&workload.id)? {
        Standing::Governed(policy, _) | Standing::Frozen(policy) => {
            seen.world.policies.get(&policy.name)
        }
        Standing::LeftOut | Standing::Unselected => None,
    }
}

async fn ask(
    cluster: &Cluster,
    (policy, gate): (&Policy, &AppGate),
    pods: &[&Pod],
    templates: Templates<'_>,
) -> Result<Report, Failure> {
    let workload = templates.workload;
    let visits: Vec<Visit> = pods
        .iter()
        .filter(|pod| pod.reach.running)
        .filter_map(|pod| place(pod, gate, templates).ok())
        .collect();
    let begun = clock::now();
    let credentials = Credentials::read(
        &cluster.client,
        &cluster.namespace,
        gate,
        Allowed { read: true, insecure: false },
    )
    .await;
    let credentials = credentials.map_err(|why| Failure::Api {
        what: format!("the pods of {} cannot be asked", workload.id),
        why,
    })?;
    let answers = visits.iter().map(|visit| async {
        let to = (Method::GET, visit.address, gate.path.as_str());
        let reply = http::send(&credentials.channel, to, &credentials.headers, gate.timeout.length()).await;
        let answer = match reply {
            Ok(reply) => answer::read(&gate.open_when, reply.status.as_u16(), &reply.body),
            Err(Silence::Timeout) => Answer::Hangs(format!(
                "no answer from {} within {}; pods are asked directly, so this must run in the cluster's network",
                visit.address, gate.timeout
            )),
            Err(Silence::Failed(why)) => Answer::Unusable(format!("no answer from {}: {why}", visit.address)),
        };
        answer.without(&credentials.hidden)
    });
    let answers = futures::future::join_all(answers).await;
    let call = Call {
        workload: workload.id.clone(),
        uid: workload.uid.clone(),
        policy: policy.uid.clone(),
        about: None,
        errand: Errand::Ask,
        gate: gate.clone(),
        visits,
    };
    Ok(Report { call, begun, ended: clock::now(), answers })
}

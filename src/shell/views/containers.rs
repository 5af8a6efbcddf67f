//! What the kubelet says of a container that does not run as it should.

use jiff::Timestamp;
use serde_json::Value;

use super::time;
use crate::workload::quoted;

/// Whether its process has ended, and the next one does not run yet.
pub fn has_ended(status: &Value) -> bool {
    let state = &status["state"];
    state["terminated"].is_object()
        || (state["waiting"].is_object() && status["lastState"]["terminated"].is_object())
}

/// When its process ended, if no other follows.
pub fn ended(status: &Value) -> Option<Timestamp> {
    time(&status["state"]["terminated"]["finishedAt"])
}

/// What keeps it from running, in a word. The kubelet says by turns that it cannot pull an image
/// and that it waits before the next try.
pub fn trouble(status: &Value) -> Option<&str> {
    match status["state"]["waiting"]["reason"].as_str()? {
        // These two only say that it is starting.
        "ContainerCreating" | "PodInitializing" => None,
        "ErrImagePull" => Some("ImagePullBackOff"),
        reason => Some(reason),
    }
}

/// How its process ended, if that was an error. The kubelet says `Unknown` after a reboot of the
/// node: that is no error of the process.
fn error(end: &Value) -> Option<&Value> {
    let by_itself = !matches!(end["reason"].as_str(), Some("Unknown" | "ContainerStatusUnknown"));
    (by_itself && end["exitCode"].as_i64().is_some_and(|code| code != 0)).then_some(end)
}

/// The newest error of its processes.
fn last_error(status: &Value) -> Option<&Value> {
    let ends = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
    error(ends.into_iter().find(|end| end.is_object())?)
}

/// When one that was started again twice or more last ended with an error.
pub fn crashed(status: &Value) -> Option<Timestamp> {
    let ends = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
    let ends =
        ends.into_iter().filter(|_| status["restartCount"].as_u64() >= Some(2)).filter_map(error);
    ends.filter_map(|end| time(&end["finishedAt"])).max()
}

/// What keeps it from running, or made it end, in words. Of the kubelet's own messages only that is
/// quoted which names what is missing: in others there may be what a variable holds.
pub fn ails(status: &Value) -> Option<String> {
    let crash = last_error(status)
        .map(|end| how_it_ended(end, status["restartCount"].as_u64().unwrap_or_default()));
    let waiting = &status["state"]["waiting"];
    match (trouble(status), crash) {
        (Some(reason @ "CreateContainerConfigError"), _) => {
            Some(waiting["message"].as_str().map_or_else(
                || reason.to_owned(),
                |message| format!("{reason}: {}", quoted(message)),
            ))
        }
        (Some(reason @ ("ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull")), _) => {
            Some(status["image"].as_str().map_or_else(
                || reason.to_owned(),
                |image| format!("{reason} (image {})", quoted(image)),
            ))
        }
        (Some(reason), Some(crash)) => Some(format!("{reason}: {crash}")),
        (Some(reason), None) => Some(reason.to_owned()),
        // Between two crashes it runs for a while, and is ready where nothing probes it.
        (None, Some(crash))
            if status["state"]["running"].is_null()
                || status["ready"] != true
                || crashed(status).is_some() =>
        {
            Some(crash)
        }
        (None, _) => None,
    }
}

fn how_it_ended(end: &Value, restarts: u64) -> String {
    let (reason, code) =
        (end["reason"].as_str().unwrap_or("Error"), end["exitCode"].as_i64().unwrap_or_default());
    match restarts {
        0 => format!("{reason} (exit {code})"),
        1 => format!("{reason} (exit {code}), restarted once"),
        more => format!("{reason} (exit {code}), restarted {more} times"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::{
        super::{Pods, Watched, Wire},
        *,
    };

    fn ended(reason: &str, code: i64) -> Value {
        json!({"terminated": {"reason": reason, "exitCode": code, "finishedAt": "2026-11-29T10:00:00Z"}})
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"waiting": {"reason": reason, "message": message}})
    }

    fn container(state: Value, last: Value, restarts: u64, ready: bool) -> Value {
        json!({"image": "shop:v9", "state": state, "lastState": last, "restartCount": restarts, "ready": ready})
    }

    #[test]
    fn what_ails_a_container_is_told_in_every_state_of_a_crash() {
        let running = || json!({"running": {"startedAt": "2026-11-29T10:00:01Z"}});
        for (status, expected) in [
            (container(ended("Error", 3), json!({}), 0, false), Some("Error (exit 3)")),
            (
                container(waiting("CrashLoopBackOff", "back-off"), ended("Error", 3), 3, false),
                Some("CrashLoopBackOff: Error (exit 3), restarted 3 times"),
            ),
            (
                container(running(), ended("OOMKilled", 137), 1, false),
                Some("OOMKilled (exit 137), restarted once"),
            ),
            // It recovered; without a probe it is ready between any two crashes.
            (container(running(), ended("Error", 3), 1, true), None),
            (
                container(running(), ended("Error", 3), 2, true),
                Some("Error (exit 3), restarted 2 times"),
            ),
            (container(running(), json!({}), 0, false), None),
            (container(waiting("ContainerCreating", ""), json!({}), 0, false), None),
            (
                container(
                    waiting("CreateContainerConfigError", "secret \"synced\" not found"),
                    json!({}),
                    0,
                    false,
                ),
                Some("CreateContainerConfigError: secret \"synced\" not found"),
            ),
            (
                container(
                    waiting("RunContainerError", "exec: \"hunter2\": not found"),
                    json!({}),
                    0,
                    false,
                ),
                Some("RunContainerError"),
            ),
        ] {
            assert_eq!(ails(&status).as_deref(), expected, "{status}");
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_in_the_same_words_all_the_time() {
        let words: Vec<_> = ["ErrImagePull", "ImagePullBackOff"]
            .map(|reason| ails(&container(waiting(reason, "x"), json!({}), 0, false)))
            .into();
        assert_eq!(words, [Some("ImagePullBackOff (image shop:v9)".to_owned()), words[0].clone()]);
    }

    #[test]
    fn a_pod_that_has_finished_is_expected_to_be_gone_from_then_on() {
        let pod = |phase: &str, state: Value| {
            let pod = json!({
                "metadata": {"name": "web", "deletionTimestamp": "2026-11-29T10:30:00Z"},
                "status": {"phase": phase, "containerStatuses": [container(state, json!({}), 0, false)]},
            });
            let pod: Wire<Pods> = serde_json::from_value(pod).unwrap();
            Pods::view(&pod.metadata, pod.body)
        };
        for (phase, state, finished, terminating) in [
            (
                "Running",
                json!({"running": {"startedAt": "2026-11-29T09:00:00Z"}}),
                false,
                "2026-11-29T10:30:00Z",
            ),
            // One of its containers, which may have others.
            ("Running", ended("Completed", 0), false, "2026-11-29T10:30:00Z"),
            ("Succeeded", ended("Completed", 0), true, "2026-11-29T10:00:00Z"),
            ("Failed", ended("Error", 137), true, "2026-11-29T10:00:00Z"),
            ("Failed", json!({}), true, "2026-11-29T10:30:00Z"),
        ] {
            let pod = pod(phase, state);
            assert_eq!(
                (pod.finished, pod.terminating),
                (finished, time(&json!(terminating))),
                "{phase}"
            );
        }
    }

    #[test]
    fn a_reboot_is_no_crash() {
        let running = || json!({"running": {"startedAt": "2026-11-29T10:00:01Z"}});
        assert_eq!(crashed(&container(running(), ended("Unknown", 255), 2, true)), None);
        assert_eq!(ails(&container(running(), ended("Unknown", 255), 2, false)), None);
        assert!(crashed(&container(running(), ended("Error", 255), 2, true)).is_some());
    }

    #[test]
    fn the_process_that_comes_next_is_another_one_as_soon_as_the_last_has_ended() {
        assert!(has_ended(&container(ended("Error", 3), json!({}), 0, false)));
        assert!(has_ended(&container(
            waiting("CrashLoopBackOff", ""),
            ended("Error", 3),
            1,
            false
        )));
        assert!(!has_ended(&container(json!({"running": {}}), ended("Error", 3), 1, false)));
        assert!(!has_ended(&container(waiting("ContainerCreating", ""), json!({}), 0, false)));
    }
}

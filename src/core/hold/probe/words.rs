//! What is told of a webhook that is not asked.

/// What follows where nothing puts pods to sleep.
pub const NO_SLEEP: &str =
    "the pods of a workload that sleeps do not start, and people cannot run commands in them";

/// What follows where no names of claims are reserved.
pub const NO_RESERVATION: &str =
    "no claim becomes another one, because a new claim could get an empty volume";

/// The API server stored the write without asking the webhook.
pub const NOT_ASKED: &str = "it made the write without asking the webhook, or the replica that it asked has another version";

/// The API server does not reach the webhook. `refuses`: it refuses changes then.
pub fn unreachable(why: &str, refuses: bool) -> String {
    let so = match refuses {
        true => {
            "so it refuses changes of governed templates until it does. What is held stays held, and nothing else is affected"
        }
        false => {
            "so template changes may roll without waiting (webhook.failurePolicy is Ignore). What is held stays held"
        }
    };
    format!(
        "the API server does not reach Lockkeeper's webhook, {so}. It says: {why}. Look at kubectl get pods -n lockkeeper-system; at network policies and \
         firewalls between the API server and the port of these pods (webhook.port); for an unknown authority or an expired certificate, run helm upgrade \
         for Lockkeeper. This ends by itself when the webhook answers"
    )
}

/// Nothing tells the API server to ask the webhook.
pub fn missing(reinstall: &str) -> String {
    format!(
        "the MutatingWebhookConfiguration zz-lockkeeper is not installed, so the API server does not ask Lockkeeper's webhook: {reinstall}"
    )
}

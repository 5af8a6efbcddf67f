//! What can go wrong with a request, and when it is worth another try.

use std::{future::Future, time::Duration};

use kube::core::Status;

use crate::core::{additions::Restrained, words};

/// No answer is waited for longer than this; kube's client itself would wait indefinitely.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of characters passed on of a message that is not ours.
const MESSAGE_LIMIT: usize = 300;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// From the API server, or on the way to it.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// No answer in time.
    #[error("the API server, or an admission webhook behind it, gave no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// The digest key cannot be used.
    #[error("{0}")]
    BadKey(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for a digest key: {0}")]
    Entropy(String),
    /// The CRD does not stand, so nothing may be concluded from the absence of policies.
    #[error(
        "the CustomResourceDefinition of UpgradePolicy is not established; until it is, marks stay on workloads that no policy selects"
    )]
    NoDefinition,
    /// Another replica of the operator may act by now.
    #[error(
        "this replica of the operator no longer leads; what it was about to do is left to the one that does"
    )]
    NotLeading,
    /// It had to wait for other requests, and the pods' answers have become too old.
    #[error("it had to wait too long for other requests; it is decided again")]
    Late,
    /// A policy selects the workload that was to be let go.
    #[error(
        "policy {0} selects this workload, so its marks stay; the operator's watch of policies is behind"
    )]
    Selected(String),
    /// A pod uses the claim whose volume was to go to another one.
    #[error(
        "pod {pod} uses claim {claim}, so its volume stays there; the operator's watch of pods is behind"
    )]
    InUse {
        /// The pod.
        pod: String,
        /// The claim.
        claim: String,
    },
}

/// What to do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The object is no longer the one decided on: observe again, at once.
    Conflict,
    /// The object is gone: nothing is left to do.
    Gone,
    /// The API server asks for a pause.
    Throttled(Option<Duration>),
    /// Worth another try, with growing pauses.
    Transient,
    /// Refused: tried again slowly, and reported.
    Refused,
}

impl Error {
    /// What to do about it.
    pub fn class(&self) -> Class {
        let Self::Kube(kube::Error::Api(status)) = self else {
            return match self {
                Self::NotLeading | Self::Late => Class::Conflict,
                Self::Kube(_)
                | Self::Timeout
                | Self::NoDefinition
                | Self::Selected(_)
                | Self::InUse { .. } => Class::Transient,
                Self::BadKey(_) | Self::Entropy(_) => Class::Refused,
            };
        };
        match status.code {
            409 => Class::Conflict,
            404 | 410 => Class::Gone,
            422 if is_failed_test(status) => Class::Conflict,
            429 => Class::Throttled(retry_after(status)),
            // A quota or a webhook that refuses says 403; one that cannot be reached, 500.
            400..500 => Class::Refused,
            500 if status.message.contains("webhook") => Class::Refused,
            _ => Class::Transient,
        }
    }

    /// Whether what was decided on is no longer there: another writer was quicker, and nothing is
    /// wrong.
    pub fn is_obsolete(&self) -> bool {
        matches!(self.class(), Class::Conflict | Class::Gone)
    }

    /// Whether somebody else's admission changes the template in this write, so that it is accepted
    /// only with a hold.
    pub fn needs_hold(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if matches!(Restrained::parse(&status.message), Some(Restrained::WithoutHold(_))))
    }

    /// Whether the object exists already or was changed in the meantime.
    pub fn is_conflict(&self) -> bool {
        self.class() == Class::Conflict
    }

    /// The message, short and on one line.
    pub fn sentence(&self) -> String {
        let full = match self {
            Self::Kube(kube::Error::Api(status)) => match Restrained::parse(&status.message) {
                Some(restrained) => words::restrained(&restrained),
                None => status.message.clone(),
            },
            other => with_causes(other),
        };
        let mut line: String = full.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = line.char_indices().nth(MESSAGE_LIMIT) {
            line.truncate(end);
            line.push('…');
        }
        line
    }
}

/// An error and its causes, each named once.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// A failed `test` of a JSON patch is answered with 422 Invalid without causes.
fn is_failed_test(status: &Status) -> bool {
    status.reason == "Invalid"
        && status.details.as_ref().is_none_or(|details| details.causes.is_empty())
}

fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// Waits for an answer, but not indefinitely.
///
/// # Errors
/// Those of the request, or [`Error::Timeout`].
pub async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Timeout),
    }
}

//! What a pod's answer means.

use serde_json::Value;

use crate::{
    api::OpenWhen,
    core::{conversation::words, plain},
};

/// Maximum number of characters passed on of an app's own words.
const WORDS_LIMIT: usize = 200;

/// These say nothing of the app's state: who asks, how long it took, how often.
const NOT_THE_APPS: [u16; 4] = [401, 403, 408, 429];

/// What a pod answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It may be ended.
    Yes,
    /// It may not; with the app's own words, if it gave any.
    No(String),
    /// It does not know the path: 404, 405 or 501.
    Missing(u16),
    /// Nothing that could be used; why, in words.
    Unusable(String),
    /// Nothing in time; in words.
    Hangs(String),
    /// Nothing, because we could not ask; in words. Says nothing of the pod.
    NotAsked(String),
}

impl Answer {
    /// Whether it says yes or no.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Yes | Self::No(_))
    }

    /// In a word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Yes => "Yes",
            Self::No(_) => "No",
            Self::Missing(_) => "Missing",
            Self::Unusable(_) => "Unusable",
            Self::Hangs(_) => "Hangs",
            Self::NotAsked(_) => "NotAsked",
        }
    }

    /// Why it is of no use, in words.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Yes | Self::No(_) => None,
            Self::Missing(status) => Some(words::answers(*status)),
            Self::Unusable(why) | Self::Hangs(why) | Self::NotAsked(why) => Some(why.clone()),
        }
    }

    /// The same without words that must not be seen, such as the value of a header that the app
    /// repeats.
    #[must_use]
    pub fn without(self, hidden: &[String]) -> Self {
        match self {
            Self::No(words) => Self::No(limited(&blanked(words, hidden))),
            Self::Unusable(words) => Self::Unusable(limited(&blanked(words, hidden))),
            other => other,
        }
    }
}

fn blanked(words: String, hidden: &[String]) -> String {
    let hidden = hidden.iter().filter(|one| !one.is_empty());
    hidden.fold(words, |words, one| words.replace(one, "***"))
}

/// Whether a status says that the path is not known.
pub fn is_missing(status: u16) -> bool {
    matches!(status, 404 | 405 | 501)
}

/// Reads an answer. A number in it equals another only if both are whole or both are not: 1 is not
/// 1.0.
pub fn read(open_when: &OpenWhen, status: u16, body: &[u8]) -> Answer {
    let listed = open_when.status.contains(&status);
    // Its recursion is limited: a deeply nested answer is none.
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let missing = is_missing(status);
    let Some(pointer) = &open_when.field else {
        return match status {
            _ if listed => Answer::Yes,
            _ if missing => Answer::Missing(status),
            503 | 400..=499 if !NOT_THE_APPS.contains(&status) => {
                Answer::No(reason(document.as_ref()))
            }
            _ => Answer::Unusable(words::answers(status)),
        };
    };
    match document.as_ref().and_then(|document| document.pointer(pointer)) {
        Some(value) if *value != open_when.equals => Answer::No(reason(document.as_ref())),
        Some(_) if listed => Answer::Yes,
        Some(_) => Answer::Unusable(words::status_differs(status, pointer, &open_when.equals)),
        None if missing => Answer::Missing(status),
        None if document.is_none() && listed => Answer::Unusable(words::no_json(status)),
        None if listed => Answer::Unusable(words::no_field(status, pointer)),
        None if (300..400).contains(&status) => Answer::Unusable(words::redirects(status)),
        None => Answer::Unusable(words::answers(status)),
    }
}

/// The app's own words.
fn reason(document: Option<&Value>) -> String {
    let reason = document.and_then(|document| document.get("reason")?.as_str());
    reason.unwrap_or_default().to_owned()
}

/// Words that are not ours, fit for a message: plain, and not too long.
pub fn limited(words: &str) -> String {
    let words = plain(words);
    let mut limited: String = words.trim().chars().take(WORDS_LIMIT).collect();
    if words.trim().chars().count() > WORDS_LIMIT {
        limited.push('…');
    }
    limited
}

#[cfg(test)]
mod tests {
    use crate::core::conversation::answer::*;

    fn status_only() -> OpenWhen {
        OpenWhen { status: vec![200, 204], field: None, equals: Value::Bool(true) }
    }

    #[test]
    fn the_field_decides_and_the_status_must_be_listed() {
        let table: &[(u16, &str, &str)] = &[
            (200, r#"{"isUpgradeable": true}"#, "Yes"),
            (200, r#"{"isUpgradeable": false, "reason": "job"}"#, "No"),
            (503, r#"{"isUpgradeable": false}"#, "No"),
            (404, r#"{"isUpgradeable": false}"#, "No"),
            (200, r#"{"isUpgradeable": "true"}"#, "No"),
            (503, r#"{"isUpgradeable": true}"#, "Unusable"),
            (200, "{}", "Unusable"),
            (200, "yes", "Unusable"),
            (200, "", "Unusable"),
            (302, "", "Unusable"),
            (500, "", "Unusable"),
            (401, "", "Unusable"),
            (429, "", "Unusable"),
            (404, "", "Missing"),
            (405, "not JSON", "Missing"),
            (501, "{}", "Missing"),
        ];
        for (status, body, expected) in table {
            assert_eq!(
                read(&OpenWhen::default(), *status, body.as_bytes()).as_str(),
                *expected,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn without_a_field_the_status_decides() {
        let mut said = Vec::new();
        for status in
            [200, 204, 503, 400, 409, 423, 401, 403, 408, 429, 404, 405, 501, 500, 502, 301]
        {
            said.push(format!("{status} {}", read(&status_only(), status, b"").as_str()));
        }
        assert_eq!(
            said.join(", "),
            "200 Yes, 204 Yes, 503 No, 400 No, 409 No, 423 No, 401 Unusable, 403 Unusable, 408 Unusable, 429 Unusable, 404 Missing, \
             405 Missing, 501 Missing, 500 Unusable, 502 Unusable, 301 Unusable"
        );
    }

    #[test]
    fn nesting_and_words_are_limited_and_hidden_values_are_blanked() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(read(&OpenWhen::default(), 200, deep.as_bytes()).as_str(), "Unusable");
        let long =
            format!(r#"{{"isUpgradeable": false, "reason": "key s3cret\n{}"}}"#, "x".repeat(500));
        let Answer::No(words) =
            read(&OpenWhen::default(), 200, long.as_bytes()).without(&["s3cret".to_owned()])
        else {
            panic!()
        };
        assert!(words.starts_with("key *** xxx") && words.chars().count() == 201, "{words}");
    }
}

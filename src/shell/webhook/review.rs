//! Admission reviews, `admission.k8s.io/v1`, as the API server sends and reads them.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::core::judge::{Operation, Request, Resource, User};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What is to become of a write that cannot be judged. The webhook's configuration says it by the
/// path that it has called, which has the name of the failure policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It is refused.
    Fail,
    /// It is stored as it is, and the writer is warned.
    Ignore,
}

impl Otherwise {
    /// By the path that is called: that of a Service may have no capital letters.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/mutate/fail" => Some(Self::Fail),
            "/mutate/ignore" => Some(Self::Ignore),
            _ => None,
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The write is stored as it is.
    Untouched,
    /// It is stored with these operations of a JSON patch.
    Patched(Vec<Value>),
    /// It was not judged, for this reason, and is refused.
    Refused(String),
    /// It was not judged, for this reason, and is stored as it is.
    LetThrough(String),
}

impl Answer {
    /// To a write that could not be judged.
    pub fn unjudged(otherwise: Otherwise, why: String) -> Self {
        match otherwise {
            Otherwise::Fail => Self::Refused(why),
            Otherwise::Ignore => Self::LetThrough(why),
        }
    }

    /// In one word, for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Untouched => "Untouched",
            Self::Patched(_) => "Patched",
            Self::Refused(_) => "Refused",
            Self::LetThrough(_) => "LetThrough",
        }
    }

    /// As the API server reads it.
    pub fn review(self, uid: &str) -> Value {
        let mut response = json!({"uid": uid, "allowed": true});
        match self {
            Self::Untouched => {}
            Self::Patched(operations) => {
                response["patchType"] = json!("JSONPatch");
                response["patch"] =
                    json!(BASE64_STANDARD.encode(Value::Array(operations).to_string()));
            }
            Self::Refused(why) => {
                response["allowed"] = json!(false);
                response["status"] = json!({"code": 503, "reason": "ServiceUnavailable",
                    "message": format!("Lockkeeper cannot judge this write, so it is refused: {why}")});
            }
            Self::LetThrough(why) => {
                response["warnings"] = json!([format!("not judged by Lockkeeper: {why}")]);
            }
        }
        json!({"apiVersion": API_VERSION, "kind": KIND, "response": response})
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Asked,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    uid: String,
    resource: Named,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    operation: String,
    user_info: UserInfo,
    #[serde(default)]
    object: Option<Value>,
    #[serde(default)]
    old_object: Option<Value>,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
struct Named {
    group: String,
    version: String,
    resource: String,
}

#[derive(Deserialize)]
struct UserInfo {
    #[serde(default)]
    username: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    groups: Option<Vec<String>>,
    #[serde(default)]
    extra: Option<BTreeMap<String, Vec<String>>>,
}

/// Reads what is asked: its uid, and the write.
///
/// # Errors
/// Says in a sentence what is wrong with it. It quotes nothing of the objects.
pub fn read(body: &[u8]) -> Result<(String, Request), String> {
    // An error of serde quotes values, which may be those of an environment variable.
    let review: Review = serde_json::from_slice(body).map_err(|error| {
        format!("this is no {KIND}: line {}, column {}", error.line(), error.column())
    })?;
    if (review.api_version.as_str(), review.kind.as_str()) != (API_VERSION, KIND) {
        return Err(format!("this is no {KIND} of {API_VERSION}"));
    }
    let asked = review.request;
    let operation = match asked.operation.as_str() {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        _ => return Err("its operation is none of CREATE, UPDATE and DELETE".to_owned()),
    };
    let request = Request {
        operation,
        resource: Resource {
            group: asked.resource.group,
            version: asked.resource.version,
            plural: asked.resource.resource,
            subresource: Some(asked.sub_resource).filter(|name| !name.is_empty()),
        },
        namespace: asked.namespace,
        name: asked.name,
        object: asked.object,
        old_object: asked.old_object,
        // Read where a rule asks for more than the name.
        namespace_object: None,
        user: User {
            username: asked.user_info.username,
            uid: asked.user_info.uid,
            groups: asked.user_info.groups.unwrap_or_default(),
            extra: asked.user_info.extra.unwrap_or_default(),
        },
        dry_run: asked.dry_run.unwrap_or_default(),
    };
    Ok((asked.uid, request))
}

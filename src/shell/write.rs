//! A patch, and what the API server says beside its answer.

use http_body_util::BodyExt;
use kube::{
    Api, Client, Error, Result,
    api::{DynamicObject, Patch, PatchParams},
    client::Body,
    core::{ObjectMeta, PartialObjectMeta, Request, Status},
};
use serde_json::Value;

use crate::{api::marks, core::additions};

/// A write that was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The resourceVersion that it brought about.
    pub version: u64,
    /// What other admission policies and webhooks changed in it.
    pub added: Vec<String>,
}

/// Patches an object. Only its metadata are sent back.
///
/// # Errors
/// Those of the API server, or on the way to it.
pub async fn patch(
    client: &Client,
    objects: &Api<DynamicObject>,
    name: &str,
    body: &Patch<Value>,
) -> Result<Written> {
    let params = PatchParams {
        field_manager: Some(marks::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let request = Request::new(objects.resource_url())
        .patch_metadata(name, &params, body)
        .map_err(Error::BuildRequest)?;
    let (head, body) = client.send(request.map(Body::from)).await?.into_parts();
    let bytes = body.collect().await?.to_bytes();
    if !head.status.is_success() {
        let unreadable = || {
            Status::failure(String::from_utf8_lossy(&bytes).trim(), "Unreadable")
                .with_code(head.status.as_u16())
        };
        let status: Status = serde_json::from_slice(&bytes).unwrap_or_else(|_| unreadable());
        return Err(Error::Api(status.boxed()));
    }
    let answer: PartialObjectMeta<DynamicObject> =
        serde_json::from_slice(&bytes).map_err(Error::SerdeError)?;
    let warnings =
        head.headers.get_all("warning").iter().filter_map(|warning| warning.to_str().ok());
    let metadata: &ObjectMeta = &answer.metadata;
    Ok(Written {
        version: crate::workload::resource_version(metadata),
        added: warnings.flat_map(added).collect(),
    })
}

/// The fields that a warning names: `299 - "…"`.
fn added(warning: &str) -> Vec<String> {
    let text =
        warning.split_once('"').map_or("", |(_, text)| text.strip_suffix('"').unwrap_or(text));
    additions::added(&text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_read_without_its_quotes() {
        let warning = "299 - \"Validation failed for ValidatingAdmissionPolicy 'change-is-held' with binding 'change-is-held': changed by \
                       another admission policy or webhook: metadata.labels[team]\"";
        assert_eq!(added(warning), ["metadata.labels[team]"]);
        assert_eq!(added("299 - \"stored, but held\""), Vec::<String>::new());
    }
}

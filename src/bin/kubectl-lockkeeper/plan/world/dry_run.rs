//! What the API server would make of a manifest: asked by dry runs.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use lockkeeper::shell::errors::with_causes;
use serde_json::{Value, json};

use super::Kind;
use crate::{
    cluster::{Cluster, FIELD_MANAGER, Failure},
    plan::merge::{manager, take_out, update_of},
};

/// What came of a dry run.
pub enum Tried {
    /// The object as it would be.
    Made(Value),
    /// The API server would not take it.
    Refused(String),
    /// It may not be tried: in words.
    NotAllowed(String),
    /// There is nothing to try it in yet.
    NoPlace,
}

/// The objects of a manifest's kind.
pub fn api(cluster: &Cluster, kind: Kind, object: &Value) -> Api<DynamicObject> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let name = object["kind"].as_str().unwrap_or_default();
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, name));
    resource.plural = kind.plural().into();
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
}

/// Says what the API server would make of a manifest.
pub async fn dry_run(
    api: &Api<DynamicObject>,
    kind: Kind,
    name: &str,
    manifest: &Value,
    live: Option<&Value>,
) -> Result<Tried, Failure> {
    let mut object = manifest.clone();
    // What kubectl get prints besides, and no apply may name.
    for field in
        ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"]
    {
        object["metadata"].as_object_mut().map(|fields| fields.remove(field));
    }
    object.as_object_mut().map(|fields| fields.remove("status"));
    let manager = manager(live);
    let parameters = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let mut made = match api.patch(name, &parameters, &Patch::Apply(&object)).await {
        Ok(made) => typed(made, manifest),
        Err(error) => return failed(kind, name, error),
    };
    let Some(live) = live.filter(|_| manager == FIELD_MANAGER) else {
        return Ok(Tried::Made(made));
    };
    let (places, filled_in) = kind.places();
    let mut taken = made.clone();
    let mut any = false;
    for place in places {
        any |= take_out(live, &mut taken, place);
    }
    if any && !filled_in {
        made = taken;
    } else if any {
        let update = update_of(live, &taken, manifest);
        let body = serde_json::from_value(update).map_err(|error| Failure::Api {
            what: format!("cannot try out {name}"),
            why: error.to_string(),
        })?;
        let parameters =
            PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match api.replace(name, &parameters, &body).await {
            Ok(updated) => made = typed(updated, manifest),
            // It moved on, or may only be patched: what the manifest leaves out is not seen then.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 409) => {}
            Err(error) => return failed(kind, name, error),
        }
    }
    Ok(Tried::Made(made))
}

fn failed(kind: Kind, name: &str, error: kube::Error) -> Result<Tried, Failure> {
    let cannot = |why: String| Failure::Api { what: format!("cannot try out {name}"), why };
    let status = match error {
        kube::Error::Api(status) => status,
        error => return Err(cannot(with_causes(&error))),
    };
    // What is refused may be quoted.
    let said = match kind {
        Kind::Secret => {
            format!("{} (its message is omitted, because it may quote the Secret)", status.code)
        }
        _ => status.message.clone(),
    };
    match status.code {
        404 => Ok(Tried::NoPlace),
        403 if is_about_rights(&status.message) => Ok(Tried::NotAllowed(said)),
        _ if is_about_the_way(&status.message) => Ok(Tried::NotAllowed(said)),
        400..500 => Ok(Tried::Refused(said)),
        // That is how a server-side apply answers what is of another type.
        _ if status.message.contains("typed patch object") => Ok(Tried::Refused(said)),
        _ => Err(cannot(said)),
    }
}

/// Whether another way to apply may do what a dry run of a server-side apply cannot: some webhooks
/// take no part in dry runs, and unknown fields and items of the same key are refused there only.
fn is_about_the_way(message: &str) -> bool {
    ["does not support dry run", "field not declared in schema", "duplicate entries for key"]
        .iter()
        .any(|way| message.contains(way))
}

/// Whether the right to write is missing, and not something in the object.
fn is_about_rights(message: &str) -> bool {
    ["patch", "create", "update"]
        .iter()
        .any(|verb| message.contains(&format!("cannot {verb} resource")))
}

/// With its kind, which lists and some answers leave out.
pub fn typed(object: DynamicObject, manifest: &Value) -> Value {
    let mut object = json!(object);
    for field in ["apiVersion", "kind"] {
        object[field] = manifest[field].clone();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(kind: Kind, code: u16, message: &str) -> String {
        let status = kube::core::Status {
            code,
            message: message.to_owned(),
            ..kube::core::Status::default()
        };
        match failed(kind, "web", kube::Error::Api(Box::new(status))) {
            Ok(Tried::Made(_)) => "made".to_owned(),
            Ok(Tried::Refused(why)) => format!("refused: {why}"),
            Ok(Tried::NotAllowed(why)) => format!("not allowed: {why}"),
            Ok(Tried::NoPlace) => "no place".to_owned(),
            Err(error) => format!("failed: {error}"),
        }
    }

    #[test]
    fn what_the_api_server_says_of_a_dry_run_is_told_apart() {
        let rights = "deployments.apps \"web\" is forbidden: User \"ann\" cannot patch resource \"deployments\" in API group \"apps\"";
        for (code, message, expected) in [
            (403, rights, "not allowed: deployments.apps"),
            (403, "pods \"web\" is forbidden: exceeded quota", "refused: "),
            (404, "namespaces \"shop\" not found", "no place"),
            (400, "admission webhook \"x\" does not support dry run", "not allowed: "),
            (
                500,
                "failed to create typed patch object: .spec.x: field not declared in schema",
                "not allowed: ",
            ),
            (
                500,
                "failed to create typed patch object: .spec.replicas: expected numeric",
                "refused: ",
            ),
            (
                422,
                "Deployment.apps \"web\" is invalid: spec.selector: field is immutable",
                "refused: ",
            ),
            (500, "etcd is away", "failed: cannot try out web"),
        ] {
            assert!(
                tried(Kind::Deployment, code, message).starts_with(expected),
                "{code} {message}: {}",
                tried(Kind::Deployment, code, message)
            );
        }
        for code in [400, 403, 422, 500] {
            assert!(
                !tried(Kind::Secret, code, "typed patch object: got hunter2").contains("hunter2"),
                "{code}"
            );
        }
    }
}

//! Whether an installed Lockkeeper can do its work, in a line for each thing that it needs.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::Lease,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;

use super::{
    clock,
    definition::is_established,
    errors::{Class, within},
    runtime::{LEASE, client},
    views::{
        MutatingBindings, MutatingPolicies, MutatingWebhooks, ValidatingBindings,
        ValidatingPolicies, Watched,
    },
};
use crate::{
    api::crd,
    core::{
        hold::{enforced::Enforcement, judges::WEBHOOK},
        judge::Release,
    },
    settings::CheckSettings,
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Checks until everything works, or the time is over. Returns what was found.
///
/// # Errors
/// The same, if a check fails.
pub async fn run(settings: CheckSettings) -> Result<String, String> {
    let client = client().await.map_err(|error| error.to_string())?;
    let begun = clock::moment();
    let mut renewed = None;
    loop {
        let findings = [
            server(&client).await,
            definition(&client).await,
            leader(&client, &settings.release.operator_namespace, &mut renewed).await,
            admission(&client, &settings.release.release()).await,
        ];
        let all_well = findings.iter().all(Result::is_ok);
        if all_well || begun.elapsed() >= Duration::from_secs(settings.timeout) {
            let lines: Vec<_> = findings
                .into_iter()
                .map(|finding| {
                    finding.map_or_else(
                        |wrong| format!("FAILED  {wrong}"),
                        |works| format!("ok      {works}"),
                    )
                })
                .collect();
            let said = lines.join("\n");
            return if all_well { Ok(said) } else { Err(format!("a check failed:\n{said}")) };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn server(client: &Client) -> Result<String, String> {
    let version = within(client.apiserver_version())
        .await
        .map_err(|error| format!("the API server does not answer: {}", error.sentence()))?;
    Ok(format!("the API server, Kubernetes {}, answers", version.git_version))
}

async fn definition(client: &Client) -> Result<String, String> {
    let found = within(Api::<CustomResourceDefinition>::all(client.clone()).get(crd::NAME))
        .await
        .map_err(|error| {
        format!("the CustomResourceDefinition {} cannot be read: {}", crd::NAME, error.sentence())
    })?;
    if !is_established(&found) {
        return Err(format!(
            "the CustomResourceDefinition {} is there, but not established",
            crd::NAME
        ));
    }
    let wanted: Value = crd::yaml()
        .ok()
        .and_then(|text| serde_saphyr::from_str(&text).ok())
        .ok_or("this program's own definition cannot be written")?;
    let versions = serde_json::to_value(&found.spec.versions).unwrap_or_default();
    if versions[0]["schema"] != wanted["spec"]["versions"][0]["schema"] {
        let cure = "helm upgrade brings it, or: kubectl apply --server-side --force-conflicts -f crds/upgradepolicies.yaml";
        return Err(format!(
            "the CustomResourceDefinition {} is of another version than this program: {cure}",
            crd::NAME
        ));
    }
    Ok("UpgradePolicy is served, as this version knows it".to_owned())
}

/// A Lease that is renewed has a leader that acts. Clocks of nodes may differ, so two looks are
/// compared.
async fn leader(
    client: &Client,
    namespace: &str,
    renewed: &mut Option<MicroTime>,
) -> Result<String, String> {
    let lease = within(Api::<Lease>::namespaced(client.clone(), namespace).get(LEASE)).await;
    let lease = lease.map_err(|error| match error.class() {
        Class::Gone => {
            format!("no replica of the operator has led yet: there is no Lease {namespace}/{LEASE}")
        }
        _ => format!("the Lease {namespace}/{LEASE} cannot be read: {}", error.sentence()),
    })?;
    let spec = lease.spec.unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let holder = holder.ok_or("no replica of the operator leads: is it running? (replicaCount, and the logs of deployment/lockkeeper)")?;
    let pod = holder.split('_').next().unwrap_or_default();
    let before = std::mem::replace(renewed, spec.renew_time.clone());
    match before {
        Some(before) if Some(&before) != spec.renew_time.as_ref() => {
            Ok(format!("replica {pod} leads"))
        }
        _ => {
            // Kept, so that a renewal is seen also where others end the check.
            *renewed = before.or(spec.renew_time);
            Err(format!("replica {pod} led, and has not renewed its Lease since: has it died?"))
        }
    }
}

async fn admission(client: &Client, release: &Release) -> Result<String, String> {
    let mut enforcement = Enforcement::new(release);
    for resource in [
        MutatingPolicies::resource(),
        MutatingBindings::resource(),
        ValidatingPolicies::resource(),
        ValidatingBindings::resource(),
    ] {
        let kind = &resource.kind;
        match within(
            Api::<DynamicObject>::all_with(client.clone(), &resource).list(&ListParams::default()),
        )
        .await
        {
            Ok(list) => {
                for mut object in list.items {
                    let name = object.metadata.name.take().unwrap_or_default();
                    enforcement.observe(kind, &name, Some(object.data["spec"].take()));
                }
            }
            Err(error) if error.class() == Class::Gone && kind.starts_with("Mutating") => {
                enforcement.observe_served(kind, false);
            }
            Err(error) => return Err(format!("{kind} cannot be read: {}", error.sentence())),
        }
    }
    let (kind, name) = WEBHOOK;
    let webhooks = Api::<DynamicObject>::all_with(client.clone(), &MutatingWebhooks::resource());
    let found = within(webhooks.get_opt(name)).await;
    let found = found.map_err(|error| format!("{kind} cannot be read: {}", error.sentence()))?;
    enforcement.observe(kind, name, found.map(|mut one| one.data["webhooks"].take()));
    if let Some(gap) = enforcement.deletion_gap() {
        return Err(gap.message);
    }
    let by_webhook = enforcement.judges().webhook;
    if enforcement.is_unavailable() && !by_webhook {
        return Ok("the admission policies that this API server can have are in place; it cannot hold templates, for it does not serve \
                   MutatingAdmissionPolicy v1 (Kubernetes 1.36)"
            .to_owned());
    }
    let gap = enforcement.gap().or_else(|| enforcement.claims_gap());
    match gap.or_else(|| enforcement.sleep_gap()) {
        Some(gap) => Err(gap.message),
        None if by_webhook => {
            Ok("the webhook and what it needs of admission policies are in place, as this version knows them"
                .to_owned())
        }
        None => Ok("the admission policies are in place, as this version knows them".to_owned()),
    }
}

//! How the operator verifies pods, and which of them it trusts with what is in a Secret.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use k8s_openapi::ByteString;
use lockkeeper::core::conversation::Errand;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::rustls::{
    ALL_VERSIONS, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS12,
};

use super::{Operator, Pod, Then, compare, in_words, reply, yes};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server with a certificate for this host, until the end of this year.
    fn server(
        &self,
        host: &str,
        year: i32,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        server(params.signed_by(&key, &self.issuer).unwrap().der().clone(), &key, versions)
    }
}

/// A server with this certificate, whatever it is.
fn server(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let key =
        ring::sign::any_supported_type(&PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
    let chosen = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap();
    Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(chosen)))
}

#[tokio::test]
async fn pods_are_verified_by_the_given_authority_and_name_or_not_at_all() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let key = "-----BEGIN PRIVATE KEY----- d2hhdGV2ZXI";
    let texts = json!({"ca.crt": format!("{}{}", others.pem, ours.pem), "others": others.pem, "key": key, "none": "# none"});
    let bytes: BTreeMap<_, _> = [("ca.crt", ByteString(ours.pem.clone().into_bytes()))].into();
    let by = |kind: &str, key: &str, name: Option<&str>| json!({"caRef": {"kind": kind, "name": "app-ca", "key": key}, "serverName": name});
    let absent = json!({"caRef": {"kind": "ConfigMap", "name": "absent"}});
    let (any, service) = (Value::Null, Some("app.shop.svc"));
    let (named, at_address) = (
        ours.server("app.shop.svc", 2090, ALL_VERSIONS),
        ours.server("127.0.0.1", 2090, ALL_VERSIONS),
    );
    let (old, expired) =
        (ours.server("127.0.0.1", 2090, &[&TLS12]), ours.server("127.0.0.1", 2020, ALL_VERSIONS));
    let unreadable =
        |versions| server(CertificateDer::from(vec![0]), &KeyPair::generate().unwrap(), versions);
    let (blank, old_blank) = (unreadable(ALL_VERSIONS), unreadable(&[&TLS12]));
    let rows = [
        ("unverified, expired", any.clone(), Some(&expired), "Yes"),
        ("unverified, another name", any.clone(), Some(&named), "Yes"),
        ("unverified, TLS 1.2", any.clone(), Some(&old), "Yes"),
        ("unverified, no certificate", any.clone(), Some(&blank), "Yes"),
        ("unverified, no certificate, TLS 1.2", any.clone(), Some(&old_blank), "Yes"),
        ("unverified, no TLS", any, None, "it does not speak TLS there"),
        ("ConfigMap, name", by("ConfigMap", "ca.crt", service), Some(&named), "Yes"),
        ("ConfigMap, address", by("ConfigMap", "ca.crt", None), Some(&at_address), "Yes"),
        ("Secret, name", by("Secret", "ca.crt", service), Some(&named), "Yes"),
        ("Secret, address, TLS 1.2", by("Secret", "ca.crt", None), Some(&old), "Yes"),
        (
            "another authority",
            by("ConfigMap", "others", service),
            Some(&named),
            "TLS: invalid peer certificate: UnknownIssuer",
        ),
        (
            "another name",
            by("Secret", "ca.crt", Some("web.shop.svc")),
            Some(&named),
            "not valid for name \"web.shop.svc\"",
        ),
        (
            "not the address",
            by("Secret", "ca.crt", None),
            Some(&named),
            "not valid for name \"127.0.0.1\"",
        ),
        (
            "not the name",
            by("Secret", "ca.crt", service),
            Some(&at_address),
            "not valid for name \"app.shop.svc\"",
        ),
        ("expired", by("Secret", "ca.crt", None), Some(&expired), "certificate expired"),
        (
            "no certificate",
            by("Secret", "ca.crt", None),
            Some(&blank),
            "invalid peer certificate: BadEncoding",
        ),
        ("no TLS", by("Secret", "ca.crt", service), None, "it does not speak TLS there"),
        (
            "no ConfigMap",
            absent,
            Some(&named),
            "the pods cannot be verified (gates.app.tls): there is no ConfigMap absent",
        ),
        (
            "no key",
            by("Secret", "others", service),
            Some(&named),
            "Secret app-ca has no key others",
        ),
        (
            "nothing",
            by("ConfigMap", "none", service),
            Some(&named),
            "ConfigMap/app-ca[none] (gates.app.tls): there is no certificate in it",
        ),
        (
            "a key in one line",
            by("ConfigMap", "key", service),
            Some(&named),
            "ConfigMap/app-ca[key] (gates.app.tls): it is no PEM",
        ),
        ("no name", by("Secret", "ca.crt", Some("a b")), Some(&named), "\"a b\" is no server name"),
    ];
    let (texts, bytes) = (&texts, &bytes);
    let said = join_all(rows.into_iter().map(|(name, tls, config, expected)| async move {
        let pod = match config {
            Some(config) => Pod::encrypted(config.clone(), yes()).await,
            None => Pod::new(reply(400, "this is no TLS"), Then::Close).await,
        };
        let mut operator = Operator::new(false);
        operator.server.put(
            "configmaps",
            json!({"metadata": {"name": "app-ca", "namespace": "shop"}, "data": texts}),
        );
        operator.server.put(
            "secrets",
            json!({"metadata": {"name": "app-ca", "namespace": "shop"}, "data": bytes}),
        );
        let said = operator
            .ask(&json!({"scheme": "HTTPS", "tls": tls, "timeout": "10s"}), pod.address)
            .await;
        let asked = pod.requests().iter().any(|request| request.starts_with("get "));
        assert_eq!(asked, said == "Yes", "{name}: only a pod that is verified is asked");
        // Neither as text nor as numbers: users who may read the status may not read keys.
        assert!(!said.contains("d2hhdGV2ZXI") && !said.contains("100, 50, 104"), "{said}");
        (name, said, expected)
    }));
    compare(said.await);
}

#[tokio::test]
async fn a_connection_is_not_kept_beyond_what_verified_it() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = ours.server("127.0.0.1", 2090, ALL_VERSIONS);
    // It keeps the connection, and answers only the first request on each.
    let pod = Pod::start(listener, Some(tls), yes(), Then::Hold);
    let mut operator = Operator::new(false);
    let tls = json!({"caRef": {"kind": "ConfigMap", "name": "app-ca"}});
    let gate = json!({"scheme": "HTTPS", "tls": tls, "timeout": "10s"});
    let mut rows = Vec::new();
    for (name, authority, expected) in
        [("its own", &ours, "Yes"), ("another", &others, "UnknownIssuer")]
    {
        operator.server.put(
            "configmaps",
            json!({"metadata": {"name": "app-ca", "namespace": "shop"}, "data": {"ca.crt": authority.pem}}),
        );
        rows.push((name, operator.ask(&gate, pod.address).await, expected));
    }
    compare(rows);
}

const TOKEN: &str = "s3cret-t0ken";

#[tokio::test]
async fn a_header_from_a_secret_goes_only_where_its_owner_agrees_and_the_pod_is_verified() {
    let ours = Authority::new("ours");
    let encrypted = ours.server("127.0.0.1", 2090, ALL_VERSIONS);
    let tls = json!({"caRef": {"kind": "ConfigMap", "name": "app-ca"}});
    let (plain, verified) = (json!({"scheme": "HTTP"}), json!({"scheme": "HTTPS", "tls": tls}));
    let (unverified, downgraded) =
        (json!({"scheme": "HTTPS"}), json!({"scheme": "HTTP", "tls": tls}));
    let only =
        "the header authorization comes from a Secret, and is sent only to pods that are verified";
    let consent = "Secret gate does not bear the label lockkeeper.dev/gate-credential: \"true\"";
    let (bearer, sent) = (format!("Bearer {TOKEN}\n"), "No: you sent *** and ***");
    // Whether the chart allows it to all, the Secret's namespace, name, label and key, and what is
    // in it.
    let rows = [
        ("verified", false, &verified, ["shop", "gate", "true", "header"], bearer.as_bytes(), sent),
        ("allowed", true, &plain, ["shop", "gate", "true", "header"], bearer.as_bytes(), sent),
        (
            "allowed, unverified",
            true,
            &unverified,
            ["shop", "gate", "true", "header"],
            bearer.as_bytes(),
            sent,
        ),
        (
            "without Bearer",
            true,
            &plain,
            ["shop", "gate", "true", "header"],
            TOKEN.as_bytes(),
            "you sent *** and ***",
        ),
        ("blanks", true, &plain, ["shop", "gate", "true", "header"], b"  s3cret-t0ken \r\n", sent),
        (
            "blanks within",
            true,
            &plain,
            ["shop", "gate", "true", "header"],
            b" Bearer\ts3cret-t0ken ",
            sent,
        ),
        ("plain", false, &plain, ["shop", "gate", "true", "header"], bearer.as_bytes(), only),
        (
            "unverified",
            false,
            &unverified,
            ["shop", "gate", "true", "header"],
            bearer.as_bytes(),
            only,
        ),
        (
            "tls, but HTTP",
            false,
            &downgraded,
            ["shop", "gate", "true", "header"],
            bearer.as_bytes(),
            only,
        ),
        (
            "no consent",
            false,
            &verified,
            ["shop", "gate", "", "header"],
            bearer.as_bytes(),
            consent,
        ),
        ("refused", true, &plain, ["shop", "gate", "false", "header"], bearer.as_bytes(), consent),
        (
            "no Secret",
            true,
            &plain,
            ["shop", "other", "true", "header"],
            bearer.as_bytes(),
            "cannot be sent: there is no Secret gate",
        ),
        (
            "elsewhere",
            true,
            &plain,
            ["bank", "gate", "true", "header"],
            bearer.as_bytes(),
            "cannot be sent: there is no Secret gate",
        ),
        (
            "no key",
            true,
            &plain,
            ["shop", "gate", "true", "other"],
            bearer.as_bytes(),
            "Secret gate has no key header",
        ),
        (
            "no text",
            true,
            &plain,
            ["shop", "gate", "true", "header"],
            b"s3cret-t0ken\xff",
            "Secret gate[header] is no text",
        ),
        (
            "two lines",
            true,
            &plain,
            ["shop", "gate", "true", "header"],
            b"s3cret-t0ken\nx: y",
            "characters that no header may have",
        ),
    ];
    let (encrypted, ca) = (&encrypted, &ours.pem);
    let said = join_all(rows.into_iter().map(|(name, allowed, gate, [namespace, secret, consent, key], value, expected)| async move {
        let words = format!("you sent {} and {TOKEN}", String::from_utf8_lossy(value).trim());
        let echo = reply(200, &json!({"isUpgradeable": false, "reason": words}).to_string());
        let pod = if gate["scheme"] == "HTTPS" { Pod::encrypted(encrypted.clone(), echo).await } else { Pod::new(echo, Then::Close).await };
        let mut operator = Operator::new(allowed);
        let data: BTreeMap<_, _> = [(key, ByteString(value.to_vec()))].into();
        let labels = if consent.is_empty() { Value::Null } else { json!({"lockkeeper.dev/gate-credential": consent}) };
        let metadata = json!({"name": secret, "namespace": namespace, "labels": labels});
        operator.server.put("secrets", json!({"metadata": metadata, "data": data}));
        operator.server.put("configmaps", json!({"metadata": {"name": "app-ca", "namespace": "shop"}, "data": {"ca.crt": ca}}));
        let mut gate = gate.clone();
        gate["headers"] = json!([{"name": "Authorization", "secretKeyRef": {"name": "gate", "key": "header"}}]);
        gate["timeout"] = json!("10s");
        operator.call("7", Errand::Ask, &gate, pod.address, 1);
        let report = operator.report().await;
        assert!(!format!("{report:?}").contains("t0ken"), "{name}: {report:?}");
        let said = in_words(&report.answers[0]);
        let heard = pod.requests().iter().filter(|request| request.contains("authorization: ") && request.contains(TOKEN)).count();
        assert_eq!((pod.requests().len(), heard), if said.starts_with("No:") { (1, 1) } else { (0, 0) }, "{name}: {said}");
        (name, said, expected)
    }));
    compare(said.await);
}

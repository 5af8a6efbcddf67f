//! What the webhook proves itself with: an authority of its own, and certificates that it signs.
//!
//! No error here quotes what it was about: it may be a key.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the authority is valid. Its certificate stands in the webhook configuration, which the
/// operator may not write.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3650);
/// How long a certificate of the webhook is valid.
const LIFE: Duration = DAY.saturating_mul(90);
/// It is renewed when it is valid for less than this: at two thirds of its life.
const RENEWED_BEFORE: Duration = DAY.saturating_mul(30);
/// The clock of the API server may be behind by so much.
const SKEW: Duration = Duration::from_secs(60 * 60);
/// The authority's name.
const AUTHORITY: &str = "lockkeeper-webhook";

/// A certificate in PEM, and its key in PEM. It has no `Debug`, so that no key gets into a log.
#[derive(Clone, PartialEq)]
pub struct Pair {
    /// The certificate, with those that are between it and its authority.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Pair {
    /// An authority, valid from now on.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn authority(now: Timestamp) -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let certificate = lasting(authority()?, now, AUTHORITY_LIFE).self_signed(&key);
        let certificate = certificate.map_err(|error| error.to_string())?.pem();
        Ok(Self { certificate, key: key.serialize_pem() })
    }

    /// A certificate for a server of these names, signed by this authority, valid from now on.
    ///
    /// # Errors
    /// When a name is none, or this is no authority that [`Pair::authority`] made.
    pub fn sign(&self, names: &[String], now: Timestamp) -> Result<Self, String> {
        let authority_key = KeyPair::from_pem(&self.key)
            .map_err(|_| "the key of the authority cannot be read".to_owned())?;
        let issuer = Issuer::new(authority()?, authority_key);
        let params = CertificateParams::new(names)
            .map_err(|error| format!("{} are no names of a server: {error}", names.join(", ")))?;
        let mut params = lasting(params, now, LIFE);
        params.distinguished_name.push(DnType::CommonName, "lockkeeper");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let certificate = params.signed_by(&key, &issuer).map_err(|error| error.to_string())?.pem();
        let signed = Self { certificate, key: key.serialize_pem() };
        signed.verifies(&self.certificate, names, now).map_err(|_| {
            "certificate and key of the authority do not belong together".to_owned()
        })?;
        Ok(signed)
    }

    /// Whether it is to be replaced: it is not valid for much longer, or the API server, which
    /// knows this authority and calls the webhook by these names, does not accept it at all.
    pub fn is_due(&self, authority: &str, names: &[String], now: Timestamp) -> bool {
        let later = now.saturating_add(RENEWED_BEFORE).unwrap_or(now);
        self.configuration().is_err()
            || self.verifies(authority, names, now).is_err()
            || self.verifies(authority, names, later).is_err()
    }

    /// Whether a client that knows this authority accepts it for each of these names at a time.
    ///
    /// # Errors
    /// Says why not.
    pub fn verifies(&self, authority: &str, names: &[String], at: Timestamp) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain(authority)?);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|error| error.to_string())?;
        let chain = chain(&self.certificate)?;
        let (own, between) = chain.split_first().ok_or("there is no certificate in it")?;
        let since = u64::try_from(at.as_second()).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(since));
        for name in names {
            let name = ServerName::try_from(name.as_str())
                .map_err(|_| format!("{name:?} is no name of a server"))?;
            verifier
                .verify_server_cert(own, between, &name, &[], time)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// A server that proves itself with it.
    ///
    /// # Errors
    /// When it cannot be read, or certificate and key do not belong together.
    pub fn configuration(&self) -> Result<Arc<ServerConfig>, String> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|_| "its key cannot be read".to_owned())?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain(&self.certificate)?, key);
        let mut config = config.map_err(|error| format!("it cannot be used: {error}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// What is the same of each authority: so the certificate need not be read to sign with its key.
fn authority() -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(Vec::new()).map_err(|error| error.to_string())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn lasting(mut params: CertificateParams, now: Timestamp, life: Duration) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    params.not_before = epoch + now.saturating_sub(SKEW);
    params.not_after = epoch + now + life;
    params
}

/// The certificates of a PEM text.
fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.map_err(|_| "its certificate is no PEM".to_owned())
}

/// A bundle of authorities that begins with `authority`. Another one that stood first stays beside
/// it until the next time: a replica may still show a certificate of it.
///
/// # Errors
/// When the authority is no PEM.
pub fn bundle(authority: &str, before: &str) -> Result<String, String> {
    let own = chain(authority)?;
    let first = before.split_inclusive("-----END CERTIFICATE-----").next();
    let other = first.filter(|first| chain(first).is_ok_and(|it| !it.is_empty() && it != own));
    let all = [authority, other.unwrap_or_default()].map(str::trim).join("\n");
    Ok(all.trim_end().to_owned() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Timestamp {
        let start: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap_or_default();
        start.saturating_add(jiff::SignedDuration::from_hours(24 * days)).unwrap_or(start)
    }

    fn names() -> Vec<String> {
        ["lockkeeper-webhook.ours.svc", "127.0.0.1"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() -> Result<(), String> {
        let authority = Pair::authority(at(0))?;
        let pair = authority.sign(&names(), at(0))?;
        let is_due = |day| pair.is_due(&authority.certificate, &names(), at(day));
        assert_eq!([0, 1, 59, 61, 89, 91].map(is_due), [false, false, false, true, true, true]);
        assert!(pair.verifies(&authority.certificate, &names(), at(89)).is_ok());
        assert!(pair.verifies(&authority.certificate, &names(), at(91)).is_err());
        // After nine years too.
        let late = at(9 * 365);
        let last = authority.sign(&names(), late)?;
        assert!(!last.is_due(&authority.certificate, &names(), late));
        Ok(())
    }

    #[test]
    fn one_that_the_api_server_would_not_accept_is_renewed() -> Result<(), String> {
        let (ours, others) = (Pair::authority(at(0))?, Pair::authority(at(0))?);
        let pair = ours.sign(&names(), at(0))?;
        assert!(pair.is_due(&others.certificate, &names(), at(1)), "another authority");
        let other = ["another.svc".to_owned()];
        assert!(pair.is_due(&ours.certificate, &other, at(1)), "another name");
        let key = others.key.clone();
        let mixed = Pair { key, certificate: pair.certificate.clone() };
        assert!(mixed.is_due(&ours.certificate, &names(), at(1)), "another key");
        let garbage = Pair { certificate: "x".to_owned(), key: "y".to_owned() };
        assert!(garbage.is_due(&ours.certificate, &names(), at(1)), "garbage");
        let both = bundle(&ours.certificate, &others.certificate)?;
        assert!(!pair.is_due(&both, &names(), at(1)));
        let of_others = others.sign(&names(), at(0))?;
        assert!(!of_others.is_due(&both, &names(), at(1)), "the one before stays beside it");
        assert_eq!(bundle(&ours.certificate, &both)?, ours.certificate, "but once only");
        Ok(())
    }

    #[test]
    fn no_error_quotes_a_key() -> Result<(), String> {
        let authority = Pair::authority(at(0))?;
        let mixed = Pair { certificate: authority.key.clone(), key: authority.certificate.clone() };
        let other = Pair { key: Pair::authority(at(0))?.key, ..authority.clone() };
        let errors = [
            mixed.configuration().err(),
            mixed.verifies(&authority.key, &names(), at(0)).err(),
            mixed.sign(&names(), at(0)).err(),
            other.sign(&names(), at(0)).err(),
            bundle(&authority.key, "").err(),
        ];
        let secret: Vec<_> = authority.key.lines().filter(|line| !line.is_empty()).collect();
        for error in errors.into_iter().flatten() {
            assert!(!secret.iter().any(|line| error.contains(line)), "{error}");
        }
        Ok(())
    }
}

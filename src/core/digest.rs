//! Keyed digests. Without the key a digest tells nothing, not even to a reader who can guess the
//! content.
//!
//! Every digest is an HMAC-SHA256 over length-prefixed fields that begin with a domain, so that no
//! two different inputs are digested alike by a shift of boundaries.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::api::ConfigKind;

/// The length of a key in bytes.
pub const KEY_LENGTH: usize = 32;

/// The operator's secret key. Its debug form shows only its name.
#[derive(Clone)]
pub struct Key {
    mac: Hmac<Sha256>,
    name: String,
}

impl Key {
    /// A key from its bytes; all of them count.
    pub fn new(bytes: &[u8]) -> Self {
        // HMAC takes keys of any length.
        let mac = Hmac::<Sha256>::new_from_slice(bytes)
            .unwrap_or_else(|_| Hmac::new(&Default::default()));
        let name = Sum::new(&mac, "key-name").digest().short();
        Self { mac, name }
    }

    /// A name by which records tell whether they were made with this key. Tells nothing about it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest of one value, as it is read from the wire.
    pub fn value(&self, bytes: &[u8]) -> Digest {
        Sum::new(&self.mac, "value").field(bytes).digest()
    }

    /// The digest of a value bound to its place, so that equal values in two places cannot be told
    /// to be equal.
    pub fn bound(
        &self,
        kind: ConfigKind,
        namespace: &str,
        name: &str,
        key: &str,
        value: Digest,
    ) -> Digest {
        Sum::new(&self.mac, "bound")
            .field(kind.to_string().as_bytes())
            .field(namespace.as_bytes())
            .field(name.as_bytes())
            .field(key.as_bytes())
            .field(&value.0)
            .digest()
    }

    /// A digest over fields, for the purpose that `domain` names.
    pub fn sum(&self, domain: &str) -> Sum {
        Sum::new(&self.mac, domain)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.name)
    }
}

/// A digest in the making.
pub struct Sum(Hmac<Sha256>);

impl Sum {
    fn new(mac: &Hmac<Sha256>, domain: &str) -> Self {
        Self(mac.clone()).field(domain.as_bytes())
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// The digest of all fields so far.
    pub fn digest(self) -> Digest {
        let full = self.0.finalize().into_bytes();
        let mut digest = [0; 16];
        for (to, from) in digest.iter_mut().zip(full) {
            *to = from;
        }
        Digest(digest)
    }
}

/// The first 16 bytes of an HMAC-SHA256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The first four bytes, as eight hex digits.
    pub fn short(self) -> String {
        self.to_string().chars().take(8).collect()
    }

    /// The digest that 32 hex digits stand for.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

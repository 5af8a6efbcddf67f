//! The addresses of one cluster.

use std::net::{Ipv4Addr, TcpListener};

/// Held by each running cluster on one address of its own.
const CLAIM_PORT: u16 = 47_100;

/// 65,000 loopback addresses that no other cluster on this machine uses: it holds a port of the
/// last of them.
#[derive(Debug)]
pub struct Block {
    first: Ipv4Addr,
    _claim: TcpListener,
}

impl Block {
    /// Finds one.
    ///
    /// # Errors
    /// When there are none left.
    pub fn claim() -> std::io::Result<Self> {
        let mut refusal = None;
        for second in 1..=250 {
            match TcpListener::bind((Ipv4Addr::new(127, second, 255, 254), CLAIM_PORT)) {
                Ok(claim) => {
                    return Ok(Self { first: Ipv4Addr::new(127, second, 0, 1), _claim: claim });
                }
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(|| std::io::Error::other("no loopback addresses are left")))
    }

    /// The first address of a pod.
    pub(crate) fn first(&self) -> Ipv4Addr {
        self.first
    }

    /// The addresses of Services: the last 256.
    pub fn services(&self) -> String {
        format!("127.{}.255.0/24", self.first.octets()[1])
    }
}

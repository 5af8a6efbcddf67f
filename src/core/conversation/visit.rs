//! Where a pod is asked.

use core::net::SocketAddr;

use crate::{
    api::{AppGate, Port},
    core::observed::{DeclaredPort, Namespace, Pod, Uid, Workload, workload::Container},
};

/// One pod to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Its uid.
    pub pod: Uid,
    /// Its name.
    pub name: Box<str>,
    /// How often its containers were started again.
    pub restarts: u32,
    /// Where.
    pub address: SocketAddr,
}

/// Where the templates of a workload's pods are found.
#[derive(Debug, Clone, Copy)]
pub struct Templates<'a> {
    /// The workload's namespace.
    pub namespace: &'a Namespace,
    /// The workload.
    pub workload: &'a Workload,
}

/// Why a pod cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unplaced {
    /// It uses its node's network.
    HostNetwork,
    /// It has no address yet.
    NoAddress,
    /// Its first container has not one port, but so many.
    Ports {
        /// The container.
        container: Option<Box<str>>,
        /// How many.
        ports: usize,
    },
    /// It has no such port.
    NoPort(String),
}

/// Where a pod is asked.
///
/// # Errors
/// Why it cannot be.
pub fn place(pod: &Pod, gate: &AppGate, templates: Templates) -> Result<Visit, Unplaced> {
    let reach = &pod.reach;
    if reach.host_network {
        return Err(Unplaced::HostNetwork);
    }
    let address = reach.address.ok_or(Unplaced::NoAddress)?;
    let own = templates.namespace.containers_of_template(templates.workload, pod);
    let port = port(&reach.ports, own, gate.port.as_ref())?;
    Ok(Visit {
        pod: pod.uid.clone(),
        name: pod.name.clone(),
        restarts: pod.restarts,
        address: SocketAddr::new(address, port),
    })
}

/// `own` are the containers of the template: what admission added to the pod, a proxy say, is asked
/// only by its number, or by a name that no container of the template has for a port.
fn port(
    declared: &[DeclaredPort],
    own: &[Container],
    wanted: Option<&Port>,
) -> Result<u16, Unplaced> {
    let found = match wanted {
        Some(Port::Number(number)) => declared.iter().find(|port| port.number == *number),
        Some(Port::Name(name)) => {
            let mut named = declared.iter().filter(|port| port.name.as_deref() == Some(name));
            let in_template =
                named.clone().find(|port| own.iter().any(|one| one.name == port.container));
            in_template.or_else(|| named.next())
        }
        None => {
            let first = own.first().map(|one| &one.name);
            let of_first: Vec<_> = declared
                .iter()
                .filter(|port| first.map_or(port.of_first, |name| port.container == *name))
                .collect();
            return match of_first.as_slice() {
                [only] => Ok(only.number),
                several => Err(Unplaced::Ports { container: first.cloned(), ports: several.len() }),
            };
        }
    };
    found
        .map(|port| port.number)
        .ok_or_else(|| Unplaced::NoPort(wanted.map(ToString::to_string).unwrap_or_default()))
}

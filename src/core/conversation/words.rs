//! Why a pod cannot be asked, and what is wrong with an answer, in words.

use std::fmt;

use serde_json::Value;

use crate::core::conversation::visit::Unplaced;

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNetwork => f.write_str(
                "it uses the host network, where another program may listen on its port, so it is not asked",
            ),
            Self::NoAddress => f.write_str("it has no address yet"),
            Self::Ports { container, ports } => {
                let name = container.as_ref().map_or_else(String::new, |name| format!(" {name}"));
                write!(
                    f,
                    "its first container{name} declares {ports} TCP ports, not one; set gates.app.port to the port to ask"
                )
            }
            Self::NoPort(wanted) => write!(f, "it declares no TCP port {wanted} (gates.app.port)"),
        }
    }
}

/// That its status is none that says yes or no.
pub fn answers(status: u16) -> String {
    format!("it answers {status}")
}

/// That the field says yes, and the status does not.
pub fn status_differs(status: u16, field: &str, equals: &Value) -> String {
    format!("it answers {status}, which does not count as yes, although {field} is {equals}")
}

/// That there is no JSON in the answer.
pub fn no_json(status: u16) -> String {
    format!("it answers {status} without JSON that could be read")
}

/// That the field is not in the answer.
pub fn no_field(status: u16, field: &str) -> String {
    format!("it answers {status}, and there is no {field} in the answer")
}

/// That the answer leads elsewhere.
pub fn redirects(status: u16) -> String {
    format!("it answers {status}; redirects are not followed")
}

//! What a workload's annotation `lockkeeper.dev/app-gate` sets otherwise than its policy.

use std::borrow::Cow;

use crate::{
    api::{AppGate, Port, Scheme},
    core::{gates::blocker::Invalid, observed::Workload},
};

/// The gate as it is for a workload: the policy's, with what its annotation
/// `lockkeeper.dev/app-gate` sets otherwise.
///
/// # Errors
/// What is wrong with the annotation.
pub fn for_workload<'a>(
    gate: &'a AppGate,
    workload: &Workload,
) -> Result<Cow<'a, AppGate>, Invalid> {
    let Some(text) = workload.marks.app_gate.as_deref() else { return Ok(Cow::Borrowed(gate)) };
    let mut own = gate.clone();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or_else(|| Invalid::NoValue(part.to_owned()))?;
        match (key.trim(), value.trim()) {
            ("port", port) => {
                own.port = Some(match port.parse::<u16>() {
                    Ok(0) => return Err(Invalid::PortZero),
                    Ok(number) => Port::Number(number),
                    Err(_) => Port::Name(port.to_owned()),
                })
            }
            ("path", path) if is_path(path) => own.path = path.to_owned(),
            ("path", path) => return Err(Invalid::Path(path.to_owned())),
            ("scheme", "HTTP") => own.scheme = Scheme::Http,
            ("scheme", "HTTPS") => own.scheme = Scheme::Https,
            (key, _) => return Err(Invalid::Unknown(key.to_owned())),
        }
    }
    Ok(Cow::Owned(own))
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 256
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte))
}

//! The operator's own log.

use crate::core::notice::Notice;

/// Logs what happened.
pub fn tell(namespace: &str, notice: &Notice) {
    let policy = notice.policy.as_ref().map_or("", |(name, _)| name);
    if notice.event.is_warning() {
        tracing::warn!(namespace, about = %notice.regarding, policy, event = notice.event.reason(), "{}", notice.message);
    } else {
        tracing::info!(namespace, about = %notice.regarding, policy, event = notice.event.reason(), "{}", notice.message);
    }
}

//! No rollout deadlocks on a volume or mounts it twice, and no data is lost or forgotten.

pub mod provenance;

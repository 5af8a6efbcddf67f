//! Objects, versions and the watch log.

//! Kept data: the list, unprotecting it, and giving it or a snapshot of it back to a claim.

mod aside;
mod claim;
pub mod convert;
mod list;
mod objects;
mod readopt;
mod readopt_namespace;
mod restore;
mod seen;
mod unprotect;

use std::{process::ExitCode, time::Duration};

use clap::Subcommand;

use crate::{
    Output,
    cluster::{Cluster, Failure},
};

/// Between looks.
const PAUSE: Duration = Duration::from_millis(500);
/// The exit code of what was not done in time, as `wait` has it.
const TIMED_OUT: u8 = 2;

/// What is to be done about it.
#[derive(Subcommand)]
pub enum Verb {
    /// Stop protecting a claim, or forget a released volume
    ///
    /// Of a claim: its volume gets its original reclaim policy back, so that the next deletion of
    /// the claim deletes the data. Needs the verb `unprotect` on upgradepolicies.lockkeeper.dev in
    /// the namespace. Waits until the operator has done this.
    ///
    /// Of a released volume: Lockkeeper forgets whose data it holds. Its reclaim policy stays
    /// Retain, and nothing is deleted. Needs the right to patch volumes.
    ///
    /// Exit code 0: done; 1: refused, or nothing to unprotect; 2: the operator has not done it in
    /// time.
    #[command(after_help = "Examples:
  kubectl lockkeeper volumes unprotect -n shop data-db-0         # asks first
  kubectl lockkeeper volumes unprotect -n shop data-db-0 --yes   # in scripts
  kubectl lockkeeper volumes unprotect pv/pvc-3f0c               # its claim is gone")]
    Unprotect {
        /// The name of a claim, or of a volume; pvc/NAME or pv/NAME where both are there
        #[arg(value_name = "CLAIM|VOLUME")]
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// How long to wait for the operator, such as 30s
        #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = crate::duration)]
        timeout: Duration,
    },
    /// Give earlier data back: the next claim of that name gets the volume
    ///
    /// From then on, a released volume waits for the next claim of its name, also in a namespace
    /// that was deleted and created again. If a claim of that name already has a younger volume,
    /// that volume is kept, the claim is created again for the older one, and its pods start again.
    /// No gate is asked about that. If the command is interrupted at any point, run it again: it
    /// continues.
    ///
    /// Needs the right to patch volumes; with --from-namespace the verb `unprotect` on
    /// upgradepolicies.lockkeeper.dev in the whole cluster, because somebody else may own the
    /// current namespace.
    ///
    /// Exit code 0: done, or the volume waits for its claim; 1: refused; 2: not done in time; run
    /// it again.
    #[command(after_help = "Examples:
  kubectl lockkeeper volumes readopt pvc-3f0c                   # then install the chart again
  kubectl lockkeeper volumes readopt pvc-3f0c --create-claim    # nothing else creates the claim
  kubectl lockkeeper volumes readopt -n shop --from-namespace 8c1f2b7e-54f5-4a0c-93a5-0d2f5d0b7a11")]
    Readopt {
        /// The volume with the data
        #[arg(
            value_name = "VOLUME",
            required_unless_present = "from_namespace",
            conflicts_with = "from_namespace"
        )]
        volume: Option<String>,
        /// All volumes of the earlier namespace with this uid; kubectl lockkeeper volumes -o wide
        /// shows it
        #[arg(long, value_name = "UID")]
        from_namespace: Option<String>,
        /// If there is no claim, create one with the size, class and modes of the volume. Not for
        /// claims of a chart: helm refuses to install over what it did not create
        #[arg(long)]
        create_claim: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// How long it may take, such as 90s or 5m
        #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = crate::duration)]
        timeout: Duration,
    },
    /// Create a claim again from a snapshot
    ///
    /// The claim is deleted, and created again with the VolumeSnapshot as its source. What is in its
    /// volume now is kept in that volume, and no claim gets it again by itself. No pod may use the
    /// claim: stop the workload first. If the command is interrupted at any point, run it again: it
    /// continues.
    ///
    /// Needs the rights to delete, create and patch claims, to list and patch volumes, and to read
    /// VolumeSnapshots, pods and the namespace.
    ///
    /// Exit code 0: the claim was created from the snapshot; 1: refused; 2: not done in time; run it
    /// again.
    #[command(after_help = "Examples:
  kubectl lockkeeper maintenance start statefulset/db --stop -n shop
  kubectl lockkeeper volumes restore data-db-0 --from pre-7-data-db-0-3fa9c1 -n shop
  kubectl lockkeeper maintenance end statefulset/db -n shop")]
    Restore {
        /// The claim
        #[arg(value_name = "CLAIM")]
        claim: String,
        /// The VolumeSnapshot
        #[arg(long, value_name = "SNAPSHOT")]
        from: String,
        /// Also if the claim was created from this snapshot before
        #[arg(long)]
        again: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// How long it may take, such as 90s or 5m
        #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = crate::duration)]
        timeout: Duration,
    },
}

/// Which namespaces are looked at, and how it is written.
#[derive(clap::Args)]
pub struct ListArguments {
    /// Of all namespaces, those that are gone too
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How to write it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// Does it. `named` is the namespace that the user named.
pub async fn run(
    cluster: &Cluster,
    named: Option<&str>,
    list: ListArguments,
    verb: Option<Verb>,
) -> Result<ExitCode, Failure> {
    if verb.is_some() && (list.all_namespaces || list.output != Output::Table) {
        return Err(Failure::No(
            "-A and -o are for the list: leave them out, and name the namespace with -n".to_owned(),
        ));
    }
    match verb {
        None => list::run(cluster, list.all_namespaces, list.output).await,
        Some(Verb::Unprotect { name, yes, timeout }) => {
            unprotect::run(cluster, &name, yes, timeout).await
        }
        Some(Verb::Readopt { volume: Some(volume), create_claim, yes, timeout, .. }) => {
            readopt::run(cluster, named, &volume, &readopt::Manner { create_claim, yes, timeout })
                .await
        }
        Some(Verb::Restore { claim, from, again, yes, timeout }) => {
            restore::run(cluster, &claim, &restore::Manner { from, again, yes, timeout }).await
        }
        Some(Verb::Readopt { from_namespace, create_claim, yes, timeout, .. }) => {
            let manner = readopt::Manner { create_claim, yes, timeout };
            readopt_namespace::run(cluster, &from_namespace.unwrap_or_default(), &manner).await
        }
    }
}

/// A number of bytes as manifests write it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let fits = |power: &usize| bytes >= 1 << (10 * power);
    let power = (0..UNITS.len()).rev().find(fits).unwrap_or_default();
    let (whole, rest) = (bytes >> (10 * power), bytes & ((1 << (10 * power)) - 1));
    // Rounded to the nearest tenth.
    let tenths = match power {
        0 => 0,
        _ => ((rest >> (10 * (power - 1))) * 10 + 512) / 1024,
    };
    match tenths {
        0 => format!("{whole}{}", UNITS[power]),
        10 => format!("{}{}", whole + 1, UNITS[power]),
        tenths => format!("{whole}.{tenths}{}", UNITS[power]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_in_manifests() {
        for (bytes, text) in [
            (0, "0"),
            (1000, "1000"),
            (1 << 10, "1Ki"),
            (10 << 30, "10Gi"),
            ((1 << 40) + (1 << 39), "1.5Ti"),
            (10_000_000_000, "9.3Gi"),
            ((2 << 30) - 1, "2Gi"),
            (3 << 60, "3072Pi"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }
}

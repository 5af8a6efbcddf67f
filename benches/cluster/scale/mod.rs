//! What the operator costs as the cluster grows: in 500 namespaces of one team each, and in one
//! crowded namespace.
//!
//! The cluster is bare: no controllers and no nodes, so that the machine is the API server's and
//! the operator's. What controllers would write of a workload is written once, by [`populate`].

mod measure;
mod populate;
mod table;

use kube::Client;

use self::{measure::measure, table::Table};

/// So many workloads, one size after the other; `SCALE=200` measures fewer.
const SIZES: &str = "200,2000,10000";

/// Where the workloads are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In as many namespaces as there are.
    Spread,
    /// All in one.
    Crowded,
}

pub async fn run(client: &Client) {
    let sizes: Vec<usize> = std::env::var("SCALE")
        .unwrap_or_else(|_| SIZES.to_owned())
        .split(',')
        .map(|size| size.trim().parse().unwrap())
        .collect();
    populate::config(client).await;
    for (layout, title) in [
        (Layout::Crowded, "All workloads in one namespace"),
        (Layout::Spread, "Workloads in 500 namespaces"),
    ] {
        let mut table = Table::default();
        let mut there = 0;
        for &size in &sizes {
            populate::workloads(client, layout, there..size).await;
            there = size;
            table.push(format!("{size} workloads"), measure(client, layout, size).await);
        }
        match layout {
            Layout::Crowded => populate::clear(client).await,
            Layout::Spread => {
                populate::pods(client).await;
                table.push(
                    format!("{there} workloads, {} pods", there * populate::PODS),
                    measure(client, layout, there).await,
                );
            }
        }
        println!(
            "\n{title}, {} ConfigMaps and Secrets in {} namespaces\n\n{table}",
            populate::CONFIG,
            populate::NAMESPACES
        );
    }
}

//! The twin of the chart's admission policies for workloads.

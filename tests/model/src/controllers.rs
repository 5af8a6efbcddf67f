//! The controllers of Deployments and StatefulSets, one small effect at a time.

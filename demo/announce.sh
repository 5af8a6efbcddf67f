#!/usr/bin/env bash
# Says what `make demo` will do and how long that takes, before anything is built: demo/announce.sh TARGET-FOLDER
set -euo pipefail
target=$1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lockkeeper/local-cluster
echo "The demo, step by step:"
if [ -x "$target/debug/local-cluster" ] && [ -x "$target/debug/kubectl-lockkeeper" ]; then
  echo "- builds with cargo what changed since the last build"
else
  echo "- builds Lockkeeper, its kubectl plugin and the local cluster with cargo: some minutes, once, in $target"
fi
if ! ls "$cache"/*/kube-apiserver >/dev/null 2>&1; then
  echo "- builds etcd, helm and the control plane of Kubernetes from source: 10 to 25 minutes and 2 GB, once, in $cache"
else
  echo "- builds the control plane of Kubernetes from source, if this version of it is not in $cache yet: 10 to 20 minutes, once"
fi
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  echo "- takes etcd and kube-apiserver from $KUBEBUILDER_ASSETS, if they are there"
fi
echo "- starts a cluster on this machine, shows Lockkeeper at work in it, checks each step, and ends the cluster: 1 to 2 minutes"
echo "It needs no Docker, and touches no other cluster."
echo

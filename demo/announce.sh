#!/usr/bin/env bash
# Says what `make demo` will do and how long that takes, before anything is built: demo/announce.sh TARGET-FOLDER CLUSTER
set -euo pipefail
target=$1 cluster=$2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lockkeeper/local-cluster
echo "The demo, step by step:"
if [ -x "$target/debug/local-cluster" ] && [ -x "$target/debug/kubectl-lockkeeper" ]; then
  echo "- builds with cargo what changed since the last build"
else
  echo "- builds Lockkeeper, its kubectl plugin and the local cluster with cargo: some minutes, once, in $target"
fi
case $cluster in
  current)
    context=$(kubectl config current-context) || { echo "kubectl has no current context: kubectl config use-context NAME" >&2; exit 1; }
    echo "- installs Lockkeeper with helm in the cluster of kubectl's context '$context', in the namespace lockkeeper-system"
    echo "- shows it at work there, in the namespaces shop, billing, docs, unsafe and notes, and checks each step: 2 to 5 minutes"
    echo "- removes all of it again: the release, the namespaces, the volumes and the CRD"
    echo "The nodes must find the images ${IMAGES:-lockkeeper.dev}/lockkeeper and ${IMAGES:-lockkeeper.dev}/sample-app:v1 and v2."
    echo "'make images' builds them; IMAGES=YOUR-REGISTRY says where you pushed them."
    ;;
  kind)
    echo "- builds the images of Lockkeeper and of the sample app: 5 to 15 minutes the first time"
    echo "- makes a kind cluster named lockkeeper-demo and loads the images"
    echo "- shows Lockkeeper at work in it, checks each step, and deletes the cluster: 2 to 5 minutes"
    echo "It touches no other cluster. CLUSTER=local takes a control plane built from source instead, CLUSTER=current an existing cluster."
    ;;
  local)
    if ! ls "$cache"/*/kube-apiserver >/dev/null 2>&1; then
      echo "- builds etcd, helm and the control plane of Kubernetes from source: 10 to 25 minutes and 2 GB, once, in $cache"
    else
      echo "- builds the control plane of Kubernetes from source, if this version of it is not in $cache yet: 10 to 20 minutes, once"
    fi
    if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
      echo "- takes etcd and kube-apiserver from $KUBEBUILDER_ASSETS, if they are there"
    fi
    echo "- starts a cluster on this machine, shows Lockkeeper at work in it, checks each step, and ends the cluster: 1 to 2 minutes"
    echo "It needs no Docker, and touches no other cluster. CLUSTER=current takes an existing cluster instead."
    ;;
esac
echo

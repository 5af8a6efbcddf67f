#!/usr/bin/env bash
# The demo on a kind cluster of its own: demo/kind.sh IMAGE-TARBALL...
set -euo pipefail
cd "$(dirname "$0")/.."
name=lockkeeper-demo
scratch=$(mktemp -d)
export KUBECONFIG=$scratch/kubeconfig
! kind get clusters | grep -qx $name || { echo "a kind cluster named $name exists: kind delete cluster --name $name" >&2; exit 1; }
trap 'kind delete cluster --name $name; rm -rf "$scratch"' EXIT
kind create cluster --name $name --wait 2m
for tarball; do kind load image-archive "$tarball" --name $name; done
demo/demo.sh

#!/usr/bin/env bash
# The demo on the cluster of kubectl's context. It starts only where nothing of what it makes exists, and removes all of it.
set -euo pipefail
cd "$(dirname "$0")/.."
namespaces=(lockkeeper-system shop billing docs unsafe notes)
for program in kubectl helm curl; do
  command -v $program >/dev/null || { echo "$program is not installed, or not in the PATH" >&2; exit 1; }
done
kubectl version >/dev/null || { echo "the cluster of kubectl's context does not answer" >&2; exit 1; }
taken=$(kubectl get namespaces "${namespaces[@]}" --ignore-not-found -o name)
[ -z "$taken" ] || { printf 'these exist in the cluster, and the demo would remove them:\n%s\nUse another cluster, or delete them first.\n' "$taken" >&2; exit 1; }
taken=$(kubectl get crd upgradepolicies.lockkeeper.dev --ignore-not-found -o name)
[ -z "$taken" ] || { echo "Lockkeeper is installed in this cluster: the demo installs one of its own. Use another cluster." >&2; exit 1; }

remove() {
  echo
  echo "Removing what the demo made:"
  local volumes
  volumes=$(kubectl get persistentvolumes -o 'jsonpath={range .items[?(@.spec.claimRef.namespace=="notes")]}{.metadata.name}{"\n"}{end}')
  helm uninstall lockkeeper -n lockkeeper-system --ignore-not-found --timeout 2m || true
  kubectl delete namespaces "${namespaces[@]}" --ignore-not-found --timeout=2m || true
  # Lockkeeper set them to be kept; here the data is the demo's.
  [ -z "$volumes" ] || kubectl patch persistentvolumes $volumes -p '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}' || true
  kubectl delete crd upgradepolicies.lockkeeper.dev --ignore-not-found --timeout=2m || true
}
trap remove EXIT
demo/demo.sh

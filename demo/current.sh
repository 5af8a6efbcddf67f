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

# From here on this is the cluster, whatever becomes kubectl's context in another terminal.
scratch=$(mktemp -d)
kubectl config view --minify --flatten --raw >"$scratch/kubeconfig"
export KUBECONFIG=$scratch/kubeconfig

remove() {
  echo
  echo "Removing what the demo made:"
  local volumes kinds='clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings'
  kinds+=',mutatingwebhookconfigurations,validatingwebhookconfigurations'
  volumes=$(kubectl get persistentvolumes -o 'jsonpath={range .items[?(@.spec.claimRef.namespace=="notes")]}{.metadata.name}{"\n"}{end}')
  # The demo may have failed while a change was held.
  kubectl annotate deployment lockkeeper -n lockkeeper-system lockkeeper.dev/uninstall=Release --overwrite || true
  if ! helm uninstall lockkeeper -n lockkeeper-system --ignore-not-found --timeout 2m; then
    echo "helm could not uninstall Lockkeeper: removing its objects by their label"
    kubectl delete "$kinds" -l app.kubernetes.io/name=lockkeeper --ignore-not-found || true
    kubectl delete mutatingadmissionpolicies,mutatingadmissionpolicybindings -l app.kubernetes.io/name=lockkeeper --ignore-not-found || true
  fi
  kubectl delete namespaces "${namespaces[@]}" --ignore-not-found --timeout=2m || true
  # Lockkeeper set them to be kept; here the data is the demo's.
  [ -z "$volumes" ] || kubectl patch persistentvolumes $volumes -p '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}' || true
  kubectl delete crd upgradepolicies.lockkeeper.dev --ignore-not-found --timeout=2m || true
  rm -rf "$scratch"
}
trap remove EXIT
demo/demo.sh

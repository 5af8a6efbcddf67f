#!/bin/sh
# Upgrades Kubernetes under held changes, and goes back: `make upgrade`. While the versions change, somebody writes all the time. No pod is replaced
# before its change is approved. It does not matter who judges at that time: the webhook, the policies, or both.
# `upgrade.sh TARGET OLDEST FIRST NEWEST`: a version with the webhook, the first one with the policies, and the newest one.
set -eu
target=$1 old=$2 first=$3 new=$4
system=lockkeeper-system
step() { printf '\n== %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; kubectl get deployments,statefulsets,pods -n shop -o wide >&2 || true; exit 1; }

# As a user would see them: which pods there are.
pods() { kubectl get pods -n shop --sort-by=.metadata.name -o 'jsonpath={range .items[*]}{.metadata.uid} {.spec.containers[0].image}{"\n"}{end}'; }
same() { now=$(pods); [ "$now" = "$before" ] || fail "pods were replaced $*: before: $before; now: $now"; }

# A change of both workloads is held, and says so.
tag=0
held() {
  for workload in deployment/web statefulset/db; do
    tag=$((tag + 1))
    said=$(kubectl set image -n shop "$workload" app="nginx:$tag" 2>&1) || fail "$workload $*: $said"
    case $said in *"stored, but held by Lockkeeper"*) ;; *) fail "$workload is not held $*: $said" ;; esac
  done
  kubectl wait -n shop --for=condition=HoldsEnforced upgradepolicy/approved --timeout=180s >/dev/null
  same "$@"
}

# Until all workloads name this judge.
judged_by() {
  tries=0
  while [ "$(kubectl get deployments,statefulsets -n shop -l "lockkeeper.dev/governed=$1" -o name | wc -l)" != 2 ]; do
    tries=$((tries + 1)); [ "$tries" -lt 120 ] || fail "not judged by $1"; sleep 1
  done
}

# To another version, while somebody writes templates. Whether a write is refused or held, no pod may go.
change_to() {
  step "Kubernetes $1"
  (n=1000; while :; do n=$((n + 1)); kubectl set image -n shop deployment/web app="nginx:$n" --request-timeout=5s 2>/dev/null | grep -v warning || true; done >"$target/upgrade-writes.log") & writer=$!
  "$target/debug/local-cluster" change --kubernetes "$1"
  kill $writer; wait $writer 2>/dev/null || true
  echo "$(wc -l <"$target/upgrade-writes.log") writes were accepted while it changed"
  kubectl rollout status -n $system deployment/lockkeeper --timeout=180s
  same "while Kubernetes became $1"
}

upgrade() { helm upgrade lockkeeper charts/lockkeeper -n $system --force-conflicts --wait "$@" >/dev/null; }

step "install on $old: the webhook judges"
helm install lockkeeper charts/lockkeeper -n $system --create-namespace --wait >/dev/null
kubectl create namespace shop
kubectl apply -n shop -f - <<'MANIFESTS'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: "nginx:0"}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec: {replicas: 2, serviceName: db, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: app, image: "nginx:0"}]}}}
---
apiVersion: lockkeeper.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: approved}
spec: {selector: {}, gates: {approval: Required}}
MANIFESTS
kubectl rollout status -n shop deployment/web --timeout=2m
kubectl rollout status -n shop statefulset/db --timeout=2m
kubectl wait -n shop --for=condition=HoldsEnforced upgradepolicy/approved --timeout=180s
judged_by webhook
before=$(pods)
held "by the webhook on $old"

change_to "$first"
held "by the webhook on $first"
step "helm upgrade: the policies take over"
upgrade
judged_by true
held "by the policies, while the webhook is still there"
upgrade
[ -z "$(kubectl get mutatingwebhookconfiguration zz-lockkeeper --ignore-not-found -o name)" ] || fail "the webhook is still there"
held "by the policies on $first"

change_to "$new"
held "on $new"
change_to "$first"
held "on $first again"

step "helm upgrade with holds.by=webhook: the webhook takes over"
upgrade --set holds.by=webhook
judged_by webhook
held "by the webhook, while the policies are still there"
upgrade
[ -z "$(kubectl get mutatingadmissionpolicies -l app.kubernetes.io/name=lockkeeper -o name)" ] || fail "the policies are still there"
held "by the webhook, before the way back"
change_to "$old"
held "on $old again"
upgrade
held "after a helm upgrade on $old"

step "an approved change is rolled out"
for workload in deployment/web statefulset/db; do
  kubectl lockkeeper approve -n shop "$workload"
  kubectl lockkeeper wait -n shop "$workload" --timeout=3m
done
[ "$(pods)" != "$before" ] || fail "no pod was replaced"
before=$(pods)

step "back below $first without preparation: helm can do nothing, and docs/operations.md says how it can again"
change_to "$first"
# Without values, helm takes those of the last time.
upgrade --set holds.by=auto
judged_by true
upgrade
held "by the policies on $first"
change_to "$old"
if said=$(upgrade 2>&1); then fail "helm upgrade was expected to refuse"; fi
echo "$said"
kubectl delete secrets -n $system -l owner=helm,name=lockkeeper
helm upgrade --install lockkeeper charts/lockkeeper -n $system --take-ownership --force-conflicts --wait >/dev/null
judged_by webhook
held "by the webhook, once helm knows the release again"
step "helm uninstall: what is held is released"
kubectl annotate deployment/lockkeeper -n $system lockkeeper.dev/uninstall=Release
helm uninstall lockkeeper -n $system --wait
kubectl rollout status -n shop deployment/web --timeout=2m
kubectl rollout status -n shop statefulset/db --timeout=2m
[ "$(pods)" != "$before" ] || fail "what was held is still held"
printf '\nall well\n'

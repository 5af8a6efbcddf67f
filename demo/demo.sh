#!/usr/bin/env bash
# Lockkeeper at work on a cluster of its own, each step explained. `make demo` starts the cluster and runs this in it.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -t 1 ]; then bold=$'\e[1m'; dim=$'\e[2m'; plain=$'\e[0m'; else bold=""; dim=""; plain=""; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; "$@"; }
fail() { printf '\nThis should not have happened: %s\n' "$*" >&2; exit 1; }
kubectl() { command kubectl "$@"; }

# Waits, a minute at most, until a command prints what is expected.
until_is() {
  local want=$1 seen; shift
  for _ in $(seq 300); do
    seen=$("$@" 2>/dev/null || true)
    [ "$seen" = "$want" ] && return
    sleep 0.2
  done
  fail "expected '$want' of '$*', last seen '$seen'"
}
revision() { kubectl get deployment "$1" -n shop -o 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}'; }
counts() { kubectl get upgradepolicy config -n shop -o 'jsonpath={.status.workloads.total}/{.status.workloads.upToDate}'; }
pod_reads() {
  local address
  address=$(kubectl get pods -n shop -l "app=$1" --sort-by=.metadata.creationTimestamp -o 'jsonpath={.items[-1].status.podIP}')
  curl -s "http://$address:8080/env" | grep -o "\"$2\":\"[^\"]*\"" | head -1
}

say "1. Lockkeeper is installed by helm."
show helm install lockkeeper charts/lockkeeper -n lockkeeper-system --create-namespace
show kubectl rollout status deployment/lockkeeper -n lockkeeper-system --timeout=60s

say "2. A small shop: 'web' reads the key 'greeting' of a ConfigMap, 'worker' reads the key 'queue', 'search' reads nothing of it,
   and the StatefulSet 'db' mounts all of it."
show kubectl apply -f demo/shop.yaml
for workload in deployment/web deployment/worker deployment/search statefulset/db; do
  show kubectl rollout status "$workload" -n shop --timeout=60s
done

say "3. One policy next to them. Applying it rolls nothing: what runs is taken as it is."
show cat config/samples/minimal.yaml
show kubectl apply -n shop -f config/samples/minimal.yaml
until_is 4/4 counts
show kubectl get upgradepolicies -n shop

say "4. Somebody edits one key of the ConfigMap: greeting."
pod_reads web GREETING
show kubectl patch configmap shop -n shop -p '{"data": {"greeting": "good evening"}}'
until_is 2 revision web
show kubectl get upgradepolicies -n shop -o wide
show kubectl rollout status deployment/web -n shop --timeout=60s
show kubectl rollout status statefulset/db -n shop --timeout=60s
until_is 4/4 counts

say "   Exactly the readers of that key have new pods; web really reads the new value; worker and search were left alone."
show kubectl get pods -n shop
until_is '"GREETING":"good evening"' pod_reads web GREETING
pod_reads web GREETING
[ "$(revision worker)" = 1 ] || fail "worker does not read that key and was rolled"
[ "$(revision search)" = 1 ] || fail "search reads no key and was rolled"

say "5. Changed, and changed back before the quiet time (2 s) is over: nothing rolls. A label on the ConfigMap: nothing either."
show kubectl patch configmap shop -n shop -p '{"data": {"greeting": "typo"}}'
show kubectl patch configmap shop -n shop -p '{"data": {"greeting": "good evening"}}'
show kubectl label configmap shop -n shop team=shop

say "6. Config and image in one upgrade are one rollout, not two."
show kubectl patch configmap shop -n shop -p '{"data": {"queue": "priority"}}'
show kubectl set image deployment/worker -n shop app=lockkeeper.dev/sample-app:v2
until_is '"QUEUE":"priority"' pod_reads worker QUEUE
until_is 4/4 counts
[ "$(revision worker)" = 2 ] || fail "worker was rolled more than once"
[ "$(revision web)" = 2 ] || fail "web was rolled for a change that was taken back"

say "7. What happened, where its author looks."
show kubectl events -n shop --for deployment/web
show kubectl get upgradepolicies -n shop

say "That is it. 'make cluster' gives you such a cluster to play with; the README says how to go on."

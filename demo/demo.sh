#!/usr/bin/env bash
# Lockkeeper at work on a cluster, each step explained, shown, and checked: it fails if a promise that it shows does not hold.
# `make demo` finds or starts the cluster and runs this in it. It takes about a minute. IMAGES is where the cluster's nodes find the images.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' plain=$'\e[0m'; else bold='' dim='' green='' plain=''; fi
step() { printf '\n%s%s%s\n\n' "$bold" "$*" "$plain"; }
tell() { printf '\n%s\n\n' "$*"; }
holds() { printf '%s=> %s%s\n' "$green" "$*" "$plain"; }
fail() { printf '\nThis should not have happened: %s\n' "$*" >&2; exit 1; }

# Prints a command as one would type it, then runs it.
show() {
  local word line='$'
  for word in "$@"; do
    case $word in
      *[!-A-Za-z0-9_./:=,@]*) line+=" '$word'" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '%s%s%s\n' "$dim" "$line" "$plain"
  "$@"
}

# A command that the picture in the README shows too, with as much of its output as the filter leaves.
transcript=${TRANSCRIPT:-/dev/null}
: >"$transcript"
in_the_picture() {
  local filter=$1 output
  shift
  output=$(show "$@" 2>&1) || { printf '%s\n' "$output"; return 1; }
  printf '%s\n' "$output"
  { printf '$ %s\n' "$*" && sed 1d <<<"$output" | sh -c "$filter"; } >>"$transcript"
}

# Waits, a minute at most, until a command prints what is expected.
until_is() {
  local want=$1 seen='' deadline=$((SECONDS + 60))
  shift
  while [ $SECONDS -lt $deadline ]; do
    seen=$("$@" 2>/dev/null) || true
    [ "$seen" = "$want" ] && return
    sleep 0.2
  done
  fail "'$*' should have become '$want'; last seen: '$seen'"
}

# Looks for some seconds, twice the quiet time of the policy, and fails if a pod started or ended in that time.
no_pod_changes() {
  local before=$1 deadline=$((SECONDS + 5)) now
  while [ $SECONDS -lt $deadline ]; do
    now=$(pods)
    [ "$now" = "$before" ] || fail "pods were $before, and are now $now"
    sleep 0.3
  done
}

pods() { kubectl get pods -n shop -o 'jsonpath={.items[*].metadata.uid}' | tr ' ' '\n' | sort | tr '\n' ' '; }
pods_of() { kubectl get pods -n shop -l "app=$1" -o 'jsonpath={.items[*].metadata.uid}'; }
revision() { kubectl get deployment "$1" -n shop -o 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}'; }
up_to_date() { kubectl get upgradepolicy config -n shop -o 'jsonpath={.status.workloads.upToDate} of {.status.workloads.total}'; }
# Where a pod answers: directly on the local cluster, whose pods have addresses of this machine, and otherwise through the API server.
url() {
  local namespace=$1 name address
  read -r name address < <(kubectl get pods -n "$namespace" -l "app=$2" --sort-by=.metadata.creationTimestamp \
    -o 'jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}' | tail -n 1)
  case $address in
    127.*) echo "http://$address:8080" ;;
    *) echo "http://$through/api/v1/namespaces/$namespace/pods/$name:8080/proxy" ;;
  esac
}
variable() { curl -s "$(url shop "$1")/env" | grep -o "\"$2\":\"[^\"]*\""; }
file() { curl -s "$(url shop "$1")/env" | grep -o "\"filesAtStart\":{[^}]*}" | grep -o "\"$2\":\"[^\"]*\""; }
# What a pod's process read when it started, asked of the process itself.
show_variable() {
  printf "%s\$ curl -s %s/env | grep -o '\"%s\":[^,]*'   # a pod of %s%s\n" "$dim" "$(url shop "$1")" "$2" "$1" "$plain"
  variable "$1" "$2"
}

scratch=$(mktemp -d)
background=()
trap 'kill "${background[@]}" 2>/dev/null || true; rm -rf "$scratch"' EXIT
command -v kubectl-lockkeeper >/dev/null || fail "kubectl-lockkeeper is not in the PATH: run this by 'make demo'"
command -v curl >/dev/null || fail "curl is not installed"
kubectl proxy --port=0 >"$scratch/proxy" &
background+=($!)
through=''
proxy_is_ready() { through=$(grep -o '127.0.0.1:[0-9]*' "$scratch/proxy") && echo yes; }
until_is yes proxy_is_ready
proxy_is_ready >/dev/null

# Where the nodes find the images, if that is not where the chart and the sample app say.
images=${IMAGES:-lockkeeper.dev}
with_images() { sed "s#image: lockkeeper.dev/#image: $images/#" "$1"; }
for_lockkeeper=() for_app=()
if [ "$images" != lockkeeper.dev ]; then
  for_lockkeeper=(--set "image.repository=$images/lockkeeper") for_app=(--set "images=$images")
fi

step "1. Helm installs Lockkeeper."
show helm install lockkeeper charts/lockkeeper -n lockkeeper-system --create-namespace "${for_lockkeeper[@]}"
show kubectl rollout status deployment/lockkeeper -n lockkeeper-system --timeout=60s

step "2. A small shop. All share one ConfigMap, but: web reads its key 'greeting', worker its key 'queue', search nothing of it,
   and the StatefulSet db mounts all of it."
with_images demo/shop.yaml >"$scratch/shop.yaml"
show kubectl apply -f "$scratch/shop.yaml"
show kubectl wait deployment --all -n shop --for=condition=Available --timeout=60s
show kubectl rollout status statefulset/db -n shop --timeout=60s
for workload in web worker search; do kubectl rollout status "deployment/$workload" -n shop --timeout=60s >/dev/null; done

step "3. One policy next to them: every workload of this namespace is rolled when config changes that it reads."
first=$(pods)
show cat config/samples/minimal.yaml
show kubectl apply -n shop -f config/samples/minimal.yaml
until_is "4 of 4" up_to_date
show kubectl get upgradepolicies -n shop
[ "$(pods)" = "$first" ] || fail "a pod changed although nothing did"
holds "Applying it rolled nothing: what runs is taken as it is."

step "4. Somebody changes one key of the ConfigMap, 'greeting'."
show_variable web GREETING
of_worker=$(pods_of worker) of_search=$(pods_of search)
show kubectl patch configmap shop -n shop -p '{"data": {"greeting": "good evening"}}'
tell "Lockkeeper waits 2 s for further changes, so that many changes are one rollout; the policy says what it waits for:"
changing() { [ "$(up_to_date)" != "4 of 4" ] || [ "$(revision web)" = 2 ] && echo yes; }
until_is yes changing
show kubectl get upgradepolicies -n shop -o wide
until_is 2 revision web
show kubectl rollout status deployment/web -n shop --timeout=60s
show kubectl wait upgradepolicy/config -n shop --for=condition=UpToDate --timeout=60s
until_is "4 of 4" up_to_date
until_is '"GREETING":"good evening"' variable web GREETING
until_is '"/etc/shop/greeting":"good evening"' file db /etc/shop/greeting
show kubectl get pods -n shop
show_variable web GREETING
[ "$(pods_of worker)" = "$of_worker" ] || fail "worker does not read that key, and has new pods"
[ "$(pods_of search)" = "$of_search" ] || fail "search reads no key, and has new pods"
[ "$(revision web)" = 2 ] || fail "web was rolled more than once"
holds "web and db read that key and have new pods, once; worker and search have kept theirs."

step "5. A mistake, taken back before the quiet time is over, and a new label on the ConfigMap."
before=$(pods)
show kubectl patch configmap shop -n shop -p '{"data": {"greeting": "god evning"}}'
show kubectl patch configmap shop -n shop -p '{"data": {"greeting": "good evening"}}'
show kubectl label configmap shop -n shop team=shop
no_pod_changes "$before"
show kubectl get upgradepolicies -n shop
holds "Nothing was rolled: the pods already run on what the ConfigMap says."

step "6. One upgrade brings a new image and new config, as 'helm upgrade' would."
show kubectl patch configmap shop -n shop -p '{"data": {"queue": "priority"}}'
show kubectl set image deployment/worker -n shop "app=$images/sample-app:v2"
until_is '"QUEUE":"priority"' variable worker QUEUE
until_is "4 of 4" up_to_date
until_is '"/etc/shop/queue":"priority"' file db /etc/shop/queue
until_is "4 of 4" up_to_date
show_variable worker QUEUE
[ "$(revision worker)" = 2 ] || fail "worker was rolled more than once"
[ "$(revision web)" = 2 ] || fail "web does not read that key, and was rolled"
holds "worker was rolled once, not twice: the rollout of the image carried the config along."

step "7. Config changes while Lockkeeper is down."
show kubectl scale deployment/lockkeeper -n lockkeeper-system --replicas=0
show kubectl wait pod -n lockkeeper-system -l app.kubernetes.io/name=lockkeeper --for=delete --timeout=60s
show kubectl patch configmap shop -n shop -p '{"data": {"greeting": "good night"}}'
show kubectl scale deployment/lockkeeper -n lockkeeper-system --replicas=2
until_is '"GREETING":"good night"' variable web GREETING
until_is '"/etc/shop/greeting":"good night"' file db /etc/shop/greeting
until_is "4 of 4" up_to_date
show_variable web GREETING
[ "$(revision web)" = 3 ] || fail "web was rolled more than once"
[ "$(revision worker)" = 2 ] || fail "the restart of Lockkeeper rolled worker"
holds "The change was found and rolled, once; the restart itself rolled nothing."

step "8. Upgrades that wait. billing is an ordinary chart; its policy wants every changed template approved."
show kubectl create namespace billing
show helm install billing demo/billing -n billing "${for_app[@]}"
show kubectl rollout status deployment/billing -n billing --timeout=60s
cat > "$scratch/policy.yaml" <<'END'
apiVersion: lockkeeper.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: billing}
spec: {selector: {}, gates: {approval: Required}}
END
show cat "$scratch/policy.yaml"
show kubectl apply -n billing -f "$scratch/policy.yaml"
show kubectl wait upgradepolicy/billing -n billing --for=condition=HoldsEnforced --timeout=60s
billing() { kubectl get upgradepolicy billing -n billing -o "jsonpath={.status.workloads.$1}"; }
until_is 1 billing upToDate
pods_of_billing() { kubectl get pods -n billing -o 'jsonpath={.items[*].metadata.uid}'; }
images_of_billing() { kubectl get pods -n billing -o 'jsonpath={.items[*].spec.containers[0].image}'; }
before=$(pods_of_billing)
in_the_picture 'grep -oE "stored, but held[^\"]*|.*has been upgraded"' helm upgrade billing demo/billing -n billing "${for_app[@]}" --set tag=v2
tell "Helm printed that the change is stored, but held. Helm is done, and the pods are unchanged:"
columns=custom-columns=POD:.metadata.name,IMAGE:.spec.containers[0].image
in_the_picture cat kubectl get pods -n billing -o "$columns"
[ "$(pods_of_billing)" = "$before" ] || fail "a pod changed although the upgrade is held"
reason() { kubectl get upgradepolicy billing -n billing -o 'jsonpath={.status.attention[0].reason}'; }
until_is ApprovalRequired reason
in_the_picture cat kubectl get upgradepolicies -n billing
in_the_picture 'sed "/^Gates/,\$d" | head -n 12' kubectl lockkeeper why deployment/billing -n billing
tell "A user with the verb 'approve' on upgradepolicies approves exactly this change (the annotation lockkeeper.dev/approve does the same):"
id=$(kubectl get upgradepolicy billing -n billing -o 'jsonpath={.status.attention[0].hold.id}')
in_the_picture 'head -n 3' kubectl lockkeeper approve deployment/billing -n billing "$id"
in_the_picture 'tail -n 1' kubectl lockkeeper wait deployment/billing -n billing --timeout 60s
until_is "$images/sample-app:v2 $images/sample-app:v2" images_of_billing
in_the_picture cat kubectl get pods -n billing -o "$columns"
show kubectl events -n billing --for deployment/billing
show helm upgrade billing demo/billing -n billing "${for_app[@]}" --set tag=v2
holds "The upgrade was held in admission, and was released when it was approved. The next helm upgrade met no conflict."

step "9. The app decides. docs is an ordinary chart too, and its pods work on something; the policy has them asked on /upgradeable."
show kubectl create namespace docs
show helm install docs demo/billing -n docs "${for_app[@]}"
show kubectl rollout status deployment/docs -n docs --timeout=60s
cat > "$scratch/asking.yaml" <<'END'
apiVersion: lockkeeper.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: docs}
spec: {selector: {}, gates: {app: {period: 1s, prepare: {}}}}
END
show cat "$scratch/asking.yaml"
show kubectl apply -n docs -f "$scratch/asking.yaml"
show kubectl wait upgradepolicy/docs -n docs --for=condition=HoldsEnforced --timeout=60s
show kubectl wait upgradepolicy/docs -n docs --for=condition=GatesVerified --timeout=60s
pods_of_docs() { kubectl get pods -n docs -o 'jsonpath={.items[*].metadata.uid}'; }
reason_of_docs() { kubectl get upgradepolicy docs -n docs -o 'jsonpath={.status.attention[0].reason}'; }
images_of_docs() { kubectl get pods -n docs -o 'jsonpath={.items[*].spec.containers[0].image}'; }
# What the pods of docs in a namespace print when they end. Their logs are gone with them, so they are followed from here on.
follow() {
  kubectl logs -f -n "$1" -l app=docs --tail=-1 >"$scratch/$1.log" 2>/dev/null &
  background+=($!)
}
ends_in() { grep -E '^(ended|killed)' "$scratch/$1.log" || true; }
follow docs
pod_of_docs=$(url docs docs)
before=$(pods_of_docs)
show curl -s -X POST "$pod_of_docs/start?seconds=12"
echo
show helm upgrade docs demo/billing -n docs "${for_app[@]}" --set tag=v2 --wait --timeout 30s
tell "helm --wait says success, although the upgrade is held; kubectl lockkeeper wait would not. One pod says no, and why:"
until_is AppGateClosed reason_of_docs
show kubectl get upgradepolicies -n docs -o wide
show kubectl lockkeeper why deployment/docs -n docs
[ "$(pods_of_docs)" = "$before" ] || fail "a pod was ended although it said no"
tell "Until then its pods take no new work, so that they come to an end with what they have (503 is the app's own answer):"
show curl -s -X POST "$pod_of_docs/start?seconds=1"
tell "The work ends, the pod says yes, the upgrade is released:"
show kubectl lockkeeper wait deployment/docs -n docs --timeout 60s
until_is "$images/sample-app:v2 $images/sample-app:v2" images_of_docs
show kubectl events -n docs --for deployment/docs
two_ended() { [ "$(ends_in docs | wc -l)" = 2 ] && echo yes; }
until_is yes two_ended
ended=$(ends_in docs)
! grep -q killed <<<"$ended" || fail "pods ended like this: $ended"
holds "Nothing in flight was killed: both pods had ended their work."

tell "The same without Lockkeeper, in a namespace without a policy:"
show kubectl create namespace unsafe
show helm install docs demo/billing -n unsafe "${for_app[@]}"
show kubectl rollout status deployment/docs -n unsafe --timeout=60s
follow unsafe
show curl -s -X POST "$(url unsafe docs)/start?seconds=60"
echo
show helm upgrade docs demo/billing -n unsafe "${for_app[@]}" --set tag=v2 --wait --timeout 60s
killed() { ends_in unsafe | grep -c '^killed while busy'; }
until_is 1 killed
ends_in unsafe
holds "There the upgrade killed a pod in the middle of its work."

default_class='jsonpath={.items[?(@.metadata.annotations.storageclass\.kubernetes\.io/is-default-class=="true")].metadata.name}'
the_data() {
step "10. The data. notes keeps lines on a volume that one node at a time can have, and its chart declares a rolling update: that deadlocks."
show kubectl create namespace notes
show helm install notes demo/notes -n notes "${for_app[@]}"
show kubectl rollout status deployment/notes -n notes --timeout=60s
cat > "$scratch/keeping.yaml" <<'END'
apiVersion: lockkeeper.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: notes}
spec: {selector: {}, volumes: {}}
END
show cat "$scratch/keeping.yaml"
show kubectl apply -n notes -f "$scratch/keeping.yaml"
volumes_of_notes() { kubectl get upgradepolicy notes -n notes -o "jsonpath={.status.volumes.$1}"; }
until_is 1 volumes_of_notes protected
show curl -s -X POST "$(url notes notes)/data?line=precious"
node_of_notes() { kubectl get pods -n notes -o 'jsonpath={.items[*].spec.nodeName}'; }
here=$(node_of_notes)
there=$(kubectl get nodes --no-headers | awk -v here="$here" '$1 != here && $2 == "Ready" {print $1; exit}')
if [ -n "$there" ] && [ -n "$(kubectl get volumeattachments -o name)" ]; then
  tell "The next pod has to go to another node, which cannot have the volume while the old pod runs:"
  show kubectl patch deployment notes -n notes -p "{\"spec\": {\"template\": {\"spec\": {\"nodeSelector\": {\"kubernetes.io/hostname\": \"$there\"}}}}}"
else
  tell "The volumes of this cluster cannot move to another node, or there is none, so the next pod stays on this node:"
  there=$here
  show kubectl set image deployment/notes -n notes "app=$images/sample-app:v2"
fi
show kubectl rollout status deployment/notes -n notes --timeout=60s
show kubectl get deployment notes -n notes -o 'jsonpath={.spec.strategy}'
echo
show kubectl events -n notes --for deployment/notes
[ "$(node_of_notes)" = "$there" ] || fail "the pod is not on $there"
holds "Admission made it Recreate: the old pod ended first, and the rollout went through. The chart need not say so."

tell "Then somebody uninstalls the release, claim and all:"
show helm uninstall notes -n notes --wait
until_is 1 volumes_of_notes orphaned
show kubectl lockkeeper volumes -n notes
show helm install notes demo/notes -n notes "${for_app[@]}"
show kubectl rollout status deployment/notes -n notes --timeout=60s
show curl -s "$(url notes notes)/data"
curl -s "$(url notes notes)/data" | grep -q precious || fail "the data is lost"
holds "The volume survived helm uninstall, and the next claim of that name found it again."
}
if [ -n "$(kubectl get storageclasses -o "$default_class")" ]; then
  the_data
else
  step "10. The data. This step is left out: the cluster has no default storage class."
fi

step "11. What happened, told where one looks for it. The ConfigChanged that no ConfigRollout follows is the mistake that was taken back."
show kubectl events -n shop --for deployment/web
show kubectl get upgradepolicies -n shop

printf '\n%sEverything above held.%s \x27make cluster\x27 gives you such a cluster to play with; docs/config.md says what else a policy can do.\n' "$bold" "$plain"

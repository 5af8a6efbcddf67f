#!/usr/bin/env bash
# Publishes what `make release` has built on a registry of this machine, as a release would, and installs from there: `make release-test`.
# On real nodes, where they can run, whose network reaches nothing but this machine; else on nodes that are simulated, which pull nothing.
# SIGN=no leaves out the signatures, and with them cosign, which takes long to build.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(release/version.sh)
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
out=$target/release-$version
tried=$target/release-test
own=$(uname -m | sed -e s/x86_64/amd64/ -e s/aarch64/arm64/)
address=127.0.0.1:5005
image=$address/lockkeeper:$version
chart=$address/charts/lockkeeper
passed=0

# One promise: `holds` must succeed, and `refused` must fail and say so.
ok() { echo "ok: $1"; passed=$((passed + 1)); }
failed() { cat "$work/said"; echo "FAILED: $1"; exit 1; }
holds() { local what=$1; shift; if "$@" >"$work/said" 2>&1; then ok "$what"; else failed "$what"; fi; }
refused() {
  local what=$1 words=$2
  shift 2
  if "$@" >"$work/said" 2>&1; then failed "$what"; fi
  if grep -qE "$words" "$work/said"; then ok "$what"; else failed "$what"; fi
}

serve() {
  cat > "$work/registry.yaml" <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "$address"}
END
  registry serve "$work/registry.yaml" >"$work/registry.log" 2>&1 &
  registry=$!
  for _ in $(seq 300); do
    # It answers, and it is ours: another that has this port would have ended ours.
    ! curl -fs "http://$address/v2/" >/dev/null || ! kill -0 "$registry" || return 0
    kill -0 "$registry" || break
    sleep 0.1
  done
  cat "$work/registry.log"
  exit 1
}

push() { holds "image and chart are pushed" env SIGN=no release/push.sh "$tried"; }

# Only what the owner of the key signed is verified.
signatures() {
  local digest registry=(--allow-insecure-registry --allow-http-registry)
  # Without the log in which a release of the workflow stands.
  local verify=(cosign verify "${registry[@]}" --insecure-ignore-tlog)
  local ours=("${verify[@]}" --key "$work/cosign.pub")
  export COSIGN_PASSWORD='' COSIGN_KEY=$work/cosign.key
  (cd "$work" && cosign generate-key-pair && mkdir other && cd other && cosign generate-key-pair) >/dev/null 2>&1
  digest=$(crane digest --insecure "$image")
  refused "an image that is not signed is not verified" 'no signatures found' "${ours[@]}" "$image"
  refused "a chart that is not signed is not verified" 'no signatures found' "${ours[@]}" "$chart:$version"
  holds "image, chart and bill of materials are signed" env SIGN=key release/push.sh "$tried"
  holds "the same image has the same digest again" [ "$(tail -n 1 "$work/said")" = "$address/lockkeeper@$digest" ]
  holds "the image is verified" "${ours[@]}" "$image"
  holds "its part for this machine is verified" "${ours[@]}" "$address/lockkeeper@$(crane digest --insecure --platform "linux/$own" "$image")"
  holds "the chart is verified" "${ours[@]}" "$chart:$version"
  holds "the bill of materials is verified" \
    cosign verify-attestation "${registry[@]}" --insecure-ignore-tlog --key "$work/cosign.pub" --type cyclonedx "$image"
  refused "another key verifies no image" 'no matching' "${verify[@]}" --key "$work/other/cosign.pub" "$image"
  refused "another key verifies no chart" 'no matching' "${verify[@]}" --key "$work/other/cosign.pub" "$chart:$version"
  crane mutate --insecure --platform "linux/$own" --label altered=yes --tag "$image" "$image" >/dev/null 2>&1
  refused "an altered image is not verified" 'no signatures found' "${ours[@]}" "$image"
  crane tag --insecure "$address/lockkeeper@$digest" "$version" 2>/dev/null
  holds "the image itself is verified again" "${ours[@]}" "$image"
}

# As a user does: by the names in the chart, with the plugin from its archive.
installation() {
  local digest
  digest=$(crane digest --insecure "$image")
  KREW_ROOT=$work/krew holds "krew installs the plugin, by its manifest" krew install --manifest "$tried/lockkeeper-krew.yaml" \
    --archive "$tried/kubectl-lockkeeper-$version-linux-$own.tar.gz"
  export PATH="$work/krew/bin:$PATH"
  holds "kubectl finds the plugin" kubectl lockkeeper --version
  holds "helm installs from the registry" helm install lockkeeper "oci://$chart" --version "$version" --plain-http \
    -n lockkeeper-system --create-namespace --wait --timeout 5m
  holds "helm's own test passes" helm test lockkeeper -n lockkeeper-system
  kubectl get pods -n lockkeeper-system -l app.kubernetes.io/name=lockkeeper \
    -o jsonpath='{.items[*].spec.containers[*].image}{"\n"}{.items[*].status.containerStatuses[*].imageID}' >"$work/images"
  cp "$work/images" "$work/said"
  holds "its pods run the image of the registry" grep -q "^$image" "$work/images"
  if [ -n "${LOCKKEEPER_TEST_REAL_NODE:-}" ]; then
    holds "containerd pulled exactly what was pushed" grep -q "$address/lockkeeper@$digest" "$work/images"
  fi
  kubectl create namespace shop >/dev/null
  sed s/NAME/web/ tests/local-cluster/tests/node/app.yaml | kubectl apply -n shop -f - >/dev/null
  kubectl apply -n shop -f - >/dev/null <<'END'
apiVersion: lockkeeper.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: approved}
spec: {selector: {}, gates: {approval: Required}}
END
  holds "the app is ready" kubectl rollout status deployment/web -n shop --timeout 4m
  holds "the policy is in force" kubectl wait --for=condition=HoldsEnforced up/approved -n shop --timeout 4m
  kubectl set image deployment/web app=lockkeeper.dev/sample-app:v2 -n shop >/dev/null 2>&1
  holds "a change is held" kubectl wait --for=jsonpath='{.status.workloads.waitingForGates}'=1 up/approved -n shop --timeout 4m
  holds "it is approved" kubectl lockkeeper approve deployment/web -n shop
  holds "it is rolled out" kubectl lockkeeper wait deployment/web -n shop --timeout 4m
  # Simulated nodes know programs by the names of images, without digests.
  [ -n "${LOCKKEEPER_TEST_REAL_NODE:-}" ] || return 0
  holds "helm installs exactly what was verified, by digests" helm upgrade lockkeeper \
    "oci://$chart@$(crane digest --insecure "$chart:$version")" --plain-http -n lockkeeper-system \
    --set "image.digest=$digest" --wait --timeout 5m
}

work=$(mktemp -d)
registry=
end() {
  # It writes into the folder until it has ended.
  if [ -n "$registry" ]; then kill "$registry" 2>/dev/null && wait "$registry" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap end EXIT

if [ "${1:-}" = inside ]; then
  export REGISTRY=$address PLAIN_HTTP=1
  serve
  push
  if [ "${SIGN:-key}" = no ]; then echo "NOT RUN: the signatures, because of SIGN=no"; else signatures; fi
  installation
  printf '\n%s passed, 0 failed\n' "$passed"
  exit
fi

[ -e "$out/SHA256SUMS" ] || { echo "run make release first" >&2; exit 1; }
. release/names
check() { REGISTRY=$1 LOCKKEEPER_RELEASE=$2 cargo test --quiet --workspace --locked --test release -- --include-ignored; }
check "$REGISTRY" "$out"
# As a fork would: the same programs for another registry.
REGISTRY=$address HOME_PAGE=http://$address release/pack.sh "$tried" >"$work/said" || { cat "$work/said"; exit 1; }
check "$address" "$tried"

local=$target/debug/local-cluster
tools=$(release/tools.sh)
[ "${SIGN:-key}" = no ] || tools+=:$(release/tools.sh cosign)
PATH="$tools:$PATH"
if why=$("$local" real-node-possible 2>&1); then
  "$local" run --real-node -- release/try.sh inside
else
  echo "NOT RUN: the pull by a real node. $why"
  # On GitHub they can run.
  [ -z "${GITHUB_ACTIONS:-}" ]
  made=$target/$(uname -m)-unknown-linux-musl/$(echo "${IMAGE_PROFILE:-release}" | sed s/dev/debug/)/lockkeeper
  "$local" run --program "$address/lockkeeper=$made" -- release/try.sh inside
fi

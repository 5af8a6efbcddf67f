#!/bin/sh
# Tries on one version of Kubernetes what is promised on each, and notes in tests/matrix/VERSION.tsv what holds there: `run.sh TARGET VERSION`,
# from `make matrix`. Each line names what was tried, and whether it holds (yes), or whether the version cannot do it (no). When a test fails,
# nothing is noted. `run.sh TARGET VERSION chosen`, from `make oldest`, runs the shortest tests of each promise, and compares with what is noted.
set -eu
target=$1 version=$2 which=${3:-all}
local="$target/debug/local-cluster" log="$target/matrix-$version.log"

# Whether changed templates can be held: by policies that the API server serves, or by a webhook that the chart has.
can_hold() {
  kubectl get --raw /apis/admissionregistration.k8s.io/v1 | grep -q '"mutatingadmissionpolicies"' ||
    helm template lockkeeper charts/lockkeeper -n lockkeeper-system --no-hooks --kube-version "$version.0" |
      grep -q '^kind: MutatingWebhookConfiguration'
}

# Runs the tests with these parts in their names; each line of what it prints is `test NAME ... ok` or `... FAILED`.
tests() {
  cargo test --workspace --test cluster -- --test-threads=6 --skip _exclusively "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

# Whether tests of a promise ran; all that ran were well.
holds() {
  if grep -Eq "^test ([a-z0-9_:]*(::|_))?$1.* ok$" "$log"; then printf '%s\tyes\n' "$1"; else echo "no test of $1 ran" >&2; return 1; fi
}

# What getting-started.md says, before anything else is there; it uninstalls Lockkeeper at its end.
walk() {
  PATH="$(cd "$target/debug" && pwd):$PATH" sh -ex "$target/walk.sh" >"$target/matrix-walk.log" 2>&1 || { cat "$target/matrix-walk.log" >&2; return 1; }
}

if [ "${4:-}" = inside ]; then
  kubectl version -o json | sed -n 's/.*"gitVersion": "v\(.*\)".*/Kubernetes\t\1/p' | tail -n 1
  config="p2_a_changed_key p2_content_that_shifts p3_what_no_pod_reads"
  promises="p6_ p7_ p9_ p10_ p16_ conformance" holding=$promises
  if [ "$which" = chosen ]; then
    config="p2_a_changed_key p3_what_no_pod_reads"
    holding="p6_a_hold_stays p6_what_is_new p7_a_newer_change p9_a_revert p10_the_users_own p16_approve_and_bypass conformance::the_twin"
  fi
  if can_hold; then
    walk
    tests $config $holding
    for promise in p2_ p3_ $promises; do holds "$promise"; done
    printf 'walk\tyes\n'
  else
    echo "Kubernetes $version serves no MutatingAdmissionPolicy, and the chart has no webhook that holds templates instead. So the tests of" \
      "holds (P6, P7, P9, P10, P16), the conformance cases and getting-started.md cannot hold there, and are not run." >&2
    tests $config
    for promise in p2_ p3_; do holds "$promise"; done
    for promise in $promises walk; do printf '%s\tno\n' "$promise"; done
  fi
  exit
fi

begun=$(date +%s)
noted="$target/matrix-$version.tsv"
"$local" build --kubernetes "$version" >/dev/null
built=$(date +%s)
"$local" run --kubernetes "$version" --program "lockkeeper.dev/lockkeeper=$target/debug/lockkeeper" -- "$0" "$target" "$version" "$which" inside >"$noted"
echo "Kubernetes $version: building took $((built - begun)) s, the tests took $(($(date +%s) - built)) s"
if [ "$which" = chosen ]; then
  diff "tests/matrix/$version.tsv" "$noted" || { echo "tests/matrix/$version.tsv is not what holds; run make matrix VERSIONS=$version" >&2; exit 1; }
else
  mv "$noted" "tests/matrix/$version.tsv"
fi

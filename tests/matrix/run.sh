#!/bin/sh
# Tries on one version of Kubernetes what is promised on each, and notes in tests/matrix/VERSION.tsv what holds there: `run.sh TARGET VERSION`,
# from `make matrix`. Each line names what was tried, and whether it holds (yes), or whether the version cannot do it (no). When a test fails,
# nothing is noted.
set -eu
target=$1 version=$2
local="$target/debug/local-cluster" log="$target/matrix-$version.log"

# Whether changed templates can be held: by policies that the API server serves, or by a webhook that the chart has.
can_hold() {
  kubectl get --raw /apis/admissionregistration.k8s.io/v1 | grep -q '"mutatingadmissionpolicies"' ||
    helm template lockkeeper charts/lockkeeper -n lockkeeper-system --no-hooks --kube-version "$version.0" |
      grep -q '^kind: MutatingWebhookConfiguration'
}

# Runs the tests with these parts in their names; each line of what it prints is `test NAME ... ok` or `... FAILED`.
# A webhook has two seconds to answer, so it must not share two cores with ten tests.
tests() {
  cargo test --workspace --test cluster -- --test-threads=5 --skip _exclusively "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

# Whether tests of a promise ran; all that ran were well.
holds() {
  if grep -Eq "^test ([a-z0-9_:]*(::|_))?$1.* ok$" "$log"; then printf '%s\tyes\n' "$1"; else echo "no test of $1 ran" >&2; return 1; fi
}

if [ "${3:-}" = inside ]; then
  kubectl version -o json | sed -n 's/.*"gitVersion": "v\(.*\)".*/Kubernetes\t\1/p' | tail -n 1
  config="p2_a_changed_key p2_content_that_shifts p3_what_no_pod_reads"
  holding="p6_ p7_ p9_ p10_ p16_ conformance"
  if can_hold; then
    tests $config $holding
    for promise in p2_ p3_ $holding; do holds "$promise"; done
  else
    echo "Kubernetes $version serves no MutatingAdmissionPolicy, and the chart has no webhook that holds templates instead. So the tests of" \
      "holds (P6, P7, P9, P10, P16), the conformance cases and getting-started.md cannot hold there, and are not run." >&2
    tests $config
    for promise in p2_ p3_; do holds "$promise"; done
    for promise in $holding; do printf '%s\tno\n' "$promise"; done
  fi
  exit
fi

begun=$(date +%s)
noted="$target/matrix-$version.tsv"
"$local" build --kubernetes "$version" >/dev/null
built=$(date +%s)
"$local" run --kubernetes "$version" --program "lockkeeper.dev/lockkeeper=$target/debug/lockkeeper" -- "$0" "$target" "$version" inside >"$noted"
if grep -q "^p6_.yes" "$noted"; then
  make --no-print-directory walk KUBERNETES="$version" >"$target/matrix-walk.log" 2>&1 || { cat "$target/matrix-walk.log" >&2; exit 1; }
  printf 'walk\tyes\n' >>"$noted"
else
  printf 'walk\tno\n' >>"$noted"
fi
mv "$noted" "tests/matrix/$version.tsv"
echo "Kubernetes $version: building took $((built - begun)) s, the tests took $(($(date +%s) - built)) s"

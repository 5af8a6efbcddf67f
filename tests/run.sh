#!/bin/sh
# All tests, in as little time as two cores allow: `run.sh TARGET`, from `make test`. Tests that have the operator for themselves mostly wait. So
# they run on two clusters, one by one on each, and beside them the tests without a cluster. The others share the operator of one cluster, ten
# at a time. A log that is not shown as it is written is shown when its tests have ended.
set -eu
target=$1
local="$target/debug/local-cluster"
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT
without_cluster="--test architecture --test core --test docs --test faults --test simulation --test admission --test controllers --test volumes
  --test ends_with_its_owner --test release"

# Notes that a command has failed.
run() {
  "$@" || echo "$*" >>"$failed"
}

# Runs a command with a cluster of its own around it.
on_a_cluster() {
  run "$local" run --program "lockkeeper.dev/lockkeeper=$target/debug/lockkeeper" -- "$@"
}

alone=$(cargo test --quiet --workspace --test cluster -- --list --format terse | sed -n 's/^\(.*_exclusively\): test$/\1/p')
# Every second one of them, from the first and from the second on.
first=$(echo "$alone" | sed -n 'p;n')
second=$(echo "$alone" | sed -n 'n;p')
[ -n "$first" ] && [ -n "$second" ] || { echo "no test was listed"; exit 1; }

echo "First the tests that have the operator for themselves, on two clusters, and beside them those without a cluster: some 15 minutes."
# shellcheck disable=SC2086 # names of tests have no spaces
{
  (run nice cargo test --workspace --no-fail-fast --lib --bins $without_cluster >"$target/without-cluster.log" 2>&1) &
  (on_a_cluster cargo test --workspace --test cluster -- --test-threads=1 --exact $second >"$target/second-cluster.log" 2>&1) &
  on_a_cluster cargo test --workspace --test cluster -- --test-threads=1 --exact $first
}
wait
cat "$target/without-cluster.log" "$target/second-cluster.log"
on_a_cluster sh -c 'cargo test --workspace --test cluster -- --test-threads=10 --skip _exclusively; a=$?
  cargo test --workspace --test rights && exit $a'

if [ -s "$failed" ]; then
  echo "These failed:"
  cat "$failed"
  exit 1
fi

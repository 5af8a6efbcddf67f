#!/usr/bin/env bash
# Builds all that a release has: `make release`. docs/releasing.md says what that is, and what was not run.
# TARGETS=x86_64-unknown-linux-musl builds for this one alone; IMAGE_PROFILE=dev builds faster, for tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. release/targets.sh

target=${CARGO_TARGET_DIR:-target}
profile=${IMAGE_PROFILE:-release}
left_out=()
# For tests it is built as `make image` builds it, or cargo would build it twice.
scope=()
[ "$profile" = release ] || scope=(--workspace)
for one in $TARGETS; do
  if why=$(cannot_be_built "$one"); then
    left_out+=("$one: $why")
    continue
  fi
  rustup target list --installed | grep -qx "$one" || rustup target add "$one"
  printf '\n== programs for %s\n' "$one"
  begun=$SECONDS
  variable=${one//-/_}
  export "CC_$variable=$(compiler "$one")"
  # What cargo links with by itself is right for this machine.
  [ "$(compiler "$one")" = gcc ] || export "CARGO_TARGET_$(echo "$variable" | tr a-z A-Z)_LINKER=$(compiler "$one")"
  what=(--bin kubectl-lockkeeper)
  case $one in *-linux-musl) for program in $IN_IMAGE; do what+=(--bin "$program"); done ;; esac

  cargo build "${scope[@]}" --locked --profile "$profile" --target "$one" "${what[@]}"
  echo "built in $((SECONDS - begun)) s"
done

version=$(release/version.sh)
release/pack.sh "$target/release-$version"
if [ ${#left_out[@]} -gt 0 ]; then
  printf '\n== NOT in this release, because this machine cannot build it:\n'
  printf '%s\n' "${left_out[@]}"
fi
[ "$profile" = release ] || printf '\n== NOT for publishing: built with the profile %s, for tests\n' "$profile"

#!/usr/bin/env bash
# Builds a program that is written in Rust once into the user's cache folder, and prints the folder that it is in:
# .ci/cargo-tool.sh NAME VERSION [FLAG OF CARGO INSTALL]... It runs for seconds, so it is not optimised.
set -euo pipefail
name=$1 version=$2
shift 2
root="${XDG_CACHE_HOME:-$HOME/.cache}/lockkeeper/$name-$version"
if [ ! -x "$root/bin/$name" ]; then
  echo "building $name, once: this takes some minutes" >&2
  env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
    cargo install --quiet --locked "$@" --version "$version" --root "$root" "$name" >&2
fi
echo "$root/bin"

#!/usr/bin/env bash
# Builds the tools of a release once, into the user's cache folder, and prints their folder: `release/tools.sh [cosign]`.
# Without an argument: crane (which pushes and pulls images), krew and registry. cosign is apart, because it is large.
set -euo pipefail
module=$(cd "$(dirname "$0")" && pwd)/tools${1:+-$1}
sum=$(cat "$module/go.mod" "$module/go.sum" | sha256sum | cut -c1-16)
folder="${XDG_CACHE_HOME:-$HOME/.cache}/lockkeeper/release-tools-$sum"
if [ ! -d "$folder" ]; then
  echo "building the tools of $(basename "$module"), once: this takes some minutes" >&2
  rm -rf "$folder.building"
  mkdir -p "$folder.building"
  (cd "$module" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$folder.building" tool)
  mv "$folder.building" "$folder"
fi
echo "$folder"

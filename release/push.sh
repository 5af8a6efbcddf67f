#!/usr/bin/env bash
# Pushes image and chart of a release to $REGISTRY, and signs both: release/push.sh FOLDER. Where one logs in is crane's and helm's matter.
# SIGN=no signs nothing. SIGN=key signs by the key in COSIGN_KEY, without a transparency log. SIGN=workflow signs in the name of the workflow
# that runs this. PLAIN_HTTP=1 is for a registry of this machine. The last line that it prints is the image with its digest.
set -euo pipefail
own=$(cd "$(dirname "$0")" && pwd)
. "$own/names"
version=$("$own/version.sh")
made=$1
crane=() helm=() cosign=()
[ -z "${PLAIN_HTTP:-}" ] || { crane=(--insecure) helm=(--plain-http) cosign=(--allow-insecure-registry --allow-http-registry); }
case ${SIGN:?no, key or workflow} in
  key)
    # Services to sign with: none. So cosign asks nothing outside of this machine and the registry.
    services=$(mktemp -d)
    trap 'rm -rf "$services"' EXIT
    cosign signing-config create --out "$services/config.json"
    cosign trusted-root create --out "$services/root.json"
    cosign+=(--key "$COSIGN_KEY" --signing-config "$services/config.json" --trusted-root "$services/root.json")
    ;;
  workflow | no) ;;
  *) echo "push.sh: SIGN is no, key or workflow, not $SIGN" >&2; exit 1 ;;
esac

# By their digests: a tag may be moved between a push and a signature.
image=$(crane push "${crane[@]}" --index "$made/image" "$REGISTRY/lockkeeper:$version")
helm push "$made/lockkeeper-$version.tgz" "oci://$REGISTRY/charts" "${helm[@]}"
chart=$REGISTRY/charts/lockkeeper@$(crane digest "${crane[@]}" "$REGISTRY/charts/lockkeeper:$version")
if [ "$SIGN" != no ]; then
  cosign sign --yes --recursive "${cosign[@]}" "$image"
  cosign attest --yes --type cyclonedx --predicate "$made/lockkeeper-$version.cdx.json" "${cosign[@]}" "$image"
  cosign sign --yes "${cosign[@]}" "$chart"
fi
echo "$image"

#!/usr/bin/env bash
# Pushes and signs what `make release` has built, and makes a release of GitHub of it. For .github/workflows/release.yml; not run elsewhere.
# The first argument is the folder with what the jobs have built.
set -euo pipefail
cd "$(dirname "$0")/.."
. release/names
export REGISTRY
made=$(find "$1/linux" -name SHA256SUMS -printf '%h\n' | head -n 1)
PATH="$(release/tools.sh):$(release/tools.sh cosign):$PATH"

printf '%s' "$GH_TOKEN" | crane auth login "${REGISTRY%%/*}" --username "$ACTOR" --password-stdin
printf '%s' "$GH_TOKEN" | helm registry login "${REGISTRY%%/*}" --username "$ACTOR" --password-stdin
image=$(SIGN=workflow release/push.sh "$made" | tail -n 1)

cp "$1"/mac/*.tar.gz "$made"
release/index.sh "$made"
cosign sign-blob --yes --bundle "$made/SHA256SUMS.sigstore.json" "$made/SHA256SUMS"
gh release create "$GITHUB_REF_NAME" --draft --verify-tag --title "$GITHUB_REF_NAME" \
  --notes "Image $image. See CHANGELOG.md." "$made"/*.tar.gz "$made"/*.tgz "$made"/*.yaml "$made"/*.json "$made"/SHA256SUMS

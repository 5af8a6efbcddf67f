#!/usr/bin/env bash
# Makes the files of a release of programs that are built: release/pack.sh FOLDER. `make release` does it; `make release-test` does it again,
# for a registry of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. release/names
. release/targets.sh

version=$(release/version.sh)
target=${CARGO_TARGET_DIR:-target}
profile=${IMAGE_PROFILE:-release}
local=$target/debug/local-cluster
# The same commit gives the same files.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -c safe.directory="$PWD" log -1 --format=%ct)}
rm -rf "$1"
mkdir -p "$1"
out=$(cd "$1" && pwd)
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT

fail() { echo "release: $*" >&2; exit 1; }

for field in version appVersion; do
  grep -qx "$field: $version" charts/lockkeeper/Chart.yaml || fail "Chart.yaml has another $field than Cargo.toml, which has $version"
done

# Files without a time or an owner of their own.
archive() { # FOLDER FILE...
  local folder=$1
  shift
  tar -C "$folder" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -c "$@" | gzip -n
}

images=() platforms=()
for one in $TARGETS; do
  ! cannot_be_built "$one" >/dev/null || continue
  platform=$(platform "$one")
  plugin=$(plugin "$platform")
  made=$target/$one/${profile/%dev/debug}
  mkdir "$staged/$platform"
  cp "$made/$plugin" LICENSE "$staged/$platform"
  archive "$staged/$platform" "$plugin" LICENSE > "$out/kubectl-lockkeeper-$version-$platform.tar.gz"
  case $platform in
    linux-*)
      architecture=${platform#linux-}
      programs=()
      for program in $IN_IMAGE; do programs+=("$program=$made/$program"); done
      "$local" image --name "$REGISTRY/lockkeeper:$version" --architecture "$architecture" --out "$staged/$architecture.tar" \
        "${programs[@]}" >/dev/null
      images+=("$staged/$architecture.tar") platforms+=("linux/$architecture")
      ;;
  esac
done
[ ${#images[@]} -gt 0 ] || fail "no Linux among the targets, so there is no image: $TARGETS"
"$local" join-images --out "$out/image" "${images[@]}"

# The chart and what is rendered from it name this registry, and the platforms that the image has.
helm=$("$local" build)/helm
cp -r charts/lockkeeper "$staged/lockkeeper"
here=(-e "s#lockkeeper.dev/lockkeeper\([:\" ]\|\$\)#$REGISTRY/lockkeeper\1#" -e "s#https://lockkeeper.dev#$HOME_PAGE#g")
sed -i "${here[@]}" "$staged/lockkeeper/values.yaml" "$staged/lockkeeper/Chart.yaml"
sed -i "s#^\( *\)image: $REGISTRY/lockkeeper:.*#&\n\1platforms: [$(IFS=,; echo "${platforms[*]}")]#" "$staged/lockkeeper/Chart.yaml"
sed -i "s#^helm install .*#helm install lockkeeper oci://$REGISTRY/charts/lockkeeper -n lockkeeper-system --create-namespace#; /^No image is published yet/d" \
  "$staged/lockkeeper/README.md"
"$helm" package "$staged/lockkeeper" --destination "$out" >/dev/null
sed "${here[@]}" config/install.yaml > "$out/install.yaml"

# What the programs are built from.
cyclonedx=$(.ci/cargo-tool.sh cargo-cyclonedx 0.5.9)
# It writes beside each Cargo.toml of the workspace; that of what is shipped is kept.
PATH="$cyclonedx:$PATH" cargo cyclonedx --quiet --format json --spec-version 1.5 --override-filename lockkeeper-sbom --target all
mv lockkeeper-sbom.json "$out/lockkeeper-$version.cdx.json"
find tests -name lockkeeper-sbom.json -delete

release/index.sh "$out"
printf '\n== made in %s\n' "$out"
ls -l "$out"

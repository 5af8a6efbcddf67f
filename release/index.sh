#!/usr/bin/env bash
# Writes the krew manifest and the checksums of the files in a folder: release/index.sh FOLDER
set -euo pipefail
own=$(cd "$(dirname "$0")" && pwd)
. "$own/names"
. "$own/targets.sh"
version=$("$own/version.sh")
cd "$1"
{
  sed -e "s#VERSION#v$version#" -e "s#HOME_PAGE#$HOME_PAGE#" "$own/krew.yaml"
  for file in kubectl-lockkeeper-"$version"-*.tar.gz; do
    platform=${file#kubectl-lockkeeper-"$version"-}
    platform=${platform%.tar.gz}
    program=$(plugin "$platform")
    cat <<END
    - selector:
        matchLabels: {os: ${platform%-*}, arch: ${platform#*-}}
      uri: $DOWNLOADS$version/$file
      sha256: $(sha256sum "$file" | cut -d' ' -f1)
      bin: $program
      files:
        - {from: $program, to: .}
        - {from: LICENSE, to: .}
END
  done
} > lockkeeper-krew.yaml
find . -maxdepth 1 -type f ! -name 'SHA256SUMS*' -printf '%P\n' | sort | xargs sha256sum > SHA256SUMS
sha256sum --quiet --check SHA256SUMS

#!/bin/sh
# Writes the module that one version of the control plane is built from: `module.sh 1.37.2` writes 1.37/go.mod and 1.37/go.sum.
# Kubernetes names its own libraries by paths in its repository. As modules they have the same version as itself, with a 0 for the 1.
set -eu
version=$1
folder="$(dirname "$0")/${version%.*}"
mkdir -p "$folder"
cd "$folder"
theirs="$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"GoMod": "\(.*\)",\{0,1\}$/\1/p')"
{
  printf 'module lockkeeper.dev/testbed/controlplane\n\ngo 1.26.0\n\n'
  grep '^godebug ' "$theirs" && echo
  echo 'tool ('
  for program in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
    printf '\tk8s.io/kubernetes/cmd/%s\n' "$program"
  done
  printf ')\n\nrequire k8s.io/kubernetes v%s // indirect\n\nreplace (\n' "$version"
  sed -n "s|^[[:space:]]*\(k8s.io/[^ ]*\) => ./staging/src/.*|\t\1 => \1 v0.${version#1.}|p" "$theirs"
  echo ')'
} > go.mod
rm -f go.sum
go mod tidy

#!/usr/bin/env bash
# Prints the cluster that `make demo` uses: current, kind or local. demo/choose.sh [ASKED]
set -euo pipefail
case ${1:-} in
  current | kind | local) echo "$1" ;;
  '')
    # A user who names programs for a local cluster wants one. kind needs an engine for containers that runs.
    if [ -z "${KUBEBUILDER_ASSETS:-}" ] && command -v kind >/dev/null && kind get clusters >/dev/null 2>&1; then
      echo kind
    else
      echo local
    fi
    ;;
  *)
    echo "there is no cluster '$1': write CLUSTER=current (the one of kubectl's context), CLUSTER=kind or CLUSTER=local" >&2
    exit 1
    ;;
esac

#!/usr/bin/env bash
# as-root.sh COMMAND...: run a command with root rights and this environment, for the Makefile.
set -euo pipefail
# shellcheck source=scripts/setup/root.sh
source "$(dirname "$0")/setup/root.sh"
if is_root; then exec "$@"; fi
if ! get_rights "The NFS server and the virtual machines need root rights"; then
  printf '%s\n' "cumulus: root rights are needed for the NFS server and the virtual machines, but $refusal. Run this as root, or without machines: CLOUD=local." >&2
  exit 1
fi
# By name: the sudo of newer Ubuntu releases knows no -E.
exec sudo --preserve-env="$(compgen -e | paste -sd ,)" env "PATH=$PATH" "$@"

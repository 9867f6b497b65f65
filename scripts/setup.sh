#!/usr/bin/env bash
# setup.sh run|dev [qemu|openstack|local]...: everything that the checkout needs on this computer. Repeated, it looks and does nothing.
#   run   the virtual environment .venv with what the controller needs
#   dev   the same with what tests and checks need
#   qemu  Debian/Ubuntu packages for real virtual machines and their NFS server
#   openstack  what reaches a cloud's machines
#   local Debian/Ubuntu packages of the apps themselves, to run them on this computer, and what the agent sends with
# Packages are installed with apt-get, through sudo where this is not root. SETUP_PYTHON names the Python to use, SETUP_WAIT_S the
# seconds to wait for another package manager or set-up (600).
# Exit codes: 0 all there, 1 something failed, 2 wrong arguments, 75 another one was at work for too long, 130 interrupted.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup/steps.sh
source scripts/setup/steps.sh
# shellcheck source=scripts/setup/root.sh
source scripts/setup/root.sh
# shellcheck source=scripts/setup/packages.sh
source scripts/setup/packages.sh
# shellcheck source=scripts/setup/python.sh
source scripts/setup/python.sh

profile=${1:-}
case $profile in run | dev) shift ;; *) fail 2 "what is to be set up is run or dev: scripts/setup.sh run|dev [qemu|openstack|local]..." ;; esac
wanted=()
for cloud in "$@"; do
  want_packages_of "$cloud" || fail 2 "CLOUD can be $clouds; '$cloud' is none of them."
done

# Whether everything is there; fills $missing with the packages that are not.
is_done() {
  missing=()
  if has_apt; then mapfile -t missing < <(missing_packages); fi
  [ ${#missing[@]} = 0 ] && python_is_done
}
has_apt() { command -v apt-get > /dev/null && command -v dpkg-query > /dev/null; }

# One set-up at a time in a checkout: the lock (9) is on its folder. It is held as long as anything still writes into .venv.
take_turn() {
  exec 9< .
  wait_until other_setup 75 take_lock || fail 75 "another set-up of this checkout has been at work for too long. When it has ended, repeat the command."
}
take_lock() {
  local code=0
  flock --nonblock --conflict-exit-code 9 9 2> /dev/null || code=$?
  [ "$code" != 9 ] # a file system without locks has no turns
}
other_setup() { printf '%s' "waiting for another set-up that is at work in this checkout"; }

# What needs root rights is known now: the password is asked for before anything long begins.
ask_early() {
  local needed=("${base_packages[@]}" "${missing[@]}")
  rights_taken=
  if [ ${#needed[@]} -gt 0 ]; then
    get_rights "Packages of the system have to be installed" ||
      fail 1 "packages have to be installed, but $refusal. As root: apt-get install --no-install-recommends ${needed[*]}  Then repeat the command."
  elif [ "$profile" = run ] && [[ " ${clouds_wanted} " == *" qemu "* ]] && has_terminal && command -v sudo > /dev/null; then
    get_rights "The NFS server and the virtual machines need root rights" || true
  fi
  if ! is_root; then
    rights_taken=yes
    rights_kept=$SECONDS
  fi
}

clouds_wanted=$*
if is_done; then exit 0; fi
take_turn
if is_done; then exit 0; fi
has_apt || [ ${#wanted[@]} = 0 ] || say "this is neither Debian nor Ubuntu: install by hand what corresponds to ${wanted[*]}"
base_packages=()
python=$(find_python)
if [ -z "$python" ] && has_apt; then base_packages=(python3 python3-venv); fi
ask_early
clear_python
trap interrupted INT TERM HUP
lists_are_fresh=
if [ ${#base_packages[@]} -gt 0 ]; then
  run base
  lists_are_fresh=yes
  python=$(find_python)
fi
[ -n "$python" ] || fail 1 "Python 3.11 or later is needed, with its module venv. Debian 12, Ubuntu 24.04 and newer have it; SETUP_PYTHON can name another one."
work=()
if [ ${#missing[@]} -gt 0 ]; then work+=(packages); fi
python_is_done || work+=(python)
run "${work[@]}"

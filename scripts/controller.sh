#!/usr/bin/env bash
# controller.sh: how a computer with Ubuntu 24.04 or Debian 12 becomes the controller of a site, by hand.
#
# A guideline: read it, and run it step by step, adjusted to your own site. It is not meant to be run blindly, so it does nothing
# without the name of a step: `controller.sh` lists them, `controller.sh STEP` carries one out, as root, in the order of the list.
# infra/ansible/controller.yml does the same by itself, with the same files (scripts/controller/), as often as you like.
set -euo pipefail

# --- adjust these to your site ---
repository=${REPOSITORY:-https://git.example.org/cumulus.git} # where git gets Cumulus from
version=${VERSION:-main}                                      # tag, branch or commit of it
ssh_networks=${SSH_NETWORKS:-192.0.2.0/24}                    # administrators and agents; several: "192.0.2.0/24, 198.51.100.7"
https_networks=${HTTPS_NETWORKS:-127.0.0.0/8}                 # desktop clients; 127.0.0.0/8: none. The API has no passwords
worker_network=${WORKER_NETWORK:-10.61.0.0/24}                # output worker_network of infra/terraform/openstack/site
# The same of IPv6; ::1/128: none.
ssh_networks_6=${SSH_NETWORKS_6:-::1/128}
https_networks_6=${HTTPS_NETWORKS_6:-::1/128}
worker_network_6=${WORKER_NETWORK_6:-::1/128}
storage_device=${STORAGE_DEVICE:-/dev/disk/by-id/virtio-…}    # output storage_device of the same
terraform_version=1.11.4
terraform_sha256=1ce994251c00281d6845f0f268637ba50c0005657eb3cf096b92f753b42ef4dc # of the archive for amd64
terraform_url=https://releases.hashicorp.com/terraform/$terraform_version/terraform_${terraform_version}_linux_amd64.zip

# What every controller needs, and what TLS needs.
packages=(ca-certificates curl git nfs-common nfs-kernel-server nftables openssh-client openssh-server python3 python3-venv rsync
  systemd-timesyncd unzip xfsprogs)
proxy_packages=(nginx-light openssl)

files=/opt/cumulus/scripts/controller

step_packages() { ## Debian's or Ubuntu's packages
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends "${packages[@]}" "${proxy_packages[@]}"
}

step_user() { ## The user that the service and the agents' uploads run as, and the folders
  # Agents log in as this user, with keys that run one command only; there is no password.
  id cumulus >/dev/null 2>&1 || useradd --system --create-home --home-dir /var/lib/cumulus --shell /bin/sh cumulus
  install -d -m 755 /etc/cumulus /var/cache/cumulus
  install -d -m 750 -o cumulus -g cumulus /var/lib/cumulus
  install -d -m 700 -o cumulus -g cumulus /var/lib/cumulus/.ssh /var/backups/cumulus
}

step_terraform() { ## Terraform, by its checksum (OpenTofu does as well: put `tofu` on the PATH)
  local archive=/var/cache/cumulus/terraform_${terraform_version}_linux_amd64.zip
  curl --fail --location --output "$archive" "$terraform_url"
  echo "$terraform_sha256  $archive" | sha256sum --check
  unzip -o "$archive" terraform -d "/opt/terraform-$terraform_version"
  ln -sfn "/opt/terraform-$terraform_version/terraform" /usr/local/bin/terraform
}

step_checkout() { ## Cumulus and its Python packages; for an update, again with another VERSION, then step service
  [ -d /opt/cumulus/.git ] || git clone "$repository" /opt/cumulus
  git -C /opt/cumulus fetch --tags origin
  git -C /opt/cumulus checkout "$version"
  # The packages of requirements.lock, by their hashes, into /opt/cumulus/.venv.
  /opt/cumulus/scripts/setup.sh run
  ln -sfn $files/cumulus-as-service /usr/local/bin/cumulus
}

step_storage() { ## The storage's volume: a file system if nothing is on it, mounted at /srv/cumulus
  [ -b "$storage_device" ] || {
    echo "there is no $storage_device: is the volume attached? ls -l /dev/disk/by-id" >&2
    return 1
  }
  # blkid says 2 where it finds nothing at all. Anything else that is on the volume stays.
  local found=0
  blkid --probe "$storage_device" || found=$?
  if [ "$found" = 2 ]; then mkfs.xfs -L cumulus "$storage_device"; fi
  cat > /etc/systemd/system/srv-cumulus.mount <<END
[Unit]
Description=The storage: data and jobs
[Mount]
Where=/srv/cumulus
What=$storage_device
Options=nosuid,nodev,noatime
[Install]
WantedBy=multi-user.target
END
  systemctl daemon-reload
  systemctl enable --now srv-cumulus.mount
  install -d -m 750 -o cumulus -g cumulus /srv/cumulus/storage /srv/cumulus/storage/{data,jobs,converted}
}

step_export() { ## NFS 4.2 for the workers: /data read-only, /jobs
  install -d /etc/nfs.conf.d /etc/exports.d /etc/systemd/system/nfs-server.service.d /srv/nfs
  install -m 644 $files/srv-nfs-data.mount $files/srv-nfs-jobs.mount /etc/systemd/system/
  install -m 644 $files/nfs.conf /etc/nfs.conf.d/cumulus.conf
  install -m 644 $files/nfs-mounts.conf /etc/systemd/system/nfs-server.service.d/cumulus.conf
  # Whoever a program on a worker claims to be, root too, is the user cumulus on this side (all_squash).
  local squash
  squash="sync,no_subtree_check,sec=sys,all_squash,anonuid=$(id -u cumulus),anongid=$(id -g cumulus)"
  cat > /etc/exports.d/cumulus.exports <<END
/srv/nfs $worker_network(ro,fsid=0,$squash)
/srv/nfs/data $worker_network(ro,fsid=1,$squash)
/srv/nfs/jobs $worker_network(rw,fsid=2,$squash)
END
  # Workers of IPv6 see the same.
  [ "$worker_network_6" = ::1/128 ] || sed "p; s#$worker_network#$worker_network_6#" -i /etc/exports.d/cumulus.exports
  systemctl daemon-reload
  systemctl enable --now srv-nfs-data.mount srv-nfs-jobs.mount
  systemctl enable nfs-server.service
  systemctl restart nfs-server.service
  exportfs -v
}

step_firewall() { ## Close what is not open. A wrong SSH_NETWORKS locks you out: keep a second session, or the cloud's console, open
  cat > /etc/cumulus/networks.nft <<END
define ssh_networks = { $ssh_networks }
define https_networks = { $https_networks }
define worker_network = $worker_network
define ssh_networks_6 = { $ssh_networks_6 }
define https_networks_6 = { $https_networks_6 }
define worker_network_6 = $worker_network_6
END
  install -m 755 $files/nftables.conf /etc/nftables.conf
  nft --check --file /etc/nftables.conf
  systemctl enable nftables.service
  systemctl restart nftables.service
}

step_settings() { ## Settings and credentials; edit the files that it names afterwards
  [ -e /etc/cumulus/cumulus.toml ] || install -m 644 /opt/cumulus/examples/scigne/cumulus.toml /etc/cumulus/
  [ -e /etc/cumulus/flavors.tsv ] || install -m 644 /opt/cumulus/examples/scigne/flavors.tsv /etc/cumulus/
  # Application credentials, for the service alone.
  [ -e /etc/cumulus/clouds.yaml ] || install -m 600 -o cumulus -g cumulus /opt/cumulus/examples/scigne/clouds.yaml.example /etc/cumulus/clouds.yaml
  # Variables for everything that the service starts, such as https_proxy; no secrets.
  [ -e /etc/cumulus/terraform.rc ] || echo 'disable_checkpoint = true' > /etc/cumulus/terraform.rc
  [ -e /etc/cumulus/environment ] || echo 'TF_CLI_CONFIG_FILE=/etc/cumulus/terraform.rc' > /etc/cumulus/environment
  [ -e /etc/cumulus/backup.env ] || echo 'KEEP=14' > /etc/cumulus/backup.env
  echo "now edit /etc/cumulus/cumulus.toml, flavors.tsv and clouds.yaml there"
}

step_service() { ## The service, its daily backup, and how much of the log is kept
  install -m 644 $files/cumulus.service $files/cumulus-backup.service $files/cumulus-backup.timer /etc/systemd/system/
  install -d /etc/systemd/journald.conf.d
  install -m 644 $files/journald.conf /etc/systemd/journald.conf.d/cumulus.conf
  systemctl restart systemd-journald.service
  systemctl daemon-reload
  systemctl enable --now systemd-timesyncd.service cumulus-backup.timer
  systemctl enable cumulus.service
  # Before the first snapshot it ends with a line that says so, and is tried again every half minute.
  systemctl restart --no-block cumulus.service
}

step_proxy() { ## TLS in front of the API; put a certificate of your own into /etc/cumulus/tls first, or it signs one itself
  install -d -m 700 /etc/cumulus/tls
  [ -e /etc/cumulus/tls/certificate.pem ] || openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=$(hostname)" \
    -keyout /etc/cumulus/tls/key.pem -out /etc/cumulus/tls/certificate.pem
  rm -f /etc/nginx/sites-enabled/default
  install -m 644 $files/nginx.conf /etc/nginx/conf.d/cumulus.conf
  nginx -t
  systemctl enable nginx.service
  systemctl reload-or-restart nginx.service
}

step_look() { ## What is still missing, in the order in which to mend it
  cumulus doctor
  systemctl --no-pager status cumulus.service
}

if [ $# = 0 ]; then
  echo "usage: controller.sh STEP; read this file first. The steps, in their order:"
  sed -n 's/^step_\([a-z]*\)() { ## /  \1	/p' "$0"
elif [ $# = 1 ] && declare -F "step_$1" >/dev/null; then
  [ "$(id -u)" = 0 ] || { echo "controller.sh: as root, please" >&2; exit 1; }
  "step_$1"
else
  echo "controller.sh: there is no step '$*'" >&2
  exit 2
fi

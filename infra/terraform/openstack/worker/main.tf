# One worker: a server on a volume of its own, made from the template's snapshot.
#
# Volume and port are resources of their own, though Nova would make both by itself: its own carry no name and no metadata, so that
# nobody could prove whose they are, and Cinder's and Neutron's refusals would be told as "unexpected state 'ERROR'" only.

data "openstack_blockstorage_snapshot_v3" "template" {
  name        = var.snapshot
  status      = "available"
  most_recent = true
}

data "openstack_networking_network_v2" "workers" {
  name = var.network
}

data "openstack_networking_secgroup_v2" "worker" {
  name = var.security_group
}

data "openstack_compute_servergroup_v2" "workers" {
  count = var.server_group == "" ? 0 : 1
  name  = var.server_group
}

locals {
  tags = { cumulus_server = var.server_id, cumulus_worker = var.worker }

  # On the config drive from the first moment: the machine starts its job when it has booted, and need not be asked.
  orders = var.job == "" ? {} : { cumulus_job = var.job, cumulus_storage = var.storage }

  # The host key is there before sshd answers for the first time, so that the controller knows the machine at its first word. A
  # machine whose template has no timer for its lease gets one that nobody can renew.
  host_key = [
    { path = "/etc/ssh/ssh_host_ed25519_key", permissions = "0600", content = "${trimspace(var.host_key_private)}\n" },
    { path = "/etc/ssh/ssh_host_ed25519_key.pub", permissions = "0644", content = "${var.host_key}\n" },
  ]
  user_data = {
    disable_root        = var.user != "root"
    ssh_authorized_keys = [var.ssh_public_key]
    ssh_deletekeys      = var.host_key == ""
    ssh_genkeytypes     = var.host_key == "" ? ["ed25519"] : []
    write_files = concat(
      var.host_key == "" ? [] : local.host_key,
      [{ path = "/run/cumulus-lease", permissions = "0644", content = "${var.lease_s}\n" }],
    )
    bootcmd = [join(" || ", [
      "systemctl start --no-block cumulus-lease.timer",
      "systemd-run --on-boot=${var.lease_s} --unit=cumulus-first-lease systemctl poweroff --force --force",
    ])]
  }
}

resource "openstack_blockstorage_volume_v3" "worker" {
  name              = var.worker
  description       = "Disk of a Cumulus worker"
  size              = var.disk_gb
  snapshot_id       = data.openstack_blockstorage_snapshot_v3.template.id
  volume_type       = var.volume_type == "" ? null : var.volume_type
  availability_zone = var.availability_zone == "" ? null : var.availability_zone
  metadata          = local.tags

  timeouts {
    create = "15m"
    delete = "10m"
  }

  lifecycle {
    # A worker that runs stays what it is, whatever the template has become meanwhile.
    ignore_changes = [snapshot_id, volume_type, availability_zone, size]
  }
}

resource "openstack_networking_port_v2" "worker" {
  # A port has no metadata, and its tags come after it: name and description are there with it.
  name               = var.worker
  description        = "cumulus_server=${var.server_id}"
  network_id         = data.openstack_networking_network_v2.workers.id
  security_group_ids = [data.openstack_networking_secgroup_v2.worker.id]
  admin_state_up     = true

  timeouts {
    create = "5m"
    delete = "5m"
  }

  lifecycle {
    ignore_changes = [network_id]
  }
}

resource "openstack_compute_instance_v2" "worker" {
  name              = var.worker
  flavor_name       = var.flavor
  key_pair          = var.key_pair == "" ? null : var.key_pair
  availability_zone = var.availability_zone == "" ? null : var.availability_zone
  metadata          = merge(local.tags, local.orders, { cumulus_host_key = var.host_key })
  tags              = [for name, value in local.tags : "${name}=${value}"]
  config_drive      = true
  user_data         = "#cloud-config\n${jsonencode(local.user_data)}\n"
  force_delete      = true

  block_device {
    uuid                  = openstack_blockstorage_volume_v3.worker.id
    source_type           = "volume"
    destination_type      = "volume"
    boot_index            = 0
    delete_on_termination = true
  }

  network {
    port = openstack_networking_port_v2.worker.id
  }

  dynamic "scheduler_hints" {
    for_each = data.openstack_compute_servergroup_v2.workers
    content {
      group = scheduler_hints.value.id
    }
  }

  timeouts {
    create = "15m"
    update = "10m"
    delete = "10m"
  }

  lifecycle {
    # The host key is what the machine was made with: a repeated apply brings another one, and must not make another machine.
    ignore_changes = [user_data, metadata["cumulus_host_key"], key_pair, availability_zone, scheduler_hints]
  }
}

# One worker: a server on a volume of its own, made from the template's snapshot; or on the flavor's own disk, made from an image.
# What is there already is told by id: whoever applies this looks names up, and says better what is missing than Terraform does.
#
# Volume and port are resources of their own, though Nova would make both by itself: its own carry no name and no metadata, so that
# nobody could prove whose they are, and Cinder's and Neutron's refusals would be told as "unexpected state 'ERROR'" only.

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
  count             = var.boot == "volume" ? 1 : 0
  name              = var.worker
  description       = "Disk of a Cumulus worker"
  size              = var.disk_gb
  snapshot_id       = var.snapshot_id
  volume_type       = var.volume_type == "" ? null : var.volume_type
  availability_zone = var.volume_availability_zone == "" ? null : var.volume_availability_zone
  metadata          = local.tags

  timeouts {
    create = "${var.limits.volume_create_s}s"
    delete = "${var.limits.volume_delete_s}s"
  }

  lifecycle {
    # A worker that runs stays what it is, whatever the template has become meanwhile.
    ignore_changes = [snapshot_id, volume_type, availability_zone, size]

    precondition {
      condition     = var.snapshot_id != ""
      error_message = "snapshot_id must be the id of a volume's snapshot."
    }
  }
}

resource "openstack_networking_port_v2" "worker" {
  # A port has no metadata, and its tags come after it: name and description are there with it.
  name               = var.worker
  description        = "cumulus_server=${var.server_id}"
  network_id         = var.network_id
  security_group_ids = [var.security_group_id]
  admin_state_up     = true

  dynamic "fixed_ip" {
    for_each = var.subnet_id == "" ? [] : [var.subnet_id]
    content {
      subnet_id = fixed_ip.value
    }
  }

  timeouts {
    create = "${var.limits.port_create_s}s"
    delete = "${var.limits.port_delete_s}s"
  }

  lifecycle {
    ignore_changes = [network_id, fixed_ip, security_group_ids]

    precondition {
      condition     = var.network_id != "" && var.security_group_id != ""
      error_message = "network_id and security_group_id must be ids."
    }
  }
}

resource "openstack_compute_instance_v2" "worker" {
  name              = var.worker
  flavor_name       = var.flavor
  image_id          = var.boot == "image" ? var.snapshot_id : null
  key_pair          = var.key_pair == "" ? null : var.key_pair
  availability_zone = var.availability_zone == "" ? null : var.availability_zone
  metadata          = merge(local.tags, local.orders, { cumulus_host_key = var.host_key })
  tags              = [for name, value in local.tags : "${name}=${value}"]
  config_drive      = true
  user_data         = "#cloud-config\n${jsonencode(local.user_data)}\n"
  force_delete      = true

  dynamic "block_device" {
    for_each = openstack_blockstorage_volume_v3.worker[*].id
    content {
      uuid                  = block_device.value
      source_type           = "volume"
      destination_type      = "volume"
      boot_index            = 0
      delete_on_termination = true
    }
  }

  network {
    port = openstack_networking_port_v2.worker.id
  }

  dynamic "scheduler_hints" {
    for_each = var.server_group_id == "" ? [] : [var.server_group_id]
    content {
      group = scheduler_hints.value
    }
  }

  timeouts {
    create = "${var.limits.server_create_s}s"
    update = "${var.limits.server_delete_s}s"
    delete = "${var.limits.server_delete_s}s"
  }

  lifecycle {
    # The host key is what the machine was made with: a repeated apply brings another one, and must not make another machine. A
    # server whose making was not heard of to its end is imported: what Nova does not tell of it again is no difference.
    ignore_changes = [
      user_data, metadata["cumulus_host_key"], key_pair, availability_zone, scheduler_hints, block_device, network, config_drive,
    ]
  }
}

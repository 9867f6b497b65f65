# The template: a volume that stays, and a server on it while somebody works on it. Nothing of the server is on another disk, so it
# may be made anew at any time; without it the volume can be copied. Where boot is image there is no volume: the server itself stays,
# switched off while nobody works on it, and Nova makes images of its disk.

locals {
  on_image   = var.boot == "image"
  volume_id  = var.volume_id != "" ? var.volume_id : one(openstack_blockstorage_volume_v3.template[*].id)
  has_server = var.running || local.on_image
  tags       = { cumulus_server = var.server_id, cumulus_worker = var.worker, cumulus_template = var.name }

  # As on a worker: the host key is there before anybody logs in. No lease ends before the administrator is done.
  host_key = [
    { path = "/etc/ssh/ssh_host_ed25519_key", permissions = "0600", content = var.host_key_private },
    { path = "/etc/ssh/ssh_host_ed25519_key.pub", permissions = "0644", content = "${var.host_key}\n" },
  ]
  user_data = {
    disable_root        = var.user != "root"
    ssh_authorized_keys = [var.ssh_public_key]
    ssh_deletekeys      = var.host_key == ""
    ssh_genkeytypes     = var.host_key == "" ? ["ed25519"] : []
    write_files = concat(
      var.host_key == "" ? [] : local.host_key,
      [{ path = "/run/cumulus-lease", permissions = "0644", content = "4000000000\n" }],
    )
  }
}

resource "openstack_blockstorage_volume_v3" "template" {
  count             = !local.on_image && var.volume_id == "" ? 1 : 0
  name              = "${var.name}-${trimprefix(var.worker, "template-")}"
  description       = "Template of Cumulus: workers are copies of its snapshots"
  size              = var.disk_gb
  image_id          = var.image_id == "" ? null : var.image_id
  volume_type       = var.volume_type == "" ? null : var.volume_type
  availability_zone = var.volume_availability_zone == "" ? null : var.volume_availability_zone
  metadata          = local.tags

  timeouts {
    create = "${var.limits.template_create_s}s"
    delete = "${var.limits.volume_delete_s}s"
  }

  lifecycle {
    # What is installed on it is nowhere else: no destroy takes it. `cumulus snapshot prune` removes those of former templates.
    prevent_destroy = true
    # Cumulus writes into the metadata how far the template is. The rest says what the volume was made from, once.
    ignore_changes = [metadata, image_id, size, volume_type, availability_zone]

    # Asked of the volume, and not of the variable: the image may be gone by the time that the volume is there.
    postcondition {
      condition     = self.image_id != null
      error_message = "image_id must be the id of an image, or volume_id the id of a volume that there is."
    }
  }
}

# A port of its own, since only a port can be told its subnet. Its description says whose it is: a port has no metadata.
resource "openstack_networking_port_v2" "template" {
  count              = local.has_server ? 1 : 0
  name               = var.worker
  description        = "cumulus_template=${var.name}"
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
    create = "5m"
    delete = "5m"
  }

  lifecycle {
    ignore_changes = [network_id, fixed_ip, security_group_ids]

    precondition {
      condition     = var.network_id != "" && var.security_group_id != ""
      error_message = "network_id and security_group_id must be ids."
    }
  }
}

resource "openstack_compute_instance_v2" "template" {
  count               = local.has_server ? 1 : 0
  name                = var.name
  flavor_name         = var.flavor
  key_pair            = var.key_pair == "" ? null : var.key_pair
  availability_zone   = var.availability_zone == "" ? null : var.availability_zone
  image_id            = local.on_image && var.image_id != "" ? var.image_id : null
  metadata            = merge(local.tags, { cumulus_host_key = var.host_key })
  tags                = ["cumulus_server=${var.server_id}", "cumulus_worker=${var.worker}"]
  config_drive        = true
  user_data           = "#cloud-config\n${jsonencode(local.user_data)}\n"
  power_state         = var.running ? "active" : "shutoff"
  stop_before_destroy = true
  force_delete        = true

  dynamic "block_device" {
    for_each = local.on_image ? [] : [local.volume_id]
    content {
      uuid                  = block_device.value
      source_type           = "volume"
      destination_type      = "volume"
      boot_index            = 0
      delete_on_termination = false
    }
  }

  network {
    port = openstack_networking_port_v2.template[0].id
  }

  timeouts {
    create = "${var.limits.server_create_s}s"
    update = "${var.limits.server_delete_s}s"
    delete = "${var.limits.server_delete_s}s"
  }

  lifecycle {
    # The host key is what the machine was made with: a repeated apply brings another one, and must not make another machine.
    # Nor must a newer image: the disk that is there is the template. Cumulus writes into the metadata how far it is.
    ignore_changes = [user_data, metadata, key_pair, availability_zone, flavor_name, image_id]

    precondition {
      condition     = var.snapshot == "template"
      error_message = "snapshot must be \"template\": a snapshot's own disk is never written to."
    }
  }
}

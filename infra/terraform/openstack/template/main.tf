# The template: a volume that stays, and a server on it while somebody works on it. Nothing of the server is on another disk, so it
# may be made anew at any time; without it the volume can be copied.

data "openstack_images_image_v2" "template" {
  count       = var.volume_id == "" && var.image != "" ? 1 : 0
  name        = var.image
  most_recent = true
}

locals {
  volume_id = var.volume_id != "" ? var.volume_id : openstack_blockstorage_volume_v3.template[0].id
  tags      = { cumulus_server = var.server_id, cumulus_worker = var.worker, cumulus_template = var.name }

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
  count             = var.volume_id == "" ? 1 : 0
  name              = "${var.name}-${trimprefix(var.worker, "template-")}"
  description       = "Template of Cumulus: workers are copies of its snapshots"
  size              = var.disk_gb
  image_id          = one(data.openstack_images_image_v2.template[*].id)
  volume_type       = var.volume_type == "" ? null : var.volume_type
  availability_zone = var.availability_zone == "" ? null : var.availability_zone
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
      error_message = "image must be the name of an image, or volume_id the id of a volume that there is."
    }
  }
}

resource "openstack_compute_instance_v2" "template" {
  count               = var.running ? 1 : 0
  name                = var.name
  flavor_name         = var.flavor
  key_pair            = var.key_pair == "" ? null : var.key_pair
  availability_zone   = var.availability_zone == "" ? null : var.availability_zone
  security_groups     = [var.security_group]
  metadata            = merge(local.tags, { cumulus_host_key = var.host_key })
  tags                = ["cumulus_server=${var.server_id}", "cumulus_worker=${var.worker}"]
  config_drive        = true
  user_data           = "#cloud-config\n${jsonencode(local.user_data)}\n"
  power_state         = "active"
  stop_before_destroy = true
  force_delete        = true

  block_device {
    uuid                  = local.volume_id
    source_type           = "volume"
    destination_type      = "volume"
    boot_index            = 0
    delete_on_termination = false
  }

  network {
    name = var.network
  }

  timeouts {
    create = "${var.limits.server_create_s}s"
    update = "${var.limits.server_delete_s}s"
    delete = "${var.limits.server_delete_s}s"
  }

  lifecycle {
    # The host key is what the machine was made with: a repeated apply brings another one, and must not make another machine.
    ignore_changes = [user_data, metadata["cumulus_host_key"], key_pair, availability_zone, flavor_name]

    precondition {
      condition     = var.snapshot == "template"
      error_message = "snapshot must be \"template\": a snapshot's own disk is never written to."
    }
  }
}

# What a site needs once, before its first job: a network, who may speak with whom in it, the volume of the storage, and the
# controller. Each may be there already; then only what is missing is made, and what was there is left as it is.

# --- the network ---

data "openstack_networking_network_v2" "external" {
  count    = var.external_network == "" ? 0 : 1
  name     = var.external_network
  external = true
}

data "openstack_networking_network_v2" "existing" {
  count      = var.existing_network == "" ? 0 : 1
  name       = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_network)) ? null : var.existing_network
  network_id = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_network)) ? var.existing_network : null
}

data "openstack_networking_subnet_v2" "existing" {
  count      = var.existing_subnet == "" ? 0 : 1
  name       = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_subnet)) ? null : var.existing_subnet
  subnet_id  = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_subnet)) ? var.existing_subnet : null
  network_id = local.network_id
}

data "openstack_networking_router_v2" "existing" {
  count     = var.existing_router == "" ? 0 : 1
  name      = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_router)) ? null : var.existing_router
  router_id = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_router)) ? var.existing_router : null
}

locals {
  tags = ["cumulus_site=${var.name}"]

  network_id = one(concat(data.openstack_networking_network_v2.existing[*].id, openstack_networking_network_v2.site[*].id))
  subnet_id  = one(concat(data.openstack_networking_subnet_v2.existing[*].id, openstack_networking_subnet_v2.site[*].id))
  cidr       = one(concat(data.openstack_networking_subnet_v2.existing[*].cidr, openstack_networking_subnet_v2.site[*].cidr))
  router_ids = concat(data.openstack_networking_router_v2.existing[*].id, openstack_networking_router_v2.site[*].id)

  makes_router = var.external_network != "" && var.existing_router == ""
  # A router and a subnet that were both there are joined already.
  joins_router = local.makes_router || (var.existing_router != "" && var.existing_subnet == "")
}

resource "openstack_networking_network_v2" "site" {
  count          = var.existing_network == "" ? 1 : 0
  name           = var.name
  description    = "Cumulus: controller, template and workers"
  admin_state_up = true
  tags           = local.tags

  timeouts {
    create = "5m"
    delete = "5m"
  }
}

resource "openstack_networking_subnet_v2" "site" {
  count       = var.existing_subnet == "" ? 1 : 0
  name        = var.name
  description = "Cumulus: controller, template and workers"
  network_id  = local.network_id
  cidr        = var.subnet_cidr
  ip_version  = strcontains(var.subnet_cidr, ":") ? 6 : 4
  # By the router's own word, which every image understands.
  ipv6_address_mode = strcontains(var.subnet_cidr, ":") ? "slaac" : null
  ipv6_ra_mode      = strcontains(var.subnet_cidr, ":") ? "slaac" : null
  dns_nameservers   = var.dns_nameservers
  tags              = local.tags

  timeouts {
    create = "5m"
    delete = "5m"
  }

  lifecycle {
    precondition {
      condition     = var.existing_network == "" || var.external_network != "" || var.existing_router != ""
      error_message = "Name the existing_subnet of existing_network, or say by external_network or existing_router how a new one gets out."
    }
  }
}

resource "openstack_networking_router_v2" "site" {
  count               = local.makes_router ? 1 : 0
  name                = var.name
  description         = "Cumulus: the way out"
  admin_state_up      = true
  external_network_id = data.openstack_networking_network_v2.external[0].id
  tags                = local.tags

  timeouts {
    create = "5m"
    delete = "5m"
  }
}

resource "openstack_networking_router_interface_v2" "site" {
  count     = local.joins_router ? 1 : 0
  router_id = one(local.router_ids)
  subnet_id = local.subnet_id

  timeouts {
    create = "5m"
    delete = "5m"
  }
}

# --- who may speak with whom ---

data "openstack_networking_secgroup_v2" "controller" {
  count       = var.existing_controller_security_group == "" ? 0 : 1
  name        = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_controller_security_group)) ? null : var.existing_controller_security_group
  secgroup_id = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_controller_security_group)) ? var.existing_controller_security_group : null
}

data "openstack_networking_secgroup_v2" "worker" {
  count       = var.existing_worker_security_group == "" ? 0 : 1
  name        = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_worker_security_group)) ? null : var.existing_worker_security_group
  secgroup_id = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.existing_worker_security_group)) ? var.existing_worker_security_group : null
}

locals {
  controller_group_id = one(concat(
    data.openstack_networking_secgroup_v2.controller[*].id, openstack_networking_secgroup_v2.controller[*].id,
  ))
  worker_group_id = one(concat(
    data.openstack_networking_secgroup_v2.worker[*].id, openstack_networking_secgroup_v2.worker[*].id,
  ))
  makes_controller_group = var.existing_controller_security_group == ""
  makes_worker_group     = var.existing_worker_security_group == ""
}

resource "openstack_networking_secgroup_v2" "controller" {
  count       = local.makes_controller_group ? 1 : 0
  name        = "${var.name}-controller"
  description = "Cumulus controller: ssh and https from given networks, NFS from workers"
  tags        = local.tags

  timeouts {
    delete = "5m"
  }
}

resource "openstack_networking_secgroup_rule_v2" "controller_ssh" {
  for_each          = local.makes_controller_group ? toset(var.ssh_networks) : toset([])
  description       = "ssh: administrators and agents"
  direction         = "ingress"
  ethertype         = strcontains(each.value, ":") ? "IPv6" : "IPv4"
  protocol          = "tcp"
  port_range_min    = 22
  port_range_max    = 22
  remote_ip_prefix  = each.value
  security_group_id = local.controller_group_id

  timeouts {
    delete = "5m"
  }
}

resource "openstack_networking_secgroup_rule_v2" "controller_https" {
  for_each          = local.makes_controller_group ? toset(var.https_networks) : toset([])
  description       = "https: the API behind its proxy"
  direction         = "ingress"
  ethertype         = strcontains(each.value, ":") ? "IPv6" : "IPv4"
  protocol          = "tcp"
  port_range_min    = 443
  port_range_max    = 443
  remote_ip_prefix  = each.value
  security_group_id = local.controller_group_id

  timeouts {
    delete = "5m"
  }
}

resource "openstack_networking_secgroup_rule_v2" "controller_nfs" {
  count             = local.makes_controller_group ? 1 : 0
  description       = "NFS: workers and template, nobody else"
  direction         = "ingress"
  ethertype         = "IPv4"
  protocol          = "tcp"
  port_range_min    = 2049
  port_range_max    = 2049
  remote_group_id   = local.worker_group_id
  security_group_id = local.controller_group_id

  timeouts {
    delete = "5m"
  }
}

# A rule for a group is of one kind of addresses. Both kinds are let in: a machine may have addresses of both.
resource "openstack_networking_secgroup_rule_v2" "controller_nfs_ipv6" {
  count             = local.makes_controller_group ? 1 : 0
  description       = "NFS over IPv6: workers and template, nobody else"
  direction         = "ingress"
  ethertype         = "IPv6"
  protocol          = "tcp"
  port_range_min    = 2049
  port_range_max    = 2049
  remote_group_id   = local.worker_group_id
  security_group_id = local.controller_group_id

  timeouts {
    delete = "5m"
  }
}

# Nothing from other workers: a rule for the group itself is deliberately not here.
resource "openstack_networking_secgroup_v2" "worker" {
  count       = local.makes_worker_group ? 1 : 0
  name        = "${var.name}-worker"
  description = "Cumulus workers and template: ssh from the controller only"
  tags        = local.tags

  timeouts {
    delete = "5m"
  }
}

resource "openstack_networking_secgroup_rule_v2" "worker_ssh" {
  count             = local.makes_worker_group ? 1 : 0
  description       = "ssh: the controller"
  direction         = "ingress"
  ethertype         = "IPv4"
  protocol          = "tcp"
  port_range_min    = 22
  port_range_max    = 22
  remote_group_id   = local.controller_group_id
  security_group_id = local.worker_group_id

  timeouts {
    delete = "5m"
  }
}

resource "openstack_networking_secgroup_rule_v2" "worker_ssh_ipv6" {
  count             = local.makes_worker_group ? 1 : 0
  description       = "ssh over IPv6: the controller"
  direction         = "ingress"
  ethertype         = "IPv6"
  protocol          = "tcp"
  port_range_min    = 22
  port_range_max    = 22
  remote_group_id   = local.controller_group_id
  security_group_id = local.worker_group_id

  timeouts {
    delete = "5m"
  }
}

# --- the storage ---

# With the laboratory's data on it: no plan that would destroy or replace it is carried out. To let go of it, see README.md.
resource "openstack_blockstorage_volume_v3" "storage" {
  count                = var.existing_volume == "" ? 1 : 0
  name                 = "${var.name}-storage"
  description          = "Cumulus: data and jobs"
  size                 = var.storage_gb
  volume_type          = var.volume_type == "" ? null : var.volume_type
  availability_zone    = var.availability_zone == "" ? null : var.availability_zone
  enable_online_resize = true
  metadata             = { cumulus_site = var.name, cumulus_use = "storage" }

  timeouts {
    create = "${var.limits.volume_create_s}s"
    delete = "${var.limits.volume_delete_s}s"
  }

  lifecycle {
    prevent_destroy = true
    ignore_changes  = [volume_type, availability_zone]
  }
}

locals {
  storage_volume_id = var.existing_volume == "" ? openstack_blockstorage_volume_v3.storage[0].id : var.existing_volume
}

resource "openstack_compute_volume_attach_v2" "storage" {
  instance_id = local.controller_id
  volume_id   = local.storage_volume_id

  timeouts {
    create = "${var.limits.volume_create_s}s"
    delete = "${var.limits.volume_delete_s}s"
  }
}

# --- the controller ---

resource "openstack_compute_keypair_v2" "admin" {
  count      = var.existing_key_pair == "" && var.existing_controller == "" ? 1 : 0
  name       = "${var.name}-admin"
  public_key = var.ssh_public_key

  lifecycle {
    # Without one Nova would make a pair, and its private half would stand in the state.
    precondition {
      condition     = var.ssh_public_key != ""
      error_message = "Give ssh_public_key, or name the existing_key_pair."
    }
  }
}

data "openstack_images_image_v2" "controller" {
  count       = var.existing_controller == "" && !local.image_is_id ? 1 : 0
  name        = var.image
  most_recent = true
}

data "openstack_networking_port_v2" "existing" {
  count      = var.existing_controller == "" ? 0 : 1
  device_id  = var.existing_controller
  network_id = local.network_id

  lifecycle {
    precondition {
      condition     = var.existing_network != ""
      error_message = "Name the existing_network that existing_controller is in."
    }
  }
}

locals {
  image_is_id = can(regex("^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", var.image))

  key_pair      = var.existing_key_pair != "" ? var.existing_key_pair : one(openstack_compute_keypair_v2.admin[*].name)
  controller_id = var.existing_controller != "" ? var.existing_controller : openstack_compute_instance_v2.controller[0].id
  port_id       = one(concat(data.openstack_networking_port_v2.existing[*].id, openstack_networking_port_v2.controller[*].id))
  fixed_ips = one(concat(
    data.openstack_networking_port_v2.existing[*].all_fixed_ips, openstack_networking_port_v2.controller[*].all_fixed_ips,
  ))
}

# A port of its own: the controller keeps its address, which workers have in their mounts, when its server is made anew.
resource "openstack_networking_port_v2" "controller" {
  count              = var.existing_controller == "" ? 1 : 0
  name               = "${var.name}-controller"
  description        = "Cumulus controller"
  network_id         = local.network_id
  security_group_ids = [local.controller_group_id]
  admin_state_up     = true
  tags               = local.tags

  fixed_ip {
    subnet_id = local.subnet_id
  }

  timeouts {
    create = "5m"
    delete = "5m"
  }
}

# A server that was there keeps the groups it has.
resource "openstack_networking_port_secgroup_associate_v2" "existing" {
  count              = var.existing_controller == "" ? 0 : 1
  port_id            = local.port_id
  security_group_ids = [local.controller_group_id]
  enforce            = false
}

resource "openstack_compute_instance_v2" "controller" {
  count               = var.existing_controller == "" ? 1 : 0
  name                = "${var.name}-controller"
  flavor_name         = var.flavor
  key_pair            = local.key_pair
  availability_zone   = var.availability_zone == "" ? null : var.availability_zone
  metadata            = { cumulus_site = var.name, cumulus_use = "controller" }
  tags                = local.tags
  config_drive        = true
  stop_before_destroy = true

  # The database lies on this disk: it stays when the server goes.
  block_device {
    uuid                  = local.image_is_id ? var.image : data.openstack_images_image_v2.controller[0].id
    source_type           = "image"
    destination_type      = "volume"
    volume_size           = var.controller_disk_gb
    volume_type           = var.volume_type == "" ? null : var.volume_type
    boot_index            = 0
    delete_on_termination = false
  }

  network {
    port = local.port_id
  }

  timeouts {
    create = "${var.limits.server_create_s}s"
    update = "${var.limits.server_create_s}s"
    delete = "${var.limits.server_delete_s}s"
  }

  lifecycle {
    # A newer image, or another key, is no reason to make another controller.
    ignore_changes = [block_device, key_pair, availability_zone]

    precondition {
      condition     = var.image != "" && var.flavor != ""
      error_message = "Give image and flavor of the controller, or name the existing_controller."
    }
  }
}

resource "openstack_networking_floatingip_v2" "controller" {
  count       = var.external_network != "" && var.existing_floating_ip == "" ? 1 : 0
  pool        = var.external_network
  description = "Cumulus controller"
  tags        = local.tags

  timeouts {
    create = "5m"
    delete = "5m"
  }
}

locals {
  floating_ips = var.existing_floating_ip != "" ? [var.existing_floating_ip] : openstack_networking_floatingip_v2.controller[*].address
}

resource "openstack_networking_floatingip_associate_v2" "controller" {
  count       = var.existing_floating_ip != "" || var.external_network != "" ? 1 : 0
  floating_ip = one(local.floating_ips)
  port_id     = local.port_id

  # Neutron refuses it before the subnet has a way out.
  depends_on = [openstack_networking_router_interface_v2.site]
}

# Nothing is made: the provider is a mock of its schema. Only plans, as the storage's volume cannot be destroyed after a test.
mock_provider "openstack" {
  override_during = plan

  mock_data "openstack_networking_port_v2" {
    defaults = {
      all_fixed_ips = ["10.61.0.9"]
    }
  }

  mock_resource "openstack_networking_port_v2" {
    defaults = {
      all_fixed_ips = ["10.61.0.7"]
    }
  }

  mock_data "openstack_networking_subnet_v2" {
    defaults = {
      cidr = "172.16.0.0/24"
    }
  }

  mock_resource "openstack_networking_floatingip_v2" {
    defaults = {
      address = "198.51.100.20"
    }
  }

  mock_resource "openstack_blockstorage_volume_v3" {
    defaults = {
      id = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
    }
  }
}

override_resource {
  target          = openstack_networking_secgroup_v2.controller
  override_during = plan
  values          = { id = "group-of-the-controller" }
}

override_resource {
  target          = openstack_networking_secgroup_v2.worker
  override_during = plan
  values          = { id = "group-of-the-workers" }
}

variables {
  external_network = "public"
  ssh_networks     = ["192.0.2.0/24", "203.0.113.7/32"]
  https_networks   = ["192.0.2.0/24"]
  ssh_public_key   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFIqcTbc9xkIr/x0WMEw1PgvMGY9VdWdye1Gf8T+kSCQ admin"
  image            = "Ubuntu 24.04"
  flavor           = "m1.2xlarge"
}

run "makes_all_of_a_site_from_nothing" {
  command = plan

  assert {
    condition = (
      length(openstack_networking_network_v2.site) == 1 && length(openstack_networking_subnet_v2.site) == 1 &&
      length(openstack_networking_router_v2.site) == 1 && length(openstack_networking_router_interface_v2.site) == 1 &&
      length(openstack_compute_keypair_v2.admin) == 1 && length(openstack_blockstorage_volume_v3.storage) == 1 &&
      length(openstack_compute_instance_v2.controller) == 1 && length(openstack_networking_floatingip_v2.controller) == 1
    )
    error_message = "Something of a new site is missing."
  }

  assert {
    condition     = output.network == "cumulus" && output.security_group == "cumulus-worker" && output.key_pair == "cumulus-admin"
    error_message = "The names are not those that the controller's settings have by default."
  }

  assert {
    condition     = output.address == "198.51.100.20" && output.private_address == "10.61.0.7" && output.worker_network == "10.61.0.0/24"
    error_message = "An address is not the one made."
  }

  assert {
    condition     = output.storage_device == "/dev/disk/by-id/virtio-0b1c2d3e-4f50-6172-8"
    error_message = "The controller would look for the storage's volume under another name than the kernel gives it."
  }
}

run "lets_only_those_in_who_have_business" {
  command = plan

  assert {
    condition = (
      toset([for rule in openstack_networking_secgroup_rule_v2.controller_ssh : rule.remote_ip_prefix]) == toset(var.ssh_networks) &&
      alltrue([for rule in openstack_networking_secgroup_rule_v2.controller_ssh : rule.port_range_min == 22 && rule.port_range_max == 22])
    )
    error_message = "ssh to the controller is not from the given networks only."
  }

  assert {
    condition     = toset(keys(openstack_networking_secgroup_rule_v2.controller_https)) == toset(var.https_networks)
    error_message = "https to the controller is not from the given networks only."
  }

  assert {
    condition = (
      openstack_networking_secgroup_rule_v2.controller_nfs[0].remote_group_id == openstack_networking_secgroup_v2.worker[0].id &&
      openstack_networking_secgroup_rule_v2.controller_nfs[0].security_group_id == openstack_networking_secgroup_v2.controller[0].id &&
      openstack_networking_secgroup_rule_v2.controller_nfs[0].port_range_max == 2049
    )
    error_message = "NFS is not from the workers only."
  }

  assert {
    condition = (
      openstack_networking_secgroup_rule_v2.worker_ssh[0].remote_group_id == openstack_networking_secgroup_v2.controller[0].id &&
      openstack_networking_secgroup_rule_v2.worker_ssh[0].security_group_id == openstack_networking_secgroup_v2.worker[0].id &&
      openstack_networking_secgroup_v2.worker[0].id != openstack_networking_secgroup_v2.controller[0].id
    )
    error_message = "ssh to workers is not from the controller only."
  }
}

run "keeps_what_must_not_be_lost" {
  command = plan

  assert {
    condition     = !openstack_compute_instance_v2.controller[0].block_device[0].delete_on_termination
    error_message = "The controller's database would go with its server."
  }

  assert {
    condition     = openstack_blockstorage_volume_v3.storage[0].enable_online_resize && openstack_blockstorage_volume_v3.storage[0].size == 10000
    error_message = "The storage could not grow while it is in use."
  }
}

run "uses_what_is_there_already" {
  command = plan
  variables {
    existing_network                   = "lab"
    existing_subnet                    = "lab-v4"
    existing_router                    = "lab-out"
    existing_controller_security_group = "front"
    existing_worker_security_group     = "inner"
    existing_key_pair                  = "admins"
    existing_volume                    = "11112222-3333-4444-5555-666677778888"
    existing_floating_ip               = "198.51.100.99"
  }

  assert {
    condition = (
      length(openstack_networking_network_v2.site) == 0 && length(openstack_networking_subnet_v2.site) == 0 &&
      length(openstack_networking_router_v2.site) == 0 && length(openstack_networking_router_interface_v2.site) == 0 &&
      length(openstack_networking_secgroup_v2.controller) == 0 && length(openstack_networking_secgroup_v2.worker) == 0 &&
      length(openstack_networking_secgroup_rule_v2.controller_ssh) == 0 && length(openstack_networking_secgroup_rule_v2.worker_ssh) == 0 &&
      length(openstack_compute_keypair_v2.admin) == 0 && length(openstack_blockstorage_volume_v3.storage) == 0 &&
      length(openstack_networking_floatingip_v2.controller) == 0
    )
    error_message = "Something is made though it is there already."
  }

  assert {
    condition = (
      output.network == "lab" && output.worker_network == "172.16.0.0/24" && output.security_group == "inner" &&
      output.key_pair == "admins" && output.address == "198.51.100.99" &&
      output.storage_volume_id == "11112222-3333-4444-5555-666677778888"
    )
    error_message = "An output does not name what is there."
  }
}

run "makes_a_server_that_is_there_the_controller" {
  command = plan
  variables {
    existing_controller = "99998888-7777-6666-5555-444433332222"
    existing_network    = "lab"
    existing_subnet     = "lab-v4"
    image               = ""
    flavor              = ""
    ssh_public_key      = ""
  }

  assert {
    condition     = length(openstack_compute_instance_v2.controller) == 0 && length(openstack_networking_port_v2.controller) == 0
    error_message = "Another controller is made."
  }

  assert {
    condition     = openstack_compute_volume_attach_v2.storage.instance_id == var.existing_controller && output.private_address == "10.61.0.9"
    error_message = "The storage does not go to the server that is there."
  }

  assert {
    condition     = !openstack_networking_port_secgroup_associate_v2.existing[0].enforce
    error_message = "The server would lose the security groups that it has."
  }
}

run "joins_a_new_subnet_to_a_router_that_is_there" {
  command = plan
  variables {
    existing_network = "lab"
    existing_router  = "lab-out"
  }

  assert {
    condition     = length(openstack_networking_router_interface_v2.site) == 1 && length(openstack_networking_router_v2.site) == 0
    error_message = "The new subnet has no way out."
  }
}

run "does_without_a_floating_address" {
  command = plan
  variables {
    external_network = ""
    existing_network = "provider"
    existing_subnet  = "provider-v4"
  }

  assert {
    condition     = length(openstack_networking_floatingip_associate_v2.controller) == 0 && output.address == output.private_address
    error_message = "The address is not the server's own."
  }
}

run "refuses_a_subnet_without_a_way_out" {
  command = plan
  variables {
    external_network = ""
    existing_network = "provider"
  }
  expect_failures = [openstack_networking_subnet_v2.site]
}

run "refuses_a_controller_that_nobody_could_log_in_on" {
  command = plan
  variables {
    ssh_public_key = ""
  }
  expect_failures = [openstack_compute_keypair_v2.admin]
}

run "refuses_a_server_that_cannot_be_in_a_new_network" {
  command = plan
  variables {
    existing_controller = "99998888-7777-6666-5555-444433332222"
  }
  expect_failures = [data.openstack_networking_port_v2.existing]
}

run "refuses_a_controller_of_no_image" {
  command = plan
  variables {
    image = ""
  }
  expect_failures = [openstack_compute_instance_v2.controller]
}

run "refuses_to_show_the_api_to_everybody" {
  command = plan
  variables {
    https_networks = ["0.0.0.0/0"]
  }
  expect_failures = [var.https_networks]
}

run "refuses_ssh_from_nowhere" {
  command = plan
  variables {
    ssh_networks = []
  }
  expect_failures = [var.ssh_networks]
}

run "refuses_an_address_for_a_network" {
  command = plan
  variables {
    ssh_networks = ["192.0.2.1"]
  }
  expect_failures = [var.ssh_networks]
}

run "refuses_a_name_that_neutron_would_take_and_people_would_not" {
  command = plan
  variables {
    name = "My site!"
  }
  expect_failures = [var.name]
}

run "refuses_a_subnet_that_is_none" {
  command = plan
  variables {
    subnet_cidr = "10.61.0.0"
  }
  expect_failures = [var.subnet_cidr]
}

run "refuses_a_name_for_a_name_server" {
  command = plan
  variables {
    dns_nameservers = ["dns.example.org"]
  }
  expect_failures = [var.dns_nameservers]
}

run "refuses_a_name_where_a_volume_has_an_id" {
  command = plan
  variables {
    existing_volume = "my-volume"
  }
  expect_failures = [var.existing_volume]
}

run "refuses_a_name_where_a_server_has_an_id" {
  command = plan
  variables {
    existing_controller = "my-server"
  }
  expect_failures = [var.existing_controller]
}

run "refuses_storage_of_no_size" {
  command = plan
  variables {
    storage_gb = 0
  }
  expect_failures = [var.storage_gb]
}

run "refuses_a_disk_that_is_too_small_for_the_system" {
  command = plan
  variables {
    controller_disk_gb = 4
  }
  expect_failures = [var.controller_disk_gb]
}

run "refuses_two_keys_in_one" {
  command = plan
  variables {
    ssh_public_key = "ssh-ed25519 AAAA one\nssh-ed25519 AAAA two"
  }
  expect_failures = [var.ssh_public_key]
}

run "refuses_a_user_that_is_none" {
  command = plan
  variables {
    user = "Admin User"
  }
  expect_failures = [var.user]
}

run "is_of_ipv6_where_its_addresses_are" {
  command = plan
  variables {
    subnet_cidr     = "fd00:61::/64"
    dns_nameservers = ["2001:db8::53"]
    ssh_networks    = ["2001:db8:1::/48", "192.0.2.0/24"]
    https_networks  = ["2001:db8:1::/48"]
  }

  assert {
    condition = (
      openstack_networking_subnet_v2.site[0].ip_version == 6 && openstack_networking_subnet_v2.site[0].ipv6_address_mode == "slaac" &&
      output.worker_network == "fd00:61::/64"
    )
    error_message = "The subnet is not of IPv6."
  }

  assert {
    condition = (
      openstack_networking_secgroup_rule_v2.controller_ssh["2001:db8:1::/48"].ethertype == "IPv6" &&
      openstack_networking_secgroup_rule_v2.controller_ssh["192.0.2.0/24"].ethertype == "IPv4" &&
      openstack_networking_secgroup_rule_v2.controller_https["2001:db8:1::/48"].ethertype == "IPv6"
    )
    error_message = "A rule is not of the kind of its addresses."
  }

  assert {
    condition = alltrue([
      for rule in [openstack_networking_secgroup_rule_v2.controller_nfs_ipv6[0], openstack_networking_secgroup_rule_v2.worker_ssh_ipv6[0]] :
      rule.ethertype == "IPv6" && rule.remote_group_id != null
    ])
    error_message = "Workers do not reach the storage, or the controller not them, over IPv6; or everybody does."
  }
}

run "opens_the_api_to_no_half_of_the_internet" {
  command = plan
  variables {
    https_networks = ["2000::/3"]
  }
  expect_failures = [var.https_networks]
}

run "takes_ids_in_place_of_names" {
  command = plan
  variables {
    existing_network               = "22222222-2222-2222-2222-222222222222"
    existing_worker_security_group = "33333333333333333333333333333333"
    image                          = "44444444-4444-4444-4444-444444444444"
  }

  assert {
    condition = (
      data.openstack_networking_network_v2.existing[0].network_id == "22222222-2222-2222-2222-222222222222" &&
      data.openstack_networking_secgroup_v2.worker[0].secgroup_id == "33333333333333333333333333333333"
    )
    error_message = "An id was looked for as a name."
  }

  assert {
    condition = (
      length(data.openstack_images_image_v2.controller) == 0 &&
      openstack_compute_instance_v2.controller[0].block_device[0].uuid == "44444444-4444-4444-4444-444444444444"
    )
    error_message = "The image's id was looked for as a name."
  }
}

# Nothing is made: the provider is a mock, whose schema comes from where the provider is installed.
mock_provider "openstack" {
  mock_resource "openstack_blockstorage_volume_v3" {
    defaults = { id = "22222222-2222-2222-2222-222222222222" }
  }
  mock_resource "openstack_networking_port_v2" {
    defaults = { id = "55555555-5555-5555-5555-555555555555", all_fixed_ips = ["2001:db8::7", "10.61.0.7"] }
  }
  mock_resource "openstack_compute_instance_v2" {
    defaults = { id = "33333333-3333-3333-3333-333333333333" }
  }
}

variables {
  server_id         = "c0ffee"
  worker            = "job-7"
  flavor            = "m1.small"
  cpus              = 2
  memory_gb         = 1.5
  disk_gb           = 20
  snapshot          = "template-3"
  snapshot_id       = "11111111-1111-1111-1111-111111111111"
  network_id        = "66666666-6666-6666-6666-666666666666"
  security_group_id = "77777777-7777-7777-7777-777777777777"
  ssh_public_key    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFIqcTbc9xkIr/x0WMEw1PgvMGY9VdWdye1Gf8T+kSCQ controller"
  host_key          = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPBAEB2sOd4EbqMDyjXDPIlqJVHZWtErio49T8DFJv86"
  host_key_private  = "-----BEGIN OPENSSH PRIVATE KEY-----\nmocked\n-----END OPENSSH PRIVATE KEY-----\n"
}

# Only planned, and first: what was made once stays as it was made.
run "gives_machine_and_volume_a_zone_of_its_own_and_an_address_of_the_subnet" {
  command = plan
  variables {
    subnet_id                = "88888888-8888-8888-8888-888888888888"
    availability_zone        = "hosts-1"
    volume_availability_zone = "disks-1"
  }

  assert {
    condition     = openstack_networking_port_v2.worker.fixed_ip[0].subnet_id == "88888888-8888-8888-8888-888888888888"
    error_message = "The address is of another subnet."
  }

  assert {
    condition = (
      openstack_compute_instance_v2.worker.availability_zone == "hosts-1" &&
      openstack_blockstorage_volume_v3.worker[0].availability_zone == "disks-1"
    )
    error_message = "Machine or volume is in another zone."
  }
}

run "needs_no_volume_where_it_boots_from_an_image" {
  command = plan
  variables {
    boot = "image"
  }

  assert {
    condition = (
      length(openstack_blockstorage_volume_v3.worker) == 0 && length(openstack_compute_instance_v2.worker.block_device) == 0 &&
      openstack_compute_instance_v2.worker.image_id == "11111111-1111-1111-1111-111111111111"
    )
    error_message = "The server is not on the flavor's own disk, made from the image."
  }

  assert {
    condition     = output.boot == "cold: from an image"
    error_message = "Nobody could say what it was made from."
  }
}

# The first that is made: a server that is there stays in the group that it was made in.
run "is_spread_by_a_server_group_where_one_is_named" {
  variables {
    server_group_id = "44444444-4444-4444-4444-444444444444"
  }

  assert {
    condition     = one(openstack_compute_instance_v2.worker.scheduler_hints).group == "44444444-4444-4444-4444-444444444444"
    error_message = "The server is not in its group."
  }
}

run "makes_a_server_on_a_volume_and_a_port_of_its_own" {
  assert {
    condition = (
      openstack_blockstorage_volume_v3.worker[0].snapshot_id == "11111111-1111-1111-1111-111111111111" &&
      openstack_blockstorage_volume_v3.worker[0].size == 20 && openstack_blockstorage_volume_v3.worker[0].name == "job-7"
    )
    error_message = "The volume is not the snapshot's copy."
  }

  assert {
    condition = (
      openstack_compute_instance_v2.worker.block_device[0].uuid == "22222222-2222-2222-2222-222222222222" &&
      openstack_compute_instance_v2.worker.network[0].port == "55555555-5555-5555-5555-555555555555"
    )
    error_message = "The server is not on its volume and port."
  }

  assert {
    condition = (
      openstack_networking_port_v2.worker.network_id == "66666666-6666-6666-6666-666666666666" &&
      openstack_networking_port_v2.worker.security_group_ids == toset(["77777777-7777-7777-7777-777777777777"]) &&
      length(openstack_networking_port_v2.worker.fixed_ip) == 0
    )
    error_message = "The port is not in its network and group, or not with an address of the cloud's choice."
  }

  assert {
    condition     = openstack_compute_instance_v2.worker.force_delete && openstack_compute_instance_v2.worker.config_drive
    error_message = "The server would linger when it is removed, or ask the network who it is."
  }

  assert {
    condition = (
      output.id == "33333333-3333-3333-3333-333333333333" && output.address == "10.61.0.7" && output.port == 22 &&
      output.user == "debian" && output.host_key == var.host_key
    )
    error_message = "An output does not show what was made."
  }
}

run "marks_all_that_it_makes" {
  assert {
    condition = alltrue([
      for metadata in [openstack_blockstorage_volume_v3.worker[0].metadata, openstack_compute_instance_v2.worker.metadata] :
      metadata["cumulus_server"] == "c0ffee" && metadata["cumulus_worker"] == "job-7"
    ])
    error_message = "Nobody could say whose server or volume it is."
  }

  assert {
    condition = (
      openstack_networking_port_v2.worker.name == "job-7" && strcontains(openstack_networking_port_v2.worker.description, "c0ffee")
    )
    error_message = "Nobody could say whose port it is."
  }
}

run "tells_the_machine_who_it_is_and_when_to_end" {
  assert {
    condition = (
      strcontains(openstack_compute_instance_v2.worker.user_data, var.host_key) &&
      strcontains(openstack_compute_instance_v2.worker.user_data, "cumulus-lease") &&
      strcontains(openstack_compute_instance_v2.worker.user_data, "172800") && startswith(openstack_compute_instance_v2.worker.user_data, "#cloud-config\n")
    )
    error_message = "The machine would have a host key that nobody knows, or go on for ever."
  }
}

run "refuses_a_name_that_is_a_path" {
  command = plan
  variables {
    worker = "../job-1"
  }
  expect_failures = [var.worker]
}

run "refuses_an_installation_without_an_id" {
  command = plan
  variables {
    server_id = ""
  }
  expect_failures = [var.server_id]
}

run "refuses_half_a_processor" {
  command = plan
  variables {
    cpus = 1.5
  }
  expect_failures = [var.cpus]
}

run "refuses_too_little_memory" {
  command = plan
  variables {
    memory_gb = 0.1
  }
  expect_failures = [var.memory_gb]
}

run "refuses_a_machine_without_a_disk" {
  command = plan
  variables {
    disk_gb = 0
  }
  expect_failures = [var.disk_gb]
}

run "refuses_two_keys_in_one" {
  command = plan
  variables {
    ssh_public_key = "ssh-ed25519 AAAA one\nssh-ed25519 AAAA two"
  }
  expect_failures = [var.ssh_public_key]
}

run "refuses_no_snapshot" {
  command = plan
  variables {
    snapshot = ""
  }
  expect_failures = [var.snapshot]
}

run "refuses_no_flavor" {
  command = plan
  variables {
    flavor = ""
  }
  expect_failures = [var.flavor]
}

run "refuses_a_network_by_name" {
  command = plan
  variables {
    network_id = "cumulus"
  }
  expect_failures = [var.network_id]
}

run "refuses_a_disk_of_another_kind" {
  command = plan
  variables {
    boot = "tape"
  }
  expect_failures = [var.boot]
}

run "refuses_a_host_key_with_something_behind_it" {
  command = plan
  variables {
    host_key = "ssh-ed25519 AAAA comment\nother"
  }
  expect_failures = [var.host_key]
}

run "refuses_a_private_key_that_is_none" {
  command = plan
  variables {
    host_key_private = "secret"
  }
  expect_failures = [var.host_key_private]
}

run "refuses_a_lease_of_no_time" {
  command = plan
  variables {
    lease_s = 0
  }
  expect_failures = [var.lease_s]
}

run "refuses_a_user_that_is_none" {
  command = plan
  variables {
    user = "Admin User"
  }
  expect_failures = [var.user]
}

run "is_told_its_job_on_its_config_drive" {
  variables {
    job     = "Job_7_ada_probe_20261130"
    storage = "10.61.0.4 2049"
  }

  assert {
    condition = (
      openstack_compute_instance_v2.worker.metadata["cumulus_job"] == "Job_7_ada_probe_20261130" &&
      openstack_compute_instance_v2.worker.metadata["cumulus_storage"] == "10.61.0.4 2049" &&
      openstack_compute_instance_v2.worker.metadata["cumulus_worker"] == "job-7"
    )
    error_message = "The machine would wait for an order."
  }
}

run "is_told_of_no_job_where_it_waits_for_one" {
  assert {
    condition     = !contains(keys(openstack_compute_instance_v2.worker.metadata), "cumulus_job")
    error_message = "A machine that waits ready would start a job."
  }
}

run "takes_no_job_that_is_no_folder" {
  command = plan

  variables {
    job     = "../data"
    storage = "10.61.0.4"
  }

  expect_failures = [var.job, var.storage]
}

run "asks_no_gateway_that_is_no_address" {
  command = plan

  variables {
    endpoints = { compute = "somewhere" }
  }

  expect_failures = [var.endpoints]
}

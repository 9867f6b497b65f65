# Nothing is made: the provider is a mock, whose schema comes from where the provider is installed. All is only planned, since no volume
# that was made here, not even in a mock, would be destroyed again.
mock_provider "openstack" {
  mock_resource "openstack_blockstorage_volume_v3" {
    defaults = { id = "11111111-1111-1111-1111-111111111111" }
  }
  mock_resource "openstack_compute_instance_v2" {
    defaults = { id = "22222222-2222-2222-2222-222222222222", access_ip_v4 = "192.0.2.7" }
  }
}

variables {
  server_id         = "c0ffee"
  worker            = "template-2"
  flavor            = "m1.small"
  cpus              = 2
  memory_gb         = 1.5
  disk_gb           = 20
  snapshot          = "template"
  ssh_public_key    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFIqcTbc9xkIr/x0WMEw1PgvMGY9VdWdye1Gf8T+kSCQ controller"
  image_id          = "33333333-3333-3333-3333-333333333333"
  network_id        = "66666666-6666-6666-6666-666666666666"
  security_group_id = "77777777-7777-7777-7777-777777777777"
  host_key          = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPBAEB2sOd4EbqMDyjXDPIlqJVHZWtErio49T8DFJv86"
}

run "runs_on_a_volume_of_the_image_that_outlives_it" {
  command = plan

  assert {
    condition     = one(openstack_blockstorage_volume_v3.template[*].image_id) == "33333333-3333-3333-3333-333333333333"
    error_message = "The volume is not made from the image."
  }

  assert {
    condition     = one(openstack_blockstorage_volume_v3.template[*].name) == "cumulus-template-2"
    error_message = "The volume's name does not say which template it is."
  }

  assert {
    condition     = !openstack_compute_instance_v2.template[0].block_device[0].delete_on_termination
    error_message = "What is installed would go with the server."
  }

  assert {
    condition = (
      openstack_compute_instance_v2.template[0].metadata["cumulus_template"] == "cumulus-template" &&
      openstack_compute_instance_v2.template[0].metadata["cumulus_server"] == "c0ffee" &&
      openstack_compute_instance_v2.template[0].metadata["cumulus_worker"] == "template-2"
    )
    error_message = "Nobody could say whose the server is."
  }
}

run "can_be_taken_off_its_volume" {
  command = plan
  variables {
    running = false
  }

  assert {
    condition     = length(openstack_compute_instance_v2.template) == 0 && length(openstack_blockstorage_volume_v3.template) == 1
    error_message = "Only the server goes."
  }

  assert {
    condition     = output.id == "" && output.address == "" && output.port == 0 && output.host_key == ""
    error_message = "An output names something that does not exist."
  }
}

run "leaves_a_volume_alone_that_there_is" {
  command = plan
  variables {
    image_id  = ""
    volume_id = "44444444-4444-4444-4444-444444444444"
  }

  assert {
    condition     = length(openstack_blockstorage_volume_v3.template) == 0
    error_message = "A volume is made though there is one."
  }

  assert {
    condition     = output.volume_id == "44444444-4444-4444-4444-444444444444"
    error_message = "It is not that volume."
  }
}

run "stays_on_its_own_disk_where_there_is_no_cinder" {
  command = plan
  variables {
    boot    = "image"
    running = false
  }

  assert {
    condition = (
      length(openstack_blockstorage_volume_v3.template) == 0 && length(openstack_compute_instance_v2.template) == 1 &&
      length(openstack_compute_instance_v2.template[0].block_device) == 0 && output.volume_id == ""
    )
    error_message = "The server is not there, or not on a disk of its own."
  }

  assert {
    condition = (
      openstack_compute_instance_v2.template[0].power_state == "shutoff" &&
      openstack_compute_instance_v2.template[0].image_id == "33333333-3333-3333-3333-333333333333"
    )
    error_message = "The server is not of the image, or goes on while nobody works on it."
  }
}

run "has_a_port_in_the_subnet_that_is_named" {
  command = plan
  variables {
    subnet_id = "88888888-8888-8888-8888-888888888888"
  }

  assert {
    condition = (
      openstack_networking_port_v2.template[0].fixed_ip[0].subnet_id == "88888888-8888-8888-8888-888888888888" &&
      openstack_networking_port_v2.template[0].description == "cumulus_template=cumulus-template"
    )
    error_message = "The port is in another subnet, or nobody could say whose it is."
  }
}

run "refuses_nothing_to_start_from" {
  command = plan
  variables {
    image_id = ""
  }
  expect_failures = [openstack_blockstorage_volume_v3.template]
}

run "never_writes_to_a_snapshot" {
  command = plan
  variables {
    snapshot = "3"
  }
  expect_failures = [openstack_compute_instance_v2.template]
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

run "refuses_a_machine_without_processors" {
  command = plan
  variables {
    cpus = 0
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

run "refuses_a_volume_of_no_size" {
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

run "refuses_a_volume_that_is_no_id" {
  command = plan
  variables {
    volume_id = "the old one"
  }
  expect_failures = [var.volume_id]
}

run "refuses_a_host_key_with_a_comment" {
  command = plan
  variables {
    host_key = "ssh-ed25519 AAAA somebody"
  }
  expect_failures = [var.host_key]
}

run "refuses_a_host_key_that_is_none" {
  command = plan
  variables {
    host_key_private = "secret"
  }
  expect_failures = [var.host_key_private]
}

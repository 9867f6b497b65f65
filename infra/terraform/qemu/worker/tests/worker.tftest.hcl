# No machine is made: the provider is a mock of ours, whose schema comes from the mirror.
mock_provider "qemu" {
  mock_resource "qemu_machine" {
    defaults = {
      id          = "mocked"
      address     = "127.0.0.1"
      port        = 40022
      user        = "root"
      host_key    = "ssh-ed25519 AAAA"
      pid         = 4711
      console_log = "/console.log"
      boot        = "warm"
    }
  }
}

variables {
  server_id      = "c0ffee"
  worker         = "job-7"
  flavor         = "m1.small"
  cpus           = 2
  memory_gb      = 1.5
  disk_gb        = 20
  snapshot       = "3"
  ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFIqcTbc9xkIr/x0WMEw1PgvMGY9VdWdye1Gf8T+kSCQ controller"
}

run "asks_for_a_machine_of_the_flavors_size" {
  assert {
    condition     = qemu_machine.worker.cpus == 2 && qemu_machine.worker.memory_mb == 1536 && qemu_machine.worker.disk_gb == 20
    error_message = "The machine is not of the size that was asked for."
  }

  assert {
    condition     = qemu_machine.worker.worker == "job-7" && qemu_machine.worker.server_id == "c0ffee"
    error_message = "The machine does not carry its names."
  }

  assert {
    condition     = qemu_machine.worker.snapshot == "3"
    error_message = "The machine does not start from the snapshot that was asked for."
  }

  assert {
    condition = (
      output.id == "mocked" && output.address == "127.0.0.1" && output.port == 40022 && output.user == "root" &&
      output.host_key == "ssh-ed25519 AAAA" && output.pid == 4711 && output.console_log == "/console.log" && output.boot == "warm"
    )
    error_message = "An output does not show what the provider said."
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

run "refuses_a_machine_without_processors" {
  command = plan
  variables {
    cpus = 0
  }
  expect_failures = [var.cpus]
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

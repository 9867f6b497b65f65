variables {
  server_id      = "c0ffee"
  worker         = "template"
  flavor         = "m1.small"
  cpus           = 2
  memory_gb      = 1.5
  disk_gb        = 20
  snapshot       = "local"
  ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFIqcTbc9xkIr/x0WMEw1PgvMGY9VdWdye1Gf8T+kSCQ controller"
}

run "says_that_there_is_no_machine" {
  command = plan

  assert {
    condition     = output.id == var.worker && output.boot == "local" && output.address == "localhost"
    error_message = "An output is not as on a cloud without machines."
  }

  assert {
    condition     = output.port == 0 && output.pid == 0 && output.user == "" && output.host_key == "" && output.console_log == ""
    error_message = "An output names something that does not exist."
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

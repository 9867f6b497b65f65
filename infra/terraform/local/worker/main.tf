# No machine at all: what would be one is a folder of this computer, and jobs run on it as the controller's user.
resource "terraform_data" "worker" {
  triggers_replace = [var.server_id, var.worker, var.flavor, var.cpus, var.memory_gb, var.disk_gb, var.snapshot, var.ssh_public_key]

  input = {
    id          = var.worker
    address     = "localhost"
    port        = 0
    user        = ""
    host_key    = ""
    pid         = 0
    console_log = ""
    boot        = "local"
  }

  provisioner "local-exec" {
    command = "mkdir -p -- \"$${CUMULUS_LOCAL_MACHINES:?}/$WORKER\""
    environment = {
      WORKER = var.worker
    }
  }

  # No job outlives its machine.
  provisioner "local-exec" {
    when    = destroy
    command = "$CUMULUS_LOCAL_STOP \"$${CUMULUS_LOCAL_MACHINES:?}/$WORKER/job\"; rm -rf -- \"$CUMULUS_LOCAL_MACHINES/$WORKER\""
    environment = {
      WORKER = self.input.id
    }
  }
}

# A test names a machine that is to fail, and how: it is half-made then. (On the machine's own resource a failed provisioner would
# keep terraform from running the one that removes it.)
resource "terraform_data" "boot" {
  triggers_replace = [terraform_data.worker.id]

  provisioner "local-exec" {
    command = "eval \"case $WORKER in $CUMULUS_LOCAL_FAULTS esac\""
    environment = {
      WORKER = var.worker
    }
  }
}

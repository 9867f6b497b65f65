# No machine at all: what would be one is only written down, and jobs run on this computer as the controller's user.
resource "terraform_data" "template" {
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
}

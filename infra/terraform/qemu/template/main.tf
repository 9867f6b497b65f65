# The template itself, booted: what is installed on it stays on its disk, also when the machine goes.
resource "qemu_machine" "template" {
  server_id        = var.server_id
  worker           = var.worker
  snapshot         = var.snapshot
  persistent       = true
  cpus             = var.cpus
  memory_mb        = floor(var.memory_gb * 1024)
  disk_gb          = var.disk_gb
  ssh_public_key   = var.ssh_public_key
  create_timeout_s = 300
  delete_timeout_s = 120

  lifecycle {
    precondition {
      condition     = var.snapshot == "template"
      error_message = "snapshot must be \"template\": a snapshot's own disk is never written to."
    }
  }
}

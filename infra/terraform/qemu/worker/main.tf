# One worker: a clone of the snapshot's memory image, or a booted machine where none fits.
resource "qemu_machine" "worker" {
  server_id        = var.server_id
  worker           = var.worker
  snapshot         = var.snapshot
  cpus             = var.cpus
  memory_mb        = floor(var.memory_gb * 1024)
  disk_gb          = var.disk_gb
  ssh_public_key   = var.ssh_public_key
  create_timeout_s = 300
  delete_timeout_s = 120
}

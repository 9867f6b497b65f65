output "address" {
  description = "Where the controller is reached from outside: its floating address, or its own where it has none."
  value       = length(local.floating_ips) > 0 ? local.floating_ips[0] : local.fixed_ips[0]
}

output "private_address" {
  description = "Where workers reach the controller: openstack_nfs_host in cumulus.toml."
  value       = local.fixed_ips[0]
}

output "user" {
  description = "Whom to log in as on the controller."
  value       = var.user
}

output "network" {
  description = "Name or id of the workers' network: openstack_network in cumulus.toml."
  value       = var.existing_network != "" ? var.existing_network : var.name
}

output "worker_network" {
  description = "Addresses that workers have: controller_worker_network for Ansible."
  value       = local.cidr
}

output "security_group" {
  description = "Name or id of the workers' security group: openstack_security_group in cumulus.toml."
  value       = var.existing_worker_security_group != "" ? var.existing_worker_security_group : "${var.name}-worker"
}

output "key_pair" {
  description = "Name of the administrator's key pair: openstack_key_pair in cumulus.toml; empty where none is known."
  value       = local.key_pair == null ? "" : local.key_pair
}

output "controller_id" {
  description = "Id of the controller's server."
  value       = local.controller_id
}

output "storage_volume_id" {
  description = "Id of the volume of the storage."
  value       = local.storage_volume_id
}

output "storage_device" {
  description = "What that volume is on the controller, with virtio: controller_storage_device for Ansible."
  value       = "/dev/disk/by-id/virtio-${substr(local.storage_volume_id, 0, 20)}"
}

output "ssh_networks" {
  description = "Networks that may reach the controller by ssh: controller_ssh_networks for Ansible."
  value       = var.ssh_networks
}

output "https_networks" {
  description = "Networks that may reach the controller's port 443: controller_https_networks for Ansible."
  value       = var.https_networks
}

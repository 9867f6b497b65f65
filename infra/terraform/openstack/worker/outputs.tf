output "id" {
  description = "Id of the server in Nova."
  value       = openstack_compute_instance_v2.worker.id
}

output "address" {
  description = "Where the machine's ssh server is reached."
  value = try(
    [for address in openstack_networking_port_v2.worker.all_fixed_ips : address if !strcontains(address, ":")][0],
    openstack_networking_port_v2.worker.all_fixed_ips[0],
  )
}

output "port" {
  description = "Port of the ssh server on address; 0 where there is none."
  value       = 22
}

output "user" {
  description = "Whom to log in as; empty: the controller's own user, without ssh."
  value       = var.user
}

output "host_key" {
  description = "Public host key of the machine as one line; empty where there is none."
  value       = openstack_compute_instance_v2.worker.metadata["cumulus_host_key"]
}

output "pid" {
  description = "Number of the machine's process on this computer; 0 where there is none."
  value       = 0
}

output "console_log" {
  description = "File with what the machine's console shows; empty where there is none."
  value       = ""
}

output "boot" {
  description = "How the machine started: warm, cold: and why, template or local."
  value       = var.boot == "image" ? "cold: from an image" : "cold: from a volume"
}

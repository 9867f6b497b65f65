output "id" {
  description = "Id of the server in Nova; empty where there is none."
  value       = try(openstack_compute_instance_v2.template[0].id, "")
}

output "address" {
  description = "Where the machine's ssh server is reached."
  value = try(
    [for address in openstack_networking_port_v2.template[0].all_fixed_ips : address if !strcontains(address, ":")][0],
    openstack_networking_port_v2.template[0].all_fixed_ips[0],
    "",
  )
}

output "port" {
  description = "Port of the ssh server on address; 0 where there is none."
  value       = var.running ? 22 : 0
}

output "user" {
  description = "Whom to log in as; empty: the controller's own user, without ssh."
  value       = var.user
}

output "host_key" {
  description = "Public host key of the machine as one line; empty where there is none."
  value       = try(openstack_compute_instance_v2.template[0].metadata["cumulus_host_key"], "")
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
  value       = "template"
}

output "volume_id" {
  description = "Id of the volume, which stays; empty where boot is image."
  value       = local.volume_id == null ? "" : local.volume_id
}

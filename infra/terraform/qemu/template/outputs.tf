output "id" {
  description = "Name of the machine."
  value       = qemu_machine.template.id
}

output "address" {
  description = "Where the machine's ssh server is reached."
  value       = qemu_machine.template.address
}

output "port" {
  description = "Port of the ssh server on address; 0 where there is none."
  value       = qemu_machine.template.port
}

output "user" {
  description = "Whom to log in as; empty: the controller's own user, without ssh."
  value       = qemu_machine.template.user
}

output "host_key" {
  description = "Public host key of the machine as one line; empty where there is none."
  value       = qemu_machine.template.host_key
}

output "pid" {
  description = "Number of the machine's process on this computer; 0 where there is none."
  value       = qemu_machine.template.pid
}

output "console_log" {
  description = "File with what the machine's console shows; empty where there is none."
  value       = qemu_machine.template.console_log
}

output "boot" {
  description = "How the machine started: warm, cold: and why, template or local."
  value       = qemu_machine.template.boot
}

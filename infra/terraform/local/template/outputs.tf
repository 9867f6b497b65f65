output "id" {
  description = "Name of the machine."
  value       = terraform_data.template.input.id
}

output "address" {
  description = "Where the machine's ssh server is reached."
  value       = terraform_data.template.input.address
}

output "port" {
  description = "Port of the ssh server on address; 0 where there is none."
  value       = terraform_data.template.input.port
}

output "user" {
  description = "Whom to log in as; empty: the controller's own user, without ssh."
  value       = terraform_data.template.input.user
}

output "host_key" {
  description = "Public host key of the machine as one line; empty where there is none."
  value       = terraform_data.template.input.host_key
}

output "pid" {
  description = "Number of the machine's process on this computer; 0 where there is none."
  value       = terraform_data.template.input.pid
}

output "console_log" {
  description = "File with what the machine's console shows; empty where there is none."
  value       = terraform_data.template.input.console_log
}

output "boot" {
  description = "How the machine started: warm, cold: and why, template or local."
  value       = terraform_data.template.input.boot
}

variable "server_id" {
  type        = string
  description = "Id of the installation that the machine belongs to."
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{0,62}$", var.server_id))
    error_message = "server_id must be 1 to 63 of a-z, 0-9 and -, and not begin with -."
  }
}

variable "worker" {
  type        = string
  description = "Name of the machine: its workspace's name."
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{0,62}$", var.worker))
    error_message = "worker must be 1 to 63 of a-z, 0-9 and -, and not begin with -."
  }
}

variable "flavor" {
  type        = string
  description = "Name of the machine's size, for people; cpus, memory_gb and disk_gb count."
  validation {
    condition     = length(var.flavor) > 0
    error_message = "flavor must not be empty."
  }
}

variable "cpus" {
  type        = number
  description = "Processors."
  validation {
    condition     = var.cpus >= 1 && var.cpus <= 255 && floor(var.cpus) == var.cpus
    error_message = "cpus must be a whole number from 1 to 255."
  }
}

variable "memory_gb" {
  type        = number
  description = "Memory in GB; may be a fraction."
  validation {
    condition     = var.memory_gb >= 0.25
    error_message = "memory_gb must be 0.25 or more."
  }
}

variable "disk_gb" {
  type        = number
  description = "Virtual size of the machine's own disk in GB."
  validation {
    condition     = var.disk_gb >= 1 && floor(var.disk_gb) == var.disk_gb
    error_message = "disk_gb must be a whole number, 1 or more."
  }
}

variable "snapshot" {
  type        = string
  description = "Name of the template's snapshot that the machine starts from."
  validation {
    condition     = length(var.snapshot) > 0
    error_message = "snapshot must not be empty."
  }
}

variable "ssh_public_key" {
  type        = string
  description = "Public key that may log in."
  validation {
    condition     = can(regex("^(ssh|ecdsa|sk)-[^\n]+$", var.ssh_public_key))
    error_message = "ssh_public_key must be one line of an OpenSSH public key."
  }
}

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

variable "boot" {
  type        = string
  description = "What the machine's disk is: volume (Cinder's), or image (the flavor's own disk)."
  default     = "volume"
  validation {
    condition     = contains(["volume", "image"], var.boot)
    error_message = "boot must be volume or image."
  }
}

variable "snapshot_id" {
  type        = string
  description = "Id of what the disk is made from: a volume's snapshot, or an image where boot is image."
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-fA-F-]{32,36})?$", var.snapshot_id))
    error_message = "snapshot_id must be an id, as the cloud shows it."
  }
}

variable "network_id" {
  type        = string
  description = "Id of the network that the machine is in."
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-fA-F-]{32,36})?$", var.network_id))
    error_message = "network_id must be an id, as the cloud shows it."
  }
}

variable "subnet_id" {
  type        = string
  description = "Id of the subnet there that its address is of; empty: the cloud's choice."
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-fA-F-]{32,36})?$", var.subnet_id))
    error_message = "subnet_id must be an id, as the cloud shows it."
  }
}

variable "security_group_id" {
  type        = string
  description = "Id of the machine's security group: ssh from the controller only."
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-fA-F-]{32,36})?$", var.security_group_id))
    error_message = "security_group_id must be an id, as the cloud shows it."
  }
}

variable "key_pair" {
  type        = string
  description = "Name of a key pair that may log in beside ssh_public_key; empty: none."
  default     = ""
  validation {
    condition     = length(var.key_pair) <= 255
    error_message = "key_pair must not be longer than 255 characters."
  }
}

variable "availability_zone" {
  type        = string
  description = "Availability zone of the machine; empty: the cloud's choice."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.availability_zone))
    error_message = "availability_zone must be one line."
  }
}

variable "server_group_id" {
  type        = string
  description = "Id of the server group that the machine is in; empty: none."
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-fA-F-]{32,36})?$", var.server_group_id))
    error_message = "server_group_id must be an id, as the cloud shows it."
  }
}

variable "volume_availability_zone" {
  type        = string
  description = "Availability zone of the machine's volume; empty: the cloud's choice."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.volume_availability_zone))
    error_message = "volume_availability_zone must be one line."
  }
}

variable "volume_type" {
  type        = string
  description = "Type of the machine's volume; empty: the snapshot's."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.volume_type))
    error_message = "volume_type must be one line."
  }
}

variable "user" {
  type        = string
  description = "Who logs in; root by sudo, without a password."
  default     = "debian"
  validation {
    condition     = can(regex("^[a-z_][a-z0-9_-]{0,31}$", var.user))
    error_message = "user must be the name of a user of Linux."
  }
}

variable "lease_s" {
  type        = number
  description = "Seconds from its start after which the machine switches itself off, unless somebody renews its lease."
  default     = 172800
  validation {
    condition     = var.lease_s >= 60 && floor(var.lease_s) == var.lease_s
    error_message = "lease_s must be a whole number, 60 or more."
  }
}

variable "host_key" {
  type        = string
  description = "Public ssh host key of the machine as one line; empty: the machine makes its own, and nobody knows it."
  default     = ""
  validation {
    condition     = can(regex("^(ssh-ed25519 [A-Za-z0-9+/=]+)?$", var.host_key))
    error_message = "host_key must be one line of an ed25519 public key without a comment."
  }
}

variable "host_key_private" {
  type        = string
  description = "Its private half, in OpenSSH's format. Give it as TF_VAR_host_key_private: it is then in no file and in no state."
  default     = ""
  sensitive   = true
  validation {
    condition     = var.host_key_private == "" || startswith(var.host_key_private, "-----BEGIN OPENSSH PRIVATE KEY-----\n")
    error_message = "host_key_private must be a private key in OpenSSH's format."
  }
}

variable "limits" {
  type = object({
    volume_create_s   = optional(number, 3600)
    volume_delete_s   = optional(number, 600)
    port_create_s     = optional(number, 300)
    port_delete_s     = optional(number, 300)
    server_create_s   = optional(number, 900)
    server_delete_s   = optional(number, 600)
    template_create_s = optional(number, 3600)
  })
  description = "Seconds that making and removing a thing of each kind may take. A volume is a copy, which may take an hour."
  default     = {}
  validation {
    condition     = alltrue([for limit in values(var.limits) : limit >= 1 && floor(limit) == limit])
    error_message = "limits must be whole numbers of seconds, 1 or more."
  }
}

variable "max_retries" {
  type        = number
  description = "Times that the provider repeats a request that got no connection, or 429 with Retry-After."
  default     = 6
  validation {
    condition     = var.max_retries >= 0 && floor(var.max_retries) == var.max_retries
    error_message = "max_retries must be a whole number, 0 or more."
  }
}

variable "job" {
  type        = string
  description = "Name of the job's folder in the storage, which the machine starts by itself; empty: it waits for an order."
  default     = ""
  validation {
    condition     = can(regex("^([A-Za-z0-9][A-Za-z0-9._-]{0,200})?$", var.job))
    error_message = "job must be the name of a folder."
  }
}

variable "storage" {
  type        = string
  description = "Host and port of the NFS server that shows that folder, with a blank between them; empty where job is."
  default     = ""
  validation {
    condition     = can(regex("^([A-Za-z0-9.:-]{1,240} [0-9]{1,5})?$", var.storage))
    error_message = "storage must be a host and a port, with a blank between them."
  }
}

variable "endpoints" {
  type        = map(string)
  description = "Where services are asked instead of where the catalogue says, by the provider's names: the controller's gateway, in TF_VAR_endpoints."
  default     = {}
  validation {
    condition     = alltrue([for url in values(var.endpoints) : can(regex("^https?://[^ \n]+/$", url))])
    error_message = "endpoints must be URLs that end with /."
  }
}

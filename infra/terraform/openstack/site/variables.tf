variable "name" {
  type        = string
  description = "What the names of all that is made begin with."
  default     = "cumulus"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.name))
    error_message = "name must be 1 to 40 of a-z, 0-9 and -, and begin with a letter."
  }
}

variable "external_network" {
  type        = string
  description = "Name of the network that floating addresses come from; empty: no router and no floating address are made."
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.external_network))
    error_message = "external_network must be one line."
  }
}

variable "existing_network" {
  type        = string
  description = "Name or id of a network that is there already; empty: one is made."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.existing_network))
    error_message = "existing_network must be one line."
  }
}

variable "existing_subnet" {
  type        = string
  description = "Name or id of a subnet of that network that is there already; empty: one is made."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.existing_subnet))
    error_message = "existing_subnet must be one line."
  }
}

variable "existing_router" {
  type        = string
  description = "Name or id of a router that is there already; empty: one is made."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.existing_router))
    error_message = "existing_router must be one line."
  }
}

variable "subnet_cidr" {
  type        = string
  description = "Addresses of the subnet that is made: as many machines as run at once, with room."
  default     = "10.61.0.0/24"
  validation {
    condition     = can(cidrhost(var.subnet_cidr, 0)) && (!strcontains(var.subnet_cidr, ":") || endswith(var.subnet_cidr, "/64"))
    error_message = "subnet_cidr must be an IPv4 network such as 10.61.0.0/24, or a /64 of IPv6 such as fd00:61::/64."
  }
}

variable "dns_nameservers" {
  type        = list(string)
  description = "Name servers of the subnet that is made; empty: the cloud's."
  default     = []
  validation {
    condition     = alltrue([for address in var.dns_nameservers : can(cidrhost("${address}/${strcontains(address, ":") ? 128 : 32}", 0))])
    error_message = "dns_nameservers must be addresses of IPv4 or IPv6."
  }
}

variable "ssh_networks" {
  type        = list(string)
  description = "Networks that may reach the controller by ssh: administrators, and the agents that send files."
  validation {
    condition     = length(var.ssh_networks) > 0 && alltrue([for network in var.ssh_networks : can(cidrhost(network, 0))])
    error_message = "ssh_networks must be one or more networks such as 192.0.2.0/24 or 2001:db8::/48."
  }
}

variable "https_networks" {
  type        = list(string)
  description = "Networks that may reach the controller's port 443. The API believes the names that clients send: the laboratory's only."
  validation {
    condition     = alltrue([for network in var.https_networks : can(cidrhost(network, 0)) && try(tonumber(split("/", network)[1]), 0) >= (strcontains(network, ":") ? 20 : 8)])
    error_message = "https_networks must be networks such as 192.0.2.0/24 or 2001:db8::/48, none larger than a /8 (IPv6: a /20): the API has no passwords."
  }
}

variable "existing_controller_security_group" {
  type        = string
  description = "Name or id of the controller's security group where it is there already, with its rules; empty: one is made."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.existing_controller_security_group))
    error_message = "existing_controller_security_group must be one line."
  }
}

variable "existing_worker_security_group" {
  type        = string
  description = "Name or id of the workers' security group where it is there already, with its rules; empty: one is made."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.existing_worker_security_group))
    error_message = "existing_worker_security_group must be one line."
  }
}

variable "existing_key_pair" {
  type        = string
  description = "Name of an administrator's key pair that is there already; empty: one is made from ssh_public_key."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.existing_key_pair))
    error_message = "existing_key_pair must be one line."
  }
}

variable "ssh_public_key" {
  type        = string
  description = "Public key of an administrator, who logs in on the controller; not needed with existing_key_pair."
  default     = ""
  validation {
    condition     = can(regex("^((ssh|ecdsa|sk)-[^\n]+)?$", var.ssh_public_key))
    error_message = "ssh_public_key must be one line of an OpenSSH public key."
  }
}

variable "existing_volume" {
  type        = string
  description = "Id of a volume for the storage that is there already; empty: one is made."
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-f-]{32,36})?$", var.existing_volume))
    error_message = "existing_volume must be the id of a volume."
  }
}

variable "storage_gb" {
  type        = number
  description = "GB of the volume for the storage that is made. It can be made larger later, never smaller."
  default     = 10000
  validation {
    condition     = var.storage_gb >= 1 && floor(var.storage_gb) == var.storage_gb
    error_message = "storage_gb must be a whole number, 1 or more."
  }
}

variable "volume_type" {
  type        = string
  description = "Type of the volumes that are made; empty: the cloud's choice."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.volume_type))
    error_message = "volume_type must be one line."
  }
}

variable "availability_zone" {
  type        = string
  description = "Availability zone of the controller; empty: the cloud's choice."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.availability_zone))
    error_message = "availability_zone must be one line."
  }
}

variable "existing_controller" {
  type        = string
  description = "Id of a server in the network that will be the controller; empty: one is made."
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-f-]{32,36})?$", var.existing_controller))
    error_message = "existing_controller must be the id of a server."
  }
}

variable "image" {
  type        = string
  description = "Name or id of the image that the controller starts from: Ubuntu 24.04 or Debian 12. Its root is found by label or UUID: the storage may be the first disk."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.image))
    error_message = "image must be one line."
  }
}

variable "flavor" {
  type        = string
  description = "Flavor of the controller."
  default     = ""
  validation {
    condition     = can(regex("^[^\n]{0,255}$", var.flavor))
    error_message = "flavor must be one line."
  }
}

variable "controller_disk_gb" {
  type        = number
  description = "GB of the controller's own disk, with the database: a volume that outlives the server."
  default     = 40
  validation {
    condition     = var.controller_disk_gb >= 10 && floor(var.controller_disk_gb) == var.controller_disk_gb
    error_message = "controller_disk_gb must be a whole number, 10 or more."
  }
}

variable "existing_floating_ip" {
  type        = string
  description = "A floating address of the project that is there already; empty: one is taken from external_network."
  default     = ""
  validation {
    condition     = var.existing_floating_ip == "" || can(cidrhost("${var.existing_floating_ip}/32", 0))
    error_message = "existing_floating_ip must be an IPv4 address."
  }
}

variable "user" {
  type        = string
  description = "Who logs in on the controller's image; root by sudo, without a password."
  default     = "ubuntu"
  validation {
    condition     = can(regex("^[a-z_][a-z0-9_-]{0,31}$", var.user))
    error_message = "user must be the name of a user of Linux."
  }
}

variable "limits" {
  type = object({
    volume_create_s = optional(number, 900)
    volume_delete_s = optional(number, 600)
    server_create_s = optional(number, 3600)
    server_delete_s = optional(number, 900)
  })
  description = "Seconds that making and removing a volume or a server may take. The controller's disk, made with it, is a copy of the image."
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

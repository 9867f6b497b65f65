# infra/terraform/openstack/site on SCIGNE. Networks here are examples: put the laboratory's.
name             = "cumulus"
external_network = "public"
subnet_cidr      = "10.61.0.0/24"

# Administrators, and the computer that the agent sends from; the desktop clients' network.
ssh_networks   = ["192.0.2.0/24"]
https_networks = ["192.0.2.0/24"]

# The controller: 16 VCPU, 64 GB, 40 GB disk. `openstack flavor list` and `openstack image list` have the names.
image              = "Ubuntu 24.04"
user               = "ubuntu"
flavor             = "m1.2xlarge-4xmem"
controller_disk_gb = 40
existing_key_pair  = "cumulus-admin" # openstack keypair create --public-key ~/.ssh/id_ed25519.pub cumulus-admin

# The storage unit: 10 TB.
storage_gb = 10000

terraform {
  required_version = ">= 1.6"

  required_providers {
    openstack = {
      source  = "terraform-provider-openstack/openstack"
      version = ">= 3.0.0, < 4.0.0"
    }
  }

  # The state lies outside the source tree: init -backend-config=path=… -backend-config=workspace_dir=…
  backend "local" {}
}

# Where the cloud is and who we are there: clouds.yaml (OS_CLOUD) or the OS_* variables, nothing else.
provider "openstack" {
  max_retries        = var.max_retries
  endpoint_overrides = var.endpoints
}

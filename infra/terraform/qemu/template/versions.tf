terraform {
  required_version = ">= 1.6"

  required_providers {
    qemu = {
      source  = "cumulus.local/cumulus/qemu"
      version = "0.1.0"
    }
  }

  # The state lies outside the source tree: init -backend-config=path=… -backend-config=workspace_dir=…
  backend "local" {}
}

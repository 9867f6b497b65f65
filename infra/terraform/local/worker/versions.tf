terraform {
  required_version = ">= 1.6"

  # The state lies outside the source tree: init -backend-config=path=… -backend-config=workspace_dir=…
  backend "local" {}
}

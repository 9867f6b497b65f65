# This file is maintained automatically by "terraform init".
# Manual edits may be lost in future updates.

provider "cumulus.local/cumulus/qemu" {
  version     = "0.1.0"
  constraints = "0.1.0"
  hashes = [
    "h1:9Ld5yv/6byXBNfIlyTozmNf6wCdp+xgMQkjcTM29SGg=",
  ]
}

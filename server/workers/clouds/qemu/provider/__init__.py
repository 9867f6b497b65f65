"""The Terraform provider for QEMU machines."""

"""Terraform as child processes: modules, workspaces, state files and their locks."""

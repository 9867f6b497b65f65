"""What is for who looks after machines: those that there are, Terraform's workspaces, sizes, snapshots."""

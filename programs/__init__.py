"""What `cumulus` and `cumulus-agent` share at their entry: exit codes, expected errors, the border to people."""

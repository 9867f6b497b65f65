"""The `cumulus` command, one module per noun."""

"""What people and programs can ask for, one module per noun. The command line and the API call these."""

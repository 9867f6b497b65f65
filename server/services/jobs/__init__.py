"""Jobs: submitted, cancelled and deleted; looked up, with their logs."""

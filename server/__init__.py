"""The Cumulus controller: jobs, the machines that run them, and the storage they share."""

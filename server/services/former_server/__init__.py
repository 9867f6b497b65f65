"""Taking over an installation of the former Cumulus server (2.x): its database, its job folders, and nothing of its machines."""

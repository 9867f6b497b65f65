"""Usage: what jobs have taken of machines and storage, by user, group, app and month."""

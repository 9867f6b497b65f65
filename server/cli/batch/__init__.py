"""``cumulus batch``: many jobs of one app, submitted, followed, cancelled and retried as one."""

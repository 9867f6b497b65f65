"""Started jobs: whether the app has ended, whether its machine is still at work, and what waits for room in the storage."""

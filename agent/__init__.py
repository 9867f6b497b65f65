"""The agent: one durable queue that sends a laboratory's files to the controller's storage. Imports nothing of ``server``."""

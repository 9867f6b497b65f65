"""The durable queue: rows, states, and what clients ask of it."""

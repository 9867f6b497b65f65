"""Job logs as people and clients read them."""

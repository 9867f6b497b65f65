"""What people ask of many rows at once: batches, groups, usage; each answered in a few queries."""

"""Batches: one form for many files, or a sample sheet; submitted, shown, cancelled, retried and deleted as one."""

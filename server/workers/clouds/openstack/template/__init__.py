"""The template machine and the snapshots that workers are made from."""

"""The desktop client's REST: its routes, words and HTML rules. Nowhere else."""

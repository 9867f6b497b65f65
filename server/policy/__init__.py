"""Pure rules: what may run next, how long a state may last, what an error means. No I/O."""

"""How input files come into the storage: arrival, delivery, first inspection, pinning."""

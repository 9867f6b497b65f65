"""The texts of failures, as data: a module for each tool or cloud, from which ``error_classification`` makes its patterns."""

"""A client of Cumulus in Python."""

"""Groups of the ``cumulus`` command, one module each."""

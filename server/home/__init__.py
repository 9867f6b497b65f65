"""The home folder of an installation: its own files, its id, and which of its processes runs."""

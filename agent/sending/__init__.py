"""From a surveyed source to files in the storage: rsync, its output and errors, publishing."""

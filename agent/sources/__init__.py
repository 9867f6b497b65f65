"""The files and folders that jobs name: opened without following links, surveyed until they are complete."""

"""From checked values to a command line and a config file."""

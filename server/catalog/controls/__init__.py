"""The controls of a form: what value each accepts, what it adds to the command line, and what to the config file."""

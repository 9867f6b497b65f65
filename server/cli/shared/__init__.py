"""What the commands share: the connection to a controller, tables, typed inputs."""

"""From a queued job to its app's start on a machine, and the machine's end."""

"""The HTTP door of both servers: connections, limits, threads, who is refused."""

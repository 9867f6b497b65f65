"""Unix sockets in folders of any depth. Owns nothing but the way around the 108 bytes that such an address may have."""

import os
import socket
from pathlib import Path


def connect(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the unix socket at ``path``, whose reads and writes wait ``timeout_s`` at most. Raises OSError."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_s)
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection

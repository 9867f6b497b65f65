"""The command line of ssh, with the agent's own key and the one host key that it believes."""

import os
import sys

from agent.settings import Settings
from agent.sources.paths import for_rsync

CONNECT_S = 20
SHARED_S = 60
MAX_SOCKET_PATH = 85  # bytes: of the system's 107, less what ssh adds while it makes the socket


def ssh_command(settings: Settings, *, shared: bool = False) -> list[str]:
    """The ssh command with the agent's own key and the one host key that it trusts. It reads no configuration, asks nothing.

    ``shared``: the first opens a connection that stays for a minute, and the others use it: a job needs three logins, each of
    which costs a good part of a second. Not on Windows, whose Cygwin cannot hand a connection on.
    """
    path = settings.home / "ssh"
    sharing = {"ControlPath": "none"}
    if shared and sys.platform != "win32" and len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        sharing = {"ControlMaster": "auto", "ControlPath": f'"{path}"', "ControlPersist": str(SHARED_S)}
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_S),
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "GlobalKnownHostsFile": "/dev/null",
        "UserKnownHostsFile": f'"{for_rsync(str(settings.known_hosts))}"',
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "LogLevel": "ERROR",
        **sharing,
    }
    words = [settings.ssh, "-F", "none", "-T", "-p", str(settings.ssh_port), "-i", for_rsync(str(settings.ssh_key))]
    return words + [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

"""Stands for one ``ansible-playbook``: has the fork server play (see fork_server.py), and ends as the play does.

Arguments: the process's abstract socket, then the command with its arguments, which is executed where that process is not there.
Started as ``python -I -S``, so that it costs 10 ms; imports nothing of Cumulus.
"""

import json
import os  # and not pathlib, which alone would cost as much as all of this
import socket
import sys


def main(name: str, *argv: str) -> None:
    """Ask, wait, exit."""
    connection = socket.socket(socket.AF_UNIX)
    order = json.dumps({"argv": argv, "cwd": os.getcwd(), "env": dict(os.environ)}).encode() + b"\n"  # noqa: PTH109
    try:
        connection.connect(f"\0{name}")
        sent = socket.send_fds(connection, [order], [0, 1, 2])
        connection.sendall(order[sent:])
    except OSError:
        os.execvp(argv[0], argv)  # noqa: S606
    try:
        code = connection.recv(16)
    except OSError:
        code = b""
    if not code:
        sys.exit("the process that plays for Ansible has ended")
    sys.exit(int(code) if int(code) >= 0 else 128 - int(code))


if __name__ == "__main__":
    main(*sys.argv[1:])

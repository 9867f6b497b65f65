"""A machine's shell as a program of this computer: ``SOCKET -c COMMAND`` runs the command on the machine, as root.

It uses the port on which the machine got its identity (channel.py): a login would cost an emulated processor a second.
Its exit code is the command's, or 255 where the machine does not answer, as ssh's is.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from server.workers.clouds.qemu.channel import ChannelError, shell_in_guest

UNREACHABLE = 255
WORDS = 3


def main(words: Sequence[str]) -> int:
    """Run it, for as long as who asked for it lives."""
    if len(words) != WORDS or words[1] != "-c":
        raise SystemExit("usage: guest_shell SOCKET -c COMMAND")
    path, _, command = words
    asker = os.getppid()
    try:
        done = shell_in_guest(Path(path), command, lambda: os.getppid() == asker)
    except ChannelError as problem:
        sys.stderr.write(f"the machine does not answer: {problem.message}\n")
        return UNREACHABLE
    sys.stdout.write(done.out)
    return done.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Where the files go: a folder of this computer, another one by ssh, or a daemon's module. Owns how each is written for rsync."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agent.errors import InvalidInput

_PATH = r"[A-Za-z0-9/._~+-]*"  # no character that a shell or an older rsync would read in another way
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_SSH = re.compile(rf"(?P<login>(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?{_HOST}):(?P<path>{_PATH})")
_DAEMON = re.compile(rf"rsync://(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?{_HOST}(?::[0-9]{{1,5}})?/[A-Za-z0-9_]{_PATH}")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class Kind(StrEnum):
    """How a target is reached."""

    LOCAL = "local"
    SSH = "ssh"
    DAEMON = "daemon"


@dataclass(frozen=True)
class Target:
    """A storage. ``base``: what stands before a path in it on rsync's command line, with its end."""

    kind: Kind
    base: str
    login: str = ""

    @property
    def path(self) -> str:
        """The storage's path, where it is; "" where ``cumulus-receive`` knows it."""
        return self.base.removeprefix(f"{self.login}:") if self.kind is Kind.SSH else self.base

    def at(self, place: str) -> str:
        """A place in the storage for rsync's command line; ``place`` needs no quoting."""
        return f"{self.base}{place}"


def read_target(text: str) -> Target:
    """Read the setting. Raises InvalidInput."""
    if text.startswith("rsync://"):
        if not _DAEMON.fullmatch(text):
            raise InvalidInput(f"target: {text!r} is not rsync://[user@]host[:port]/module[/path]", field="setting target")
        return Target(Kind.DAEMON, text.rstrip("/") + "/")
    if found := None if _DRIVE.match(text) else _SSH.fullmatch(text):
        path = found["path"]
        return Target(Kind.SSH, f"{found['login']}:{path.rstrip('/') + '/' if path else ''}", found["login"])
    if Path(text).is_absolute():
        return Target(Kind.LOCAL, str(Path(text)) + "/")
    raise InvalidInput(
        f"target: {text!r} is neither an absolute path, nor user@host:path (of plain letters, digits and ._~+-), nor rsync://host/module",
        field="setting target",
    )

"""The base of all errors that a person can act on, and what the system says of a file in words that help."""

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_ADVICE: Mapping[int, str] = MappingProxyType(
    {
        errno.ENOSPC: "make room on that disk",
        errno.EDQUOT: "make room: the disk quota is used up",
        errno.EROFS: "the disk is mounted read-only",
        errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
        errno.ENFILE: "raise the limit of open files of this computer",
        errno.EISDIR: "a file is needed there",
        errno.ENOTDIR: "a folder is needed there",
        errno.EEXIST: "move away what is in its place",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.EIO: "the disk or its connection fails",
        errno.ESTALE: "the storage behind it has gone; mount it again",
    }
)


class Expected(Exception):
    """An expected failure: ``message`` is for a person, ``code`` for a program, ``field`` names the input at fault."""

    code = "error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


def explained(error: OSError) -> str:
    """What the system refused, about which file, and what to do, in one line."""
    reason = error.strerror or str(error) or type(error).__name__
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes | Path)]
    text = f"{' and '.join(names)}: {reason}" if names else reason
    advice = _rights(names) if error.errno in (errno.EACCES, errno.EPERM) else _ADVICE.get(error.errno or 0, "")
    return f"{text}; {advice}" if advice else text


def why_not_listening(error: OSError | ValueError) -> str:
    """Why a server cannot listen at an address: what the system refused, or that a name cannot be an address."""
    return getattr(error, "strerror", None) or "no computer is known by that name"


if sys.platform == "win32":

    def _rights(_names: list[str]) -> str:
        return ""

    def user_name(uid: int) -> str:
        """The number of a user."""
        return f"uid-{uid}"

else:
    import pwd

    def _rights(names: list[str]) -> str:
        """Who may do it: the owner of the file, or of the nearest folder above it that can be seen."""
        for path in [above for name in names for above in (Path(name), *Path(name).absolute().parents)]:
            try:
                uid = path.lstat().st_uid
            except OSError:
                continue
            return "" if uid == os.geteuid() else f"run this as {user_name(uid)}, who owns {path}"
        return ""

    def user_name(uid: int) -> str:
        """The login of a user of this computer, or a word with the number where it has none."""
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"uid-{uid}"


def login() -> str:
    """The user who runs this program; also where the system has no name for the number, as in a container."""
    return user_name(os.getuid()) if sys.platform != "win32" else os.environ.get("USERNAME", "unknown")

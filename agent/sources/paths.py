"""From a path as the client wrote it to one of this computer's, and from there to rsync's. Pure functions: no file is looked at.

The client may run on another computer, or on Windows while the agent does not: each root says under which names it is seen.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath, PureWindowsPath

from agent.errors import InvalidInput

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4096
PRIVATE_PREFIX = ".cumulus."
FOLDER = re.compile(r"Job_([1-9][0-9]{0,14})_[A-Za-z0-9._-]{1,200}")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_DEVICES = ("?", ".")  # \\?\ and \\.\ lead to anything


@dataclass(frozen=True)
class Named:
    """A path as a person or client wrote it: ``anchor`` is ``/``, ``C:/`` or ``//server/share/``; ``parts`` what follows."""

    anchor: str
    parts: tuple[str, ...]

    @property
    def is_windows(self) -> bool:
        """Whether it is a name of Windows, where upper and lower case are one."""
        return self.anchor != "/"

    def below(self, other: "Named") -> tuple[str, ...] | None:
        """What follows ``other`` in this path; None where it lies elsewhere."""
        mine, theirs = (self.anchor, *self.parts), (other.anchor, *other.parts)
        if self.is_windows:
            mine, theirs = tuple(map(str.casefold, mine)), tuple(map(str.casefold, theirs))
        return self.parts[len(other.parts) :] if mine[: len(theirs)] == theirs else None


@dataclass(frozen=True)
class Root:
    """A folder that the agent may read below: its path here, and the names under which clients see it."""

    path: str
    seen_as: tuple[Named, ...]


def parse(text: str, *, field: str = "files") -> Named:
    """Read an absolute path of Linux or Windows; slashes of Windows may lean either way. Raises InvalidInput."""
    _require_text(text, field)
    if _DRIVE.match(text):
        anchor, rest, windows = f"{text[0].upper()}:/", text[3:], True
    elif text[:2].replace("\\", "/") == "//":
        anchor, rest, windows = *_share(text, field), True
    elif text.startswith("/"):
        anchor, rest, windows = "/", text[1:], False
    else:
        raise InvalidInput(f"{text!r} is not an absolute path", field=field)
    parts = tuple(part for part in (rest.replace("\\", "/") if windows else rest).split("/") if part)
    for part in parts:
        _require_part(part, text, field)
    return Named(anchor, parts)


def locate(text: str, roots: Iterable[Root], *, field: str = "files") -> str:
    """The path on this computer that a client's path means. Raises InvalidInput where it is below no root."""
    named = parse(text, field=field)
    if not named.parts:
        raise InvalidInput(f"{text!r} names no file", field=field)
    for root in roots:
        for seen in root.seen_as:
            if rest := named.below(seen):
                return str(_own(root.path).joinpath(*rest))
    raise InvalidInput(f"the agent may not read {text!r}: it lies below none of its roots", field=field)


def base_name(path: str, *, field: str = "files") -> str:
    """What a source is called in the storage. Raises InvalidInput for a name that cannot be there."""
    name = _own(path).name
    if name.startswith(PRIVATE_PREFIX):
        raise InvalidInput(f"{name!r} begins as Cumulus's own files do", field=field)
    return name


def parent(path: str) -> str:
    """The folder that a source lies in."""
    return str(_own(path).parent)


def for_rsync(path: str) -> str:
    """A local path as rsync knows it: one of Windows as Cygwin's, others as they are."""
    named = parse(path, field="path")
    if not named.is_windows:
        return path
    if named.anchor.startswith("//"):
        return named.anchor + "/".join(named.parts)
    return "/".join(("/cygdrive", named.anchor[0].lower(), *named.parts))


def printable(path: object) -> str:
    """A path as text, for people and for a database; bytes that are no text are replaced."""
    return os.fsencode(str(path)).decode(errors="replace")


def job_folder(text: str, number: int) -> str:
    """A job's folder as the controller names it. Raises InvalidInput for anything else."""
    found = FOLDER.fullmatch(text)
    if not found or int(found[1]) != number:
        raise InvalidInput(f"{text[:100]!r} is not the folder of job {number}", field="job_dir")
    return text


def _own(path: str) -> PurePath:
    return PureWindowsPath(path) if parse(path).is_windows else PurePath(path)


def _share(text: str, field: str) -> tuple[str, str]:
    server, _, rest = text[2:].replace("\\", "/").partition("/")
    share, _, rest = rest.partition("/")
    if not share or server in ("", "..", *_DEVICES) or share in _DEVICES or share == "..":
        raise InvalidInput(f"{text!r} names no share", field=field)
    return f"//{server}/{share}/", rest


def _require_text(text: str, field: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{text!r} has characters that no file name can have", field=field) from None
    if not 0 < size <= MAX_PATH_BYTES or "\0" in text:
        raise InvalidInput("a path is empty, too long or has a NUL byte", field=field)


def _require_part(part: str, text: str, field: str) -> None:
    if part in (".", ".."):
        raise InvalidInput(f"{text!r} has {part!r} in it", field=field)
    if len(part.encode()) > MAX_NAME_BYTES:
        raise InvalidInput("a file name is too long", field=field)

"""The results of a snapshot's smoke test: which apps' version commands succeeded there, and what they printed.

Owns how one app's result is recorded and compared. Each cloud keeps the record in its own place.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MAX_VERSION = 200  # characters of what a version command printed


@dataclass(frozen=True)
class AppResult:
    """An app whose version command succeeded. ``command``: the digest of that command; ``version``: what it printed first."""

    command: str
    version: str


class SmokeResults(Protocol):
    """What is known of the apps on the machines that are made now."""

    @property
    def are_known(self) -> bool:
        """Whether anybody wrote down which apps were tried; versions before 2.4 did not."""

    def version(self, app: str, command: str) -> str | None:
        """What the app's version command printed, "" where nobody knows; None where it has not succeeded."""

    def lacks(self, app: str, command: str) -> bool:
        """Whether it has not succeeded, as far as that is known at once."""


@dataclass(frozen=True)
class RecordedResults:
    """What a snapshot remembers. ``found``: by :func:`short` of the app's id."""

    found: Mapping[str, AppResult]
    are_known = True

    def version(self, app: str, command: str) -> str | None:
        """What was printed when the snapshot was tried; None for another command, too."""
        tried = self.found.get(short(app))
        return tried.version if tried and tried.command == short(command) else None

    def lacks(self, app: str, command: str) -> bool:
        """As :meth:`version` says."""
        return self.version(app, command) is None


@dataclass(frozen=True)
class NoResults:
    """Of a snapshot that remembers none, or where there is none yet: nothing is held against any app."""

    are_known = False

    def version(self, app: str, command: str) -> str | None:  # noqa: ARG002
        """Nobody knows."""
        return ""

    def lacks(self, app: str, command: str) -> bool:  # noqa: ARG002
        """Nobody knows."""
        return False


def short(text: str) -> str:
    """A text's digest, short enough for a cloud's metadata."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def to_json(apps: Mapping[str, AppResult]) -> dict[str, dict[str, str]]:
    """Apps by id as objects that people can read."""
    return {app: {"command": tried.command, "version": tried.version} for app, tried in apps.items()}


def from_json(apps: Any) -> RecordedResults:
    """What :func:`to_json` made. Raises ValueError for anything else."""
    try:
        return RecordedResults({short(app): AppResult(str(one["command"]), str(one["version"])) for app, one in apps.items()})
    except (AttributeError, KeyError, TypeError):
        raise ValueError("these are no apps of a snapshot") from None

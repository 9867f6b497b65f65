"""A job's files to a controller elsewhere, by resumable uploads, and what the sender should know of them.

Owns the order: what the storage has is said first, then each file is sent; the controller lets the job continue with the last.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from cumulus_client.client import Cumulus
from programs.errors import explained
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr
from server.errors import InvalidInput
from server.progress import MB, Step

SHARED = "data/"  # where a shared file is, unless the storage has another one of its name
APART = "the storage has another file of this name; this one is kept with its job alone"


@dataclass
class Sending:
    """Sends the files of one job, or of those of a batch. ``notes``: lines that the sender should read."""

    cumulus: Cumulus
    step: Step
    total: int
    notes: set[str] = field(default_factory=set)
    _shared: set[Path] = field(default_factory=set)
    _sent: int = 0

    def of_job(self, job: int, shared: Sequence[Path], local: Sequence[Path], stored: Iterable[str]) -> None:
        """Send a job's files. A shared one that is there for an earlier job is not sent again. Raises ApiError, InvalidInput."""
        for name in stored:
            self.cumulus.uploads.stored(job, name)
        for path in shared:
            if path in self._shared:
                self.cumulus.uploads.stored(job, path.name)
            elif self._send(path, job).startswith(SHARED):
                self._shared.add(path)
            else:
                self.notes.add(f"{path.name}: {APART}")
        for path in local:
            self._send(path, job)

    def _send(self, path: Path, job: int) -> str:
        """Where it is now."""
        before = self._sent

        def advance(done: int, _total: int) -> None:
            self.step.advance((before + done) / MB, max(self.total, before + done) / MB)

        with naming(path):
            sent = self.cumulus.uploads.send(path, job, advance=advance)
        self._sent += sent.length
        return sent.place


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A file that cannot be read is named. Raises InvalidInput."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path} cannot be sent: {explained(error)}", field="input") from None


@contextmanager
def sending(cumulus: Cumulus, what: str, files: Iterable[Path]) -> Iterator[Sending]:
    """Send within the block, with a live line on standard error; then say what the sender should know. Raises InvalidInput."""
    with progress_on_stderr(PATIENCE_S).step(what, "MB") as step:
        made = Sending(cumulus, step, sum(map(_size, files)))
        yield made
    for text in sorted(made.notes):
        click.echo(printable(text), err=True)


def require_files(paths: Iterable[Path]) -> None:
    """Raises InvalidInput for a folder, before anything is submitted."""
    for path in paths:
        if path.is_dir():
            text = "is a folder, which cannot be sent over the network yet: have the agent send it, and name it by --shared"
            raise InvalidInput(f"{printable(path.name)} {text}", field="input")


def _size(path: Path) -> int:
    with naming(path):
        return path.stat().st_size

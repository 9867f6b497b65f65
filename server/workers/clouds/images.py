"""What machines are made from: a template that is built once, and the snapshots of it that were smoke-tested and promoted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from server.progress import Progress
from server.workers.clouds.smoke_results import SmokeResults


@dataclass(frozen=True)
class Snapshot:
    """A copy of the template that workers can start from. ``created``: Unix seconds."""

    name: str
    promoted: bool
    created: float


@dataclass(frozen=True)
class SmokeTest:
    """What is run on a machine of a new snapshot before the snapshot is promoted.

    ``versions``: (app id, shell text) pairs, each must succeed there; ``programs``: names that are looked for and may be absent;
    ``optional``: app id -> the one of those without which it need not succeed. The results are kept with the snapshot, unless
    no programs are looked for: such a machine is made only for its memory.
    """

    versions: Sequence[tuple[str, str]] = ()
    programs: Sequence[str] = ()
    optional: Mapping[str, str] = field(default_factory=dict)


class Template(Protocol):
    """The machine that workers are copies of, and its snapshots. Long steps report to ``progress``."""

    def build(self, progress: Progress, *, fresh: bool = False) -> None:
        """Make the template's disk with the apps on it; does nothing where there is one, unless ``fresh``."""

    def exists(self) -> bool:
        """Whether there is a template's disk."""

    def boot(self, progress: Progress) -> str:
        """Start the template's machine; returns the command that logs in on it."""

    def stop(self, progress: Progress) -> None:
        """Shut the template's machine down; its disk stays."""

    def take_snapshot(self, test: SmokeTest, progress: Progress) -> Snapshot:
        """Copy the template, test a machine of the copy, promote it if all is well.

        The one promoted before is kept. Raises CumulusError; then nothing has changed.
        """

    def snapshots(self) -> list[Snapshot]:
        """All that can be promoted, oldest first."""

    def roll_back(self) -> str:
        """Promote the one before the promoted one; returns a sentence. Raises TemplateMissing where there is none."""

    def prune(self, keep: int, progress: Progress) -> list[str]:
        """Remove all but the newest ``keep``; returns the names of the removed ones.

        Never the promoted one, the one before it, or one that a machine was made from.
        """


class WorkerImages(Protocol):
    """What new machines of a cloud are made from, and what is known of the programs on it."""

    def template(self) -> Template:
        """What workers are copies of."""

    def check(self) -> str:
        """A hint about the promoted snapshot, "" for none. Raises TemplateMissing where there is none."""

    def current(self) -> str:
        """The name of the promoted snapshot. Raises TemplateMissing where there is none."""

    def starts_jobs_at_boot(self) -> bool:
        """Whether a machine made now starts the job that it is made for by itself, from ``Layout.job_variables``."""

    def has_program(self, name: str) -> bool:
        """Whether machines made now have the program; True where that is not known."""

    def smoke_results(self, snapshot: str = "") -> SmokeResults:
        """The smoke test of the promoted snapshot, or of the one of that name. Raises TemplateMissing, CloudError."""

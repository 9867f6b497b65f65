"""Carrying files to the storage: what is there, what differs, sending into a folder of the upload's own, names, the end of a job.

Runs rsync, and does what rsync cannot, for each kind of target. What follows from an outcome is decided in sender.py.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import structlog

from agent.sending import publish
from agent.sending.children import Children, Command, Outcome
from agent.sending.rsync import Rsync
from agent.sending.rsync_output import Item, Progress
from agent.sending.ssh import ssh_command
from agent.sending.staging import Load, Source, staged
from agent.sending.target import Kind, Target
from agent.settings import Settings

MANIFEST = ".cumulus.manifest"
MARKER = ".cumulus.rsync"
EXIT_REFUSED = 13  # as cumulus-receive ends where it does not do what it is asked
Heard = Callable[[Item | Progress], None]
log = structlog.get_logger()


class Carrier:
    """Carries to one target."""

    def __init__(self, settings: Settings, target: Target, rsync: Rsync, children: Children) -> None:
        self._settings = settings
        self._target = target
        self._rsync = rsync
        self._children = children

    def load(self, sources: Sequence[Source]) -> AbstractContextManager[Load]:
        """Sources of one folder, ready to be carried."""
        return staged(self._settings.home, sources)

    def list_taken(self, load: Load, place: str, transfers: Iterable[int]) -> Outcome:
        """Find the names that are taken there: ``answer`` is a JSON list of them."""
        if self._target.kind is Kind.DAEMON:
            listed = self._children.run(self._rsync.list_new(load, place), transfers)
            new = {path for path, item in listed.items.items() if not item.is_same}
            return replace(listed, answer=json.dumps([name for name in load.names if name not in new]))
        names = list(load.names)
        return self._do("look", place, names, lambda top: publish.there(top, names), f"there({{}}, {names!a})", transfers)

    def finish(self, folder: str, manifest: str) -> Outcome:
        """Write a job's manifest and its marker: all its files are there."""
        if self._target.kind is Kind.DAEMON:
            return self._finish_by_rsync(folder, manifest)
        place = f"jobs/{folder}"
        return self._do(
            "finish", place, json.loads(manifest), lambda top: publish.finish(top, manifest), f"finish({{}}, {manifest!a})"
        )

    def compare(self, load: Load, place: str, transfers: Iterable[int], upload: str = "") -> Outcome:
        """What is there, or in the folder of an upload, compared by checksums."""
        command = self._rsync.compare(load, f"{place}/{upload}" if upload else place)
        return _in_own_words(load, self._children.run(command, transfers))

    def send(self, load: Load, place: str, upload: str, transfers: Iterable[int], heard: Heard, *, checksum: bool) -> Outcome:
        """Send into the folder of an upload."""
        command = self._rsync.send(load, f"{place}/{upload}", checksum=checksum)
        return _in_own_words(load, self._children.run(command, transfers, heard))

    def publish(self, load: Load, place: str, upload: str, transfers: Iterable[int], *, over: bool) -> Outcome:
        """Give the files in an upload's folder their names; ``answer`` is a JSON list of the names that were taken already."""
        if self._target.kind is Kind.DAEMON and not load.names:
            return self._discard_by_rsync(place, upload)
        if self._target.kind is Kind.DAEMON:
            return self._publish_by_rsync(load, place, upload, transfers, over=over)
        names = list(load.names)
        call = f"publish({{}}.parent, {upload!r}, {names!a}, replace={over})"
        return self._do(
            "publish",
            f"{place}/{upload}",
            names,
            lambda top: publish.publish(top.parent, upload, names, replace=over),
            call,
            transfers,
        )

    def discard(self, place: str, upload: str) -> None:
        """Remove the folder of an upload, if it can be done now; else the controller does it in time."""
        outcome = self.publish(Load("", ()), place, upload, (), over=False)
        if outcome.code:
            log.info("what was left of an upload could not be removed", place=place, upload=upload, detail=outcome.stderr[:300])

    def _do(
        self,
        verb: str,
        place: str,
        given: object,
        here: Callable[[Path], object],
        call: str,
        transfers: Iterable[int] = (),
    ) -> Outcome:
        """Run a function of :mod:`agent.sending.publish` where the storage is: here, by cumulus-receive, or by a Python there."""
        if self._target.kind is Kind.LOCAL:
            return _outcome(place, lambda: here(Path(self._target.at(place))))
        words, text = f"cumulus {verb} {place}", json.dumps(given)
        if self._target.path:
            there = f"Path({self._target.path + place!r}).expanduser()"
            program = Path(publish.__file__).read_text(encoding="utf-8")
            words, text = "python3 -ISs -", f"{program}\nimport json\nprint(json.dumps({call.replace('{}', there, 1)}))\n"
        argv = (*ssh_command(self._settings, shared=True), self._target.login, words)
        return self._children.ask(Command(argv), text, transfers)

    def _finish_by_rsync(self, folder: str, manifest: str) -> Outcome:
        """The marker is the last file of all: what the controller finds before it is there is not complete."""
        with tempfile.TemporaryDirectory() as beside:
            for name, text in ((MANIFEST, manifest), (MARKER, "")):
                file = Path(beside) / name
                file.write_text(text)
                outcome = self._children.run(self._rsync.put(file, f"jobs/{folder}/{name}"))
                if outcome.code:
                    break
        return outcome

    def _publish_by_rsync(self, load: Load, place: str, upload: str, transfers: Iterable[int], *, over: bool) -> Outcome:
        """Hard links, which replace nothing; but two agents that do so in the same instant could mix two folders of one name."""
        linked = self._children.run(self._rsync.link(load, place, upload, replace=over), transfers)
        if linked.code:
            return linked
        taken = [] if over else [name for name in load.names if (item := linked.items.get(name)) is None or item.is_same]
        return replace(self._discard_by_rsync(place, upload), answer=json.dumps(taken))

    def _discard_by_rsync(self, place: str, upload: str) -> Outcome:
        with tempfile.TemporaryDirectory() as empty:
            return self._children.run(self._rsync.discard(empty, place, upload))


def _in_own_words(load: Load, outcome: Outcome) -> Outcome:
    """What rsync said, with the names that people know: they have not put anything into a folder of the agent's."""
    return replace(outcome, stderr=outcome.stderr.replace(f"{load.folder}/", "")) if load.follow else outcome


def _outcome(place: str, work: Callable[[], object]) -> Outcome:
    """The outcome of work in this process, as if another program had done it."""
    try:
        return Outcome(0, answer=json.dumps(work()))
    except FileNotFoundError:
        return Outcome(EXIT_REFUSED, stderr=f"there is no folder {place}")
    except OSError as problem:
        return Outcome(EXIT_REFUSED, stderr=f"the storage refuses {place}: {problem.strerror}")

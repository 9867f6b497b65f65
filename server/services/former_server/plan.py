"""What taking over a former installation would do, row by row, before anything is written: counts, and what is remarkable.

Also what keeps it from being done at all.
"""

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from programs.database.sqlite import connect, reading_mode
from server.catalog.apps import Catalog
from server.catalog.files import one_form
from server.catalog.flavors import Flavors
from server.db.connection import require_file
from server.errors import CumulusError
from server.progress import Advance
from server.services.former_server.database import FormerDatabase, FormerUnusable
from server.services.former_server.folders import STANDS_FOR
from server.services.former_server.taken import Surroundings, TakenJob, Unfit
from server.states import JobState
from server.storage.folders import Storage

DAY_S = 24 * 3600


class ImportRefused(CumulusError):
    """The former installation cannot be taken over as things are."""

    code = "import_refused"


@dataclass(frozen=True)
class Here:
    """What the own database has: the folder of each job, the numbers of those that are gone."""

    folders: dict[int, str]
    gone: frozenset[int]


@dataclass
class NamedApp:
    """An app that former jobs ran. ``misfits``: how many of their forms it would not take today, ``first``: one of those."""

    jobs: int = 0
    known: bool = False
    misfits: int = 0
    first: int | None = None
    why: str = ""


@dataclass
class NamedFlavor:
    """A machine size that former jobs ran on."""

    jobs: int = 0
    known: bool = False


@dataclass
class ImportPlan:
    """What would become of a former installation. Numbers of jobs, unless said otherwise; ``jobs``: by their new state.

    ``due``: what this installation's retention would archive at its next cleaning; ``data``: entries of the shared data that some
    job names, and that none does (those are never removed); ``last``: no new job gets a number up to this.
    """

    rows: int
    last: int
    jobs: dict[str, int] = field(default_factory=dict)
    there_already: int = 0
    deleted_since: list[int] = field(default_factory=list)
    unfinished: dict[int, str] = field(default_factory=dict)
    at_work: list[int] = field(default_factory=list)
    taken_numbers: list[int] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)
    without_folder: dict[int, str] = field(default_factory=dict)
    read_only: list[str] = field(default_factory=list)
    folders_without_job: list[str] = field(default_factory=list)
    forms_unreadable: list[int] = field(default_factory=list)
    followed_nothing: list[int] = field(default_factory=list)
    apps: dict[str, NamedApp] = field(default_factory=dict)
    flavors: dict[str, NamedFlavor] = field(default_factory=dict)
    data: dict[str, int] = field(default_factory=lambda: {"known": 0, "unknown": 0})
    due: int = 0

    def require_possible(self, storage: Storage) -> None:
        """Raises ImportRefused."""
        if self.taken_numbers:
            raise ImportRefused(
                f"this installation has other jobs under numbers of the former's ({_few(self.taken_numbers)}): "
                "take an empty home for it (CUMULUS_HOME)"
            )
        if self.at_work:
            raise ImportRefused(
                f"machines still write into the folders of jobs {_few(self.at_work)}: wait for their end, "
                "start the former server once more, so that it notes how they ended, stop it, and begin again"
            )
        if self.read_only:
            raise ImportRefused(
                f"this user may not write into {len(self.read_only)} job folders of {storage.jobs} ({_few(self.read_only)}), "
                "and each gets a file more: run this as their owner, or as root"
            )
        lost = len(self.without_folder)
        if lost and lost == self.rows - len(self.left_out) and sum(self.jobs.values()) == lost and not self._all_were_archived():
            raise ImportRefused(f"none of the jobs' folders is in {storage.jobs}: it is another storage, or not mounted")

    def _all_were_archived(self) -> bool:
        return all(why == "archived" for why in self.without_folder.values())


@dataclass
class Surveyor:
    """Looks at all rows once. ``here``: what this installation has already."""

    former: FormerDatabase
    around: Surroundings
    here: Here
    max_age_days: int
    plan: ImportPlan = field(init=False)
    _named: set[str] = field(default_factory=set)
    _folders: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.plan = ImportPlan(self.former.number, self.former.last)

    def survey(self, advance: Advance) -> ImportPlan:
        """The plan. ``advance``: in jobs. Raises FormerUnusable."""
        for number, found in enumerate(self.each(), 1):
            advance(number, self.former.number)
            if isinstance(found, TakenJob):
                self._note(found)
        plan = self.plan
        plan.folders_without_job = sorted(
            name for name in self.around.folders if name not in self._folders and not name.startswith(STANDS_FOR)
        )
        plan.data["known"] = sum(name in self._named for name in self.around.data)
        plan.data["unknown"] = len(self.around.data) - plan.data["known"]
        return plan

    def each(self) -> Iterator[TakenJob | None]:
        """The jobs that rows become; None for a row that is left out, or is here already."""
        for job in self.former.jobs():
            try:
                taken = self.around.take(job)
            except Unfit as problem:
                self.plan.left_out[job.id] = problem.message
                self._folders.add(job.folder)
                yield None
                continue
            yield taken if self._is_new(taken) else None

    def _is_new(self, taken: TakenJob) -> bool:
        number, plan = taken.former.id, self.plan
        self._folders.add(taken.former.folder)
        self._named.update(map(one_form, taken.inputs))
        if number in self.here.gone:
            plan.deleted_since.append(number)
        elif number not in self.here.folders:
            return True
        elif self.here.folders[number] in (taken.folder.name, f"{STANDS_FOR}{number}"):
            plan.there_already += 1
        else:
            plan.taken_numbers.append(number)
        return False

    def _note(self, taken: TakenJob) -> None:
        job, plan = taken.former, self.plan
        plan.jobs[taken.state] = plan.jobs.get(taken.state, 0) + 1
        if taken.was_unfinished:
            plan.unfinished[job.id] = job.status
        if taken.folder.problem:
            plan.without_folder[job.id] = "archived" if job.status.startswith("ARCHIVED") else taken.folder.problem
        elif not taken.folder.writable:
            plan.read_only.append(taken.folder.name)
        if taken.folder.at_work and taken.was_unfinished:
            plan.at_work.append(job.id)
        if job.start_after and not taken.start_after:
            plan.followed_nothing.append(job.id)
        if self._is_due(taken):
            plan.due += 1
        self._note_needs(taken)

    def _note_needs(self, taken: TakenJob) -> None:
        job, plan = taken.former, self.plan
        app = plan.apps.setdefault(job.app, NamedApp(known=job.app in self.around.apps))
        app.jobs += 1
        if taken.fault and not app.known:
            plan.forms_unreadable.append(job.id)
        elif taken.fault:
            app.misfits += 1
            app.first, app.why = app.first or job.id, app.why or taken.fault
        flavor = plan.flavors.setdefault(job.flavor, NamedFlavor(known=job.flavor in self.around.flavors))
        flavor.jobs += 1

    def _is_due(self, taken: TakenJob) -> bool:
        if taken.folder.problem:
            return False
        ended = taken.former.ended or taken.former.created
        return taken.state is JobState.ARCHIVED or self.around.now - ended > self.max_age_days * DAY_S


def surroundings(storage: Storage, catalog: Catalog, flavors: Flavors, former: FormerDatabase, now: float) -> Surroundings:
    """What the rows are looked at with. Raises FormerUnusable."""
    numbers = former.numbers()
    data = {one_form(name) for name in _names(storage.data)}
    return Surroundings(storage, catalog.apps(), flavors, _names(storage.jobs), data, numbers, now)


def read_here(database: Path) -> Here:
    """What the own database has; nothing where there is none.

    Raises FormerUnusable, DatabaseUnusable, since nothing can be added to it then.
    """
    if not require_file(database):
        return Here({}, frozenset())
    try:
        with closing(connect(database, *reading_mode(database))) as connection:
            folders = dict(connection.execute("SELECT id, folder FROM job WHERE state <> 'deleted'"))
            known = connection.execute("SELECT DISTINCT subject_id FROM event WHERE subject = 'job'")
            return Here(folders, frozenset(number for (number,) in known if number not in folders))
    except sqlite3.Error as problem:
        raise FormerUnusable(f"this installation's own database {database} cannot be read: {problem}") from None


def _names(folder: Path) -> set[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        return {entry.name for entry in entries if not entry.name.startswith(".")}
    return set()


def _few(things: Collection[object]) -> str:
    shown = [str(thing) for _, thing in zip(range(5), things, strict=False)]
    return ", ".join(shown) + (f" and {len(things) - len(shown)} more" if len(things) > len(shown) else "")

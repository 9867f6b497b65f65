"""Which of the jobs that wait for their files a turn of the loop looks at: there may be ten thousand, and it is woken often.

A job that was looked at and lacks its files is left alone until something appears in its folder. Its limits, and what cannot be
heard of, are seen when all are looked at, after a pause.
"""

from collections.abc import Collection

from server.db.models import Job
from server.db.queries import jobs_numbered, uploading_numbers
from server.settings import Settings
from server.storage.file_watcher import FileWatcher
from server.storage.folders import Storage

INSPECTIONS = 4  # of each job, in the time after which a heartbeat is late


class AwaitedFiles:
    """What the jobs of one loop wait for in their folders. ``is_empty``: no job waits for its files."""

    def __init__(self, settings: Settings, storage: Storage, watcher: FileWatcher) -> None:
        self._settings = settings
        self._storage = storage
        self._watcher = watcher
        self._left_alone: dict[str, int] = {}  # numbers of jobs by their folders
        self._all_at = 0.0
        self._hears_all = False
        self.is_empty = True

    @property
    def pause_s(self) -> float:
        """Seconds after which all folders are looked at again: while no change can be missed, only heartbeats need that."""
        settings = self._settings
        return settings.heartbeat_late_s / INSPECTIONS if self._hears_all else settings.poll_interval_s

    def due(self, started: Collection[Job], now: float | None) -> list[Job]:
        """The waiting jobs to look at. What appears in their folders from now on, and in those of ``started``, wakes the loop.

        ``now``: seconds that never jump; None: all of them.
        """
        looks_at_all = now is None or now >= self._all_at
        numbers = set(uploading_numbers())
        for folder in self._watcher.heard():
            self._left_alone.pop(folder, None)
        if looks_at_all:
            self._left_alone.clear()
        elif not numbers.issuperset(self._left_alone.values()):
            self._left_alone = {folder: number for folder, number in self._left_alone.items() if number in numbers}
        found = jobs_numbered(sorted(numbers.difference(self._left_alone.values())))
        self._hears_all = self._watcher.listen_only_to(
            {*self._left_alone, *(job.folder for job in found), *(job.folder for job in started)}
        )
        if looks_at_all and now is not None:
            self._all_at = now + self.pause_s
        self.is_empty = not numbers
        return found

    def looked_at(self, job: Job) -> None:
        """Leave it alone from now on if it waits for nothing but its files."""
        if job.start_after is None and not job.not_before and not self._storage.folder(job.folder).has_arrived():
            self._left_alone[job.folder] = job.id

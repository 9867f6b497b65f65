"""Renews the leases of the machines that started jobs run on: a machine whose lease runs out switches itself off."""

from collections.abc import Callable

from server.storage.folders import JobFolder

LONGEST_S = 3600.0
RENEWALS = 8  # in the time of a lease


class Leases:
    """The renewals of one controller; in memory, so that a new controller renews at once. ``steady``: seconds that never jump."""

    def __init__(self, lease_s: float, steady: Callable[[], float]) -> None:
        self._interval_s = min(LONGEST_S, lease_s / RENEWALS)
        self._steady = steady
        self._due: dict[str, float] = {}

    def renew(self, folder: JobFolder) -> None:
        """Renew the lease of the job's machine if that is due."""
        now = self._steady()
        if now >= self._due.get(folder.name, now):
            folder.renew_lease()
            self._due[folder.name] = now + self._interval_s

    def keep_only(self, names: set[str]) -> None:
        """Forget all others."""
        self._due = {name: due for name, due in self._due.items() if name in names}

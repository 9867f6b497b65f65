"""Lists of jobs in the desktop client's shape, one of them with all its details. Answers are kept while nothing changes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from flask import Response

from server.api.desktop.words import escaped, wire_status
from server.api.response_cache import Reused
from server.api.responses import Ready, answer_parts, answer_stream, array
from server.catalog.flavors import Flavors
from server.catalog.settings_text import parse_settings
from server.db.change_counter import ChangeCounter
from server.db.models import Job
from server.db.search import Listed, Query
from server.errors import InvalidInput
from server.services.jobs.figures import parse_figures
from server.services.jobs.listings import JobListings
from server.services.principal import Principal

ANYBODY = Principal.desktop("")  # a list is asked for without a name, and shows all jobs
MAX_REUSED_ROWS = 1000  # a longer list is sent as its rows are read, and not kept


class JobLists:
    """Lists of the jobs. ``commits``: says whether a row has changed."""

    def __init__(self, listings: JobListings, flavors: Flavors, commits: ChangeCounter, reused: Reused) -> None:
        self._listings = listings
        self._flavors = flavors
        self._commits = commits
        self._reused = reused

    def answer(self, query: Query, shown: int) -> Response:
        """The jobs that a query finds; the one ``shown`` with its details, also if it is older than all of those."""
        if query.limit is None or query.limit > MAX_REUSED_ROWS:
            return answer_stream(array(self._rows(query, shown)))
        return answer_parts(
            self._reused.get((query, shown), lambda: self._stamp(shown), lambda: list(array(self._rows(query, shown))))
        )

    def _stamp(self, shown: int) -> object:
        """What a list is made from: all rows, and the files of the job shown."""
        name, *state = self._reused.get(shown, self._commits.number, lambda: self._known(shown)) if shown else [b""]
        if not name:
            return self._commits.number()
        return self._commits.number(), self._listings.stamp(name.decode(), state[0].decode())

    def _known(self, shown: int) -> list[bytes]:
        found = self._listings.known(shown)
        return [part.encode() for part in found] if found else [b""]

    def _rows(self, query: Query, shown: int) -> Iterator[dict[str, Any] | Ready]:
        """The job shown is among them if it matches, also where it is older than as many as were asked for."""
        missing = bool(shown)
        for job in self._listings.found(ANYBODY, query):
            if job.id != shown:
                yield self._row(job)
                continue
            missing = False
            yield from self._details(job)
        if missing:
            for job in self._listings.found(ANYBODY, replace(query, only=shown, limit=1)):
                yield from self._details(job)

    def _row(self, job: Job | Listed) -> dict[str, Any]:
        return {
            "id": job.id,
            "owner": job.owner,
            "app_name": job.app,
            "status": wire_status(job),
            "strategy": job.flavor if job.flavor in self._flavors else "",
            "host": "",
            "creation_date": _seconds(job.created),
            "end_date": _seconds(job.ended),
            "start_after_id": job.start_after,
            "workflow_name": job.workflow,
        }

    def _details(self, job: Listed) -> Iterator[Ready]:
        found = self._listings.shown(ANYBODY, job)
        if found is None:  # it was deleted just now
            return
        full = found.job
        row = {
            **self._row(full),
            "description": full.description,
            "settings": {str(full.id): _settings_object(full.settings)},
            "start_date": _seconds(full.started),
            "log": escaped(found.log),
            **_findings(full),
        }
        yield Ready((json.dumps(row, ensure_ascii=True)[:-1].encode(), b', "files": ', found.files.json, b"}"))


def _findings(job: Job) -> dict[str, Any]:
    """What the desktop client does not look at, where there is any."""
    found = {"warning": job.warning, "figures": parse_figures(job.figures)}
    return {name: value for name, value in found.items() if value}


def _settings_object(text: str) -> dict[str, Any]:
    """What the client fills its form with; it cannot bear null, which means the same as nothing there."""
    try:
        settings = parse_settings(text)
    except InvalidInput:
        return {}
    return {name: value for name, value in settings.items() if value is not None}


def _seconds(time: float | None) -> int | None:
    return None if time is None else int(time)

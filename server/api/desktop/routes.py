"""The REST contract of the existing desktop client (2.2.x). Owns its words and shapes; what they mean is decided in ``jobs``.

The client shows nothing of an HTTP error, so what there is to say is said with status 200 in the documented shape.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import structlog
from flask import Blueprint, Response, request, send_file
from werkzeug.datastructures import Range
from werkzeug.exceptions import HTTPException, RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper

from server.api.desktop.app_listing import offered
from server.api.refusals import DATABASE_ERRORS, FAILED, START, database_failed, marked, or_without, refusal
from server.api.response_cache import Reused, Unhurried
from server.api.responses import Ready, answer, answer_parts, answer_stream, array, encoded, harmless, harmless_name
from server.catalog.apps import Catalog
from server.catalog.flavors import Flavors
from server.catalog.settings_text import parse_settings
from server.db.change_counter import ChangeCounter
from server.db.models import Job
from server.db.queries import known_job
from server.db.search import Listed, Query, find, listed, named_apps, require_short
from server.engine.history import last_word, remarks
from server.errors import CumulusError, InvalidInput
from server.services.figures import parse_figures
from server.services.jobs import JobService, Submission
from server.services.submission import parse_number
from server.settings import Settings
from server.states import JobState
from server.storage.data import each_behind, listing, usage
from server.storage.folders import Storage
from server.storage.logs.job_log import Logs, stamp
from server.storage.outputs import Outputs
from server.storage.paths import inside

MAX_NAMES = 10_000
MAX_NAMES_TEXT = 4_000_000  # characters of the JSON that gives them
MAX_FOUND = 100_000  # files behind the names
MAX_REUSED_ROWS = 1000  # a longer list is sent as its rows are read, and not kept
USUAL_ROWS = 100
_NOT_IN_A_URL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
log = structlog.get_logger()

_STATES = {
    word: frozenset(state for state in JobState if state.wire == word.upper())
    for word in ("pending", "preparing", "running", "done", "failed", "cancelled", "archived")
}


def wire_status(job: Job | Listed) -> str:
    """The client's word for where a job stands."""
    state = JobState(job.state)
    return f"{state.wire}_{str(job.outcome).upper()}" if state is JobState.ARCHIVED else state.wire


class DesktopRoutes:
    """The client's routes over the parts that answer them."""

    def __init__(
        self,
        settings: Settings,
        version: str,
        jobs: JobService,
        catalog: Catalog,
        flavors: Flavors,
        storage: Storage,
        commits: ChangeCounter,
    ) -> None:
        self._settings = settings
        self._version = version
        self._jobs = jobs
        self._catalog = catalog
        self._flavors = flavors
        self._storage = storage
        self._commits = commits
        self._reused = Reused()
        self._logs = Logs()
        self._outputs = Outputs(_can_be_fetched)
        self._shared = Unhurried(lambda: listing(storage.data, ()))
        self._walking = threading.Lock()
        self._costly = threading.Lock()

    def blueprint(self) -> Blueprint:
        """The routes, each as the client writes it: trailing slashes are only for one, and some have two at the beginning."""
        routes = Blueprint("legacy", __name__)
        get: tuple[tuple[str, Callable[..., Response]], ...] = (
            ("/config", self.config),
            ("/info", self.info),
            ("/apps", self.apps),
            ("//apps", self.apps),
            ("/joblist/<shown>/<number>", self.joblist),
            ("/joblist/<shown>/<number>/", self.joblist),  # as the former server's own documents spell it
            ("/storage", self.storage),
            ("/diskusage", self.diskusage),
            ("/cancel/<owner>/<job_id>", self.cancel),
            ("/delete/<owner>/<job_id>", self.delete),
            ("/getresults/<owner>/<job_id>/<path:path>", self.getresults),
            ("/getfile/<owner>/<path:path>", self.getfile),
            ("/log/<owner>/<job_id>", self.log),
        )
        post = {START: self.start, "/search": self.search, "/getfilecontent": self.getfilecontent, "/fail": self.fail}
        for rule, view in get:
            routes.add_url_rule(rule, f"{view.__name__}{rule.count('/')}", view)
        for rule, view in post.items():
            routes.add_url_rule(rule, view.__name__, _always_json(view, rule), methods=["POST"])
        return routes

    def config(self) -> Response:
        """Settings that override the client's own of the same name, so these and no others."""
        return answer(
            {
                "input.folder": "input",
                "output.folder": "output",
                "temp.folder": "temp",
                "data.max.age.in.days": str(self._settings.data_max_age_days),
                "controller.version": self._version,
                "client.min.version": self._settings.client_min_version,
                "openstack.max.flavor": str(self._flavors.max_weight),
            }
        )

    def info(self) -> Response:
        """The flavors, in the order of their file."""
        return answer({f.name: {"weight": f.weight, "cpu": f.cpus, "ram": f.memory_gb} for f in self._flavors.values()})

    def apps(self) -> Response:
        """The XML of all apps and workflows, and something for each app that a job names: the client's page needs it."""
        texts, apps, missing = self._catalog.texts(), self._catalog.apps(), self._jobs.not_installed()
        return answer_parts(
            self._reused.get(
                "apps",
                lambda: (or_without(self._commits.number, None), texts, missing),
                lambda: [encoded(offered(texts, apps, or_without(named_apps, []), missing))],
            )
        )

    def joblist(self, shown: str, number: str) -> Response:
        """The newest jobs; the one shown with its details, also if it is older than all of those."""
        return self._listing(Query(limit=_limit(number)), _number_or_zero(shown))

    def search(self) -> Response:
        """The jobs that match a form."""
        form = request.form
        states = frozenset[JobState]().union(*(states for name, states in _STATES.items() if name in form))
        query = Query(
            owner=form.get("owner", ""),
            app="" if form.get("app") == "all" else form.get("app", ""),
            description=form.get("description", ""),
            file=form.get("file", ""),
            states=states,
            date=form.get("date", ""),
            first=form.get("from", ""),
            last=form.get("to", ""),
            limit=_limit(form.get("number", "")),
        )
        require_short(query)
        return self._listing(query, _number_or_zero(form.get("current_job_id", "")))

    def start(self) -> Response:
        """A new job: ``[id, folder]``, or ``[message, ""]`` for the person."""
        form = request.form
        wish = Submission(
            owner=form.get("username", ""),
            app=form.get("app_name", ""),
            flavor=form.get("strategy", ""),
            settings=form.get("settings", ""),
            description=form.get("description", ""),
            start_after=form.get("start_after_id", ""),
            workflow=form.get("workflow_name", ""),
        )
        try:
            job = self._jobs.submit(wish)
        except CumulusError as error:
            log.info("a submission was refused", code=error.code, field=error.field, detail=error.message)
            return marked(answer([harmless(error.message), ""]), error.code, error.field)
        return answer([job.id, job.folder])

    def cancel(self, owner: str, job_id: str) -> Response:
        """End a job of the owner; a sentence."""
        try:
            return answer(self._jobs.cancel(parse_number(job_id, "job_id") or 0, owner))
        except CumulusError as error:
            return _refused(error)

    def delete(self, owner: str, job_id: str) -> Response:
        """Delete an ended job of the owner with its workflow; a sentence."""
        try:
            return answer(self._jobs.delete(parse_number(job_id, "job_id") or 0, owner))
        except CumulusError as error:
            return _refused(error)

    def storage(self) -> Response:
        """The top of data/ with sizes, and the files that are still to come: the client's page breaks without those."""
        awaited: list[str] = or_without(self._jobs.awaited, [])
        try:
            found = sorted({**dict.fromkeys(awaited, 0), **dict(self._shared.get())}.items())
        except OSError:  # the storage is away; the page shows nothing then, instead of waiting for ever
            found = [(name, 0) for name in awaited]
        return answer([(harmless_name(name), size) for name, size in found])

    def diskusage(self) -> Response:
        """Bytes of the storage: in all, used, free; zeros where it is away."""
        try:
            return answer(usage(self._storage.root))
        except OSError:
            return answer((0, 0, 0))

    def fail(self) -> Response:
        """The agent cannot send a file of a job."""
        form = request.form
        number = parse_number(form.get("job_id", ""), "job_id") or 0
        self._jobs.fail(number, form.get("error_message", ""), form.get("trouble", ""))
        return answer("")

    def getresults(self, owner: str, job_id: str, path: str) -> Response:
        """One result file, streamed. Raises NotFound, InvalidInput (both 404 for this route)."""
        job = self._jobs.get(parse_number(job_id, "job_id") or 0, owner)
        return _download(self._jobs.folder(job).results.file(path))

    def getfile(self, owner: str, path: str) -> Response:  # noqa: ARG002  # shared data has no owner
        """One shared file, streamed. Raises as :meth:`getresults`."""
        return _download(inside(self._storage.data, path))

    def log(self, owner: str, job_id: str) -> Response:
        """All of a job's log, streamed; what the client's page shows of a long one is a part of it. Raises NotFound."""
        job = self._jobs.get(parse_number(job_id, "job_id") or 0, owner)
        found = self._logs.whole(self._jobs.folder(job).log.path, remarks(job, self._flavors.max_weight), last_word(job))
        response = send_file(
            cast("IO[bytes]", found),
            mimetype="text/plain",
            as_attachment=True,
            download_name=f"job-{job.id}.log",
            conditional=False,
            etag=False,
        )
        response.content_length = found.size
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return _ranged(response)

    def getfilecontent(self) -> Response:
        """The files behind names in data/, folders walked, relative to data/."""
        names = _names(request.form.get("names", ""))
        with self._walking:  # a long list takes memory, so one at a time
            return answer(list(self._files_behind(names)))

    def _files_behind(self, names: list[str]) -> Iterator[str]:
        room = MAX_FOUND
        for name in names:
            found = sorted(islice(each_behind(self._storage.data, name), room))
            room -= len(found)
            yield from found
        if room == 0:
            log.warning("a list of shared files ends early", route=request.path, files=MAX_FOUND)

    def _listing(self, query: Query, shown: int) -> Response:
        if query.limit is None or query.limit > MAX_REUSED_ROWS:
            return answer_stream(array(self._rows(query, shown)))
        return answer_parts(
            self._reused.get((query, shown), lambda: self._stamp(shown), lambda: list(array(self._rows(query, shown))))
        )

    def _stamp(self, shown: int) -> object:
        """What a list is made from: all rows, and the files of the job shown."""
        name, *state = self._reused.get(shown, self._commits.number, lambda: _folder_and_state(shown)) if shown else [b""]
        if not name:
            return self._commits.number()
        folder = self._storage.folder(name.decode())
        files = self._outputs.listing(folder, has_ended=JobState(state[0].decode()).is_final)
        return self._commits.number(), stamp(folder.log.path), files.stamp

    def _rows(self, query: Query, shown: int) -> Iterator[dict[str, Any] | Ready]:
        """The job shown is among them if it matches, also where it is older than as many as were asked for."""
        missing = bool(shown)
        with self._costly if query.is_costly else nullcontext():
            for job in find(query):
                if job.id != shown:
                    yield self._row(job)
                    continue
                missing = False
                yield from self._details(job)
            if missing:
                for job in find(replace(query, only=shown, limit=1)):
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
        full = known_job(job.id)
        if full is None:  # it was deleted just now
            return
        folder = self._jobs.folder(full)
        row = {
            **self._row(full),
            "description": full.description,
            "settings": {str(full.id): _settings_object(full.settings)},
            "start_date": _seconds(full.started),
            "log": harmless(self._logs.text(folder.log.path, remarks(full, self._flavors.max_weight)) + last_word(full)),
            **_findings(full),
        }
        files = self._outputs.listing(folder, has_ended=JobState(full.state).is_final)
        yield Ready((json.dumps(row, ensure_ascii=True)[:-1].encode(), b', "files": ', files.json, b"}"))


def _folder_and_state(job_id: int) -> list[bytes]:
    job = listed(job_id)
    return [job.folder.encode(), job.state.encode()] if job else [b""]


def _refused(error: CumulusError) -> Response:
    """A sentence, as for a success: the client knows no other answer. A header tells programs the one from the other."""
    return marked(answer(error.message), error.code, error.field)


def _always_json(view: Callable[[], Response], route: str) -> Callable[[], Response]:
    """A POST route that answers its documented shape whatever happens: the client waits for ever on anything else."""

    def answered() -> Response:
        try:
            return view()
        except CumulusError as error:
            log.info("a request was refused", route=request.path, code=error.code, field=error.field, detail=error.message)
            return answer(refusal(route, error.message))
        except HTTPException as error:
            log.info("a request was refused", route=request.path, code=error.code, detail=error.description)
            return answer(refusal(route, error.description or "The request cannot be read"))
        except DATABASE_ERRORS as problem:
            return database_failed(problem)
        except Exception:
            log.exception("a request failed", route=request.path)
            return answer(refusal(route, FAILED))

    return answered


def _download(file: Path) -> Response:
    """A file as it lies on the disk, or the part of it that is asked for. Raises InvalidInput where it is none."""
    if not file.is_file():
        raise InvalidInput(f"{file.name!r} is not a file", field="path")
    response = send_file(
        file, mimetype="application/octet-stream", as_attachment=True, download_name=file.name, conditional=False
    )
    return _ranged(response)


def _ranged(response: Response) -> Response:
    """An answer made from a file, or the part of it that is asked for. Raises RequestedRangeNotSatisfiable."""
    wanted = request.range
    response.headers["Accept-Ranges"] = "bytes"
    if wanted and wanted.units == "bytes" and len(wanted.ranges) == 1 and "If-Range" not in request.headers:
        _shorten(response, wanted)
    return response


def _shorten(response: Response, wanted: Range) -> None:
    """Send a part only, still from the file to the socket: a generator would hold a thread for as long as the client reads.

    Raises RequestedRangeNotSatisfiable.
    """
    size = response.content_length or 0
    start = wanted.ranges[0][0]
    if start < 0:  # the last bytes, as many as there are
        wanted = Range(wanted.units, [(max(start, -size), None)])
    part = wanted.range_for_length(size)
    if part is None:
        response.close()
        raise RequestedRangeNotSatisfiable(size)
    cast("FileWrapper", response.response).file.seek(part[0])
    response.status_code = HTTPStatus.PARTIAL_CONTENT
    response.content_length = part[1] - part[0]
    response.content_range = wanted.make_content_range(size)


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


def _can_be_fetched(path: str) -> bool:
    """Whether a result can be asked for. The runner stores no others, as earlier versions did; `cumulus get` copies all."""
    return _NOT_IN_A_URL.search(path) is None


def _seconds(time: float | None) -> int | None:
    return None if time is None else int(time)


def _limit(text: str) -> int | None:
    """-1 means all; no number, or what is none, shows the client's usual hundred."""
    try:
        number = int(text)
    except ValueError:
        return USUAL_ROWS
    return None if number < 0 else min(number, 10_000_000)


def _number_or_zero(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _names(text: str) -> list[str]:
    """The names, each once, as what they are called in the shared data. Raises InvalidInput."""
    try:
        names = json.loads(text) if len(text) <= MAX_NAMES_TEXT else None
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) > MAX_NAMES or not all(isinstance(name, str) for name in names):
        raise InvalidInput("names is not a JSON list of file names", field="names")
    return list(dict.fromkeys(names))

"""The REST contract of the existing desktop client (2.2.x). Owns its words and shapes; what they mean is decided by the services.

The client shows nothing of an HTTP error, so what there is to say is said with status 200 in the documented shape.
"""

from collections.abc import Callable
from functools import wraps

import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from server.api.desktop.app_listing import offered
from server.api.desktop.callers import Callers, sends_credential
from server.api.desktop.files import SharedFiles, can_be_fetched, download, log_download
from server.api.desktop.job_lists import ANYBODY, JobLists
from server.api.desktop.refusals import FAILED, START, database_failed, marked, or_without, refusal, refused, refused_caller
from server.api.desktop.words import STATES, escaped_name, field_of
from server.api.identity.errors import REFUSALS
from server.api.response_cache import Reused, Unhurried
from server.api.responses import answer, answer_parts, encoded
from server.catalog.apps import Catalog
from server.catalog.flavors import Flavors
from server.db.change_counter import ChangeCounter
from server.db.errors import DATABASE_ERRORS
from server.db.search import Query, named_apps, require_short
from server.engine.situation import Situations
from server.errors import CumulusError, InvalidInput, NotFound
from server.services.jobs.listings import JobListings
from server.services.jobs.logs import JobLogs
from server.services.jobs.lookup import JobLookup
from server.services.jobs.service import JobService
from server.services.jobs.submission import Submission, parse_number
from server.services.shared_data import SharedData
from server.settings import Settings
from server.states import JobState
from server.storage.folders import Storage
from server.storage.logs.job_log import Logs
from server.storage.outputs import Outputs

USUAL_ROWS = 100
log = structlog.get_logger()


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
        callers: Callers,
    ) -> None:
        self._settings = settings
        self._version = version
        self._jobs = jobs
        self._catalog = catalog
        self._flavors = flavors
        self._commits = commits
        self._callers = callers
        self._reused = Reused()
        logs = Logs()
        situations = Situations(settings, storage, flavors.max_weight, version=commits.number)
        self._logs = JobLogs(storage, situations, logs)
        self._lookup = JobLookup(storage)
        listings = JobListings(storage, situations, logs, Outputs(can_be_fetched))
        self._lists = JobLists(listings, flavors, commits, self._reused)
        self._data = SharedData(storage)
        self._files = SharedFiles(self._data)
        self._shared = Unhurried(lambda: self._data.listed(ANYBODY))

    def blueprint(self) -> Blueprint:
        """The routes, each as the client writes it: trailing slashes are only for one, and some have two at the beginning."""
        routes = Blueprint("legacy", __name__)
        routes.before_request(self._callers.refuse)
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
            ("/getresults/<owner>/<job_id>/<path:path>", _not_there(self.getresults)),
            ("/getfile/<owner>/<path:path>", _not_there(self.getfile)),
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
        is_known = self._callers.is_known()  # others see no jobs, so no app is needed for them
        return answer_parts(
            self._reused.get(
                ("apps", is_known),
                lambda: (or_without(self._commits.number, None), texts, missing),
                lambda: [encoded(offered(texts, apps, or_without(named_apps, []) if is_known else [], missing))],
            )
        )

    def joblist(self, shown: str, number: str) -> Response:
        """The newest jobs; the one shown with its details, also if it is older than all of those."""
        return self._lists.answer(Query(limit=_limit(number)), _number_or_zero(shown))

    def search(self) -> Response:
        """The jobs that match a form."""
        form = request.form
        states = frozenset[JobState]().union(*(states for name, states in STATES.items() if name in form))
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
        return self._lists.answer(query, _number_or_zero(form.get("current_job_id", "")))

    def start(self) -> Response:
        """A new job: ``[id, folder]``, or ``[message, ""]`` for the person."""
        form = request.form
        asked = Submission(
            app=form.get("app_name", ""),
            flavor=form.get("strategy", ""),
            settings=form.get("settings", ""),
            description=form.get("description", ""),
            start_after=form.get("start_after_id", ""),
            workflow=form.get("workflow_name", ""),
        )
        try:
            caller = self._callers.submitter(form.get("username", ""))
            job = self._jobs.submit(caller, asked, also=lambda made: self._callers.changed("submit", made.id))
        except CumulusError as error:
            log.info("a submission was refused", code=error.code, field=error.field, detail=error.message)
            return _refused(error)
        return answer([job.id, job.folder])

    def cancel(self, owner: str, job_id: str) -> Response:
        """End a job of the owner; a sentence."""
        try:
            sentence = self._jobs.cancel(self._callers.owner(owner), _number(job_id))
        except CumulusError as error:
            return _refused(error)
        self._callers.changed("cancel", _number(job_id))
        return answer(sentence)

    def delete(self, owner: str, job_id: str) -> Response:
        """Delete an ended job of the owner with its workflow; a sentence."""
        try:
            sentence = self._jobs.delete(self._callers.owner(owner), _number(job_id))
        except CumulusError as error:
            return _refused(error)
        self._callers.changed("delete", _number(job_id))
        return answer(sentence)

    def storage(self) -> Response:
        """The top of data/ with sizes, and the files that are still to come: the client's page breaks without those."""
        awaited: list[str] = or_without(self._jobs.awaited, [])
        try:
            found = sorted({**dict.fromkeys(awaited, 0), **dict(self._shared.get())}.items())
        except OSError:  # the storage is away; the page shows nothing then, instead of waiting for ever
            found = [(name, 0) for name in awaited]
        return answer([(escaped_name(name), size) for name, size in found])

    def diskusage(self) -> Response:
        """Bytes of the storage: in all, used, free; zeros where it is away."""
        try:
            return answer(self._data.usage(ANYBODY))
        except OSError:
            return answer((0, 0, 0))

    def fail(self) -> Response:
        """The agent cannot send a file of a job."""
        form = request.form
        number = _number(form.get("job_id", ""))
        self._jobs.fail(self._callers.agent(), number, form.get("error_message", ""), form.get("trouble", ""))
        self._callers.changed("fail", number)
        return answer("")

    def getresults(self, owner: str, job_id: str, path: str) -> Response:
        """One result file, streamed. Raises NotFound, InvalidInput (both 404 for this route)."""
        return download(self._lookup.result_path(self._callers.reader(owner), _number(job_id), path))

    def getfile(self, owner: str, path: str) -> Response:
        """One shared file, streamed; shared data has no owner. Raises as :meth:`getresults`."""
        return download(self._data.file(self._callers.reader(owner), path))

    def log(self, owner: str, job_id: str) -> Response:
        """All of a job's log, streamed; what the client's page shows of a long one is a part of it. Raises NotFound."""
        number = _number(job_id)
        return log_download(self._logs.whole(self._callers.reader(owner), number), f"job-{number}.log")

    def getfilecontent(self) -> Response:
        """The files behind names in data/, folders walked, relative to data/."""
        return answer(self._files.behind(request.form.get("names", "")))


def _refused(error: CumulusError) -> Response:
    """The route's shape, as for a success: the client knows no other answer. A header tells programs the one from the other."""
    if error.http_status in REFUSALS:
        return refused_caller(error, shows_status=sends_credential())
    return marked(answer(refusal(request.path, error.message)), error.code, field_of(error))


def _not_there(view: Callable[..., Response]) -> Callable[..., Response]:
    """A GET of a file: a path that can be none is not there, either."""

    @wraps(view)
    def answered(**parts: str) -> Response:
        try:
            return view(**parts)
        except InvalidInput as error:
            return refused(error, NotFound.http_status)

    return answered


def _always_json(view: Callable[[], Response], route: str) -> Callable[[], Response]:
    """A POST route that answers its documented shape whatever happens: the client waits for ever on anything else."""

    def answered() -> Response:
        try:
            return view()
        except CumulusError as error:
            log.info("a request was refused", route=request.path, code=error.code, field=error.field, detail=error.message)
            return _refused(error)
        except HTTPException as error:
            log.info("a request was refused", route=request.path, code=error.code, detail=error.description)
            return answer(refusal(route, error.description or "The request cannot be read"))
        except DATABASE_ERRORS as problem:
            return database_failed(problem)
        except Exception:
            log.exception("a request failed", route=request.path)
            return answer(refusal(route, FAILED))

    return answered


def _number(text: str) -> int:
    """A job's number of a path or a form, 0 for "". Raises InvalidInput."""
    return parse_number(text, "job") or 0


def _limit(text: str) -> int | None:
    """-1 means all; no number, or what is none, shows the client's usual hundred."""
    try:
        number = int(text)
    except ValueError:
        return USUAL_ROWS
    return None if number < 0 else min(number, 10_000_000)


def _number_or_zero(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

"""The agent's REST for the desktop client, and a page for people. Owns its words and shapes.

The client shows nothing of an HTTP error and waits for ever on a broken answer, so a known route always answers 200 in its shape.
"""

import json
from collections.abc import Callable
from datetime import datetime

import structlog
from flask import Flask, Response, render_template, request
from peewee import DatabaseError
from werkzeug.exceptions import HTTPException

from agent.door import doorkeeper
from agent.errors import AgentError
from agent.loop import Loop
from agent.queue.database import unusable
from agent.queue.orders import DATA, job_number, read_order
from agent.queue.queue import Queue
from agent.settings import Settings
from programs.database.sqlite import is_damaged, is_known
from programs.http.addresses import ClientAddresses, Networks
from programs.http.forms import BoundedRequest

RECENT = 50
FAILED = "The agent could not do this; its log says why"
log = structlog.get_logger()


class Api:
    """The routes, answered by the parts below."""

    def __init__(self, settings: Settings, version: str, queue: Queue, loop: Loop, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._roots = settings.places()
        self._version = version
        self._queue = queue
        self._loop = loop
        self._clock = clock

    def version(self) -> Response:
        """The agent's version as plain text: the client makes no job without it."""
        return _plain(self._version, "text/plain")

    def send(self) -> Response:
        """Take an order; answers with a sentence. Ignores what cannot be a job, such as the controller's refusals."""
        order = read_order(request.form, self._roots)
        new = self._queue.jobs.add(order, self._clock())
        self._loop.wake()
        log.info("ordered", job_id=order.number, owner=order.owner, files=len(order.wanted), new=new, refusal=order.refusal)
        if not new:
            return answer(f"The files of job {order.number} are queued already")
        if order.refusal:
            return answer(f"The files of job {order.number} cannot be sent: {order.refusal}")
        return answer(f"{len(order.wanted)} files of job {order.number} are queued")

    def names(self) -> Response:
        """Base names of the shared files that are queued or under way."""
        return answer(self._queue.listing.shared_names(DATA))

    def progress(self, owner: str, job_id: str) -> Response:
        """Base name and percent of each file that is not sent yet."""
        return answer({line.name: line.percent for line in self._queue.listing.lines(owner, job_number(job_id))})

    def cancel(self, owner: str, job_id: str) -> Response:
        """End an owner's job; answers with a sentence, the same for another owner's job as for none."""
        number = job_number(job_id)
        if self._loop.cancel(owner, number):
            log.info("cancelled", job_id=number, owner=owner)
            return answer(f"No more files of job {number} are sent")
        return answer(f"Nothing of a job {number} of yours is queued")

    def queue(self) -> Response:
        """The whole queue, with bytes, for programs."""
        return answer([line.for_programs() for line in self._queue.listing.lines()])

    def status(self) -> Response:
        """The page for people."""
        page = render_template(
            "status.html",
            version=self._version,
            lines=self._queue.listing.lines(),
            recent=self._queue.listing.recent(RECENT),
            counts=self._queue.listing.counts(),
            time=lambda at: f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}",
        )
        response = _plain(page, "text/html")
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return response


def create_app(api: Api) -> Flask:
    """The web application."""
    app = Flask("agent", static_folder=None)
    app.request_class = BoundedRequest
    app.wsgi_app = ClientAddresses(app.wsgi_app, Networks(()))  # type: ignore[method-assign]  # no proxy is believed
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = api.settings.max_post_bytes
    app.before_request(doorkeeper(api.settings).refuse)
    # The client never follows a redirect.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    routes: tuple[tuple[str, Callable[..., Response], object], ...] = (
        ("/", api.version, None),  # and //, as the client writes it: leading slashes are one for Werkzeug
        ("/list-rsync", api.names, []),
        ("/progress-rsync/<path:owner>/<job_id>", api.progress, {}),
        ("/cancel-rsync/<path:owner>/<job_id>", api.cancel, ""),
        ("/queue", api.queue, []),
        ("/status", api.status, ""),
    )
    for number, (rule, view, empty) in enumerate(routes):
        app.add_url_rule(rule, str(number), _always(view, empty))
    app.add_url_rule("/send-rsync", "send", _always(api.send, ""), methods=["POST"])
    app.register_error_handler(HTTPException, _http_error)
    return app


def answer(value: object, status: int = 200) -> Response:
    """JSON in plain ASCII that is not cached: the client joins the pieces of an answer as strings."""
    return _plain(json.dumps(value, ensure_ascii=True) + "\n", "application/json", status)


def _plain(text: str, kind: str, status: int = 200) -> Response:
    response = Response(text, status=status, mimetype=kind)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _always(view: Callable[..., Response], empty: object) -> Callable[..., Response]:
    """A route that answers in its shape whatever happens; an error's words only where the shape is a sentence."""

    def answered(**arguments: str) -> Response:
        try:
            return view(**arguments)
        except AgentError as error:
            log.info("a request was refused", route=request.path, code=error.code, field=error.field, detail=error.message)
            return answer(error.message if empty == "" else empty)
        except DatabaseError as problem:
            reason = unusable(problem).message if is_known(problem) or is_damaged(problem) else FAILED
            log.error("a request failed", route=request.path, detail=reason, exc_info=reason == FAILED)  # noqa: TRY400  # the reason is expected
            return answer(reason if empty == "" else empty)
        except HTTPException as error:
            log.info("a request was refused", route=request.path, code=error.code)
            return answer(error.description if empty == "" else empty)
        except Exception:
            log.exception("a request failed", route=request.path)
            return answer(FAILED if empty == "" else empty)

    return answered


def _http_error(error: HTTPException) -> Response:
    """The answer to a path that is no route."""
    return answer(
        {"error": {"code": (error.name or "error").lower().replace(" ", "_"), "message": error.description}}, error.code or 500
    )

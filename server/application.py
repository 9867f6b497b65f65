"""The web application over a controller's parts: its routes, and the answers to requests that no route takes."""

from http import HTTPStatus

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from cumulus_client.operations import PREFIX
from programs.http.doorkeeper import Doorkeeper
from programs.http.forms import BoundedRequest
from programs.http.visitors import Foreign, visitors
from programs.version import VERSION
from server.api.desktop.callers import Callers
from server.api.desktop.refusals import (
    CHANGING,
    FAILED,
    UNAVAILABLE,
    database_failed,
    failed,
    refused,
    refused_foreign,
    storage_taken,
)
from server.api.desktop.routes import DesktopRoutes
from server.api.health import Health
from server.api.identity.accounts import Accounts
from server.api.identity.identity import Identity
from server.api.identity.oidc_routes import CALLBACK as OIDC_CALLBACK
from server.api.identity.problems import problem
from server.api.metrics import Metrics
from server.api.responses import answer
from server.api.v1 import blueprint as v1
from server.api.v1.callers import Callers as ApiCallers
from server.api.v1.operations import DOWNLOADS, OPERATIONS
from server.api.v1.reference import reference
from server.api.v1.uploads import uploads_blueprint
from server.app import Controller, make_workspaces
from server.db.change_counter import ChangeCounter
from server.db.errors import DATABASE_ERRORS
from server.errors import CumulusError
from server.services.addresses import public_url
from server.services.administration import Administration, AdministrationWiring
from server.services.machines.cloud_access import CloudAccess
from server.services.principal import Forbidden
from server.services.services import Services, Wiring
from server.storage.holding import StorageTaken
from server.web.login import LoginPages
from server.workers.clouds.base import Cloud

log = structlog.get_logger()


def create_app(controller: Controller, accounts: Accounts | None = None) -> Flask:
    """The web application over a controller's parts. ``accounts``: default: the database's."""
    app = Flask("cumulus", static_folder=None)
    app.request_class = BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = controller.settings.max_post_bytes
    # The client asks for //apps, and never follows a redirect.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    own = visitors(controller.settings.host, controller.settings.allowed_hosts)
    known = accounts or Accounts.of(controller.settings)
    identity = Identity(controller.settings, known)
    identity.install(app)
    app.before_request(Doorkeeper(own, CHANGING, _foreign, open_paths=(OIDC_CALLBACK,)).refuse)
    commits = ChangeCounter(controller.settings.database, controller.database.require_file)
    desktop = DesktopRoutes(
        controller.settings,
        VERSION,
        controller.jobs,
        controller.catalog,
        controller.flavors,
        controller.storage,
        commits,
        Callers(identity.identification, identity.trail),
    )
    app.register_blueprint(desktop.blueprint())
    services = services_of(controller)
    callers = ApiCallers(identity.identification, identity.trail)
    app.register_blueprint(v1.blueprint(services, callers, v1.Kept(commits.number), OPERATIONS, DOWNLOADS))
    app.register_blueprint(reference())
    app.register_blueprint(uploads_blueprint(controller.uploads, callers.uploader))
    app.register_blueprint(LoginPages(identity.sessions, known.authenticator).blueprint())
    metrics = Metrics(controller.sweeper, controller.flavors.max_weight, controller.turns)
    health = Health(identity.identification, lambda: _health(controller))
    app.add_url_rule("/metrics", "metrics", lambda: health.for_insiders(metrics.answer))
    app.add_url_rule("/healthz", "healthz", health.answer)
    app.register_error_handler(CumulusError, refused)
    app.register_error_handler(StorageTaken, storage_taken)
    app.register_error_handler(HTTPException, _http_error)
    for kind in DATABASE_ERRORS:
        app.register_error_handler(kind, database_failed)
    return app


def services_of(controller: Controller) -> Services:
    """The services over a controller's own parts."""
    administration = _administration(controller)
    wiring = Wiring(
        jobs=lambda: controller.jobs,
        url=lambda: public_url(controller.settings),
        cloud=lambda: controller.cloud,
        administration=lambda: administration,
        batches=lambda: controller.batches,
    )
    return Services(controller.settings, wiring)


def _administration(controller: Controller) -> Administration:
    def cloud() -> Cloud:
        return controller.cloud

    def damage() -> str:
        return controller.loop.damage.message if controller.loop.damage else ""

    def access() -> CloudAccess:
        return CloudAccess(cloud, cloud, lambda _settings, _cloud: controller.fleet, make_workspaces)

    return Administration(controller.settings, AdministrationWiring(access, damage=damage))


def _health(controller: Controller) -> Response:
    """200 while requests are served and the database, which must be the one that was opened, answers and is sound, and the
    storage is ours.
    """
    controller.storage.require_own()
    controller.database.require_file()
    controller.database.execute_sql("SELECT count(*) FROM switch")
    if damage := controller.loop.damage:
        return failed(damage.message, damage.code, UNAVAILABLE)
    return answer({"status": "ok", "version": VERSION, "cloud": controller.cloud.name})


def _foreign(foreign: Foreign) -> Response:
    if request.path.startswith(PREFIX):
        return problem(Forbidden(foreign.message, field=foreign.field), code=foreign.code)
    return refused_foreign(foreign)


def _http_error(error: HTTPException) -> Response:
    if request.path.startswith(PREFIX):
        return v1.http_problem(error)
    status, code = error.code or 500, (error.name or "error").lower().replace(" ", "_")
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return failed(FAILED, code)
    response = answer({"error": {"code": code, "message": error.description, "field": None}}, status)
    response.headers.extend((name, value) for name, value in error.get_headers() if name in ("Allow", "Content-Range"))
    return response

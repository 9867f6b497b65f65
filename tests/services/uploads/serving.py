"""A controller that takes uploads over a real socket: for tests in their own process, or as one that can be killed.

Who asks is believed by the header ``X-User``: accounts are tested elsewhere.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flask import Flask, Request

from programs.http.forms import BoundedRequest
from server.api.http import open_controller_door
from server.api.v1.uploads import uploads_blueprint
from server.app import Controller, make_controller
from server.services.principal import Principal
from server.services.uploads.quotas import NoQuotas, Quotas
from server.services.uploads.service import UploadService
from server.settings import CloudName, Settings
from tests.conftest import FLAVORS, TEST_APPS
from tests.programs.doors import running


def identify(request: Request) -> Principal:
    """Who asks."""
    return Principal.desktop(request.headers.get("X-User", "ada"))


def service_of(controller: Controller, quotas: Quotas | None = None, clock: Callable[[], float] = time.time) -> UploadService:
    """The uploads of a controller."""
    return UploadService(
        controller.database,
        controller.settings,
        controller.catalog,
        controller.storage,
        quotas or NoQuotas(),
        clock=clock,
        wake=controller.loop.wake,
    )


def application(controller: Controller, service: UploadService) -> Flask:
    """An application with these uploads alone."""
    app = Flask("uploads")
    app.request_class = BoundedRequest
    app.register_blueprint(uploads_blueprint(service, identify))
    return app


@contextlib.contextmanager
def taking_uploads(controller: Controller, service: UploadService | None = None) -> Iterator[str]:
    """Answer requests within the block; gives the URL."""
    service = service or service_of(controller)
    app = application(controller, service)
    with running(open_controller_door(controller.settings, app, controller.settings.max_connections)) as door:
        yield f"http://127.0.0.1:{door.effective_port}"


def main() -> None:
    """Serve below a folder at a port until the end of standard input, or a kill; its loop does not run."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    flavors = folder / "flavors.tsv"
    flavors.write_text(FLAVORS)
    settings = Settings(
        home=folder / "home",
        cloud=CloudName.LOCAL,
        apps=TEST_APPS,
        flavors=flavors,
        port=port,
        min_free_gb=0,
        max_connections=200,
    )
    controller = make_controller(settings)
    service = service_of(controller)
    service.finish_interrupted()
    with running(open_controller_door(settings, application(controller, service), 200)) as door:
        print(door.effective_port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

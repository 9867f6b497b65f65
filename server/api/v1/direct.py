"""Operations without HTTP: for commands of an installation on which no controller runs."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from types import ModuleType

from cumulus_client.calling import FileStream
from cumulus_client.errors import Problem, Refused
from cumulus_client.operations import Download, Gives, Operation, Takes
from server.api.v1.binding import status_of
from server.errors import CumulusError
from server.services.principal import Principal, Scope
from server.services.services import Services

PACKAGES = {  # of the nouns that do not belong to jobs
    "accounts": ("audit", "groups", "tokens", "users"),
    "installation": ("flavors", "queue", "snapshots", "storage", "system", "workers", "workspaces"),
}


class DirectCaller:
    """Carries operations out on an installation whose database is open, as the principal.

    Imports only what an operation needs.
    """

    def __init__(self, services: Services, principal: Principal) -> None:
        self._services = services
        self._principal = principal

    def call(self, operation: Operation[Takes, Gives], request: Takes) -> Gives:
        """Carry an operation out. Raises Refused."""
        handlers = {one.operation.name: one.handler for one in _module(operation.name).OPERATIONS}
        self._principal.require_scope(Scope(operation.scope))
        try:
            return operation.gives.model_validate(handlers[operation.name](self._services, self._principal, request))
        except CumulusError as error:
            raise _refused(error) from None

    @contextmanager
    def download(self, operation: Download[Takes], request: Takes, start: int = 0, tag: str = "") -> Iterator[FileStream]:
        """A file from the byte ``start`` on; all of it where its content has another tag. Raises Refused."""
        handlers = {one.operation.name: one.handler for one in _module(operation.name).DOWNLOADS}
        try:
            found = handlers[operation.name](self._services, self._principal, request)
        except CumulusError as error:
            raise _refused(error) from None
        with closing(found.file):
            if tag and tag != found.tag:
                start = 0
            found.file.seek(start)
            yield FileStream(found.file, found.size - start, start)


def _module(name: str) -> ModuleType:
    """The handlers of an operation's noun, which alone are imported."""
    noun = name.partition(".")[0]
    package = next((package for package, nouns in PACKAGES.items() if noun in nouns), "jobs")
    return import_module(f"server.api.v1.{package}.{noun}")


def _refused(error: CumulusError) -> Refused:
    return Refused(Problem(status_of(error), error.code, error.message, error.field or ""))

"""The client: one object for each noun of the API, over whatever carries operations out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cumulus_client.calling import Caller

if TYPE_CHECKING:
    from cumulus_client.apps import Apps
    from cumulus_client.audit import Audit
    from cumulus_client.batches import Batches
    from cumulus_client.flavors import Flavors
    from cumulus_client.groups import Groups
    from cumulus_client.jobs import Jobs
    from cumulus_client.logs import Logs
    from cumulus_client.presets import Presets
    from cumulus_client.queue import Queue
    from cumulus_client.records import Records
    from cumulus_client.results import Results
    from cumulus_client.snapshots import Snapshots
    from cumulus_client.storage import Storage
    from cumulus_client.submissions import Submissions
    from cumulus_client.system import System
    from cumulus_client.tokens import Tokens
    from cumulus_client.uploads import Uploads
    from cumulus_client.usage import Usage
    from cumulus_client.users import Users
    from cumulus_client.workers import Workers
    from cumulus_client.workflows import Workflows
    from cumulus_client.workspaces import Workspaces

Client = TypeVar("Client")


class Noun(Generic[Client]):
    """The client of a noun, imported and made when it is asked for first: a command line needs one or two of them.

    It is the class of the noun's name in the module of the same name.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, cumulus: "Cumulus", owner: type | None = None) -> Client:
        module = import_module(f"cumulus_client.{self._name}")
        made: Client = getattr(module, self._name.capitalize())(cumulus.caller)
        vars(cumulus)[self._name] = made  # from now on it is found there
        return made


class Cumulus:
    """A controller. All methods of its nouns raise Refused where it says no, Unreachable where none answers."""

    jobs: "Noun[Jobs]" = Noun()
    submissions: "Noun[Submissions]" = Noun()
    logs: "Noun[Logs]" = Noun()
    results: "Noun[Results]" = Noun()
    uploads: "Noun[Uploads]" = Noun()
    records: "Noun[Records]" = Noun()
    apps: "Noun[Apps]" = Noun()
    workflows: "Noun[Workflows]" = Noun()
    batches: "Noun[Batches]" = Noun()
    presets: "Noun[Presets]" = Noun()
    usage: "Noun[Usage]" = Noun()
    users: "Noun[Users]" = Noun()
    groups: "Noun[Groups]" = Noun()
    tokens: "Noun[Tokens]" = Noun()
    audit: "Noun[Audit]" = Noun()
    flavors: "Noun[Flavors]" = Noun()
    storage: "Noun[Storage]" = Noun()
    queue: "Noun[Queue]" = Noun()
    workers: "Noun[Workers]" = Noun()
    workspaces: "Noun[Workspaces]" = Noun()
    snapshots: "Noun[Snapshots]" = Noun()
    system: "Noun[System]" = Noun()

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    @classmethod
    def at(cls, url: str, token: str = "", **options: Any) -> "Cumulus":
        """The controller at a URL, asked with an API token; ``options`` as of :class:`cumulus_client.http.HttpCaller`."""
        from cumulus_client.http import HttpCaller  # not where operations are carried out without HTTP

        return cls(HttpCaller(url, token=token, **options))

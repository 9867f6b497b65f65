"""The installation itself as the API gives it, and its client."""

from cumulus_client.calling import Caller
from cumulus_client.operations import Nothing, Operation, Response


class Installation(Response):
    """The installation.

    ``controller``: whether one runs; ``accelerator``: how machines are run here, "" on another cloud; ``damage``: what
    is wrong with its database, "" for nothing; ``schema_version``: of the database's tables.
    """

    version: str
    installation: str
    cloud: str
    controller: bool
    home: str
    storage: str
    accelerator: str
    damage: str
    schema_version: int


GET = Operation("system.get", "GET", "/system", Nothing, Installation, "Version, cloud, folders and health of the installation.")


class System:
    """The installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self) -> Installation:
        """Its version, its cloud, its folders, its health."""
        return self._caller.call(GET, Nothing())

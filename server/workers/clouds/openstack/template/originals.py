"""The template's volume in Cinder, known by its metadata alone: an erased home loses neither it nor how far it is.

``cumulus_template`` is the template's name, ``cumulus_worker`` is ``template-<n>``: a template that is built anew gets another
volume, with a higher number, and takes over once it is built. ``cumulus_recipe`` is there once all is installed.
``cumulus_state`` is ``sealed`` while the volume may be copied, and ``open`` as soon as a machine may write to it.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from server.errors import CloudError, InvalidInput
from server.reasons import Reason
from server.workers.clouds.openstack.client.access import Access, find_or_none
from server.workers.clouds.openstack.messages import volume_fault
from server.workers.clouds.openstack.resources import WORKER
from server.workers.clouds.openstack.template.kept import BUILD_HASH, SERVER_ID, TEMPLATE
from server.workers.clouds.openstack.waiting import COPYING, QUICK, Limit, Waiting

if TYPE_CHECKING:
    from openstack.block_storage.v3._proxy import Proxy
    from openstack.block_storage.v3.volume import Volume
    from openstack.connection import Connection

PREFIX = "template-"
STATE, OPEN, SEALED = "cumulus_state", "open", "sealed"
FREE, STUCK = "available", "error_deleting"  # a member of the project can do nothing with a stuck one
BROKEN = frozenset({"error", STUCK})
MAKING = frozenset({"creating", "downloading"})


@dataclass(frozen=True)
class Original:
    """A volume that a template is, or will be, on. ``build_hash``: "" until all is installed."""

    identifier: str
    number: int
    size_gb: int
    status: str
    build_hash: str
    sealed: bool

    @property
    def worker(self) -> str:
        """Name of its machine, and of Terraform's workspace."""
        return f"{PREFIX}{self.number}"


class Originals:
    """The volumes of one template, of which the newest that is built counts."""

    noun = "volume"

    def __init__(
        self,
        access: Access,
        template: str,
        server_id: str,
        waiting: Waiting | None = None,
        making: Limit = COPYING,
        removal: Limit = QUICK,
    ) -> None:
        """``making``, ``removal``: how long the copy of an image, and giving back or removing a volume, may take."""
        self._making = making
        self._removal = removal
        self._access = access
        self._template = template
        self._server_id = server_id
        self._waiting = waiting or Waiting()

    def fetch(self) -> list[Original]:
        """All, oldest first. Raises CloudError."""
        with self._access.use() as cloud:
            listed = list(_storage(cloud).volumes(details=True))
        found = [_original(one) for one in listed if (one.metadata or {}).get(TEMPLATE) == self._template]
        return sorted(found, key=lambda one: one.number)

    def fault(self, worker: str) -> str:
        """Why the volume of that machine could not be made, in Cinder's words; "" where nobody knows. Raises CloudError."""
        with self._access.use() as cloud:
            found = [one for one in _storage(cloud).volumes(details=True) if (one.metadata or {}).get(WORKER) == worker]
            return "\n".join(said for one in found if (said := volume_fault(cloud, one)))

    def take_over(self, name: str, number: int) -> Original:
        """Make a volume that is there already the template's. Raises InvalidInput where there is none of that name or id."""
        with self._access.use() as cloud:
            found = find_or_none(partial(_storage(cloud).find_volume, ignore_missing=False), name)
        if found is None:
            raise InvalidInput(
                f"the cloud has no volume {name}: correct the setting openstack_template_volume",
                field="setting openstack_template_volume",
            )
        one = _original(found, number)
        self.mark(one, **{TEMPLATE: self._template, SERVER_ID: self._server_id, WORKER: one.worker, STATE: OPEN})
        return one

    def mark(self, one: Original, **metadata: str) -> None:
        """Write down how far it is. Raises CloudError."""
        with self._access.use() as cloud:
            _storage(cloud).set_volume_metadata(one.identifier, **metadata)

    def open(self, one: Original) -> None:
        """A machine is about to write to it."""
        self.mark(one, **{STATE: OPEN})

    def seal(self, one: Original, build_hash: str) -> None:
        """All was flushed, the machine is gone: it may be copied. ``build_hash``: what is installed on it."""
        self.mark(one, **{STATE: SEALED, **({BUILD_HASH: build_hash} if build_hash else {})})

    def await_free(self, one: Original) -> str:
        """Wait until no machine has it and Cinder is done with it; returns its status, "" where it is gone. Raises CloudError."""
        limit = self._making if one.status in MAKING else self._removal
        late = f"the template's volume {one.identifier} is not free: another machine has it, or Cinder does not end"
        return self._waiting.until(lambda: self._settled(one.identifier), limit, late)

    def remove(self, one: Original) -> None:
        """Remove it for ever and wait until it is gone. Raises CloudError where the cloud will not."""
        self.await_free(one)
        with self._access.use() as cloud:
            _storage(cloud).delete_volume(one.identifier, ignore_missing=True)
        if left := self.await_free(one):
            raise CloudError(f"the volume {one.identifier} could not be removed: Cinder says {left}", Reason.CLOUD_BUSY)

    def _settled(self, identifier: str) -> str | None:
        """Its status; "" where it is gone, None while Nova has it or Cinder is at work on it."""
        with self._access.use() as cloud:
            found = find_or_none(_storage(cloud).get_volume, identifier)
        if found is None:
            return ""
        return str(found.status) if found.status == FREE or found.status in BROKEN else None


def built_of(found: list[Original]) -> Original | None:
    """The one of them that is the template; None where none is built."""
    return max((one for one in found if one.build_hash), key=lambda one: one.number, default=None)


def begun_of(found: list[Original]) -> Original | None:
    """One that somebody began to build after it, and did not finish; none that Cinder could not remove."""
    built = built_of(found)
    begun = [one for one in found if one.status != STUCK and (built is None or one.number > built.number)]
    return begun[-1] if begun else None


def _storage(cloud: "Connection") -> "Proxy":
    return cast("Proxy", cloud.block_storage)


def _original(one: "Volume", number: int = 0) -> Original:
    metadata = {str(name): str(value) for name, value in (one.metadata or {}).items()}
    worker_number = metadata.get(WORKER, "").removeprefix(PREFIX)
    known = int(worker_number) if worker_number.isascii() and worker_number.isdigit() else 1
    build_hash, sealed = metadata.get(BUILD_HASH, ""), metadata.get(STATE) == SEALED
    return Original(str(one.id), number or known, int(one.size), str(one.status), build_hash, sealed)

"""Going on with a worker whose making broke off: at a poll that got a 503, at a limit, with a terraform or an answer lost.

The cloud has gone on meanwhile. Terraform would destroy what it left half made, an hour's copy of a volume among it, and make
once more what it never heard of. So the state is brought up to what the cloud has before the next apply.
"""

from dataclasses import dataclass
from typing import Any

from server.errors import CloudError, StillCopying
from server.policy.error_classification import cause, classify
from server.reasons import Reason
from server.workers.clouds.openstack.console import Console
from server.workers.clouds.openstack.resources import Resources, Thing
from server.workers.clouds.openstack.template.originals import FREE, MAKING
from server.workers.clouds.openstack.waiting import Limit, Waiting
from server.workers.terraform.module import TerraformError, TerraformModule
from server.workers.transient_errors import passing

ADDRESSES = {
    "volume": "openstack_blockstorage_volume_v3.worker[0]",
    "port": "openstack_networking_port_v2.worker",
    "machine": "openstack_compute_instance_v2.worker",
}
WHOLE = {"volume": ("in-use", "available"), "port": ("ACTIVE", "DOWN"), "machine": ("ACTIVE",)}
BUILDS, FAILED = "BUILD", "ERROR"
PAUSE_S = 10.0
STATE_LIMIT_S = 120.0  # of the terraform that reads one thing


@dataclass(frozen=True)
class Resumption:
    """That of one installation's workers. ``copy``, ``boot``: how long the volume and the server may take."""

    resources: Resources
    waiting: Waiting
    copy: Limit
    boot: Limit

    def take_up(self, worker: str, module: TerraformModule) -> None:
        """Have the state say what is there. Raises StillCopying, CloudError where the server came to nothing, TerraformError."""
        made = module.store.made(worker)
        addresses = {kind: address for kind, address in ADDRESSES.items() if kind != "volume" or self.resources.has_volumes}
        if len(made) == len(addresses) and not any(tainted for _, tainted in made.values()):
            return
        there = self.resources.things(worker)
        if any(one.kind == "machine" for one in there):
            there = self._settled(worker)
        for kind, address in addresses.items():
            identifier, tainted = made.get(address, ("", False))
            one = _best([thing for thing in there if thing.kind == kind], identifier)
            if one is None or (identifier and not tainted):
                continue
            if kind == "volume" and one.status in MAKING:
                raise StillCopying(f"the volume {one.identifier} of {worker} is still being copied{self.copy.advice}")
            if one.status in WHOLE[kind]:
                module.adopt(worker, address, one.identifier, STATE_LIMIT_S)

    def make(self, module: TerraformModule, worker: str, variables: dict[str, object], limit_s: float) -> dict[str, Any]:
        """Apply until it is made, over the cloud's bad moments and a slow copy; returns the outputs. Raises what does not pass.

        For who makes a machine outside of the loop, which enters a job's launch again by itself.
        """
        begin = self.waiting.clock()
        while True:
            try:
                if module.store.variables(worker):
                    self.take_up(worker, module)
                return module.apply(worker, variables, limit_s)
            except (TerraformError, CloudError) as problem:
                if self.waiting.clock() - begin > self._patience_s(problem, worker):
                    raise
            self.waiting.pause(PAUSE_S)

    def _patience_s(self, problem: TerraformError | CloudError, worker: str) -> float:
        """Seconds from the beginning on for which such a failure is no reason to give up; below 0: it always is."""
        reason = cause(problem) or passing(problem)
        if isinstance(problem, StillCopying) or (reason is Reason.CREATION_TIMEOUT and self.is_copying(worker)):
            return 2 * self.copy.seconds
        return self.waiting.patience_s if reason and reason.is_transient else -1.0

    def is_copying(self, worker: str) -> bool:
        """Whether Cinder is still at its volume, or has just ended, and no server came of it yet. Raises CloudError."""
        there = self.resources.things(worker)
        copied = any(one.kind == "volume" and one.status in (*MAKING, FREE) for one in there)
        return copied and not any(one.kind == "machine" for one in there)

    def _settled(self, worker: str) -> list[Thing]:
        """All that there is, once no server is being built any more."""

        def built() -> list[Thing] | None:
            found = self.resources.things(worker)
            return None if any(one.kind == "machine" and one.status.upper() == BUILDS for one in found) else found

        there = self.waiting.until(built, self.boot, f"the server of {worker} is not ready")
        if any(one.kind == "machine" and one.status.upper() == FAILED for one in there):
            fault = Console(self.resources).fault(worker) or f"the server of {worker} is in ERROR"
            raise CloudError(fault, classify(fault) or Reason.MACHINE_NOT_CREATED)
        return there


def _best(found: list[Thing], known: str) -> Thing | None:
    """The one that the state knows; else one that is whole: an order that was sent twice has left two."""
    for one in found:
        if one.identifier == known:
            return one
    if known:
        return None
    return min(found, key=lambda one: (*WHOLE[one.kind], *MAKING, one.status).index(one.status), default=None)

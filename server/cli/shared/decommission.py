"""Waiting for a machine's end, also while the controller that removes it ends or starts."""

import time

from cumulus_client.errors import Unreachable
from cumulus_client.workspaces import MachineRemoval, Workspaces
from programs.errors import Expected
from server.cli.shared.backend import opened

ASK_S = 0.2


class NotGone(Expected):
    """A machine is not gone in time."""

    code = "not_gone"


def removed(name: str, *, force: bool) -> MachineRemoval:
    """Remove a machine; returns when the cloud confirms that it is gone. Raises NotGone, Refused, Unreachable."""
    workspaces = opened(to_change=True).workspaces
    begun = workspaces.destroy(name, force=force)
    end = time.monotonic() + begun.limit_s
    while not (now := _asked(workspaces, name)).gone:
        if time.monotonic() > end:
            raise NotGone(f"{name} is not gone after {begun.limit_s:.0f} s, its controller continues with it: {now.message}")
        time.sleep(ASK_S)
    return begun


def _asked(workspaces: Workspaces, name: str) -> MachineRemoval:
    """How far it is; whoever has the installation now is asked where the controller has ended meanwhile."""
    try:
        return workspaces.removal(name)
    except Unreachable:
        return opened(to_change=True).workspaces.removal(name)

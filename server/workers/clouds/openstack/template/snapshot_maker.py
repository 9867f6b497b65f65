"""Making a snapshot of the template, and removing those that earlier attempts left unfinished."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from server.errors import CumulusError
from server.progress import Progress
from server.workers.clouds.openstack.template.kept import Kept
from server.workers.clouds.openstack.template.originals import Original
from server.workers.clouds.openstack.template.snapshots import Snapshots, is_leftover


@dataclass(frozen=True)
class SnapshotMaker:
    """That of one installation. ``noun``: what is copied; ``clock``: Unix seconds."""

    copies: Snapshots
    noun: str
    server_id: str
    clock: Callable[[], float]

    def copy(self, original: Original, progress: Progress) -> Kept:
        """Copy what the template is on; nothing new is left where that fails. Raises CumulusError."""
        try:
            with progress.step(f"Copying the template's {self.noun}"):
                return self.copies.make(original.identifier, self.server_id, original.build_hash)
        except BaseException:
            with suppress(CumulusError):  # the next attempt finds what is left
                self.clear_unfinished(progress)
            raise

    def clear_unfinished(self, progress: Progress) -> None:
        """Remove what this installation's earlier attempts have left."""
        for one in self.copies.unfinished():
            if is_leftover(one, self.server_id, self.clock()):
                with progress.step(f"Removing the snapshot {one.name}, which an earlier attempt has left"):
                    self.remove(one, progress)
            else:
                progress.say(
                    f"The snapshot {one.name} ({one.identifier}) of {_owner(one)} is not finished: it is left to that one"
                )

    def remove(self, one: Kept, progress: Progress) -> None:
        """Remove it, or leave that to the next attempt where the cloud does not."""
        try:
            self.copies.remove(one)
        except CumulusError as problem:
            progress.say(f"It is not gone yet, the next attempt removes it: {problem.message}")


def _owner(one: Kept) -> str:
    return f"the installation {one.owner}" if one.owner else "an installation that it does not name"

"""The template on OpenStack: built, started, and copied into snapshots. Owns the order of things and the lock, not the steps.

Before anything is made or written to, the cloud's own records say so: every step may break off, and the next try finds by its
metadata what it left.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.catalog.flavors import Flavor, read_default
from server.errors import InfrastructureError, InvalidInput, SetupMissing, TemplateMissing
from server.progress import Progress
from server.settings import Settings
from server.workers.ansible.playbooks import Playbooks
from server.workers.clouds.build_hash import build_hash
from server.workers.clouds.images import SmokeTest, Snapshot
from server.workers.clouds.openstack.template.canary import Canaries
from server.workers.clouds.openstack.template.installation import install
from server.workers.clouds.openstack.template.originals import PREFIX, STUCK, Original, Originals, begun_of, built_of
from server.workers.clouds.openstack.template.snapshot_maker import SnapshotMaker
from server.workers.clouds.openstack.template.snapshots import Snapshots, promoted_of
from server.workers.clouds.openstack.template.template_machine import TemplateMachine
from server.workers.clouds.ssh import ssh_command
from server.workers.clouds.template_queue import Say, turn
from server.workers.machine_locks import is_held

LOCK = "template"
MISSING = "the cloud has no template {name}: make template"


@dataclass(frozen=True)
class Making:
    """What only who makes something needs, Terraform's programs among it."""

    machine: TemplateMachine
    canaries: Canaries
    playbooks: Playbooks


@dataclass(frozen=True)
class OpenstackTemplate:
    """The template of one installation. ``making``: joined at the first use; ``clock``: Unix seconds.

    ``require_disk``: raises CloudError where machines of a flavor have a smaller disk than so many GB, which the source needs.
    """

    settings: Settings
    server_id: str
    copies: Snapshots
    originals: Originals
    making: Callable[[], Making]
    problems: Callable[[], list[str]]
    require_disk: Callable[[Flavor, int, str], None]
    clock: Callable[[], float] = time.time

    def build(self, progress: Progress, *, fresh: bool = False) -> None:
        """Make the template's volume with the apps on it; does nothing where there is one of this version, unless ``fresh``.

        One of another version gets what this one installs, and keeps what was installed by hand. With ``fresh`` it is made anew
        beside the former one, whose snapshots stay. Its machine is left running where the play fails, for a look. Raises
        CumulusError.
        """
        with self._alone(progress.say):
            found, made_of = self.originals.fetch(), build_hash()
            built = built_of(found)
            if built and built.build_hash == made_of and not fresh:
                progress.say("There is a template already")
                return
            making = self._ready()
            begun = begun_of(found)
            original = built if built and not fresh else begun or self._given(found)
            if built and original is not built:
                making.machine.stop(built, progress)  # the project may have room for one machine only
            worker = original.worker if original else f"{PREFIX}{max((one.number for one in found), default=0) + 1}"
            login = making.machine.start(original, worker, progress)
            install(self.settings, making.playbooks, worker, login, progress)
            making.machine.seal(self._of(worker), login, progress, made_of)
            progress.say("The template is ready")

    def exists(self) -> bool:
        """Whether there is a template that was built."""
        return built_of(self.originals.fetch()) is not None

    def boot(self, progress: Progress) -> str:
        """Start the template's machine; returns the command that logs in on it. Raises CumulusError."""
        with self._alone(progress.say):
            original = self._built()
            machine = self._ready().machine
            login = machine.start(original, original.worker, progress)
            machine.guests.hold(login)
        known = self.settings.home / "openstack" / "template.known_hosts"
        known.write_text(f"machine {login.host_key}\n")
        return " ".join(ssh_command(login, known))

    def stop(self, progress: Progress) -> None:
        """Shut the template's machine down, also one that was never finished; its volume keeps what was installed."""
        with self._alone(progress.say):
            found = self.originals.fetch()
            making = self.making()
            if not making.machine.exists():
                progress.say("The template's machine does not run")
                return
            for original in [one for one in (begun_of(found), built_of(found)) if one]:
                making.machine.stop(original, progress)

    def take_snapshot(self, test: SmokeTest, progress: Progress) -> Snapshot:
        """Copy the template, try a machine of the copy, promote it if all is well; former ones stay until they are pruned.

        Raises CumulusError; nothing new is left then, and the same one is promoted as before.
        """
        with self._alone(progress.say):
            original, flavor = self._built(), read_default(self.settings.flavors, self.settings.default_flavor)
            self.require_disk(flavor, original.size_gb, f"the template's {self.originals.noun}")
            making = self._ready()
            making.canaries.clear(progress)
            self._maker.clear_unfinished(progress)
            if not original.sealed or making.machine.exists():
                making.machine.seal(original, making.machine.start(original, original.worker, progress), progress)
            one = self._maker.copy(original, progress)
            try:
                found = making.canaries.try_snapshot(one, flavor, test, progress)
                if test.programs:
                    self.copies.write_found(one, found)
            except BaseException:
                with progress.step(f"Removing the snapshot {one.name}"):
                    self._maker.remove(one, progress)
                raise
            self.copies.promote(one, self.clock())
            progress.say(f"Snapshot {one.name} is promoted")
            return Snapshot(one.name, promoted=True, created=one.created)

    def snapshots(self) -> list[Snapshot]:
        """All that can be promoted, oldest first. Raises CloudError."""
        found = [one for one in self.copies.fetch() if one.promoted]
        current = promoted_of(found)
        return [Snapshot(one.name, promoted=one is current, created=one.created) for one in found]

    def roll_back(self) -> str:
        """Promote the one before the promoted one; returns a sentence. Raises TemplateMissing where there is none, CloudError."""
        with self._alone():
            older = self.copies.older()
            if not older:
                raise TemplateMissing("there is no older snapshot to go back to")
            self.copies.promote(older[-1], self.clock())
            return f"Snapshot {older[-1].name} is promoted again"

    def prune(self, keep: int, progress: Progress) -> list[str]:
        """Remove all but the newest ``keep``; returns the names of those that are gone.

        Never the promoted one, the one before it, or one that a volume was made from. It also removes what
        attempts of this installation have left, and the volume of a former template without snapshots. Raises CumulusError.
        """
        with self._alone(progress.say):
            self.making().canaries.clear(progress)
            self._maker.clear_unfinished(progress)
            gone = []
            for one in self.copies.spare(keep):
                with progress.step(f"Removing the snapshot {one.name}"):
                    self.copies.remove(one)
                gone.append(one.name)
            self._prune_volumes(progress)
            return gone

    def _prune_volumes(self, progress: Progress) -> None:
        found = self.originals.fetch()
        built, used = built_of(found), self.copies.copies.sources()
        for one in found:
            if built and one.number < built.number and one.identifier not in used and one.status != STUCK:
                with progress.step(f"Removing the {self.originals.noun} {one.identifier} of a former template"):
                    self.making().machine.forget(one)
                    self.originals.remove(one)

    @property
    def _maker(self) -> SnapshotMaker:
        return SnapshotMaker(self.copies, self.originals.noun, self.server_id, self.clock)

    def _built(self) -> Original:
        found = built_of(self.originals.fetch())
        if found is None:
            raise TemplateMissing(MISSING.format(name=self.settings.openstack_template))
        return found

    def _of(self, worker: str) -> Original:
        for one in self.originals.fetch():
            if one.worker == worker:
                return one
        raise InfrastructureError(f"the volume of {worker} is gone: somebody has removed it")

    def _given(self, found: list[Original]) -> Original | None:
        """The volume that the settings name, for the first template; else one is made of the image."""
        name = self.settings.openstack_template_volume
        if name and not found:
            return self.originals.take_over(name, 1)
        if not self.settings.openstack_template_image:
            raise InvalidInput(
                "no image is named to make the template from: set openstack_template_image",
                field="setting openstack_template_image",
            )
        return None

    def _ready(self) -> Making:
        """Raises SetupMissing, or InfrastructureError where another installation may be at work on the template."""
        if problems := self.problems():
            raise SetupMissing("\n".join(problems))
        making = self.making()
        making.machine.leave_to_others()
        return making

    @contextmanager
    def _alone(self, say: Say | None = None) -> Iterator[None]:
        with turn(lock_of(self.settings.home), LOCK, say):
            yield


def lock_of(home: Path) -> Path:
    """The file that is locked by whoever makes something of the template."""
    return home / "openstack" / "lock"


def is_at_work(home: Path) -> bool:
    """Whether somebody makes something of the template now: its canary is no orphan then."""
    return is_held(lock_of(home), LOCK)

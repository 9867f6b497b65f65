"""What the cloud must have before workers can be made there: credentials that are taken, what the settings name, flavors, room.

Looks only.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from server.catalog.flavors import Flavor, read_flavors
from server.errors import CloudError, CumulusError, TemplateMissing
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.capabilities import Quota
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.names import Names
from server.workers.clouds.openstack.project import Project
from server.workers.clouds.openstack.quotas import ProjectQuota
from server.workers.clouds.openstack.template.snapshots import Snapshots

NFS_LIMIT_S = 3.0


def missing_settings(settings: Settings) -> list[str]:
    """What an administrator has not said yet, one line each."""
    wanted = {
        "openstack_network": "the network that workers are in",
        "openstack_security_group": "the security group that lets the controller in by ssh",
        "openstack_nfs_host": "the address of the NFS server as workers see it",
    }
    return [f"the setting {name} is empty: give it {what}" for name, what in wanted.items() if not getattr(settings, name)]


Check = Callable[[], Iterator[str]]
"""Yields what is not well, one line each."""


@dataclass(frozen=True)
class SiteCheck:
    """That of one installation. ``require_size``: raises CloudError where a flavor's disk is smaller than so many GB."""

    project: Project
    quota: ProjectQuota
    names: Names
    snapshots: Snapshots
    require_size: Callable[[Flavor, int, str], None]

    def problems(self) -> list[str]:
        """What the cloud lacks or refuses, one line each with its remedy; then whether the NFS server answers."""
        return [*self._cloud_problems(), *self._nfs_problems()]

    def _cloud_problems(self) -> list[str]:
        access = self.project.access
        try:
            with access.use() as cloud:
                cloud.session.get_token()
        except CloudError as problem:
            return [problem.message]
        flavors = self._flavors()
        names = [flavor.name for flavor in flavors]
        checks: tuple[Check, ...] = (
            Names(access, self.project.settings).problems,
            lambda: _unknown_flavors(access, names),
            lambda: _no_room(self.quota.listed()),
            lambda: self._source_problems(flavors),
        )
        return [line for check in checks for line in _lines(check)]

    def _flavors(self) -> list[Flavor]:
        try:
            return list(read_flavors(self.project.settings.flavors).values())
        except CumulusError:  # every reader of flavors.tsv says itself what is wrong with it
            return []

    def _source_problems(self, flavors: Sequence[Flavor]) -> Iterator[str]:
        """Of what machines are made from: their snapshot, and before there is one the template's image. Raises CloudError."""
        try:
            snapshot = self.snapshots.current()
        except TemplateMissing:
            yield from self.names.image_problems()
            return
        for flavor in flavors:
            try:
                self.require_size(flavor, snapshot.size_gb, f"the snapshot {snapshot.name}")
            except CloudError as problem:
                if problem.reason is not Reason.FLAVOR_TOO_SMALL:
                    raise
                yield problem.message

    def _nfs_problems(self) -> list[str]:
        host, port = self.project.settings.openstack_nfs_host, self.project.settings.openstack_nfs_port
        if not host:
            return []
        try:
            with closing(socket.create_connection((host, port), NFS_LIMIT_S)):
                return []
        except OSError as problem:
            return [f"no NFS server answers at {host}:{port} ({problem.strerror or problem}): see openstack_nfs_host"]


def _lines(check: Check) -> list[str]:
    try:
        return list(check())
    except CumulusError as problem:
        return [problem.message]


def _unknown_flavors(access: Access, wanted: Sequence[str]) -> Iterator[str]:
    with access.use() as cloud:
        known = {str(one.name) for one in cloud.compute.flavors(details=False)}
    if missing := [name for name in wanted if name not in known]:
        yield f"the cloud does not know the flavor {', '.join(missing)}: make the names in flavors.tsv those of the cloud's"


def _no_room(quotas: Sequence[Quota]) -> Iterator[str]:
    if full := [f"{one.name} {one.used} of {one.limit}" for one in quotas if one.name != "snapshots" and one.lacks(1)]:
        yield f"the quota is used up ({', '.join(full)}): have it raised, or remove what is not needed"

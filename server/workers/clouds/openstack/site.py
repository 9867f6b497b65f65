"""What the cloud must have before workers can be made there: credentials that are taken, what the settings name, flavors, room.

Looks only.
"""

from collections.abc import Callable, Iterator, Sequence

from server.cloud_settings.openstack import OpenstackBoot
from server.errors import CloudError, CumulusError
from server.settings import Settings
from server.workers.clouds.base import Quota
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.names import Names
from server.workers.clouds.openstack.quotas import read_quotas


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


def site_problems(access: Access, settings: Settings, flavors: Sequence[str], *more: Check) -> list[str]:
    """What the cloud lacks or refuses, one line each with its remedy.

    ``flavors``: names that it must know; ``more``: what is looked at besides, where the cloud lets us in.
    """
    try:
        with access.use() as cloud:
            cloud.session.get_token()
    except CloudError as problem:
        return [problem.message]
    checks: tuple[Check, ...] = (
        Names(access, settings).problems,
        lambda: _flavors(access, flavors),
        lambda: _no_room(read_quotas(access, has_volumes=settings.openstack_boot is OpenstackBoot.VOLUME)),
        *more,
    )
    return [line for check in checks for line in _lines(check)]


def _lines(check: Check) -> list[str]:
    try:
        return list(check())
    except CumulusError as problem:
        return [problem.message]


def _flavors(access: Access, wanted: Sequence[str]) -> Iterator[str]:
    with access.use() as cloud:
        known = {str(one.name) for one in cloud.compute.flavors(details=False)}
    if missing := [name for name in wanted if name not in known]:
        yield f"the cloud does not know the flavor {', '.join(missing)}: make the names in flavors.tsv those of the cloud's"


def _no_room(quotas: Sequence[Quota]) -> Iterator[str]:
    if full := [f"{one.name} {one.used} of {one.limit}" for one in quotas if one.name != "snapshots" and one.lacks(1)]:
        yield f"the quota is used up ({', '.join(full)}): have it raised, or remove what is not needed"

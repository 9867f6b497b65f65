"""What the cloud must have before workers can be made there: credentials that are taken, network, security group, key pair,
flavors, room. Looks only.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from server.errors import CumulusError
from server.settings import Settings
from server.workers.clouds.base import CloudError, Quota
from server.workers.clouds.openstack.access import Access, look_up
from server.workers.clouds.openstack.quotas import read_quotas

if TYPE_CHECKING:
    from openstack.connection import Connection


def missing_settings(settings: Settings) -> list[str]:
    """What an administrator has not said yet, one line each."""
    wanted = {
        "openstack_network": "the network that workers are in",
        "openstack_security_group": "the security group that lets the controller in by ssh",
        "openstack_nfs_host": "the address of the NFS server as workers see it",
    }
    return [f"the setting {name} is empty: give it {what}" for name, what in wanted.items() if not getattr(settings, name)]


def site_problems(access: Access, settings: Settings, flavors: Sequence[str]) -> list[str]:
    """What the cloud lacks or refuses, one line each with its remedy. ``flavors``: names that it must know."""
    try:
        with access.use() as cloud:
            cloud.session.get_token()
    except CloudError as problem:
        return [problem.message]
    checks: tuple[Callable[[], Iterator[str]], ...] = (
        lambda: _names(access, settings),
        lambda: _flavors(access, flavors),
        lambda: _no_room(read_quotas(access)),
    )
    return [line for check in checks for line in _lines(check)]


def _lines(check: Callable[[], Iterator[str]]) -> list[str]:
    try:
        return list(check())
    except CumulusError as problem:
        return [problem.message]


def _names(access: Access, settings: Settings) -> Iterator[str]:
    """Each name in the settings, and how it is looked for."""
    looks: tuple[tuple[str, str, Callable[[Connection], Callable[..., object]]], ...] = (
        ("network", settings.openstack_network, lambda cloud: cloud.network.find_network),
        ("security_group", settings.openstack_security_group, lambda cloud: cloud.network.find_security_group),
        ("key_pair", settings.openstack_key_pair, lambda cloud: cloud.compute.find_keypair),
        ("server_group", settings.openstack_server_group, lambda cloud: cloud.compute.find_server_group),
        ("volume_type", settings.openstack_volume_type, lambda cloud: cloud.block_storage.find_type),
    )
    for kind, name, find in looks:
        if not name:
            continue
        with access.use() as cloud:
            found = look_up(partial(find(cloud), ignore_missing=False), name)
        if found is None:
            yield f"the cloud has no {kind.replace('_', ' ')} {name}: make it, or correct the setting openstack_{kind}"


def _flavors(access: Access, wanted: Sequence[str]) -> Iterator[str]:
    with access.use() as cloud:
        known = {str(one.name) for one in cloud.compute.flavors(details=False)}
    if missing := [name for name in wanted if name not in known]:
        yield f"the cloud does not know the flavor {', '.join(missing)}: make the names in flavors.tsv those of the cloud's"


def _no_room(quotas: Sequence[Quota]) -> Iterator[str]:
    if full := [f"{one.name} {one.used} of {one.limit}" for one in quotas if one.name != "snapshots" and one.lacks(1)]:
        yield f"the quota is used up ({', '.join(full)}): have it raised, or remove what is not needed"

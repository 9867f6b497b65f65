"""Finding what a setting names in the cloud: exactly one thing with that id, or else that name.

Owns what is said where nothing, or more than one thing, has the name.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.errors import CloudError
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.openstack.client.access import Access

if TYPE_CHECKING:
    from openstack.connection import Connection

SHOWN = 5  # candidates that a message names


@dataclass(frozen=True)
class Thing:
    """Something in the cloud that has a name and an id."""

    identifier: str
    name: str


Listed = Callable[["Connection", str], Iterable[Any]]
"""Things that may have the name or the id."""


@dataclass(frozen=True)
class NameLookup:
    """Finds the one thing that a setting names, by id or by name."""

    access: Access
    settings: Settings

    def zone(self, use: str, setting: str, listed: "Callable[[Connection], Iterable[Any]]") -> str:
        """An availability zone, which may name a host behind a colon where the cloud allows that."""
        wanted = str(getattr(self.settings, setting))
        if not wanted:
            return ""
        with self.access.use() as cloud:
            zones = {str(one.name): (one.state or {}).get("available", True) for one in listed(cloud)}
        name = wanted.partition(":")[0]
        if name not in zones:
            there = ", ".join(sorted(zones)) or "none"
            text = f"the cloud has no availability zone {name} for {use} (it has {there}): correct the setting {setting}"
            raise CloudError(text, Reason.ZONE_UNUSABLE)
        if not zones[name]:
            text = f"the availability zone {name} for {use} is not available: ask who runs the cloud, or change {setting}"
            raise CloudError(text, Reason.ZONE_UNUSABLE)
        return wanted

    def one(self, noun: str, setting: str, listed: "Listed", missing: Reason = Reason.NAME_UNKNOWN_TO_CLOUD) -> str:
        """The id of what has that id or name; "" where the setting is empty. Raises CloudError."""
        found = self.thing(noun, setting, listed, missing)
        return found.identifier if found else ""

    def thing(self, noun: str, setting: str, listed: "Listed", missing: Reason = Reason.NAME_UNKNOWN_TO_CLOUD) -> Thing | None:
        """What has that id, or else that name; None where the setting is empty."""
        wanted = str(getattr(self.settings, setting))
        if not wanted:
            return None
        with self.access.use() as cloud:
            found = {str(one.id): Thing(str(one.id), str(one.name or "")) for one in listed(cloud, wanted)}
        if wanted in found:
            return found[wanted]
        named = [one for one in found.values() if one.name == wanted]
        if len(named) > 1:
            raise CloudError(_ambiguous(noun, setting, wanted, named), Reason.NAME_AMBIGUOUS)
        if not named:
            raise CloudError(f"the cloud has no {noun} {wanted}: make it, or correct the setting {setting}", missing)
        return named[0]


def _ambiguous(noun: str, setting: str, wanted: str, named: list[Thing]) -> str:
    shown = ", ".join(sorted(one.identifier for one in named)[:SHOWN])
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"the name {wanted} is that of more than one {noun} ({shown}{more}): give the id of one in the setting {setting}"

"""The sizes of machines, beside what the cloud has."""

from dataclasses import asdict, dataclass
from typing import Any

from server.catalog.flavors import Flavor, read_flavors
from server.catalog.flavorsfile import rewrite
from server.services.principal import Principal, Role
from server.settings import Settings
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasFlavors, HasPrewarming
from server.workers.flavor_check import Difference, compare


@dataclass(frozen=True)
class FlavorView:
    """A size of machine. ``next_boot``: how a machine of it would start now: warm, or cold and why."""

    flavor: Flavor
    next_boot: str


@dataclass(frozen=True)
class DifferenceView:
    """Where a size differs from the cloud's; ``written``: whether the file was corrected."""

    difference: Difference
    written: bool


@dataclass(frozen=True)
class Comparison:
    """``known``: how many sizes there are; ``takes_any_size``: the cloud has none of its own."""

    known: int
    takes_any_size: bool
    differences: tuple[DifferenceView, ...]

    @property
    def is_same(self) -> bool:
        """Whether nothing differs any more."""
        return all(one.written for one in self.differences)


class FlavorService:
    """The sizes of one installation's machines."""

    def __init__(self, settings: Settings, cloud: Cloud) -> None:
        self._settings = settings
        self._cloud = cloud

    def listed(self, principal: Principal) -> list[FlavorView]:
        """All sizes, in the order of their file. Raises Forbidden."""
        principal.require(Role.USER)
        found = read_flavors(self._settings.flavors).values()
        prewarming = self._cloud.prewarming if isinstance(self._cloud, HasPrewarming) else None
        return [FlavorView(flavor, prewarming.next_boot(flavor) if prewarming else "") for flavor in found]

    def compared(self, principal: Principal, *, write: bool) -> Comparison:
        """Compare the sizes with what the cloud has; ``write``: correct the file where that helps.

        Raises Forbidden, CloudError.
        """
        principal.require(Role.ADMINISTRATOR)
        known = list(read_flavors(self._settings.flavors).values())
        sizes = self._cloud.flavors.listed() if isinstance(self._cloud, HasFlavors) else None
        found = [] if sizes is None else compare(known, sizes, self._settings.worker_disk_gb)
        written = [one for one in found if one.cells] if write else []
        if written:
            rewrite(self._settings.flavors, {one.flavor: one.cells for one in written})
        return Comparison(len(known), sizes is None, tuple(DifferenceView(one, one in written) for one in found))


def flavor_json(view: FlavorView) -> dict[str, Any]:
    """A size for programs."""
    return {**asdict(view.flavor), "next_boot": view.next_boot}


def comparison_json(found: Comparison) -> dict[str, Any]:
    """A comparison for programs."""
    return {"takes_any_size": found.takes_any_size, "differences": list(map(_difference_json, found.differences))}


def _difference_json(view: DifferenceView) -> dict[str, Any]:
    one = view.difference
    return {"flavor": one.flavor, "text": one.text, "cure": one.cure, "cells": one.cells, "written": view.written}

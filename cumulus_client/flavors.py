"""Machine sizes as the API gives them, the operations on them, and the client of these."""

from cumulus_client.calling import Caller
from cumulus_client.operations import Nothing, Operation, Request, Response
from cumulus_client.workers import Quota


class Flavor(Response):
    """A machine size. Memory and disk in GB, ``disk_gb``: None for the cloud's default.

    ``next_boot``: how a machine of it would start now, "" where the cloud does not say.
    """

    name: str
    weight: int
    cpus: int
    memory_gb: int
    disk_gb: int | None
    next_boot: str


class FlavorList(Response):
    """All machine sizes, and what is free of what they may take.

    ``max_weight``: how much all machines may weigh at once; ``used``: how much they do, None where that is not known;
    ``quotas``: the cloud's limits where they were asked for; ``unknown``: why these are not known, "" where they are.
    """

    flavors: list[Flavor]
    max_weight: int
    used: int | None
    quotas: list[Quota]
    unknown: str


class FlavorDifference(Response):
    """Where a size differs from the cloud's. ``cure``: what helps; ``cells``: what would be right in its line of the file.

    ``written``: whether the file was corrected.
    """

    flavor: str
    text: str
    cure: str
    cells: dict[str, int]
    written: bool


class FlavorComparison(Response):
    """The sizes beside the cloud's.

    ``known``: how many sizes there are; ``takes_any_size``: the cloud has none of its own; ``same``: nothing differs any more;
    ``file``: the name of the file of the sizes.
    """

    cloud: str
    file: str
    known: int
    takes_any_size: bool
    same: bool
    differences: list[FlavorDifference]


class FlavorQuery(Request):
    """``with_quota``: whether the cloud is asked for its limits, which takes a moment."""

    with_quota: bool = False


LIST = Operation(
    "flavors.list", "GET", "/flavors", FlavorQuery, FlavorList, "The machine sizes, and what is free of them.", takes_long=True
)
COMPARE = Operation(
    "flavors.compare",
    "GET",
    "/flavors/comparison",
    Nothing,
    FlavorComparison,
    "Compare the machine sizes with what the cloud has.",
    takes_long=True,
)
SYNC = Operation(
    "flavors.sync",
    "POST",
    "/flavors/sync",
    Nothing,
    FlavorComparison,
    "Correct the machine sizes where they are not as the cloud has them.",
    "admin",
    takes_long=True,
)


class Flavors:
    """The machine sizes of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self, *, with_quota: bool = False) -> FlavorList:
        """All sizes, in the order of their file, and what is free; ``with_quota``: ask the cloud for its limits, too."""
        return self._caller.call(LIST, FlavorQuery(with_quota=with_quota))

    def compare(self) -> FlavorComparison:
        """Where they differ from what the cloud has."""
        return self._caller.call(COMPARE, Nothing())

    def sync(self) -> FlavorComparison:
        """The same, and the file is corrected where that helps."""
        return self._caller.call(SYNC, Nothing())

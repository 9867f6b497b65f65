"""What is wrong with a batch: each fault with its row and its column, several of them in one refusal."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import InvalidInput

NAMED = 10  # faults in one message


@dataclass(frozen=True)
class Fault:
    """One fault. ``place``: such as ``row 3``; ``column``: as the sheet calls it, "" where it is of the whole row."""

    place: str
    column: str
    text: str

    def __str__(self) -> str:
        where = f"{self.place}, column {self.column!r}" if self.column else self.place
        return f"{where}: {self.text}"


class FaultyBatch(InvalidInput):
    """A batch of which no job is made. ``faults``: all that were found."""

    code = "faulty_batch"

    def __init__(self, faults: Sequence[Fault], field: str) -> None:
        more = [f"and {len(faults) - NAMED} more"] if len(faults) > NAMED else []
        super().__init__("; ".join([*map(str, faults[:NAMED]), *more]), field=field)
        self.faults = tuple(faults)

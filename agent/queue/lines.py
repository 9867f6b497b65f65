"""What waits, as people and programs see it."""

import json
from typing import NamedTuple

from agent.queue.orders import DATA
from agent.sources.paths import printable

MENTIONED = 5  # paths that a sentence names


class Line(NamedTuple):
    """One transfer that a job waits for, as people see it."""

    job: int
    owner: str
    name: str
    state: str
    bytes: int
    sent: int
    message: str
    place: str = DATA
    skipped: str = "[]"

    @property
    def note(self) -> str:
        """What its owner has to know: why it waits, and what is not sent of it."""
        return "; ".join(text for text in (self.message, left_out(self.skipped)) if text)

    def for_programs(self) -> dict[str, object]:
        """As JSON has it."""
        return self._asdict() | {"percent": self.percent, "skipped": [printable(path) for path in json.loads(self.skipped)]}

    @property
    def percent(self) -> int:
        """How far it is, below 100: what is there is not in the queue any more."""
        return min(99, 100 * self.sent // self.bytes) if self.bytes else 0


def left_out(skipped: str) -> str:
    """What is not sent of a source, for people; "" where all is."""
    paths = json.loads(skipped)
    more = f" and {len(paths) - MENTIONED} more" if len(paths) > MENTIONED else ""
    return f"not sent: {', '.join(map(printable, paths[:MENTIONED]))}{more}" if paths else ""

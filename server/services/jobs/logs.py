"""A job's log: what its run has written, with what happened to the job beside it."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cumulus_client.logs import LogPart
from server.db.queries import known_job
from server.engine.history import last_word, remarks
from server.engine.situation import Situations
from server.errors import InvalidInput
from server.services.jobs.visibility import visible_job
from server.services.principal import Principal
from server.states import JobState
from server.storage.folders import Storage
from server.storage.logs.job_log import Logs, stamp
from server.storage.logs.spliced import Spliced

POSITION_BYTES = 8
MARK_BYTES = 6  # enough to tell two hundred lines apart


@dataclass(frozen=True)
class _Place:
    """How far a reader is: the byte of the file that comes next, and which lines beside the file were shown, as marks."""

    position: int = 0
    shown: frozenset[bytes] = frozenset()

    @classmethod
    def read(cls, text: str) -> "_Place":
        """Raises InvalidInput for what is no cursor of ours."""
        if not text:
            return cls()
        try:
            found = base64.urlsafe_b64decode(text)
        except (ValueError, binascii.Error):
            found = b""
        marks = found[POSITION_BYTES:]
        position = int.from_bytes(found[:POSITION_BYTES], "big")
        if len(found) < POSITION_BYTES or len(marks) % MARK_BYTES or position >= 1 << 62:
            raise InvalidInput("this is no place in a log: leave it out to begin anew", field="cursor")
        return cls(position, frozenset(marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)))

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(self.position.to_bytes(POSITION_BYTES, "big") + b"".join(sorted(self.shown))).decode()


class JobLogs:
    """The logs of an installation whose database is open. ``situations``: say why a job waits; ``logs``: read lately."""

    def __init__(self, storage: Storage, situations: Situations, logs: Logs | None = None) -> None:
        self._storage = storage
        self._situations = situations
        self._logs = logs or Logs()

    def whole(self, principal: Principal, job_id: int) -> Spliced:
        """All of the log, however long, as a file to read and close. Raises NotFound, Forbidden."""
        job = visible_job(principal, job_id)
        path = self._storage.folder(job.folder).log.path
        return self._logs.whole(path, remarks(job, self._situations), last_word(job))

    def part(self, principal: Principal, job_id: int, cursor: str) -> LogPart:
        """What the log has gained since the place that ``cursor`` stands for. Raises NotFound, Forbidden, InvalidInput."""
        place = _Place.read(cursor)
        job = visible_job(principal, job_id)
        lines = [one.line() for one in remarks(job, self._situations)]
        marks = _marks(lines)
        happened = [line for line, mark in zip(lines, marks, strict=True) if mark not in place.shown]
        text, position = self._storage.folder(job.folder).log.since(place.position)
        text = b"".join(happened).decode() + text
        return LogPart(
            text=text,
            cursor=str(_Place(position, frozenset(marks))),
            state=job.state,
            outcome=job.outcome,
            message=job.message,
            warning=job.warning,
            is_final=JobState(job.state).is_final and not text,
        )

    def stamp(self, job_id: int) -> object:
        """Another one where the file of the job's log has changed."""
        job = known_job(job_id)
        return job and stamp(self._storage.folder(job.folder).log.path)


def _marks(lines: Sequence[bytes]) -> list[bytes]:
    return [blake2b(line, digest_size=MARK_BYTES).digest() for line in lines]

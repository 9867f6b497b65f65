"""The keys of submissions: the same one of the same principal gives the same job for a day.

A key's row is written in the transaction that makes the job, so neither is there without the other.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from server.db.models import Job, SubmissionKey
from server.errors import CumulusError
from server.states import JobState

DAY_S = 86_400.0


class KeyReused(CumulusError):
    """The key belongs to another submission."""

    code = "key_reused"
    http_status = 409


class MadeMeanwhile(Exception):
    """Another request with this key was quicker; its job is there."""


class Key:
    """The key of one submission. ``body``: what is asked for; ``clock``: Unix seconds."""

    def __init__(self, principal: str, key: str, body: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self._principal = principal
        self._key = key
        self._digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self._clock = clock

    def job(self) -> Job | None:
        """The job that the key has made already. Raises KeyReused."""
        own = (SubmissionKey.principal == self._principal, SubmissionKey.key == self._key)
        known = SubmissionKey.get_or_none(*own, SubmissionKey.at > self._clock() - DAY_S)
        if known is None:
            return None
        if known.digest != self._digest:
            text = f"this key was used for job {known.job_id}, which was another submission: use a new key"
            raise KeyReused(text, field="idempotency_key")
        job: Job | None = Job.get_or_none(Job.id == known.job_id, Job.state != JobState.DELETED)
        if job is None:
            text = f"this key has made job {known.job_id}, which was deleted since: use a new key"
            raise KeyReused(text, field="idempotency_key")
        return job

    def keep(self, job: Job) -> None:
        """Note the job, within the transaction that makes it; forget the keys of former days. Raises MadeMeanwhile, KeyReused."""
        if self.job() is not None:
            raise MadeMeanwhile
        SubmissionKey.delete().where(SubmissionKey.at <= self._clock() - DAY_S).execute()
        fields = {"principal": self._principal, "key": self._key, "digest": self._digest}
        SubmissionKey.insert(**fields, at=self._clock(), job_id=job.id).execute()

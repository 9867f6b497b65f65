"""The desktop client's words: its names of states and fields, and what its page does with text. Nothing else knows them."""

import html
from collections.abc import Mapping
from types import MappingProxyType

from server.catalog.controls.control import FormError
from server.db.models import Job
from server.db.search import Listed
from server.errors import CumulusError
from server.services.jobs.submission import MARKUP
from server.states import JobState

_WORDS: Mapping[JobState, str] = MappingProxyType(
    {
        JobState.UPLOADING: "PENDING",
        JobState.QUEUED: "PENDING",
        JobState.PROVISIONING: "PREPARING",
        JobState.STARTING: "PREPARING",
        JobState.RUNNING: "RUNNING",
        JobState.LOST: "RUNNING",
        JobState.FINISHING: "RUNNING",
        JobState.DONE: "DONE",
        JobState.FAILED: "FAILED",
        JobState.CANCELLED: "CANCELLED",
        JobState.ARCHIVED: "ARCHIVED",
        JobState.DELETED: "DELETED",  # in no answer
    }
)
# What the search form's boxes stand for.
STATES: Mapping[str, frozenset[JobState]] = MappingProxyType(
    {
        word: frozenset(state for state in JobState if _WORDS[state] == word.upper())
        for word in ("pending", "preparing", "running", "done", "failed", "cancelled", "archived")
    }
)
_FIELDS = MappingProxyType(
    {
        "owner": "username",
        "app": "app_name",
        "flavor": "strategy",
        "start_after": "start_after_id",
        "workflow": "workflow_name",
        "job": "job_id",
    }
)


def wire_status(job: Job | Listed) -> str:
    """The client's word for where a job stands."""
    state = JobState(job.state)
    return f"{_WORDS[state]}_{str(job.outcome).upper()}" if state is JobState.ARCHIVED else _WORDS[state]


def field_of(error: CumulusError) -> str | None:
    """What the client calls the field at fault: the controls of an app's form are called the same by everybody."""
    if error.field is None or isinstance(error, FormError):
        return error.field
    return _FIELDS.get(error.field, error.field)


def escaped(text: str) -> str:
    """Text that the client puts into its page as HTML, made to show as it reads."""
    return html.escape(text, quote=False)


def escaped_name(name: str) -> str:
    """A file's name made to show as it reads. Where it does so already it stays: the client looks it up among the agent's."""
    return name if not MARKUP.search(name) and html.unescape(name) == name else escaped(name)
